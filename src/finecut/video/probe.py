"""What a video file is, from its header and first frame."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from finecut.errors import LimitError
from finecut.types import VideoProbe
from finecut.video.container import open_video
from finecut.video.packets import DecodeStats, read_packets
from finecut.video.spec import DEFAULT_LIMITS, Limits

_FIRST_PACKETS = 64  # packets tried for a first frame, which alone tells the rotation


def probe(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> VideoProbe:
    """Container, codec, shown size, rotation, duration and so on of a video file.

    Raises:
        VideoError: not a readable file with a video stream; see `open_video` for the reasons.
        LimitError: larger or longer than the limits allow.
    """
    with open_video(path, limits) as (container, stream):
        check_length(container, stream, path, limits)
        return probe_of(container, stream, _first_frame_rotation(container, stream))


def check_length(
    container: InputContainer, stream: VideoStream, path: str | Path, limits: Limits
) -> None:
    """Raise LimitError where a video claims to be longer than allowed."""
    duration_s = claimed_duration(container, stream)
    if duration_s > limits.max_duration_s:
        raise LimitError(
            f"{path}: {duration_s / 3600:.1f} hours long, at most "
            f"{limits.max_duration_s / 3600:.0f} hours are allowed.",
            reason="too long",
        )


def probe_of(container: InputContainer, stream: VideoStream, rotation: int) -> VideoProbe:
    """What an open file is; ``rotation`` is that of its first frame, as FFmpeg counts."""
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    if not math.isfinite(fps) or not 0 < fps <= 1000:
        fps = 0.0
    context, turned = stream.codec_context, clockwise(rotation)
    width, height = shown_size(context.width, context.height, pixel_aspect(stream), turned)
    return VideoProbe(
        container=container.format.name,
        codec=context.codec.canonical_name,
        width=width,
        height=height,
        rotation=turned,
        duration_s=claimed_duration(container, stream),
        fps=fps,
        has_audio=bool(container.streams.audio),
        size_bytes=container.size,
        recorded_at=_recorded_at(container),
    )


def claimed_duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds the container claims for the video stream, or for the whole; 0.0 if it is silent."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        return container.duration / av.time_base
    return 0.0


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height; 1.0 where unknown or absurd."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    value = float(ratio) if ratio else 1.0
    return value if 0.1 <= value <= 10 else 1.0


def shown_size(width: int, height: int, aspect: float, rotation: int) -> tuple[int, int]:
    """Width and height as shown: pixels made square by widening, then turned upright.

    >>> shown_size(720, 576, 16 / 15, 90)
    (576, 768)
    """
    width = max(1, round(width * aspect))
    return (height, width) if rotation in (90, 270) else (width, height)


def clockwise(rotation: int) -> int:
    """Degrees clockwise that show a frame upright, of FFmpeg's counter-clockwise degrees.

    >>> clockwise(90), clockwise(-90), clockwise(180), clockwise(7)
    (270, 90, 180, 0)
    """
    return round(-rotation / 90) * 90 % 360


def _first_frame_rotation(container: InputContainer, stream: VideoStream) -> int:
    context = stream.codec_context
    for number, packet in enumerate(read_packets(container, stream, DecodeStats(), Limits())):
        if number >= _FIRST_PACKETS:
            break
        try:
            for frame in context.decode(packet):
                return frame.rotation
        except FFmpegError:
            continue
    try:
        for frame in context.decode(None):
            return frame.rotation
    except FFmpegError:
        return 0
    return 0


def _recorded_at(container: InputContainer) -> float | None:
    for key in ("creation_time", "com.apple.quicktime.creationdate", "date"):
        text = container.metadata.get(key)
        if not text:
            continue
        try:
            moment = datetime.fromisoformat(text.strip())
            seconds = moment.timestamp()
        except (ValueError, OverflowError, OSError):
            continue
        # Cameras without a clock write the epoch of MP4 (1904) or of Unix.
        if seconds > 86400:
            return seconds
    return None
