"""The texts of one video, read in a decoding process: from the files beside it, its streams, its
pictures and its sound."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from finecut.errors import FinecutError, VideoError
from finecut.index.texts import LONGEST_TEXT, PARTS, TextRow
from finecut.storage.location import is_url
from finecut.storage.media import CURABLE, read_whole
from finecut.text.subtitles import MOST_BYTES, Cue, plain_words, read_subtitles
from finecut.text.terms import apart
from finecut.text.transcripts import read_transcript

SAID = ("sidecars", "streams")  # parts that make transcribing needless
MOST_FOLDERS = 4  # names of so many folders above a file say what it is
MOST_ROWS = 200_000  # of one video
MOST_CHARACTERS = 32 << 20  # of the texts of one video
MOST_NOTES = 50


@dataclass(frozen=True, slots=True)
class TextRequest:
    """What a decoding process is to read of one video."""

    parts: tuple[str, ...]
    sidecars: tuple[tuple[str, str], ...] = ()  # path, language
    speech: str = ""  # folder of the model
    said: bool = False  # there are subtitles among the parts that are not read

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TextRequest:
        return cls(
            parts=tuple(plain["parts"]),
            sidecars=tuple((path, language) for path, language in plain["sidecars"]),
            speech=plain["speech"],
            said=plain["said"],
        )


@dataclass(slots=True)
class ReadTexts:
    """Texts of one video, and what went wrong with some."""

    rows: list[TextRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)  # parts to be tried again next time
    not_needed: set[str] = field(default_factory=set)
    frames_seen: int = 0  # by the reader of the screen
    frames_read: int = 0  # of them, those whose text had changed
    characters: int = 0

    def add(self, rows: Iterable[TextRow]) -> None:
        """Take rows in, up to the bounds of one video."""
        for row in rows:
            if len(self.rows) >= MOST_ROWS or self.characters > MOST_CHARACTERS:
                self.note("too many texts; the rest is left out")
                return
            self.rows.append(row)
            self.characters += len(row.text)

    def note(self, text: str) -> None:
        """Say what was left out."""
        if len(self.notes) < MOST_NOTES and text not in self.notes:
            self.notes.append(text[:500])


def read_texts(
    path: str, request: TextRequest, *, alive: Callable[[], None] = lambda: None
) -> ReadTexts:
    """The texts a request asks for. A part that cannot be read is noted and left out.

    Args:
        path: of the video.
        request: what to read.
        alive: called now and then while something takes long.
    """
    found = ReadTexts()
    parts = set(request.parts)
    if "sidecars" in parts:
        for beside, language in request.sidecars:
            _part(("sidecars",), found, lambda b=beside, n=language: _sidecar(b, n, request, found))
    if parts & {"streams", "container"}:
        _part(("streams", "container"), found, lambda: _embedded(path, request, found))
    if "screen" in parts:
        _part(("screen",), found, lambda: _screen(path, found, alive))
    if "speech" in parts and request.speech:
        if request.said or any(row.part in SAID for row in found.rows):
            found.not_needed.add("speech")
        else:
            _part(("speech",), found, lambda: _speech(path, request, found, alive))
    return found


def _part(names: tuple[str, ...], found: ReadTexts, read: Callable[[], None]) -> None:
    try:
        read()
    except PermissionError as error:
        found.note(f"{error.filename}: no permission to read it")
        found.unread.update(names)
    except (FinecutError, OSError) as error:
        found.note(str(error))
        if isinstance(error, VideoError) and error.reason in CURABLE:
            found.unread.update(names)
    except MemoryError:
        found.note(f"{names[0]}: needs more memory than there is")
    except Exception as error:  # of any library that reads what nobody vouches for
        found.note(f"{names[0]}: {type(error).__name__}: {error}")


# -- what is beside and inside the file ------------------------------------------------------------


def _sidecar(path: str, language: str, request: TextRequest, found: ReadTexts) -> None:
    name = os.path.basename(path)
    beside = read_whole(path, MOST_BYTES + 1) if is_url(path) else path
    if name.lower().endswith(".json"):
        transcript = read_transcript(beside)
        if transcript is None:
            return  # some other program's JSON
        subtitles, spoken = transcript
        source, language = f"transcript {name}", spoken or language
    else:
        subtitles = read_subtitles(beside, language)
        source = f"sidecar {name}"
        if not subtitles.cues:
            found.note(f"{name}: no subtitles could be read from it")
    if subtitles.n_broken:
        found.note(f"{name}: {subtitles.n_broken} cues are broken and left out")
    if subtitles.cut:
        found.note(f"{name}: too long; only its beginning is read")
    found.add(_rows("sidecars", subtitles.cues, source, language))


def _embedded(path: str, request: TextRequest, found: ReadTexts) -> None:
    from finecut.video.embedded import embedded_texts

    embedded = embedded_texts(path)
    if "streams" in request.parts:
        for note in embedded.notes:
            found.note(note)
        for stream in embedded.streams:
            plain = ((text.start_s, text.end_s, plain_words(text.text)) for text in stream.texts)
            cues = [Cue(*cue) for cue in plain if cue[2] and cue[1] > cue[0]]
            source = f"stream {stream.number}" + (f" {stream.title}" if stream.title else "")
            found.add(_rows("streams", cues, source, stream.language))
    if "container" in request.parts:
        plain = ((one.start_s, one.end_s, plain_words(one.text)) for one in embedded.chapters)
        found.add(_rows("container", [Cue(*cue) for cue in plain if cue[2]], "chapter"))
        for name, value in embedded.told:
            text = plain_words(value)
            if text:
                found.add([whole_video("container", text, name)])


def _rows(part: str, cues: Iterable[Cue], source: str, language: str = "") -> Iterator[TextRow]:
    for cue in cues:
        yield TextRow(part, PARTS[part], cue.start_s, cue.end_s, cue.text, source, language)


def whole_video(part: str, text: str, source: str, also: str = "") -> TextRow:
    """A text that holds from a video's beginning to its end, wherever that is."""
    return TextRow(part, PARTS[part], 0.0, math.inf, text, source, also=also)


def within(rows: Iterable[TextRow], duration_s: float) -> Iterator[TextRow]:
    """Rows as they lie in a video of this length; those after its end are left out."""
    for row in rows:
        end_s = min(row.end_s, duration_s) if duration_s > 0 or row.end_s == math.inf else row.end_s
        if row.start_s < end_s or not duration_s:
            yield replace(row, end_s=end_s)


# -- what is seen and heard ------------------------------------------------------------------------


def _screen(path: str, found: ReadTexts, alive: Callable[[], None]) -> None:
    from finecut.text.ocr import MAX_SIDE, PERIOD_S, ScreenReader, rapid_reader
    from finecut.video.pictures import pictures

    reader = ScreenReader(rapid_reader())
    last_s = 0.0
    for time_s, picture in pictures(path, PERIOD_S, MAX_SIDE):
        alive()
        reader.add(time_s, picture)
        last_s = time_s
    screens = reader.finish(last_s + PERIOD_S)
    found.add(_rows("screen", (Cue(one.start_s, one.end_s, one.text) for one in screens), "ocr"))
    found.frames_seen, found.frames_read = reader.stats.frames, reader.stats.read


def _speech(path: str, request: TextRequest, found: ReadTexts, alive: Callable[[], None]) -> None:
    from finecut.text.speech import transcribe
    from finecut.video.sound import sound_pieces

    source = f"speech:{os.path.basename(request.speech)}"
    language: str | None = None
    for first_s, samples in sound_pieces(path):
        alive()
        cues, language = transcribe(samples, request.speech, language)
        for cue in cues:
            alive()
            start_s, end_s = max(0.0, first_s + cue.start_s), first_s + cue.end_s
            if end_s > start_s:
                found.add(_rows("speech", [Cue(start_s, end_s, cue.text)], source, language))


# -- names -----------------------------------------------------------------------------------------


def named_rows(paths: Sequence[str], roots: Sequence[str]) -> list[TextRow]:
    """The names of a video's files and of the folders they lie in, each once.

    Of folders those count that lie below the one that was indexed, and that one.
    """
    named: dict[tuple[str, str], None] = {}
    for path in paths:
        folder, name = os.path.split(path)
        named[os.path.splitext(name)[0], "file name"] = None
        tops = {os.path.dirname(root) for root in roots}
        for _ in range(MOST_FOLDERS):
            if folder in tops or os.path.dirname(folder) == folder or folder.endswith(":"):
                break
            folder, name = os.path.split(folder)
            named[name, "folder"] = None
    rows = []
    for (name, source), _ in named.items():
        # "GoldenGate2019" is found by its parts too.
        parts = apart(name)
        rows.append(whole_video("names", name, source, parts if parts != name else ""))
    return rows


# -- to the indexing process -----------------------------------------------------------------------


def to_message(found: ReadTexts) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A message's header and arrays."""
    rows = [
        (row.part, row.start_s, _finite(row.end_s), row.text, row.source, row.language)
        for row in found.rows
    ]
    lines = json.dumps(rows, ensure_ascii=True).encode("ascii")
    header = {
        "kind": "texts",
        "notes": found.notes,
        "unread": sorted(found.unread),
        "not_needed": sorted(found.not_needed),
        "frames": [found.frames_seen, found.frames_read],
    }
    return header, {"rows": np.frombuffer(lines, np.uint8)}


def _finite(end_s: float) -> float | None:
    return None if end_s == math.inf else end_s  # JSON knows no infinity


def from_message(plain: Mapping[str, Any]) -> ReadTexts:
    """What `to_message` made; checked, since the sender has read what nobody vouches for.

    Raises:
        ValueError, KeyError, TypeError: it is no such message.
    """
    found = ReadTexts(
        notes=[str(note) for note in plain["notes"]],
        unread=set(plain["unread"]) & set(PARTS),
        not_needed=set(plain["not_needed"]) & set(PARTS),
    )
    found.frames_seen, found.frames_read = map(int, plain["frames"])
    for part, start_s, end_s, text, source, language in json.loads(plain["rows"].tobytes()):
        start_s, end_s = float(start_s), math.inf if end_s is None else float(end_s)
        if not 0 <= start_s <= end_s:
            raise ValueError(f"texts at {start_s} to {end_s}")
        channel = PARTS[part]
        text = str(text)[:LONGEST_TEXT]
        found.rows.append(
            TextRow(part, channel, start_s, end_s, text, str(source)[:500], str(language)[:35])
        )
        found.characters += len(text)
    return found
