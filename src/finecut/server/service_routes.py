"""``/health``, ``/ready``, ``/metrics``, the login of the page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from finecut import __version__
from finecut.errors import FinecutError
from finecut.server.auth import SESSION_S
from finecut.server.models import Health, Ready, Session
from finecut.server.problems import Refused
from finecut.server.state import State, state_of
from finecut.server.telemetry import CONTENT_TYPE

router = APIRouter(tags=["service"])

StateOf = Annotated[State, Depends(state_of)]


@router.get("/health", summary="Does the process answer?")
async def health() -> Health:
    """Always 200 while the server runs."""
    return Health(status="ok", version=__version__)


@router.get("/ready", summary="Can searches be answered?")
async def ready(state: StateOf) -> Ready:
    """200 with the index's version, or 503 with the reason: there is no index that can be
    searched, or this server is about to stop and callers should go to another one."""
    if state.draining.is_set():
        raise Refused(503, "stopping", "This server is about to stop.", {"Retry-After": "1"})

    def work() -> Ready:
        try:
            snapshot = state.library.snapshot()
        except FinecutError as error:
            raise Refused(503, "not-ready", str(error), {"Retry-After": "5"}) from error
        return Ready(
            status="ready", index_version=snapshot.version, n_clips=len(snapshot.index.clips)
        )

    return await state.reads.run(work)


@router.get("/metrics", response_class=Response, summary="For Prometheus")
async def metrics(state: StateOf) -> Response:
    """Requests, latencies, the size of the index, the work in hand."""

    def work() -> bytes:
        telemetry = state.telemetry
        n_done = n_failed = n_clips = 0
        try:
            snapshot = state.library.snapshot()
        except FinecutError:
            pass  # /ready says why; an index of nothing has no sizes
        else:
            n_done, n_clips = len(snapshot.done), len(snapshot.index.clips)
            n_failed = len(snapshot.index.videos) - n_done
            telemetry.commit.set(snapshot.commit)
        library = state.library
        telemetry.opened_at.set(library.opened_at)
        telemetry.opening.set(library.opening_s)
        telemetry.not_opened.set(library.failures)
        telemetry.draining.set(state.draining.is_set())
        telemetry.videos.labels("done").set(n_done)
        telemetry.videos.labels("failed").set(n_failed)
        telemetry.clips.set(n_clips)
        telemetry.job.set(state.jobs.running is not None)
        for gate in (state.searches, state.decodes, state.reads):
            telemetry.busy.labels(gate.name).set(gate.busy)
        return telemetry.render()

    return Response(await state.reads.run(work), media_type=CONTENT_TYPE)


@router.get("/api/v1/session", summary="Is a token asked for?")
async def session(state: StateOf, request: Request) -> Session:
    """Whether the server asks for a token and whether this caller has shown it."""
    headers = request.headers
    keeper = state.gatekeeper
    admitted = keeper.admits(headers.get("authorization"), headers.get("cookie"))
    return Session(token_required=keeper.required, admitted=admitted)


@router.post("/api/v1/session", summary="Log in with the token")
async def login(state: StateOf, request: Request) -> JSONResponse:
    """Set the cookie that lets `<img>` and `<video>` load. Needs the bearer token."""
    keeper = state.gatekeeper
    if not keeper.has_token(request.headers.get("authorization")):
        raise Refused(
            401,
            "token-wrong",
            "This is not the server's token. Whoever started the server has it.",
            {"WWW-Authenticate": 'Bearer realm="finecut"'},
        )
    answer = JSONResponse(Session(token_required=keeper.required, admitted=True).model_dump())
    if keeper.required:
        answer.set_cookie(
            keeper.cookie,
            keeper.new_session(),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            path="/",
        )
    return answer


@router.delete("/api/v1/session", summary="Log out")
async def logout(state: StateOf) -> JSONResponse:
    """Take the cookie away."""
    keeper = state.gatekeeper
    answer = JSONResponse(Session(token_required=keeper.required, admitted=False).model_dump())
    answer.delete_cookie(keeper.cookie, path="/", httponly=True, samesite="strict")
    return answer
