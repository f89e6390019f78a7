"""Which changes in watched folders are over: files that stopped growing, files gone for good."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from finecut.index.rows import PathStamp


@dataclass(slots=True)
class Settled:
    """What a look at the folders found to act on."""

    changed: set[str] = field(default_factory=set)  # new or changed, and no longer growing
    gone: set[str] = field(default_factory=set)  # missing for longer than the grace
    growing: list[str] = field(default_factory=list)  # changed since the last look, told once


class Settling:
    """Remembers between looks since when each file has been as it is.

    A file counts as whole once its size and its time of writing have stayed the same for a while:
    copies arrive piece by piece. A file counts as gone once it was missing for a while: programs
    save by replacing, and moves between folders arrive in two halves. A file that turns up with the
    very stamps of one that is missing was moved, and waits for nothing.

    Args:
        settle_s: how long a file must stay the same.
        grace_s: how long a file must be missing.
    """

    def __init__(self, settle_s: float, grace_s: float) -> None:
        self.settle_s = settle_s
        self.grace_s = grace_s
        self.waiting = False  # for files that may be whole already
        self._growing: dict[str, tuple[PathStamp, float]] = {}
        self._told: set[str] = set()  # seen to grow
        self._missing: dict[str, float] = {}

    def look(
        self, changed: Mapping[str, PathStamp], missing: Mapping[str, PathStamp], now: float
    ) -> Settled:
        """Take in all that differs from the index at this moment.

        Args:
            changed: files that are there, and not as the index knows them.
            missing: files the index knows that are not there, as it knows them.
            now: in seconds, of any clock that only goes forward.
        """
        found = Settled()
        moved = {(stamp.size_bytes, stamp.mtime_ns): path for path, stamp in missing.items()}
        for path, stamp in changed.items():
            before, since = self._growing.get(path, (None, now))
            if before != stamp:
                since = now
                if before is not None and path not in self._told:
                    self._told.add(path)
                    found.growing.append(path)
            self._growing[path] = (stamp, since)
            source = moved.get((stamp.size_bytes, stamp.mtime_ns))
            if source is not None:
                found.gone.add(source)
            if source is not None or now - since >= self.settle_s:
                found.changed.add(path)
        for path in missing:
            if now - self._missing.setdefault(path, now) >= self.grace_s:
                found.gone.add(path)
        for path in self._growing.keys() - changed.keys():
            del self._growing[path]
            self._told.discard(path)
        for path in self._missing.keys() - missing.keys():
            del self._missing[path]
        self.waiting = not changed.keys() <= found.changed | self._told
        return found

    def due_s(self, now: float, stat: Callable[[str], os.stat_result] = os.stat) -> float | None:
        """Seconds until a further look finds more; None while nothing is pending.

        Growing files are looked at again, so that a recording of hours costs no look at folders
        until it ends.
        """
        waits = [since + self.grace_s - now for since in self._missing.values()]
        for path, (stamp, since) in self._growing.items():
            try:
                status = stat(path)
            except OSError:
                waits.append(0.0)  # gone again
                continue
            if (status.st_size, status.st_mtime_ns) == (stamp.size_bytes, stamp.mtime_ns):
                waits.append(since + self.settle_s - now)
            else:
                again = PathStamp(path, status.st_size, status.st_mtime_ns)
                self._growing[path] = (again, now)
                waits.append(self.settle_s)
        return max(0.0, min(waits)) if waits else None
