"""Stage 2: the products with patch tokens, their fetch, and how many candidates need them.

Fifty candidates of 12 frames of 49 patches of 512 bytes, random unit tokens, in an index written
by the real writer. By turns: the products alone, straight from the mapped cache; reading the same
bytes and nothing more, by as many threads, which is the limit; the plain NumPy way. Then fetch and
products as a search runs them, with all patches and with the sixteen tokens that are kept by
default; the same fetched from Lance; and both with the page cache dropped.

How deep to look is tried on real clips where FINECUT_SHARED is set (the Panda clips and their
captions, the starter), else on made-up clips with the bundle's own bank of queries.

    python benchmarks/rerank.py [--quick]

Writes results/bench-rerank.json and results/plots/bench-rerank.svg.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import made_index
import record
from finecut import Bundle, Index, Searcher
from finecut.index.build import build_index
from finecut.index.meta import SCHEMA_VERSION, IndexMeta
from finecut.index.rows import StoredTokens
from finecut.index.tables import EncodedClip
from finecut.index.writer import IndexWriter
from finecut.search import depth as depths
from finecut.search.candidates import find_candidates
from finecut.search.rerank import patch_sims
from finecut.search.token_products import patch_products
from finecut.types import DecodedClip, VideoTokens
from record import Entry

K, FRAMES, ROWS, DIM, KEPT = 50, 12, 7, 512, 16
CLIPS, QUICK_CLIPS = 600, 120
ROUNDS, QUICK_ROUNDS = 60, 10
COLD_ROUNDS = 7
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
TOP = 10


def main() -> None:
    told = record.arguments(__doc__).parse_args()
    started = time.time()
    clips = QUICK_CLIPS if told.quick else CLIPS
    rounds = QUICK_ROUNDS if told.quick else ROUNDS
    entries: list[Entry] = []
    figures: dict[str, Any] = {"clips": clips, "cores": CORES, "rounds": rounds}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for kept in (ROWS * ROWS, KEPT):
            write(place / f"kept-{kept}", clips, kept)
        entries += kernel(place, rounds, figures)
        entries += fetched(place, rounds, figures)
        entries += deep(place, figures)
    record.save("rerank", entries, figures, started)
    record.plot("rerank", lambda axes: draw(axes, entries))


# -- an index of patches -------------------------------------------------------------------------


def write(folder: Path, clips: int, kept: int) -> None:
    """Clips of random tokens; all of one video, which changes nothing here."""
    rng = np.random.default_rng(0)
    meta = IndexMeta(
        schema_version=SCHEMA_VERSION,
        uuid="0" * 32,
        created_at=made_index.MADE_AT,
        bundle_name="made-up",
        bundle_ref="made-up",
        fingerprint="0" * 64,
        levels="patch",
        recall_dim=DIM,
        embed_dim=DIM,
        patch_rows=ROWS,
        patch_columns=ROWS,
        frame_values=False,
        frames_per_second=1.0,
        max_frames=FRAMES,
        patches_kept=kept if kept < ROWS * ROWS else 0,
    )
    pictures = np.zeros((FRAMES, 8, 8, 3), np.uint8)
    with IndexWriter(folder, meta) as writer:
        for start in range(0, clips, 100):
            number = start // 100
            stored = []
            for place, clip_id in enumerate(writer.take_clip_ids(min(100, clips - start))):
                times = place * FRAMES + np.arange(FRAMES, dtype=np.float64)
                end_s = float(times[-1] + 1)
                clip = DecodedClip(place, float(times[0]), end_s, pictures, times, b"", 8, 8)
                tokens = VideoTokens(
                    made_index.unit(rng, DIM),
                    made_index.unit(rng, FRAMES, DIM),
                    made_index.unit(rng, FRAMES, ROWS * ROWS, DIM),
                )
                stored.append(EncodedClip(clip_id, f"{number:032x}", writer.build, clip, tokens))
            path = folder.with_name(f"{folder.name}-{number}.mp4")
            row = made_index.video_row(number, writer.build, path, len(stored), FRAMES)
            writer.commit(stored, [row])
    Index.open(folder)  # writes the cache


def candidates(index: Index, rounds: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(1)
    return [rng.choice(len(index.clips), K, replace=False) for _ in range(rounds + 1)]


class Turns:
    """The next candidates at every call: one query's must not be in the cache of the last."""

    def __init__(self, items: list[Any], do: Any) -> None:
        self._items, self._do, self._next = items, do, 0

    def __call__(self) -> Any:
        item = self._items[self._next % len(self._items)]
        self._next += 1
        return self._do(item)


# -- the products --------------------------------------------------------------------------------


def kernel(place: Path, rounds: int, figures: dict[str, Any]) -> list[Entry]:
    index = Index.open(place / f"kept-{ROWS * ROWS}")
    text = made_index.unit(np.random.default_rng(2), DIM)
    tokens = [index.tokens(rows) for rows in candidates(index, rounds)]
    for one in tokens[:3]:  # the two ways agree
        every, plain = patch_products(one.patches.parts, text), by_numpy(one, text)
        if (np.abs(every - plain) * one.patch_scale[one.frame_mask].ravel()).max() > 1e-5:
            raise SystemExit("integer products differ from floats: nothing was written")
    with ThreadPoolExecutor(CORES) as pool:
        taken = record.by_turns(
            {
                "ours": Turns(tokens, lambda one: patch_products(one.patches.parts, text)),
                "one thread": Turns(
                    tokens, lambda one: patch_products(one.patches.parts, text, threads=1)
                ),
                "read": Turns(tokens, lambda one: read(one, pool)),
                "numpy": Turns(tokens, lambda one: by_numpy(one, text)),
            },
            rounds,
        )
    ms = {name: item.clock_s * 1e3 for name, item in taken.items()}
    figures["kernel_ms"] = {n: {"median": ms[n], "range": t.spread(1e3)} for n, t in taken.items()}
    figures["kernel_cpu_ms"] = {name: item.cpu_s * 1e3 for name, item in taken.items()}
    size = sum(part.nbytes for part in tokens[0].patches.parts)
    figures["token_bytes"] = size
    figures["read_gb_per_s"] = size / taken["read"].clock_s / 1e9
    what = f"products, {K} x {FRAMES} x {ROWS * ROWS} x {DIM}"
    return [
        Entry(
            f"{what}, against reading",
            ms["ours"],
            "ms",
            "lower",
            3.0 * ms["read"],
            f"reading the same bytes with {CORES} threads",
            ms["read"],
            taken["ours"].spread(1e3),
            note=_kernel_note(ms, taken),
        ),
        Entry(
            f"{what}, against NumPy",
            ms["ours"],
            "ms",
            "lower",
            limit_or_rival="the same by NumPy, floats in blocks that fit the cache",
            limit_value=ms["numpy"],
            spread=taken["ours"].spread(1e3),
        ),
    ]


def _kernel_note(ms: dict[str, float], taken: dict[str, record.Rounds]) -> str:
    if ms["ours"] <= 3.0 * ms["read"]:
        return ""
    return (
        f"{taken['ours'].cpu_s * 1e3:.2f} ms of processor time, {ms['one thread']:.2f} ms by one "
        "thread: each byte is multiplied by two digits of the query, and the rest is waiting for "
        "the other core where it is busy"
    )


def read(tokens: StoredTokens, pool: ThreadPoolExecutor) -> int:
    """Touch every byte, eight at a time, by all cores: the least any kernel could do."""

    def total(parts: list[NDArray[np.int8]]) -> int:
        return sum(int(part.reshape(-1).view(np.int64).sum()) for part in parts)

    shares = [tokens.patches.parts[i::CORES] for i in range(CORES)]
    return sum(pool.map(total, shares))


def by_numpy(tokens: StoredTokens, text: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each clip's bytes to floats in one buffer, then a product: as fast as plain NumPy goes."""
    buffer = np.empty(tokens.patches.parts[0].shape, np.float32)
    found = []
    for part in tokens.patches.parts:
        np.copyto(buffer, part)
        found.append(buffer @ text)
    return np.concatenate(found)


# -- with the fetch ------------------------------------------------------------------------------


def fetched(place: Path, rounds: int, figures: dict[str, Any]) -> list[Entry]:
    text = made_index.unit(np.random.default_rng(2), DIM)
    indexes = {kept: Index.open(place / f"kept-{kept}") for kept in (ROWS * ROWS, KEPT)}
    asked = candidates(indexes[KEPT], rounds)

    def serve(index: Index) -> Any:
        return Turns(asked, lambda rows: patch_sims(index.tokens(rows), text))

    taken = record.by_turns({str(k): serve(index) for k, index in indexes.items()}, rounds)
    lance = {kept: uncached(place / f"kept-{kept}") for kept in indexes}
    taken |= {
        f"lance {name}": item
        for name, item in record.by_turns(
            {str(k): serve(index) for k, index in lance.items()}, max(5, rounds // 5)
        ).items()
    }
    ms = {name: item.clock_s * 1e3 for name, item in taken.items()}
    del indexes, lance
    cold = {
        f"{kept}{' lance' if bare else ''}": cold_ms(place / f"kept-{kept}", asked, text, bare)
        for kept in (ROWS * ROWS, KEPT)
        for bare in (False, True)
    }
    figures["fetch_and_products_ms"] = ms
    figures["cold_fetch_and_products_ms"] = cold
    every, few = str(ROWS * ROWS), str(KEPT)
    return [
        Entry(
            f"fetch and products, all {ROWS * ROWS} patches, warm",
            ms[every],
            "ms",
            "lower",
            3.0,
            "the same rows from Lance, warm",
            ms[f"lance {every}"],
            taken[every].spread(1e3),
        ),
        Entry(
            f"fetch and products, {KEPT} tokens a frame (default), warm",
            ms[few],
            "ms",
            "lower",
            3.0,
            "the same rows from Lance, warm",
            ms[f"lance {few}"],
            taken[few].spread(1e3),
        ),
        Entry(
            f"fetch and products, all {ROWS * ROWS} patches, cold",
            median(cold[every]),
            "ms",
            "lower",
            None,
            "the same rows from Lance, cold",
            median(cold[f"{every} lance"]),
            (min(cold[every]), max(cold[every])),
        ),
        Entry(
            f"fetch and products, {KEPT} tokens a frame, cold",
            median(cold[few]),
            "ms",
            "lower",
            None,
            "the same rows from Lance, cold",
            median(cold[f"{few} lance"]),
            (min(cold[few]), max(cold[few])),
        ),
    ]


def uncached(folder: Path) -> Index:
    """The index as it is opened where no tokens are kept beside it."""
    index = Index.open(folder)
    index._snapshot = index._snapshot.__class__(
        **{
            name: None if name == "tokens" else getattr(index._snapshot, name)
            for name in index._snapshot.__slots__
        }
    )
    return index


def cold_ms(
    folder: Path, asked: list[NDArray[np.int64]], text: NDArray[np.float32], bare: bool
) -> list[float]:
    """Milliseconds of one search's fetch and products with none of the index's files in memory."""
    if not hasattr(os, "posix_fadvise"):
        return [float("nan")]
    found = []
    for rows in asked[:COLD_ROUNDS]:
        gc.collect()  # a file that is still mapped is not let go
        index = uncached(folder) if bare else Index.open(folder)
        index.tokens(rows[:1], patches=False)  # tables and maps are open
        for path in folder.rglob("*"):
            if path.is_file():
                drop(path)
        began = time.perf_counter()
        patch_sims(index.tokens(rows), text)
        found.append((time.perf_counter() - began) * 1e3)
        del index
    return found


def drop(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# -- how deep ------------------------------------------------------------------------------------


def deep(place: Path, figures: dict[str, Any]) -> list[Entry]:
    """The first ten with as many candidates as needed, against re-ranking all fifty."""
    shared = os.environ.get("FINECUT_SHARED")
    bundle = Bundle.load()
    if shared:
        clips = Path(shared) / "data" / "panda70m_samples"
        index_dir, what = place / "panda", "real clips and their captions"
        build_index([clips], index_dir, bundle)
        lines = (clips / "captions.jsonl").read_text("utf-8").splitlines()
        sentences = [json.loads(line)["caption"] for line in lines]
    else:
        index_dir, what = made_index.made_index(bundle, 1000), "made-up clips"
        bank = bundle.query_bank()
        sentences = list(bank.sentences[1::2]) if bank else []
    searcher = Searcher.open(index_dir, bundle=bundle)
    began = time.perf_counter()
    depth = depths.fit_depth(bundle, searcher.index)
    figures["depth"] = {"what": what, "queries": len(sentences)}
    figures["depth"]["fit_s"] = time.perf_counter() - began
    if depth is None:
        figures["depth"]["fit"] = "not shown to be safe: every candidate is looked at"
        return []
    figures["depth"] |= {"weights": depth.weights, "margin": depth.margin}
    same, looked = [], []
    reads: list[int] = []
    original = searcher.index.tokens

    def counted(rows: Any, *, patches: bool = True) -> StoredTokens:
        reads.append(len(rows) if patches else 0)
        return original(rows, patches=patches)

    searcher.index.tokens = counted  # type: ignore[method-assign]
    for asked in searcher.encode_texts(sentences):
        full = find_candidates(bundle, searcher.index, asked.tokens, K)
        reads.clear()
        some = find_candidates(bundle, searcher.index, asked.tokens, K, k=TOP, depth=depth)
        looked.append(sum(reads) / K)
        same.append(bool((full.rows[:TOP] == some.rows[:TOP]).all()))
    return [
        Entry(
            f"queries with the same first ten, {what}",
            100.0 * float(np.mean(same)),
            "%",
            "higher",
            99.0,
            "re-ranking all fifty",
            100.0,
        ),
        Entry(
            f"candidates whose patches are read, {what}",
            100.0 * float(np.mean(looked)),
            "%",
            "lower",
            40.0,
            "re-ranking all fifty",
            100.0,
            (100.0 * min(looked), 100.0 * max(looked)),
        ),
    ]


def draw(axes: Any, entries: list[Entry]) -> None:
    timed = [entry for entry in entries if entry.unit == "ms" and "NumPy" not in entry.name]
    places = np.arange(len(timed))
    axes.barh(places + 0.2, [entry.value for entry in timed], 0.4, label="ours")
    axes.barh(places - 0.2, [entry.limit_value for entry in timed], 0.4, label="limit or rival")
    axes.set_yticks(places, [entry.name.replace(", ", "\n", 1) for entry in timed], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms for 50 candidates")
    axes.legend()


if __name__ == "__main__":
    main()
