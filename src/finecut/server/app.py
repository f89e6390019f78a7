"""The FastAPI app: the API under ``/api/v1``, the page at ``/``."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from finecut import __version__
from finecut.server import (
    job_routes,
    problems,
    search_routes,
    service_routes,
    video_routes,
)
from finecut.server.auth import Gatekeeper
from finecut.server.draining import Leaving
from finecut.server.frame_cache import FrameCache
from finecut.server.gate import Gate
from finecut.server.guard import Guard
from finecut.server.jobs import Jobs
from finecut.server.library import Library
from finecut.server.media import FileChecker
from finecut.server.settings import Settings
from finecut.server.state import State
from finecut.server.telemetry import Measured, Telemetry
from finecut.storage.location import Location

PAGE = Path(__file__).with_name("page")

DESCRIPTION = """Search a library of videos by a sentence, an image or a moment.

Times are seconds; an interval is `[start_s, end_s)`. A video is named by its content: 32 hex
digits that stay when the file moves. Every error is a problem document (RFC 9457)."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {
        "description": text,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, text in {
        401: "The token is missing or wrong.",
        403: "The caller may not do this (another site, another machine).",
        404: "There is no such thing in the index.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        421: "The Host header names another server.",
        422: "A parameter cannot be meant.",
        503: "The index is not there, or the server is busy; see Retry-After.",
    }.items()
}


def create_app(
    index_dir: Location | str | Path,
    *,
    bundle: str | Path | None = None,
    token: str | None = None,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    roots: Sequence[str | Path] = (),
    threads: int | None = None,
    prepare: Callable[[str], Awaitable[None]] | None = None,
    **limits: Any,
) -> FastAPI:
    """The app that serves one index. Nothing is opened before the first request.

    Args:
        index_dir: the index or an alias, a folder or a URL; it may be made later.
        bundle: to search with; None takes the one the index names.
        token: asked of every caller; None: callers on this machine only.
        allowed_hosts: further ``Host`` names that are answered.
        cors_origins: origins whose pages may call the API.
        roots: folders an index job may be started on besides those the index knows.
        threads: for one run of a graph; None for all cores.
        prepare: awaited with each sentence before it is searched for; may encode those of many
            requests together, which the searcher then remembers.
        **limits: further fields of `Settings`, for instance ``max_k=50``.

    Raises:
        UsageError: a setting that cannot be meant, such as a short token.
    """
    settings = Settings(
        index_dir=Location.parse(index_dir),
        bundle=bundle,
        token=token,
        allowed_hosts=tuple(allowed_hosts),
        cors_origins=tuple(cors_origins),
        roots=tuple(map(str, roots)),
        threads=threads,
        **limits,
    )
    library = Library(settings.index_dir, bundle=settings.bundle, threads=settings.threads)
    line = {"waiting": settings.max_waiting, "max_wait_s": settings.max_wait_s}
    state = State(
        settings=settings,
        gatekeeper=Gatekeeper(settings.token, str(settings.index_dir)),
        library=library,
        files=FileChecker(),
        frames=FrameCache(),
        jobs=Jobs(library, settings.roots),
        telemetry=Telemetry(),
        draining=threading.Event(),
        searches=Gate("searches", running=settings.max_searches, **line),
        decodes=Gate("frames and cuts", running=settings.max_decodes, **line),
        reads=Gate("reads", running=16, waiting=256, max_wait_s=settings.max_wait_s),
        prepare=prepare,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        state.jobs.close()
        state.library.close()

    app = FastAPI(
        title="finecut",
        version=__version__,
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # Swagger and Redoc load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=PROBLEMS,
    )
    app.state.finecut = state
    problems.install(app)
    for routes in (search_routes, video_routes, job_routes, service_routes):
        app.include_router(routes.router)
    app.router.routes.append(Route("/", _page, methods=["GET", "HEAD"]))
    app.router.routes.append(Mount("/page", _PageFiles(directory=PAGE), name="page"))

    # The last added is the outermost.
    app.add_middleware(Guard, settings=settings, gatekeeper=state.gatekeeper)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Range", "X-Finecut"],
            expose_headers=["Content-Range", "ETag", "X-Time-S", "X-Start-S", "X-End-S"],
        )
    app.add_middleware(Leaving, draining=state.draining)
    app.add_middleware(Measured, telemetry=state.telemetry)
    _describe_problems(app)
    return app


async def _page(request: Any) -> Response:
    return FileResponse(
        PAGE / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"}
    )


class _PageFiles(StaticFiles):
    """The page's own files: asked for anew each time, so that an upgrade is seen at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _describe_problems(app: FastAPI) -> None:
    """Put the problem document among the schemas of the OpenAPI document."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", problems.Problem.model_json_schema())
        document["components"].setdefault("securitySchemes", {}).setdefault(
            "bearer", {"type": "http", "scheme": "bearer"}
        )
        document.setdefault("security", [{}, {"bearer": []}])
        return document

    app.openapi = openapi  # type: ignore[method-assign]
