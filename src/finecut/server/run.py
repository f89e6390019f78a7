"""Serve an index until stopped: what ``finecut serve`` calls."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finecut.errors import UsageError
from finecut.server.settings import is_loopback
from finecut.storage.location import Location


def check_bind(host: str, token: str | None, verb: str = "serve") -> None:
    """Refuse to listen beyond this machine without a token; ``verb`` is what the user typed.

    Raises:
        UsageError: the address is not loopback and there is no token.

    >>> check_bind("127.0.0.1", None)
    """
    if token is None and not is_loopback(host):
        raise UsageError(
            f"Listening on {host} lets others reach this library, so it needs a token: "
            f"finecut {verb} --host {host} --token TOKEN (or FINECUT_TOKEN). "
            "For this machine only, use --host 127.0.0.1."
        )


def page_url(host: str, port: int) -> str:
    """Where a browser on this machine finds the page.

    >>> page_url("0.0.0.0", 8000), page_url("::1", 80)
    ('http://127.0.0.1:8000/', 'http://[::1]:80/')
    """
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def serve(
    index_dir: Location | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8500,
    token: str | None = None,
    allowed_hosts: Sequence[str] = (),
    on_listening: Callable[[str], None] | None = None,
    log_level: str = "warning",
    drain_s: float = 0.0,
    **options: Any,
) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM).

    Args:
        index_dir: the index to serve, or an alias.
        host: address to listen on; any but loopback needs a token.
        port: 0 takes a free one.
        token: the bearer token asked of callers.
        allowed_hosts: further ``Host`` names that are answered.
        on_listening: called with the page's address once the port is open.
        log_level: of uvicorn.
        drain_s: so many seconds after SIGTERM requests are still taken, while ``/ready`` says 503,
            so that a load balancer sends no more; then those in hand are finished.
        **options: of `finecut.server.app.create_app`.

    Raises:
        UsageError: no token for an open address, or the port is taken.
    """
    from finecut.server.app import create_app

    check_bind(host, token)
    app = create_app(index_dir, token=token, allowed_hosts=tuple(allowed_hosts), **options)
    with listen(host, port) as listener:
        warm = threading.Thread(target=app.state.finecut.library.warm_up, daemon=True)
        warm.start()
        if on_listening is not None:
            on_listening(page_url(host, listener.getsockname()[1]))
        run_app(app, listener, log_level, app.state.finecut.draining, drain_s)


def listen(host: str, port: int) -> socket.socket:
    """An open port; 0 takes a free one.

    Raises:
        UsageError: it cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Port {port} of {host} cannot be listened on: {error.strerror}. "
            "Choose another with --port, or --port 0 for a free one."
        ) from error
    return listener


def run_app(
    app: Any,
    listener: socket.socket,
    log_level: str = "warning",
    draining: threading.Event | None = None,
    drain_s: float = 0.0,
) -> None:
    """Answer calls to an ASGI app on an open port until the process is told to stop.

    Args:
        app: to serve.
        listener: an open port.
        log_level: of uvicorn.
        draining: set when the process is told to stop.
        drain_s: from then on calls are taken for so many seconds more.
    """
    from finecut.server.draining import DrainingServer, config_of

    config = config_of(app, log_level)
    DrainingServer(config, draining or threading.Event(), drain_s).run(sockets=[listener])
