"""What a reader of an index sees: videos, the clip columns and stored tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from finecut.storage.location import is_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.types import VideoProbe


@dataclass(frozen=True, slots=True)
class PathStamp:
    """A path under which a video was seen, and the stamps that tell whether it was touched."""

    path: str  # absolute, or a URL; bytes that are no Unicode are kept by surrogate escapes
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One video of the index: a content, under one path or several."""

    video_id: str
    build: int  # the run that indexed it; clips of any other run do not count
    stamps: tuple[PathStamp, ...]
    status: Literal["done", "failed"]
    reason: str  # of a failure, a short word; else ""
    error: str  # of a failure, the whole message; else ""
    size_bytes: int
    container: str
    codec: str
    width: int
    height: int
    rotation: int
    duration_s: float
    fps: float
    has_audio: bool
    recorded_at: float | None
    n_clips: int
    n_frames: int  # distinct frames that were encoded
    lost_frames: int  # frames that would not decode in an otherwise readable video
    indexed_at: float  # Unix seconds

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(stamp.path for stamp in self.stamps)

    @property
    def mtime(self) -> float:
        """When the file was last written, in Unix seconds (of its first path)."""
        return self.stamps[0].mtime_ns / 1e9 if self.stamps else 0.0

    def present_path(self) -> str | None:
        """A path under which the video is there now, if any; of those in buckets, which are not
        asked, the first."""
        here = next((path for path in self.paths if os.path.exists(path)), None)
        return here or next(filter(is_url, self.paths), None)


def failed_row(
    video_id: str,
    stamps: Sequence[PathStamp],
    *,
    build: int,
    at: float,
    reason: str,
    error: str,
    probe: VideoProbe | None = None,
) -> VideoRow:
    """The row of a content that is not in the index; ``at`` is now, in Unix seconds."""
    return VideoRow(
        video_id=video_id,
        build=build,
        stamps=tuple(stamps),
        status="failed",
        reason=reason,
        error=error,
        size_bytes=stamps[0].size_bytes,
        container=probe.container if probe else "",
        codec=probe.codec if probe else "",
        width=probe.width if probe else 0,
        height=probe.height if probe else 0,
        rotation=probe.rotation if probe else 0,
        duration_s=probe.duration_s if probe else 0.0,
        fps=probe.fps if probe else 0.0,
        has_audio=probe.has_audio if probe else False,
        recorded_at=probe.recorded_at if probe else None,
        n_clips=0,
        n_frames=0,
        lost_frames=0,
        indexed_at=at,
    )


@dataclass(frozen=True, slots=True)
class ClipTable:
    """The gallery: one entry per clip in every column, in gallery order (``clip_id`` rises)."""

    clip_id: NDArray[np.int64]  # [G]
    video: NDArray[np.int32]  # [G] position in ``Index.videos``
    number: NDArray[np.int32]  # [G] 0, 1, … within the video
    start_s: NDArray[np.float64]  # [G]
    end_s: NDArray[np.float64]  # [G]
    n_frames: NDArray[np.int32]  # [G]

    def __len__(self) -> int:
        return len(self.clip_id)


@dataclass(frozen=True, slots=True)
class PatchTokens:
    """Patch tokens of K clips, each where it is kept: a view of a mapped file, mostly.

    They are by far the most of what a search reads, and a copy costs more than the products do.
    """

    parts: list[NDArray[np.int8]]  # K x [F_k * N, D]
    per_frame: int  # N

    @classmethod
    def of_frames(cls, patches: NDArray[np.int8], frame_mask: NDArray[np.bool_]) -> PatchTokens:
        """Of padded integers [K, F, N, D]."""
        parts = [
            clip[mask].reshape(-1, patches.shape[-1])
            for clip, mask in zip(patches, frame_mask, strict=True)
        ]
        return cls(parts, patches.shape[2])

    def frame(self, clip: int, frame: int) -> NDArray[np.int8]:
        """The integers [N, D] of one frame of one clip."""
        first = frame * self.per_frame
        return np.asarray(self.parts[clip][first : first + self.per_frame])

    def padded(self, frame_mask: NDArray[np.bool_]) -> NDArray[np.int8]:
        """The integers [K, F, N, D], 0 where there is no frame."""
        dim = self.parts[0].shape[-1] if self.parts else 0
        made = np.zeros((*frame_mask.shape, self.per_frame, dim), np.int8)
        for clip, mask, part in zip(made, frame_mask, self.parts, strict=True):
            clip[mask] = part.reshape(-1, self.per_frame, dim)
        return made


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """Tokens of K clips, padded to the longest (but for the patches); a token is
    ``integer * scale``.

    ``frames`` is None in an index of level "video", ``patches`` in one below level "patch".
    """

    rows: NDArray[np.int64]  # [K] gallery rows, as asked for
    frame_mask: NDArray[np.bool_]  # [K, F] True = real
    times: NDArray[np.float64]  # [K, F] seconds; 0 where masked
    frames: NDArray[np.int8] | None = None  # [K, F, D]
    frame_scale: NDArray[np.float32] | None = None  # [K, F]
    patches: PatchTokens | None = None  # N of each frame: one for each patch, or fewer
    patch_scale: NDArray[np.float32] | None = None  # [K, F, N]
    patch_home: NDArray[np.uint8] | None = None  # [K, F, P] token of each patch; None: its own
    frame_values: NDArray[np.int8] | None = None  # [K, F, D]
    value_scale: NDArray[np.float32] | None = None  # [K, F]


@dataclass(frozen=True, slots=True)
class Strip:
    """The thumbnails of one clip, side by side in one JPEG."""

    jpeg: bytes
    tile_width: int
    tile_height: int
    times: NDArray[np.float64]  # [F] seconds, one per thumbnail


class VideoRows(Sequence[VideoRow]):
    """Videos as JSON lines, each made into a row when it is asked for: most never are.

    Args:
        lines: the text of all lines, uint8.
        ends: [V] where each line ends.
    """

    def __init__(self, lines: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._lines = lines
        self._ends = ends
        self._made: dict[int, VideoRow] = {}

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> VideoRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[VideoRow]: ...
    def __getitem__(self, place: int | slice) -> VideoRow | list[VideoRow]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        number = range(len(self))[place]
        row = self._made.get(number)
        if row is None:
            start = int(self._ends[number - 1]) if number else 0
            plain = json.loads(self._lines[start : int(self._ends[number])].tobytes())
            stamps = tuple(PathStamp(*stamp) for stamp in plain.pop("stamps"))
            row = self._made[number] = VideoRow(stamps=stamps, **plain)
        return row


def video_lines(rows: Iterable[VideoRow]) -> tuple[bytes, NDArray[np.int64]]:
    """The text and line ends that ``VideoRows`` reads."""
    lines = []
    for row in rows:
        plain = {name: getattr(row, name) for name in VideoRow.__slots__ if name != "stamps"}
        plain["stamps"] = [[stamp.path, stamp.size_bytes, stamp.mtime_ns] for stamp in row.stamps]
        lines.append(json.dumps(plain).encode("ascii") + b"\n")
    return b"".join(lines), np.cumsum([len(line) for line in lines], dtype=np.int64)
