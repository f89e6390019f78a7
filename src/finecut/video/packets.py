"""Packets of one stream, read past damage and gathered into groups of pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from finecut.video.spec import Limits


@dataclass(slots=True)
class DecodeStats:
    """What became of one file: counts, and seconds spent by stage."""

    packets: int = 0  # read
    packets_fed: int = 0  # given to the decoder
    frames_decoded: int = 0
    frames_lost: int = 0  # packets the decoder refused, and reading errors
    frames_sampled: int = 0
    frames_repeated: int = 0  # sampled, but nearly the same as the one before: not held twice
    clips: int = 0
    duration_s: float = 0.0  # end of the last frame, from the first
    read_s: float = 0.0
    decode_s: float = 0.0
    resize_s: float = 0.0


@dataclass(slots=True)
class Group:
    """Packets of one group of pictures in decoding order, or a part of an overlong one."""

    packets: list[Packet] = field(default_factory=list)
    size_bytes: int = 0
    opens: bool = True  # starts at a key frame: the decoder can start here
    closes: bool = True  # what follows starts at a key frame, or there is nothing
    next_key: int | None = None  # pts of the key frame that follows, in the stream's time base
    next_place: int = -1  # where in the file it begins; -1 where unknown


def read_packets(
    container: InputContainer, stream: VideoStream, stats: DecodeStats, limits: Limits
) -> Iterator[Packet]:
    """Packets that hold data, in the file's order; damage is counted and skipped where possible."""
    errors_in_row = 0
    while True:
        reader = container.demux(stream)
        try:
            while True:
                started = time.perf_counter()
                packet = next(reader)
                stats.read_s += time.perf_counter() - started
                if packet.size:
                    errors_in_row = 0
                    stats.packets += 1
                    yield packet
        except (StopIteration, IndexError):
            # PyAV raises IndexError at the end where damage made a transport stream grow streams.
            return
        except (FFmpegError, OSError):
            # FFmpeg may find the next good packet behind the damage; a new reader goes on there.
            stats.frames_lost += 1
            errors_in_row += 1
            if errors_in_row > limits.max_read_errors:
                return


def groups(packets: Iterator[Packet], limits: Limits) -> Iterator[Group]:
    """Packets gathered by key frame, so that a group's times are known before it is decoded.

    Packets before the first key frame cannot be decoded and are left out, unless no key frame
    comes within the limits (streams refreshed line by line have none).
    """
    group = Group(opens=False)
    first = True
    for packet in packets:
        full = (
            len(group.packets) >= limits.max_gop_packets or group.size_bytes > limits.max_gop_bytes
        )
        if packet.is_keyframe:
            group.next_key, group.closes = packet.pts, True
            group.next_place = -1 if packet.pos is None else packet.pos
            if group.packets and not first:
                yield group
            group, first = Group(), False
        elif full:
            group.closes, first = False, False
            yield group
            group = Group(opens=False)
        group.packets.append(packet)
        group.size_bytes += packet.size
    if group.packets:
        yield group
