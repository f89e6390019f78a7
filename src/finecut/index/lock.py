"""One writer at a time: a lock that the operating system drops when its process dies."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from finecut.errors import IndexLocked
from finecut.storage.location import Location

if TYPE_CHECKING:
    from finecut.storage.lease import Lease

LOCK_FILE = "writer.lock"
LEASE_FILE = "writer.lease"


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            # Far behind the note, so that others can still read who holds the lock.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


class FileLock:
    """Holds ``path`` for this process; a second holder is told who the first one is.

    The file stays behind, unlocked, when its holder ends, however it ends: removing it would let
    two processes lock two files of one name.

    Raises (on entry):
        IndexLocked: another process, or another lock of this one, holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(self.path, flags, 0o644)
        if not _try_lock(descriptor):
            os.close(descriptor)
            return False
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(note).encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def check(self) -> None:
        """Nothing: the operating system keeps a lock for as long as its process lives."""

    def holder(self) -> str:
        """Who holds the lock, as far as the note tells: ``process 12 on host since 10:31:07``."""
        try:
            note = json.loads(self.path.read_bytes())
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(note["since"])))
            return f"process {int(note['pid'])} on {note['host']!s:.80} since {since}"
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return "another process"

    def __enter__(self) -> FileLock:
        if not self.try_acquire():
            raise IndexLocked(
                f"{self.path.parent} is being written by {self.holder()}. One process writes an "
                "index at a time: wait for it to end, or stop it. Searching goes on meanwhile."
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def writer_lock(directory: Location) -> FileLock | Lease:
    """What the one writer of an index holds: a lock of the operating system where the index is
    local, a lease in an object store."""
    if directory.is_local:
        return FileLock(directory.path / LOCK_FILE)
    from finecut.storage.lease import Lease

    return Lease(directory / LEASE_FILE)
