"""Ending a Ray Data execution from another thread: Ray asks its callbacks at every step.

Imported only where Ray is there. A process runs one pipeline at a time.
"""

from __future__ import annotations

import threading
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

ASKED = threading.Event()


class Stopped(Exception):
    """The execution was to end."""


class EndWhenAsked(ExecutionCallback):
    """Raises `Stopped` inside the execution once ``ASKED`` is set."""

    def on_execution_step(self, executor: Any) -> None:
        """Called by Ray some ten times a second."""
        if ASKED.is_set():
            raise Stopped
