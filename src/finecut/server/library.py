"""The index that is served, opened when it is first asked for and followed from then on."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import FinecutError, IndexNotFound, NotFound, StorageError
from finecut.index.alias import follow
from finecut.index.meta import read_head, read_meta
from finecut.index.scan import under
from finecut.index.store import Index
from finecut.search.engine import Searcher
from finecut.storage.location import Location

if TYPE_CHECKING:
    from finecut.bundle.load import Bundle
    from finecut.index.meta import Head, IndexMeta
    from finecut.index.rows import VideoRow

log = logging.getLogger("finecut.server")

CHECK_EVERY_S = 0.5  # how often the index is asked whether it has a new version
CHECK_REMOTE_EVERY_S = 2.0  # and one in an object store, where asking costs
OPENING_SHARE = 5  # times as long as opening took passes before the next look
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
    def commit(self) -> int:
        """The number of the commit; it rises with every change of one index."""
        return int(self.version.rpartition("-")[2])

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
    """Opens the index and follows its versions; safe to use from many threads.

    The first caller waits for the index to be opened. From then on a thread of its own looks for
    new versions and opens them; callers go on with the one there is and never wait.
    """

    def __init__(
        self,
        index_dir: Location | str | Path,
        *,
        bundle: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        self.index_dir = Location.parse(index_dir)
        self.bundle_ref, self._threads = bundle, threads
        self.failures = 0  # new versions that could not be opened
        self.opened_at = 0.0  # Unix seconds when the version that is served was opened
        self.opening_s = 0.0  # how long that took
        self._snapshot: Snapshot | None = None
        self._seen: tuple[Location, Head] | None = None  # what was opened
        self._opening = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._follower: threading.Thread | None = None

    def snapshot(self) -> Snapshot:
        """The newest version of the index that is open.

        Raises:
            IndexNotFound, IndexMismatch, IndexCorrupt, BundleError: it cannot be searched.
        """
        snapshot = self._snapshot
        if snapshot is not None:
            return snapshot
        with self._opening:
            if self._snapshot is None:  # else another thread opened it while this one waited
                self._open()
                self._begin_following()
            assert self._snapshot is not None
            return self._snapshot

    def refresh(self) -> None:
        """Open the newest version now, in the caller's own time; `FinecutError`s are only noted."""
        with self._opening:
            try:
                self._look()
            except FinecutError as error:
                log.info("nothing is served: %s", error)

    def meta(self) -> IndexMeta | None:
        """What the index is; None where there is none yet."""
        try:
            return read_meta(follow(self.index_dir))
        except IndexNotFound:
            return None

    def warm_up(self) -> None:
        """Load what a first search needs, so that the first person does not wait for it."""
        try:
            snapshot = self.snapshot()
            snapshot.bundle.warm_up()
            _try_out(snapshot)
        except FinecutError as error:
            log.info("not warmed up: %s", error)  # whoever asks is told the same

    def close(self) -> None:
        """Stop following; what is open stays open for those who use it."""
        self._closed = True
        self._wake.set()

    # -- following -----------------------------------------------------------------------------

    def _begin_following(self) -> None:
        if self._follower is None:
            self._follower = threading.Thread(
                target=_follow_versions, args=(weakref.ref(self), self._wake), daemon=True,
                name="finecut-versions",
            )  # fmt: skip
            self._follower.start()

    def _check_every_s(self) -> float:
        """Seconds until the next look. A large index takes long to open, and a running job commits
        often: at most a small share of the time is spent on opening."""
        least = CHECK_EVERY_S if self.index_dir.is_local else CHECK_REMOTE_EVERY_S
        return max(least, OPENING_SHARE * self.opening_s)

    def _look(self) -> None:
        """Go over to a newer version if there is one.

        Raises:
            FinecutError: nothing is open, and nothing can be opened.
        """
        old = self._snapshot
        try:
            self._open()
        except Exception as error:
            if old is None:
                raise
            self.failures += 1
            if self._is_gone(old):
                self._snapshot = self._seen = None  # never serve what is no longer there
            log.warning("the newest version of %s cannot be opened: %s", self.index_dir, error)

    def _open(self) -> None:
        began = time.monotonic()
        old, place = self._snapshot, follow(self.index_dir)
        meta = read_meta(place) if old is None else old.index.meta  # says what to do without one
        seen = (place, read_head(place))
        if old is not None and seen == self._seen:
            return
        index = Index.open(place)
        if old is None or old.version != index.version:
            same_model = old is not None and meta.fingerprint == index.meta.fingerprint
            bundle = old.bundle if old is not None and same_model else self.bundle_ref
            searcher = Searcher.open(index, bundle=bundle, threads=self._threads)
            snapshot = Snapshot(index, searcher, index.version)
            if old is not None:
                _try_out(snapshot)  # what it loads at its first search is loaded before it is asked
            log.info("serving %s at version %s", place, index.version)
            self._snapshot, self.opened_at = snapshot, time.time()
            self.opening_s = time.monotonic() - began
        self._seen = seen

    def _is_gone(self, old: Snapshot) -> bool:
        """Whether the index that is open is no longer where it was."""
        try:
            return read_meta(old.index.directory).uuid != old.index.meta.uuid
        except StorageError:
            return False  # the network is down, say: what is in memory still answers
        except FinecutError:
            return True


def _follow_versions(library_ref: weakref.ref[Library], wake: threading.Event) -> None:
    """The life of the thread that opens new versions; it ends with its library."""
    wait_s = 0.0
    while True:
        wake.wait(wait_s)
        library = library_ref()
        if library is None or library._closed:
            return
        with library._opening:
            if library._snapshot is None:
                library._follower = None
                return  # the next caller opens the index and starts another thread
            library._look()
        wait_s = library._check_every_s()
        del library


def _try_out(snapshot: Snapshot) -> None:
    if len(snapshot.index.clips):
        snapshot.searcher.search("a person", k=1, evidence=False)
        snapshot.searcher.measure_depth()
