"""Which files of some folders, on disks or in buckets, are videos to index.

Looks at names and stamps and opens nothing (but ``.ts`` files, which may be no videos)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from finecut.errors import ObjectNotFound, StorageError, UsageError
from finecut.index.rows import PathStamp
from finecut.storage import objects
from finecut.storage.location import Location, is_url

_ENDINGS = """
.3g2 .3gp .amv .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v
.mjpeg .mjpg .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .tod
.ts .vob .webm .wmv .wtv .y4m
"""
SUFFIXES = frozenset(_ENDINGS.split())
"""Files with these endings are tried; a file named by itself is always tried."""

NEVER = frozenset(
    (
        "node_modules",
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
    )
)
"""Folders that are passed over, as are hidden files and folders (unless named as a root)."""

TS_PACKET, TS_SYNC = 188, 0x47
TOLD_EVERY = 1000  # objects of a bucket between words of progress


@dataclass(slots=True)
class Scan:
    """What was found."""

    roots: list[str]  # absolute paths, or URLs
    files: dict[str, PathStamp] = field(default_factory=dict)  # by absolute path or URL, in order
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # folder, message
    held: set[str] = field(default_factory=set)  # paths to leave as the index knows them
    empty: set[str] = field(default_factory=set)  # URLs with nothing below them
    passed: set[str] = field(default_factory=set)  # objects that are there but not in `files`


def absolute(path: str | Path) -> str:
    """The absolute path, links not resolved, ``~`` expanded; of a URL, its plain form."""
    return str(Location.parse(path).absolute())


def stamp_of(path: str) -> PathStamp:
    """The stamp a file or object has now.

    Raises:
        OSError, StorageError: it is not there (FileNotFoundError, ObjectNotFound), or nobody can
            tell.
    """
    if is_url(path):
        known = objects.stat(Location.parse(path))
        return object_stamp(path, known.size, known.mtime_ns)
    status = os.stat(path)
    return PathStamp(path, status.st_size, status.st_mtime_ns)


def object_stamp(path: str, size_bytes: int, mtime_ns: int) -> PathStamp:
    """The stamp of an object, of what its store tells."""
    # Some stores tell fractions of a second in lists and not elsewhere.
    return PathStamp(path, size_bytes, mtime_ns // 1_000_000_000 * 1_000_000_000)


def under(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it (both absolute, or URLs).

    >>> under("/a/b", "/a"), under("/ab", "/a"), under("/a", "/"), under("s3://b/a", "s3://b")
    (True, False, True, True)
    """
    sep = "/" if is_url(folder) else os.sep
    return path == folder or path.startswith(folder.rstrip(sep) + sep)


def excluded(path: str, root: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the name, the path below ``root`` or the whole path, or a folder
    on the way.

    >>> excluded("/v/raw/a.mp4", "/v", ["raw"]), excluded("/v/raw/a.mp4", "/v", ["*/b.mp4"])
    (True, False)
    """
    if not patterns:
        return False
    if path == root:
        below = os.path.basename(path)
    elif is_url(root):
        below = path[len(root) + 1 :]
    else:
        below = os.path.relpath(path, root)
    parts = below.replace(os.sep, "/").split("/")
    whole = path.replace(os.sep, "/")
    for count in range(1, len(parts) + 1):
        names = (parts[count - 1], "/".join(parts[:count]))
        if any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return True
    return any(fnmatchcase(whole, pattern) for pattern in patterns)


def scan(
    roots: Sequence[str | Path],
    *,
    exclude: Sequence[str] = (),
    follow_symlinks: bool = False,
    on_folder: Callable[[str, int], None] | None = None,
) -> Scan:
    """Find the videos under some folders (or the files themselves).

    Args:
        roots: folders and files, or URLs of them; they may overlap. A root that is a link is
            followed.
        exclude: globs, on names, paths below the root or whole paths.
        follow_symlinks: go through links to folders and files, each target once.
        on_folder: called with every folder and the number of files found so far.

    Raises:
        UsageError: a root does not exist, cannot be read, or is no file or folder.
        MissingDependency: a URL, without the package for its store.
    """
    patterns = [pattern.replace(os.sep, "/").rstrip("/") for pattern in exclude]
    found = Scan(roots=list(dict.fromkeys(absolute(root) for root in roots)))
    if not found.roots:
        raise UsageError("Name at least one folder or file to index.")
    walk = _Walk(found, patterns, follow_symlinks, on_folder)
    for root in found.roots:
        if is_url(root):
            _objects(found, root, patterns, on_folder)
            continue
        try:
            status = os.stat(root)
            if stat.S_ISDIR(status.st_mode):
                os.scandir(root).close()
        except OSError as error:
            raise UsageError(
                f"{root} cannot be read ({error.strerror or error}). Is the disk connected? "
                "Nothing was changed. What is gone for good leaves the index by: finecut rm PATH"
            ) from error
        if stat.S_ISDIR(status.st_mode):
            walk.folders(root)
        elif stat.S_ISREG(status.st_mode):
            walk.add(root, status)
        else:
            raise UsageError(f"{root} is neither a folder nor a file: name folders or videos.")
    if follow_symlinks:
        walk.links()
    found.files = dict(sorted(found.files.items()))
    return found


class _Walk:
    def __init__(
        self,
        found: Scan,
        patterns: list[str],
        follow_symlinks: bool,
        on_folder: Callable[[str, int], None] | None,
    ) -> None:
        self.found = found
        self.patterns = patterns
        self.follow_symlinks = follow_symlinks
        self.on_folder = on_folder
        self.seen_folders: set[tuple[int, int]] = set()
        self.seen_files: set[tuple[int, int]] = set()
        self.later: list[tuple[str, str]] = []  # link, root: after all that is no link

    def folders(self, root: str, start: str | None = None) -> None:
        """Every folder below ``start``, without recursion: trees may be deeper than the stack."""
        stack = [start or root]
        while stack:
            folder = stack.pop()
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in self.seen_folders:
                    continue
                self.seen_folders.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.found.unreadable.append((folder, error.strerror or str(error)))
                continue
            if self.on_folder:
                self.on_folder(folder, len(self.found.files))
            for entry in listed:
                if entry.name.startswith(".") or entry.name in NEVER:
                    continue
                if excluded(entry.path, root, self.patterns):
                    continue
                if entry.is_symlink():
                    self.later.append((entry.path, root))
                elif entry.is_dir(follow_symlinks=False):
                    if not entry.name.endswith(".lance"):
                        stack.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and looks_like_video(entry.path):
                    try:
                        self.add(entry.path, entry.stat(follow_symlinks=False))
                    except OSError:
                        continue  # gone since it was listed

    def links(self) -> None:
        """Links last, so that what they lead to is known by its own path where it has one."""
        while self.later:
            path, root = self.later.pop(0)
            try:
                status = os.stat(path)
            except OSError:
                continue  # leads nowhere, or in a circle
            if stat.S_ISDIR(status.st_mode):
                self.folders(root, path)
            elif stat.S_ISREG(status.st_mode) and looks_like_video(path):
                if not self.seen_files:
                    found = [_stat(known) for known in self.found.files]
                    self.seen_files = {(one.st_dev, one.st_ino) for one in found if one}
                if (status.st_dev, status.st_ino) not in self.seen_files:
                    self.seen_files.add((status.st_dev, status.st_ino))
                    self.add(path, status)

    def add(self, path: str, status: os.stat_result) -> None:
        self.found.files[path] = PathStamp(path, status.st_size, status.st_mtime_ns)


def _objects(
    found: Scan,
    root: str,
    patterns: Sequence[str],
    on_folder: Callable[[str, int], None] | None,
) -> None:
    """The videos below a URL, or the one it names. One list, or an error: never a part of it."""
    place = Location.parse(root)
    count = 0
    try:
        for one, size_bytes, mtime_ns in objects.walk(place):
            if on_folder and count % TOLD_EVERY == 0:
                on_folder(root, len(found.files))
            count += 1
            _add_object(found, root, one, object_stamp(str(one), size_bytes, mtime_ns), patterns)
        if not count and place.key:
            found.files[root] = stamp_of(root)
        elif not count:
            found.empty.add(root)
    except ObjectNotFound as error:
        raise UsageError(
            f"There is nothing at {root}. Check the name. Nothing was changed. What is gone for "
            "good leaves the index by: finecut rm URL"
        ) from error
    except StorageError as error:
        raise UsageError(f"{error} Nothing was changed.") from error


def _add_object(
    found: Scan, root: str, place: Location, stamp: PathStamp, patterns: Sequence[str]
) -> None:
    *folders, name = stamp.path[len(root) + 1 :].split("/")
    found.passed.add(stamp.path)
    if os.path.splitext(name)[1].lower() not in SUFFIXES:
        return
    for part in (*folders, name):
        if part.startswith(".") or part in NEVER or (part.endswith(".lance") and part in folders):
            return
    if excluded(stamp.path, root, patterns):
        return
    try:
        addressable = Location.parse(stamp.path) == place
    except UsageError:
        addressable = False
    if not addressable:
        message = "what looks like a signature in its name cannot be asked for; rename it"
        found.unreadable.append((stamp.path, message))
    elif looks_like_video(stamp.path):
        found.passed.discard(stamp.path)
        found.files[stamp.path] = stamp


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def looks_like_video(path: str) -> bool:
    """By the ending of its name; ``.ts`` by its first packets too, since TypeScript ends so."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix != ".ts":
        return suffix in SUFFIXES
    most = 2 * TS_PACKET + 1
    try:
        if is_url(path):
            start = objects.read_range(Location.parse(path), 0, most)
        else:
            with open(path, "rb") as file:
                start = file.read(most)
    except (OSError, StorageError):
        return True  # tried, so that it is reported
    return len(start) <= TS_PACKET or any(
        start[offset] == start[offset + TS_PACKET] == TS_SYNC
        for offset in range(min(TS_PACKET, len(start) - TS_PACKET))
    )
