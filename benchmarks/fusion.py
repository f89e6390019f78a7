"""What words beside pictures do to R@1: none, names alone, noise, and words that are true.

The same real clips are indexed with subtitle files that say different things. One caption per clip
is the query; only its own clip is right.

    empty   no words at all
    named   the files' names (ids that mean nothing)
    noise   every clip talks: sentences of another data set, five words of each query's vocabulary
            drawn at random in between, as a bad transcript would have them
    wrong   every clip says the caption of another clip: nothing can be right about this
    true    a third of the clips says half the words of its own caption, the rest is noise

    python benchmarks/fusion.py CLIPS CAPTIONS.jsonl [--sentences FILE.json]

Writes results/bench-fusion.json.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import record
from finecut import Bundle, Searcher, build_index, quality
from finecut.search.calibration_queries import ordinary_queries
from finecut.search.fusion import Weights
from finecut.search.heard import telling
from finecut.search.tune import tune
from record import Entry


def write_srt(path: Path, lines: list[str], seconds: float) -> None:
    step = seconds / max(1, len(lines))
    cues = [
        f"{i + 1}\n{stamp(i * step)} --> {stamp((i + 1) * step)}\n{line}\n"
        for i, line in enumerate(lines)
    ]
    path.write_text("\n".join(cues), encoding="utf-8")


def stamp(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def noise(drawn: random.Random, sentences: list[str], vocabulary: list[str]) -> list[str]:
    words = [drawn.choice(vocabulary) for _ in range(5)]
    said = drawn.sample(sentences, 3)
    return [f"{said[0]} {words[0]} {words[1]}", f"{words[2]} {said[1]}", f"{said[2]} {words[3]}"]


def lines_of(case: str, captions: dict[str, str], sentences: list[str]) -> dict[str, list[str]]:
    drawn = random.Random(0)
    names = sorted(captions)
    vocabulary = sorted({w for text in captions.values() for w in telling(text)})
    if case in ("empty", "named"):
        return {}
    if case == "wrong":
        others = names[1:] + names[:1]
        return {name: [captions[other]] for name, other in zip(names, others, strict=True)}
    made = {name: noise(drawn, sentences, vocabulary) for name in names}
    if case == "true":
        for name in drawn.sample(names, len(names) // 3):
            own = telling(captions[name])
            made[name].insert(1, " ".join(drawn.sample(own, (len(own) + 1) // 2)))
    return made


def figures(answer: dict[str, Any]) -> dict[str, float]:
    return {name: round(answer[name], 2) for name in ("r_at_1", "r_at_5", "r_at_10", "mnr")}


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("captions", type=Path, help='lines of {"clip": …, "caption": …}')
    parser.add_argument("--sentences", type=Path, help="JSON list of sentences for the noise")
    parser.add_argument("--bundle", default="starter")
    told = parser.parse_args()
    started = time.time()
    rows = [json.loads(line) for line in told.captions.read_text("utf-8").splitlines()]
    captions = {Path(row["clip"]).name: row["caption"] for row in rows}
    if told.sentences:
        sentences = json.loads(told.sentences.read_text("utf-8"))
    else:
        sentences = ordinary_queries()
    queries = [{"query": text, "video": name} for name, text in captions.items()]
    bundle = Bundle.load(told.bundle)
    answer: dict[str, Any] = {"clips": len(captions), "bundle": bundle.name, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        place, index = Path(folder) / "clips", Path(folder) / "index"
        shutil.copytree(told.clips, place)
        for case in ("empty",) if told.quick else ("empty", "named", "noise", "wrong", "true"):
            for old in place.glob("*.srt"):
                old.unlink()
            for name, lines in lines_of(case, captions, sentences).items():
                write_srt((place / name).with_suffix(".srt"), lines, 2.5)
            channels = {"empty": (), "named": ("named",)}.get(case, ("said",))
            build_index([place], index, bundle, channels=channels)
            searcher = Searcher.open(index, bundle=bundle)
            measured = quality(searcher, queries)
            shown = {stage: figures(measured[stage]) for stage in ("recall", "rerank")}
            shown["fused"] = figures(measured.get("fused", measured["rerank"]))
            shown["texts"] = dict(searcher.index.channels)
            if searcher.channels:
                tuned = tune(searcher, queries)
                shown["tuned"] = {k: tuned[k] for k in ("weights", "cross_validated", "n_heard")}
            answer["cases"][case] = shown
            print(case, json.dumps(shown), flush=True)
    answer["usual_weights"] = dict(Weights().by_channel)
    record.save("fusion", entries(answer), answer, started)


def entries(figures: dict[str, Any]) -> list[Entry]:
    alone = figures["cases"]["empty"]["rerank"]["r_at_1"]
    return [
        Entry(
            f"R@1 of {figures['clips']} clips, words: {case}", row["fused"]["r_at_1"], "%",
            "higher", None, "pictures alone", alone,
        )
        for case, row in figures["cases"].items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
