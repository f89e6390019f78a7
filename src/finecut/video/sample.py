"""Frames of a video at wanted times: decoded group by group, and no further than needed."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from finecut.video.container import tick
from finecut.video.packets import DecodeStats, Group, groups, read_packets
from finecut.video.plan import Grid, plan
from finecut.video.references import BFrames
from finecut.video.seek import frame_length
from finecut.video.spec import DEFAULT_LIMITS, Limits

_Skip = Literal["NONREF", "BIDIR"]

# Timestamps that leap back further than this start a new count (joined transport streams).
_LEAP_BACK_S = 5.0
# Reading on is sequential and cheap; only to leave out this much is worth a seek.
SEEK_SAVES_BYTES = 8 << 20


@dataclass(slots=True)
class Sample:
    """One frame, its true presentation time, and the sizes of the packets since the one before."""

    time_s: float
    frame: VideoFrame
    packets: list[tuple[float, int, bool]]  # (time, bytes, key) in (time before, time_s], rising


class Sampler:
    """Iterates over the samples of one video stream.

    Args:
        container: the open file.
        stream: its video stream.
        period_s: seconds between wanted times.
        stats: counts and seconds, filled while iterating; ``duration_s`` is true at the end.
        limits: guards.
        from_s: nothing earlier is taken.
        planned: False decodes every packet and chooses afterwards: slow, plain, the oracle of tests
            and the way for streams whose packets carry no times.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        period_s: float,
        *,
        stats: DecodeStats | None = None,
        limits: Limits = DEFAULT_LIMITS,
        from_s: float = 0.0,
        planned: bool = True,
    ) -> None:
        self.container, self.stream = container, stream
        self.context = stream.codec_context
        self.stats = stats or DecodeStats()
        self.limits = limits
        self.planned = planned
        self.b_frames = BFrames(stream)
        self.grid = Grid(period_s, number=max(0, math.ceil(from_s / period_s - 1e-9)))
        if from_s > 0:
            self.grid.last_s = math.nextafter(from_s, -math.inf)
        self.tick = float(tick(stream))
        self.frame_s = frame_length(stream)
        self.origin: int | None = None  # pts of the first shown frame
        self._leap = 0.0  # seconds added to times after timestamps leapt back
        self._latest = -math.inf  # latest presentation time read
        self._progress = (0.0, 0)  # time and packet count when time last advanced by a second
        self._sizes: list[tuple[float, int, bool]] = []
        self._dirty = False  # the decoder holds an unfinished group
        self._yielded_s = -math.inf
        self._sought = -1  # place in the file that was last sought
        self._before: tuple[float, VideoFrame] | None = None  # plain decoding: the frame on show
        self._count = 0

    def __iter__(self) -> Iterator[Sample]:
        going_on = True
        while going_on:
            going_on = False
            packets = read_packets(self.container, self.stream, self.stats, self.limits)
            for group in groups(packets, self.limits):
                if self.planned and all(p.pts is None for p in group.packets):
                    self.planned = False
                if self.planned:
                    yield from self._planned(group, self._times(group))
                else:
                    yield from self._plain(group, last=False)
                if self._stuck():
                    break
                if self.planned and self._seek_ahead(group):
                    going_on = True
                    break
        if not self.planned:
            yield from self._plain(Group(), last=True)

    def _seek_ahead(self, group: Group) -> bool:
        """Go to the key frame before the next wanted time where that saves much reading."""
        entries = self.stream.index_entries
        if not group.closes or group.next_key is None or group.next_place < 0 or not len(entries):
            return False
        ahead_s = self.grid.wanted_s - self.grid.slack_s - self._leap
        if ahead_s <= self._time_quiet(group.next_key):
            return False
        place = entries.search_timestamp((self.origin or 0) + int(ahead_s / self.tick))
        if place < 0 or not entries[place].is_keyframe:
            return False
        entry = entries[place]
        start = max(group.next_place, self._sought)
        if entry.pos - start < SEEK_SAVES_BYTES:
            return False
        try:
            self.container.seek(entry.timestamp, stream=self.stream)
        except (FFmpegError, OSError, OverflowError):
            self._sought = 1 << 62  # this container cannot: read on, and do not try again
            return False
        # Never to the same place again, should the container land before it.
        self._sought = entry.pos
        self._dirty, self._latest = False, -math.inf
        return True

    # Times

    def _times(self, group: Group) -> list[float]:
        """Presentation times of a group's packets; NaN where a frame cannot be taken."""
        packets = group.packets
        key_pts = packets[0].pts if group.opens else None
        if self.origin is None:
            known = [p.pts for p in packets if p.pts is not None and not p.is_discard]
            if key_pts is not None:
                known = [pts for pts in known if pts >= key_pts]
            if known:
                self.origin = min(known)
        times = []
        for packet in packets:
            if packet.pts is None or packet.is_discard:
                times.append(math.nan)
                continue
            time_s = self._time(packet.pts)
            # Frames shown before their group's key frame may lean on the group before.
            if (key_pts is not None and packet.pts < key_pts) or not self._sane(time_s):
                times.append(math.nan)
                continue
            times.append(time_s)
            self._latest = max(self._latest, time_s)
            length = packet.duration * self.tick if packet.duration else self.frame_s
            if not 0 < length <= 3600:
                length = self.frame_s
            self.stats.duration_s = max(self.stats.duration_s, time_s + length)
            self._sizes.append((time_s, packet.size, packet.is_keyframe))
        return times

    def _time(self, pts: int) -> float:
        time_s = (pts - (self.origin or 0)) * self.tick + self._leap
        if time_s < self._latest - _LEAP_BACK_S:
            self._leap += self._latest + self.frame_s - time_s
            time_s = self._latest + self.frame_s
        return time_s

    def _sane(self, time_s: float) -> bool:
        return -1e-9 <= time_s <= self.limits.max_duration_s

    def _stuck(self) -> bool:
        time_s, packets = self._progress
        if self._latest >= time_s + 1:
            self._progress = (self._latest, self.stats.packets)
            return False
        return self.stats.packets - packets > self.limits.max_idle_packets

    # Planned decoding

    def _planned(self, group: Group, times: list[float]) -> Iterator[Sample]:
        next_key_s = None
        if group.next_key is not None:
            next_key_s = self._time_quiet(group.next_key)
        until_s = self._until(group, times, next_key_s)
        picks = plan(times, self.grid, until_s=until_s, next_key_s=next_key_s)
        if group.opens:
            self._finish_quietly()
        if group.closes and not picks:
            self._finish_quietly()
            return
        last = max(picks) if group.closes else len(times) - 1
        skip: _Skip = "NONREF"
        if group.opens and group.closes and last and self.b_frames.unneeded(group.packets, picks):
            skip = "BIDIR"
        yield from self._decode(
            group.packets[: last + 1], {i: times[i] for i in picks}, group.closes, skip
        )

    def _time_quiet(self, pts: int) -> float:
        return (pts - (self.origin or 0)) * self.tick + self._leap

    def _until(self, group: Group, times: list[float], next_key_s: float | None) -> float:
        known = [time_s for time_s in times if not math.isnan(time_s)]
        if not known:
            return -math.inf
        if not group.closes:
            # Packets still to come are shown no earlier than this one is decoded.
            dts = group.packets[-1].dts
            return min(max(known), self._time_quiet(dts)) if dts is not None else max(known) - 1.0
        end = max(known) + self.frame_s
        if next_key_s is not None and next_key_s > max(known):
            return next_key_s if next_key_s <= self.limits.max_duration_s else end
        # A wanted time at the very end is left out: the frame on show there was just taken.
        return max(end, min(self.stats.duration_s, max(known) + 3600)) - 0.5 * self.frame_s

    def _decode(
        self, packets: list[Packet], targets: dict[int, float], close: bool, skip: _Skip
    ) -> Iterator[Sample]:
        """Feed packets, whole only where a target is, and yield the targets' frames.

        ``skip`` is what the decoder may leave out in between.
        """
        awaited = {packets[i].pts: time_s for i, time_s in targets.items()}
        spare: VideoFrame | None = None
        found = False
        for i, packet in enumerate(packets):
            self.context.skip_frame = "DEFAULT" if i in targets else skip
            for frame in self._feed(packet):
                if frame.pts in awaited:
                    found = True
                    yield from self._sample(awaited.pop(frame.pts), frame)
                elif frame.pts is not None:
                    spare = frame
        self._dirty = True
        if not close:
            return
        for frame in self._finish():
            if frame.pts in awaited:
                found = True
                yield from self._sample(awaited.pop(frame.pts), frame)
            elif frame.pts is not None:
                spare = frame
        # Damage, or a decoder that changes times: any frame of the group is better than none.
        if not found and spare is not None:
            time_s = self._time_quiet(spare.pts or 0)
            if self._sane(time_s):
                yield from self._sample(time_s, spare)

    def _feed(self, packet: Packet | None) -> list[VideoFrame]:
        started = time.perf_counter()
        try:
            frames = self.context.decode(packet)
            self.stats.frames_decoded += len(frames)
            return frames
        except EOFError:
            return []
        except (FFmpegError, ValueError):
            self.stats.frames_lost += 1
            return []
        finally:
            self.stats.packets_fed += packet is not None
            self.stats.decode_s += time.perf_counter() - started

    def _finish(self) -> list[VideoFrame]:
        frames = self._feed(None)
        self.context.flush_buffers()
        self._dirty = False
        return frames

    def _finish_quietly(self) -> None:
        if self._dirty:
            self.context.flush_buffers()
            self._dirty = False

    def _sample(self, time_s: float, frame: VideoFrame) -> Iterator[Sample]:
        if time_s <= self._yielded_s:
            return
        self._yielded_s = time_s
        self._sizes.sort()
        cut = bisect_right(self._sizes, time_s, key=lambda packet: packet[0])
        packets, self._sizes = self._sizes[:cut], self._sizes[cut:]
        self.stats.frames_sampled += 1
        yield Sample(time_s, frame, packets)

    # Plain decoding

    def _plain(self, group: Group, *, last: bool) -> Iterator[Sample]:
        self.context.skip_frame = "DEFAULT"
        for packet in group.packets:
            for frame in self._feed(packet):
                yield from self._choose(frame)
        if not last:
            return
        for frame in self._finish():
            yield from self._choose(frame)
        # The last frame is on show to the end.
        left = self.grid.wanted_s < self.stats.duration_s - 0.5 * self.frame_s
        if left and self._before and self._before[0] > self.grid.last_s:
            self.grid.last_s = self._before[0]
            yield from self._sample(*self._before)

    def _choose(self, frame: VideoFrame) -> Iterator[Sample]:
        time_s = self._frame_time(frame)
        if time_s is None:
            self.stats.frames_lost += 1
            return
        grid = self.grid
        while time_s >= grid.wanted_s - 0.5 * self.frame_s:
            if time_s <= grid.wanted_s + grid.slack_s:
                taken = (time_s, frame)
            elif self._before and self._before[0] > grid.last_s:
                taken = self._before
            else:
                grid.skip_to(time_s)
                continue
            if taken[0] <= grid.last_s:
                break
            grid.last_s = taken[0]
            grid.number += 1
            yield from self._sample(*taken)
        self._before = (time_s, frame)

    def _frame_time(self, frame: VideoFrame) -> float | None:
        """Seconds of a decoded frame; counted out where neither it nor its packet has a time."""
        pts = frame.pts if frame.pts is not None else frame.dts
        if pts is None:
            time_s = self._count * self.frame_s
        else:
            if self.origin is None:
                self.origin = pts
            time_s = self._time(pts)
        self._count += 1
        if not self._sane(time_s):
            return None
        self._latest = max(self._latest, time_s)
        self.stats.duration_s = max(self.stats.duration_s, time_s + self.frame_s)
        return time_s
