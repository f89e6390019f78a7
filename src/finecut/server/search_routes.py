"""``/api/v1/search``: by a sentence, by an image, by a moment of the library."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, UploadFile

from finecut.errors import UsageError
from finecut.search.filters import Filters
from finecut.server.filters import filters_from
from finecut.server.models import SEARCH_EXAMPLE, SearchAnswer
from finecut.server.shown import result_of
from finecut.server.state import State, state_of

if TYPE_CHECKING:
    from finecut.types import Results

router = APIRouter(prefix="/api/v1", tags=["search"])

EXAMPLES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": SEARCH_EXAMPLE}}}
}


@dataclass(frozen=True)
class Like:
    """A moment of the library that is to be matched."""

    video_id: str
    time_s: float

    @classmethod
    def parse(cls, text: str) -> Like:
        """``video_id@seconds``.

        >>> Like.parse("ab12@3.5")
        Like(video_id='ab12', time_s=3.5)
        """
        match = re.fullmatch(r"([0-9a-f]{1,64})@([0-9]{1,9}(?:\.[0-9]{1,6})?)", text)
        if match is None:
            raise UsageError(
                f"`like` must be a video's id, '@' and seconds (for instance 5f0c9d7a@12.5), "
                f"got {text!r:.100}."
            )
        return cls(match[1], float(match[2]))


@dataclass(frozen=True)
class Ask:
    """What every kind of search is given besides its query."""

    k: int
    recall_k: int
    rerank: bool
    evidence: bool
    filters: Filters | None
    duplicates: bool


K = Annotated[int, Query(ge=1, description="moments at most")]
RECALL_K = Annotated[
    int | None, Query(ge=1, description="clips that are re-ranked; default: 5 k, at least 50")
]


def ask_from(
    state: Annotated[State, Depends(state_of)],
    filters: Annotated[Filters | None, Depends(filters_from)],
    k: K = 10,
    recall_k: RECALL_K = None,
    rerank: Annotated[bool, Query(description="false: stage 1 alone")] = True,
    evidence: Annotated[bool, Query(description="frame and patch relevance")] = True,
    duplicates: Annotated[bool, Query(description="true: every copy of a video")] = False,
) -> Ask:
    """The checked parameters of a search (a FastAPI dependency).

    Raises:
        UsageError: beyond the server's limits.
    """
    limits = state.settings
    if k > limits.max_k:
        raise UsageError(f"`k` must be at most {limits.max_k} here, got {k}.")
    wanted = max(50, 5 * k) if recall_k is None else recall_k
    if recall_k is not None and recall_k > limits.max_recall_k:
        raise UsageError(f"`recall_k` must be at most {limits.max_recall_k} here, got {recall_k}.")
    return Ask(k, min(max(wanted, k), limits.max_recall_k), rerank, evidence, filters, duplicates)


def _text(state: State, text: str) -> str:
    text = text.strip()
    if not text:
        raise UsageError(
            "`q` is empty: say what to look for, for instance q=a dog catches a frisbee."
        )
    if len(text) > state.settings.max_query_chars:
        raise UsageError(
            f"`q` has {len(text)} characters, expected at most {state.settings.max_query_chars}."
        )
    return text


async def _answer(
    state: State,
    ask: Ask,
    kind: Literal["text", "image", "like"],
    query: str | bytes | Like,
    image: bytes | None = None,
) -> SearchAnswer:
    def work() -> SearchAnswer:
        snapshot = state.library.snapshot()
        start = time.perf_counter()
        results: Results
        if isinstance(query, Like):
            snapshot.video(query.video_id)
            results = snapshot.searcher.more_like(
                query.video_id,
                query.time_s,
                k=ask.k,
                recall_k=ask.recall_k,
                filters=ask.filters,
                rerank=ask.rerank,
                evidence=ask.evidence,
                duplicates=ask.duplicates,
            )
        else:
            results = snapshot.searcher.search(
                query,
                k=ask.k,
                recall_k=ask.recall_k,
                filters=ask.filters,
                rerank=ask.rerank,
                evidence=ask.evidence,
                image=image,
                duplicates=ask.duplicates,
            )
        state.telemetry.search.labels(kind).observe(time.perf_counter() - start)
        if not results.good_match:
            state.telemetry.no_match.inc()
        return SearchAnswer(
            query=query if isinstance(query, str) and image is None else results.query,
            understood=results.understood,
            notes=list(results.notes),
            kind=kind,
            elapsed_ms=round(results.elapsed_ms, 3),
            good_match=results.good_match,
            gallery=results.gallery,
            index_version=snapshot.version,
            results=[result_of(snapshot, moment) for moment in results],
        )

    if state.prepare is not None and isinstance(query, str):
        await state.prepare(query)
    return await state.searches.run(work)


@router.get("/search", responses=EXAMPLES, summary="Search by a sentence or by a moment")
async def search(
    state: Annotated[State, Depends(state_of)],
    ask: Annotated[Ask, Depends(ask_from)],
    q: Annotated[
        str | None,
        Query(
            description="a sentence, or a query as docs/query-language.md has it",
            examples=["a dog catches a frisbee", "a red car THEN a fire -people in:holiday"],
        ),
    ] = None,
    like: Annotated[
        str | None,
        Query(max_length=100, description="video_id@seconds", examples=["5f0c9d7a@12.5"]),
    ] = None,
) -> SearchAnswer:
    """Moments, best first. Give `q` or `like`, not both."""
    if (q is None) == (like is None):
        raise UsageError("Give either `q` (a sentence) or `like` (video_id@seconds).")
    if like is not None:
        return await _answer(state, ask, "like", Like.parse(like))
    return await _answer(state, ask, "text", _text(state, q or ""))


@router.post("/search", responses=EXAMPLES, summary="Search by an image")
async def search_posted(
    state: Annotated[State, Depends(state_of)],
    ask: Annotated[Ask, Depends(ask_from)],
    image: Annotated[UploadFile | None, File(description="JPEG, PNG, WebP, GIF or BMP")] = None,
    q: Annotated[str | None, Form(description="a sentence; beside an image, more of it")] = None,
) -> SearchAnswer:
    """Moments that look like an image (multipart field `image`), show a sentence (`q`), or both."""
    if q is None and image is None:
        raise UsageError("Give the file field `image`, the field `q` (a sentence), or both.")
    if image is not None and q is not None and q.strip():
        return await _answer(state, ask, "image", _text(state, q), await image.read())
    if image is not None:
        return await _answer(state, ask, "image", await image.read())
    return await _answer(state, ask, "text", _text(state, q or ""))
