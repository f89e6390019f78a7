"""Says when something happened below some folders, by what the operating system tells."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from finecut.index.scan import under

GROUP_MS = 400  # changes this close are one
RETRY_S = 30.0  # before folders that could not be watched are tried again


class Bell:
    """Rings when something below the folders changed; folders may come and go.

    Where the system cannot watch them (too many folders, a file system without notices), it says so
    once and does not ring: looking now and then has to do.

    Args:
        ignored: folders whose changes are our own.
        on_trouble: called with a message, from the watching thread.
        on_path: called with every path that changed, from the watching thread.
    """

    def __init__(
        self,
        ignored: Sequence[str],
        on_trouble: Callable[[str], None],
        on_path: Callable[[str], None],
    ) -> None:
        self._ignored = tuple(ignored)
        self._on_trouble = on_trouble
        self._on_path = on_path
        self._rung = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched: tuple[tuple[str, int, int], ...] = ()
        self._started = 0.0
        self._told = ""

    def watch(self, roots: Sequence[str], now: float) -> None:
        """Watch these folders from now on, and no others; cheap when they are watched already.

        Args:
            roots: folders and files that are there.
            now: seconds of a clock that only goes forward.
        """
        # A folder that was taken away and made anew needs a new watch under its old name.
        asked = tuple(_identity(root) for root in roots)
        listening = self._thread is not None and self._thread.is_alive()
        if asked == self._watched and (listening or now - self._started < RETRY_S):
            return
        self.close()
        self._watched, self._started, self._stop = asked, now, threading.Event()
        if roots:
            self._thread = threading.Thread(
                target=self._listen,
                args=(tuple(roots), self._stop),
                name="finecut-bell",
                daemon=True,
            )
            self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; whether there was one since the last call."""
        rung = self._rung.wait(seconds)
        self._rung.clear()
        return rung

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def _listen(self, roots: tuple[str, ...], stop: threading.Event) -> None:
        import watchfiles

        def counts(_: watchfiles.Change, path: str) -> bool:
            if any(under(path, folder) for folder in self._ignored):
                return False
            root = next((root for root in roots if under(path, root)), None)
            if root is None:
                return False
            parts = os.path.relpath(path, root).split(os.sep)
            return parts == ["."] or not any(part.startswith(".") for part in parts)

        folders = [root if os.path.isdir(root) else os.path.dirname(root) for root in roots]
        try:
            for changes in watchfiles.watch(
                *dict.fromkeys(folders),
                watch_filter=counts,
                debounce=GROUP_MS * 4,
                step=GROUP_MS,
                stop_event=stop,
                rust_timeout=1000,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                for _, path in changes:
                    self._on_path(path)
                self._rung.set()
        except (OSError, RuntimeError) as error:
            message = str(error)
            if not stop.is_set() and message != self._told:
                self._told = message
                self._on_trouble(message)
            self._rung.set()


def _identity(root: str) -> tuple[str, int, int]:
    try:
        status = os.stat(root)
    except OSError:
        return root, 0, 0
    return root, status.st_dev, status.st_ino
