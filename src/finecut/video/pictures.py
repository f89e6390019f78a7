"""Whole pictures of a video at regular times, upright, for readers of what is on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from finecut.video.container import check_pixels, open_video
from finecut.video.packets import DecodeStats
from finecut.video.pixels import FrameConverter
from finecut.video.probe import pixel_aspect
from finecut.video.sample import Sampler
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec, Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pictures(
    path: str | Path, period_s: float, max_side: int, *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """(seconds from the first shown frame, [height, width, 3] RGB), every ``period_s`` seconds.

    Args:
        path: a local file.
        period_s: seconds from one wanted time to the next.
        max_side: pixels of the longer side at most; pictures are never enlarged.
        limits: guards against hostile files.

    Raises:
        VideoError: unreadable, or no video stream.
        LimitError: beyond the limits.
    """
    with open_video(path, limits) as (container, stream):
        convert = FrameConverter(DecodeSpec(interpolation="area"), pixel_aspect(stream))
        for sample in Sampler(container, stream, period_s, stats=DecodeStats(), limits=limits):
            frame = sample.frame
            check_pixels(frame.width, frame.height, str(path), limits)
            width, height = convert.shown(frame)
            scale = min(1.0, max_side / max(width, height))
            size = max(1, round(width * scale)), max(1, round(height * scale))
            yield sample.time_s, convert.picture(frame, *size)
