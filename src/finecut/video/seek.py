"""Finding a moment in a file: where its time line begins, and frames from a key frame on."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from finecut.video.container import tick
from finecut.video.packets import DecodeStats, groups, read_packets
from finecut.video.spec import Limits

_FIRST_PACKETS = 48
# How much earlier to seek, by turns, where a container lands behind the time asked for.
EARLIER_S = (0.0, 2.0, 20.0, math.inf)


@dataclass(frozen=True, slots=True)
class Timeline:
    """How a stream's timestamps become seconds from its first shown frame."""

    origin: int  # pts of the first shown frame
    tick_s: float
    frame_s: float = 0.04  # seconds a frame is usually shown
    timed: bool = True  # False: packets carry no times, frames are counted from the beginning

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
    else:
        shown = []
    line = Timeline(origin, float(tick(stream)), frame_length(stream), bool(shown))
    _rewind(container, stream, line)
    return line


def frame_length(stream: VideoStream) -> float:
    """Seconds a frame is usually shown; a 25th where the stream does not say, or says nonsense."""
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    return 1 / fps if 0.01 <= fps <= 1000 else 0.04


def seek_before(
    container: InputContainer, stream: VideoStream, line: Timeline, time_s: float
) -> None:
    """Go to a key frame that should lie at or before a time; to the beginning for a time before 0.

    Containers without an index may land a little late: callers check, and ask for an earlier time.
    """
    if time_s > 0 and line.timed:
        with contextlib.suppress(FFmpegError, OSError, OverflowError):
            container.seek(line.pts(time_s), stream=stream)
            return
    _rewind(container, stream, line)


def _rewind(container: InputContainer, stream: VideoStream, line: Timeline) -> None:
    # Transport streams have no index, and a seek to the first time lands behind the first frame.
    if not line.timed or container.format.name in ("mpegts", "mpeg"):
        with contextlib.suppress(FFmpegError, OSError):
            container.seek(0, unsupported_byte_offset=True)
            return
    first = line.origin if stream.start_time is None else min(line.origin, stream.start_time)
    for target, where in ((first, stream), (0, None)):
        with contextlib.suppress(FFmpegError, OSError, OverflowError):
            container.seek(target, stream=where)
            return
    stream.codec_context.flush_buffers()


def frames_from(
    container: InputContainer,
    stream: VideoStream,
    line: Timeline,
    time_s: float,
    limits: Limits,
) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their times, in order of showing, the first one at or before a time if any is."""
    for early_s in EARLIER_S:
        seek_before(container, stream, line, time_s - early_s)
        frames = _frames(container, stream, line, limits)
        first = next(frames, None)
        late = first is None or first[0] > time_s + line.tolerance_s
        if late and early_s <= time_s:
            continue
        if first is not None:
            yield first
            yield from frames
        return


def _frames(
    container: InputContainer, stream: VideoStream, line: Timeline, limits: Limits
) -> Iterator[tuple[float, VideoFrame]]:
    context = stream.codec_context
    context.skip_frame = "DEFAULT"
    idle = count = 0
    before_s = -math.inf
    for packet in itertools.chain(read_packets(container, stream, DecodeStats(), limits), [None]):
        try:
            frames = context.decode(packet)
        except (FFmpegError, ValueError):
            frames = []
        idle = 0 if frames else idle + 1
        if idle > limits.max_idle_packets:
            return
        for frame in frames:
            pts = frame.pts if frame.pts is not None else frame.dts
            count += 1
            if not line.timed:
                yield (count - 1) * line.frame_s, frame
            elif pts is not None and line.seconds(pts) > before_s:
                before_s = line.seconds(pts)
                yield before_s, frame
