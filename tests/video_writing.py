"""Writes videos whose pictures tell their own presentation time, and reads it back.

A picture carries its time in milliseconds as 24 black or white blocks in the lower part of its
middle square, which survives cropping, squashing and lossy codecs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "0")
av.logging.set_level(None)

_BLOCKS = 8  # columns of the code; three rows
_ROWS = 3
COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 170, 40),
    "blue": (30, 50, 200),
    "yellow": (210, 200, 40),
    "white": (230, 230, 230),
    "black": (20, 20, 20),
}


class Shown(Protocol):
    """Anything that knows the width and height it is shown at."""

    @property
    def shown(self) -> tuple[int, int]: ...


def draw(
    width: int, height: int, ms: int, colour: Sequence[int] = (90, 110, 130), *, code: bool = True
) -> np.ndarray:
    """A picture [height, width, 3]: a coloured, slowly moving pattern with the time's code."""
    y, x = np.mgrid[0:height, 0:width]
    wave = 0.85 + 0.15 * np.sin(x / max(8, width / 9) + ms / 700) * np.cos(y / max(8, height / 7))
    picture = np.clip(np.asarray(colour)[None, None] * wave[..., None], 0, 255).astype(np.uint8)
    if code:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        for bit in range(_BLOCKS * _ROWS):
            row, column = divmod(bit, _BLOCKS)
            y0, y1 = (
                top + side * (_BLOCKS - _ROWS + row) // _BLOCKS,
                top + side * (_BLOCKS - _ROWS + row + 1) // _BLOCKS,
            )
            x0, x1 = left + side * column // _BLOCKS, left + side * (column + 1) // _BLOCKS
            picture[y0:y1, x0:x1] = 245 if ms >> bit & 1 else 10
    return picture


def read_code(
    picture: np.ndarray, shown: tuple[int, int] | Shown = (320, 180), resize: str = "squash"
) -> int:
    """Milliseconds a picture tells, of a video shown at ``(width, height)`` and resized so."""
    width, height = shown if isinstance(shown, tuple) else shown.shown
    side = min(width, height)
    out_h, out_w = picture.shape[:2]
    if resize == "crop":
        scale_x = scale_y = max(out_w / width, out_h / height)
    elif resize == "pad":
        scale_x = scale_y = min(out_w / width, out_h / height)
    else:
        scale_x, scale_y = out_w / width, out_h / height
    value = 0
    for bit in range(_BLOCKS * _ROWS):
        row, column = divmod(bit, _BLOCKS)
        across = (column + 0.5) / _BLOCKS * side - side / 2
        down = (_BLOCKS - _ROWS + row + 0.5) / _BLOCKS * side - side / 2
        x, y = int(out_w / 2 + across * scale_x), int(out_h / 2 + down * scale_y)
        if picture[y, x].mean() > 128:
            value |= 1 << bit
    return value


def write_video(
    path: Path,
    times_ms: Iterable[float],
    *,
    width: int = 320,
    height: int = 180,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 25,
    tick: Fraction = Fraction(1, 1000),
    shots: Sequence[tuple[float, Any]] = ((math.inf, (90, 110, 130)),),
    rotation: int = 0,
    audio: bool = False,
    container: dict[str, str] | None = None,
    format: str | None = None,
    offset_ms: float = 0.0,
    pixel_aspect: Fraction | None = None,
    code: bool = True,
    still: bool = False,
) -> Path:
    """Write pictures shown at the given times; ``shots`` are (end in ms, colour or its name).

    ``rotation`` turns the stored pictures so that a player who turns them clockwise by as much
    shows them upright. ``width`` and ``height`` are those stored.
    """
    times = [float(t) for t in times_ms]
    with av.open(str(path), "w", format=format, options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = tick
        stream.codec_context.thread_count = 1
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(-rotation)  # PyAV counts counter-clockwise
        sound = sound_stream(out) if audio else None
        upright = (height, width) if rotation in (90, 270) else (width, height)
        for ms in times:
            colour = next((c for end, c in shots if ms < end), shots[-1][1])
            colour = COLOURS[colour] if isinstance(colour, str) else colour
            picture = draw(*upright, 0 if still else round(ms), colour, code=code)
            turned = np.ascontiguousarray(np.rot90(picture, rotation // 90))
            frame = av.VideoFrame.from_ndarray(turned, format="rgb24")
            frame.pts, frame.time_base = round((ms + offset_ms) / 1000 / tick), tick
            if pix_fmt != "rgb24":
                frame = reformat(frame, pix_fmt)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
        if sound is not None:
            write_sound(out, sound, (times[-1] + 40) / 1000, offset_ms / 1000)
    return path


def reformat(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    made = frame.reformat(format=pix_fmt, threads=1)  # loses the time
    if frame.pts is not None:
        made.pts, made.time_base = frame.pts, frame.time_base
    return made


def sound_stream(out: Any) -> Any:
    stream = out.add_stream("aac", rate=44100)
    stream.layout = "mono"
    return stream


def write_sound(out: Any, stream: Any, seconds: float, offset_s: float = 0.0) -> None:
    rate, block = 44100, 1024
    for start in range(0, int(seconds * rate), block):
        wave = np.sin(np.arange(start, start + block) * (2 * math.pi * 440 / rate)) * 0.3
        frame = av.AudioFrame.from_ndarray(
            wave.astype(np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = rate, start + int(offset_s * rate)
        frame.time_base = Fraction(1, rate)
        for packet in stream.encode(frame):
            out.mux(packet)
    for packet in stream.encode():
        out.mux(packet)


def steps(seconds: float, fps: float = 25.0) -> list[float]:
    """Presentation times in milliseconds at a constant rate."""
    return [i * 1000 / fps for i in range(max(1, round(seconds * fps)))]


X264 = {"preset": "ultrafast", "g": "25"}
