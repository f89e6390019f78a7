"""A video in an object store as a file to read and seek in: only what is read is fetched.

Bytes come in blocks by range requests. Reading on makes the requests larger and fetches the next
one meanwhile; a seek starts small again, so that one moment of a long video costs a little of it.
The blocks read last are kept for the next one who opens the same object: a file is opened several
times in a row, and its header is read each time. Every request names the etag the object had when
it was opened, so that bytes of two versions never mix.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from finecut.errors import (
    ObjectNotFound,
    StorageConflict,
    StorageDenied,
    StorageError,
    VideoError,
)
from finecut.storage import objects
from finecut.storage.location import Location

BLOCK_BYTES = 128 << 10
MOST_BLOCKS = 16  # in one request
SURE_BLOCKS = 8  # read one after the other: from then on the next ones are fetched ahead
SHELF_BLOCKS = 64  # kept of one object
SHELVES = 4  # objects of which blocks are kept, beside those that are open
MOST_RUNS = 8  # places a file is read on from side by side: pictures, sound, an index
SIDE_BY_SIDE = 8  # requests for `spans`
TRIES = 4
PAUSE_S = 0.25  # before the second try; twice as long before each further one
GIVE_UP_S = 40.0  # no new try later than this: decoders that are silent for long are ended

CURABLE = frozenset(("permission", "network", "changed"))
"""Reasons of failures that are not the object's own: the next run may read it."""

Answer = TypeVar("Answer")


def open_media(place: Location | str) -> MediaFile:
    """An object, open for reading; close it, or use it in a ``with``.

    Raises:
        VideoError: ``reason`` is "missing", "permission" or "network".
        MissingDependency: ``obstore`` is not installed.
    """
    found = Location.parse(place)
    return MediaFile(found, _tried(lambda: objects.stat(found), found))


def read_whole(place: Location | str, most: int) -> bytes:
    """The first ``most`` bytes of an object: all of a small one.

    Raises:
        VideoError: as `open_media`, or "changed".
    """
    with open_media(place) as media:
        return b"".join(media.spans([(0, min(most, media.size))]))


class MediaFile(io.RawIOBase):
    """An object as a binary file. For one thread at a time.

    ``read`` gives what one block holds, so often less than was asked for, and nothing only at the
    end. The first error is raised once and kept in ``failure``; after it the file seems to end:
    libraries that swallow errors then stop soon, and `check` tells what they took for an end.

    Args:
        place: of the object.
        known: its size, time and etag as they are now.
    """

    def __init__(self, place: Location, known: objects.Stat) -> None:
        super().__init__()
        self.place, self.known = place, known
        self.name = str(place)
        self.size = known.size
        self.failure: VideoError | None = None
        self.n_requests = 0
        self.bytes_fetched = 0
        self._at = 0
        self._shelf = _shelf_of((self.name, known.etag, known.size))
        self._runs: OrderedDict[int, int] = OrderedDict()  # next block: blocks read up to it
        self._half = (-1, -1)  # a block half way through what was fetched, and the one after all
        self._ahead: tuple[range, threading.Thread] | None = None
        self._lock = threading.Lock()

    # -- as a file -----------------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"a seek to {start + offset}, before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes from here: at least one, except at the end or after a failure.

        Raises:
            VideoError: as `open_media`, or "changed": the object is not what was opened.
        """
        if size is None or size < 0:
            return self.readall()
        if not size or self._at >= self.size or self.failure is not None:
            return b""
        number, skip = divmod(self._at, BLOCK_BYTES)
        try:
            block = self._block(number)
        except VideoError as error:
            self.failure = error
            raise
        part = block[skip : skip + size]
        self._at += len(part)
        return part

    def spans(self, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Parts ``[start, stop)`` of the object in their order, fetched side by side.

        Raises:
            VideoError: as `read`.
        """
        with ThreadPoolExecutor(min(SIDE_BY_SIDE, max(1, len(spans)))) as pool:
            yield from pool.map(lambda span: self._get(*span), spans)

    def check(self) -> None:
        """Raise what went wrong while reading, if anything did."""
        if self.failure is not None:
            raise self.failure

    # -- blocks --------------------------------------------------------------------------------

    def _block(self, number: int) -> bytes:
        block = self._shelf.get(number)
        if block is None and self._ahead is not None and number in self._ahead[0]:
            self._ahead[1].join()
            block = self._shelf.get(number)
        if block is None:
            block = self._take(self._next(number), self._get)
        if number == self._half[0]:
            self._look_ahead(self._half[1])
        return block

    def _next(self, number: int) -> range:
        """The blocks to fetch from this one on: the more, the longer it has been read on."""
        run = self._runs.get(number, 0)
        # Never more than half of what was read in vain, once that is much.
        count = max(1, run) if run < SURE_BLOCKS else min(run // 2, MOST_BLOCKS)
        return self._free(number, count)

    def _free(self, first: int, count: int) -> range:
        """As many blocks from the first one as there are and as are not at hand."""
        end = min(first + count, -(-self.size // BLOCK_BYTES))
        known = (number for number in range(first + 1, end) if self._shelf.holds(number))
        return range(first, next(known, end))

    def _take(self, blocks: range, get: Callable[[int, int], bytes]) -> bytes:
        """Fetch blocks and put them on the shelf; returns the first."""
        start = blocks.start * BLOCK_BYTES
        data = get(start, min(blocks.stop * BLOCK_BYTES, self.size))
        for number in blocks:
            at = number * BLOCK_BYTES - start
            self._shelf.put(number, data[at : at + BLOCK_BYTES])
        with self._lock:
            run = self._runs.pop(blocks.start, 0) + len(blocks)
            self._runs[blocks.stop] = run
            while len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
            if run >= SURE_BLOCKS:
                self._half = (blocks.start + len(blocks) // 2, blocks.stop)
        return data[:BLOCK_BYTES]

    def _look_ahead(self, first: int) -> None:
        if self._ahead is not None and self._ahead[1].is_alive():
            return
        blocks = self._next(first)
        if not blocks or self._shelf.holds(first):
            return

        def fetch() -> None:
            with suppress(StorageError):  # whoever needs them asks again, and is told
                self._take(blocks, self._ask)

        thread = threading.Thread(target=fetch, name="finecut-read-ahead", daemon=True)
        self._ahead = (blocks, thread)
        thread.start()

    def _get(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)`` by one request, made again where the line drops."""
        return _tried(lambda: self._ask(start, stop), self.place)

    def _ask(self, start: int, stop: int) -> bytes:
        data = objects.read_range(self.place, start, stop, if_match=self.known.etag)
        with self._lock:
            self.n_requests += 1
            self.bytes_fetched += len(data)
        if len(data) != stop - start:
            raise StorageError(f"{self.name}: {stop - start} bytes were asked, {len(data)} came.")
        return data


def _tried(ask: Callable[[], Answer], place: Location) -> Answer:
    """The answer to a request, which is made again where that may help."""
    started, pause_s = time.monotonic(), PAUSE_S
    for left in reversed(range(TRIES)):
        try:
            return ask()
        except StorageError as error:
            known = _known_error(error, place)
            if known.reason != "network" or not left or time.monotonic() - started > GIVE_UP_S:
                raise known from None  # nothing below is chained: it may hold secrets
        time.sleep(pause_s)
        pause_s *= 2
    raise AssertionError


def _known_error(error: StorageError, place: Location) -> VideoError:
    if isinstance(error, ObjectNotFound):
        return VideoError(f"{place}: there is no such object.", reason="missing")
    if isinstance(error, StorageConflict):
        return VideoError(
            f"{place} was replaced while it was read. Run again to read what is there now.",
            reason="changed",
        )
    reason = "permission" if isinstance(error, StorageDenied) else "network"
    return VideoError(str(error), reason=reason)


class _Shelf:
    """The blocks of one object that were used last."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> bytes | None:
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                self._blocks.move_to_end(number)
            return block

    def holds(self, number: int) -> bool:
        return number in self._blocks

    def put(self, number: int, block: bytes) -> None:
        with self._lock:
            self._blocks[number] = block
            self._blocks.move_to_end(number)
            while len(self._blocks) > SHELF_BLOCKS:
                self._blocks.popitem(last=False)


_shelves: OrderedDict[tuple[str, str, int], _Shelf] = OrderedDict()
_shelves_lock = threading.Lock()


def _shelf_of(key: tuple[str, str, int]) -> _Shelf:
    if not key[1]:  # a store without etags: nobody knows whether it is the same object
        return _Shelf()
    with _shelves_lock:
        shelf = _shelves.pop(key, None) or _Shelf()
        _shelves[key] = shelf
        while len(_shelves) > SHELVES:
            _shelves.popitem(last=False)
        return shelf
