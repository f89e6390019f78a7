"""What the API answers with, as strict models: the OpenAPI document is made of these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_VIDEO_ID = "5f0c9d7a41c84b0f9a3b6f0d2e1c7b88"


class Answer(BaseModel):
    """Base of the answers: a field that a route does not know is a bug, so it fails."""

    model_config = ConfigDict(extra="forbid")


class Strip(Answer):
    """The thumbnails of one clip, side by side in one JPEG of equal tiles."""

    url: str
    start_s: float
    end_s: float
    n_frames: int = Field(description="tiles, left to right")
    times: list[float] | None = Field(description="seconds of each tile, where evidence was asked")


class ShownEvidence(Answer):
    """Why a moment was found."""

    times: list[float] = Field(description="seconds, every frame of the moment's clips")
    frame_relevance: list[float] = Field(description="in [0, 1], one per time")
    patch_relevance: list[list[float]] | None = Field(
        description="rows of columns over the best frame, in [0, 1]; null where none is stored"
    )
    patch_box: tuple[float, float, float, float] | None = Field(
        description="what the patches cover: left, top, right, bottom as fractions of the frame"
    )


Match = Literal["strong", "fair", "weak"]


class ShownReason(Answer):
    """What speaks for a moment."""

    channel: str = Field(description="picture, said, shown, told or named")
    score: float = Field(description="sureness of the picture; share of the words a text holds")
    text: str | None = Field(description="as it is stored; null of a picture")
    source: str | None = Field(description="where the text is from")
    start_s: float | None = Field(description="of the text; null: of the whole video")
    end_s: float | None


class ShownStep(Answer):
    """Where one step of `a THEN b` was found."""

    query: str
    start_s: float
    end_s: float
    best_s: float
    confidence: float = Field(ge=0, le=1)


class Result(Answer):
    """One moment. The first eleven fields are those of ``finecut search --json``."""

    video: str = Field(description="a path under which the video is present now")
    video_id: str
    start_s: float
    end_s: float
    best_s: float
    score: float
    recall_score: float
    rerank_score: float | None
    confidence: float = Field(ge=0, le=1, description="comparable between queries")
    reasons: list[ShownReason] = Field(description="why, the strongest first")
    steps: list[ShownStep] = Field(description="of an ordered query; empty of any other")
    match: Match = Field(description="the confidence in a word; weak is below the good-match bar")
    name: str = Field(description="the file's name")
    duration_s: float
    width: int
    height: int
    codec: str
    clip_ids: list[int]
    strips: list[Strip] = Field(description="thumbnails of the moment's clips, in time order")
    media_url: str
    frame_url: str = Field(description="the best frame as a JPEG; add &max_side=N")
    cut_url: str = Field(description="the moment as a file of its own")
    video_url: str
    evidence: ShownEvidence | None


class SearchAnswer(Answer):
    """The object ``finecut search --json`` prints, with what a page needs besides."""

    query: str
    understood: str = Field(description="the query as it was read: reads as the same query")
    notes: list[str] = Field(description="what a person should know besides, in sentences")
    kind: Literal["text", "image", "like"]
    elapsed_ms: float
    good_match: bool = Field(description="false: nothing here is likely to be what was asked for")
    gallery: int = Field(description="clips that were searched, after filters")
    index_version: str
    results: list[Result]


class VideoItem(Answer):
    """One video of the index."""

    video_id: str
    name: str
    paths: list[str]
    present: bool = Field(description="whether one of the paths exists now")
    status: Literal["done", "failed"]
    reason: str | None = Field(description="of a failure, a short word")
    error: str | None = Field(description="of a failure, the whole message")
    size_bytes: int
    duration_s: float
    width: int
    height: int
    fps: float
    codec: str
    container: str
    content_type: str
    recorded_at: float | None = Field(description="Unix seconds")
    modified_at: float = Field(description="Unix seconds")
    indexed_at: float = Field(description="Unix seconds")
    n_clips: int
    lost_frames: int
    media_url: str | None
    cover: Strip | None = Field(description="thumbnails of the first clip")


class VideoList(Answer):
    """A page of the videos."""

    total: int = Field(description="videos that pass the filter, on all pages")
    offset: int
    limit: int
    videos: list[VideoItem]


class VideoDetail(VideoItem):
    """One video with all its clips."""

    clips: list[Strip]


class IndexInfo(Answer):
    """What is searched, and with which model."""

    path: str
    version: str
    n_videos: int
    n_failed: int
    n_clips: int
    video_s: float
    levels: Literal["video", "frame", "patch"]
    bundle: str
    method: str
    threshold: float = Field(description="confidence from which a match is good")
    roots: list[str] = Field(description="the folders a job without `roots` goes through")
    job: str | None = Field(description="id of the index job that runs now")
    max_k: int
    max_cut_s: float


JobState = Literal["running", "cancelling", "done", "cancelled", "failed"]


class JobRequest(BaseModel):
    """What to index."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"force": True}]})

    roots: list[str] = Field(
        default=[],
        max_length=100,
        description="folders or files; empty: those the index knows. Others only where the "
        "server was started with --root",
    )
    force: bool = Field(default=False, description="index unchanged videos again, too")


class Job(Answer):
    """An index job and how far it is."""

    id: str
    state: JobState
    roots: list[str]
    force: bool
    started_at: float = Field(description="Unix seconds")
    finished_at: float | None
    done_files: int
    total_files: int
    current: str | None = Field(description="the file that was last worked on")
    video_s: float
    x_realtime: float | None
    eta_s: float | None
    message: str
    error: str | None
    report: dict[str, Any] | None = Field(description="what a finished run did")


class JobList(Answer):
    """The last jobs of this server, newest first."""

    jobs: list[Job]


class Session(Answer):
    """Whether a token is asked for, and whether this caller has shown it."""

    token_required: bool
    admitted: bool


class Health(Answer):
    """Whether the process answers."""

    status: Literal["ok"]
    version: str


class Ready(Answer):
    """Whether searches can be answered now."""

    status: Literal["ready"]
    index_version: str
    n_clips: int


SEARCH_EXAMPLE = {
    "query": "a dog catches a frisbee",
    "understood": "a dog catches a frisbee",
    "notes": [],
    "kind": "text",
    "elapsed_ms": 18.4,
    "good_match": True,
    "gallery": 1204,
    "index_version": "2d1f0a9b77c1-12",
    "results": [
        {
            "video": "/home/ada/Videos/park.mp4",
            "video_id": _VIDEO_ID,
            "start_s": 12.0,
            "end_s": 17.5,
            "best_s": 14.0,
            "score": 0.412,
            "recall_score": 0.371,
            "rerank_score": 0.412,
            "confidence": 0.93,
            "reasons": [
                {
                    "channel": "picture",
                    "score": 0.91,
                    "text": None,
                    "source": None,
                    "start_s": None,
                    "end_s": None,
                },
                {
                    "channel": "said",
                    "score": 0.67,
                    "text": "Good dog! Bring me the frisbee.",
                    "source": "sidecar park.en.srt",
                    "start_s": 13.1,
                    "end_s": 15.0,
                },
            ],
            "steps": [],
            "match": "strong",
            "name": "park.mp4",
            "duration_s": 95.2,
            "width": 1920,
            "height": 1080,
            "codec": "h264",
            "clip_ids": [31],
            "strips": [
                {
                    "url": f"/api/v1/videos/{_VIDEO_ID}/clips/1/strip",
                    "start_s": 8.0,
                    "end_s": 20.0,
                    "n_frames": 3,
                    "times": [8.0, 14.0, 17.0],
                }
            ],
            "media_url": f"/api/v1/videos/{_VIDEO_ID}/media",
            "frame_url": f"/api/v1/videos/{_VIDEO_ID}/frame?time_s=14.0",
            "cut_url": f"/api/v1/videos/{_VIDEO_ID}/cut?start_s=12.0&end_s=17.5",
            "video_url": f"/api/v1/videos/{_VIDEO_ID}",
            "evidence": {
                "times": [8.0, 14.0, 17.0],
                "frame_relevance": [0.21, 0.96, 0.61],
                "patch_relevance": [[0.1, 0.2], [0.9, 0.3]],
                "patch_box": [0.21875, 0.0, 0.78125, 1.0],
            },
        }
    ],
}
