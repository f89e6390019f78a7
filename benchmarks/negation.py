"""`A NOT B` on real clips: how many of the first five answers still show B, by four ways.

What a clip shows is read off its caption: words for each of fifteen things. Every pair (A, B) of
which at least two clips show both and three only A is a query. Compared are

    ignored     the search for A alone
    sentence    "A without B" as a plain sentence
    subtract    A's recall vector less a share of B's, both of unit length
    filter      A's clips by chance, those where B is likelier than a bar left out
    penalty     chance of A times (1 - chance of B): what finecut does
    finecut     the same through the whole engine, `A -(B)`, with re-ranking

with their settings tried on one half of the pairs (by hash) and all figures given for the other
half as well. The captions are machine-made and name a few things each: a clip "without B" may show
it all the same. Figures compare ways; they are no absolute truth.

    python benchmarks/negation.py INDEX CAPTIONS.jsonl

Writes results/bench-negation.json.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import record
from finecut import Searcher
from finecut.search.candidates import find_candidates
from finecut.search.composed import sigmoid
from record import Entry

TOP = 5
THINGS = {
    "a person": "person|man|woman|people|boy|girl|group|player|men|women|child|kid|he|she|his|her|"
    "hand|someone|team|crowd|couple|chef",
    "a car": "car|cars|truck|jeep|vehicle|suv|van",
    "water": "water|river|sea|ocean|beach|lake|pool|swimming|surf\\w*|wave|waves|boat|ship",
    "a road": "road|street|highway|driving|bridge|track",
    "mountains": "mountain|mountains|cliff|hill|hills|rocky|snowy|canyon",
    "food": "food|pie|pies|soup|meat|spices|cooking|pot|grill|cake|dish|plate|vegetables|chicken|"
    "rice|bread|sauce|cream",
    "a sunset": "sunset|sunrise|sun",
    "a city": "city|skyline|building|buildings|skyscraper\\w*|town",
    "a video game": "game|gaming|minecraft|3d|rendering|animated|cartoon",
    "a computer screen": "computer|screen|laptop|keyboard|monitor|phone",
    "trees": "tree|trees|forest|bush|bushes|grass|field|jungle|plants|flowers",
    "sand": "sand|sandy|desert|beach|dunes",
    "an animal": "cat|dog|bird|fish|animal|animals|horse|bear|cow|cows|dogs|birds|monkey|elephant|"
    "lion|deer|puppy|kitten",
    "a table": "table|tray|board|counter|desk",
    "sky": "sky|clouds|air|planet|star|stars|space|aerial",
}
Score = Callable[[str, str], np.ndarray]


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("index", type=Path, help="of the clips, built without texts or with")
    parser.add_argument("captions", type=Path, help='lines of {"clip": …, "caption": …}')
    told = parser.parse_args()
    started = time.time()
    searcher = Searcher.open(told.index)
    index, clips = searcher.index, searcher.index.clips
    rows = [json.loads(line) for line in told.captions.read_text("utf-8").splitlines()]
    captions = {Path(row["clip"]).name: row["caption"].lower() for row in rows}
    said = [captions[Path(video.paths[0]).name] for video in index.videos]
    shows = {
        thing: np.array([bool(re.search(rf"\b({words})\b", text)) for text in said])
        for thing, words in THINGS.items()
    }
    asked = {item.label: item for item in searcher.encode_texts(list(THINGS))}
    matrix = np.asarray(index.recall_matrix())
    every = np.arange(len(clips))
    confidence = searcher._snapshot.confidence

    def reranked(sentence: str) -> np.ndarray:
        tokens = searcher.encode_texts([sentence])[0].tokens
        found = find_candidates(searcher.bundle, index, tokens, len(clips))
        scores = np.zeros(len(clips))
        scores[found.rows] = [hit.score for hit in found.hits]
        return scores

    plain = {thing: reranked(thing) for thing in THINGS}
    chance = {
        thing: sigmoid(confidence.logits(item, every, matrix @ item.tokens.recall))
        for thing, item in asked.items()
    }
    unit = {
        thing: item.tokens.recall / np.linalg.norm(item.tokens.recall)
        for thing, item in asked.items()
    }
    pairs = [
        (a, b)
        for a in THINGS
        for b in THINGS
        if a != b and (shows[a] & shows[b]).sum() >= 2 and (shows[a] & ~shows[b]).sum() >= 3
    ]
    half = np.array([zlib.crc32(f"{a}|{b}".encode()) % 2 for a, b in pairs], bool)

    def top(scores: np.ndarray) -> list[int]:
        order = clips.video[np.argsort(-scores, kind="stable")]
        return list(dict.fromkeys(order.tolist()))[:TOP]

    def engine(a: str, b: str) -> list[int]:
        found = searcher.search(f"({a}) -({b})", k=30, recall_k=100, evidence=False)
        places = {video.video_id: place for place, video in enumerate(index.videos)}
        return list(dict.fromkeys(places[moment.video_id] for moment in found))[:TOP]

    def figures(answers: list[list[int]]) -> dict[str, dict[str, float]]:
        made = {}
        for name, chosen in (("all", half | True), ("other_half", half)):
            own = [
                (pair, found)
                for pair, found, use in zip(pairs, answers, chosen, strict=True)
                if use
            ]
            made[name] = {
                "still_show_b": share([shows[b][found].mean() for (_, b), found in own]),
                "show_a": share([shows[a][found].mean() for (a, _), found in own]),
                "a_and_not_b": share(
                    [(shows[a] & ~shows[b])[found].mean() for (a, b), found in own]
                ),
            }
        return made

    ways: dict[str, Score] = {
        "ignored": lambda a, b: plain[a],
        "sentence": lambda a, b: reranked(f"{a} without {b}"),
        "by_chance_of_a": lambda a, b: chance[a],
    }
    for part in (0.25, 0.5, 0.75, 1.0):
        ways[f"subtract_{part}"] = lambda a, b, part=part: matrix @ (unit[a] - part * unit[b])
    for bar in (0.4, 0.5, 0.6, 0.7):
        ways[f"filter_{bar}"] = lambda a, b, bar=bar: chance[a] - (chance[b] >= bar)
    for power in (0.5, 1.0, 2.0):
        ways[f"penalty_{power}"] = lambda a, b, power=power: chance[a] * (1 - chance[b]) ** power
    measured = {name: figures([top(score(a, b)) for a, b in pairs]) for name, score in ways.items()}
    measured["finecut"] = figures([engine(a, b) for a, b in pairs])
    answer = {
        "clips": len(clips),
        "videos": len(index.videos),
        "pairs": len(pairs),
        "other_half": int(half.sum()),
        "top": TOP,
        "bundle": searcher.bundle.name,
        "fingerprint": searcher.bundle.fingerprint,
        "percent": measured,
    }
    record.save("negation", entries(answer), answer, started)
    for name, one in measured.items():
        print(f"{name:18}", one["all"], one["other_half"])


def entries(figures: dict[str, Any]) -> list[Entry]:
    percent = figures["percent"]
    return [
        Entry(
            f"answers to 'A, not B' that {what}", percent["finecut"]["all"][key], "%", better,
            None, "'A without B' as a sentence", percent["sentence"]["all"][key],
        )
        for what, key, better in (
            ("show B", "still_show_b", "lower"),
            ("show A and not B", "a_and_not_b", "higher"),
        )
    ]  # fmt: skip


def share(values: list[float]) -> float:
    return round(100 * float(np.mean(values)), 1)


if __name__ == "__main__":
    main()
