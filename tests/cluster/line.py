"""A line between a client and a server that counts what passes, and may be cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Line:
    """Passes connections on to a server. Use as a context manager; ``endpoint`` leads into it."""

    def __init__(self, endpoint: str) -> None:
        target = urlsplit(endpoint)
        self._target = (target.hostname or "", target.port or 0)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.bytes_down = 0  # from the server
        self._cuts = 0
        self._cut_after = 0
        self.n_cut = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def cut(self, times: int, *, after_bytes: int = 0) -> None:
        """Break off so many of the next answers that are longer than that many bytes, there."""
        with self._lock:
            self._cuts, self._cut_after = times, after_bytes

    def __enter__(self) -> Line:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(self._target)
                for source, sink, down in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=self._pass, args=(source, sink, down), daemon=True
                    ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        n_answer = 0
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if down:
                    n_answer = len(data) if data.startswith(b"HTTP/") else n_answer + len(data)
                    with self._lock:
                        cut = self._cuts > 0 and n_answer > self._cut_after
                        self._cuts -= cut
                        self.n_cut += cut
                        self.bytes_down += len(data)
                    if cut:
                        break
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
