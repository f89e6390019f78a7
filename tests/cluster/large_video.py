"""A video of many bytes, made quickly: noise that moves, with sound among the pictures."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FPS = 10


def write_large(
    path: Path, *, seconds: int = 24, codec: str = "libx264", options: dict[str, str] | None = None
) -> Path:
    """About 1 MB a second, a key frame every two seconds, the header wherever it usually is."""
    sounds = {".webm": "libopus"}
    settings = {
        "libx264": {"preset": "ultrafast", "qp": "2", "sc_threshold": "0"},
        "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "6M"},
    }[codec]
    noise = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w", options=options or {}) as out:
        pictures = out.add_stream(codec, rate=FPS, options=settings | {"g": str(2 * FPS)})
        pictures.width, pictures.height, pictures.pix_fmt = 320, 180, "yuv420p"
        pictures.codec_context.thread_count = 1
        sound = out.add_stream(sounds.get(path.suffix, "aac"), rate=48_000)
        sound.layout = "mono"
        block = 48_000 // FPS
        for number in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number * 7, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(pictures.encode(frame))
            times = np.arange(number * block, (number + 1) * block) * (2 * math.pi * 440 / 48_000)
            wave = (0.3 * np.sin(times)).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(wave, format="flt", layout="mono")
            samples.sample_rate, samples.pts = 48_000, number * block
            samples.time_base = Fraction(1, 48_000)
            out.mux(sound.encode(samples))
        out.mux(pictures.encode())
        out.mux(sound.encode())
    return path
