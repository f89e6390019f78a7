"""A person's own labelled queries: JSON lines, checked, with videos found in the index."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finecut.bundle.tokens import clean_query
from finecut.errors import UsageError
from finecut.storage.location import is_url

if TYPE_CHECKING:
    from finecut.index.rows import VideoRow

MAX_QUERIES = 200_000
MAX_LINE_BYTES = 100_000
_KEYS = {"query", "video", "start_s", "end_s"}


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """One line of a query file."""

    query: str
    video: str  # a path, a file name, or a video id
    start_s: float | None = None
    end_s: float | None = None
    where: str = "query"  # "queries.jsonl, line 3", for messages


def read_queries(path: str | Path) -> list[LabelledQuery]:
    """The queries of a JSON-lines file; blank lines are left out.

    Raises:
        UsageError: the file cannot be read, holds none, or a line is not as it should be; the
            message has the line's number.
    """
    path = Path(path)
    found = []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(_lines(file, path), 1):
                if line.strip():
                    found.append(_read_line(line, f"{path.name}, line {number}"))
                if len(found) > MAX_QUERIES:
                    raise UsageError(f"{path} holds over {MAX_QUERIES} queries; split it.")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not found:
        raise UsageError(
            f'{path} holds no query; expected lines like {{"query": "a dog", "video": "a.mp4"}}.'
        )
    return found


def check_queries(queries: Iterable[LabelledQuery | Mapping[str, Any]]) -> list[LabelledQuery]:
    """Labelled queries from objects in memory.

    Raises:
        UsageError: none, or one is not as it should be.
    """
    found = [
        item if isinstance(item, LabelledQuery) else _check(item, f"query {number}")
        for number, item in enumerate(queries, 1)
    ]
    if not found:
        raise UsageError("There is no query; expected at least one.")
    return found


def _lines(file: Any, path: Path) -> Iterable[bytes]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise UsageError(f"{path.name}, line {number} is over {MAX_LINE_BYTES} bytes long.")
        yield line


def _read_line(line: bytes, where: str) -> LabelledQuery:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f'{where} is not JSON ({error}); expected {{"query": "a dog", "video": "a.mp4"}}.'
        ) from error
    return _check(value, where)


def _check(value: Any, where: str) -> LabelledQuery:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be an object, got {type(value).__name__}.")
    missing = {"query", "video"} - set(value)
    unknown = set(value) - _KEYS
    if missing or unknown:
        problem = f"lacks {sorted(missing)}" if missing else f"has the unknown {sorted(unknown)}"
        raise UsageError(f"{where} {problem}; known are query, video, start_s, end_s.")
    for name in ("query", "video"):
        if not isinstance(value[name], str) or not value[name].strip():
            raise UsageError(f"{where}: {name} must be text, got {value[name]!r:.60}.")
    try:
        clean_query(value["query"])
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    start, end = value.get("start_s"), value.get("end_s")
    if start is None and end is None:
        return LabelledQuery(value["query"], value["video"], where=where)
    start_s, end_s = _seconds(start), _seconds(end)
    if start_s is None or end_s is None or not 0 <= start_s < end_s:
        raise UsageError(
            f"{where}: start_s and end_s must be seconds with 0 <= start_s < end_s, got "
            f"{start!r:.40} and {end!r:.40}."
        )
    return LabelledQuery(value["query"], value["video"], start_s, end_s, where)


def _seconds(value: Any) -> float | None:
    """A finite number as float; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


class VideoNames:
    """Finds a video of the index by what a person may call it.

    In this order: its id; a whole path; the end of a path ("holiday/a.mp4", "a.mp4"). The first
    way that finds anything decides, and has to find exactly one video.
    """

    def __init__(self, videos: Sequence[VideoRow]) -> None:
        self._ids = {video.video_id: place for place, video in enumerate(videos)}
        self._paths: dict[str, int] = {}
        self._names: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._videos = videos
        for place, video in enumerate(videos):
            for path in video.paths:
                self._paths[path if is_url(path) else os.path.normpath(path)] = place
                parts = Path(path).parts
                self._names.setdefault(parts[-1], []).append((parts, place))

    def find(self, name: str, where: str) -> int:
        """The position of the video among the index's.

        Raises:
            UsageError: no such video, several, or one that could not be indexed.
        """
        place = self._ids.get(name)
        if place is None:
            whole = name if is_url(name) else os.path.abspath(os.path.expanduser(name))
            place = self._paths.get(whole)
        if place is None:
            place = self._by_end(name, where)
        if self._videos[place].status != "done" or not self._videos[place].n_clips:
            raise UsageError(
                f"{where}: {name!r} was not indexed: "
                f"{self._videos[place].error or 'it holds no clip'}"
            )
        return place

    def _by_end(self, name: str, where: str) -> int:
        parts = Path(name).parts
        ending = [
            (whole, place)
            for whole, place in self._names.get(parts[-1] if parts else "", [])
            if whole[-len(parts) :] == parts
        ]
        places = {place for _, place in ending}
        if not places:
            raise UsageError(
                f"{where}: there is no video {name!r} in the index; name it by path, file name or "
                "id (finecut ls lists them)."
            )
        if len(places) > 1:
            some = ", ".join(str(Path(*whole)) for whole, _ in ending[:3])
            raise UsageError(
                f"{where}: {len(places)} videos are called {name!r} ({some}); give more of the "
                "path, or the id."
            )
        return places.pop()
