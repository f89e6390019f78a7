"""An alias: a folder that holds no index but says which one is meant.

A new bundle needs a new index. It is built beside the old one, and then the alias is switched: one
small file is replaced, servers that serve the alias go over, and the old index can be dropped.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from finecut.errors import IndexCorrupt, UsageError
from finecut.index.meta import META_FILE, IndexMeta, read_meta, write_json

ALIAS_FILE = "alias.json"
_MOST_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Switched:
    """What `switch` did."""

    index: Path  # that is meant from now on
    before: Path | None  # that was meant until now
    meta: IndexMeta  # of the new one


def follow(place: str | Path) -> Path:
    """The index that is meant: what an alias names, and any other place itself.

    Raises:
        IndexCorrupt: the alias cannot be read.
    """
    folder = Path(place)
    target = _target(folder)
    return folder if target is None else target


def switch(alias: str | Path, index: str | Path) -> Switched:
    """Let an alias mean an index from now on; the alias is made where there is none.

    Args:
        alias: a folder of its own; of an alias there is nothing else in it.
        index: an index, or another alias, whose index is meant then.

    Raises:
        IndexNotFound, IndexMismatch, IndexCorrupt: ``index`` cannot be read.
        UsageError: ``alias`` is an index, or a folder that holds something else.
    """
    folder, target = Path(alias), follow(index)
    meta = read_meta(target)
    _check_free(folder)
    try:
        before = _target(folder)
    except IndexCorrupt:
        before = None  # a damaged alias is mended by switching it
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ALIAS_FILE, {"index": _shortest(target, folder)})
    return Switched(target, before, meta)


def _target(folder: Path) -> Path | None:
    """What the alias in a folder names; None where there is no alias."""
    path = folder / ALIAS_FILE
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise IndexCorrupt(f"The alias {path} cannot be read: {error}.") from error
    try:
        plain = json.loads(content)
        named = plain["index"]
        if not isinstance(named, str) or not 0 < len(named) <= _MOST_CHARS or "\0" in named:
            raise ValueError('`index` must be text, such as "../clips-2"')
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IndexCorrupt(
            f"The alias {path} is damaged ({error}). Mend it with: finecut switch {folder} INDEX"
        ) from error
    return Path(os.path.normpath(folder / named))  # an absolute path stays itself


def _shortest(target: Path, folder: Path) -> str:
    """A target in the same folder by its name, so that both may move together; else in full."""
    target, folder = (Path(os.path.abspath(path)) for path in (target, folder))
    return f"../{target.name}" if target.parent == folder.parent else str(target)


def _check_free(folder: Path) -> None:
    if (folder / META_FILE).exists():
        raise UsageError(
            f"{folder} is an index itself, not an alias. Name a place of its own: "
            "finecut switch ALIAS INDEX"
        )
    others = []
    if folder.is_dir():
        others = [entry.name for entry in folder.iterdir() if ALIAS_FILE not in entry.name]
    if others or (folder.exists() and not folder.is_dir()):
        raise UsageError(
            f"{folder} is no alias and not empty. Name a folder of its own: finecut switch "
            "ALIAS INDEX"
        )
