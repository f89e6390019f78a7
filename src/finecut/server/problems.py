"""Every error the server answers with is a problem document (RFC 9457)."""

from __future__ import annotations

import http
import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from finecut.errors import FinecutError, QueryError, VideoError

log = logging.getLogger("finecut.server")

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457: what went wrong, in words meant for a person, and what to do."""

    type: str = Field(examples=["urn:finecut:problem:not-found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["No video with the id 0f… is in this index."])
    instance: str | None = Field(default=None, examples=["/api/v1/videos/0f"])
    reason: str | None = Field(default=None, description="a short word, for videos that fail")
    at: int | None = Field(
        default=None, description="the character (from 0) where a query cannot be read"
    )


class Refused(Exception):
    """A request that is turned away before any work: its status, kind and what to say."""

    def __init__(
        self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.headers = dict(headers or {})


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    instance: str | None = None,
    reason: str | None = None,
    at: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document as a response.

    >>> problem(404, "not-found", "No such video.").media_type
    'application/problem+json'
    """
    body: dict[str, Any] = {
        "type": f"urn:finecut:problem:{kind}",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if instance is not None:
        body["instance"] = instance
    if reason is not None:
        body["reason"] = reason
    if at is not None:
        body["at"] = at
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def kind_of(error: Exception) -> str:
    """The kind of a problem from the class of an error.

    >>> from finecut.errors import IndexNotFound
    >>> kind_of(IndexNotFound("…"))
    'index-not-found'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()


def validation_text(errors: list[Any]) -> str:
    """What pydantic found, as one sentence per parameter.

    >>> validation_text([{"loc": ("query", "k"), "msg": "Input should be at most 200",
    ...                   "input": "999"}])
    "`k` (query): Input should be at most 200, got '999'."
    >>> validation_text([{"type": "json_invalid", "loc": ("body", 1), "msg": "JSON decode error"}])
    '`body` (body): JSON decode error.'
    """
    parts = []
    for error in errors:
        where, *rest = [str(part) for part in error.get("loc", ())] or ["request"]
        if error.get("type") == "json_invalid":
            rest = []  # where it breaks is a position in the text, no parameter's name
        name = ".".join(rest) or where
        got = repr(error["input"]) if isinstance(error.get("input"), str | int | float) else ""
        got = got if len(got) <= 80 else got[:77] + "…"
        parts.append(f"`{name}` ({where}): {error['msg']}" + (f", got {got}." if got else "."))
    return " ".join(parts)


def answer(error: Exception, instance: str | None = None) -> JSONResponse:
    """The problem document for an error; only errors meant for people show their text."""
    if isinstance(error, Refused):
        return problem(
            error.status, error.kind, error.detail, instance=instance, headers=error.headers
        )
    if isinstance(error, FinecutError):
        headers = {"Retry-After": "5"} if error.http_status == 503 else None
        return problem(
            error.http_status,
            kind_of(error),
            str(error),
            instance=instance,
            reason=error.reason if isinstance(error, VideoError) else None,
            at=error.at if isinstance(error, QueryError) else None,
            headers=headers,
        )
    log.error("unexpected error at %s", instance, exc_info=error)
    return problem(
        500,
        "internal",
        "The server failed in a way it did not expect; its log says how.",
        instance=instance,
    )


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        return answer(error, request.url.path)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        errors = list(error.errors()) if isinstance(error, RequestValidationError) else []
        return problem(422, "invalid", validation_text(errors), instance=request.url.path)

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        # FastAPI reports whatever goes wrong while it reads a body as a 400: say what it was.
        cause = error.__cause__
        if isinstance(cause, Refused):
            return answer(cause, request.url.path)
        if not isinstance(error, HTTPException):
            return answer(error, request.url.path)
        detail = str(error.detail)
        if error.status_code == 404:
            detail = f"There is nothing at {request.url.path}; /openapi.json lists what there is."
        elif error.status_code == 405:
            detail = f"{request.method} is not something {request.url.path} answers to."
        kind = http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        return problem(
            error.status_code, kind, detail, instance=request.url.path, headers=error.headers
        )

    app.add_exception_handler(FinecutError, known)
    app.add_exception_handler(Refused, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
