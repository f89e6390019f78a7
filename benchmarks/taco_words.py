"""The figure of docs/methods/taco.md: which words of a caption TACo looks for, and how much.

Tags by the tagger that is installed, IDF from DiDeMo's 8,000-odd validation and test descriptions
(shared material; only counts enter the figure). The sentence is ours.

    python benchmarks/taco_words.py

Writes docs/methods/taco-words.svg.
"""

from __future__ import annotations

import json
import os
import sys
from html import escape
from pathlib import Path

from finecut.learn.methods.taco_text import INTEREST, caption_weights
from finecut.text.idf import IdfTable, Word
from finecut.text.tags import Tagger, split_words

OUT = Path(__file__).resolve().parent.parent / "docs" / "methods" / "taco-words.svg"
SENTENCE = "a man with a hat throws a frisbee and the dog jumps up to catch it"


def main() -> None:
    shared = os.environ.get("FINECUT_SHARED")
    if not shared:
        sys.exit("set FINECUT_SHARED to the folder of the shared material")
    captions = []
    for split in ("val", "test"):
        path = Path(shared) / "data" / "annotations" / "didemo" / f"{split}_data.json"
        captions += [entry["description"] for entry in json.loads(path.read_text("utf-8"))]
    table = IdfTable.build(split_words(caption) for caption in captions)
    tagger = Tagger()
    (tagged,) = tagger([SENTENCE])
    weights = caption_weights([Word(w.word, w.tag, [w.word]) for w in tagged], table)[1:-1]

    column, top, tall = 42, 44, 150
    width = column * len(tagged) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + tall + 96}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>Word weights of: {escape(SENTENCE)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="16" fill="#444">weight of each word (they sum to 1); IDF from '
        f"{len(captions):,} descriptions; tags by {escape(tagger.name)}</text>",
    ]
    for place, (word, weight) in enumerate(zip(tagged, weights, strict=True)):
        x, height = 10 + place * column, tall * weight / max(weights)
        middle, base = x + column / 2, top + tall
        colour = "#2a9d8f" if word.tag in INTEREST else "#bbb"
        parts.append(
            f'<rect x="{x + 6}" y="{base - height:.1f}" width="{column - 12}" '
            f'height="{height:.1f}" fill="{colour}"/>'
            f'<text x="{middle}" y="{base - height - 4:.1f}" text-anchor="middle" '
            f'fill="{colour}">{f"{weight:.2f}" if weight else "0"}</text>'
            f'<text x="{middle}" y="{base + 16}" text-anchor="end" '
            f'transform="rotate(-40 {middle} {base + 16})">{escape(word.word)}</text>'
            f'<text x="{middle}" y="{base + 84}" text-anchor="middle" font-size="9" '
            f'fill="#777">{word.tag}</text>'
        )
    OUT.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
