"""What every request must pass before a route sees it, and what every answer carries."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finecut.server.auth import Gatekeeper
from finecut.server.problems import Refused, answer
from finecut.server.settings import LOOPBACK_NAMES, Settings, is_loopback

# Without them a page could not ask for the token, nor a load balancer whether we are well.
OPEN_PATHS = {"/", "/health", "/ready", "/openapi.json", "/favicon.ico", "/api/v1/session"}
OPEN_PREFIX = "/page/"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

ANSWER_HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def host_name(host: str) -> str:
    """The name in a ``Host`` header, without its port.

    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("EXAMPLE.org")
    ('localhost', '[::1]', 'example.org')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


class Guard:
    """ASGI middleware: caller's address, Host, cross-site calls, token, size of the body."""

    def __init__(self, app: ASGIApp, *, settings: Settings, gatekeeper: Gatekeeper) -> None:
        self._app, self._settings, self._gatekeeper = app, settings, gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_caller(scope, headers)
            self._check_site(scope, headers)
            self._check_token(scope, headers)
            self._check_length(headers)
        except Refused as error:
            await answer(error, scope["path"])(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, self._bounded(receive), send_with_headers)
        except Exception as error:
            if started:
                raise  # half an answer is out: break off, so that nobody takes it for a whole one
            await answer(error, scope["path"])(scope, receive, send_with_headers)

    def _check_caller(self, scope: Scope, headers: Headers) -> None:
        """Without a token: this machine only, under its own names (DNS rebinding)."""
        settings = self._settings
        name = host_name(headers.get("host", ""))
        allowed = {host.lower() for host in settings.allowed_hosts}
        if settings.token is None:
            client = scope.get("client")
            if client is not None and not is_loopback(client[0]):
                raise Refused(
                    403,
                    "not-this-machine",
                    "This server answers only callers on its own machine. Start it with a token "
                    "to let others in: finecut serve --host 0.0.0.0 --token …",
                )
            allowed |= set(LOOPBACK_NAMES)
        elif not allowed:
            return  # no page that was rebound to us can hold the token or the cookie
        else:
            allowed |= set(LOOPBACK_NAMES)
        if name not in allowed:
            raise Refused(
                421,
                "unknown-host",
                f"The Host header names {name!r}, which this server is not. Known names: "
                f"{', '.join(sorted(allowed))}. Add one with: finecut serve --allow-host {name}",
            )

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        """Other sites' pages may neither read, embed nor change anything."""
        if not scope["path"].startswith(("/api/", "/metrics", "/mcp")):
            return
        origin = headers.get("origin")
        if origin is not None and origin in self._settings.cors_origins:
            return
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(403, "cross-site", "Another site's page may not call this server.")
        if scope["method"] in SAFE_METHODS:
            return
        if origin is not None:
            if urlsplit(origin).netloc.lower() != headers.get("host", "").strip().lower():
                raise Refused(
                    403,
                    "cross-site",
                    f"The call comes from a page of {origin}, which this server is not.",
                )
            return
        # No Origin: not a browser of today. A form of an old one cannot set these headers, nor send
        # JSON, which is all that /mcp takes.
        sends_json = headers.get("content-type", "").lower().startswith("application/json")
        if scope["path"].startswith("/mcp") and sends_json:
            return
        if "x-finecut" not in headers and "authorization" not in headers:
            raise Refused(
                403,
                "header-missing",
                f"{scope['method']} needs the header 'X-Finecut: 1' (any value): it proves that "
                "no other site's form made this call.",
            )

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_PREFIX):
            return
        if not self._gatekeeper.admits(headers.get("authorization"), headers.get("cookie")):
            raise Refused(
                401,
                "token-needed",
                "This server asks for its token, in the header 'Authorization: Bearer TOKEN'. "
                "Whoever started it has the token.",
                {"WWW-Authenticate": 'Bearer realm="finecut"'},
            )

    def _check_length(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._settings.max_body_bytes:
            raise self._too_large(length)

    def _too_large(self, got: str) -> Refused:
        return Refused(
            413,
            "body-too-large",
            f"The body has {got} bytes, expected at most {self._settings.max_body_bytes}.",
        )

    def _bounded(self, receive: Receive) -> Receive:
        """The body, refused when it grows too large (whatever its header said) or too slow."""
        settings = self._settings
        total = 0
        done = False
        deadline: float | None = None

        async def bounded() -> Message:
            nonlocal total, done, deadline
            if done:
                return await receive()  # waits for the caller to hang up
            loop = asyncio.get_running_loop()
            deadline = deadline or loop.time() + settings.body_timeout_s
            try:
                message = await asyncio.wait_for(receive(), max(deadline - loop.time(), 0.001))
            except TimeoutError:
                raise Refused(
                    408,
                    "body-too-slow",
                    f"The body did not arrive within {settings.body_timeout_s:g} s.",
                ) from None
            if message["type"] == "http.request":
                total += len(message.get("body", b""))
                done = not message.get("more_body", False)
                if total > settings.max_body_bytes:
                    raise self._too_large(f"at least {total}")
            return message

        return bounded
