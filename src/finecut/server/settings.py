"""What a server is told once, when it starts: where the index is, who may ask, and how much."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from finecut.errors import UsageError
from finecut.storage.location import Location

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")
MIN_TOKEN_CHARS = 16


@dataclass(frozen=True)
class Settings:
    """Everything is checked here, so that no route has to.

    Args:
        index_dir: the index that is served, or an alias; it may not exist yet.
        bundle: the bundle to search with; None takes the one the index names.
        token: the bearer token asked of every caller. None means that only this machine may
            call: other addresses and other ``Host`` names are refused.
        allowed_hosts: further ``Host`` names that are answered, without a port.
        cors_origins: origins whose pages may call the API, for instance ``https://example.org``.
        roots: folders that an index job may be started on besides those the index knows.
    """

    index_dir: Location
    bundle: str | Path | None = None
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    threads: int | None = None
    max_k: int = 200
    max_recall_k: int = 2000
    max_query_chars: int = 2000  # as everywhere (bundle.tokens.MAX_QUERY_CHARS)
    max_body_bytes: int = 20 * 2**20
    body_timeout_s: float = 30.0
    max_searches: int = 4  # that run at once; onnxruntime uses the cores inside each
    max_waiting: int = 32  # that wait for their turn; one more is answered with 503
    max_wait_s: float = 15.0
    max_decodes: int = 2  # frames and cuts made at once: each is a process-heavy decode
    max_cut_s: float = 600.0

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < MIN_TOKEN_CHARS:
            raise UsageError(
                f"The token has {len(self.token)} characters, expected at least "
                f"{MIN_TOKEN_CHARS}. Make one with: "
                "python -c 'import secrets; print(secrets.token_urlsafe(24))'"
            )
        for origin in self.cors_origins:
            if origin == "*" or not origin.startswith(("http://", "https://")):
                raise UsageError(
                    f"A CORS origin is a scheme and a host, for instance https://example.org, "
                    f"got {origin!r}. '*' is refused: any page could then search the library."
                )


def is_loopback(address: str) -> bool:
    """Whether an address or host name to bind, or a caller's address, is this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if address.lower() in LOOPBACK_NAMES:
        return True
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)  # ::ffff:127.0.0.1 on a dual-stack socket
    return (mapped or parsed).is_loopback
