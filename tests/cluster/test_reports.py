"""What the driver makes of workers' reports: whole videos once, and nothing of a broken attempt."""

from __future__ import annotations

import pytest

from color_bundle import make_color_bundle
from finecut.bundle.load import Bundle
from finecut.cluster.travel import Verdict
from finecut.cluster.work import Underway, _give_up, _take_back, _take_in
from finecut.errors import BundleError
from finecut.index.decode_pool import Ended, Failed
from finecut.index.plan import NOT_THERE, WORKER_LOST, Job
from finecut.index.rows import PathStamp
from finecut.index.run import Run
from finecut.index.scan import stamp_of
from finecut.index.text_plan import TextJob
from finecut.index.underway import VideoUnderway
from finecut.video.spec import DEFAULT_LIMITS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle.load(make_color_bundle(tmp_path_factory.mktemp("bundles") / "colors"))


@pytest.fixture
def run(bundle):
    run = Run(bundle, DEFAULT_LIMITS, None, None)
    run.build = 1
    return run


@pytest.fixture
def one(tmp_path) -> Underway:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a")
    stamp: PathStamp = stamp_of(str(path))
    texts = TextJob("v", (str(path),), frozenset(), {}, {}, None)
    return Underway(VideoUnderway(Job("v", [stamp], False), texts))


def verdict(n_clips, **more) -> dict:
    ended = None if "failed" in more else Ended(0, 4.0, (0.0, 0.0, 0.0, 0.0))
    return {"job": 0, **Verdict(n_clips=n_clips, ended=ended, **more).to_words()}


def clips(*numbers) -> dict:
    rows = [
        {
            "job": 0,
            "number": number,
            "n_frames": 3,
            "start_s": 2.0 * number,
            "end_s": 2.0 * number + 2,
        }
        for number in numbers
    ]
    return {"tokens": ["{}"], "clips": ["{}"], "rows": rows}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_video_is_done_when_all_of_it_is_there_in_any_order(run, one, order):
    reports = [clips(0), clips(2, 1), verdict(3)]
    for number, place in enumerate(order):
        assert not run.finished and not one.settled, number
        _take_in(run, [one], reports[place])
    assert run.finished == [one.video] and one.settled
    assert (one.video.n_clips, one.video.n_frames) == (3, 9)
    assert (run.report.n_frames, run.report.video_s) == (9, 6.0)
    assert len(run.written) == 2
    _take_in(run, [one], verdict(3))  # said again: no second time
    assert run.finished == [one.video]


def test_a_clip_that_comes_twice_voids_the_attempt(run, one):
    for report in (clips(0, 1), clips(1), verdict(2)):
        _take_in(run, [one], report)
    assert not one.settled and not run.finished
    _take_back(run, one)
    assert (run.report.n_frames, run.report.video_s, one.lost) == (0, 0.0, 1)
    for report in (clips(0), verdict(2), clips(1)):
        _take_in(run, [one], report)
    assert run.finished == [one.video] and run.report.n_frames == 6


def test_a_file_that_cannot_be_read_fails_with_its_reason(run, one):
    failed = Failed("unreadable", "a.mp4: not a video.")
    _take_in(run, [one], clips(0))
    _take_in(run, [one], verdict(1, failed=failed))
    ((video, row),) = run.failed
    assert video is one.video and one.settled
    assert (row.reason, row.error) == ("unreadable", "a.mp4: not a video.")


def test_a_file_that_is_not_on_the_worker_says_so(run, one):
    failed = Failed("unreadable", "a.mp4: there is none.")
    _take_in(run, [one], verdict(0, failed=failed, missing_on="worker7"))
    ((_, row),) = run.failed
    assert row.reason == NOT_THERE
    assert "cannot be read on worker7" in row.error and "object store" in row.error


def test_a_clip_that_does_not_encode_fails_its_video_once(run, one):
    for _ in range(2):
        _take_in(run, [one], {"job": 0, "not_encoded": "clip 1 does not encode: NaN"})
    _take_in(run, [one], verdict(2))
    ((_, row),) = run.failed
    assert row.reason == "not encoded" and not run.finished


def test_a_video_that_loses_its_workers_again_and_again_is_told(run, one):
    _take_in(run, [one], {"job": 0, "gave_up": "worker7: no memory"})
    assert not one.settled
    _take_back(run, one)
    _give_up(run, one)
    ((_, row),) = run.failed
    assert row.reason == WORKER_LOST and "lost 1 times (worker7: no memory)" in row.error


def test_a_bundle_that_does_not_run_ends_the_run(run, one):
    with pytest.raises(BundleError, match="no such op"):
        _take_in(run, [one], {"job": 0, "broken": "no such op"})
