"""Finding a moment in a file: where its time line begins, and frames from a key frame on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from finecut.video.packets import DecodeStats, groups, read_packets
from finecut.video.spec import Limits

_FIRST_PACKETS = 48


@dataclass(frozen=True, slots=True)
class Timeline:
    """How a stream's timestamps become seconds from its first shown frame."""

    origin: int  # pts of the first shown frame
    tick_s: float

    @property
    def tolerance_s(self) -> float:
        """Times closer than this are the same."""
        return max(1e-6, min(0.5 * self.tick_s, 5e-4))

    def seconds(self, pts: int) -> float:
        return (pts - self.origin) * self.tick_s

    def pts(self, time_s: float) -> int:
        return self.origin + round(time_s / self.tick_s)


def timeline(container: InputContainer, stream: VideoStream, limits: Limits) -> Timeline:
    """The time line of a stream, read from its first packets; the file is left at its beginning."""
    packets = itertools.islice(
        read_packets(container, stream, DecodeStats(), limits), _FIRST_PACKETS
    )
    origin = stream.start_time or 0
    for group in groups(packets, limits):
        key_pts = group.packets[0].pts if group.opens else None
        shown = [p.pts for p in group.packets if p.pts is not None and not p.is_discard]
        if key_pts is not None:
            shown = [pts for pts in shown if pts >= key_pts]
        if shown:
            origin = min(shown)
            break
    _rewind(container, stream, origin)
    return Timeline(origin, float(stream.time_base))


def _rewind(container: InputContainer, stream: VideoStream, origin: int) -> None:
    first = min(origin, stream.start_time) if stream.start_time is not None else origin
    try:
        container.seek(first, stream=stream)
    except (av.FFmpegError, OSError):
        try:
            container.seek(0)
        except (av.FFmpegError, OSError):
            stream.codec_context.flush_buffers()


def frames_from(
    container: InputContainer,
    stream: VideoStream,
    line: Timeline,
    time_s: float,
    limits: Limits,
) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their times, in order of showing, from a key frame before a time on."""
    try:
        container.seek(line.pts(time_s), stream=stream)
    except (av.FFmpegError, OSError, OverflowError):
        _rewind(container, stream, line.origin)
    context = stream.codec_context
    context.skip_frame = "DEFAULT"
    idle = 0
    for packet in itertools.chain(read_packets(container, stream, DecodeStats(), limits), [None]):
        try:
            frames = context.decode(packet)
        except (av.FFmpegError, ValueError):
            frames = []
        idle = 0 if frames else idle + 1
        if idle > limits.max_idle_packets:
            return
        for frame in frames:
            pts = frame.pts if frame.pts is not None else frame.dts
            if pts is not None:
                yield line.seconds(pts), frame
