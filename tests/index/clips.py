"""Small colour videos for tests of indexing, and a run over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

RGB = {
    "red": (220, 20, 20),
    "green": (20, 200, 30),
    "blue": (20, 30, 220),
    "yellow": (220, 210, 20),
    "white": (240, 240, 240),
    "black": (10, 10, 10),
}


def write_video(
    path: Path,
    colors: Sequence[str] = ("red",),
    *,
    seconds: float = 2.0,
    seed: int = 0,
    fps: int = 5,
) -> Path:
    """A video that shows each colour for so many seconds; ``seed`` makes its content its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for color in colors:
            for _ in range(round(seconds * fps)):
                noise = rng.integers(-9, 10, (48, 64, 1))
                picture = np.clip(np.array(RGB[color]) + noise, 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
