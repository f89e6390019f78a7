"""``/api/v1/videos``: what is in the index, and the bytes of it."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParameter
from starlette.responses import Response

from finecut.errors import NotFound, UsageError
from finecut.server.media import content_type, file_response, is_unchanged
from finecut.server.models import VideoDetail, VideoList
from finecut.server.shown import shown_path, strip_of, video_item
from finecut.server.state import State, state_of

router = APIRouter(prefix="/api/v1/videos", tags=["videos"])

StateOf = Annotated[State, Depends(state_of)]
VideoId = Annotated[
    str, PathParameter(pattern=r"^[0-9a-f]{32}$", description="32 hex digits, of the content")
]
Seconds = Annotated[float, Query(ge=0, le=10**7, description="seconds from the start")]

JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
VIDEO: dict[int | str, dict[str, Any]] = {200: {"content": {"video/*": {}}}}
MEDIA: dict[int | str, dict[str, Any]] = {
    **VIDEO,
    206: {"description": "The range that was asked for.", "content": {"video/*": {}}},
    304: {"description": "Unchanged since the caller's copy."},
    416: {"description": "The range lies beyond the end of the file."},
}
# A video's id is its content, so a picture of it never changes. Only this caller may keep it.
KEEP = "private, max-age=86400, immutable"
MAX_SIDE = 1920


@router.get("", summary="List the videos")
async def videos(
    state: StateOf,
    name: Annotated[str | None, Query(max_length=200, description="part of a path")] = None,
    status: Annotated[Literal["done", "failed"] | None, Query()] = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> VideoList:
    """Videos by path, one page at a time; failed ones say why."""

    def work() -> VideoList:
        snapshot = state.library.snapshot()
        part = (name or "").casefold()
        rows = [
            row
            for row in snapshot.index.videos
            if (status is None or row.status == status)
            and (not part or any(part in shown_path(path).casefold() for path in row.paths))
        ]
        rows.sort(key=lambda row: row.paths[:1])
        page = rows[offset : offset + limit]
        return VideoList(
            total=len(rows),
            offset=offset,
            limit=limit,
            videos=[video_item(snapshot, row) for row in page],
        )

    return await state.reads.run(work)


@router.get("/{video_id}", summary="One video and its clips")
async def video(state: StateOf, video_id: VideoId) -> VideoDetail:
    """What is known of a video."""

    def work() -> VideoDetail:
        snapshot = state.library.snapshot()
        row = snapshot.video(video_id)
        clips = [strip_of(snapshot, video_id, int(r)) for r in snapshot.clip_rows(video_id)]
        return VideoDetail(**video_item(snapshot, row).model_dump(), clips=clips)

    return await state.reads.run(work)


@router.get(
    "/{video_id}/media", response_class=Response, responses=MEDIA,
    summary="The file, whole or in part",
)  # fmt: skip
@router.head("/{video_id}/media", response_class=Response, include_in_schema=False)
async def media(state: StateOf, video_id: VideoId, request: Request) -> Response:
    """The video's file. Answers `Range` with 206, a range beyond the end with 416."""

    def work() -> Response:
        row = state.library.snapshot().video(video_id)
        if row.status != "done":
            raise NotFound(
                f"The video {video_id} could not be read when it was indexed ({row.reason})."
            )
        file, path = state.files.open(video_id, row.paths)
        return file_response(
            file,
            method=request.method,
            headers=dict(request.headers),
            media_type=content_type(path),
            etag=f'"{video_id}"',
        )

    return await state.reads.run(work)


@router.get(
    "/{video_id}/clips/{number}/strip", response_class=Response, responses=JPEG,
    summary="Thumbnails of a clip",
)  # fmt: skip
async def strip(
    state: StateOf,
    request: Request,
    video_id: VideoId,
    number: Annotated[int, PathParameter(ge=0, le=10**9)],
) -> Response:
    """The thumbnails of a clip's frames side by side in one JPEG, all of one width."""

    def work() -> Response:
        snapshot = state.library.snapshot()
        found = snapshot.index.strip(snapshot.clip_row(video_id, number))
        return _picture(request, found.jpeg, {"X-Tile-Width": str(found.tile_width)})

    return await state.reads.run(work)


@router.get(
    "/{video_id}/frame", response_class=Response, responses=JPEG, summary="One frame as a JPEG"
)
async def frame(
    state: StateOf,
    request: Request,
    video_id: VideoId,
    time_s: Seconds,
    max_side: Annotated[int, Query(ge=16, le=MAX_SIDE, description="pixels")] = 960,
) -> Response:
    """The frame shown at a time; `X-Time-S` says its true presentation time."""
    key = (video_id, round(time_s, 3), max_side)
    kept = state.frames.get(key)

    def work() -> tuple[bytes, float]:
        from finecut.video.frame import frame_at

        row = state.library.snapshot().video(video_id)
        file, path = state.files.open(video_id, row.paths)
        with file:
            return frame_at(path, time_s, max_side=max_side)

    if kept is None:
        kept = await state.decodes.run(work)
        state.frames.put(key, kept)
    return _picture(request, kept[0], {"X-Time-S": f"{kept[1]:.3f}"})


@router.get(
    "/{video_id}/cut", response_class=Response, responses=VIDEO, summary="A moment as a file"
)
async def cut(
    state: StateOf, request: Request, video_id: VideoId, start_s: Seconds, end_s: Seconds
) -> Response:
    """`[start_s, end_s)` as a file of its own: copied where key frames allow, else re-encoded."""
    length_s = end_s - start_s
    if not 0 < length_s <= state.settings.max_cut_s:
        raise UsageError(
            f"`end_s` - `start_s` must be over 0 and at most {state.settings.max_cut_s:g} s, "
            f"got {length_s:g} s."
        )

    def work() -> Response:
        from finecut.video.cut import cut as cut_file

        row = state.library.snapshot().video(video_id)
        if row.duration_s and start_s >= row.duration_s:
            raise UsageError(
                f"`start_s` is {start_s:g} s, but the video ends at {row.duration_s:g} s."
            )
        file, path = state.files.open(video_id, row.paths)
        with file, tempfile.TemporaryDirectory(prefix="finecut-cut-") as folder:
            out = Path(folder) / "moment.mp4"
            report = cut_file(path, start_s, end_s, out)
            # Open before the folder goes: the open file outlives its name, and cleans up itself.
            made = out.open("rb")
        name = f"{PurePath(shown_path(path)).stem} {start_s:.1f}-{end_s:.1f}s.mp4"
        response = file_response(
            made,
            method="GET",
            headers={},
            media_type="video/mp4",
            etag=_etag(f"{video_id}{start_s}{end_s}".encode()),
            download_as=name,
        )
        response.headers["X-Start-S"] = f"{report.start_s:.3f}"
        response.headers["X-End-S"] = f"{report.end_s:.3f}"
        response.headers["Cache-Control"] = "private, no-store"
        return response

    return await state.decodes.run(work)


def _etag(content: bytes) -> str:
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def _picture(request: Request, jpeg: bytes, headers: dict[str, str]) -> Response:
    headers = {**headers, "ETag": _etag(jpeg), "Cache-Control": KEEP}
    if is_unchanged(headers["ETag"], 0.0, request.headers.get("if-none-match"), None):
        return Response(status_code=304, headers=headers)
    return Response(jpeg, media_type="image/jpeg", headers=headers)
