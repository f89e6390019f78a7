"""Each format is read back by a reader that is not ours, and says what the search said."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit
from xml.etree import ElementTree

import opentimelineio as otio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.errors import UsageError
from finecut.index.content import path_id
from finecut.index.rows import PathStamp, failed_row
from finecut.search.formats import FORMATS, Entry, file_url, one_line, timeline_rate, write
from finecut.types import Moment, Results
from finecut.video.timecode import EDIT_RATES

NTSC = 30000 / 1001
ODD = '/v/50% #1; <b>&"quotes"\'…\n  2\x1b[31m 大平原.mp4'
BYTES = os.fsdecode(b"/v/caf\xe9, de.mp4")  # Latin-1: no UTF-8


def moment(path: str, start_s: float, end_s: float, *, best_s: float | None = None, score=0.5):
    best = (start_s + end_s) / 2 if best_s is None else best_s
    return Moment(path, path_id(path), start_s, end_s, best, score, score, None, 0.87)


def video(path: str, fps: float, duration_s: float, *, audio: bool = True):
    row = failed_row(path_id(path), [PathStamp(path, 1, 1)], build=1, at=0, reason="", error="")
    return replace(
        row, fps=fps, duration_s=duration_s, width=640, height=360, has_audio=audio, status="done"
    )


def answer(*moments: Moment, query: str = "a dog") -> Results:
    return Results(moments, query=query)


PAL = (
    answer(
        moment("/v/a.mp4", 1.0, 3.0), moment("/v/b.mp4", 10.0, 12.2), moment("/v/a.mp4", 7.0, 9.0)
    ),
    [video("/v/a.mp4", 25, 8.0), video("/v/b.mp4", 25.0001, 60, audio=False)],
)


def path_of(url: str) -> bytes:
    parts = urlsplit(url)
    assert parts.scheme == "file" and not parts.query and not parts.fragment
    return unquote_to_bytes(parts.path)


def test_every_format_takes_any_name_and_nothing():
    results = answer(moment(ODD, 0, 1), moment(BYTES, 1, 2), query="two\nlines \x00<&")
    for name in FORMATS:
        data = write(results, name, [video(ODD, NTSC, 5)])
        # A table keeps paths as they are, for programs; the others are for people too.
        assert name == "csv" or (b"\x1b" not in data and b"\x00" not in data)
        assert isinstance(write(answer(), name), bytes)  # no result is no error
    with pytest.raises(UsageError, match=r"json, csv.*got 'avi'"):
        write(results, "avi")


# -- lists ---------------------------------------------------------------------------------------


def test_csv_is_read_back_by_the_csv_module():
    data = write(answer(moment(ODD, 1.23456, 3), moment(BYTES, 0, 1)), "csv")
    text = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    first, second = csv.DictReader(text)
    assert first["video"] == ODD and second["video"] == BYTES
    assert (first["rank"], first["start_s"], first["end_s"]) == ("1", "1.235", "3.0")
    assert data.splitlines()[0] == b"rank,video,start_s,end_s,best_s,confidence,score,video_id"


def test_json_is_what_json_prints():
    results = answer(moment(BYTES, 0, 1))
    assert json.loads(write(results, "json")) == results.to_json()


def test_m3u_names_files_by_address_and_one_line_each():
    lines = write(answer(moment(ODD, 61.5, 70.25), moment(BYTES, 0, 1)), "m3u").decode().split("\n")
    assert lines[0] == "#EXTM3U"
    files = [line for line in lines if line and not line.startswith("#")]
    assert [path_of(line) for line in files] == [os.fsencode(ODD), os.fsencode(BYTES)]
    assert all(line.isascii() for line in files)
    assert "#EXTVLCOPT:start-time=61.500" in lines and "#EXTVLCOPT:stop-time=70.250" in lines
    assert lines[2].startswith("#EXTINF:9,1. 50% #1")


def test_a_trec_run_lists_a_video_once_with_falling_scores():
    results = answer(
        moment("/v/my dog.mp4", 0, 1, score=0.5),
        moment("/v/b.mp4", 0, 1, score=0.5),
        moment("/v/my dog.mp4", 4, 5, score=0.4),
        moment("/v/c.mp4", 4, 5, score=0.7),  # fused results may be out of order by score
    )
    rows = [line.split() for line in write(results, "trec", topic="1601").decode().splitlines()]
    assert [row[:4] for row in rows] == [
        ["1601", "Q0", "my%20dog", "1"],
        ["1601", "Q0", "b", "2"],
        ["1601", "Q0", "c", "3"],
    ]
    scores = [float(row[4]) for row in rows]
    assert scores[0] > scores[1] > scores[2] and rows[0][5] == "finecut"
    with pytest.raises(UsageError, match="one word"):
        write(results, "trec", topic="two words")


def test_vbs_is_a_submission_of_one_answer_set_a_moment():
    body = json.loads(write(answer(moment("/v/00184.mp4", 159.1604, 162.5)), "vbs"))
    answers = [{"mediaItemName": "00184", "start": 159160, "end": 162500}]
    assert body == {"answerSets": [{"answers": answers}]}
    named = json.loads(write(answer(moment("/v/00184.mp4", 1, 2)), "vbs", topic="KIS-1"))
    assert named["answerSets"][0]["taskName"] == "KIS-1"


# -- edits ---------------------------------------------------------------------------------------


def seconds(time: otio.opentime.RationalTime) -> float:
    return time.value / time.rate


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 30, 50, 59.94, 60])
def test_an_edl_is_read_back_by_opentimelineio(fps: float):
    results = answer(moment("/v/a.mp4", 100, 103.5), moment("/v/b.mp4", 3599.9, 3700))
    videos = [video("/v/a.mp4", fps, 5000), video("/v/b.mp4", fps, 5000)]
    data = write(results, "edl", videos)
    rate = timeline_rate([Entry(results[0], 1, Fraction(fps).limit_denominator(1001))])
    assert rate in EDIT_RATES and abs(float(rate) - fps) < 0.001
    drop = rate in (Fraction(30000, 1001), Fraction(60000, 1001))
    assert data.decode().splitlines()[1] == f"FCM: {'' if drop else 'NON-'}DROP FRAME"
    assert (b";" in data) == drop
    if round(rate) == 48:
        return
    timeline = otio.adapters.read_from_string(data.decode(), "cmx_3600", rate=float(rate))
    assert timeline.name == "a dog"
    clips = [clip for clip in timeline.find_clips() if clip.parent().kind == "Video"]
    assert [clip.name for clip in clips] == ["a.mp4", "b.mp4"]
    for clip, asked in zip(clips, results, strict=True):
        begin, length = clip.source_range.start_time, clip.source_range.duration
        assert abs(seconds(begin) - asked.start_s) <= 0.5 / fps + 1e-6
        assert abs(seconds(begin + length) - asked.end_s) <= 0.5 / fps + 1e-6
        assert f"SOURCE FILE: {asked.video}" in clip.metadata["cmx_3600"]["comments"]


def test_an_edl_by_hand():
    results, videos = PAL
    assert write(results, "edl", videos).decode() == (
        "TITLE: a dog\n"
        "FCM: NON-DROP FRAME\n"
        "\n"
        "001  AX       B     C        00:00:01:00 00:00:03:00 01:00:00:00 01:00:02:00\n"
        "* FROM CLIP NAME: a.mp4\n"
        "* SOURCE FILE: /v/a.mp4\n"
        "* LOC: 01:00:01:00 GREEN   1. a.mp4, 87%\n"
        "\n"
        "002  AX       V     C        00:00:10:00 00:00:12:05 01:00:02:00 01:00:04:05\n"
        "* FROM CLIP NAME: b.mp4\n"
        "* SOURCE FILE: /v/b.mp4\n"
        "* LOC: 01:00:03:03 GREEN   2. b.mp4, 87%\n"
        "\n"
        "003  AX       B     C        00:00:07:00 00:00:08:00 01:00:04:05 01:00:05:05\n"
        "* FROM CLIP NAME: a.mp4\n"
        "* SOURCE FILE: /v/a.mp4\n"
        "* LOC: 01:00:05:04 GREEN   3. a.mp4, 87%\n"
    )


def test_an_edl_counts_in_the_rate_of_most_and_says_where_a_file_differs():
    results = answer(*(moment(f"/v/{name}.mp4", 1, 2) for name in "abc"))
    videos = [video("/v/a.mp4", 12.5, 9), video("/v/b.mp4", 25, 9), video("/v/c.mp4", 30, 9)]
    text = write(results, "edl", videos).decode()
    assert text.count("00:00:01:00 00:00:02:00") == 3
    assert "THE FILE HAS 12.5 FRAMES A SECOND" in text
    assert "THE FILE HAS 30 FRAMES A SECOND" in text


def test_an_edl_line_holds_no_name_that_breaks_it():
    text = write(answer(moment(ODD, 0, 1), moment(BYTES, 0, 1)), "edl").decode()
    sources = [line[15:] for line in text.splitlines() if line.startswith("* SOURCE FILE: ")]
    assert [path_of(url) for url in sources] == [os.fsencode(ODD), os.fsencode(BYTES)]


def test_otio_is_read_by_its_library():
    results, videos = PAL
    timeline = otio.adapters.read_from_string(write(results, "otio", videos).decode(), "otio_json")
    (track,) = timeline.tracks
    assert timeline.name == "a dog" and track.kind == "Video" and len(track) == 3
    for clip, asked in zip(track, results, strict=True):
        media = clip.media_reference
        assert path_of(media.target_url) == os.fsencode(asked.video)
        assert clip.source_range.start_time == otio.opentime.RationalTime(asked.start_s * 25, 25)
        assert media.available_range.contains(clip.source_range.start_time)
        assert clip.source_range.end_time_exclusive() <= media.available_range.end_time_exclusive()
        (mark,) = clip.markers
        assert clip.source_range.contains(mark.marked_range.start_time)
        assert clip.metadata["finecut"]["confidence"] == 0.87
    assert seconds(track[2].source_range.duration) == 1.0  # the file ends at 8 s, not at 9
    assert seconds(track.duration()) == pytest.approx(2 + 2.2 + 1)
    again = otio.adapters.write_to_string(timeline, "otio_json")
    assert otio.adapters.read_from_string(again, "otio_json").is_equivalent_to(timeline)


def test_otio_takes_odd_names():
    results = answer(moment(ODD, 0, 1), moment(BYTES, 0, 1), query="…")
    timeline = otio.adapters.read_from_string(write(results, "otio").decode(), "otio_json")
    urls = [clip.media_reference.target_url for clip in timeline.find_clips()]
    assert [path_of(url) for url in urls] == [os.fsencode(ODD), os.fsencode(BYTES)]


def time_of(text: str) -> Fraction:
    assert text.endswith("s")
    return Fraction(text[:-1])


def test_fcpxml_is_read_back_by_opentimelineio():
    results, videos = PAL
    data = write(results, "fcpxml", videos).decode()
    (timeline,) = otio.adapters.read_from_string(data, "fcpx_xml")
    clips = list(timeline.find_clips())
    assert timeline.name == "a dog" and [clip.name for clip in clips] == ["a.mp4", "b.mp4", "a.mp4"]
    for clip, asked in zip(clips, results, strict=True):
        assert seconds(clip.source_range.start_time) == asked.start_s
        assert path_of(clip.media_reference.target_url) == os.fsencode(asked.video)
    assert [seconds(clip.source_range.duration) for clip in clips] == pytest.approx([2, 2.2, 1])


@pytest.mark.parametrize("fps", [[NTSC], [25], [60000 / 1001], [24, NTSC], [25, 12.5, 25], [7.3]])
def test_fcpxml_counts_in_whole_frames(fps: list[float]):
    moments = [moment(f"/v/{i}.mp4", 1.01 + i, 4.777 + i) for i in range(len(fps))]
    videos = [video(f"/v/{i}.mp4", rate, 6.0 + i) for i, rate in enumerate(fps)]
    root = ElementTree.fromstring(write(answer(*moments), "fcpxml", videos))
    formats = {one.get("id"): time_of(one.get("frameDuration")) for one in root.iter("format")}
    assets = {one.get("id"): one for one in root.iter("asset")}
    sequence = root.find("library/event/project/sequence")
    frame = formats[sequence.get("format")]
    assert 1 / frame in EDIT_RATES
    place = Fraction(0)
    clips = list(root.iter("asset-clip"))
    assert len(clips) == len(fps)
    for clip, asked in zip(clips, moments, strict=True):
        assert time_of(clip.get("offset")) == place
        length, start = time_of(clip.get("duration")), time_of(clip.get("start"))
        assert (length / frame).denominator == 1 and length > 0
        own = formats[assets[clip.get("ref")].get("format")]
        assert (start / own).denominator == 1
        assert abs(start - Fraction(asked.start_s)) <= own / 2
        assert start + length <= time_of(assets[clip.get("ref")].get("duration"))
        mark = clip.find("marker")
        assert start <= time_of(mark.get("start")) < start + length
        place += length
    assert time_of(sequence.get("duration")) == place
    drop = 1 / frame in (Fraction(30000, 1001), Fraction(60000, 1001))
    assert sequence.get("tcFormat") == ("DF" if drop else "NDF")


def test_fcpxml_takes_odd_names():
    root = ElementTree.fromstring(write(answer(moment(ODD, 0, 1), moment(BYTES, 0, 1)), "fcpxml"))
    assert [path_of(one.get("src")) for one in root.iter("asset")] == [
        os.fsencode(ODD),
        os.fsencode(BYTES),
    ]


# -- what they share -----------------------------------------------------------------------------


@given(
    st.text(st.characters(exclude_characters="\x00/")).filter(
        lambda name: name not in ("", ".", "..")
    )
)
def test_any_name_survives_as_an_address(name: str):
    try:
        raw = os.fsencode("/v/" + name)
    except UnicodeEncodeError:
        return  # no file can be called so
    assert path_of(file_url("/v/" + name)) == raw


@given(st.text())
def test_one_line_is_one_line_of_text_that_xml_takes(text: str):
    line = one_line(text)
    assert len(line.splitlines()) <= 1 and line == line.strip()
    assert ElementTree.fromstring(ElementTree.tostring(element(line))).get("a") == line


def element(value: str) -> ElementTree.Element:
    return ElementTree.Element("x", a=value)


@given(st.floats(0, 100), st.floats(0.001, 100), st.floats(0.1, 200), st.sampled_from(EDIT_RATES))
def test_a_span_is_never_empty_nor_past_the_end(start, length, duration, rate):
    entry = Entry(moment("/a", start, start + length), 1, duration_s=duration)
    first, last = entry.span(rate)
    assert 0 <= first < last <= max(1, duration * rate + 0.01)


def test_a_file_url_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert path_of(file_url("a b.mp4")) == os.fsencode(tmp_path / "a b.mp4")
