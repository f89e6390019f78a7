"""Transcripts beside a video: what speech recognisers write as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finecut.text.subtitles import (
    LONGEST_CUE,
    MOST_BYTES,
    MOST_CUES,
    MOST_HOURS,
    Cue,
    Subtitles,
    plain_words,
    read_start,
)


def read_transcript(source: str | Path | bytes) -> tuple[Subtitles, str] | None:
    """The segments of a transcript (a file, or its bytes) and its language ("" where it does not
    say).

    Known are the JSON of Whisper (openai-whisper, faster-whisper, WhisperX: ``segments`` of
    ``start``, ``end``, ``text``) and of whisper.cpp (``transcription`` of ``offsets``). None where
    the file is another kind of JSON, or no JSON, or larger than 16 MiB.

    Raises:
        OSError: it cannot be opened or read.
    """
    data = read_start(source)
    if len(data) > MOST_BYTES:
        return None
    return parse_transcript(data)


def parse_transcript(data: bytes) -> tuple[Subtitles, str] | None:
    """The same of the file's bytes.

    >>> found = parse_transcript(b'{"segments": [{"start": 1, "end": 2.5, "text": " Hi."}]}')
    >>> found and found[0].cues
    [Cue(start_s=1.0, end_s=2.5, text='Hi.')]
    """
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(plain, dict):
        return None
    language = plain.get("language")
    result = plain.get("result")
    if not isinstance(language, str) and isinstance(result, dict):
        language = result.get("language")
    found = Subtitles(encoding="utf-8")
    if isinstance(plain.get("segments"), list):
        for segment in plain["segments"][:MOST_CUES]:
            times = (_get(segment, "start"), _get(segment, "end"))
            _add(found, *times, _get(segment, "text"))
        found.cut = len(plain["segments"]) > MOST_CUES
    elif isinstance(plain.get("transcription"), list):
        for segment in plain["transcription"][:MOST_CUES]:
            offsets = _get(segment, "offsets")
            start, end = _get(offsets, "from"), _get(offsets, "to")
            times = (_scaled(start), _scaled(end))
            _add(found, *times, _get(segment, "text"))
        found.cut = len(plain["transcription"]) > MOST_CUES
    else:
        return None
    found.cues.sort(key=lambda cue: cue.start_s)
    return found, language[:35] if isinstance(language, str) else ""


def _get(plain: Any, name: str) -> Any:
    return plain.get(name) if isinstance(plain, dict) else None


def _scaled(milliseconds: Any) -> Any:
    return milliseconds / 1000 if _is_time(milliseconds) else None


def _is_time(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < MOST_HOURS * 3_600_000  # NaN fails too


def _add(found: Subtitles, start: Any, end: Any, text: Any) -> None:
    if not (_is_time(start) and _is_time(end) and start < end and isinstance(text, str)):
        found.n_broken += 1
        return
    words = plain_words(text)[:LONGEST_CUE]
    if words:
        found.cues.append(Cue(float(start), float(end), words))
