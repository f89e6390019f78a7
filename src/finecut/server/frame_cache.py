"""The frames that were asked for last: a page asks for the same few again and again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

_KEPT_FRAMES = 128  # about 10 MB at 960 pixels

Key = tuple[str, float, int]  # video id, seconds, longest side


class FrameCache:
    """JPEG frames with their true times, by what was asked for; oldest use goes first."""

    def __init__(self) -> None:
        self._frames: OrderedDict[Key, tuple[bytes, float]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> tuple[bytes, float] | None:
        """The frame, if it is kept."""
        with self._lock:
            found = self._frames.get(key)
            if found is not None:
                self._frames.move_to_end(key)
            return found

    def put(self, key: Key, frame: tuple[bytes, float]) -> None:
        """Keep a frame."""
        with self._lock:
            self._frames[key] = frame
            while len(self._frames) > _KEPT_FRAMES:
                self._frames.popitem(last=False)
