"""What the routes of one app share."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from finecut.server.auth import Gatekeeper
from finecut.server.frame_cache import FrameCache
from finecut.server.gate import Gate
from finecut.server.jobs import Jobs
from finecut.server.library import Library
from finecut.server.media import FileChecker
from finecut.server.settings import Settings
from finecut.server.telemetry import Telemetry


@dataclass(frozen=True)
class State:
    """One per app; every part is safe to share between requests."""

    settings: Settings
    gatekeeper: Gatekeeper
    library: Library
    files: FileChecker
    frames: FrameCache
    jobs: Jobs
    telemetry: Telemetry
    draining: threading.Event  # set once the process was told to stop
    searches: Gate
    decodes: Gate
    reads: Gate
    prepare: Callable[[str], Awaitable[None]] | None = None  # awaited with each sentence asked for


def state_of(request: HTTPConnection) -> State:
    """The state of the app that a request came to (a FastAPI dependency)."""
    return request.app.state.finecut
