"""What one hour of video costs: bytes by table and level, processor time, and a commit's opening.

The plan for ten million hours in docs/operations.md (benchmarks/plan.py) is arithmetic on these
figures, on those of recall (benchmarks/ann.py) and of replicas (benchmarks/replicas.py).
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import made_gallery
import videos
from finecut import Bundle, Index
from finecut.index.build import build_index
from finecut.index.writer import IndexWriter
from record import Entry, arguments, by_turns, save
from videos import Kind

LEVELS = ("patch", "frame", "video")
SENTENCES = 16  # that Ray Serve encodes together
RECALL_CLIPS, RECALL_DIM = 250_000, 512  # from 200,000 clips on there are cells


def main() -> None:
    told = arguments(__doc__).parse_args()
    started = time.time()
    seconds = 16.0 if told.quick else 32.0
    film = videos.film("mixed", [Kind()], seconds)[0]
    bundle = Bundle.load("starter", threads=1)
    with tempfile.TemporaryDirectory(prefix="finecut-scale-") as folder:
        levels = {level: indexed(film, Path(folder) / level, bundle, level) for level in LEVELS}
        recall = recall_of(Path(folder) / "recall", 2000 if told.quick else RECALL_CLIPS)
    texts = text_encoding(bundle, 3 if told.quick else 10)
    whole = levels["patch"]
    entries = [
        Entry(f"bytes of an hour, level {level}", each["bytes_per_hour"], "B", "lower")
        for level, each in levels.items()
    ]
    entries += [
        Entry("processor time of a second of 720p video", whole["cpu_s_per_s"], "s", "lower"),
        Entry(
            f"{SENTENCES} sentences encoded together, each",
            texts["together_ms"],
            "ms of processor",
            "lower",
            None,
            "one by one",
            texts["alone_ms"],
        ),
        Entry(
            "recall, a million clips at the rate of few", recall["ms_per_million"], "ms", "lower"
        ),
    ]
    save("scale", entries, {"levels": levels, "texts": texts, "recall": recall}, started)


def indexed(film: Path, place: Path, bundle: Bundle, level: Any) -> dict[str, Any]:
    """An index of one film at a level, tidied: bytes of an hour by table, and what it took."""
    before = processor_s()
    report = build_index([film], place, bundle, levels=level, workers=1)
    taken = processor_s() - before
    with IndexWriter(place) as writer:
        tables = {
            name: sum(
                file.stat().st_size for file in (place / f"{name}.lance" / "data").glob("*.lance")
            )
            for name in ("clips", "tokens", "texts", "videos")
        }
        n_frames = writer.head.n_frames
        n_clips = writer.head.n_clips
    hours = report.video_s / 3600
    return {
        "seconds_of_video": report.video_s,
        "frames_per_hour": n_frames / hours,
        "clips_per_hour": n_clips / hours,
        "bytes_per_hour": sum(tables.values()) / hours,
        "table_bytes_per_hour": {name: size / hours for name, size in tables.items()},
        "cpu_s_per_s": taken / report.video_s,
    }


def processor_s() -> float:
    """Processor time of this process and of the workers it has waited for."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def text_encoding(bundle: Bundle, rounds: int) -> dict[str, float]:
    """Processor milliseconds of a sentence, alone and with others."""
    sentences = [f"a {color} car on a road in the {place}" for color in ("red", "blue", "green",
                 "white") for place in ("city", "forest", "rain", "morning sun")]  # fmt: skip
    assert len(sentences) == SENTENCES
    taken = by_turns(
        {
            "together": lambda: bundle.encode_text(sentences),
            "alone": lambda: [bundle.encode_text([sentence]) for sentence in sentences],
        },
        rounds,
    )
    return {f"{name}_ms": 1e3 * each.cpu_s / SENTENCES for name, each in taken.items()}


def recall_of(place: Path, clips: int) -> dict[str, Any]:
    """Stage 1 over few clips, whose time a million is reckoned from."""
    vectors, queries = made_gallery.vectors_and_queries(clips, RECALL_DIM, 20)
    made_gallery.create(place, RECALL_DIM)
    made_gallery.fill(place, np.arange(clips), vectors, patient=True)
    index = Index.open(place)
    # The least of a query's rounds: what else the machine does is no part of the plan.
    least = [
        by_turns({"one": lambda query=query: index.recall(query, 100)}, 9)["one"].spread(1e3)[0]
        for query in queries
    ]
    ms = median(least)
    return {
        "clips": clips,
        "recall_dim": RECALL_DIM,
        "ms": ms,
        "ms_per_million": ms * 1e6 / clips,
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
