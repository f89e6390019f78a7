"""Properties of the plan: which packets are taken for which wanted times."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.video.plan import SLACK, Grid, plan

PERIODS = st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.0])


def whole_plan(groups: list[list[float]], period: float) -> list[float]:
    """Times taken from groups of presentation times given in decoding order."""
    grid, taken = Grid(period), []
    for number, times in enumerate(groups):
        following = groups[number + 1][0] if number + 1 < len(groups) else None
        until = following if following is not None else max(times) + 0.02
        picks = plan(times, grid, until_s=until, next_key_s=following)
        taken += [times[i] for i in picks]
    return taken


@st.composite
def videos(draw: st.DrawFn) -> list[list[float]]:
    """Groups of a video: a key frame, then its frames in a shuffled decoding order."""
    gaps = draw(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=120))
    times = [0.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    groups: list[list[float]] = []
    while times:
        size = draw(st.integers(1, 30))
        key, rest = times[0], times[1:size]
        groups.append([key, *draw(st.permutations(rest))])
        times = times[size:]
    return groups


@settings(max_examples=200, deadline=None)
@given(videos(), PERIODS)
def test_times_rise_and_none_is_taken_twice(groups, period):
    taken = whole_plan(groups, period)
    assert all(a < b for a, b in itertools.pairwise(taken))
    assert taken and set(taken) <= {t for group in groups for t in group}


@settings(max_examples=200, deadline=None)
@given(videos(), PERIODS)
def test_every_wanted_time_is_answered(groups, period):
    """By a frame within the slack, or by the frame on show at that time."""
    taken = whole_plan(groups, period)
    shown = sorted(t for group in groups for t in group)
    slack = SLACK * period + 1e-9
    for number in range(math.floor(shown[-1] / period) + 1):
        wanted = number * period
        on_show = max(t for t in shown if t <= wanted + 1e-9)
        near = any(abs(t - wanted) <= slack for t in taken)
        assert near or on_show in taken


@settings(max_examples=100, deadline=None)
@given(videos(), PERIODS)
def test_no_more_frames_than_wanted_times(groups, period):
    taken = whole_plan(groups, period)
    end = max(t for group in groups for t in group) + 0.02
    assert len(taken) <= math.floor(end / period + SLACK) + 1


def test_a_key_frame_just_ahead_is_waited_for():
    grid = Grid(1.0)
    assert plan([0.0, 0.25, 0.5, 0.75], grid, until_s=1.25, next_key_s=1.25) == [0]
    assert grid.wanted_s == 1.0  # left for the key frame at 1.25
    assert plan([1.25, 1.5], grid, until_s=2, next_key_s=None) == [0]


def test_a_key_frame_at_the_wanted_time_is_not_put_off():
    assert plan([0.0, 0.1], Grid(1.0), until_s=0.2, next_key_s=0.2) == [0]


def test_of_key_frames_alone_the_nearest_is_taken():
    assert whole_plan([[t / 10] for t in range(31)], 1.0) == pytest.approx([0.0, 1.0, 2.0, 3.0])


def test_frames_that_must_not_be_taken_are_nan():
    assert plan([math.nan, 0.02, math.nan, 1.0], Grid(1.0), until_s=1.1, next_key_s=None) == [1, 3]


def test_a_leap_over_years_takes_no_time():
    """The grid jumps; it does not count through a million wanted times."""
    grid = Grid(0.01)
    assert plan([0.0, 1e6], grid, until_s=1e6 + 1, next_key_s=None)[:2] == [0, 1]
    assert grid.number >= 10**8
