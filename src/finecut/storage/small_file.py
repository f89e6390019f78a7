"""A small file that is asked for often and changes seldom: read once, and again when it changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from finecut.errors import ObjectNotFound
from finecut.storage.location import Location
from finecut.storage.objects import read_bytes, stat

LOOK_S = 10.0  # between looks at one in an object store, which cost a request each
T = TypeVar("T")


class SmallFile(Generic[T]):
    """What a file says. Safe to use from many threads.

    Args:
        place: of the file.
        parse: its bytes as a value; called again only after a change.
        missing: the value where there is no file.
    """

    def __init__(self, place: Location, parse: Callable[[bytes], T], missing: T) -> None:
        self.place = place
        self._parse = parse
        self._missing = missing
        self._known: tuple[str, T] | None = None  # etag ("" where there is no file) and value
        self._look_at = 0.0

    def value(self) -> T:
        """The file's value now (of one in an object store, as of at most ``LOOK_S`` ago).

        Raises:
            OSError: it cannot be read.
            Whatever ``parse`` raises.
        """
        known, now = self._known, time.monotonic()
        if known is not None and now < self._look_at:
            return known[1]
        try:
            etag = stat(self.place).etag
            if known is None or known[0] != etag:
                known = etag, self._parse(read_bytes(self.place))
        except ObjectNotFound:
            known = "", self._missing
        self._known = known
        if not self.place.is_local:
            self._look_at = now + LOOK_S
        return known[1]
