"""Results as other tools read them: one door, one file for each family of formats."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import quote

from finecut.errors import UsageError
from finecut.storage.location import is_url
from finecut.types import Moment, Results
from finecut.video.timecode import UNKNOWN_RATE, edit_rate, frame_of, rate_of, start_timecode

if TYPE_CHECKING:
    from finecut.index.rows import VideoRow

Format = Literal["json", "csv", "m3u", "edl", "fcpxml", "otio", "trec", "vbs"]
FORMATS: tuple[Format, ...] = get_args(Format)

ENDINGS: dict[str, Format] = {
    ".json": "json",
    ".csv": "csv",
    ".m3u": "m3u",
    ".m3u8": "m3u",
    ".edl": "edl",
    ".fcpxml": "fcpxml",
    ".otio": "otio",
    ".trec": "trec",
    ".vbs": "vbs",
}
"""What the ending of a file's name says about its format."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_TEXT = re.compile("[\ud800-\udfff\ufffe\uffff]")
_EDITS = ("edl", "fcpxml", "otio")  # formats in which a file's own timecode counts


@dataclass(frozen=True, slots=True)
class Entry:
    """A moment with what other tools ask about its file. Frames count from the file's first."""

    moment: Moment
    rank: int  # from 1
    rate: Fraction = UNKNOWN_RATE  # frames a second of the file
    duration_s: float = 0.0  # of the file; 0.0 where unknown
    width: int = 0
    height: int = 0
    has_audio: bool = True
    timecode: str = ""  # of the file's first frame, where the file tells one

    @property
    def name(self) -> str:
        """The file's name."""
        return os.path.basename(self.moment.video)

    @property
    def timecode_frame(self) -> int:
        """The number of the file's first frame by its timecode; 0 without one."""
        try:
            return frame_of(self.timecode, self.rate) if self.timecode else 0
        except UsageError:
            return 0  # a timecode that cannot be of this rate

    def span(self, rate: Fraction) -> tuple[int, int]:
        """First frame and the first one left out, at a rate; at least one, none past the end.

        >>> moment = Moment("a.mp4", "a", 1.0, 2.5, 1.0, 0, 0, None, 0)
        >>> Entry(moment, 1, duration_s=2.0).span(rate_of(25))
        (25, 50)
        """
        total = max(1, int(self.duration_s * rate + Fraction(1, 1000))) if self.duration_s else None
        first = round(self.moment.start_s * rate)
        last = round(self.moment.end_s * rate)
        if total is not None:
            first, last = min(first, total - 1), min(last, total)
        return first, max(last, first + 1)


def entries(results: Iterable[Moment], videos: Iterable[VideoRow] = ()) -> list[Entry]:
    """Moments with the facts of their videos, which an index holds; unknown ones without.

    Nothing is opened.
    """
    wanted = list(results)
    ids = {moment.video_id for moment in wanted}
    rows = {row.video_id: row for row in videos if row.video_id in ids}
    made = []
    for rank, moment in enumerate(wanted, start=1):
        row = rows.get(moment.video_id)
        if row is None:
            made.append(Entry(moment, rank))
            continue
        made.append(
            Entry(
                moment=moment,
                rank=rank,
                rate=rate_of(row.fps),
                duration_s=row.duration_s,
                width=row.width,
                height=row.height,
                has_audio=row.has_audio,
            )
        )
    return made


def write(
    results: Results,
    format: str,
    videos: Iterable[VideoRow] = (),
    *,
    topic: str = "",
) -> bytes:
    """The results as a file of a format.

    Args:
        results: what a search answered.
        format: one of ``FORMATS``.
        videos: the videos of the index that was searched, for frame rates and sizes.
        topic: what a TREC run calls the query, 1 where it is empty; the task's name of a ``vbs``
            submission.

    Returns: the whole file. Text is UTF-8; bytes of a path that are no text stay as they are where
        a format takes them, or are percent-encoded in an address.
    Raises:
        UsageError: no such format, or nothing that it can hold.
    """
    if format not in FORMATS:
        raise UsageError(f"A format is one of {', '.join(FORMATS)}; got {format!r}.")
    if format == "json":
        return (
            json.dumps(results.to_json(), ensure_ascii=False).encode("utf-8", "backslashreplace")
            + b"\n"
        )
    listed = entries(results, videos)
    if format in _EDITS:
        labels = {path: start_timecode(path) for path in {entry.moment.video for entry in listed}}
        listed = [replace(entry, timecode=labels[entry.moment.video]) for entry in listed]
    title = one_line(results.query) or "finecut"
    if format == "edl":
        from finecut.search.format_edl import edl

        return edl(listed, title)
    if format == "fcpxml":
        from finecut.search.format_fcpxml import fcpxml

        return fcpxml(listed, title)
    if format == "otio":
        from finecut.search.format_otio import otio

        return otio(listed, title)
    from finecut.search import format_lists

    if format == "csv":
        return format_lists.csv_table(listed)
    if format == "m3u":
        return format_lists.m3u(listed, title)
    if format == "trec":
        return format_lists.trec(listed, topic or "1")
    return format_lists.vbs(listed, topic)


def timeline_rate(listed: Sequence[Entry]) -> Fraction:
    """The rate of a timeline of these: what most of them have, as editing programs know it."""
    counts = Counter(edit_rate(entry.rate) for entry in listed)
    return counts.most_common(1)[0][0] if counts else UNKNOWN_RATE


def file_url(path: str) -> str:
    """The address of a file, every byte that is no plain character percent-encoded.

    >>> file_url("/v/50% #1 über.mp4"), file_url("s3://films/a b.mp4")
    ('file:///v/50%25%20%231%20%C3%BCber.mp4', 's3://films/a%20b.mp4')
    """
    if is_url(path):
        return quote(path, safe=":/", errors="surrogateescape")
    return Path(os.path.abspath(path)).as_uri()


def one_line(text: str) -> str:
    r"""Text for a line of its own, which XML takes too: runs of white space and controls become one
    space, bytes that are no text the sign for that.

    >>> one_line("a\nb\tc")
    'a b c'
    """
    return " ".join(_NO_TEXT.sub("\ufffd", _CONTROL.sub(" ", text)).split())


def label(entry: Entry) -> str:
    """A moment in a few words, for a marker or a title: ``2. dog.mp4, 92 %``."""
    return f"{entry.rank}. {one_line(entry.name)}, {entry.moment.confidence:.0%}"
