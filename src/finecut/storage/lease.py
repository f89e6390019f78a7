"""One writer at a time in an object store: a lease that must be renewed, by conditional writes.

The object ``writer.lease`` says who writes. Its holder replaces it every few seconds; who wants it
and finds it, watches it for longer than the holder may be silent and takes it over only if it did
not change. Nobody compares clocks of two machines, only the passing of time on one. A holder that
could not renew in time knows, by its own clock, that it has lost, and says so in `check` before the
next commit; what it had under way by then fails at the conditional write of ``head.json``.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from finecut.errors import IndexLocked, ObjectNotFound, StorageConflict, StorageError
from finecut.storage.location import Location
from finecut.storage.objects import read_with_etag, stat, write_bytes

LEASE_S = 30.0  # a holder silent for so long has lost it
RENEW_S = 5.0  # between renewals
MARGIN_S = 10.0  # others wait so much longer: for what the holder had under way
LONG_AGO_S = 3600.0  # a lease this old is nobody's: stores refuse clocks that are wrong by more
POLL_S = 0.5  # between looks at a lease that may be dead
MOST_LEASE_S = 600.0  # believed of a holder's own word on how long it may be silent


class Lease:
    """Holds the lease at ``place`` for this object; the same methods as ``index.lock.FileLock``.

    Args:
        place: of the lease, in an object store.
        lease_s: a holder silent for so long has lost it; the same for all who want it.
        renew_s: between renewals.
        margin_s: how much longer others wait.

    Raises (on entry):
        IndexLocked: somebody else holds it, and renews it.
        StorageError: the store cannot be written.
    """

    def __init__(
        self,
        place: Location,
        *,
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
        margin_s: float = MARGIN_S,
    ) -> None:
        self.place = place
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._margin_s = margin_s
        self._token = ""
        self._since = 0.0
        self._etag = ""
        self._count = 0
        self._renewed_at = 0.0  # by `_now_s`; of the start of the last request that succeeded
        self._lost = ""  # why, if it is
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # -- taking --------------------------------------------------------------------------------

    def try_acquire(self) -> bool:
        """Take the lease if it is free or its holder is dead.

        Answers at once where it is free, given back, or of a process of this machine that is gone;
        within ``renew_s`` or so where its holder lives; else after ``lease_s + margin_s``.

        Raises:
            StorageError: the store cannot be read or written.
        """
        self._token, self._since, self._count = uuid4().hex, time.time(), 0
        self._lost = ""
        try:
            note, etag = self._read()
        except ObjectNotFound:
            return self._write(if_absent=True)
        if not (_is_free(note) or _is_dead_here(note) or self._is_old()):
            watched_until = _now_s() + min(float(note["lease_s"]), MOST_LEASE_S)
            watched_until += self._margin_s
            while _now_s() < watched_until:
                _sleep(POLL_S)
                try:
                    now, etag_now = self._read()
                except ObjectNotFound:
                    return self._write(if_absent=True)
                if etag_now != etag:
                    if _is_free(now):
                        etag = etag_now
                        break
                    return False
        return self._write(if_match=etag)

    def _write(self, *, if_absent: bool = False, if_match: str | None = None) -> bool:
        """The first write of a holder; whether nobody else was quicker."""
        started = _now_s()
        try:
            self._etag = write_bytes(
                self.place, self._note(), if_absent=if_absent, if_match=if_match
            )
        except StorageConflict:
            found = self._seen()
            if found is None or found[0].get("token") != self._token:
                return False
            self._etag = found[1]  # it was us: the answer to the first try was lost
        self._renewed_at = started
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name="finecut-lease", daemon=True)
        self._thread.start()
        return True

    def _note(self, *, free: bool = False) -> bytes:
        note = {
            "token": "" if free else self._token,
            "count": self._count,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "machine": _machine(),
            "since": self._since,
            "lease_s": self._lease_s,
        }
        return json.dumps(note).encode()

    def _read(self) -> tuple[dict[str, Any], str]:
        plain, etag = read_with_etag(self.place)
        try:
            note = json.loads(plain)
            float(note["lease_s"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{self.place} is damaged ({error}). If nobody writes to this index, delete it."
            ) from error
        return note, etag

    def _seen(self) -> tuple[dict[str, Any], str] | None:
        with suppress(StorageError):
            return self._read()
        return None

    def _is_old(self) -> bool:
        with suppress(StorageError):
            return time.time() - stat(self.place).mtime_ns / 1e9 > LONG_AGO_S
        return False

    # -- keeping -------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._ended.wait(self._renew_s):
            if not self._renew():
                return

    def _renew(self) -> bool:
        """Once more; whether it goes on."""
        self._count += 1
        started = _now_s()
        try:
            self._etag = write_bytes(self.place, self._note(), if_match=self._etag)
        except StorageConflict:
            found = self._seen()
            if found is None or found[0].get("token") != self._token:
                self._lost = "somebody else took it over"
                return False
            self._etag = found[1]
        except StorageError:
            return True  # the next try may succeed; until then time runs
        self._renewed_at = started
        return True

    def check(self) -> None:
        """To be called before every commit.

        Raises:
            IndexLocked: the lease is lost; nothing must be written any more.
        """
        silent_s = _now_s() - self._renewed_at
        if not self._lost and silent_s > self._lease_s:
            self._lost = f"it could not be renewed for {silent_s:.0f} s"
        if self._lost:
            raise IndexLocked(
                f"This process is no longer the writer of {self.place.parent}: {self._lost}. What "
                "was reported done is kept; run the same command again to go on."
            )

    def release(self) -> None:
        """Give it back, for the next one to have it at once."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join()
        if not self._lost:
            with suppress(StorageError):  # then it runs out
                write_bytes(self.place, self._note(free=True), if_match=self._etag)

    def holder(self) -> str:
        """Who holds it, as far as it tells: ``process 12 on host since 2026-11-22 10:31:07``."""
        found = self._seen()
        try:
            assert found is not None
            note = found[0]
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(note["since"])))
            return f"process {int(note['pid'])} on {note['host']!s:.80} since {since}"
        except (AssertionError, ValueError, KeyError, TypeError, OverflowError):
            return "another process"

    def __enter__(self) -> Lease:
        if not self.try_acquire():
            raise IndexLocked(
                f"{self.place.parent} is being written by {self.holder()}. One process writes an "
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


def _now_s() -> float:
    """Seconds that pass while the machine sleeps too, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


_sleep = time.sleep


def _is_free(note: dict[str, Any]) -> bool:
    return not note.get("token")


def _machine() -> str:
    """Tells process numbers of this machine (and container) from those of others; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_dead_here(note: dict[str, Any]) -> bool:
    """Whether its holder was a process of this very machine and is gone."""
    pid = note.get("pid")
    if not _machine() or note.get("machine") != _machine() or type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
