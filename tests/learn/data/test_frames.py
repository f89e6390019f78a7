"""Frames by number: the fast way gives what decoding everything gives, on every odd file."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finecut.errors import UsageError, VideoError
from finecut.learn.data import frames as frames_module
from finecut.learn.data.benchmark import CaptionedVideo
from finecut.learn.data.folder import Folder
from finecut.learn.data.frames import (
    Footage,
    check_readable,
    decode_numbers,
    list_frames,
    read_frames,
)
from finecut.learn.data.sampling import Sampling
from finecut.learn.preprocess import crop_image, decoded_frame_indices, keep_frames
from finecut.video.container import open_video
from video_corpus import CASES, DAMAGED, GOOD, REFUSED, read_code, steps, write_case, write_video
from video_writing import X264

LONG = {"two-hours.mp4"}
B_FRAMES = {"preset": "medium", "bf": "3", "g": "60", "sc_threshold": "0"}


def plain(path: Path) -> list[np.ndarray]:
    """Every frame in order of showing, small: the way that cannot be wrong."""
    with open_video(path) as (container, stream):
        return [
            frame.reformat(width=32, height=32, format="rgb24").to_ndarray()
            for frame in container.decode(stream)
        ]


def by_number(path: Path, numbers: list[int]) -> dict[int, np.ndarray]:
    with open_video(path) as (container, stream):
        listed = list_frames(container, stream)
        return {
            number: frame.reformat(width=32, height=32, format="rgb24").to_ndarray()
            for number, frame in decode_numbers(container, stream, listed, numbers)
        }


@pytest.mark.parametrize("name", [n for n in GOOD if n not in LONG])
def test_a_frame_by_number_is_that_of_decoding_everything(name: str, corpus_folder: Path):
    path = write_case(name, corpus_folder)
    with open_video(path) as (container, stream):
        count = list_frames(container, stream).count
    every = plain(path)
    wanted = sorted({0, 1, count // 3, count // 3 + 1, count // 2, count - 1} & set(range(count)))
    found = by_number(path, wanted)
    assert sorted(found) == wanted
    # Frames before the first key frame cannot be shown: the plain way may see them, late.
    shift = len(every) - count
    assert shift >= 0
    for number, picture in found.items():
        difference = np.abs(picture.astype(int) - every[number + shift].astype(int)).mean()
        assert difference < 2, f"frame {number} of {name} is another one"


def test_only_the_wanted_groups_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_video(tmp_path / "long.mp4", steps(40), options={**X264, "g": "25"})
    fed, decode = [], frames_module._decode

    def counting(stream: object, packet: object) -> list:
        fed.append(packet)
        return decode(stream, packet)  # type: ignore[arg-type]

    monkeypatch.setattr(frames_module, "_decode", counting)
    assert sorted(by_number(path, [3, 900])) == [3, 900]
    assert len(fed) < 80  # of 1,000


def test_the_published_frames_are_taken(tmp_path: Path):
    path = write_video(
        tmp_path / "a.mp4",
        steps(7.3, 30),
        options=B_FRAMES,
        rate=30,
        tick=Fraction(1, 30),
        width=320,
        height=240,
    )
    got = read_frames(Footage((path,)), Sampling(max_frames=5), 224)
    numbers = decoded_frame_indices(219, 30.0)
    numbers = [numbers[i] for i in keep_frames(len(numbers), 5)]
    told = [read_code(frame, (320, 240), "crop") for frame in got.pixels]
    assert told == [round(n * 1000 / 30) for n in numbers]
    assert got.pixels.shape == (5, 224, 224, 3) and got.pixels.dtype == np.uint8
    assert got.duration_s == pytest.approx(7.3, abs=0.05)


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [(1.0, 3.0, [1000, 2000, 3000]), (0.0, 1.0, [0, 1000]), (2.4, 2.6, [2000, 3000]),
     (90.0, 95.0, [3960])],
)  # fmt: skip
def test_a_stretch_is_whole_seconds_around_it_and_never_empty(
    tmp_path: Path, start: float, end: float, told: list[int]
):
    path = write_video(tmp_path / "a.mp4", steps(4), options=X264)
    got = read_frames(Footage((path,), start, end), Sampling(), 180)
    assert [read_code(frame, (320, 180), "crop") for frame in got.pixels] == told


def test_by_time_takes_the_frame_on_show(tmp_path: Path):
    times = [0.0, 400.0, 990.0, 1010.0, 2500.0, 3100.0]
    path = write_video(tmp_path / "vfr.mp4", times, options=X264)
    got = read_frames(Footage((path,)), Sampling(rule="time", resize="squash"), 180)
    assert [read_code(frame) for frame in got.pixels] == [0, 990, 1010, 2500]


def test_fewer_frames_than_one_a_second_use_time(tmp_path: Path):
    path = write_video(tmp_path / "slow.mp4", steps(40, 0.5), options=X264, rate=1)
    got = read_frames(Footage((path,)), Sampling(max_frames=4), 64)
    assert len(got.pixels) == 4


def test_a_turned_video_is_shown_upright(corpus_folder: Path):
    name = next(n for n in GOOD if CASES[n].rotation == 90 and CASES[n].coded)
    case = CASES[name]
    got = read_frames(Footage((write_case(name, corpus_folder),)), Sampling(resize="squash"), 224)
    assert abs(read_code(got.pixels[0], case, "squash")) <= case.code_tolerance_ms


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_video_gives_what_decodes(name: str, corpus_folder: Path):
    path = write_case(name, corpus_folder)
    footage = Footage((path,))
    assert check_readable(footage) == ""
    frames = read_frames(footage, Sampling(max_frames=4), 32).pixels
    assert 1 <= len(frames) <= 4


# A container that claims centuries: an index refuses it, a few frames of it harm nobody.
@pytest.mark.parametrize("name", [n for n in REFUSED if n != "endless-claim.mkv"])
def test_what_cannot_be_read_says_why(name: str, corpus_folder: Path):
    footage = Footage((write_case(name, corpus_folder),))
    assert check_readable(footage)
    with pytest.raises(VideoError):
        read_frames(footage, Sampling(), 32)


def test_stills_are_videos_of_so_many_frames(tmp_path: Path):
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40 + number, 30), colour).save(tmp_path / f"{number}.jpg")
    files = tuple(tmp_path / f"{number}.jpg" for number in range(3))
    footage = Footage(files)
    assert footage.stills and check_readable(footage) == ""
    got = read_frames(footage, Sampling(), 16)
    assert got.pixels.shape == (3, 16, 16, 3) and got.duration_s == 0
    assert [int(frame[8, 8].argmax()) for frame in got.pixels] == [0, 1, 2]
    assert len(read_frames(footage, Sampling(max_frames=2), 16).pixels) == 2
    whole = np.asarray(Image.open(files[1]).convert("RGB"))
    assert np.array_equal(got.pixels[1], crop_image(whole, 16))


def test_the_folder_prefers_videos_to_stills(tmp_path: Path):
    write_video(tmp_path / "a.mp4", steps(0.2), options=X264, code=False)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    folder = Folder(tmp_path)
    assert folder.video("a") == tmp_path / "a.mp4"
    assert folder.video("a.jpg") == tmp_path / "a.mp4"  # re-downloaded under another extension
    assert folder.video("b") == tmp_path / "b.png"
    pair = CaptionedVideo("x", "b.png", ("c",), frames=("b.png", "a.jpg"))
    assert Footage.of(CaptionedVideo("x", "z", ("c",)), folder) is None
    assert Footage.of(CaptionedVideo("x", "z", ("c",), frames=("b.png", "q.png")), folder) is None
    assert Footage.of(pair, folder) is not None


@given(
    count=st.integers(1, 400),
    fps=st.floats(0.3, 120, allow_nan=False),
    framerate=st.integers(1, 5),
    most=st.integers(1, 20),
    start=st.floats(0, 40),
    length=st.one_of(st.none(), st.floats(0.01, 40)),
    rule=st.sampled_from(["published", "time"]),
    position=st.sampled_from(["head", "tail", "uniform"]),
)
def test_some_frames_are_always_taken_and_they_exist(
    count, fps, framerate, most, start, length, rule, position
):
    times = [i / fps for i in range(count)]
    end = None if length is None else start + length
    sampling = Sampling(most, framerate, position, rule)
    numbers = sampling.numbers(times, fps, start, end)
    assert 1 <= len(numbers) <= most
    assert numbers == sorted(set(numbers)) and numbers[0] >= 0 and numbers[-1] < count
    if rule == "time" and end is not None and start < times[-1]:
        assert all(times[n] < end for n in numbers)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"max_frames": 0}, "max_frames"), ({"framerate": 1001}, "framerate"),
     ({"rule": "often"}, "rule"), ({"frame_position": "middle"}, "frame_position"),
     ({"resize": "pad"}, "resize"), ({"max_frames": True}, "max_frames")],
)  # fmt: skip
def test_a_sampling_that_cannot_be_meant_is_refused(fields: dict, named: str):
    with pytest.raises(UsageError, match=f"{named} must be .* got {next(iter(fields.values()))!r}"):
        Sampling(**fields)


def test_published_indices_of_a_whole_video_are_the_golden_ones():
    times = [i / 25 for i in range(260)]
    assert Sampling(max_frames=100).numbers(times, 25.0) == decoded_frame_indices(260, 25.0)
    assert math.ceil(260 / 25) == len(decoded_frame_indices(260, 25.0))
