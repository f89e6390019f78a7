"""Files damaged at random: clips that tile, or a VideoError; never another error, never a hang."""

from __future__ import annotations

import contextlib
import random

import pytest

from finecut.errors import VideoError
from finecut.video.cut import cut
from finecut.video.decode import decode_clips
from finecut.video.frame import frame_at
from finecut.video.probe import probe
from finecut.video.spec import DecodeSpec

NAMES = (
    "dense-keys.mp4",
    "fragmented.mp4",
    "hevc-10bit.mkv",
    "vp8.webm",
    "mpeg4.avi",
    "mpeg2.ts",
    "offset.ts",
    "raw.h264",
    "moving.gif",
    "with-audio.mp4",
    "av1.mp4",
)
BOXES = (b"stts", b"ctts", b"stsz", b"stco", b"stsc", b"mdhd", b"mvhd", b"tkhd", b"elst", b"stss")


def mutate(data: bytearray, rng: random.Random) -> bytearray:
    """One of six ways of harm: bytes changed, cut out, cut off, put in, in the header, in boxes."""
    way, end = rng.randrange(6), len(data)
    if way == 0:
        for _ in range(rng.choice((1, 10, 100, 1000))):
            data[rng.randrange(end)] = rng.randrange(256)
    elif way == 1:
        start = rng.randrange(end)
        del data[start : start + rng.randrange(1, end // 3 + 2)]
    elif way == 2:
        del data[rng.randrange(1, end) :]
    elif way == 3:
        start = rng.randrange(end)
        data[start:start] = rng.randbytes(rng.randrange(1, 5000))
    elif way == 4:
        size = min(end, 1500)
        offset = rng.choice((0, end - size))
        for _ in range(rng.choice((1, 5, 20))):
            data[offset + rng.randrange(size)] = rng.choice((0, 255, 127, 128, 1))
    else:
        for box in BOXES:
            at = data.find(box)
            if at >= 0 and rng.random() < 0.5:
                for _ in range(rng.randrange(1, 8)):
                    data[min(end - 1, at + 4 + rng.randrange(40))] = rng.choice((0, 255, 127, 1))
    return data


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutated_files(corpus, tmp_path, name):
    rng = random.Random(f"seed {name}")
    path = tmp_path / name
    decoded = 0
    for number in range(40):
        path.write_bytes(mutate(bytearray(corpus(name).read_bytes()), rng))
        with contextlib.suppress(VideoError):
            probe(path)
        with contextlib.suppress(VideoError):
            end_s = 0.0
            for clip in decode_clips(path, DecodeSpec(height=32, width=32)):
                assert clip.start_s == end_s < clip.end_s
                assert clip.start_s <= clip.times[0] and clip.times[-1] < clip.end_s
                end_s = clip.end_s
            decoded += 1
        if number % 4 == 0:
            with contextlib.suppress(VideoError):
                frame_at(path, rng.uniform(0, 5))
            with contextlib.suppress(VideoError):
                cut(path, 0.5, rng.uniform(1, 5), tmp_path / f"{number}.mp4")
            assert not list(tmp_path.glob(".*part*"))
    assert decoded > 0
