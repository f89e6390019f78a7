"""A copy of an index, taken while it is searched and written."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from finecut.errors import NotFound, ObjectNotFound, UsageError
from finecut.index.alias import follow
from finecut.index.history import Commit, find
from finecut.index.meta import HEAD_FILE, META_FILE, read_head, read_meta, write_json
from finecut.index.tables import TABLES
from finecut.storage.location import Location
from finecut.storage.objects import children, read_bytes, walk, write_bytes

TRIES = 3  # a writer may tidy while files are copied


def copy_index(index: Location | str | Path, target: Location | str | Path) -> Commit:
    """Copy an index as it is at its latest commit to an empty place; local or in a bucket, both.

    Files of tables never change, and a head names versions that are complete: so the head is read
    first, everything is copied, and the copy gets that head at the end. What a writer adds
    meanwhile is beyond it: the copy's next writer brings the tables to what its head names.

    Args:
        index: an index, or an alias of it.
        target: where nothing is yet. It becomes an index of its own, which can be searched.

    Returns: the commit that was copied.
    Raises:
        IndexNotFound, IndexCorrupt: there is no index that can be read.
        UsageError: something is at ``target``.
        NotFound: versions were tidied away while they were copied, more than once.
        StorageError: a place cannot be read or written.
    """
    source, place = follow(index), Location.parse(target)
    meta = read_meta(source)
    try:
        there = children(place)
    except ObjectNotFound:
        there = []
    if there:
        raise UsageError(f"{place} is not empty. Name a new place for the copy.")
    for _ in range(TRIES):
        head = read_head(source)
        for table in TABLES:
            for found, _, _ in walk(source / f"{table}.lance"):
                _copy(found, _same_place(found, source, place))
        try:
            find(source, head.number)  # still kept: so all its files were there all the time
        except NotFound:
            continue
        write_json(place / HEAD_FILE, replace(head, restored=True))
        # An identity of its own: the copy may be written to, and caches go by it.
        write_json(place / META_FILE, replace(meta, uuid=uuid4().hex))
        return find(place, head.number)
    raise NotFound(
        f"What {source} held was tidied away while it was copied, {TRIES} times. Keep past states "
        f"for longer than copying takes: finecut index FOLDER --index {source} --keep-days 1"
    )


def _same_place(found: Location, source: Location, place: Location) -> Location:
    for name in found.relative_to(source).split("/"):
        place = place / name
    return place


def _copy(source: Location, target: Location) -> None:
    """Copy a file, unless it is gone by now: then it was of a state that is no longer kept."""
    if target.is_local:
        target.path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(ObjectNotFound, FileNotFoundError):
        if source.is_local and target.is_local:
            shutil.copyfile(source.path, target.path)
        else:
            write_bytes(target, read_bytes(source))
