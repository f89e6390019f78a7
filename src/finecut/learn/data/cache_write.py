"""Decode videos once, at a recipe's sampling, into a cache that training reads.

Interrupt it at any time: rows are appended in batches, each whole or not at all, and the next run
goes on with what is not there. A file that cannot be read is recorded with its reason and tried
again when it changes; it stops nothing.
"""

from __future__ import annotations

import io
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finecut.errors import UsageError, VideoError
from finecut.index.lock import FileLock
from finecut.index.tables import load_lance
from finecut.learn.data.benchmark import CaptionedVideo
from finecut.learn.data.cache_facts import (
    FACTS,
    PADDING,
    TABLE,
    CacheFacts,
    item_key,
    must_fit,
    pack,
    read_facts,
    write_facts,
)
from finecut.learn.data.folder import Folder
from finecut.learn.data.frames import Footage, Frames, read_frames
from finecut.learn.inputs.tower import FrozenTower

log = logging.getLogger(__name__)

LOCK = "writer.lock"
BATCH_VIDEOS = 32  # decoded before they are encoded and appended together
BATCH_S = 20.0  # or so many seconds' work: what a kill loses at most
REPORT_S = 1.0
KEYS_PER_DELETE = 500


@dataclass(frozen=True, slots=True)
class CacheProgress:
    """Where a run stands."""

    done: int  # videos of this run
    total: int
    failed: int
    elapsed_s: float
    video_s: float  # seconds of video that went through

    @property
    def x_realtime(self) -> float:
        return self.video_s / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def per_s(self) -> float:
        return self.done / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def eta_s(self) -> float | None:
        return (self.total - self.done) / self.per_s if self.done else None


@dataclass
class CacheReport:
    """What a run did, and what the cache holds now."""

    folder: Path
    done: int = 0  # videos decoded by this run
    unchanged: int = 0  # there before
    failures: list[tuple[str, str]] = field(default_factory=list)  # (video, reason), all runs'
    missing: list[str] = field(default_factory=list)  # no such file
    left: int = 0  # where the run was stopped
    elapsed_s: float = 0.0
    video_s: float = 0.0  # of this run
    held_video_s: float = 0.0  # of the whole cache
    size_bytes: int = 0  # of the whole cache

    @property
    def bytes_per_video_hour(self) -> float:
        return self.size_bytes / self.held_video_s * 3600 if self.held_video_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "cache": str(self.folder),
            "videos_done": self.done,
            "videos_unchanged": self.unchanged,
            "videos_left": self.left,
            "missing": self.missing,
            "failures": [{"video": name, "reason": why} for name, why in self.failures],
            "elapsed_s": round(self.elapsed_s, 3),
            "video_s": round(self.video_s, 3),
            "x_realtime": round(self.video_s / self.elapsed_s, 2) if self.elapsed_s else None,
            "size_bytes": self.size_bytes,
            "bytes_per_video_hour": round(self.bytes_per_video_hour) or None,
        }


def write_cache(
    output: Path,
    facts: CacheFacts,
    items: Sequence[CaptionedVideo],
    folder: Folder,
    *,
    tower: FrozenTower | None = None,
    workers: int = 2,
    on_progress: Callable[[CacheProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> CacheReport:
    """Bring a cache up to date with the items.

    Args:
        output: the cache's folder, made if need be.
        facts: what it is to hold; a cache that is there must have been made from the same.
        items: the videos, of any splits.
        folder: where their files are.
        tower: for features.
        workers: threads that decode.
        on_progress: called about once a second.
        should_stop: asked after every video; True ends the run well.

    Raises:
        UsageError: the folder holds another cache or something else, or is being written to.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / LOCK)
    foreign = [p.name for p in output.iterdir() if p.name not in (FACTS, PADDING, TABLE, LOCK)]
    if not (output / FACTS).exists() and foreign:
        raise UsageError(
            f"{output} is no cache and is not empty (it holds {foreign[0]!r}): name a folder of "
            "its own for the cache."
        )
    if not lock.try_acquire():
        raise UsageError(f"The cache {output} is being written by {lock.holder()}: wait for it.")
    try:
        if (output / FACTS).exists():
            must_fit(read_facts(output), facts, output)
        else:
            if tower is not None:
                _write_padding(output, tower)
            write_facts(output, facts)
        return _fill(output, facts, items, folder, tower, workers, on_progress, should_stop)
    finally:
        lock.release()


def _fill(
    output: Path,
    facts: CacheFacts,
    items: Sequence[CaptionedVideo],
    folder: Folder,
    tower: FrozenTower | None,
    workers: int,
    on_progress: Callable[[CacheProgress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> CacheReport:
    report = CacheReport(output)
    table = _Table(output / TABLE, facts)
    todo: dict[str, Footage] = {}
    stale: list[str] = []
    for item in {item_key(item): item for item in items}.values():
        key, footage = item_key(item), Footage.of(item, folder)
        if footage is None:
            report.missing.append(item.video)
            continue
        there = table.stamps.get(key)
        if there == _stamp(footage):
            report.unchanged += 1
            continue
        if there is not None:
            stale.append(key)
        todo[key] = footage
    table.delete(stale)
    started = last = time.monotonic()
    waiting: list[tuple[str, Footage, Frames | str]] = []
    flushed = started

    def flush() -> None:
        table.append([_row(key, files, read) for key, files, read in waiting], waiting, tower)
        report.done += len(waiting)
        waiting.clear()

    for key, footage, read in _decoded(todo, facts, workers, should_stop):
        waiting.append((key, footage, read))
        if isinstance(read, Frames):
            report.video_s += read.duration_s
        now = time.monotonic()
        if len(waiting) >= BATCH_VIDEOS or now - flushed > BATCH_S:
            flush()
            flushed = time.monotonic()
        if on_progress and now - last > REPORT_S:
            last = now
            done = report.done + len(waiting)
            failed = sum(isinstance(entry[2], str) for entry in waiting) + table.failed_now
            on_progress(CacheProgress(done, len(todo), failed, now - started, report.video_s))
    if waiting:
        flush()
    report.left = len(todo) - report.done
    report.elapsed_s = time.monotonic() - started
    table.tidy()
    held = table.summary()
    report.failures = held.failures
    report.held_video_s = held.video_s
    report.size_bytes = sum(p.stat().st_size for p in output.rglob("*") if p.is_file())
    return report


def _decoded(
    todo: Mapping[str, Footage],
    facts: CacheFacts,
    workers: int,
    should_stop: Callable[[], bool] | None,
) -> Iterator[tuple[str, Footage, Frames | str]]:
    """Frames of each video, or why there are none, in order; so many at a time."""

    def read(footage: Footage) -> Frames | str:
        try:
            return read_frames(footage, facts.sampling, facts.size)
        except VideoError as error:
            log.warning("%s", error)
            return error.reason

    running: deque[tuple[str, Footage, Future[Frames | str]]] = deque()
    left = iter(todo.items())
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while True:
            stopped = should_stop is not None and should_stop()
            while not stopped and len(running) < 2 * workers:
                following = next(left, None)
                if following is None:
                    break
                running.append((*following, pool.submit(read, following[1])))
            if not running:
                return
            key, footage, result = running.popleft()
            yield key, footage, result.result()


def _stamp(footage: Footage) -> tuple[int, int]:
    """Size and change time of the files together: other ones mean other content."""
    states = [file.stat() for file in footage.files]
    return sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)


def _row(key: str, footage: Footage, read: Frames | str) -> dict[str, Any]:
    size_bytes, mtime_ns = _stamp(footage)
    good = isinstance(read, Frames)
    return {
        "key": key,
        "video": footage.files[0].name,
        "size_bytes": size_bytes,
        "mtime_ns": mtime_ns,
        "n_frames": len(read.pixels) if good else 0,
        "duration_s": read.duration_s if good else 0.0,
        "reason": "" if good else read,
    }


def _write_padding(output: Path, tower: FrozenTower) -> None:
    from safetensors.numpy import save_file

    padding = {name: np.ascontiguousarray(value) for name, value in tower.padding().items()}
    save_file(padding, output / PADDING)


@dataclass(frozen=True, slots=True)
class _Held:
    failures: list[tuple[str, str]]
    video_s: float


class _Table:
    """The Lance table of a cache, for the one who writes it."""

    def __init__(self, path: Path, facts: CacheFacts) -> None:
        self.path, self.facts = path, facts
        self.failed_now = 0
        self._lance = load_lance()
        self.stamps: dict[str, tuple[int, int]] = {}
        if path.exists():
            known = self._open().to_table(columns=["key", "size_bytes", "mtime_ns"])
            self.stamps = {
                key: (size, mtime)
                for key, size, mtime in zip(
                    *(known[name].to_pylist() for name in known.column_names), strict=True
                )
            }

    def append(
        self,
        rows: list[dict[str, Any]],
        read: Sequence[tuple[str, Footage, Frames | str]],
        tower: FrozenTower | None,
    ) -> None:
        """Encode the frames that were read and write all rows in one transaction."""
        import pyarrow as pa

        good = [entry[2].pixels for entry in read if isinstance(entry[2], Frames)]
        self.failed_now += len(rows) - len(good)
        if tower is None:
            made = iter([{"frames": _jpegs(p, self.facts.jpeg_quality)} for p in good])
        else:
            dtype = self.facts.dtype or "float16"
            made = iter(
                [
                    {name: pack(values, dtype) for name, values in features.items()}
                    for features in (tower(good) if good else [])
                ]
            )
        full = [{**row, **({} if row["reason"] else next(made))} for row in rows]
        table = pa.Table.from_pylist(full, schema=cache_schema(self.facts))
        self._lance.write_dataset(table, str(self.path), mode="append")

    def delete(self, keys: Sequence[str]) -> None:
        """Take rows away, those of files that have changed."""
        for at in range(0, len(keys), KEYS_PER_DELETE):
            quoted = ", ".join(
                "'" + k.replace("'", "''") + "'" for k in keys[at : at + KEYS_PER_DELETE]
            )
            self._open().delete(f"key IN ({quoted})")

    def tidy(self) -> None:
        """Join small fragments and let old versions go."""
        from datetime import timedelta

        if not self.path.exists():
            return
        dataset = self._open()
        if len(dataset.get_fragments()) > 1:
            dataset.optimize.compact_files(target_rows_per_fragment=8192)
            self._open().cleanup_old_versions(older_than=timedelta(0))

    def summary(self) -> _Held:
        """What the whole table holds."""
        if not self.path.exists():
            return _Held([], 0.0)
        table = self._open().to_table(columns=["video", "reason", "duration_s"])
        pairs = zip(table["video"].to_pylist(), table["reason"].to_pylist(), strict=True)
        failures = [(video, reason) for video, reason in pairs if reason]
        return _Held(failures, float(sum(table["duration_s"].to_pylist())))

    def _open(self) -> Any:
        return self._lance.dataset(str(self.path))


def cache_schema(facts: CacheFacts) -> Any:
    """One row per item; what it holds of the pictures depends on the kind."""
    import pyarrow as pa

    columns = [
        ("key", pa.string()),
        ("video", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("n_frames", pa.int32()),
        ("duration_s", pa.float64()),
        ("reason", pa.string()),
    ]
    if facts.kind == "frames":
        columns.append(("frames", pa.list_(pa.large_binary())))
    else:
        columns += [(name, pa.large_binary()) for name in sorted(facts.shapes or {})]
    return pa.schema(columns)


def _jpegs(pixels: np.ndarray, quality: int) -> list[bytes]:
    held = []
    for frame in pixels:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        held.append(buffer.getvalue())
    return held
