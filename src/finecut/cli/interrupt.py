"""Ctrl-C in long verbs: the first asks for a good end, the second ends at once."""

from __future__ import annotations

import signal
from typing import Any

from finecut.cli.show import say


class Interrupt:
    """The first Ctrl-C (or SIGTERM) asks the run to end well; a second one ends it at once."""

    def __init__(self, message: str = "Stopping after the current files") -> None:
        self.asked = False
        self._message = message
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        say(f"{self._message}; once more to stop at once.")
