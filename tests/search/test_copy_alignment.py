"""Copies and look-alikes made of plain arrays: offsets, stretches, and what tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import ShapeError
from finecut.search.copy_alignment import Frames, best_overlap
from finecut.search.small_pictures import GRID, pictures_of

THRESHOLD = 0.7


def film(rng: np.random.Generator, seconds: int, *, background: float = 0.0) -> np.ndarray:
    """A smooth random film at 10 pictures a second, [seconds * 10, 256]."""
    keys = rng.normal(size=(seconds + 2, GRID * GRID))
    times = np.arange(seconds * 10) / 10
    whole = times.astype(int)
    part = (times - whole)[:, None]
    moving = keys[whole] * (1 - part) + keys[whole + 1] * part
    return moving + background * rng.normal(size=GRID * GRID)


def frames(shown: np.ndarray, start_s: float, end_s: float, *, step_s=1.0, first_s=0.0) -> Frames:
    """The stretch of a film as an index would store it, times from the stretch's start."""
    times = np.arange(first_s, end_s - start_s, step_s)
    pictures = shown[np.rint((times + start_s) * 10).astype(int)]
    pictures = pictures - pictures.mean(axis=1, keepdims=True)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    return Frames(times, pictures.astype(np.float32), end_s - start_s)


@given(
    st.integers(0, 2**16),
    st.integers(0, 12),
    st.integers(4, 8),
    st.sampled_from([0.0, 0.2, 0.4]),
    st.sampled_from([1.0, 0.9, 1.1]),
)
def test_a_trimmed_copy_is_found_where_it_is(seed, start_s, length_s, first_s, step_s):
    rng = np.random.default_rng(seed)
    shown = film(rng, 20)
    whole = frames(shown, 0, 20)
    copy = frames(shown, start_s, start_s + length_s, first_s=first_s, step_s=step_s)
    found = best_overlap(whole, copy, THRESHOLD)
    assert found is not None
    assert found.offset_s == pytest.approx(-start_s, abs=0.5)
    assert found.length_s >= 0.7 * length_s
    assert found.motion > 0.6 and found.similarity > 0.75


@given(st.integers(0, 2**16))
def test_two_recordings_of_one_place_do_not_move_alike(seed: int):
    rng = np.random.default_rng(seed)
    place = rng.normal(size=GRID * GRID) * 4
    first, second = (frames(place + film(rng, 12), 0, 12) for _ in range(2))
    found = best_overlap(first, second, THRESHOLD)
    assert found is not None and found.similarity > 0.85  # they look alike, at any offset
    assert found.motion < 0.6
    copy = best_overlap(first, frames(place + film(rng, 12), 0, 12), THRESHOLD)
    assert copy is not None and copy.motion < 0.6


def test_the_same_either_way_round():
    rng = np.random.default_rng(1)
    shown = film(rng, 20)
    whole, copy = frames(shown, 0, 20), frames(shown, 5, 12)
    there, back = best_overlap(whole, copy, THRESHOLD), best_overlap(copy, whole, THRESHOLD)
    assert there is not None and back is not None
    assert there.offset_s == -back.offset_s == -5
    assert (there.start_s, there.end_s) == (5, 12) and (back.start_s, back.end_s) == (0, 7)


def test_frames_that_were_held_stand_for_their_time():
    """A still is stored once; a copy that begins in the midst of it agrees all the same."""
    rng = np.random.default_rng(2)
    pictures = rng.normal(size=(3, 256)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    slides = Frames(np.array([0.0, 10.0, 20.0]), pictures, 30.0)
    copy = Frames(np.array([0.0, 4.0, 14.0]), pictures, 20.0)  # trimmed by 6 s and 4 s
    found = best_overlap(slides, copy, THRESHOLD)
    assert found is not None and found.offset_s == -6.0
    assert (found.start_s, found.end_s) == (6.0, 26.0) and found.motion > 0.95


def test_nothing_in_common():
    rng = np.random.default_rng(3)
    first, second = (frames(film(rng, 10), 0, 10) for _ in range(2))
    assert best_overlap(first, second, THRESHOLD) is None
    empty = Frames(np.zeros(0), np.zeros((0, 256), np.float32), 0.0)
    assert best_overlap(first, empty, THRESHOLD) is None
    flat = Frames(np.arange(3.0), np.zeros((3, 256), np.float32), 3.0)
    assert best_overlap(flat, flat, THRESHOLD) is None


def test_sizes_must_agree():
    with pytest.raises(ShapeError, match="pictures"):
        Frames(np.arange(3.0), np.zeros((2, 4), np.float32), 3.0)


# -- pictures --------------------------------------------------------------------------------------


def drawn(height: int = 90, width: int = 160) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    return np.clip(120 + 90 * np.sin(7 * x + 2) * np.cos(5 * y) + 60 * x, 0, 255).astype(np.uint8)


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    return float(pictures_of([first])[0] @ pictures_of([second])[0])


def test_what_a_copy_may_do_to_a_picture():
    one = drawn()
    assert likeness(one, drawn(60, 107)) > 0.99  # another size
    assert likeness(one, drawn(120, 90)) > 0.99  # another shape
    brighter = np.clip(one * 1.15 + 10, 0, 255).astype(np.uint8)
    assert likeness(one, brighter) > 0.98
    barred = np.zeros((130, 200), np.uint8)
    barred[20:110, 20:180] = one
    assert likeness(one, barred) > 0.98  # black bars
    noisy = np.clip(one + np.random.default_rng(4).normal(0, 8, one.shape), 0, 255)
    assert likeness(one, noisy.astype(np.uint8)) > 0.98


def test_what_makes_it_another_picture():
    one = drawn()
    assert likeness(one, one[:, ::-1]) < 0.7  # a mirror
    assert likeness(one, 255 - one) < 0
    flat = np.full((90, 160), 128, np.uint8)
    assert likeness(flat, flat) == 0  # says nothing
    assert not pictures_of([np.zeros((90, 160), np.uint8)]).any()  # black
    assert pictures_of([]).shape == (0, GRID * GRID)
