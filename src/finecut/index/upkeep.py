"""What keeps the tables of an index tidy: rows nobody counts any more, and files that are small."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

COMPACT_FRAGMENTS = 24  # fragments of a table from which joining them pays
DELETED_PART = 0.2  # of a table's rows from which giving their space back pays


def orphans(
    table: Any, live: Collection[tuple[str, int]], among: Collection[str] | None = None
) -> dict[int, list[str]]:
    """Ids of videos, by run, with rows in a table that count for nothing.

    Args:
        table: a Lance dataset with the columns ``video_id`` and ``build``.
        live: the (video id, run) whose rows count.
        among: look at these videos alone.
    """
    found = table.to_table(columns=["video_id", "build"])
    pairs = found.group_by(["video_id", "build"]).aggregate([])
    by_build: dict[int, list[str]] = {}
    for pair in zip(pairs["video_id"].to_pylist(), pairs["build"].to_pylist(), strict=True):
        if pair not in live and (among is None or pair[0] in among):
            by_build.setdefault(pair[1], []).append(pair[0])
    return by_build


def join_small_files(table: Any, rows: int) -> bool:
    """Join the files of a Lance dataset, up to so many rows each, where enough have piled up or
    enough rows were deleted; whether it was done."""
    parts = table.get_fragments()
    n_rows = sum(part.physical_rows for part in parts)
    n_deleted = sum(part.num_deletions for part in parts)
    n_small = sum(part.physical_rows < rows for part in parts)
    if n_small < COMPACT_FRAGMENTS and n_deleted <= DELETED_PART * n_rows:
        return False
    table.optimize.compact_files(
        target_rows_per_fragment=rows,
        materialize_deletions_threshold=DELETED_PART / 2,
        num_threads=1,
    )
    table.checkout_latest()
    return True
