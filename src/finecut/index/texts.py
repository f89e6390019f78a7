"""The fourth table of an index: words with times, by channel; and what a reader sees of them.

``texts`` holds one row per subtitle cue, chapter, line on screen or name. One more row per video,
of channel ``STATE``, says what its texts were made from, so that a run can tell when they are to be
renewed; it is written in the same commit as they are. ``docs/index-format.md`` is the prose.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finecut.errors import UsageError
from finecut.text.terms import row_terms

if TYPE_CHECKING:
    import pyarrow as pa

CHANNELS = ("said", "shown", "told", "named")
"""said: subtitles, transcripts, speech. shown: on screen. told: chapters, titles, comments.
named: names of files and folders."""

PARTS = {
    "names": "named",
    "sidecars": "said",
    "streams": "said",
    "speech": "said",
    "container": "told",
    "screen": "shown",
}
"""What a video's texts are made from, and the channel of each."""

STATE = "state"  # part and channel of the row that says what a video's texts were made from
LONGEST_TEXT = 20_000  # characters of one row


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text of one video, as it is stored."""

    part: str  # of what a video's texts are made from, renewed as a whole: one of ``PARTS``
    channel: str
    start_s: float
    end_s: float
    text: str
    source: str  # "sidecar movie.zh.srt", "stream 3", "chapter", "title", "file name", …
    language: str = ""  # of the source, where it names one; "" otherwise
    also: str = ""  # further words the row is found by, not shown


@dataclass(frozen=True, slots=True)
class VideoTexts:
    """Texts of one video that take the place of those of the same parts."""

    video_id: str
    rows: Sequence[TextRow]
    parts: frozenset[str]  # whose texts these are; of others nothing changes
    state: str  # JSON: what the texts of all parts were made from


@dataclass(frozen=True, slots=True)
class TextHit:
    """A text of an index, found or listed."""

    video: int  # position in ``Index.videos``
    channel: str
    start_s: float
    end_s: float  # of texts about a whole video: 0 to its duration
    text: str
    score: float  # BM25, larger is better; 0.0 where nothing was asked
    source: str
    language: str = ""


def checked_channels(channels: Collection[str] | None) -> Collection[str]:
    """The channels asked for; all of them for None.

    Raises:
        UsageError: an unknown one.
    """
    if channels is None:
        return CHANNELS
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown:
        raise UsageError(
            f"There is no channel {unknown[0]!r:.40}; there are {', '.join(CHANNELS)}."
        )
    return channels


def texts_schema() -> pa.Schema:
    """One row per text. ``terms`` is what it is found by: see ``text/terms.py``."""
    import pyarrow as pa

    return pa.schema(
        [
            ("video_id", pa.string()),
            ("build", pa.int64()),
            ("part", pa.string()),
            ("channel", pa.string()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("text", pa.string()),
            ("language", pa.string()),
            ("source", pa.string()),
            ("terms", pa.string()),
        ]
    )


def texts_to_arrow(videos: Sequence[VideoTexts], build: int) -> pa.Table:
    """Rows of the table ``texts``: those of each video, then the one that says what they are of."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in texts_schema().names}

    def add(video_id: str, row: TextRow, terms: str) -> None:
        values = (
            video_id,
            build,
            row.part,
            row.channel,
            row.start_s,
            row.end_s,
            plain_unicode(row.text[:LONGEST_TEXT]),
            plain_unicode(row.language),
            plain_unicode(row.source),
            plain_unicode(terms),
        )
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)

    for video in videos:
        for row in video.rows:
            terms = row_terms(f"{row.text[:LONGEST_TEXT]} {row.also}")
            if terms:
                add(video.video_id, row, terms)
        add(video.video_id, TextRow(STATE, STATE, 0.0, 0.0, video.state, ""), "")
    return pa.table(columns, schema=texts_schema())


def plain_unicode(text: str) -> str:
    """The text without halves of surrogate pairs, which file names may hold and Arrow refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")
