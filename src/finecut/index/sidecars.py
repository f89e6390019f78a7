"""Which text files beside a video are its own: subtitles and transcripts named after it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from finecut.errors import FinecutError, StorageError
from finecut.index.rows import PathStamp
from finecut.index.scan import SUFFIXES as VIDEO_SUFFIXES
from finecut.index.scan import object_stamp
from finecut.storage import objects
from finecut.storage.location import Location, is_url
from finecut.text import subtitles

SUFFIXES = frozenset((*subtitles.SUFFIXES, ".json"))
SUBFOLDERS = ("subs", "subtitles", "sub")
MOST_SIDECARS = 40  # of one video
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,2}", re.IGNORECASE)
_NO_LANGUAGE = frozenset(("sdh", "cc", "hi", "srt", "ass", "mkv", "avi", "mov"))


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A text file of a video."""

    stamp: PathStamp
    language: str  # as its name says it; "" where it does not

    @property
    def name(self) -> str:
        return os.path.basename(self.stamp.path)


class Sidecars:
    """Text files by video; every folder is listed once.

    Args:
        follow_symlinks: take links to text files too.
    """

    def __init__(self, *, follow_symlinks: bool = False) -> None:
        self._links = follow_symlinks
        self._folders: dict[str, dict[str, list[Sidecar]]] = {}

    def of(self, video_path: str) -> list[Sidecar]:
        """The text files of a video, by name.

        Raises:
            FinecutError: the bucket it lies in cannot be listed.
        """
        folder, name = os.path.split(video_path)
        if folder not in self._folders:
            self._folders[folder] = _by_stem(folder, links=self._links)
        return self._folders[folder].get(os.path.splitext(name)[0], [])[:MOST_SIDECARS]


def language_of(rest: str) -> str:
    """The language in what a file's name has between the video's name and the ending.

    >>> language_of(".zh-Hans"), language_of(".eng.forced"), language_of("")
    ('zh-Hans', 'eng', '')
    """
    for part in rest.split("."):
        if _LANGUAGE.fullmatch(part) and part.lower() not in _NO_LANGUAGE:
            return part
    return ""


def _by_stem(folder: str, *, links: bool) -> dict[str, list[Sidecar]]:
    """Text files in a folder and its folders for subtitles, by the video they are named after."""
    texts: list[PathStamp] = []
    stems: set[str] = set()
    folders = [folder]
    while folders:
        for path, stamp in _entries(folders.pop(), links=links):
            stem, suffix = os.path.splitext(os.path.basename(path))
            if stamp is not None:
                texts.append(stamp)
            elif suffix.lower() in VIDEO_SUFFIXES:
                stems.add(stem)
            elif stem.lower() in SUBFOLDERS and not suffix and os.path.dirname(path) == folder:
                folders.append(path)
    found: dict[str, list[Sidecar]] = {}
    for stamp in sorted(texts, key=lambda stamp: os.path.basename(stamp.path)):
        whole = os.path.splitext(os.path.basename(stamp.path))[0]
        stem = whole
        while stem not in stems and "." in stem:  # the longest video's name it begins with
            stem = stem.rpartition(".")[0]
        if stem in stems:
            found.setdefault(stem, []).append(Sidecar(stamp, language_of(whole[len(stem) :])))
    return found


def _entries(folder: str, *, links: bool) -> Iterator[tuple[str, PathStamp | None]]:
    """What lies in a folder, by path; text files with their stamps."""
    if is_url(folder):
        yield from _objects(folder)
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_text(entry.name):
                    yield entry.path, None
                    continue
                try:
                    if entry.is_file(follow_symlinks=links):
                        status = entry.stat()
                        stamp = PathStamp(entry.path, status.st_size, status.st_mtime_ns)
                        yield entry.path, stamp
                except OSError:
                    continue
    except OSError:
        return


def _objects(folder: str) -> Iterator[tuple[str, PathStamp | None]]:
    try:
        listed, folders = objects.folder(Location.parse(folder))
    except StorageError as error:  # texts that cannot be listed must not seem to be gone
        raise FinecutError(f"{error} What was reported done is kept; run again.") from error
    for place, size_bytes, mtime_ns in listed:
        path = str(place)
        yield path, object_stamp(path, size_bytes, mtime_ns) if _is_text(path) else None
    for place in folders:
        yield str(place), None


def _is_text(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
