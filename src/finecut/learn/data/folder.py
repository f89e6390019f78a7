"""A benchmark's folder: find annotation files by name and videos by path, name or stem."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from finecut.learn.data.benchmark import AnnotationError

MAX_FILES = 5_000_000  # HowTo100M has 1.2 million videos; beyond this it is no benchmark
VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".webm",
        ".mkv",
        ".avi",
        ".mpg",
        ".mpeg",
        ".3gp",
        ".flv",
        ".wmv",
        ".ogv",
        ".gif",
        ".ts",
        ".mts",
    ]
)
# One still is a video of one frame; several belong to one item where its annotation lists them.
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".avif"])


class Folder:
    """All files below ``root``, listed once, in sorted order."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise AnnotationError(f"{self.root} is not a folder; give the benchmark's folder.")

    @cached_property
    def files(self) -> list[PurePosixPath]:
        """Paths below the root, forward slashes, sorted; hidden folders are left out."""
        found: list[PurePosixPath] = []
        for folder, names, files in os.walk(self.root):
            names[:] = sorted(name for name in names if not name.startswith("."))
            below = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            found += [below / name for name in sorted(files)]
            if len(found) > MAX_FILES:
                raise AnnotationError(
                    f"{self.root} holds more than {MAX_FILES} files; give the benchmark's own "
                    "folder."
                )
        return found

    def find(self, *patterns: str) -> Path | None:
        """The first file, nearest to the root, whose name fits the first pattern that fits any.

        Raises:
            AnnotationError: two files fit equally near, and nothing says which is meant.
        """
        for pattern in patterns:
            fits = self.find_all(pattern)
            if fits:
                nearest = min(len(path.parts) for path in fits)
                best = [path for path in fits if len(path.parts) == nearest]
                if len(best) > 1:
                    names = ", ".join(str(path.relative_to(self.root)) for path in best[:4])
                    raise AnnotationError(
                        f"{self.root}: {pattern} fits {len(best)} files ({names}); keep one."
                    )
                return best[0]
        return None

    def find_all(self, pattern: str) -> list[Path]:
        """Every file whose name fits, in sorted order; letter case does not count."""
        low = pattern.lower()
        return [
            self.root / path for path in self.files if fnmatch.fnmatchcase(path.name.lower(), low)
        ]

    def need(self, *patterns: str) -> Path:
        """`find`, or an error that names what was looked for."""
        path = self.find(*patterns)
        if path is None:
            raise AnnotationError(f"{self.root} holds no {' or '.join(patterns)}.")
        return path

    @cached_property
    def _by_key(self) -> dict[str, list[PurePosixPath]]:
        keys: dict[str, list[PurePosixPath]] = {}
        for path in self.files:
            if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES or not path.suffix:
                for key in {path.as_posix(), path.name, path.stem, path.name.rstrip(".")}:
                    keys.setdefault(key, []).append(path)
        return keys

    def video(self, name: str) -> Path | None:
        """The video meant by ``name``: by path below the root, then file name, then stem.

        DiDeMo names some files with a bare dot at the end, ActivityNet's files begin with a v_ that
        its loaders take off the names, and re-downloaded sets have other extensions than published:
        the stem decides then. Of several, the first that is a video; a still (a video of one
        frame) only where no video is meant.
        """
        posix = PurePosixPath(name.replace("\\", "/"))
        known = VIDEO_SUFFIXES | IMAGE_SUFFIXES
        stem = posix.stem if posix.suffix.lower() in known else posix.name
        for kind in (VIDEO_SUFFIXES, IMAGE_SUFFIXES):
            for key in (posix.as_posix(), posix.name, stem, stem.rstrip("."), f"v_{stem}"):
                for path in self._by_key.get(key, ()):
                    if path.suffix.lower() in kind:
                        return self.root / path
        return None

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of the names for which there is no video."""
        return [name for name in names if self.video(name) is None]
