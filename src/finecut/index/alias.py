"""An alias: a folder that holds no index but says which one is meant.

A new bundle needs a new index. It is built beside the old one, and then the alias is switched: one
small file is replaced, servers that serve the alias go over, and the old index can be dropped.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from finecut.errors import IndexCorrupt, ObjectNotFound, UsageError
from finecut.index.meta import META_FILE, IndexMeta, read_meta, write_json
from finecut.storage.location import Location, is_url
from finecut.storage.objects import children, exists, read_bytes

ALIAS_FILE = "alias.json"
_MOST_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Switched:
    """What `switch` did."""

    index: Location  # that is meant from now on
    before: Location | None  # that was meant until now
    meta: IndexMeta  # of the new one


def follow(place: Location | str | Path) -> Location:
    """The index that is meant: what an alias names, and any other place itself.

    Raises:
        IndexCorrupt: the alias cannot be read.
        StorageError: its object store cannot be reached.
    """
    folder = Location.parse(place)
    target = _target(folder)
    return folder if target is None else target


def switch(alias: Location | str | Path, index: Location | str | Path) -> Switched:
    """Let an alias mean an index from now on; the alias is made where there is none.

    Args:
        alias: a folder of its own, or a prefix of an object store; there is nothing else in it.
        index: an index, or another alias, whose index is meant then.

    Raises:
        IndexNotFound, IndexMismatch, IndexCorrupt: ``index`` cannot be read.
        UsageError: ``alias`` is an index, or holds something else; or it is in an object store and
            the index is not.
        StorageError: an object store cannot be reached.
    """
    folder, target = Location.parse(alias), follow(index)
    meta = read_meta(target)
    if target.is_local and not folder.is_local:
        raise UsageError(
            f"{folder} is seen by other machines, {target} is not: name an index in an object "
            "store."
        )
    _check_free(folder)
    try:
        before = _target(folder)
    except IndexCorrupt:
        before = None  # a damaged alias is mended by switching it
    if folder.is_local:
        folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder / ALIAS_FILE, {"index": _shortest(target, folder)})
    return Switched(target, before, meta)


def _target(folder: Location) -> Location | None:
    """What the alias in a folder names; None where there is no alias."""
    path = folder / ALIAS_FILE
    if folder.is_local and not path.path.exists():
        return None
    try:
        content = read_bytes(path)
    except ObjectNotFound:
        return None
    try:
        plain = json.loads(content)
        named = plain["index"]
        if not isinstance(named, str) or not 0 < len(named) <= _MOST_CHARS or "\0" in named:
            raise ValueError('`index` must be text, such as "../clips-2"')
        if is_url(named):
            return Location.parse(named)
        if not folder.is_local:
            raise ValueError("in an object store `index` must be a URL, such as s3://bucket/clips")
    except (ValueError, TypeError, KeyError, RecursionError, UsageError) as error:
        raise IndexCorrupt(
            f"The alias {path} is damaged ({error}). Mend it with: finecut switch {folder} INDEX"
        ) from error
    return Location.parse(os.path.normpath(folder.path / named))  # an absolute path stays itself


def _shortest(target: Location, folder: Location) -> str:
    """A target in the same folder by its name, so that both may move together; else in full."""
    if not target.is_local:
        return str(target)
    target, folder = target.absolute(), folder.absolute()
    return f"../{target.name}" if target.parent == folder.parent else str(target)


def _check_free(folder: Location) -> None:
    if exists(folder / META_FILE):
        raise UsageError(
            f"{folder} is an index itself, not an alias. Name a place of its own: "
            "finecut switch ALIAS INDEX"
        )
    if folder.is_local and folder.path.exists() and not folder.path.is_dir():
        others = [folder.name]
    else:
        try:
            others = [name for name in children(folder) if ALIAS_FILE not in name]
        except ObjectNotFound:
            others = []
    if others:
        raise UsageError(
            f"{folder} is no alias and not empty (it holds {others[0]!r:.80}). Name a folder of "
            "its own: finecut switch ALIAS INDEX"
        )
