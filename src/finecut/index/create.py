"""What a new index begins with: a place that is free, empty tables, a head and a meta file."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from finecut.errors import IndexCorrupt, IndexMismatch
from finecut.index import history, lock
from finecut.index.meta import HEAD_FILE, META_FILE, SCHEMA_VERSION, Head, IndexMeta, write_json
from finecut.index.place import CACHE
from finecut.index.tables import (
    TABLES,
    TEXTS,
    load_lance,
    open_table,
    schema_of,
    table_options,
    table_path,
)
from finecut.index.texts import texts_schema
from finecut.storage import objects
from finecut.storage.location import Location


def foreign_entry(directory: Location) -> str | None:
    """Something in a folder that no index has: then it is not ours to fill."""
    if objects.exists(directory / META_FILE):
        return None
    ours = {
        lock.LOCK_FILE,
        lock.LEASE_FILE,
        HEAD_FILE,
        CACHE,
        history.FOLDER,
        *(f"{table}.lance" for table in TABLES),
    }
    for name in objects.children(directory):
        if name not in ours and not name.endswith(".part"):
            return name
    return None


def create(directory: Location, meta: IndexMeta, at: float) -> None:
    """Make an index of nothing; ``at`` is now, in Unix seconds.

    Raises:
        IndexCorrupt: tables with rows are there.
        OSError: it cannot be written.
    """
    for table in TABLES:
        with suppress(OSError, ValueError):
            if open_table(directory, table).count_rows():
                raise IndexCorrupt(
                    f"{directory} holds tables but no {META_FILE}. Put the file back, or "
                    "delete the folder and index again."
                )
    versions: dict[str, Any] = {table: make_table(directory, table, meta) for table in TABLES}
    head = Head(
        1,
        **versions,
        next_clip_id=0,
        build=0,
        n_videos=0,
        n_clips=0,
        n_frames=0,
        video_s=0.0,
        at=at,
    )
    write_json(directory / HEAD_FILE, head)
    write_json(directory / META_FILE, meta)  # last: from here on it is an index


def make_table(directory: Location, table: str, meta: IndexMeta) -> int:
    """An empty table in place of whatever is there; its version."""
    objects.delete_tree(directory / f"{table}.lance")
    dataset = load_lance().write_dataset(
        schema_of(table, meta).empty_table(),
        table_path(directory, table),
        storage_options=table_options(directory),
    )
    return dataset.version


def has_texts(directory: Location, head: Head) -> bool:
    """Whether the table of texts is there and to be trusted; texts can always be read again."""
    if not head.texts:  # made before there were texts, or by a finecut without them
        return False
    try:
        return bool(open_table(directory, TEXTS, head.texts).schema == texts_schema())
    except (OSError, ValueError):
        return False


def check_same(directory: Location, have: IndexMeta, wanted: IndexMeta) -> None:
    """Refuse to go on with an index in another way than it was begun.

    Raises:
        IndexMismatch: it was built with another bundle or other levels.
    """
    if have.schema_version != SCHEMA_VERSION or have.fingerprint != wanted.fingerprint:
        raise IndexMismatch(
            f"The index at {directory} was built with the bundle {have.bundle_name} "
            f"({have.fingerprint[:12]}); this run uses {wanted.bundle_name} "
            f"({wanted.fingerprint[:12]}). Use the first one: finecut index FOLDER "
            f"--bundle {have.bundle_ref} --index {directory}  or build a new index: "
            f"finecut index FOLDER --bundle {wanted.bundle_ref} --index NEW_PLACE  or delete "
            f"the folder {directory} to begin anew in its place."
        )
    if have.levels != wanted.levels:
        raise IndexMismatch(
            f"The index at {directory} stores tokens at level {have.levels!r}; this run "
            f"asks for {wanted.levels!r}. Go on with: finecut index FOLDER --levels "
            f"{have.levels} --index {directory}  or build a new index in another place."
        )


def check_kept(directory: Location, have: IndexMeta, wanted: IndexMeta) -> None:
    """Refuse to go on with another number of patch tokens than the index was begun with.

    Raises:
        IndexMismatch: says which.
    """
    if have.n_patch_tokens != wanted.n_patch_tokens:
        raise IndexMismatch(
            f"The index at {directory} keeps {have.n_patch_tokens} patch tokens of a frame; this "
            f"run asks for {wanted.n_patch_tokens}. Go on without --patches-kept, or build a new "
            "index in another place."
        )
