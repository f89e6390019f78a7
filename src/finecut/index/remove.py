"""Take videos out of an index. The files themselves are never touched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from finecut.errors import FinecutError, NotFound
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.scan import absolute, under
from finecut.index.store import Index
from finecut.index.tables import plain_message
from finecut.index.writer import IndexWriter
from finecut.storage.location import Location

ID_DIGITS = 8  # as many digits of a video id name it


@dataclass(frozen=True, slots=True)
class RemoveReport:
    """What left the index."""

    videos: tuple[str, ...]  # ids of videos that are gone
    paths: tuple[str, ...]  # paths that are gone; a video with other paths stays


def remove(index_dir: str | Path | Location, selectors: Sequence[str | Path]) -> RemoveReport:
    """Take videos out of an index, by path, folder, glob, file name or id.

    A file that is still under an indexed folder comes back with the next ``finecut index`` of that
    folder, unless it is excluded there.

    Args:
        index_dir: of the index.
        selectors: each a path, a folder (all below it), a glob over whole paths, a plain file
            name, or (the first 8 digits of) a video id.

    Raises:
        NotFound: a selector fits no video; nothing was removed.
        IndexLocked: another process writes to the index.
        IndexNotFound: there is no index.
    """
    directory = Location.parse(index_dir).absolute()
    with IndexWriter(directory) as writer:
        ids: set[str] = set()
        paths: set[str] = set()
        for selector in map(str, selectors):
            found_ids, found_paths = _matches(selector, writer.videos)
            if not found_ids and not found_paths:
                raise NotFound(
                    f"No video of the index {directory} fits {selector!r}. Nothing was removed. "
                    f"List what there is: finecut ls --index {directory}"
                )
            ids |= found_ids
            paths |= found_paths
        put = []
        for row in writer.videos.values():
            if row.video_id in ids:
                paths |= set(row.paths)
            elif not paths.isdisjoint(row.paths):
                left = tuple(stamp for stamp in row.stamps if stamp.path not in paths)
                if left:
                    put.append(replace(row, stamps=left))
                else:
                    ids.add(row.video_id)
        try:
            writer.commit(videos=put, removed=sorted(ids))
            writer.compact()
        except OSError as error:
            raise FinecutError(
                f"The index at {directory} could not be written: {plain_message(error)}. "
                "Free some space or mend the permissions and run the same command again."
            ) from error
        Index.open(directory)  # brings the cache up to date
    return RemoveReport(tuple(sorted(ids)), tuple(sorted(paths)))


def _matches(selector: str, videos: Mapping[str, VideoRow]) -> tuple[set[str], set[str]]:
    """Ids and paths that a selector names."""
    if len(selector) >= ID_DIGITS:
        ids = {video_id for video_id in videos if video_id.startswith(selector)}
        if ids:
            return ids, set()
    whole = absolute(selector)
    stamps: list[PathStamp] = [stamp for row in videos.values() for stamp in row.stamps]
    paths = {stamp.path for stamp in stamps if under(stamp.path, whole)}
    if not paths:
        names = (selector, whole) if any(sign in selector for sign in "*?[") else (selector,)
        paths = {
            stamp.path
            for stamp in stamps
            if os.path.basename(stamp.path) == selector
            or any(fnmatchcase(stamp.path, name) for name in names)
        }
    return set(), paths
