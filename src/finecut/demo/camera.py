"""Turn a photograph into a shot: a camera that pans and zooms over it, written as real video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 640, 360
RATE = 12  # frames a second: enough for a slow camera, quick to make

Box = tuple[float, float, float]  # centre x, centre y, width; shares of the photograph


@dataclass(frozen=True, slots=True)
class Shot:
    """A photograph looked at for a while, from one box to another."""

    photo: Path
    seconds: float
    start: Box = (0.5, 0.5, 1.0)
    end: Box = (0.5, 0.5, 0.75)


def film(shots: Sequence[Shot], out: Path) -> None:
    """Write the shots one after the other, with a hard cut between, in MP4."""
    import av
    from PIL import Image

    # Whole or not at all: an interrupted demo is made anew, never taken for done.
    part = out.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        # H.264 where PyAV was built with an encoder for it, as its wheels are.
        h264 = "libx264" in av.codecs_available
        codec, options = ("libx264", {"preset": "veryfast"}) if h264 else ("mpeg4", {"q": "3"})
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        number = 0
        for shot in shots:
            with Image.open(shot.photo) as opened:
                photo = opened.convert("RGB")
            count = round(shot.seconds * RATE)
            for i in range(count):
                picture = _look(photo, shot, i / max(1, count - 1))
                frame = av.VideoFrame.from_image(picture)
                frame.pts = number
                number += 1
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    part.replace(out)


def _look(photo: Image, shot: Shot, share: float) -> Image:
    """The photograph as the camera sees it at a share of the shot's time."""
    from PIL import Image

    ease = share * share * (3 - 2 * share)  # starts and stops softly
    x, y, wide = (a + (b - a) * ease for a, b in zip(shot.start, shot.end, strict=True))
    # The largest box of the film's shape that fits the photograph, times `wide`.
    fit = min(photo.width / WIDTH, photo.height / HEIGHT) * wide
    width, height = WIDTH * fit, HEIGHT * fit
    left = min(max(x * photo.width - width / 2, 0), photo.width - width)
    top = min(max(y * photo.height - height / 2, 0), photo.height - height)
    box = (left, top, left + width, top + height)
    return photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
