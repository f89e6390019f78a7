"""Rows and moments as the API shows them."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from finecut.search.calibration import match_word
from finecut.server.library import Snapshot
from finecut.server.media import content_type
from finecut.server.models import Result, ShownEvidence, Strip, VideoItem

if TYPE_CHECKING:
    from finecut.index.rows import VideoRow
    from finecut.types import Moment


def shown_path(path: str) -> str:
    """A path that JSON can carry: bytes that are no UTF-8 become U+FFFD.

    >>> shown_path("/videos/caf\\udce9.mp4")
    '/videos/caf�.mp4'
    """
    return os.fsencode(path).decode("utf-8", "replace")


def video_url(video_id: str, *parts: str, **query: float) -> str:
    """The address of a video or of something of it.

    >>> video_url("ab", "frame", time_s=1.5)
    '/api/v1/videos/ab/frame?time_s=1.5'
    """
    path = "/".join(["/api/v1/videos", video_id, *parts])
    return f"{path}?{urlencode(query)}" if query else path


def strip_of(snapshot: Snapshot, video_id: str, row: int, times: np.ndarray | None = None) -> Strip:
    """Where the thumbnails of a clip are, and what they show."""
    clips = snapshot.index.clips
    start_s, end_s = float(clips.start_s[row]), float(clips.end_s[row])
    n_frames = int(clips.n_frames[row])
    own = None
    if times is not None:
        own = [round(float(t), 3) for t in times if start_s <= t < end_s]
        own = own if len(own) == n_frames else None  # not the clip's own frames
    return Strip(
        url=video_url(video_id, "clips", str(int(clips.number[row])), "strip"),
        start_s=round(start_s, 3),
        end_s=round(end_s, 3),
        n_frames=n_frames,
        times=own,
    )


def _numbers(values: np.ndarray) -> Any:
    return np.round(values.astype(np.float64), 4).tolist()


def result_of(snapshot: Snapshot, moment: Moment) -> Result:
    """A moment with what a page needs to show it."""
    video = snapshot.video(moment.video_id)
    clips = snapshot.index.clips
    rows = np.searchsorted(clips.clip_id, np.asarray(moment.clip_ids, np.int64))
    rows = rows[rows < len(clips)]
    rows = rows[np.argsort(clips.start_s[rows], kind="stable")]
    evidence = moment.evidence
    shown = None
    if evidence is not None:
        patches = evidence.patch_relevance
        shown = ShownEvidence(
            times=[round(float(t), 3) for t in evidence.times],
            frame_relevance=_numbers(evidence.frame_relevance),
            patch_relevance=None if patches is None else _numbers(patches),
            patch_box=None if patches is None else snapshot.patch_box(video.width, video.height),
        )
    plain = moment.to_json()
    plain["video"] = shown_path(moment.video)
    start_s, end_s, best_s = plain["start_s"], plain["end_s"], plain["best_s"]
    video_id = moment.video_id
    return Result(
        **plain,
        match=match_word(plain["confidence"], snapshot.threshold),
        name=PurePath(plain["video"]).name,
        duration_s=round(video.duration_s, 3),
        width=video.width,
        height=video.height,
        codec=video.codec,
        clip_ids=[int(clip_id) for clip_id in moment.clip_ids],
        strips=[
            strip_of(snapshot, video_id, int(row), evidence.times if evidence else None)
            for row in rows
        ],
        media_url=video_url(video_id, "media"),
        frame_url=video_url(video_id, "frame", time_s=best_s),
        cut_url=video_url(video_id, "cut", start_s=start_s, end_s=end_s),
        video_url=video_url(video_id),
        evidence=shown,
    )


def video_item(snapshot: Snapshot, video: VideoRow) -> VideoItem:
    """A row of the video table."""
    done = video.status == "done"
    rows = snapshot.clip_rows(video.video_id) if done else np.zeros(0, np.int64)
    first = shown_path(video.paths[0]) if video.paths else ""
    return VideoItem(
        video_id=video.video_id,
        name=PurePath(first).name,
        paths=[shown_path(path) for path in video.paths],
        present=video.present_path() is not None,
        status=video.status,
        reason=video.reason or None,
        error=video.error or None,
        size_bytes=video.size_bytes,
        duration_s=round(video.duration_s, 3),
        width=video.width,
        height=video.height,
        fps=round(video.fps, 3),
        codec=video.codec,
        container=video.container,
        content_type=content_type(first),
        recorded_at=video.recorded_at,
        modified_at=video.mtime,
        indexed_at=video.indexed_at,
        n_clips=video.n_clips,
        lost_frames=video.lost_frames,
        media_url=video_url(video.video_id, "media") if done else None,
        cover=strip_of(snapshot, video.video_id, int(rows[0])) if len(rows) else None,
    )
