"""What Prometheus may ask: requests, how long they took, the index, the work in hand."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """The metrics of one app, in a registry of their own (two apps in one process do not mix)."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "finecut_http_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "finecut_http_request_seconds",
            "Seconds from the request to the end of its answer.",
            ["route"],
            registry=registry,
        )
        self.search = Histogram(
            "finecut_search_seconds",
            "Seconds inside the search engine.",
            ["kind"],
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
        self.no_match = Counter(
            "finecut_search_no_good_match",
            "Searches that found nothing good.",
            registry=registry,
        )
        self.videos = Gauge(
            "finecut_index_videos", "Videos in the index.", ["status"], registry=registry
        )
        self.clips = Gauge("finecut_index_clips", "Clips in the index.", registry=registry)
        self.commit = Gauge(
            "finecut_index_commit",
            "Number of the commit that is served.",
            registry=registry,
        )
        self.opened_at = Gauge(
            "finecut_index_opened_timestamp_seconds",
            "When the version that is served was opened, Unix time.",
            registry=registry,
        )
        self.opening = Gauge(
            "finecut_index_opening_seconds",
            "How long that took, beside the requests.",
            registry=registry,
        )
        self.not_opened = Gauge(
            "finecut_index_open_failures",
            "New versions that could not be opened since the start.",
            registry=registry,
        )
        self.draining = Gauge(
            "finecut_draining", "1 once the server was told to stop.", registry=registry
        )
        self.busy = Gauge(
            "finecut_busy", "Calls that run or wait now.", ["gate"], registry=registry
        )
        self.job = Gauge(
            "finecut_index_job_running", "1 while an index job runs.", registry=registry
        )

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts and times requests by route (never by raw path)."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._telemetry.requests.labels(method, route, str(status)).inc()
            self._telemetry.latency.labels(route).observe(time.perf_counter() - start)


_METHODS = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"}
