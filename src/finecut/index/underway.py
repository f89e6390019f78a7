"""A file on its way through a run, and the row it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from finecut.errors import StorageError
from finecut.index.decode_pool import Ended
from finecut.index.plan import Job
from finecut.index.read_texts import ReadTexts
from finecut.index.rows import PathStamp, VideoRow, failed_row
from finecut.index.scan import stamp_of
from finecut.index.text_plan import TextJob
from finecut.index.writer import now
from finecut.types import VideoProbe


@dataclass(slots=True, eq=False)
class VideoUnderway:
    """What has been heard of a file so far."""

    job: Job
    text_job: TextJob
    known: VideoRow | None = None  # indexed already: only its texts are read
    texts: ReadTexts | None = None
    probe: VideoProbe | None = None
    ended: Ended | None = None
    failed: bool = False
    n_waiting: int = 0  # clips decoded but not encoded
    n_clips: int = 0
    n_frames: int = 0

    @property
    def size_bytes(self) -> int:
        return self.job.stamps[0].size_bytes


def untouched(stamp: PathStamp) -> bool:
    """Whether a file is as it was when it was found."""
    try:
        return stamp_of(stamp.path) == stamp
    except (OSError, StorageError):
        return False


def done_row(video: VideoUnderway, build: int) -> VideoRow:
    """The row of a file that was read to its end."""
    assert video.ended is not None
    job = video.job
    row = failed_row(
        job.video_id, job.stamps, build=build, at=now(), reason="", error="", probe=video.probe
    )
    return replace(
        row,
        status="done",
        duration_s=video.ended.duration_s or row.duration_s,
        n_clips=video.n_clips,
        n_frames=video.n_frames,
        lost_frames=video.ended.frames_lost,
    )
