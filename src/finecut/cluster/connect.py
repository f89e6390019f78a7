"""Being part of a Ray cluster for the time of a run, quietly; and what machines there are in it."""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from finecut.errors import FinecutError, MissingDependency, UsageError

LOCAL = "local"  # the address that means: start Ray on this machine, for this run
LOCAL_STORE_BYTES = 512 << 20  # of Ray's object store then
KNOCK_S = 10.0  # for an address to answer
SHORT_FOLDER = "/tmp"  # a Unix socket's path holds some hundred characters, Ray needs sixty
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what is logged goes to files, but also to stderr
}


def load_ray() -> Any:
    """The ray module, with its reports home, bars and notes switched off (unless asked for).

    Raises:
        MissingDependency: it is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependency(
            f"--cluster needs Ray ({error}). Install it: pip install 'finecut[cluster]'"
        ) from error
    for name in ("ray", "ray.data", "ray._private"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster (or one of several Ray nodes on a machine)."""

    node_id: str
    host: str
    address: str
    cpus: float
    gpus: float


def nodes() -> list[Node]:
    """The nodes that are alive."""
    import ray

    found = []
    for plain in ray.nodes():
        if plain.get("Alive"):
            resources = plain.get("Resources", {})
            found.append(
                Node(
                    node_id=str(plain["NodeID"]),
                    host=str(plain.get("NodeManagerHostname", "")),
                    address=str(plain.get("NodeManagerAddress", "")),
                    cpus=float(resources.get("CPU", 0.0)),
                    gpus=float(resources.get("GPU", 0.0)),
                )
            )
    return found


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Nothing reaches stderr inside: Ray's C++ part greets there, whatever its log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _WithoutRay(io.TextIOBase):
    """stdout without what Ray's thread of notes prints there: the death of a node, at length."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a driver of the cluster inside; with the address "local", of one made for this run.

    A process that is part of a cluster already stays in it.

    Raises:
        UsageError: there is no cluster at the address.
        MissingDependency: Ray is not installed.
    """
    ray = load_ray()
    if address.startswith("ray://"):
        raise UsageError(
            "Ray Data needs a driver inside the cluster, not a client: run finecut on one of its "
            "machines, with --cluster auto or --cluster HOST:PORT (the port is 6379 by default)."
        )
    if ray.is_initialized():
        yield
        return
    folder = None
    quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        with _no_stderr():
            if address == LOCAL:
                short = SHORT_FOLDER if os.path.isdir(SHORT_FOLDER) else None
                folder = tempfile.mkdtemp(prefix="finecut-ray-", dir=short)
                ray.init(
                    address="local",
                    include_dashboard=False,
                    object_store_memory=LOCAL_STORE_BYTES,
                    _temp_dir=folder,
                    **quiet,
                )
            else:
                _knock(address)  # Ray would try for a minute and a half, then end the process
                ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        _remove(folder)
        if address == LOCAL:
            raise FinecutError(f"Ray does not start on this machine: {error}.") from error
        raise UsageError(
            f"There is no Ray cluster at {address!r} that this machine is part of "
            f"({_first_line(error)}). Start one: ray start --head --port=6379, and on the other "
            "machines: ray start --address=HEAD:6379. Or use this machine alone: --cluster local"
        ) from error
    with redirect_stdout(_WithoutRay(sys.stdout)):
        try:
            yield
        finally:
            with suppress(Exception):  # a cluster that is gone cannot be left
                ray.shutdown()
            _remove(folder)


def _knock(address: str) -> None:
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


def _remove(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(Path(folder), ignore_errors=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
