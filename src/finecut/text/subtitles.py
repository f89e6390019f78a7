"""Subtitle files (SubRip, WebVTT, SubStation Alpha) as plain cues, whatever state they are in.

Files come from anywhere: of any encoding, with styling, broken times, missing blank lines, or no
subtitles at all. What can be read is read, the rest is counted; sizes are bounded.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from finecut.text.encoding import decode_text

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
MOST_BYTES = 16 << 20  # of a file that are read; a film's subtitles have about 0.1 MiB
MOST_CUES = 100_000  # of a file that are kept; a film has about 2,000
LONGEST_LINE = 4_000  # characters
LONGEST_CUE = 2_000  # characters
MOST_HOURS = 1_000
UNTIMED_S = 2.0  # how long a cue is shown whose end is not after its start


@dataclass(frozen=True, slots=True)
class Cue:
    """Some words and when they are said, [start_s, end_s)."""

    start_s: float
    end_s: float
    text: str


@dataclass(slots=True)
class Subtitles:
    """What could be read of a subtitle file."""

    cues: list[Cue] = field(default_factory=list)  # by start
    encoding: str = ""
    n_broken: int = 0  # cues whose times cannot be read, or that are beyond the bounds
    cut: bool = False  # the file is larger than what is read of it


_CLOCK = r"(-?)\s*(?:(\d{1,4})\s*:\s*)?(\d{1,3})\s*:\s*(\d{1,2})(?:\s*[.,]\s*(\d{1,9}))?"
# For lines whose runs of white space are one space: many of them would be tried in every way.
_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-{{1,3}}\s*>\s*{_CLOCK}(?!\d)")
_CLOCKISH = re.compile(r"\d\s*:\s*\d|nan", re.IGNORECASE)
_ASS_CLOCK = re.compile(rf"^\s*{_CLOCK}\s*$")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<\d[\d:.]{3,15}>")
_OVERRIDE = re.compile(r"\{\s*\\[^{}]{0,1000}\}")
_DRAWING = re.compile(r"\{[^{}]{0,1000}\\p[1-9]")
# Control characters and those that change the direction of what follows.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_SPACE = re.compile(r"\s+")


def read_subtitles(source: str | Path | bytes, language: str = "") -> Subtitles:
    """The cues of a file; of a long one, of its first 16 MiB.

    Args:
        source: the file, or its bytes.
        language: as its name has it; helps where its encoding has to be guessed.

    Raises:
        OSError: it cannot be opened or read.
    """
    data = read_start(source)
    found = parse_subtitles(data[:MOST_BYTES], language)
    found.cut |= len(data) > MOST_BYTES
    return found


def read_start(source: str | Path | bytes) -> bytes:
    """The first 16 MiB of a file, and one byte more of a longer one."""
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as file:
        return file.read(MOST_BYTES + 1)


def parse_subtitles(data: bytes, language: str = "") -> Subtitles:
    """The cues in the bytes of a subtitle file; none where it is none.

    >>> parse_subtitles(b"1\\n00:00:01,500 --> 00:00:02,000\\n<i>Hi</i>\\nthere\\n").cues
    [Cue(start_s=1.5, end_s=2.0, text='Hi there')]
    """
    text, encoding = decode_text(data, language)
    found = Subtitles(encoding=encoding)
    lines = (line[:LONGEST_LINE] for line in re.split(r"\r\n|\n|\r|\x85|\u2028", text))
    head = text[:4096].lstrip("\ufeff \t\r\n")
    ass = "[script info]" in head.lower() or re.search(r"(?m)^(Dialogue|\[Events\])", text)
    cues = _ass_cues(lines, found) if ass else _cues(lines, found, vtt=head.startswith("WEBVTT"))
    last = ""
    for start_s, end_s, words in cues:
        if len(found.cues) >= MOST_CUES:
            found.cut = True
            break
        if end_s <= start_s:
            end_s = start_s + UNTIMED_S
        cue = Cue(start_s, end_s, words[:LONGEST_CUE])
        if words == last and found.cues and start_s <= found.cues[-1].end_s + 0.05:
            # The same line in two layers, or shown on: one cue.
            before = found.cues[-1]
            found.cues[-1] = Cue(before.start_s, max(before.end_s, end_s), before.text)
            continue
        found.cues.append(cue)
        last = words
    found.cues.sort(key=lambda cue: cue.start_s)
    return found


def plain_words(text: str) -> str:
    """A cue's text without tags, overrides, entities, control and direction characters.

    >>> plain_words("{\\\\an8}<font color='red'>1 &lt; 2</font>\\\\Nyes <3")
    '1 < 2 yes <3'
    """
    text = _OVERRIDE.sub("", text).replace("\\N", " ").replace("\\n", " ").replace("\\h", " ")
    text = html.unescape(_TAG.sub("", text))
    return _SPACE.sub(" ", _CONTROL.sub("", text.replace("\t", " "))).strip()


def _cues(
    lines: Iterator[str], found: Subtitles, *, vtt: bool
) -> Iterator[tuple[float, float, str]]:
    """SubRip and WebVTT: a line of times, then words up to a blank line or the next times."""
    times: tuple[float, float] | None = None
    words: list[str] = []
    size = 0  # characters of them
    closed = True  # after a blank line
    apart = False  # the last of the words came after one
    for line in lines:
        if "->" in line or "- >" in line:
            match = _TIMES.match(_SPACE.sub(" ", line))
            if match or (line.count("-->") == 1 and _CLOCKISH.search(line)):
                # A number above the times is theirs, not the cue's before: after a blank line, or
                # below other words where the blank line is missing.
                if (
                    words
                    and words[-1].strip().isdigit()
                    and (apart or (not closed and len(words) > 1))
                ):
                    words.pop()
                if times and (text := plain_words(" ".join(words))):
                    yield *times, text
                start_s, end_s = (_seconds(match, 1), _seconds(match, 6)) if match else (-1.0, -1.0)
                words, size, closed = [], 0, False
                times = (max(0.0, start_s), end_s)
                if end_s <= 0 or start_s > MOST_HOURS * 3600:
                    times = None
                    found.n_broken += 1
                continue
        if not line.strip():
            closed = True
        elif times is not None and not (closed and vtt) and size < LONGEST_CUE * 4:
            words.append(line)  # SubRip writers leave blank lines inside cues
            size += len(line)
            apart = closed
    if times and (text := plain_words(" ".join(words))):
        yield *times, text


def _ass_cues(lines: Iterator[str], found: Subtitles) -> Iterator[tuple[float, float, str]]:
    """SubStation Alpha: events of as many fields as their ``Format`` line says, words last."""
    fields = ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect"]
    fields.append("text")
    events = True
    for line in lines:
        kind, _, rest = line.partition(":")
        kind = kind.strip().lower()
        if kind.startswith("["):
            events = kind.startswith("[events]")
        elif kind == "format" and events:
            named = [name.strip().lower() for name in rest.split(",")][:64]
            if {"start", "end", "text"} <= set(named):
                fields = named
        elif kind == "dialogue":
            values = rest.split(",", len(fields) - 1)
            event = dict(zip(fields, values, strict=False))
            start = _ASS_CLOCK.match(event.get("start", ""))
            end = _ASS_CLOCK.match(event.get("end", ""))
            if not (start and end) or _seconds(end, 1) <= 0 or "text" not in event:
                found.n_broken += 1
                continue
            text = event["text"]
            if not _DRAWING.search(text) and (text := plain_words(text)):
                yield max(0.0, _seconds(start, 1)), _seconds(end, 1), text


def _seconds(match: re.Match[str], first: int) -> float:
    sign, hours, minutes, seconds, part = match.group(*range(first, first + 5))
    value = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    value += float(f"0.{part}") if part else 0.0
    return -value if sign else float(value)
