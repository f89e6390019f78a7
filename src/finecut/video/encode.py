"""Decoding a stretch of a video and encoding it again: exact to the frame, with its sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from finecut.errors import VideoError
from finecut.video.container import check_pixels, open_video, tick
from finecut.video.seek import Timeline, frames_from, timeline
from finecut.video.spec import Limits

_TICK = Fraction(1, 90_000)
_MPEG4_TICK = Fraction(1, 30_000)  # MPEG-4 holds 16 bits
# By kind of file: picture codecs by preference with their settings, then the sound codec.
_CODECS: dict[str, tuple[tuple[tuple[str, dict[str, str]], ...], str]] = {
    ".webm": (
        (("libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"}),),
        "libopus",
    ),
}
_USUAL = (
    (("libx264", {"crf": "18", "preset": "veryfast"}), ("mpeg4", {"q": "3"})),
    "aac",
)


def encode_stretch(
    source: str, start_s: float, end_s: float, target: Path, limits: Limits
) -> tuple[float, float]:
    """Encode ``[start_s, end_s)``; returns the true start and end in seconds.

    The picture on show at the start comes first, at 0. Rotation and pixel shape are kept as notes
    in the new file, as they were.
    """
    codecs, sound_codec = _CODECS.get(target.suffix.lower(), _USUAL)
    codec, options = next((c for c in codecs if c[0] in av.codecs_available), codecs[-1])
    with open_video(source, limits) as (container, stream):
        line = timeline(container, stream, limits)
        stretch = _stretch(container, stream, line, start_s, end_s, limits)
        first = next(stretch, None)
        if first is None:
            raise VideoError(
                f"{source}: nothing is shown from {start_s:.3f} to {end_s:.3f} s.",
                reason="not cut",
            )
        check_pixels(first.frame.width, first.frame.height, source, limits)
        with av.open(str(target), "w") as out:
            pictures = _picture_stream(out, codec, options, stream, first.frame)
            sound = _sound_stream(out, sound_codec, source, limits)
            true_end_s = _encode_pictures(out, pictures, chain([first], stretch), start_s)
            if sound is not None:
                _encode_sound(out, sound, source, line, stream, (start_s, true_end_s), limits)
    return start_s, true_end_s


@dataclass(frozen=True, slots=True)
class _Shown:
    """A frame and the stretch it is on show, in seconds of the source, inside the wanted one."""

    from_s: float
    to_s: float
    frame: VideoFrame


def _stretch(
    container: InputContainer,
    stream: VideoStream,
    line: Timeline,
    start_s: float,
    end_s: float,
    limits: Limits,
) -> Iterator[_Shown]:
    """Frames on show in [start_s, end_s), with the times they are."""
    before: tuple[float, VideoFrame] | None = None
    for shown_s, frame in frames_from(container, stream, line, start_s, limits):
        if before and shown_s > start_s + line.tolerance_s:
            yield _Shown(max(start_s, before[0]), min(end_s, shown_s), before[1])
        before = (shown_s, frame)
        if shown_s >= end_s - line.tolerance_s:
            return
    if before:  # the last frame of the file
        length_s = float((before[1].duration or 0) * tick(stream))
        to_s = before[0] + (length_s if 0 < length_s < 3600 else line.frame_s)
        if to_s > start_s + line.tolerance_s:
            yield _Shown(max(start_s, before[0]), min(end_s, to_s), before[1])


def _picture_stream(
    out: OutputContainer,
    codec: str,
    options: dict[str, str],
    source: VideoStream,
    frame: VideoFrame,
) -> VideoStream:
    rate = source.average_rate or Fraction(25)
    if not 1 <= rate <= 240:
        rate = Fraction(25)
    stream: Any = out.add_stream(codec, rate=rate, options=options)
    # Chroma is shared by two pixels each way: sizes must be even.
    stream.width, stream.height = max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _MPEG4_TICK if codec == "mpeg4" else _TICK
    aspect = source.sample_aspect_ratio or source.codec_context.sample_aspect_ratio
    if aspect:
        stream.codec_context.sample_aspect_ratio = aspect
    if frame.rotation:
        stream.set_display_rotation(frame.rotation)
    return stream


def _encode_pictures(
    out: OutputContainer, stream: VideoStream, frames: Iterator[_Shown], start_s: float
) -> float:
    """Encode the frames; returns the time the last one ends."""
    scaler = VideoReformatter()
    step = stream.codec_context.time_base
    before, end_s = -1, start_s
    for shown in frames:
        made = scaler.reformat(
            shown.frame, width=stream.width, height=stream.height, format="yuv420p", threads=1
        )
        made.pts = max(before + 1, round((shown.from_s - start_s) / float(step)))
        made.duration = max(1, round((shown.to_s - shown.from_s) / float(step)))
        made.time_base, made.pict_type = step, 0
        before, end_s = made.pts, shown.to_s
        for packet in stream.encode(made):
            out.mux(packet)
    for packet in stream.encode():
        out.mux(packet)
    return end_s


def _sound_stream(out: OutputContainer, codec: str, source: str, limits: Limits) -> Any:
    """A sound stream where the source has sound that can be decoded and encoded, else None."""
    with open_video(source, limits) as (container, _):
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            return None
        rate = container.streams.audio[0].rate or 48_000
        layout = "mono" if container.streams.audio[0].channels == 1 else "stereo"
    if codec not in av.codecs_available:
        return None
    if codec == "libopus" or rate not in (22_050, 24_000, 32_000, 44_100, 48_000):
        rate = 48_000
    stream: Any = out.add_stream(codec, rate=rate)
    stream.layout = layout
    return stream


def _encode_sound(
    out: OutputContainer,
    stream: Any,
    source: str,
    line: Timeline,
    pictures: VideoStream,
    stretch: tuple[float, float],
    limits: Limits,
) -> None:
    """Encode the sound of a stretch, cut to the sample."""
    zero_s = float(line.origin * tick(pictures))
    start_s, end_s = stretch
    with open_video(source, limits) as (container, video):
        sound = container.streams.audio[0]
        sound.discard = Discard.default
        rate = stream.rate
        resampler = AudioResampler(
            format=stream.format.name,
            layout=stream.layout.name,
            rate=rate,
            frame_size=stream.codec_context.frame_size or None,
        )
        if start_s > 1:
            # Matroska indexes pictures only: sound would be looked for from the beginning.
            guide = video if container.format.name.startswith("matroska") else sound
            container.seek(int((zero_s + start_s - 1) / float(tick(guide))), stream=guide)
        written = 0
        for piece in _sound_pieces(container, sound, zero_s + start_s, zero_s + end_s):
            for frame in resampler.resample(piece):
                written = _encode_sound_frame(out, stream, frame, written)
        for frame in resampler.resample(None):
            written = _encode_sound_frame(out, stream, frame, written)
        for packet in stream.encode(None):
            out.mux(packet)


def _encode_sound_frame(out: OutputContainer, stream: Any, frame: AudioFrame, written: int) -> int:
    frame.pts, frame.time_base = written, Fraction(1, stream.rate)
    for packet in stream.encode(frame):
        out.mux(packet)
    return written + frame.samples


def _sound_pieces(
    container: InputContainer, sound: Any, from_s: float, to_s: float
) -> Iterator[AudioFrame]:
    """Decoded sound between two absolute times; silence before its first sample is not made up."""
    reader = container.demux(sound)
    while True:
        try:
            frames = next(reader).decode()
        except (StopIteration, IndexError):
            return
        except (FFmpegError, OSError, ValueError):
            continue
        for frame in frames:
            if frame.pts is None or not frame.sample_rate:
                continue
            at_s = frame.pts * float(frame.time_base or sound.time_base)
            if at_s >= to_s:
                return
            low = max(0, math.ceil((from_s - at_s) * frame.sample_rate - 1e-6))
            high = min(frame.samples, math.ceil((to_s - at_s) * frame.sample_rate - 1e-6))
            if low < high:
                yield _samples(frame, low, high)


def _samples(frame: AudioFrame, low: int, high: int) -> AudioFrame:
    if low == 0 and high == frame.samples:
        frame.pts = None
        return frame
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        channels = len(frame.layout.channels)
        low, high = low * channels, high * channels
    piece = AudioFrame.from_ndarray(
        array[:, low:high].copy(), format=frame.format.name, layout=frame.layout.name
    )
    piece.sample_rate = frame.sample_rate
    return piece
