"""The corpus of odd and broken files through the whole pipeline: all told of, none in the way."""

from __future__ import annotations

import os

import numpy as np
import pytest

from finecut.index.build import build_index
from finecut.index.store import Index
from video_corpus import CASES, DAMAGED, GOOD, REFUSED, write_corpus


@pytest.fixture(scope="module")
def corpus(corpus_folder, tmp_path_factory, bundle):
    paths = write_corpus(corpus_folder)
    place, events = tmp_path_factory.mktemp("index-of-corpus") / "index", []
    report = build_index(list(paths.values()), place, bundle, workers=2, on_event=events.append)
    return paths, report, Index.open(place), events


def test_every_file_is_told_of_and_none_stops_the_run(corpus):
    paths, report, index, events = corpus
    assert len(CASES) >= 30 and len(REFUSED) >= 8 and len(DAMAGED) >= 3
    assert report.n_files == len(paths)
    assert report.n_new + report.n_duplicates + report.n_failed == len(paths)
    assert report.n_failed == len(REFUSED) == len(report.failures)
    done = {os.path.basename(path) for row in index.videos if row.n_clips for path in row.paths}
    assert done == {*GOOD, *DAMAGED}
    told = [event.path for event in events if event.kind in ("done", "failed")]
    assert len(told) == len(set(told)) == len(paths) - report.n_duplicates


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_listed_with_its_reason(corpus, name):
    paths, report, index, _ = corpus
    (failure,) = [failure for failure in report.failures if failure.path == str(paths[name])]
    assert failure.reason == CASES[name].verdict
    assert name in failure.message
    (row,) = [row for row in index.videos if str(paths[name]) in row.paths]
    assert (row.status, row.reason, row.n_clips) == ("failed", failure.reason, 0)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_has_its_clips_from_end_to_end(corpus, name):
    paths, _, index, _ = corpus
    (number,) = [i for i, row in enumerate(index.videos) if str(paths[name]) in row.paths]
    row, of_row = index.videos[number], np.flatnonzero(index.clips.video == number)
    order = of_row[np.argsort(index.clips.number[of_row])]
    assert row.status == "done" and len(order) == row.n_clips >= 1
    start_s, end_s = index.clips.start_s[order], index.clips.end_s[order]
    assert start_s[0] == 0 and (end_s > start_s).all()
    np.testing.assert_allclose(start_s[1:], end_s[:-1])
    if CASES[name].duration_s is not None:
        assert row.duration_s == pytest.approx(CASES[name].duration_s, abs=0.3)
    stored = index.tokens(order)
    times = stored.times[stored.frame_mask]
    assert (np.diff(times) > 0).all() and times[0] >= 0 and times[-1] < end_s[-1]
    shown = CASES[name].shown
    assert (row.width, row.height) == shown or CASES[name].coded is False


@pytest.mark.parametrize("name", DAMAGED)
def test_of_a_damaged_file_what_decodes_is_kept(corpus, name):
    paths, _, index, _ = corpus
    (row,) = [row for row in index.videos if str(paths[name]) in row.paths]
    assert row.status == "done" and row.n_clips >= 1 and row.n_frames >= 1
