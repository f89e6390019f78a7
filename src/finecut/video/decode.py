"""A video file as a stream of clips: sampled, cut at shot changes, resized, with thumbnails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import LimitError, VideoError
from finecut.types import DecodedClip, VideoProbe
from finecut.video.container import check_pixels, open_video
from finecut.video.packets import DecodeStats
from finecut.video.pixels import FrameConverter
from finecut.video.probe import check_length, pixel_aspect, probe_of
from finecut.video.sample import Sample, Sampler
from finecut.video.shots import ShotDetector, Signature, same_picture, signature
from finecut.video.spec import DEFAULT_LIMITS, DecodeSpec, Limits
from finecut.video.strip import jpeg_strip

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A shot of fewer wanted times is joined to its neighbour. Of 1 to 5 this found the right stretch of
# the joined clips (see shots.py) most often.
_MIN_SAMPLES = 3
# A packet this many times the usual size, between two frames of different shots, is the cut.
_CUT_PACKET_RATIO = 3.0
_NEARLY_KEY = 0.55


class ClipStream(Iterator[DecodedClip]):
    """Clips of one video as they are decoded; ``stats`` tells how it went."""

    def __init__(
        self,
        path: str | Path,
        spec: DecodeSpec,
        limits: Limits,
        from_s: float,
        planned: bool,
        on_probe: Callable[[VideoProbe], None] | None,
    ) -> None:
        self.stats = DecodeStats()
        self._clips: Generator[DecodedClip, None, None] = _clips(
            os.fspath(path), spec, limits, from_s, planned, self.stats, on_probe
        )

    def __iter__(self) -> ClipStream:
        return self

    def __next__(self) -> DecodedClip:
        return next(self._clips)

    def close(self) -> None:
        """Close the file now."""
        self._clips.close()


def decode_clips(
    path: str | Path,
    spec: DecodeSpec,
    *,
    limits: Limits = DEFAULT_LIMITS,
    from_s: float = 0.0,
    planned: bool = True,
    on_probe: Callable[[VideoProbe], None] | None = None,
) -> ClipStream:
    """Clips of a video, in order: their intervals tile it from ``from_s`` to its end.

    Memory is bounded by a few clips; one decoder thread is used, so run one process per core.
    A damaged file yields what decodes, and ``stats.frames_lost`` counts what does not.

    Args:
        path: a local file.
        spec: which frames, at what size.
        limits: guards against hostile files.
        from_s: seconds to leave out at the beginning.
        planned: False decodes every frame (the plain way fast decoding is tested against).
        on_probe: told what the file is, before its first clip: to open a file and decode its first
            frame a second time, as `probe` does, costs as much as two seconds of it.

    Raises (while iterating):
        VideoError: unreadable, no video stream, or no frame decodes ("no frame decodes").
        LimitError: beyond the limits.
    """
    return ClipStream(path, spec, limits, from_s, planned, on_probe)


@dataclass(frozen=True, slots=True)
class _Kept:
    time_s: float
    frame: NDArray[np.uint8]
    thumb: NDArray[np.uint8]
    mark: Signature


def _clips(
    path: str,
    spec: DecodeSpec,
    limits: Limits,
    from_s: float,
    planned: bool,
    stats: DecodeStats,
    on_probe: Callable[[VideoProbe], None] | None,
) -> Generator[DecodedClip, None, None]:
    if 3 * spec.clip_bytes > limits.max_clip_bytes:
        raise LimitError(
            f"Clips of {spec.max_frames} frames of {spec.width} x {spec.height} pixels need "
            f"{3 * spec.clip_bytes >> 20} MiB, at most {limits.max_clip_bytes >> 20} are allowed.",
            reason="too much memory",
        )
    with open_video(path, limits) as (container, stream):
        if on_probe is not None:
            check_length(container, stream, path, limits)
        sampler = Sampler(
            container,
            stream,
            spec.period_s,
            stats=stats,
            limits=limits,
            from_s=from_s,
            planned=planned,
        )
        cutter = ClipCutter(spec, start_s=from_s)
        convert = FrameConverter(spec, pixel_aspect(stream))
        for sample in sampler:
            check_pixels(sample.frame.width, sample.frame.height, path, limits)
            if on_probe is not None:
                on_probe(probe_of(container, stream, sample.frame.rotation))
                on_probe = None
            started = time.perf_counter()
            picture = convert.model_frame(sample.frame)
            stats.resize_s += time.perf_counter() - started
            for clip in cutter.add(sample, picture, convert):
                stats.clips += 1
                yield clip
        stats.frames_repeated = cutter.repeated
        if on_probe is not None:
            on_probe(probe_of(container, stream, 0))
        if not stats.frames_sampled:
            raise VideoError(
                f"{path}: not one frame decodes ({stats.packets} packets read). "
                "The file is damaged or incomplete.",
                reason="no frame decodes",
            )
        for clip in cutter.finish(stats.duration_s):
            stats.clips += 1
            yield clip


class ClipCutter:
    """Gathers sampled frames into clips.

    A clip ends at a shot change or when it is full; a shot a little longer than a clip is halved
    rather than leaving a splinter; a shot too short to stand alone joins the one after it, the last
    one the one before it.
    """

    def __init__(self, spec: DecodeSpec, *, start_s: float = 0.0) -> None:
        self.spec = spec
        self.repeated = 0
        self._min_s = _MIN_SAMPLES * spec.period_s * 0.75
        self._shots = ShotDetector()
        self._start_s = start_s
        self._last_s = start_s  # time of the latest sample
        self._held: list[_Kept] = []  # distinct frames of the shot at hand
        self._waiting: tuple[float, float, list[_Kept]] | None = None  # the shot before, if short
        self._number = 0

    def add(
        self, sample: Sample, picture: NDArray[np.uint8], convert: FrameConverter
    ) -> Iterator[DecodedClip]:
        """Take one more frame, converted to ``picture``; yield the clips it completes."""
        mark = signature(picture)
        cut = self._shots.is_cut(mark)
        if cut and self._held:
            boundary = cut_time(self._last_s, sample)
            if boundary - self._start_s >= self._min_s:
                yield from self._end_shot(boundary)
        self._last_s = sample.time_s
        if self._held and not cut and same_picture(self._held[-1].mark, mark):
            self.repeated += 1
            return
        thumb = convert.thumbnail(sample.frame)
        self._held.append(_Kept(sample.time_s, picture, thumb, mark))
        if len(self._held) > 2 * self.spec.max_frames:
            full, rest = self._held[: self.spec.max_frames], self._held[self.spec.max_frames :]
            yield from self._release()
            yield self._clip(self._start_s, rest[0].time_s, full)
            self._start_s, self._held = rest[0].time_s, rest

    def finish(self, end_s: float) -> Iterator[DecodedClip]:
        """Yield what is left; ``end_s`` is the end of the video."""
        if not self._held:
            return
        end_s = max(end_s, np.nextafter(self._last_s, np.inf))
        short = end_s - self._start_s < self._min_s
        if short and self._waiting:
            start_s, _, frames = self._waiting
            if len(frames) + len(self._held) <= self.spec.max_frames:
                self._start_s, self._held, self._waiting = start_s, frames + self._held, None
        yield from self._end_shot(end_s)
        yield from self._release()

    def _end_shot(self, end_s: float) -> Iterator[DecodedClip]:
        yield from self._release()
        frames = self._held
        if len(frames) > self.spec.max_frames:
            half = (len(frames) + 1) // 2
            yield self._clip(self._start_s, frames[half].time_s, frames[:half])
            self._start_s, frames = frames[half].time_s, frames[half:]
        self._waiting = (self._start_s, end_s, frames)
        self._start_s, self._held = end_s, []

    def _release(self) -> Iterator[DecodedClip]:
        if self._waiting:
            start_s, end_s, frames = self._waiting
            self._waiting = None
            yield self._clip(start_s, end_s, frames)

    def _clip(self, start_s: float, end_s: float, frames: list[_Kept]) -> DecodedClip:
        thumbs = [_like(kept.thumb, frames[0].thumb) for kept in frames]
        strip, width, height = jpeg_strip(thumbs)
        clip = DecodedClip(
            number=self._number,
            start_s=float(start_s),
            end_s=float(end_s),
            frames=np.stack([kept.frame for kept in frames]),
            times=np.array([kept.time_s for kept in frames], np.float64),
            strip=strip,
            strip_width=width,
            strip_height=height,
        )
        self._number += 1
        return clip


def cut_time(before_s: float, sample: Sample) -> float:
    """When the shot changed, between the sample before and this one.

    A change of shot cannot be predicted from the picture before it, so its packet is large: where
    one packet in between stands out, the cut is there. Encoders that look for cuts put a key frame
    on them; others put key frames at fixed distances, and then the packet at the cut, though no
    key frame, is nearly as large as one. Without any such packet the cut is taken to be half way.
    """
    between = [packet for packet in sample.packets if packet[0] > before_s]
    plain = sorted((size, time_s) for time_s, size, key in between if not key)
    keys = max(((size, time_s) for time_s, size, key in between if key), default=(0, 0.0))
    if len(plain) >= 3:
        size, time_s = plain[-1]
        usual = plain[len(plain) // 2][0]
        if size >= _CUT_PACKET_RATIO * usual and size >= _NEARLY_KEY * keys[0]:
            return time_s
    return keys[1] if keys[0] else (before_s + sample.time_s) / 2


def _like(thumb: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A thumbnail at the size of another, for videos whose picture size changes."""
    if thumb.shape == other.shape:
        return thumb
    rows = np.arange(other.shape[0]) * thumb.shape[0] // other.shape[0]
    columns = np.arange(other.shape[1]) * thumb.shape[1] // other.shape[1]
    return thumb[rows][:, columns]
