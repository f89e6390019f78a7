"""Against other tools of the same purpose: same machine, same files, same run, by turns.

Peers are published packages, called through their own functions (benchmarks/peer_packages.py has
them and says what is put in the place of their models). Three things are compared: sampling one
frame a second, in processor time of all processes; indexing a folder from an empty index to the
end of the process, with finecut's starter as everybody's model; searching 100,000 vectors of 512
dimensions, the query's vector given. Exhaustive scoring as EERCF's released code does it is in
benchmarks/eercf_stage2.py. What could not be installed or run is in `not_run`, with its error.

    python benchmarks/peers.py [--quick]

Writes results/bench-peers.json and results/plots/bench-peers.svg. Needs a package index once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import made_gallery
import peer_packages as peers
import record
import videos
from finecut import Bundle, Index
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec
from record import Entry
from videos import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SECONDS, ROUNDS = 32, 3
FILES, INDEX_ROUNDS = 6, 2  # of indexing, which also runs once to warm up
CLIPS, DIM, K, QUERIES = 100_000, 512, 10, 20
OURS = "finecut"
FILMS = {"720p, keys 2 s": Kind(), "720p, keys 10 s": Kind(keys_s=10)}

Figures = dict[str, Any]
Search = Callable[[NDArray[np.float32]], Sequence[int]]
Taken = dict[str, list[tuple[float, float]]]


class NotRun(dict[str, str]):
    """What each peer that cannot be run says, by what was asked of it."""

    def tried(self, what: str, peer: str, way: Callable[[], Any]) -> Any:
        """What ``way`` gives; None, and its error kept, where a peer fails."""
        try:
            return way()
        except Exception as error:
            if peer == OURS:
                raise
            self[f"{what}, {peer}"] = f"{type(error).__name__}: {error}"
            print(f"{what}, {peer}, not run: {error}", file=sys.stderr)
            return None

    def possible(
        self, what: str, ways: Mapping[str, Callable[[], int]]
    ) -> tuple[dict[str, Callable[[], int]], dict[str, int]]:
        """Those that run, and how many frames each gives; this also warms up."""
        frames = {name: self.tried(what, name, way) for name, way in ways.items()}
        frames = {name: number for name, number in frames.items() if number is not None}
        return {name: ways[name] for name in frames}, frames


def by_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> Taken:
    """(seconds of the clock, of the processor); processes that a way starts count."""
    taken: Taken = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            before, clock = os.times(), time.perf_counter()
            way()
            clock = time.perf_counter() - clock
            taken[name].append((clock, sum(os.times()[:4]) - sum(before[:4])))
    return taken


def compared(
    what: str,
    taken: Taken,
    value: Callable[[tuple[float, float]], float],
    unit: str,
    note: str,
    better: Any = "higher",
) -> list[Entry]:
    """An entry for each peer, ours beside it."""
    values = {name: [value(one) for one in runs] for name, runs in taken.items()}
    return [
        Entry(
            f"{what}, beside {name}", median(values[OURS]), unit, better,
            limit_or_rival=name, limit_value=median(values[name]),
            spread=(min(values[OURS]), max(values[OURS])), note=note,
        )
        for name in taken
        if name != OURS
    ]  # fmt: skip


# -- sampling ------------------------------------------------------------------------------------


def count(frames: Iterable[NDArray[np.uint8]]) -> int:
    return sum(1 for _ in frames)


def own_frames(path: Path, spec: DecodeSpec) -> Iterable[NDArray[np.uint8]]:
    for clip in decode_clips(path, spec):
        yield from clip.frames


def sampling(seconds: float, rounds: int, not_run: NotRun) -> tuple[list[Entry], Figures]:
    spec = DecodeSpec.from_manifest(Bundle.load().manifest)
    entries: list[Entry] = []
    figures: Figures = {}
    paths = videos.film("mixed", list(FILMS.values()), seconds)
    for film, path in zip(FILMS, paths, strict=True):
        sources: dict[str, Callable[[], Iterable[NDArray[np.uint8]]]] = {
            OURS: partial(own_frames, path, spec),
            peers.AMON_HEN: partial(peers.amon_hen_frames, path),
            peers.VIDXP: partial(peers.vidxp_frames, path),
            peers.DECORD: partial(peers.decord_frames, path, spec.height, spec.width),
        }
        ways = {name: (lambda source=source: count(source())) for name, source in sources.items()}
        ways, frames = not_run.possible(f"sampling, {film}", ways)
        taken = by_turns(ways, rounds)
        entries += compared(
            f"sampling, {film}", taken, lambda one: seconds / one[1],
            "x real time on one core",
            "One frame a second on both sides, processor time of all processes.",
        )  # fmt: skip
        figures[film] = {
            name: {
                "frames": frames[name],
                "x_real_time_by_clock": seconds / median(one[0] for one in runs),
                "x_real_time_by_processor": seconds / median(one[1] for one in runs),
            }
            for name, runs in taken.items()
        }
    return entries, figures


# -- indexing ------------------------------------------------------------------------------------


def own_index(library: Path, index: Path) -> int:
    command = [sys.executable, "-m", "finecut", "index", str(library), "--index", str(index)]
    return json.loads(output([*command, "--json"]))["n_frames"]


def peer_index(name: str, library: Path, index: Path) -> int:
    return int(output([sys.executable, peers.__file__, name, str(library), str(index)]))


def output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return done.stdout


def indexing(
    seconds: float, files: int, rounds: int, not_run: NotRun
) -> tuple[list[Entry], Figures]:
    (source,) = videos.film("mixed", [Kind()], seconds)
    indexers = {OURS: own_index, **{name: partial(peer_index, name) for name in peers.INDEXERS}}
    with tempfile.TemporaryDirectory() as made:
        library = Path(made, "videos")
        library.mkdir()
        videos.pieces(source, library, files)

        def run(name: str) -> int:
            with tempfile.TemporaryDirectory(dir=made) as index:
                return indexers[name](library, Path(index, "index"))

        ways, frames = not_run.possible("indexing", {name: partial(run, name) for name in indexers})
        taken = by_turns(ways, rounds)
    total_s = files * seconds
    note = (
        "The same model (the starter's video graph), 720p, keys 2 s; from the start of the process "
        "to its end. finecut also keeps patch tokens, thumbnails, cuts and words; the peers do not."
    )
    entries = compared(
        "indexing", taken, lambda one: total_s / one[0], "x real time", note
    ) + compared(
        "indexing, processor time", taken, lambda one: 1000 * one[1] / total_s,
        "ms for a second of video", note, "lower",
    )  # fmt: skip
    figures: Figures = {"seconds_of_video": total_s, "files": files, "frames": frames}
    figures["clock_s"] = {name: median(one[0] for one in runs) for name, runs in taken.items()}
    figures["cpu_s"] = {name: median(one[1] for one in runs) for name, runs in taken.items()}
    return entries, figures


# -- searching -----------------------------------------------------------------------------------


def searching(clips: int, queries: int, not_run: NotRun) -> tuple[list[Entry], Figures]:
    vectors, asked = made_gallery.vectors_and_queries(clips, DIM, queries)
    figures: Figures = {"clips": clips, "dimensions": DIM, "k": K, "queries": queries}
    with tempfile.TemporaryDirectory() as made:
        place = Path(made, "index")
        made_gallery.create(place, DIM)
        made_gallery.fill(place, np.arange(clips), vectors, patient=True)
        index = Index.open(place)
        warm: dict[str, Search] = {OURS: lambda query: index.recall(query, K)[0].tolist()}
        cold: dict[str, Search] = {
            OURS: lambda query: Index.open(place).recall(query, K)[0].tolist()
        }
        rclip = not_run.tried("searching", peers.RCLIP, partial(peers.Rclip, Path(made), vectors))
        if rclip is not None:
            warm[f"{peers.RCLIP}, vectors in memory"] = partial(rclip.search_loaded, k=K)
            cold[f"{peers.RCLIP}, as its command does"] = partial(rclip.search, k=K)
        amon_hen = not_run.tried(
            "searching", peers.AMON_HEN, partial(peers.AmonHenStore, Path(made), vectors)
        )
        if amon_hen is not None:
            warm[peers.AMON_HEN] = partial(amon_hen.search, k=K)
        entries = searched("search", warm, asked, vectors)
        few = asked[: max(3, queries // 4)]
        entries += searched("opening and one search", cold, few, vectors)
        for store in (rclip, amon_hen):
            if store is not None:
                store.close()
    return entries, figures


def searched(
    what: str,
    searches: Mapping[str, Search],
    asked: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> list[Entry]:
    """Milliseconds of one query; all must find as good clips, or the benchmark ends."""
    taken: Taken = {name: [] for name in searches}
    for number, query in enumerate(asked):
        worst = {}
        for name, search in searches.items():
            begun, used = time.perf_counter(), time.process_time()
            rows = search(query)
            spent = time.perf_counter() - begun, time.process_time() - used
            worst[name] = float((vectors[rows] @ query).min()) if len(set(rows)) == K else np.nan
            if number:  # the first warms up
                taken[name].append(spent)
        wrong = [name for name, score in worst.items() if not abs(score - worst[OURS]) < 1e-5]
        if wrong:
            raise SystemExit(f"{what}: {', '.join(wrong)} found other clips than finecut: {worst}")
    return compared(
        f"{what}, {len(vectors):,} clips", taken, lambda one: one[0] * 1e3, "ms",
        f"{DIM} dimensions, exact on both sides, the same {K} best; the query's vector is given.",
        "lower",
    )  # fmt: skip


def main() -> None:
    told = record.arguments(__doc__).parse_args()
    started = time.time()
    seconds, rounds, files = (8.0, 1, 2) if told.quick else (float(SECONDS), ROUNDS, FILES)
    clips, queries = (5_000, 6) if told.quick else (CLIPS, QUERIES)
    not_run = NotRun(peers.install())
    not_run.tried("import", peers.CLIP_RETRIEVAL, lambda: import_module("clip_retrieval"))
    entries: list[Entry] = []
    figures: Figures = {"packages": peers.PACKAGES, "mixed": videos.SHARES, "not_run": not_run}
    for what, measured in {
        "sampling": lambda: sampling(seconds, rounds, not_run),
        "indexing": lambda: indexing(seconds, files, min(rounds, INDEX_ROUNDS), not_run),
        "searching": lambda: searching(clips, queries, not_run),
    }.items():
        more, figures[what] = measured()
        entries += more
    record.save("peers", entries, figures, started)
    record.plot("peers", lambda axes: draw(axes, entries))


def draw(axes: Axes, entries: Sequence[Entry]) -> None:
    """How many times as good as each peer."""
    ratios = [entry.ratio or 0.0 for entry in entries]
    axes.barh(range(len(entries)), ratios, 0.6)
    axes.axvline(1.0, color="C3")
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries], fontsize=6)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as good as the peer (red: the same)")


if __name__ == "__main__":
    main()
