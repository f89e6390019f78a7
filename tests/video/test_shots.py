"""Clips out of sampled frames: shots, repeats, splinters, and the time of a cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.video.decode import ClipCutter, cut_time
from finecut.video.sample import Sample
from finecut.video.shots import ShotDetector, change, same_picture, signature
from finecut.video.spec import DecodeSpec

RED, GREEN, BLUE = (200, 30, 30), (30, 170, 40), (30, 50, 200)


def picture(colour, seed=0, size=64):
    noise = np.random.default_rng(seed).integers(-20, 20, (size, size, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


class Thumbnails:
    """Stands in for the converter, of which the cutter only wants thumbnails."""

    def thumbnail(self, frame):
        return np.zeros((12, 16, 3), np.uint8)


def clips_of(pictures, spec, period=1.0, end=None):
    cutter, made = ClipCutter(spec), []
    for number, one in enumerate(pictures):
        sample = Sample(number * period, None, [])
        made += cutter.add(sample, one, Thumbnails())
    made += cutter.finish(len(pictures) * period if end is None else end)
    return made, cutter


SPEC = DecodeSpec(max_frames=4, height=64, width=64)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([RED, GREEN, BLUE]), st.integers(0, 3)), min_size=1),
    st.integers(1, 6),
)
def test_clips_tile_and_hold_every_distinct_frame_once(plan, max_frames):
    pictures = [picture(colour, seed) for colour, seed in plan]
    spec = DecodeSpec(max_frames=max_frames, height=64, width=64)
    clips, cutter = clips_of(pictures, spec)
    assert clips[0].start_s == 0 and clips[-1].end_s == len(pictures)
    assert [c.start_s for c in clips[1:]] == [c.end_s for c in clips[:-1]]
    assert [c.number for c in clips] == list(range(len(clips)))
    times = np.concatenate([c.times for c in clips])
    assert (np.diff(times) > 0).all()
    assert len(times) + cutter.repeated == len(pictures)
    for clip in clips:
        assert len(clip.times) <= max_frames
        assert clip.start_s <= clip.times[0] and clip.times[-1] < clip.end_s
        for time, frame in zip(clip.times, clip.frames, strict=True):
            assert (frame == pictures[int(time)]).all()


def test_three_shots_are_three_clips():
    pictures = [picture(c, i) for i, c in enumerate([RED] * 4 + [BLUE] * 4 + [GREEN] * 4)]
    clips, _ = clips_of(pictures, SPEC)
    assert [(c.start_s, c.end_s) for c in clips] == [(0, 3.5), (3.5, 7.5), (7.5, 12)]


def test_a_flash_is_no_clip_of_its_own():
    pictures = [picture(c, i) for i, c in enumerate([RED] * 4 + [BLUE] + [GREEN] * 3)]
    clips, _ = clips_of(pictures, SPEC)
    assert [len(c.times) for c in clips] == [4, 4]


def test_a_short_last_shot_joins_the_one_before_if_there_is_room():
    pictures = [picture(c, i) for i, c in enumerate([RED] * 3 + [BLUE])]
    assert [len(c.times) for c in clips_of(pictures, SPEC)[0]] == [4]
    pictures = [picture(c, i) for i, c in enumerate([RED] * 4 + [BLUE])]
    assert [len(c.times) for c in clips_of(pictures, SPEC)[0]] == [4, 1]


def test_long_shots_are_split_evenly():
    for count, expected in ((5, [3, 2]), (8, [4, 4]), (9, [4, 3, 2]), (12, [4, 4, 4])):
        pictures = [picture(RED, i) for i in range(count)]
        assert [len(c.times) for c in clips_of(pictures, SPEC)[0]] == expected


def test_repeats_are_held_once_and_stand_for_their_stretch():
    pictures = [picture(RED, i // 3) for i in range(12)]
    clips, cutter = clips_of(pictures, SPEC)
    assert len(clips) == 1 and cutter.repeated == 8
    assert list(clips[0].times) == [0, 3, 6, 9]
    assert clips[0].end_s == 12


def test_a_slow_change_is_noticed():
    """Each frame is compared with the last one held, not with the last one seen."""
    pictures = [np.full((64, 64, 3), 100 + i, np.uint8) for i in range(10)]
    clips, _ = clips_of(pictures, DecodeSpec(max_frames=16, height=64, width=64))
    assert 4 <= len(clips[0].times) <= 6


def test_the_end_is_behind_the_last_frame_whatever_the_file_says():
    clips, _ = clips_of([picture(RED)], SPEC, end=0.0)
    assert clips[0].end_s > clips[0].times[0]


def test_change_and_sameness_by_hand():
    red, blue = signature(picture(RED)), signature(picture(BLUE))
    assert change(red, red) == 0
    assert change(red, blue) == pytest.approx(1.0, abs=0.05)
    assert same_picture(red, red) and not same_picture(red, blue)
    spot = picture(RED).copy()
    spot[:4, :4] = 0  # one 256th of the picture
    assert not same_picture(red, signature(spot))


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_signatures_of_any_size(height, width):
    flat = signature(np.full((height, width, 3), 77, np.uint8))
    assert flat.small == pytest.approx(np.full((16, 16, 3), 77.0), abs=1e-3)
    assert flat.colours.sum() == pytest.approx(1)


@given(st.integers(16, 70), st.integers(16, 70), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_small_pictures_are_plain_means(height, width, seed):
    one = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    high, wide = height // 16, width // 16
    plain = np.array(
        [
            [
                one[r * high : (r + 1) * high, c * wide : (c + 1) * wide].mean((0, 1))
                for c in range(16)
            ]
            for r in range(16)
        ]
    )
    assert signature(one).small == pytest.approx(plain, abs=1e-3)


def test_restless_pictures_do_not_become_splinters():
    """Every frame another picture: clips hold several frames all the same."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    pictures = [np.repeat(np.repeat(block, 8, 0), 8, 1) for block in blocks]
    detector = ShotDetector()
    assert sum(detector.is_cut(signature(one)) for one in pictures) >= 20
    clips, _ = clips_of(pictures, SPEC)
    assert min(len(clip.times) for clip in clips[:-1]) >= 3


PACKETS = [(1.0 + i / 10, 100, False) for i in range(11)]


def sample_with(*more):
    packets = [p for p in PACKETS if all(abs(p[0] - m[0]) > 1e-6 for m in more)]
    return Sample(2.0, None, sorted([*packets, *more]))


def test_the_cut_is_at_the_packet_that_stands_out():
    assert cut_time(1.0, sample_with((1.7, 2000, False))) == 1.7
    assert cut_time(1.0, sample_with((1.3, 2000, True))) == 1.3
    # A key frame at its usual place, the cut elsewhere.
    assert cut_time(1.0, sample_with((1.3, 2000, True), (1.7, 1900, False))) == 1.7
    # The key frame at the cut, and a restless picture after it.
    assert cut_time(1.0, sample_with((1.3, 5000, True), (1.7, 1900, False))) == 1.3


def test_without_evidence_the_cut_is_half_way():
    assert cut_time(1.0, sample_with()) == 1.5
    assert cut_time(1.0, Sample(2.0, None, [])) == 1.5
