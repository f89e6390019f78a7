"""Small films that move, and what people do to copies of films."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

FPS = 12
SIZE = (160, 120)


def film(seed: int, seconds: float) -> list[np.ndarray]:
    """Pictures [120, 160, 3] of soft coloured spots that drift, at 12 a second."""
    rng = np.random.default_rng(seed)
    keys = rng.uniform(0, 255, (int(seconds) + 3, 6, 8, 3))
    shown = []
    for number in range(round(seconds * FPS)):
        whole, part = divmod(number / FPS, 1)
        small = keys[int(whole)] * (1 - part) + keys[int(whole) + 1] * part
        image = Image.fromarray(small.astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        shown.append(np.asarray(image))
    return shown


def write_film(
    path: Path,
    shown: list[np.ndarray],
    *,
    size: tuple[int, int] = SIZE,
    fps: float = FPS,
    crf: int = 23,
    bars: int = 0,
    mirrored: bool = False,
) -> Path:
    """Encode pictures; ``fps`` other than 12 leaves out or repeats some, at the same speed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = len(shown) / FPS
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = size[0], size[1] + 2 * bars
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf), "preset": "ultrafast"}
        for number in range(round(seconds * fps)):
            picture = shown[min(len(shown) - 1, int(number / fps * FPS))]
            image = Image.fromarray(picture[:, ::-1] if mirrored else picture).resize(size)
            whole = Image.new("RGB", (size[0], size[1] + 2 * bars))
            whole.paste(image, (0, bars))
            container.mux(stream.encode(av.VideoFrame.from_image(whole)))
        container.mux(stream.encode())
    return path
