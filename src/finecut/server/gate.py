"""How much work runs at once: a bounded number of threads, a bounded queue, then 503."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from finecut.server.problems import Refused

P = ParamSpec("P")
T = TypeVar("T")


class Gate:
    """Runs blocking work in threads, `running` at once, with at most `waiting` more in line."""

    def __init__(self, name: str, *, running: int, waiting: int, max_wait_s: float) -> None:
        self.name, self.waiting, self.max_wait_s = name, waiting, max_wait_s
        self._running = running
        self._limiter: CapacityLimiter | None = None  # made inside the event loop it belongs to
        self._in_line = 0

    @property
    def busy(self) -> int:
        """How many calls run or wait now."""
        return self._in_line

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work(*args, **kwargs)`` returns.

        Raises:
            Refused: 503, the line is full or did not move in time.
        """
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._running)
        if self._in_line >= self._running + self.waiting:
            raise self._full(f"{self._in_line} are running or waiting")
        self._in_line += 1
        borrower = object()  # one task may hold several places, so places are not per task
        try:
            with anyio.move_on_after(self.max_wait_s) as wait:
                await self._limiter.acquire_on_behalf_of(borrower)
            if wait.cancelled_caught:
                raise self._full(f"none finished within {self.max_wait_s:g} s")
            try:
                return await to_thread.run_sync(
                    functools.partial(work, *args, **kwargs), limiter=CapacityLimiter(1)
                )
            finally:
                self._limiter.release_on_behalf_of(borrower)
        finally:
            self._in_line -= 1

    def _full(self, why: str) -> Refused:
        return Refused(
            503,
            "busy",
            f"The server is busy: of the calls for {self.name}, {why}. Try again in a second.",
            {"Retry-After": "1"},
        )
