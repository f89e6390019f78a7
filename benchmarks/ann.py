"""Stage 1 at 10,000, 100,000 and a million clips of 512 dimensions, filtered and growing.

Ours is `Index.recall` on an index opened from its cache. Beside it, by turns: FAISS flat (exact),
a plain NumPy product with a partial sort, FAISS IVF4096,SQ8 at a million clips, Lance's IVF_RQ at
100,000. All answer one query at a time. `Searcher` is measured at a million clips with the
starter's text encoder, its recall vectors cut to 512 dimensions. A process of its own tells how
long a million clips take to open and what memory they need.

    python benchmarks/ann.py [--quick]

Writes results/bench-ann.json and results/plots/bench-ann.svg. Needs 3.2 GB of disk in the temporary
folder and 9 GB of memory.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import made_gallery
import record
from finecut import Index
from finecut.index.recall import top_rows
from record import Entry

DIM, K = 512, 100
SLOW_FILTER = (
    "Where a filter lets a tenth or more through, allowed clips are counted cell by cell and their "
    "codes gathered row by row: `filters` in the figures has the time by share."
)
SIZES = {"10k": 10_000, "100k": 100_000, "1M": 1_000_000}
QUICK_SIZES = {"10k": 10_000, "50k": 50_000}
LARGE = "1M"
QUERIES = 200
RIVAL_QUERIES = 40  # of a rival that takes as long as an exact search
SHARES = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
FILTER_QUERIES = 60
ROUNDS = 20  # of growth
GROWN_FROM, APPENDED, REMOVED = 220_000, 15_000, 5_000
FAISS_CELLS, FAISS_PROBES = 4096, 64

Search = Callable[[NDArray[np.float32]], NDArray[np.integer]]


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--process", type=Path, help="used by the benchmark itself")
    told = parser.parse_args()
    if told.process:
        print(json.dumps(one_process(told.process)))
        return
    started = time.time()
    entries: list[Entry] = []
    figures: dict[str, Any] = {}
    sizes = QUICK_SIZES if told.quick else SIZES
    with tempfile.TemporaryDirectory() as folder:
        for name, size in sizes.items():
            measured = at_size(Path(folder) / name, name, size)
            figures[name] = measured
            entries += entries_of(name, measured)
            shutil.rmtree(Path(folder) / name)
        if not told.quick:
            figures["growth"] = growth(Path(folder) / "grown")
            entries += entries_of_growth(figures["growth"])
    record.save("ann", entries, figures, started)
    record.plot("ann", lambda axes: draw(axes, figures))


# -- one size -------------------------------------------------------------------------------------


def at_size(place: Path, name: str, size: int) -> dict[str, Any]:
    vectors, queries = made_gallery.vectors_and_queries(size, DIM, QUERIES)
    truth = exact(vectors, queries)
    made_gallery.create(place, DIM)
    begun, cpu = time.perf_counter(), time.process_time()
    made_gallery.fill(place, np.arange(size), vectors, patient=True)
    build = {"build_s": time.perf_counter() - begun, "build_cpu_s": time.process_time() - cpu}
    index = Index.open(place)
    ways: dict[str, tuple[Search, int]] = {
        "ours": (ours(index), QUERIES),
        "NumPy": (lambda query: plain(vectors, query), RIVAL_QUERIES),
    }
    ways |= {key: (way, RIVAL_QUERIES) for key, way in faiss_ways(vectors, name).items()}
    if name == "100k":
        ways["Lance IVF_RQ"] = lance_way(place.parent / "lance", vectors), RIVAL_QUERIES
    measured = {"clips": size, **build, "disk_mb": disk_mb(index)}
    measured["ways"] = by_turns(ways, queries, truth)
    measured["filters"] = filtered(index, vectors, queries)
    measured["process"] = in_a_process(place)
    if name == LARGE:
        measured["searcher"] = through_searcher(place, index)
    return measured


def ours(index: Index) -> Search:
    return lambda query: index.recall(query, K)[0]


def exact(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """[Q, K] rows by the plain product, best first."""
    return top_rows(queries, vectors, K)[0]


def plain(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.int64]:
    scores = vectors @ query
    best = np.argpartition(-scores, K)[:K]
    return best[np.argsort(-scores[best], kind="stable")]


def faiss_ways(vectors: NDArray[np.float32], name: str) -> dict[str, Search]:
    try:
        import faiss
    except ImportError:
        print("left out, faiss is not installed: FAISS flat and IVF,SQ8", file=sys.stderr)
        return {}
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    found: dict[str, Search] = {"FAISS flat": lambda query: flat.search(query[None], K)[1][0]}
    if name == LARGE:
        cells = faiss.index_factory(DIM, f"IVF{FAISS_CELLS},SQ8", faiss.METRIC_INNER_PRODUCT)
        begun = time.perf_counter()
        rng = np.random.default_rng(0)
        cells.train(vectors[rng.choice(len(vectors), 40 * FAISS_CELLS, replace=False)])
        cells.add(vectors)
        print(f"FAISS IVF{FAISS_CELLS},SQ8 built in {time.perf_counter() - begun:.0f} s")
        cells.nprobe = FAISS_PROBES
        key = f"FAISS IVF{FAISS_CELLS},SQ8, {FAISS_PROBES} probes"
        found[key] = lambda query: cells.search(query[None], K)[1][0]
    return found


def lance_way(place: Path, vectors: NDArray[np.float32]) -> Search:
    import lance
    import pyarrow as pa

    flat = pa.array(vectors.reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, DIM)
    table = pa.table({"row": pa.array(np.arange(len(vectors))), "recall": column})
    dataset = lance.write_dataset(table, str(place))
    cells = int(len(vectors) ** 0.5)
    begun = time.perf_counter()
    dataset = dataset.create_index(
        "recall", "IVF_RQ", metric="dot", num_partitions=cells, num_bits=1
    )
    print(f"Lance IVF_RQ built in {time.perf_counter() - begun:.0f} s")

    def search(query: NDArray[np.float32]) -> NDArray[np.int64]:
        asked = {"column": "recall", "q": query, "k": K, "nprobes": 20, "refine_factor": 5}
        return dataset.to_table(columns=["row", "_distance"], nearest=asked)["row"].to_numpy()

    return search


def by_turns(
    ways: dict[str, tuple[Search, int]], queries: NDArray[np.float32], truth: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Milliseconds and recall of each way, the ways taking turns query by query."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    shares: dict[str, list[float]] = {name: [] for name in ways}
    tens: dict[str, list[float]] = {name: [] for name in ways}
    for way, _ in ways.values():
        way(queries[-1])
    for place, query in enumerate(queries):
        for name, (way, count) in ways.items():
            if place >= count:
                continue
            begun, busy = time.perf_counter(), time.process_time()
            rows = way(query)
            times[name].append((time.perf_counter() - begun) * 1e3)
            cpu[name].append((time.process_time() - busy) * 1e3)
            found = set(rows.tolist())
            shares[name].append(len(found & set(truth[place].tolist())) / K)
            tens[name].append(len(found & set(truth[place, :10].tolist())) / 10)
    return {
        name: {
            "p50_ms": record.percentile(times[name], 0.5),
            "p95_ms": record.percentile(times[name], 0.95),
            "least_ms": min(times[name]),
            "most_ms": max(times[name]),
            "cpu_ms": record.percentile(cpu[name], 0.5),
            "recall_100": float(np.mean(shares[name])),
            "recall_10": float(np.mean(tens[name])),
        }
        for name in ways
    }


def filtered(
    index: Index, vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> list[dict[str, float]]:
    """Recall and time under filters that let such shares of the clips through."""
    rng = np.random.default_rng(1)
    rows = []
    for share in SHARES:
        allowed = rng.random(len(vectors)) < share
        allowed[: K // 10] = True
        some = queries[:FILTER_QUERIES]
        truth, _ = top_rows(some, vectors, K, allowed)
        times, shares = [], []
        for query, best in zip(some, truth, strict=True):
            begun = time.perf_counter()
            found, _ = index.recall(query, K, allowed)
            times.append((time.perf_counter() - begun) * 1e3)
            shares.append(len(set(found.tolist()) & set(best.tolist())) / len(best))
        rows.append(
            {
                "share": share,
                "clips": int(allowed.sum()),
                "recall_100": float(np.mean(shares)),
                "p50_ms": record.percentile(times, 0.5),
                "p95_ms": record.percentile(times, 0.95),
            }
        )
    return rows


def disk_mb(index: Index) -> dict[str, float]:
    """Megabytes of the cache's large columns."""
    folder = index.cache_folder
    sizes: dict[str, float] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            kind = "vectors" if path.name == "recall.bin" else "codes and cells"
            if path.name.startswith(("code", "cell", "centres", "pack")) or "order" in path.name:
                sizes[kind] = sizes.get(kind, 0.0) + path.stat().st_size / 1e6
            elif kind == "vectors":
                sizes[kind] = path.stat().st_size / 1e6
    return sizes


# -- a process ------------------------------------------------------------------------------------


def in_a_process(place: Path) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--process", str(place)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def one_process(place: Path) -> dict[str, float]:
    """How long opening and the first search take, and the memory of this process after many."""
    queries = np.random.default_rng(0).normal(size=(QUERIES, DIM)).astype(np.float32)
    before = memory_mb()
    begun = time.perf_counter()
    index = Index.open(place)
    opened = time.perf_counter()
    index.recall(queries[0], K)
    first = time.perf_counter()
    after_one = memory_mb()
    for query in queries:
        index.recall(query, K)
    after = memory_mb()
    return {
        "open_ms": (opened - begun) * 1e3,
        "first_search_ms": (first - opened) * 1e3,
        "own_mb_after_one": after_one["own"] - before["own"],
        "own_mb": after["own"] - before["own"],
        "mapped_mb_after_one": after_one["mapped"] - before["mapped"],
        "mapped_mb": after["mapped"] - before["mapped"],
    }


def memory_mb() -> dict[str, float]:
    """This process's own memory, and the pages of files that it has mapped and touched."""
    found = {"own": 0.0, "mapped": 0.0}
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon"):
                found["own"] = int(line.split()[1]) / 1e3
            elif line.startswith("RssFile"):
                found["mapped"] = int(line.split()[1]) / 1e3
    return found


# -- growth ---------------------------------------------------------------------------------------


def growth(place: Path) -> list[dict[str, float]]:
    """Clips are added and taken away in turn; recall and time stay as they were."""
    last = GROWN_FROM + ROUNDS * APPENDED
    vectors, queries = made_gallery.vectors_and_queries(last, DIM, FILTER_QUERIES, seed=2)
    made_gallery.create(place, DIM)
    rng = np.random.default_rng(3)
    clip_id = np.arange(GROWN_FROM)
    rows = []
    for turn in range(ROUNDS + 1):
        if turn:
            keep = np.ones(len(clip_id), bool)
            keep[rng.choice(len(clip_id), REMOVED, replace=False)] = False
            first = GROWN_FROM + (turn - 1) * APPENDED
            clip_id = np.concatenate([clip_id[keep], np.arange(first, first + APPENDED)])
        begun = time.perf_counter()
        made_gallery.fill(place, clip_id, vectors, patient=True)
        taken = time.perf_counter() - begun
        truth = exact(vectors[clip_id], queries)
        found = by_turns({"ours": (ours(Index.open(place)), K)}, queries, truth)
        rows.append({"clips": len(clip_id), "taken_in_s": taken, **found["ours"]})
    return rows


# -- the whole engine -----------------------------------------------------------------------------


def through_searcher(place: Path, index: Index) -> dict[str, float]:
    """Sentences to moments over this gallery: the starter's text encoder, no re-ranking."""
    import cut_bundle
    from finecut import Searcher
    from finecut.index.meta import META_FILE, write_json
    from query import sentences

    bundle = cut_bundle.cut_starter(place.parent / "bundle", DIM)
    meta = json.loads((place / META_FILE).read_bytes())
    write_json(place / META_FILE, meta | {"fingerprint": bundle.fingerprint})
    searcher = Searcher.open(place, bundle=bundle)
    asked = sentences()
    searcher.search(next(asked))
    taken, known = [], []
    for _ in range(QUERIES // 2):
        sentence = next(asked)
        for kept in (taken, known):  # a new sentence, and the same once more
            begun = time.perf_counter()
            searcher.search(sentence)
            kept.append((time.perf_counter() - begun) * 1e3)
    del index
    return {
        "new_sentence_p50_ms": record.percentile(taken, 0.5),
        "new_sentence_p95_ms": record.percentile(taken, 0.95),
        "known_sentence_p50_ms": record.percentile(known, 0.5),
        "known_sentence_p95_ms": record.percentile(known, 0.95),
    }


# -- what is written ------------------------------------------------------------------------------


def entries_of(name: str, measured: dict[str, Any]) -> list[Entry]:
    ways = measured["ways"]
    ours = ways["ours"]
    large = name == LARGE
    rival = "FAISS flat, exact" if "FAISS flat" in ways else "plain NumPy product"
    rival_ms = ways.get("FAISS flat", ways["NumPy"])["p50_ms"]
    spread = ours["least_ms"], ours["most_ms"]
    made = [
        Entry(
            f"recall, {name} clips",
            ours["p50_ms"],
            "ms",
            "lower",
            10.0 if large else None,
            rival,
            rival_ms,
            spread,
        ),
        Entry(
            f"recall@100, {name} clips",
            ours["recall_100"],
            "share",
            "higher",
            0.98 if large else 1.0,
            "exact",
            1.0,
        ),
    ]
    worst = min(row["recall_100"] for row in measured["filters"])
    slowest = max(row["p50_ms"] for row in measured["filters"])
    made.append(
        Entry(
            f"recall@100 under the worst filter, {name} clips",
            worst,
            "share",
            "higher",
            0.98 if large else 1.0,
            "exact",
            1.0,
        )
    )
    made.append(
        Entry(
            f"recall under the slowest filter, {name} clips",
            slowest,
            "ms",
            "lower",
            10.0 if large else None,
            rival,
            rival_ms,
            note=SLOW_FILTER if large and slowest > 10 else "",
        )
    )
    for key in sorted(set(ways) - {"ours", "FAISS flat", "NumPy"}):
        made.append(
            Entry(
                f"recall beside {key}, {name} clips",
                ours["p50_ms"],
                "ms",
                "lower",
                None,
                f"{key}, recall@100 {ways[key]['recall_100']:.3f}",
                ways[key]["p50_ms"],
                spread,
            )
        )
    if large:
        made.append(Entry(f"build of the cache, {name} clips", measured["build_s"], "s", "lower"))
        made.append(
            Entry(f"own memory, {name} clips", measured["process"]["own_mb"], "MB", "lower")
        )
        known = measured["searcher"]["known_sentence_p50_ms"]
        made.append(Entry(f"Searcher, {name} clips, known sentence", known, "ms", "lower", 10.0))
    return made


def entries_of_growth(rows: Sequence[dict[str, float]]) -> list[Entry]:
    last = rows[-5:]
    return [
        Entry(
            f"recall@100 after {ROUNDS} rounds of growth and removal",
            float(np.mean([row["recall_100"] for row in last])),
            "share",
            "higher",
            0.98,
            "before the first round",
            rows[0]["recall_100"],
        ),
        Entry(
            f"recall after {ROUNDS} rounds of growth and removal",
            float(np.median([row["p50_ms"] for row in last])),
            "ms",
            "lower",
            10.0,
            "before the first round",
            rows[0]["p50_ms"],
        ),
    ]


def draw(axes: Any, figures: dict[str, Any]) -> None:
    """Recall against filters at each size, and as the index grows."""
    for name in figures.keys() - {"growth"}:
        rows = figures[name]["filters"]
        axes.plot(
            [100 * row["share"] for row in rows],
            [row["recall_100"] for row in rows],
            marker="o",
            label=f"{name} clips, filtered",
        )
    axes.set_xscale("log")
    axes.set_xlabel("% of the clips that a filter lets through")
    axes.set_ylabel("recall@100")
    axes.set_ylim(0.9, 1.005)
    if "growth" in figures:
        beside = axes.twiny()
        beside.plot(
            range(len(figures["growth"])),
            [row["recall_100"] for row in figures["growth"]],
            color="black",
            linestyle=":",
            label="growing, unfiltered",
        )
        beside.set_xlabel("rounds of growth and removal (dotted)")
    axes.legend(loc="lower left")


if __name__ == "__main__":
    main()
