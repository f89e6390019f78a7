"""Filters: each condition by hand, text read or refused, and masks over clips."""

from __future__ import annotations

import contextlib
import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.search.engine import Searcher
from finecut.search.filters import Filters, parse_date, parse_duration


def allowed(searcher: Searcher, **conditions) -> list[str]:
    filters = Filters(**conditions)
    return [v.paths[0].rsplit("/", 1)[-1] for v in searcher.index.videos if filters.allows(v)]


def test_nothing_asked_nothing_filtered(searcher: Searcher):
    assert Filters().empty and not Filters(min_height=1).empty
    assert allowed(searcher) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"min_duration_s": 10}, ["a.mp4", "d.mp4"]),
        ({"max_duration_s": 4}, ["b.mp4", "c.mp4"]),
        ({"min_duration_s": 4, "max_duration_s": 4}, ["b.mp4"]),
        ({"min_height": 720}, ["a.mp4", "b.mp4"]),
        ({"max_height": 719}, ["c.mp4", "d.mp4"]),
        ({"path_glob": "*.mp4"}, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]),
        ({"path_glob": "[ab].mp4"}, ["a.mp4", "b.mp4"]),
        ({"path_glob": "sub/*"}, ["b.mp4"]),
        ({"path_glob": "media/*"}, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]),
        ({"path_glob": "/*"}, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]),
        ({"path_glob": ["c*", "d*"]}, ["c.mp4", "d.mp4"]),
        ({"path_glob": "ub/*"}, []),
        ({"video_ids": [f"{1:032x}"]}, ["b.mp4"]),
        ({"video_ids": []}, []),
        ({"recorded_before": 1_650_000_000}, ["c.mp4"]),
        ({"recorded_after": 1_600_000_000, "recorded_before": 1_700_000_000}, ["c.mp4"]),
        ({"recorded_after": 1_700_000_000}, ["a.mp4", "b.mp4", "d.mp4"]),  # the rest: by file time
    ],
)
def test_each_condition(searcher: Searcher, conditions: dict, expected: list[str]):
    assert allowed(searcher, **conditions) == expected


def test_all_conditions_must_hold(searcher: Searcher):
    assert allowed(searcher, min_duration_s=10, min_height=720) == ["a.mp4"]


def test_the_mask_is_over_clips(searcher: Searcher):
    index = searcher.index
    mask = Filters(path_glob="c*").mask(index.videos, index.clips)
    assert mask.dtype == bool and mask.tolist() == [False] * 4 + [True] * 2 + [False] * 3
    assert np.array_equal(
        mask, [index.videos[v].paths[0].endswith("c.mp4") for v in index.clips.video]
    )


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"min_duration_s": -1}, "min_duration_s must be a number of at least 0, got -1"),
        ({"min_duration_s": float("nan")}, "min_duration_s must be a number"),
        ({"min_duration_s": float("inf")}, "min_duration_s must be a number"),
        ({"recorded_after": 10**400}, "recorded_after must be a number"),
        ({"max_height": "720"}, "max_height must be a number"),
        ({"min_height": True}, "min_height must be a number"),
        ({"min_duration_s": 3, "max_duration_s": 2}, "min_duration_s = 3 and max_duration_s = 2"),
        ({"path_glob": ""}, "path_glob must be text"),
        ({"path_glob": [3]}, "path_glob must be text"),
        ({"path_glob": "x" * 1001}, "path_glob must be text"),
        ({"video_ids": 3}, "video_ids must be text, or several, got 3"),
    ],
)
def test_conditions_that_cannot_be_meant(conditions: dict, message: str):
    with pytest.raises(UsageError, match=message):
        Filters(**conditions)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5m", 90),
        ("2h", 7200),
        ("1:30", 90),
        ("1:02:03", 3723),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-1", "1:2:3:4", "1d", "1e5", "nan", "1:99", "٣"])
def test_durations_that_are_none(text: str):
    with pytest.raises(UsageError, match="is no duration; expected seconds"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2024", datetime.datetime(2024, 1, 1)),
        ("2024-05", datetime.datetime(2024, 5, 1)),
        ("2024-05-31", datetime.datetime(2024, 5, 31)),
        ("2024-05-31T12:30", datetime.datetime(2024, 5, 31, 12, 30)),
        ("2024-05-31T12:30:00+00:00", datetime.datetime(2024, 5, 31, 12, 30, tzinfo=datetime.UTC)),
    ],
)
def test_dates(text: str, when: datetime.datetime):
    assert parse_date(text) == when.timestamp()


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13", "31.5.2024", "0000", "99999"])
def test_dates_that_are_none(text: str):
    with pytest.raises(UsageError, match="is no date; expected 2024"):
        parse_date(text)


def test_parsing_a_whole_set():
    filters = Filters.parse(
        {
            "path_glob": "*.mp4",
            "min_duration_s": "1m",
            "recorded_after": "2024",
            "min_height": "720p",
        }
    )
    assert filters == Filters(
        path_glob="*.mp4", min_duration_s=60.0, recorded_after=parse_date("2024"), min_height=720
    )
    assert Filters.parse({"min_height": None}).empty
    with pytest.raises(
        UsageError, match="There is no filter 'colour'; known: inside, max_duration_s"
    ):
        Filters.parse({"colour": "red"})
    with pytest.raises(UsageError, match="'tall' is no height"):
        Filters.parse({"min_height": "tall"})


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str):
    for parse in (parse_duration, parse_date):
        with contextlib.suppress(UsageError):
            assert isinstance(parse(text), float)
