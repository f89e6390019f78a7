"""Reading back moments that were written as JSON, CSV or an edit decision list."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from finecut.errors import UsageError, VideoError
from finecut.video.cut_many import Stretch
from finecut.video.probe import probe
from finecut.video.timecode import UNKNOWN_RATE, edit_rate, frame_of, rate_of, start_timecode

MOST_BYTES = 64 << 20
_LABEL = r"(\d{2}:\d{2}:\d{2}[:;]\d{2})"
_EVENT = re.compile(rf"\d{{3,}}\s+\S+\s+\S+\s+C\s+{_LABEL}\s+{_LABEL}\s+{_LABEL}\s+{_LABEL}\s*")
_SOURCE = re.compile(r"\*\s*SOURCE FILE:\s*(.*\S)\s*")


def read_results(data: bytes, name: str) -> tuple[list[Stretch], str]:
    """The moments in a file, and what was searched for, where it says.

    JSON is what ``--json`` prints, or a list of objects with ``video``, ``start_s`` and ``end_s``;
    CSV has columns of these names; an EDL names its files by ``SOURCE FILE``.

    Args:
        data: the file.
        name: what to call it in messages; its ending does not matter.

    Raises:
        UsageError: neither of the three, or an entry that makes no sense; the message says which.
    """
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name} is larger than {MOST_BYTES >> 20} MiB: no list of moments.")
    start = data.lstrip()[:200]
    if start[:1] in (b"{", b"["):
        return _from_json(data, name)
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if re.search(r"^(TITLE:|FCM:|\d{3,}\s+\S+\s+\S+\s+C\s)", text, re.MULTILINE):
        title = re.search(r"^TITLE:\s*(.*)$", text, re.MULTILINE)
        return list(_from_edl(text, name)), title[1].strip() if title else ""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if {"video", "start_s", "end_s"} <= set(rows.fieldnames or ()):
        return [
            _stretch(row, f"{name}, row {row_number}") for row_number, row in enumerate(rows, 1)
        ], ""
    raise UsageError(
        f"{name} is no list of moments: expected what `finecut search --json` prints, a CSV with "
        "the columns video, start_s and end_s, or an EDL."
    )


def _from_json(data: bytes, name: str) -> tuple[list[Stretch], str]:
    try:
        plain: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is no JSON: {error}.") from error
    title = ""
    if isinstance(plain, dict):
        title = plain["query"] if isinstance(plain.get("query"), str) else ""
        plain = plain.get("results", plain.get("files"))
    if not isinstance(plain, list):
        raise UsageError(f"{name} holds no list of results.")
    return [_stretch(item, f"{name}, entry {i}") for i, item in enumerate(plain, 1)], title


def _stretch(plain: Any, where: str) -> Stretch:
    try:
        video, start_s, end_s = plain["video"], float(plain["start_s"]), float(plain["end_s"])
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(
            f"{where}: expected video, start_s and end_s, got {str(plain)[:200]!r}."
        ) from error
    if not isinstance(video, str) or not video:
        raise UsageError(f"{where}: `video` must be a path, got {video!r:.80}.")
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise UsageError(f"{where}: times must be finite, got {start_s} to {end_s}.")
    return Stretch(video, start_s, end_s)


def _from_edl(text: str, name: str) -> Iterator[Stretch]:
    """Events in order. The list's rate, which it cannot say, is what most of its files have."""
    events: list[tuple[str, str]] = []
    files: list[str] = []
    for line in text.splitlines():
        if event := _EVENT.fullmatch(line):
            events.append((event[1], event[2]))
        elif (source := _SOURCE.fullmatch(line)) and len(files) < len(events):
            files += [""] * (len(events) - 1 - len(files)) + [_path(source[1])]
    files += [""] * (len(events) - len(files))
    facts = {path: _facts(path) for path in set(files) if path}
    rate = _most(edit_rate(facts[path][0]) for path in files if path)
    for number, ((first, last), path) in enumerate(zip(events, files, strict=True), 1):
        if not path:
            raise UsageError(f"{name}, event {number}: names no SOURCE FILE.")
        own, begin = facts[path]
        offset = frame_of(begin, own) / own if begin else Fraction(0)
        start = frame_of(first, rate) / rate - offset
        end = frame_of(last, rate) / rate - offset
        yield Stretch(path, float(max(start, Fraction(0))), float(end))


def _facts(path: str) -> tuple[Fraction, str]:
    """The rate of a file, and the timecode it begins with if that can be of this rate."""
    try:
        rate = rate_of(probe(path).fps)
    except VideoError:
        return UNKNOWN_RATE, ""  # the cut says what is wrong with it
    begin = start_timecode(path)
    try:
        frame_of(begin, rate)
    except UsageError:
        begin = ""
    return rate, begin


def _most(rates: Iterable[Fraction]) -> Fraction:
    counts = Counter(rates)
    return counts.most_common(1)[0][0] if counts else UNKNOWN_RATE


def _path(source: str) -> str:
    parts = urlsplit(source) if source.startswith("file:") else None
    return os.fsdecode(unquote_to_bytes(parts.path)) if parts else source
