"""Words a container holds beside its pictures: subtitle streams, chapters, title and comments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Stream

from finecut.video.container import open_container, tick
from finecut.video.spec import DEFAULT_LIMITS, Limits

TOLD = (
    "title",
    "subtitle",
    "description",
    "synopsis",
    "summary",
    "comment",
    "keywords",
    "genre",
    "show",
    "album",
    "artist",
    "author",
    "lyrics",
)
"""Entries of a container's metadata that are about what it shows."""

_PREFIXES = ("com.apple.quicktime.", "com.android.")
PLAIN = frozenset(("subrip", "srt", "text", "webvtt", "mov_text", "ass", "ssa"))
PICTURES = frozenset(
    ("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub", "dvb_teletext", "arib_caption")
)
MOST_PACKETS = 100_000  # of one stream
MOST_BYTES = 16 << 20  # of the words of one file
MOST_CHAPTERS = 10_000
MOST_STREAMS = 64
LONGEST_VALUE = 20_000  # characters of one entry of metadata


class TimedText(NamedTuple):
    """Words as the stream has them, styling and all, and when they are shown."""

    start_s: float
    end_s: float
    text: str


@dataclass(slots=True)
class TextStream:
    """A subtitle stream."""

    number: int  # of the stream in the file
    codec: str
    language: str  # as the file says it; "" where it does not
    title: str
    texts: list[TimedText] = field(default_factory=list)


@dataclass(slots=True)
class Embedded:
    """All words of a container."""

    streams: list[TextStream] = field(default_factory=list)
    chapters: list[TimedText] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)  # entry, value
    notes: list[str] = field(default_factory=list)  # what was left out, and why


def embedded_texts(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> Embedded:
    """The words of a video's container; times count from its first shown frame.

    Files without a subtitle stream are opened and not read.

    Raises:
        VideoError: it cannot be opened.
    """
    found = Embedded()
    with open_container(path, limits) as container:
        zero_s = _first_time(container)
        found.told = list(_told(container))
        found.chapters = list(_chapters(container, zero_s))
        wanted: dict[int, TextStream] = {}
        for stream in container.streams:
            stream.discard = Discard.all
            if stream.type != "subtitle":
                continue
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            if codec not in PLAIN:
                kind = "pictures" if codec in PICTURES else "a kind that is not read"
                found.notes.append(f"stream {stream.index}: subtitles are {kind} ({codec})")
            elif len(wanted) < MOST_STREAMS:
                stream.discard = Discard.none
                language = stream.metadata.get("language", "")
                text = TextStream(
                    stream.index,
                    codec,
                    "" if language in ("und", "unk") else language[:35],
                    stream.metadata.get("title", "")[:200],
                )
                wanted[stream.index] = text
        if wanted:
            _read(container, wanted, zero_s, found)
    return found


def _first_time(container: InputContainer) -> float:
    """Seconds on the container's clock at which its first picture is shown."""
    for stream in container.streams.video:
        if stream.start_time is not None:
            return float(stream.start_time * tick(stream))
    return 0.0


def _told(container: InputContainer) -> Iterator[tuple[str, str]]:
    seen = set()
    for key, value in container.metadata.items():
        name = key.lower()
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if name in TOLD and value.strip() and (name, value) not in seen:
            seen.add((name, value))
            yield name, value[:LONGEST_VALUE]


def _chapters(container: InputContainer, zero_s: float) -> Iterator[TimedText]:
    for chapter in container.chapters()[:MOST_CHAPTERS]:
        title = str(chapter.get("metadata", {}).get("title", "")).strip()
        base = chapter["time_base"]
        if not title or not base:
            continue
        start_s, end_s = float(chapter["start"] * base), float(chapter["end"] * base)
        if math.isfinite(start_s) and math.isfinite(end_s) and end_s > start_s:
            start_s, end_s = max(0.0, start_s - zero_s), end_s - zero_s
            yield TimedText(start_s, end_s, title[:LONGEST_VALUE])


def _read(
    container: InputContainer, wanted: dict[int, TextStream], zero_s: float, found: Embedded
) -> None:
    n_bytes = 0
    try:
        for packet in _packets(container, [container.streams[number] for number in wanted]):
            stream = wanted[packet.stream.index]
            if not packet.size or packet.pts is None:
                continue
            n_bytes += packet.size
            if n_bytes > MOST_BYTES or len(stream.texts) >= MOST_PACKETS:
                found.notes.append(f"stream {stream.number}: too long, only its beginning is read")
                return
            text = _words(bytes(packet), stream.codec)
            if not text:
                continue
            base = tick(packet.stream)
            start_s = float(packet.pts * base) - zero_s
            length_s = float((packet.duration or 0) * base)
            if math.isfinite(start_s) and math.isfinite(length_s):
                stream.texts.append(TimedText(max(0.0, start_s), start_s + length_s, text))
    except (FFmpegError, OSError) as error:
        found.notes.append(f"subtitle streams: damaged, read up to there ({error})")
    found.streams = list(wanted.values())


def _packets(container: InputContainer, streams: list[Stream]) -> Iterator[Packet]:
    try:
        yield from container.demux(streams)
    except IndexError:  # PyAV, where damage makes a transport stream grow streams
        return


def _words(data: bytes, codec: str) -> str:
    """The words of a packet, without the frame its format puts around them."""
    if codec == "mov_text":  # two bytes of length, words, then boxes of styling
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
        mark = data[:2]
        if mark in (b"\xfe\xff", b"\xff\xfe"):
            return data.decode("utf-16", "replace").strip()
    text = data.decode("utf-8", "replace").strip("\x00\r\n ")
    if codec in ("ass", "ssa"):  # ReadOrder, Layer, Style, Name, MarginL, R, V, Effect, Text
        return text.split(",", 8)[-1] if text.count(",") >= 8 else text
    return text
