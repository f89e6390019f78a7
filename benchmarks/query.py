"""From a sentence to moments: inside one process, and as a whole `finecut search` process.

The index holds 100,000 made-up clips (benchmarks/made_index.py); the text and re-rank graphs are
the bundle's own, and every sentence is a new one. The rival in process is the same search written
plainly with NumPy: one product over all clips, a full sort, tokens made float32, the same graphs.
A process is measured from outside, from its start to its end; beside it one that only imports what
no search can do without (Python, NumPy, onnxruntime, pydantic, typer).

    python benchmarks/query.py [--clips 100000] [--quick]

Writes results/bench-query.json and results/plots/bench-query.svg.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import made_index
import record
from finecut import Bundle, Index, Searcher
from finecut.index.quantise import dequantise
from record import Entry

SUBJECTS = ("a dog", "two people", "a red car", "an old man", "a band", "a child with a kite")
PLACES = ("on a beach", "in a kitchen", "at night", "in the snow", "under a bridge by a river")
RECALL_K, K = 50, 10
NEEDED = "import numpy, onnxruntime, pydantic, typer, tokenizers"  # by any one-shot search
# What a query's time is spent on: (end of the file's name, function) -> name.
STAGES = {
    ("search/understood.py", "understand"): "understand, text encoder in it",
    ("bundle/load.py", "encode_text"): "text encoder",
    ("index/store.py", "recall"): "recall",
    ("search/candidates.py", "look_closely"): "re-rank: fetch, kernel, graph",
    ("index/store.py", "tokens"): "fetch of tokens",
    ("bundle/load.py", "rerank"): "re-rank graph",
    ("search/evidence.py", "evidence_of"): "evidence",
    ("search/moments.py", "each_moment"): "moments",
}


def sentences() -> Iterator[str]:
    """Sentences without end, each once."""
    for number in count():
        subject = SUBJECTS[number % len(SUBJECTS)]
        place = PLACES[number // len(SUBJECTS) % len(PLACES)]
        yield f"{subject} {place} {number // 30}"


def plain_search(bundle: Bundle, index: Index, query: str) -> list[int]:
    """The rows of the ten best clips, the plain way."""
    tokens = bundle.encode_text([query])[0]
    scores = index.recall_matrix() @ tokens.recall
    rows = np.argsort(-scores, kind="stable")[:RECALL_K]
    stored = index.tokens(rows)
    inputs: dict[str, Any] = {"recall_score": scores[rows], "frame_mask": stored.frame_mask}
    frames = dequantise(stored.frames, stored.frame_scale) @ tokens.text
    inputs["frame_sims"] = np.where(stored.frame_mask, frames, 0)
    if stored.patches is not None:
        patches = dequantise(stored.patches.padded(stored.frame_mask), stored.patch_scale)
        patches = patches @ tokens.text
        inputs["patch_sims"] = np.where(stored.frame_mask[..., None], patches, 0)
    found = bundle.rerank(inputs)
    final = scores[rows] if found is None else found[0]
    return rows[np.argsort(-final, kind="stable")[:K]].tolist()


def in_process(searcher: Searcher, queries: int) -> dict[str, list[float]]:
    """Milliseconds of each query, ours and the plain way by turns."""
    told = sentences()
    taken: dict[str, list[float]] = {"ours": [], "plain": [], "text": []}
    for number in range(queries + 10):  # the first ten warm up
        query, other = next(told), next(told)
        times = []
        for way in (
            lambda q=query: searcher.search(q),
            lambda q=other: plain_search(searcher.bundle, searcher.index, q),
            lambda q=query + " now": searcher.bundle.encode_text([q]),
        ):
            begun = time.perf_counter()
            way()
            times.append((time.perf_counter() - begun) * 1e3)
        if number >= 10:
            for name, spent in zip(taken, times, strict=True):
                taken[name].append(spent)
    return taken


def stages(searcher: Searcher, queries: int) -> dict[str, float]:
    """Milliseconds a query spends in each stage, under a profiler (which adds to all of them)."""
    profile = cProfile.Profile()
    told = sentences()
    asked = [next(told) + " again" for _ in range(queries)]
    profile.enable()
    for query in asked:
        searcher.search(query)
    profile.disable()
    found = {}
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # pyright: ignore
    for (file, _, function), (_, _, _, spent, _) in stats.items():
        for (end, name), stage in STAGES.items():
            if function == name and file.endswith(end):
                found[stage] = found.get(stage, 0.0) + spent * 1e3 / queries
    return found


def process_times(commands: dict[str, list[str]], rounds: int) -> dict[str, list[tuple]]:
    """(seconds of the clock, of the processor) of whole processes, by turns."""
    taken: dict[str, list[tuple]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            begun = time.perf_counter()
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
            _, status, used = os.wait4(process.pid, 0)
            spent = time.perf_counter() - begun
            if status:
                raise SystemExit(f"{' '.join(command)} failed")
            process.returncode = 0
            if number:  # the first warms up
                taken[name].append((spent, used.ru_utime + used.ru_stime))
    return taken


def milliseconds(values: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: record.percentile(values, share) for name, share in shares.items()}


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--bundle", default="starter")
    told = parser.parse_args()
    started = time.time()
    clips = told.clips or (500 if told.quick else 100_000)
    queries, rounds = (20, 1) if told.quick else (300, 11)
    bundle = Bundle.load(told.bundle)
    folder = made_index.made_index(bundle, clips)
    searcher = Searcher.open(folder)
    taken = in_process(searcher, queries)
    ours, plain = milliseconds(taken["ours"]), milliseconds(taken["plain"])
    finecut = Path(sys.executable).with_name("finecut")
    program = [str(finecut)] if finecut.exists() else [sys.executable, "-m", "finecut"]
    search = [*program, "search", "a dog on a beach", "--index", str(folder)]
    processes = process_times(
        {
            "search": search,
            "imports": [sys.executable, "-c", NEEDED],
            "help": [*program, "--help"],
            "import finecut": [sys.executable, "-c", "import finecut"],
        },
        rounds,
    )
    clock = {name: [one[0] for one in runs] for name, runs in processes.items()}
    rival = "the same search in plain NumPy"
    entries = [
        Entry(
            f"query, {clips:,} clips, in process, p50", ours["p50"], "ms", "lower", 12.0, rival,
            plain["p50"], (min(taken["ours"]), max(taken["ours"])),
        ),
        Entry(
            f"query, {clips:,} clips, in process, p95", ours["p95"], "ms", "lower", 25.0, rival,
            plain["p95"], (min(taken["ours"]), max(taken["ours"])),
        ),
        Entry(
            f"text encoder, {bundle.name}, true length, p50",
            record.percentile(taken["text"], 0.5), "ms", "lower", 4.0,
            spread=(min(taken["text"]), max(taken["text"])),
        ),
        Entry(
            f"finecut search, whole process, {clips:,} clips", median(clock["search"]), "s",
            "lower", 0.6, "a process that only imports what any search needs",
            median(clock["imports"]), (min(clock["search"]), max(clock["search"])),
        ),
        Entry(
            "import finecut, whole process", median(clock["import finecut"]), "s", "lower", 0.3,
            spread=(min(clock["import finecut"]), max(clock["import finecut"])),
        ),
    ]  # fmt: skip
    figures = {
        "clips": clips,
        "frames_per_clip": made_index.FRAMES,
        "queries": queries,
        "rounds": rounds,
        "bundle": bundle.name,
        "milliseconds": {name: milliseconds(values) for name, values in taken.items()},
        "stages_ms": stages(searcher, min(queries, 100)),
        "processes": {
            name: {
                "clock_s": median(one[0] for one in runs),
                "cpu_s": median(one[1] for one in runs),
            }
            for name, runs in processes.items()
        },
    }
    record.save("query", entries, figures, started)

    def draw(axes: Any) -> None:
        for name, label in (("ours", "finecut"), ("plain", rival), ("text", "text encoder alone")):
            values = sorted(taken[name])
            axes.plot(values, np.linspace(0, 100, len(values)), label=label)
        axes.axvline(12.0, color="grey", linestyle=":", label="target for half of all queries")
        axes.set(xlabel="milliseconds from text to moments", ylabel="per cent of queries", xlim=0)
        axes.legend()

    record.plot("query", draw)


if __name__ == "__main__":
    main()
