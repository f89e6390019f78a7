"""Odd and broken video files, made as they are needed, each with what finecut must make of it.

    path = write_case("vfr.mp4", tmp_path)         # one file
    paths = write_corpus(tmp_path)                  # all of them, name -> path
    read_code(clip.frames[0], CASES["vfr.mp4"], "squash") -> milliseconds

Nothing here is random without a seed. How pictures tell their time: `video_writing`.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from video_writing import (
    COLOURS,
    X264,
    draw,
    read_code,
    reformat,
    sound_stream,
    steps,
    write_sound,
    write_video,
)

__all__ = [
    "CASES",
    "COLOURS",
    "DAMAGED",
    "GOOD",
    "REFUSED",
    "Case",
    "draw",
    "read_code",
    "steps",
    "write_case",
    "write_corpus",
    "write_video",
]


@dataclass(frozen=True)
class Case:
    """One file of the corpus and what is expected of it."""

    name: str
    make: Callable[[Path], None] = field(repr=False)
    verdict: str = "ok"  # "ok", "damaged" (something decodes), or the reason of the VideoError
    width: int = 320  # as stored, before rotation
    height: int = 180
    duration_s: float | None = None  # None: not to be checked
    rotation: int = 0  # degrees clockwise that show it upright
    coded: bool = True  # the pictures tell their time
    has_audio: bool = False
    code_tolerance_ms: int = 1
    probe_fails: bool = True  # whether a failing verdict is already seen by `probe`

    @property
    def shown(self) -> tuple[int, int]:
        turned = self.rotation in (90, 270)
        return (self.height, self.width) if turned else (self.width, self.height)


def _video(**settings: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write_video(path, **settings)

    return make


def _damaged(
    source: dict[str, Any], harm: Callable[[bytearray], bytes | bytearray]
) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = path.with_name("whole-" + path.name)
        write_video(whole, **source)
        path.write_bytes(harm(bytearray(whole.read_bytes())))
        whole.unlink()

    return make


def _bytes(data: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


def _flip(data: bytearray) -> bytearray:
    """300 bytes of the pictures changed, the header left whole."""
    start = data.find(b"mdat") + 64
    stop = len(data) - 16 if data.find(b"moov") < start else data.find(b"moov") - 16
    for at in np.random.default_rng(7).integers(start, stop, 300):
        data[at] ^= 0xFF
    return data


def _hole(data: bytearray) -> bytearray:
    a, b = int(len(data) * 0.45), int(len(data) * 0.65)
    data[a:b] = np.random.default_rng(8).integers(0, 256, b - a, dtype=np.uint8).tobytes()
    return data


def _claim_duration(data: bytearray) -> bytearray:
    at = data.find(b"\x44\x89\x88")  # Matroska's Duration, a float of 8 bytes
    data[at + 3 : at + 11] = struct.pack(">d", 1e15)
    return data


def _claim_size(data: bytearray) -> bytearray:
    """Matroska's PixelWidth 320 and PixelHeight 256 raised two hundredfold."""
    width, height = data.find(b"\xb0\x82\x01\x40"), data.find(b"\xba\x82\x01\x00")
    if min(width, height) < 0:
        raise AssertionError("the muxer writes the picture size another way now")
    data[width + 2 : width + 4] = b"\xff\xf0"
    data[height + 2 : height + 4] = b"\xff\xf0"
    return data


def _audio_only(path: Path) -> None:
    with av.open(str(path), "w") as out:
        write_sound(out, sound_stream(out), 2.0)


def _cover_art(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as out:
        sound = sound_stream(out)
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 160, 160, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = reformat(av.VideoFrame.from_ndarray(draw(160, 160, 0), format="rgb24"), "yuvj420p")
        frame.pts = 0
        packets = [*cover.encode(frame), *cover.encode()]
        for packet in packets:
            out.mux(packet)
        write_sound(out, sound, 2.0)


def _two_streams(path: Path) -> None:
    """A small still preview first, the film second."""
    with av.open(str(path), "w") as out:
        packets = []
        for width, height, fps in ((64, 36, 5), (320, 180, 25)):
            stream = out.add_stream("libx264", rate=fps, options=X264)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number, ms in enumerate(steps(3, fps)):
                picture = draw(width, height, round(ms), code=width > 100)
                frame = reformat(av.VideoFrame.from_ndarray(picture, format="rgb24"), "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                packets += stream.encode(frame)
            packets += stream.encode()
        for packet in packets:
            out.mux(packet)


def _joined_streams(path: Path) -> None:
    """Two transport streams end to end, the second starting its clock again."""
    parts = []
    for number in range(2):
        part = path.with_name(f"part{number}-{path.name}")
        write_video(part, steps(8), options=X264, format="mpegts")
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


_VFR = [0, 40, 80, 500, 540, 1900, 2000, 2040, 5200, 5240, 5280, 9000, 9040]
_GIF_89A = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b";"
_PLAYLIST = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
_SHOTS = ((3000, "red"), (7000, "blue"), (math.inf, "green"))
_B_FRAMES = {"preset": "veryfast", "bf": "3", "x264-params": "b-pyramid=normal"}


def _case(name: str, make: Callable[[Path], None], verdict: str = "ok", **more: Any) -> Case:
    return Case(name, make, verdict, **more)


_CASES = [
    # Codecs and containers
    _case("dense-keys.mp4", _video(times_ms=steps(6), options=X264), duration_s=6),
    _case(
        "sparse-keys.mp4",
        _video(times_ms=steps(25), options={**_B_FRAMES, "g": "250", "sc_threshold": "0"}),
        duration_s=25,
    ),
    _case(
        "open-gop.mp4",
        _video(times_ms=steps(8), options={**_B_FRAMES, "x264-params": "open-gop=1:keyint=25"}),
        duration_s=8,
    ),
    _case(
        "shots.mp4",
        _video(times_ms=steps(11), options={**_B_FRAMES, "g": "300"}, shots=_SHOTS, audio=True),
        duration_s=11,
        has_audio=True,
    ),
    _case(
        "hevc.mp4",
        _video(
            times_ms=steps(6),
            codec="libx265",
            options={"preset": "ultrafast", "x265-params": "log-level=none:keyint=50:bframes=3"},
        ),
        duration_s=6,
    ),
    _case(
        "hevc-10bit.mkv",
        _video(
            times_ms=steps(4),
            codec="libx265",
            pix_fmt="yuv420p10le",
            options={"preset": "ultrafast", "x265-params": "log-level=none:keyint=50"},
        ),
        duration_s=4,
    ),
    _case(
        "h264-10bit.mp4",
        _video(times_ms=steps(4), pix_fmt="yuv420p10le", options=X264),
        duration_s=4,
    ),
    _case(
        "vp9.webm",
        _video(
            times_ms=steps(6),
            codec="libvpx-vp9",
            options={"deadline": "realtime", "cpu-used": "8", "g": "50", "b": "400k"},
        ),
        duration_s=6,
    ),
    _case(
        "vp8.webm",
        _video(
            times_ms=steps(5),
            codec="libvpx",
            options={"deadline": "realtime", "cpu-used": "8", "g": "50", "b": "800k"},
        ),
        duration_s=5,
    ),
    _case(
        "av1.mp4",
        _video(
            times_ms=steps(6), codec="libsvtav1", options={"preset": "8", "g": "50", "crf": "18"}
        ),
        duration_s=6,
    ),
    _case(
        "mpeg4.avi",
        _video(
            times_ms=steps(6),
            codec="mpeg4",
            options={"g": "50", "bf": "2", "q": "3", "b": "2M"},
            tick=Fraction(1, 25),
        ),
        duration_s=6,
        code_tolerance_ms=1,
    ),
    _case(
        "mpeg2.ts",
        _video(
            times_ms=steps(5),
            codec="mpeg2video",
            options={"g": "15", "bf": "2", "b": "3M"},
            tick=Fraction(1, 25),
        ),
        duration_s=5,
    ),
    _case(
        "offset.ts",
        _video(times_ms=steps(5), options=X264, offset_ms=3_600_000, audio=True),
        duration_s=5,
        has_audio=True,
    ),
    _case("motion.mov", _video(times_ms=steps(3), codec="mjpeg", pix_fmt="yuvj420p"), duration_s=3),
    _case("lossless.mkv", _video(times_ms=steps(3), codec="ffv1", pix_fmt="yuv444p"), duration_s=3),
    _case(
        "moving.gif",
        _video(times_ms=steps(4, 10), codec="gif", pix_fmt="rgb8", tick=Fraction(1, 100), rate=10),
        duration_s=4,
    ),
    _case("raw.h264", _video(times_ms=steps(4), options=X264, format="h264"), duration_s=4),
    _case(
        "fragmented.mp4",
        _video(
            times_ms=steps(5),
            options=X264,
            container={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        ),
        duration_s=5,
    ),
    # Shapes and clocks
    *(
        _case(
            f"rotated-{turn}.mp4",
            _video(times_ms=steps(3), options=X264, rotation=turn),
            duration_s=3,
            rotation=turn,
        )
        for turn in (90, 180, 270)
    ),
    _case(
        "wide-pixels.mp4",
        _video(times_ms=steps(2), options=X264, width=160, pixel_aspect=Fraction(2)),
        duration_s=2,
        width=160,
        coded=False,
    ),
    _case("vfr.mp4", _video(times_ms=_VFR, options={"preset": "ultrafast", "g": "5"})),
    _case("slow.mkv", _video(times_ms=steps(60, 0.2), options=X264, rate=Fraction(1, 5))),
    _case(
        "two-hours.mp4",
        _video(
            times_ms=steps(7200, 0.5),
            options={"preset": "ultrafast", "g": "60"},
            width=64,
            height=64,
            rate=Fraction(1, 2),
        ),
        width=64,
        height=64,
        duration_s=7200,
        code_tolerance_ms=1,
    ),
    _case(
        "static-hour.mp4",
        _video(
            times_ms=steps(3600, 1),
            options={"preset": "ultrafast", "g": "60"},
            width=64,
            height=64,
            rate=1,
            still=True,
        ),
        width=64,
        height=64,
        duration_s=3600,
        coded=False,
    ),
    _case("one-frame.mp4", _video(times_ms=[0], options=X264), duration_s=0.04),
    _case("half-second.mp4", _video(times_ms=steps(0.5), options=X264), duration_s=0.5),
    _case(
        "odd-width.mkv",
        _video(
            times_ms=steps(2), codec="ffv1", pix_fmt="yuv444p", width=241, height=135, options={}
        ),
        width=241,
        height=135,
        duration_s=2,
    ),
    _case(
        "two-pixels.mkv",
        _video(times_ms=steps(2), codec="ffv1", pix_fmt="yuv420p", width=2, height=2, code=False),
        width=2,
        height=2,
        coded=False,
        duration_s=2,
    ),
    _case(
        "very-wide.mp4",
        _video(times_ms=steps(1), options=X264, width=4096, height=32, code=False),
        width=4096,
        height=32,
        coded=False,
        duration_s=1,
    ),
    _case("two-streams.mkv", _two_streams, duration_s=3),
    _case("joined.ts", _joined_streams, duration_s=16, coded=False),
    _case(
        "with-audio.mp4",
        _video(times_ms=steps(5), options=X264, audio=True),
        duration_s=5,
        has_audio=True,
    ),
    # Damaged: what decodes is taken
    _case(
        "truncated.mp4",
        _damaged(
            {"times_ms": steps(8), "options": X264, "container": {"movflags": "faststart"}},
            lambda data: data[: int(len(data) * 0.45)],
        ),
        "damaged",
    ),
    _case(
        "truncated.mkv",
        _damaged({"times_ms": steps(8), "options": X264}, lambda d: d[: int(len(d) * 0.45)]),
        "damaged",
    ),
    _case(
        "flipped-bytes.mp4",
        _damaged({"times_ms": steps(8), "options": X264}, _flip),
        "damaged",
        coded=False,
    ),
    _case(
        "hole.mp4",
        _damaged(
            {"times_ms": steps(8), "options": X264, "container": {"movflags": "faststart"}}, _hole
        ),
        "damaged",
        coded=False,
    ),
    _case(
        "hole.mkv", _damaged({"times_ms": steps(8), "options": X264}, _hole), "damaged", coded=False
    ),
    _case(
        "hole.ts",
        _damaged({"times_ms": steps(8), "options": X264, "format": "mpegts"}, _hole),
        "damaged",
        coded=False,
    ),
    _case(
        "mid-stream.ts",
        _damaged(
            {"times_ms": steps(8), "options": {**X264, "g": "50"}, "format": "mpegts"},
            lambda data: data[188 * (len(data) // 188 // 3) :],
        ),
        "damaged",
        coded=False,
    ),
    # Nothing to take
    _case(
        "no-index.mp4",
        _damaged({"times_ms": steps(8), "options": X264}, lambda data: data[: len(data) // 2]),
        "unreadable",
    ),
    _case("empty.mp4", _bytes(b""), "empty"),
    _case("text.mp4", _bytes(b"This is not a video.\n" * 200), "unreadable"),
    _case(
        "random.mp4",
        _bytes(np.random.default_rng(3).integers(0, 256, 200_000, dtype=np.uint8).tobytes()),
        "unreadable",
    ),
    _case("playlist.mp4", _bytes(_PLAYLIST), "unreadable"),
    _case("script.mp4", _bytes(b"ffconcat version 1.0\nfile dense-keys.mp4\n"), "unreadable"),
    _case("audio-only.m4a", _audio_only, "no video stream", has_audio=True),
    _case("cover-art.m4a", _cover_art, "no video stream", has_audio=True),
    _case("huge-claim.gif", _bytes(_GIF_89A), "no picture"),
    _case("huge-claim.y4m", _bytes(b"YUV4MPEG2 W30000 H30000 F25:1 C420\nFRAME\n"), "unreadable"),
    _case(
        "huge-claim.mkv",
        _damaged(
            {"times_ms": steps(1), "codec": "ffv1", "pix_fmt": "yuv444p", "height": 256},
            _claim_size,
        ),
        "no picture",
    ),
    _case("hollow.y4m", _bytes(b"YUV4MPEG2 W320 H180 F25:1 C420\n"), "no frame decodes"),
    _case(
        "endless-claim.mkv",
        _damaged({"times_ms": steps(2), "options": X264}, _claim_duration),
        "too long",
    ),
]
CASES: dict[str, Case] = {case.name: case for case in _CASES}
GOOD = [case.name for case in _CASES if case.verdict == "ok"]
DAMAGED = [case.name for case in _CASES if case.verdict == "damaged"]
REFUSED = [case.name for case in _CASES if case.verdict not in ("ok", "damaged")]


def write_case(name: str, folder: Path) -> Path:
    """Make one file of the corpus in a folder, unless it is there."""
    path = folder / name
    if not path.exists():
        made = folder / f"making-{os.getpid()}-{name}"
        CASES[name].make(made)
        os.replace(made, path)
    return path


def write_corpus(folder: Path, names: Iterable[str] | None = None) -> dict[str, Path]:
    """Make the files named, or all, and return them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: write_case(name, folder) for name in (names or CASES)}
