"""An S3 server for tests, in a process of its own: ``python s3_server.py [REQUESTS]``.

Prints its port on one line, then serves until it is killed or its parent is gone. With REQUESTS it
checks who asks, and their signatures, after so many requests (those that make the bucket and the
user).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

if len(sys.argv) > 1:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = sys.argv[1]

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class OneWriteAtATime:
    """S3's conditional writes are atomic; moto looks, then writes: so writes go one by one."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self.app(environ, start_response)
        with self.lock:
            return self.app(environ, start_response)


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as by a real server

    def log(self, kind: str, message: str, *args: Any) -> None:
        pass


def end_with_the_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    app = OneWriteAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


main()
