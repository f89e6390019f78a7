"""How a server leaves: it says so, goes on for a while, and finishes what it has in hand."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FINISH_S = 10  # for requests in hand, once no more are taken
IDLE_S = 15  # a kept connection that asks nothing is closed


def config_of(app: Any, log_level: str) -> uvicorn.Config:
    """How uvicorn serves here."""
    return uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=FINISH_S,
        h11_max_incomplete_event_size=64 * 1024,
        limit_concurrency=512,
    )


class DrainingServer(uvicorn.Server):
    """Stops in two steps: told by SIGTERM it sets ``draining`` and takes requests for ``drain_s``
    more, which gives load balancers the time to hear of it; then it ends as uvicorn does. A second
    signal, or Ctrl-C, skips the wait."""

    def __init__(self, config: uvicorn.Config, draining: threading.Event, drain_s: float) -> None:
        super().__init__(config)
        self._draining, self._drain_s = draining, drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal that tells the process to stop."""
        first = not self._draining.is_set()
        self._draining.set()
        if first and sig == signal.SIGTERM and self._drain_s > 0:
            # The handler runs in the thread of the event loop, between two of its steps.
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(
                loop.call_later, self._drain_s, super().handle_exit, sig, frame
            )
        else:
            super().handle_exit(sig, frame)


class Leaving:
    """ASGI middleware: once the server drains, each answer closes its connection, so that callers
    come back to another server."""

    def __init__(self, app: ASGIApp, draining: threading.Event) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._draining.is_set():
            await self._app(scope, receive, send)
            return

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, last)
