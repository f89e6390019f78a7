"""How fast videos are sampled, against decoding every frame with the same decoder on one core.

Makes its own videos (a panning picture with grain, a cut every five seconds, x264/x265/VP9), then
measures by turns, in one process with one decoder thread: FFmpeg's decoder through PyAV, nothing
kept (the limit of any method that decodes all); sampling by plain decoding; sampling as planned.
Seconds are of the processor (a busy machine disturbs them less) and of the clock.

    python benchmarks/decode.py            # about four minutes; --seconds 20 for a quick look

Writes results/bench-decode.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
from PIL import Image

from finecut.video.container import open_video
from finecut.video.decode import decode_clips
from finecut.video.spec import DecodeSpec

ROOT = Path(__file__).resolve().parent.parent
FPS, CUT_S, REPEATS = 30, 5, 5
X264 = {"preset": "veryfast", "crf": "23"}
# name: (width, height, codec, options, target in x real time on two cores or None)
FILES: dict[str, tuple[int, int, str, dict[str, str], float | None]] = {
    "h264-720p-keys-2s": (1280, 720, "libx264", {**X264, "g": "60"}, 80),
    "h264-720p-keys-10s": (
        1280,
        720,
        "libx264",
        {**X264, "g": "300", "sc_threshold": "0"},
        20,
    ),
    "h264-1080p-keys-2s": (1920, 1080, "libx264", {**X264, "g": "60"}, 40),
    "hevc-720p-keys-2s": (
        1280,
        720,
        "libx265",
        {"preset": "ultrafast", "x265-params": "log-level=none:keyint=60"},
        None,
    ),
    "vp9-720p-keys-2s": (
        1280,
        720,
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "8", "g": "60", "b": "2M"},
        None,
    ),
}


def make(path: Path, seconds: float, width: int, height: int, codec: str, options: dict) -> None:
    """A panning picture with a little grain; another one every five seconds."""
    rng = np.random.default_rng(0)
    grain = rng.integers(-11, 12, (16, height, width, 1), dtype=np.int16)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * FPS)):
            if number % (CUT_S * FPS) == 0:
                rough = rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
                size = (width * 2, height * 2)
                scene = np.asarray(Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC))
            x, y = number * 3 % width, number % height
            part = scene[y : y + height, x : x + width].astype(np.int16) + grain[number % 16]
            frame = av.VideoFrame.from_ndarray(
                np.clip(part, 0, 255).astype(np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)


def decode_all(path: Path) -> int:
    with open_video(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def sample(path: Path, planned: bool) -> int:
    clips = decode_clips(path, DecodeSpec(resize="squash"), planned=planned)
    return sum(len(clip.times) for clip in clips)


def measure(ways: dict[str, Callable[[], int]]) -> dict[str, dict[str, Any]]:
    """Each way by turns, after one run of each to warm up: medians and spreads of the seconds."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    frames = {name: way() for name, way in ways.items()}
    for _ in range(REPEATS):
        for name, way in ways.items():
            clock, cpu = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.process_time() - cpu, time.perf_counter() - clock))
    found = {}
    for name, pairs in taken.items():
        cpu_s = [pair[0] for pair in pairs]
        found[name] = {
            "frames": frames[name],
            "cpu_s": round(median(cpu_s), 4),
            "cpu_spread_s": round(max(cpu_s) - min(cpu_s), 4),
            "clock_s": round(median(pair[1] for pair in pairs), 4),
        }
    return found


def entry(path: Path, seconds: float, target: float | None) -> dict[str, Any]:
    found = measure(
        {
            "decode every frame, keep none": lambda: decode_all(path),
            "sample, plain": lambda: sample(path, planned=False),
            "sample, planned": lambda: sample(path, planned=True),
        }
    )
    limit, planned = found["decode every frame, keep none"], found["sample, planned"]
    one_core = seconds / planned["cpu_s"]
    stream = decode_clips(path, DecodeSpec(resize="squash"))
    for _ in stream:
        pass
    made: dict[str, Any] = {
        "megabits_per_s": round(path.stat().st_size * 8e-6 / seconds, 2),
        "ways": found,
        "packets_fed": stream.stats.packets_fed,
        "packets": stream.stats.packets,
        "value": round(one_core, 1),
        "unit": "x real time on one core, by processor time",
        "limit_or_rival": "every frame decoded by the same decoder, nothing resized or kept",
        "limit_value": round(seconds / limit["cpu_s"], 1),
        "ratio": round(limit["cpu_s"] / planned["cpu_s"], 2),
    }
    if target is not None:
        # The target is for the whole index on two cores; decoding must leave time for encoding.
        made["target"] = f"> {target} x real time on two cores, to leave time for the encoder"
        made["target_met"] = 2 * one_core > target
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="length of each video")
    options = parser.parse_args()
    entries = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height, codec, settings, target) in FILES.items():
            path = Path(folder) / f"{name}.mkv"
            make(path, options.seconds, width, height, codec, settings)
            entries[name] = entry(path, options.seconds, target)
            print(name, json.dumps(entries[name]), file=sys.stderr)
            path.unlink()
    body = {
        "what": "sampling one frame a second, resized to 224 x 224 with thumbnails, shots found",
        "command": "python benchmarks/decode.py " + " ".join(sys.argv[1:]),
        "seconds_of_video": options.seconds,
        "repeats": REPEATS,
        "entries": entries,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"av": av.__version__, "libavcodec": av.library_versions["libavcodec"]},
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
    }
    out = ROOT / "results" / "bench-decode.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
