"""Clips that other processes write beside an index, and its writer takes in: Lance fragments.

A fragment is a file of rows that no version of a table names yet. Many processes may write them at
once, each its own; nobody sees them until the one writer commits them. What is never committed is
a file without a name, which the upkeep of the index deletes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finecut.index.tables import CLIPS, TOKENS, load_lance

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class WrittenClips:
    """Rows of some clips in both tables: fragments as JSON, which may travel between machines."""

    tokens: tuple[str, ...]
    clips: tuple[str, ...]


def write_clips(
    tokens: pa.Table, clips: pa.Table, token_table: Any, clip_table: Any
) -> WrittenClips:
    """Write rows beside the tables.

    Args:
        tokens: rows of the table ``tokens``.
        clips: rows of the table ``clips``, for the same clips.
        token_table: the Lance dataset they are for.
        clip_table: the other.

    Raises:
        OSError: they cannot be written.
    """
    return WrittenClips(_write(tokens, token_table), _write(clips, clip_table))


def _write(rows: pa.Table, dataset: Any) -> tuple[str, ...]:
    load_lance()
    from lance.fragment import write_fragments

    found = write_fragments(rows, dataset, schema=dataset.schema, mode="append")
    return tuple(json.dumps(fragment.to_json()) for fragment in found)


def append_fragments(dataset: Any, fragments: Iterable[str]) -> None:
    """Commit fragments to a table: all of them, as one version.

    Raises:
        OSError: the table cannot be written.
    """
    lance = load_lance()
    found = [lance.fragment.FragmentMetadata.from_json(text) for text in fragments]
    if found:
        lance.LanceDataset.commit(
            dataset, lance.LanceOperation.Append(found), read_version=dataset.version
        )
        dataset.checkout_latest()


def append_written(tables: dict[str, Any], written: Sequence[WrittenClips]) -> None:
    """Commit clips to both tables, tokens first, as the writer does with its own."""
    append_fragments(tables[TOKENS], [text for item in written for text in item.tokens])
    append_fragments(tables[CLIPS], [text for item in written for text in item.clips])
