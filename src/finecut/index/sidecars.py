"""Which text files beside a video are its own: subtitles and transcripts named after it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from finecut.index.rows import PathStamp
from finecut.index.scan import SUFFIXES as VIDEO_SUFFIXES
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
        """The text files of a video, by name."""
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
    texts: list[os.DirEntry[str]] = []
    stems: set[str] = set()
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    stem, suffix = os.path.splitext(entry.name)
                    if suffix.lower() in SUFFIXES:
                        texts.append(entry)
                    elif suffix.lower() in VIDEO_SUFFIXES:
                        stems.add(stem)
                    elif entry.name.lower() in SUBFOLDERS and os.path.dirname(entry.path) == folder:
                        folders.append(entry.path)
        except OSError:
            continue
    found: dict[str, list[Sidecar]] = {}
    for entry in sorted(texts, key=lambda entry: entry.name):
        whole = os.path.splitext(entry.name)[0]
        stem = whole
        while stem not in stems and "." in stem:  # the longest video's name it begins with
            stem = stem.rpartition(".")[0]
        if stem not in stems:
            continue
        try:
            if not entry.is_file(follow_symlinks=links):
                continue
            status = entry.stat()
        except OSError:
            continue
        stamp = PathStamp(entry.path, status.st_size, status.st_mtime_ns)
        found.setdefault(stem, []).append(Sidecar(stamp, language_of(whole[len(stem) :])))
    return found
