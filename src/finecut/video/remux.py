"""Copying packets of a stretch of a video into a new file, without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from finecut.errors import VideoError
from finecut.video.container import open_video, tick
from finecut.video.packets import DecodeStats, read_packets
from finecut.video.seek import EARLIER_S, Timeline, seek_before, timeline
from finecut.video.spec import Limits

# Packets read past the end before it is certain that no earlier picture follows (reordering).
_REORDER_PACKETS = 32
# Packets read after the last picture for sound that is stored behind it.
_SOUND_PACKETS = 400


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A key frame's time, and its timestamp in the stream's time base."""

    time_s: float
    pts: int


def key_frame_before(
    container: InputContainer, stream: VideoStream, line: Timeline, time_s: float, limits: Limits
) -> KeyFrame | None:
    """The last key frame shown at or before a time, or None where there is none to be found."""
    for early_s in EARLIER_S:
        seek_before(container, stream, line, time_s - early_s)
        found: KeyFrame | None = None
        late = 0
        for packet in read_packets(container, stream, DecodeStats(), limits):
            if packet.pts is None:
                return None
            shown_s = line.seconds(packet.pts)
            if shown_s > time_s + line.tolerance_s:
                late += 1
                if packet.is_keyframe or late > _REORDER_PACKETS:
                    break
            elif packet.is_keyframe and not packet.is_discard and shown_s > -1e-9:
                found = KeyFrame(max(0.0, shown_s), packet.pts)
        if found or early_s > time_s:
            return found
    return None


def copy_stretch(
    source: str, key: KeyFrame, end_s: float, target: Path, limits: Limits
) -> tuple[float, float]:
    """Copy from a key frame to a time, sound included; returns the true start and end in seconds.

    Pictures the last ones lean on are kept, though they are shown a little after the end.
    """
    with open_video(source, limits) as (container, stream):
        line = timeline(container, stream, limits)
        pictures = _Pictures(stream, line, key, end_s)
        sound = _sound(container, stream, key, end_s)
        with av.open(str(target), "w") as out:
            pictures.out = out.add_stream_from_template(stream, opaque=True)
            if sound:
                sound.out = out.add_stream_from_template(sound.stream, opaque=True)
            _go_to(container, stream, line, key, limits)
            after = 0
            for packet, pts in _demux(container, [stream, *([sound.stream] if sound else [])]):
                if sound and packet.stream is sound.stream:
                    ready = sound.take(packet, pts)
                else:
                    ready = pictures.take(packet, pts)
                for one in ready:
                    out.mux(one)
                after += pictures.done
                if pictures.done and (not sound or sound.done or after > _SOUND_PACKETS):
                    break
        if not pictures.count:
            raise VideoError(f"{source}: no picture to copy.", reason="not cut")
        return key.time_s, pictures.end_s


def _go_to(
    container: InputContainer, stream: VideoStream, line: Timeline, key: KeyFrame, limits: Limits
) -> None:
    """Leave the file where the key frame is still to come, or at its beginning."""
    for early_s in EARLIER_S:
        seek_before(container, stream, line, key.time_s - early_s)
        first = next(read_packets(container, stream, DecodeStats(), limits), None)
        seek_before(container, stream, line, key.time_s - early_s)
        if first is not None and first.pts is not None and first.pts <= key.pts:
            return


def _demux(
    container: InputContainer, streams: list[VideoStream | AudioStream]
) -> Iterator[tuple[Packet, int]]:
    """Packets that hold data and say when they are shown, with that time."""
    reader = container.demux(streams)
    while True:
        try:
            packet = next(reader)
        except (StopIteration, IndexError, FFmpegError, OSError):
            return
        if packet.size and packet.pts is not None:
            yield packet, packet.pts


class _Pictures:
    """The picture packets of one copy, shifted to start at 0; held back until they are needed."""

    out: VideoStream

    def __init__(
        self, stream: VideoStream, line: Timeline, key: KeyFrame, wanted_end_s: float
    ) -> None:
        self.stream, self.line, self.key = stream, line, key
        self.wanted_end_s = wanted_end_s
        self.count = 0
        self.end_s = key.time_s
        self.done = False
        self._held: list[
            tuple[Packet, int]
        ] = []  # past the end, but an earlier picture may lean on them

    def take(self, packet: Packet, pts: int) -> list[Packet]:
        if self.done or (not self.count and pts != self.key.pts):
            return []
        if pts < self.key.pts:  # leans on the group before the key frame
            return []
        if self.line.seconds(pts) >= self.wanted_end_s - self.line.tolerance_s:
            self._held.append((packet, pts))
            self.done = packet.is_keyframe or len(self._held) > _REORDER_PACKETS
            return []
        ready, self._held = [*self._held, (packet, pts)], []
        for one, shown in ready:
            length_s = float((one.duration or 0) * tick(self.stream))
            self.end_s = max(self.end_s, self.line.seconds(shown) + length_s)
            _shift(one, shown, self.key.pts, self.out)
        self.count += len(ready)
        return [one for one, _ in ready]


class _Sound:
    """The sound packets of one copy, from the key frame's instant on."""

    out: AudioStream

    def __init__(self, stream: AudioStream, start: Fraction, length_s: float) -> None:
        self.stream = stream
        self.zero = round(start / tick(stream))
        self.end = self.zero + round(length_s / float(tick(stream)))
        self.done = False

    def take(self, packet: Packet, pts: int) -> list[Packet]:
        if pts >= self.end:
            self.done = True
        if not self.zero <= pts < self.end:
            return []
        _shift(packet, pts, self.zero, self.out)
        return [packet]


def _sound(
    container: InputContainer, stream: VideoStream, key: KeyFrame, end_s: float
) -> _Sound | None:
    if not container.streams.audio or container.streams.audio[0].codec_context is None:
        return None
    sound = container.streams.audio[0]
    sound.discard = Discard.default
    return _Sound(sound, key.pts * tick(stream), end_s - key.time_s)


def _shift(packet: Packet, pts: int, zero: int, out: VideoStream | AudioStream) -> None:
    packet.pts = pts - zero
    if packet.dts is not None:
        packet.dts -= zero
    packet.stream = out
