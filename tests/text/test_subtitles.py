"""Subtitle files in the state they are found in: styled, broken, hostile, or none at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finecut.text import subtitles
from finecut.text.subtitles import Cue, parse_subtitles, plain_words, read_subtitles
from finecut.text.transcripts import parse_transcript
from text.lines import LINES, OLD, srt

SRT = """1
00:00:01,000 --> 00:00:02,500
First line
second line

2
00:00:03,000 --> 00:00:04,000
<i>Styled</i> &amp; {\\an8}<font color="#fff">coloured</font>
"""

VTT = """WEBVTT

NOTE about nothing --> at all

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Fred>First <00:00:01.500><c>line</c>
second line

01:00:03.000 --> 01:00:04.000
Late
"""

ASS = """[Script Info]
Title: x

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}First line{\\i0},\\Nsecond line
Comment: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,not said
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\\p1}m 0 0 l 10 10{\\p0}
Dialogue: 0,bad,0:00:04.00,Default,,0,0,0,,broken
"""


def words(data: bytes | str) -> list[tuple[float, float, str]]:
    raw = data if isinstance(data, bytes) else data.encode()
    return [(cue.start_s, cue.end_s, cue.text) for cue in parse_subtitles(raw).cues]


def test_subrip():
    assert words(SRT) == [
        (1.0, 2.5, "First line second line"),
        (3.0, 4.0, "Styled & coloured"),
    ]


def test_webvtt():
    assert words(VTT) == [(1.0, 2.5, "First line second line"), (3603.0, 3604.0, "Late")]


def test_substation_alpha():
    found = parse_subtitles(ASS.encode())
    assert [(cue.start_s, cue.text) for cue in found.cues] == [(1.0, "First line, second line")]
    assert found.n_broken == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_line_ends_and_unicode_encodings(end, encoding):
    data = SRT.replace("First", "Élan 猫").replace("\n", end).encode(encoding)
    assert words(data)[0] == (1.0, 2.5, "Élan 猫 line second line")


@pytest.mark.parametrize(("language", "encoding"), OLD)
def test_old_encodings_with_the_language_in_the_name(language, encoding):
    lines = LINES[language]
    found = parse_subtitles(srt(lines).encode(encoding), language.split("-")[0])
    assert [cue.text for cue in found.cues] == list(lines)


def test_old_encodings_without_a_hint():
    right = [
        [cue.text for cue in parse_subtitles(srt(LINES[name]).encode(encoding)).cues]
        == list(LINES[name])
        for name, encoding in OLD
    ]
    assert sum(right) >= 24 and len(right) == 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # No blank line between cues: the number belongs to the times below it.
        (
            "1\n00:00:01,0 --> 00:00:02,0\na\n2\n00:00:02,0 --> 00:00:03,0\nb\n",
            [(1.0, 2.0, "a"), (2.0, 3.0, "b")],
        ),
        # A blank line inside a cue, and no numbers.
        ("00:00:01,000 --> 00:00:02,000\na\n\nb\n", [(1.0, 2.0, "a b")]),
        # Words that are a number.
        (
            "00:00:01,0 --> 00:00:02,0\n42\n\n3\n00:00:02,0 --> 00:00:03,0\n43\n",
            [(1.0, 2.0, "42"), (2.0, 3.0, "43")],
        ),
        # Overlapping, out of order.
        (
            "00:00:05,0 --> 00:00:09,0\nb\n\n00:00:01,0 --> 00:00:06,0\na\n",
            [(1.0, 6.0, "a"), (5.0, 9.0, "b")],
        ),
        # Points for commas, no hours, no fraction, other arrows.
        (
            "01:02.5 -> 1:03\na\n\n0:1:04 --> 0:1:05\nb\n",
            [(62.5, 63.0, "a"), (64.0, 65.0, "b")],
        ),
        # Before the beginning; ends before it starts.
        (
            "-00:00:01,000 --> 00:00:02,000\na\n\n00:00:05,0 --> 00:00:03,0\nb\n",
            [(0.0, 2.0, "a"), (5.0, 7.0, "b")],
        ),
        # The same words shown on: one cue.
        (
            "00:00:01,0 --> 00:00:02,0\na\n\n00:00:02,0 --> 00:00:03,0\na\n",
            [(1.0, 3.0, "a")],
        ),
        ("00:00:01,0 --> 00:00:02,0\n1 < 2 and <3 > 2\n", [(1.0, 2.0, "1 < 2 and <3 > 2")]),
        ("00:00:01,0 --> 00:00:02,0\n<b></b>\n", []),
        ("", []),
        ("only words", []),
    ],
)
def test_what_is_not_quite_right_is_read(text, expected):
    assert words(text) == expected


def test_broken_times_are_counted_and_their_words_left_out():
    bad = [
        "nan:00 --> 00:00:02,000",
        "00:00:99999999 --> 1:2",
        "00:00:01,0 --> ",
        "-1:00 --> -0:30",
    ]
    text = "\n\n".join(f"{times}\nlost" for times in bad)
    found = parse_subtitles(f"{text}\n\n00:00:01,0 --> 00:00:02,0\nkept\n".encode())
    assert [cue.text for cue in found.cues] == ["kept"]
    assert found.n_broken == 4


def test_control_and_direction_characters_go():
    assert plain_words("a\x00b\x1b[31m\u202eevil\u2066x\u200f\ufeff") == "ab[31mevilx"
    assert plain_words("a\u00a0b\tc\u3000d") == "a b c d"
    assert plain_words("بي\u200cخانه") == "بي\u200cخانه"  # joins letters in Persian


def test_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(subtitles, "MOST_BYTES", 10_000)
    monkeypatch.setattr(subtitles, "MOST_CUES", 50)
    cue = b"00:00:01,000 --> 00:00:02,000\n%d\n\n"
    (tmp_path / "many.srt").write_bytes(b"".join(cue % number for number in range(100)))
    found = read_subtitles(tmp_path / "many.srt")
    assert len(found.cues) == 50 and found.cut
    with open(tmp_path / "large.srt", "wb") as file:  # a gigabyte of nothing, most of it a hole
        file.write(b"00:00:01,000 --> 00:00:02,000\nkept\n\n")
        file.truncate(1 << 30)
    found = read_subtitles(tmp_path / "large.srt")
    assert [cue.text for cue in found.cues] == ["kept"] and found.cut
    assert len(words(b"00:00:01,0 --> 00:00:02,0\n" + b"x" * 9_000)[0][2]) == subtitles.LONGEST_CUE


@pytest.mark.parametrize("seed", range(4))
def test_garbage_is_no_subtitles(seed):
    rng = random.Random(seed)
    assert parse_subtitles(rng.randbytes(50_000)).cues == []
    assert parse_subtitles(b"PK\x03\x04" + rng.randbytes(500)).cues == []


@given(st.binary(max_size=400), st.sampled_from(["", "WEBVTT\n\n", "[Events]\n"]))
def test_nothing_raises_and_cues_make_sense(data, head):
    body = b"\n00:00:01,0 --> 00:00:02,0\n" + data + b"\nDialogue: 0,0:00:01.00,0:0:2,,,,,,," + data
    for cue in parse_subtitles(head.encode() + data + body).cues:
        assert 0 <= cue.start_s < cue.end_s and cue.text.strip() == cue.text != ""


def test_lines_that_invite_backtracking_take_no_time():
    for unit in ("<" * 30, "{\\" * 15, "<a " * 10, "00:00:00,0 -" * 3, "&amp" * 9, "1 : " * 9):
        text = "00:00:01,0 --> 00:00:02,0\n" + unit * 20_000 + "\n" + (unit * 9 + "\n") * 2_000
        parse_subtitles(text.encode())
    for line in (" " * 3_900 + "->", "0:01 -->" + " " * 3_900 + "x"):
        parse_subtitles(f"{line}\n".encode() * 2_000)
    parse_subtitles(b"00:00:01,0 --> 00:00:02,0\n" + b"a\n" * 500_000)


# -- transcripts -----------------------------------------------------------------------------------


def test_transcripts_of_whisper_and_whisper_cpp():
    whisper = b'{"language": "en", "segments": [{"start": 0, "end": 1.5, "text": " Hello <b>you"}]}'
    assert parse_transcript(whisper) is not None
    found, language = parse_transcript(whisper) or (None, "")
    assert found and found.cues == [Cue(0.0, 1.5, "Hello you")] and language == "en"
    cpp = (
        b'{"result": {"language": "de"}, "transcription": '
        b'[{"offsets": {"from": 500, "to": 1500}, "text": "Hallo"}]}'
    )
    found, language = parse_transcript(cpp) or (None, "")
    assert found and found.cues == [Cue(0.5, 1.5, "Hallo")] and language == "de"


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"nonsense", b"[" * 100_000, b'{"segments": 3}', b"\xff\xfe", b'{"a": 1}'],
)
def test_other_json_is_no_transcript(data):
    assert parse_transcript(data) is None


@pytest.mark.parametrize(
    "segment",
    [
        "3",
        "{}",
        '{"start": NaN, "end": 1, "text": "x"}',
        '{"start": -1, "end": 1, "text": "x"}',
        '{"start": 2, "end": 1, "text": "x"}',
        '{"start": 0, "end": Infinity, "text": "x"}',
        '{"start": 0, "end": 1e300, "text": "x"}',
        '{"start": 0, "end": %s, "text": "x"}' % ("9" * 400),
        '{"start": true, "end": 2, "text": "x"}',
        '{"start": 0, "end": 1, "text": 7}',
    ],
)
def test_broken_segments_are_counted(segment):
    found, _ = parse_transcript(f'{{"segments": [{segment}]}}'.encode()) or (None, "")
    assert found is not None and found.cues == [] and found.n_broken == 1
