"""Which videos may be answered: by path, duration, date, resolution or id."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import UsageError
from finecut.text.quantities import parse_date, parse_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.rows import ClipTable, VideoRow

_MAX_GLOB = 1000
_MAX_NUMBER = 1e15  # seconds or pixels: beyond it nothing is meant


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on videos; all that are given must hold. Intervals are ``[after, before)``.

    A path pattern without a slash is for file names (``*.mp4``), one with a slash for whole paths
    or their last folders (``2024/*``); ``*`` also crosses folders. Patterns are alternatives. The
    date of a video is what its container says, else when the file was last written.

    ``inside``, ``named`` and their opposites are what a query's ``in:`` and ``name:`` say: they
    leave case aside, and without ``*`` or ``?`` they take a folder's name and part of a file's.
    """

    path_glob: str | Sequence[str] | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    recorded_after: float | None = None  # Unix seconds
    recorded_before: float | None = None
    min_height: int | None = None  # pixels, as shown
    max_height: int | None = None
    video_ids: Sequence[str] | None = None
    inside: Sequence[str] | None = None
    named: Sequence[str] | None = None
    not_inside: Sequence[str] | None = None
    not_named: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in (
            "min_duration_s",
            "max_duration_s",
            "recorded_after",
            "recorded_before",
            "min_height",
            "max_height",
        ):
            value = getattr(self, name)
            if value is None:
                continue
            real = isinstance(value, int | float) and not isinstance(value, bool)
            if (
                not real
                or not -_MAX_NUMBER < value < _MAX_NUMBER
                or (value < 0 and "recorded" not in name)
            ):
                raise UsageError(
                    f"The filter {name} must be a number of at least 0, got {value!r}."
                )
        for low, high in (
            ("min_duration_s", "max_duration_s"),
            ("recorded_after", "recorded_before"),
            ("min_height", "max_height"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise UsageError(f"The filters {low} = {least} and {high} = {most} exclude all.")
        for name in ("path_glob", "video_ids", "inside", "named", "not_inside", "not_named"):
            value = getattr(self, name)
            items = (value,) if isinstance(value, str) else value
            good = items is None or (
                isinstance(items, Sequence)
                and all(isinstance(i, str) and 0 < len(i) <= _MAX_GLOB for i in items)
            )
            if not good:
                raise UsageError(f"The filter {name} must be text, or several, got {value!r:.80}.")
            object.__setattr__(self, name, None if items is None else tuple(items))

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Filters:
        """Filters from text, as the command line and HTTP have it: "90", "1.5m", "2024-05", "720p".

        Raises:
            UsageError: an unknown filter, or a value that cannot be read.

        >>> Filters.parse({"min_duration_s": "2m", "min_height": "720p"}).min_duration_s
        120.0
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                raise UsageError(f"There is no filter {name!r}; known: {', '.join(sorted(known))}.")
            if value is None or not isinstance(value, str):
                values[name] = value
            elif name.endswith("duration_s"):
                values[name] = parse_duration(value)
            elif name.startswith("recorded"):
                values[name] = parse_date(value)
            elif name.endswith("height"):
                values[name] = _height(value)
            else:
                values[name] = value
        return cls(**values)

    @property
    def empty(self) -> bool:
        """Nothing is filtered."""
        return all(getattr(self, field.name) is None for field in fields(self))

    def allows(self, video: VideoRow) -> bool:
        """Whether the video meets every condition."""
        date = video.mtime if video.recorded_at is None else video.recorded_at
        return (
            _within(video.duration_s, self.min_duration_s, self.max_duration_s)
            and (self.recorded_after is None or date >= self.recorded_after)
            and (self.recorded_before is None or date < self.recorded_before)
            and _within(video.height, self.min_height, self.max_height)
            and (self.video_ids is None or video.video_id in self.video_ids)
            and (self.path_glob is None or self._path_fits(video.paths))
            and (self.inside is None or _any_fits(_inside, self.inside, video.paths))
            and (self.named is None or _any_fits(_named, self.named, video.paths))
            and not _any_fits(_inside, self.not_inside or (), video.paths)
            and not _any_fits(_named, self.not_named or (), video.paths)
        )

    def mask(self, videos: Sequence[VideoRow], clips: ClipTable) -> NDArray[np.bool_]:
        """[G] bool over clips: True where the clip's video is allowed."""
        allowed = np.array([self.allows(video) for video in videos], bool)
        return allowed[clips.video] if len(clips) else np.zeros(0, bool)

    def _path_fits(self, paths: Sequence[str]) -> bool:
        return any(_glob(glob, path) for glob in self.path_glob or () for path in paths)


def _any_fits(
    fits: Callable[[str, str], bool], patterns: Sequence[str], paths: Sequence[str]
) -> bool:
    return any(fits(pattern.lower(), path.lower()) for pattern in patterns for path in paths)


def _inside(pattern: str, path: str) -> bool:
    """A pattern as `path_glob` has it, or the name of a folder the video lies in, however deep."""
    if not set(pattern) & set("*?["):
        pattern = pattern.replace(os.sep, "/").rstrip("/") + "/*"
    return _glob(pattern, path)


def _named(pattern: str, path: str) -> bool:
    """A glob on the file's name, or part of it."""
    name = path.replace(os.sep, "/").rsplit("/", 1)[-1]
    return fnmatch.fnmatchcase(name, pattern) if set(pattern) & set("*?[") else pattern in name


def _glob(pattern: str, path: str) -> bool:
    path = path.replace(os.sep, "/")
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    if pattern.startswith("/"):
        return fnmatch.fnmatchcase(path, pattern)
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"*/{pattern}")


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _height(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,5})p?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r:.60} is no height; expected pixels, like 720 or 720p.")
    return int(match[1])
