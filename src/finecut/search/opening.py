"""The bundle an index is searched with, found and begun to load before all else is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finecut.bundle.load import Bundle
from finecut.errors import BundleError
from finecut.index.alias import follow
from finecut.index.meta import read_meta

if TYPE_CHECKING:
    from finecut.index.meta import IndexMeta
    from finecut.storage.location import Location


def bundle_of(meta: IndexMeta, asked: str | Path | None, threads: int | None) -> Bundle:
    """The bundle asked for; None: the one the index was built with.

    Raises:
        BundleError: it is missing or broken.
    """
    if asked is not None:
        return Bundle.load(asked, threads=threads)
    try:
        return Bundle.load(meta.bundle_ref, threads=threads)
    except BundleError as error:
        raise BundleError(
            f"The index was built with the bundle {meta.bundle_name}, found by "
            f"{meta.bundle_ref!r}, which does not load: {error} Where the bundle is elsewhere now, "
            "pass --bundle."
        ) from error


def begin_opening(index: Location, asked: str | Path | None, threads: int | None) -> Bundle:
    """The bundle for an index, its graphs loading in a thread while the caller imports the rest.

    Raises:
        IndexNotFound, IndexCorrupt, BundleError: as `Searcher.open`.
    """
    meta = read_meta(follow(index))
    bundle = bundle_of(meta, asked, threads)
    if bundle.fingerprint == meta.fingerprint:
        bundle.begin_warm_up()
    return bundle
