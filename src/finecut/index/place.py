"""Where the index of a person lies when they name none."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path

from finecut.storage.location import Location, is_url

CACHE = "cache"  # beside a local index


def default_index() -> Location:
    """The environment variable ``FINECUT_INDEX``, else ``index`` in the user's data directory.

    The directory need not exist yet.

    Raises:
        UsageError: ``FINECUT_INDEX`` is a URL that names no place.
    """
    named = os.environ.get("FINECUT_INDEX")
    if named:
        return Location.parse(named if is_url(named) else Path(named).expanduser())
    from platformdirs import user_data_dir

    return Location.parse(Path(user_data_dir("finecut", appauthor=False)) / "index")


def cache_folder(directory: Location, uuid: str) -> Path:
    """Where the disposable copy of an index lies: beside a local one; on this machine for one in an
    object store, below ``FINECUT_CACHE`` or the user's cache directory.

    Args:
        directory: of the index.
        uuid: of the index, so that another one made in the same place has its own.
    """
    if directory.is_local:
        return directory.path / CACHE
    name = uuid if re.fullmatch(r"[0-9a-f]{32}", uuid) else sha256(uuid.encode()).hexdigest()[:32]
    return cache_root() / "indexes" / name


def cache_root() -> Path:
    """``FINECUT_CACHE``, else the user's cache directory; it need not exist yet."""
    named = os.environ.get("FINECUT_CACHE")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("finecut", appauthor=False))
