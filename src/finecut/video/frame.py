"""One frame of a video as a JPEG, at its true time: what a page or a person looks at."""

from __future__ import annotations

import io
import math
from pathlib import Path

from av.video.frame import VideoFrame
from PIL import Image

from finecut.errors import UsageError, VideoError
from finecut.video.container import check_pixels, open_video
from finecut.video.pixels import FrameConverter
from finecut.video.probe import pixel_aspect
from finecut.video.seek import frames_from, timeline
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec, Limits

_QUALITY = 85


def frame_at(
    path: str | Path, time_s: float, max_side: int = 960, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[bytes, float]:
    """The frame on show at a time, as JPEG, and the time it is first shown at.

    Before the first frame that is the first one, after the last one the last.

    Args:
        path: a local file.
        time_s: seconds from the first shown frame.
        max_side: pixels of the longer side at most; pictures are never enlarged.
        limits: guards against hostile files.

    Raises:
        UsageError: a time or size that cannot be meant.
        VideoError: unreadable, or no frame decodes.
    """
    if not math.isfinite(time_s) or time_s < 0:
        raise UsageError(f"`time_s` must be a number of seconds from 0, got {time_s}.")
    if not 16 <= max_side <= 8192:
        raise UsageError(f"`max_side` must be from 16 to 8192 pixels, got {max_side}.")
    with open_video(path, limits) as (container, stream):
        line = timeline(container, stream, limits)
        best: tuple[float, VideoFrame] | None = None
        for shown_s, frame in frames_from(container, stream, line, time_s, limits):
            if best is not None and shown_s > time_s + line.tolerance_s:
                break
            best = (shown_s, frame)
        if best is None:
            raise VideoError(
                f"{path}: no frame decodes at {time_s:.3f} s.", reason="no frame decodes"
            )
        shown_s, frame = best
        check_pixels(frame.width, frame.height, str(path), limits)
        convert = FrameConverter(DecodeSpec(), pixel_aspect(stream))
        width, height = convert.shown(frame)
        scale = min(1.0, max_side / max(width, height))
        picture = convert.picture(
            frame, max(1, round(width * scale)), max(1, round(height * scale))
        )
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue(), max(0.0, shown_s)
