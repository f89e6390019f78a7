"""Cutting: what is in the new file is what was asked for, told by the pictures themselves."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from finecut.errors import UsageError, VideoError
from finecut.video.cut import COPY_EARLY_S, cut
from finecut.video.probe import probe
from video_corpus import CASES, read_code


def told(path: Path, name: str) -> list[tuple[float, int]]:
    """(seconds from the first frame, milliseconds the picture tells) of every frame."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            found.append((float(frame.pts * stream.time_base), read_code(upright, CASES[name])))
    first = found[0][0]
    return [(round(time - first, 3), ms) for time, ms in found]


def sound_s(path: Path) -> float:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return 0.0
        frames = list(container.decode(container.streams.audio[0]))
        return sum(f.samples for f in frames) / frames[0].sample_rate


COPIED = [
    ("dense-keys.mp4", ".mp4"),
    ("dense-keys.mp4", ".mkv"),
    ("open-gop.mp4", ".mp4"),
    ("offset.ts", ".mp4"),
    ("mpeg2.ts", ".ts"),
    ("with-audio.mp4", ".mov"),
    ("rotated-90.mp4", ".mp4"),
    ("fragmented.mp4", ".mp4"),
]
ENCODED = [
    *COPIED,
    ("sparse-keys.mp4", ".mp4"),
    ("hevc.mp4", ".mkv"),
    ("vp9.webm", ".webm"),
    ("av1.mp4", ".mp4"),
    ("mpeg4.avi", ".mp4"),
    ("moving.gif", ".mp4"),
    ("raw.h264", ".mp4"),
    ("odd-width.mkv", ".mp4"),
    ("rotated-270.mp4", ".mp4"),
]


@pytest.mark.parametrize(("name", "suffix"), COPIED)
def test_a_copy_starts_at_a_key_frame_and_says_so(corpus, tmp_path, name, suffix):
    out = tmp_path / f"cut{suffix}"
    report = cut(corpus(name), 1.3, 2.5, out)
    assert report.copied
    assert 1.3 - COPY_EARLY_S <= report.start_s <= 1.3
    frames = told(out, name)
    assert frames[0] == (0.0, round(report.start_s * 1000))
    # Every picture of the stretch is there, each at its time.
    for time_s, ms in frames:
        assert (report.start_s + time_s) * 1000 == pytest.approx(ms, abs=2)
    wanted = set(range(frames[0][1], 2500, 40))
    assert wanted <= {ms for _, ms in frames}
    assert frames[-1][1] < 2500 + 200
    assert report.end_s == pytest.approx(frames[-1][1] / 1000 + 0.04, abs=0.05)


@pytest.mark.parametrize(("name", "suffix"), ENCODED)
def test_encoding_is_exact_to_the_frame(corpus, tmp_path, name, suffix):
    out = tmp_path / f"cut{suffix}"
    step = 100 if name == "moving.gif" else 40
    start_s, end_s = (0.72, 1.52) if step == 40 else (0.7, 1.5)
    report = cut(corpus(name), start_s, end_s, out, reencode="always")
    assert (report.start_s, report.copied) == (start_s, False)
    assert report.end_s == pytest.approx(end_s)
    frames = told(out, name)
    expected = list(range(round(start_s * 1000), round(end_s * 1000), step))
    assert [ms for _, ms in frames] == expected
    assert [t for t, _ in frames] == pytest.approx([(m - expected[0]) / 1000 for m in expected])


def test_the_picture_on_show_at_the_start_comes_first(corpus, tmp_path):
    cut(corpus("vfr.mp4"), 3.0, 6.0, tmp_path / "c.mp4", reencode="always")
    frames = told(tmp_path / "c.mp4", "vfr.mp4")
    assert frames == [(0.0, 2040), (2.2, 5200), (2.24, 5240), (2.28, 5280)]
    assert probe(tmp_path / "c.mp4").duration_s == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("how", ["always", "never"])
@pytest.mark.parametrize("name", ["with-audio.mp4", "offset.ts"])
def test_sound_is_kept(corpus, tmp_path, name, how):
    out = tmp_path / "c.mp4"
    report = cut(corpus(name), 2.0, 4.0, out, reencode=how)
    assert probe(out).has_audio
    assert sound_s(out) == pytest.approx(report.end_s - report.start_s, abs=0.06)


def test_sound_stays_in_time(corpus, tmp_path):
    """The tone runs throughout: no gap at the start, none at the end."""
    cut(corpus("with-audio.mp4"), 1.5, 3.5, tmp_path / "c.mkv", reencode="always")
    with av.open(str(tmp_path / "c.mkv")) as container:
        frames = list(container.decode(container.streams.audio[0]))
    wave = np.concatenate([f.to_ndarray()[0] for f in frames])
    loud = np.abs(wave[: len(wave) // 441 * 441]).reshape(-1, 441).max(1) > 0.1
    assert loud[5:-5].all()


def test_sparse_key_frames_are_encoded_unless_told_never(corpus, tmp_path):
    auto = cut(corpus("sparse-keys.mp4"), 5.0, 6.0, tmp_path / "a.mp4")
    never = cut(corpus("sparse-keys.mp4"), 5.0, 6.0, tmp_path / "n.mp4", reencode="never")
    assert (auto.copied, auto.start_s) == (False, 5.0)
    assert (never.copied, never.start_s) == (True, 0.0)


def test_packets_the_new_file_cannot_hold_are_encoded(corpus, tmp_path):
    report = cut(corpus("dense-keys.mp4"), 1.0, 2.0, tmp_path / "c.webm")
    assert not report.copied
    assert probe(tmp_path / "c.webm").codec == "vp9"
    with pytest.raises(VideoError, match="never"):
        cut(corpus("dense-keys.mp4"), 1.0, 2.0, tmp_path / "d.webm", reencode="never")
    assert not (tmp_path / "d.webm").exists()


def test_the_end_is_cut_to_the_video(corpus, tmp_path):
    report = cut(corpus("dense-keys.mp4"), 4.5, 100.0, tmp_path / "c.mp4", reencode="always")
    assert report.end_s == pytest.approx(6.0)


def test_nothing_is_overwritten(corpus, tmp_path):
    taken = tmp_path / "c.mp4"
    taken.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists"):
        cut(corpus("dense-keys.mp4"), 1.0, 2.0, taken)
    assert taken.read_bytes() == b"precious"
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="exists"):
        cut(corpus("dense-keys.mp4"), 1.0, 2.0, tmp_path / "link.mp4")


@pytest.mark.parametrize(
    ("start_s", "end_s", "name", "match"),
    [
        (2.0, 1.0, "c.mp4", "2.0 to 1.0"),
        (-1.0, 1.0, "c.mp4", "-1.0"),
        (float("nan"), 1.0, "c.mp4", "nan"),
        (0.0, float("inf"), "c.mp4", "inf"),
        (0.0, 1.0, "c.exe", "must end in"),
        (0.0, 1.0, "c", "must end in"),
        (0.0, 1.0, "no-such-folder/c.mp4", "not a folder"),
    ],
)
def test_wrong_requests(corpus, tmp_path, start_s, end_s, name, match):
    with pytest.raises(UsageError, match=match):
        cut(corpus("dense-keys.mp4"), start_s, end_s, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["text.mp4", "empty.mp4", "audio-only.m4a", "no-index.mp4"])
def test_a_failure_leaves_nothing_behind(corpus, tmp_path, name):
    with pytest.raises(VideoError):
        cut(corpus(name), 0.0, 1.0, tmp_path / "c.mp4")
    assert os.listdir(tmp_path) == []


def test_a_time_behind_the_end_is_an_error(corpus, tmp_path):
    with pytest.raises(VideoError, match="nothing is shown"):
        cut(corpus("dense-keys.mp4"), 50.0, 60.0, tmp_path / "c.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["hole.mp4", "flipped-bytes.mp4", "truncated.mkv"])
def test_damaged_files_are_cut_where_they_decode(corpus, tmp_path, name):
    cut(corpus(name), 0.5, 2.0, tmp_path / "c.mp4", reencode="always")
    assert probe(tmp_path / "c.mp4").duration_s > 1
