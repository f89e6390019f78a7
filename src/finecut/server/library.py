"""The index that is served, always at its newest version, opened when it is first asked for."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import FinecutError, IndexNotFound, NotFound
from finecut.index.meta import read_head, read_meta
from finecut.index.scan import under
from finecut.index.store import Index
from finecut.search.engine import Searcher

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle
    from finecut.index.meta import IndexMeta
    from finecut.index.rows import VideoRow

log = logging.getLogger("finecut.server")

CHECK_EVERY_S = 0.5  # how often the index is asked whether it has a new version
OPENING_SHARE = 10  # times as long as opening took passes before the next look
DEFAULT_THRESHOLD = 0.5  # of a bundle without calibration


@dataclass(frozen=True)
class Snapshot:
    """One version of the index with its searcher. Never changed: searches in hand keep theirs."""

    index: Index
    searcher: Searcher
    version: str
    _rows: dict[int, np.ndarray] = field(default_factory=dict)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {row.video_id: number for number, row in enumerate(self.index.videos)}

    @cached_property
    def done(self) -> list[VideoRow]:
        """The videos that are searched."""
        return [row for row in self.index.videos if row.status == "done"]

    @cached_property
    def roots(self) -> list[str]:
        """The folders whose videos the index holds, without those inside another of them."""
        folders = {os.path.dirname(path) for row in self.index.videos for path in row.paths}
        tops: list[str] = []
        # A folder comes before what is inside it.
        for folder in sorted(folders, key=lambda folder: folder.split("/")):
            if not any(under(folder, top) for top in tops[-1:]):
                tops.append(folder)
        return tops

    @property
    def bundle(self) -> Bundle:
        return self.searcher.bundle

    @property
    def threshold(self) -> float:
        """The confidence from which a match is good."""
        calibration = self.bundle.manifest.calibration
        return DEFAULT_THRESHOLD if calibration is None else calibration.threshold

    def video(self, video_id: str) -> VideoRow:
        """The row of a video.

        Raises:
            NotFound: no such video.
        """
        position = self._positions.get(video_id)
        if position is None:
            raise NotFound(f"No video with the id {video_id!r:.80} is in this index.")
        return self.index.videos[position]

    def clip_rows(self, video_id: str) -> np.ndarray:
        """Gallery rows of a video's clips, in time order; int64 [C]."""
        position = self._positions.get(video_id)
        if position is None:
            return np.zeros(0, np.int64)
        if position not in self._rows:
            rows = np.flatnonzero(self.index.clips.video == position)
            order = np.argsort(self.index.clips.start_s[rows], kind="stable")
            self._rows[position] = rows[order]
        return self._rows[position]

    def clip_row(self, video_id: str, number: int) -> int:
        """The gallery row of clip `number` of a video.

        Raises:
            NotFound: no such video or clip.
        """
        self.video(video_id)
        rows = self.clip_rows(video_id)
        found = rows[self.index.clips.number[rows] == number]
        if not len(found):
            raise NotFound(
                f"The video {video_id} has no clip {number}; it has {len(rows)} clips, "
                "counted from 0."
            )
        return int(found[0])

    def patch_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """What of a frame of this size the bundle sees: left, top, right, bottom as fractions."""
        frames = self.bundle.manifest.frames
        return seen_box(frames.resize, frames.width / frames.height, width, height)


def seen_box(
    resize: str, aspect: float, width: int, height: int
) -> tuple[float, float, float, float]:
    """The part of a frame that a resize rule keeps, as fractions; beyond [0, 1] where it pads.

    >>> seen_box("crop", 1.0, 1600, 900)
    (0.21875, 0.0, 0.78125, 1.0)
    >>> seen_box("pad", 1.0, 200, 100)
    (0.0, -0.5, 1.0, 1.5)
    """
    own = width / height if width > 0 and height > 0 else aspect
    if resize == "squash" or own == aspect:
        return (0.0, 0.0, 1.0, 1.0)
    wide = own > aspect
    if (resize == "crop") == wide:  # a crop of a wide frame, or a pad of a tall one: sides move
        half = aspect / own / 2
        return (0.5 - half, 0.0, 0.5 + half, 1.0)
    half = own / aspect / 2
    return (0.0, 0.5 - half, 1.0, 0.5 + half)


class Library:
    """Opens the index and follows its versions; safe to use from many threads."""

    def __init__(
        self, index_dir: Path, *, bundle: str | Path | None = None, threads: int | None = None
    ) -> None:
        self.index_dir = index_dir
        self.bundle_ref, self._threads = bundle, threads
        self._snapshot: Snapshot | None = None
        self._look_at = 0.0  # when to look for a new version again
        self._asked = 0  # how often somebody knew of one
        self._lock = threading.Lock()

    def snapshot(self) -> Snapshot:
        """The newest version of the index.

        Raises:
            IndexNotFound, IndexMismatch, IndexCorrupt, BundleError: it cannot be searched.
        """
        snapshot = self._snapshot
        if snapshot is not None and time.monotonic() < self._look_at:
            return snapshot
        # While one thread opens a new version, the others go on with the one they have.
        if snapshot is None:
            self._lock.acquire()
        elif not self._lock.acquire(blocking=False):
            return snapshot
        try:
            if self._snapshot is not None and time.monotonic() < self._look_at:
                return self._snapshot  # another thread opened it while this one waited
            began, asked = time.monotonic(), self._asked
            try:
                self._snapshot = self._newest(self._snapshot)
            except Exception:
                self._snapshot = None  # never serve what is no longer there
                raise
            # A large index takes long to open, and a running job commits often: spend at most a
            # small share of the time on opening.
            now = time.monotonic()
            if asked == self._asked:  # else there may be a version newer than this one
                self._look_at = now + max(CHECK_EVERY_S, OPENING_SHARE * (now - began))
            return self._snapshot
        finally:
            self._lock.release()

    def look_again(self) -> None:
        """Look for a new version at the next call, whenever the last look was."""
        self._asked += 1
        self._look_at = 0.0

    def meta(self) -> IndexMeta | None:
        """What the index is; None where there is none yet."""
        try:
            return read_meta(self.index_dir)
        except IndexNotFound:
            return None

    def warm_up(self) -> None:
        """Load what a first search needs, so that the first person does not wait for it."""
        try:
            snapshot = self.snapshot()
            snapshot.bundle.warm_up()
            if len(snapshot.index.clips):
                snapshot.searcher.search("a person", k=1, evidence=False)
        except FinecutError as error:
            log.info("not warmed up: %s", error)  # whoever asks is told the same

    def _newest(self, old: Snapshot | None) -> Snapshot:
        meta = read_meta(self.index_dir)
        version = read_head(self.index_dir).version(meta)
        if old is not None and old.version == version:
            return old
        index = Index.open(self.index_dir)
        same_model = old is not None and old.index.meta.fingerprint == index.meta.fingerprint
        bundle = old.bundle if old is not None and same_model else self.bundle_ref
        searcher = Searcher.open(index, bundle=bundle, threads=self._threads)
        log.info("serving %s at version %s", self.index_dir, index.version)
        return Snapshot(index, searcher, index.version)
