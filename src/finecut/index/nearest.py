"""Stage 1 over very large galleries: Lance's vector index proposes, exact products decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMN = "recall"
INDEX_NAME = "recall_idx"
INDEX_TYPE = "IVF_RQ"  # a bit per dimension: 20 times smaller than the vectors, built in minutes
METRIC = "dot"
DIM_STEP = 8  # dimensions such an index can be built for are multiples of this
MIN_ROWS = 200_000  # below, an exact product is as quick
STALE_PART = 0.1  # of rows outside the index from which taking them in pays
GROWTH = 4  # times the rows it was trained on, after which the index is trained anew
PROPOSED = 4  # times k rows are proposed, and 100 more, for the exact products to choose from
PROBES_PART = 0.03  # of the partitions looked into, and 20 at least


def tend(dataset: Any, dim: int) -> bool:
    """Build, extend or rebuild the vector index where that pays; whether anything was done."""
    n_rows = dataset.count_rows()
    if n_rows < MIN_ROWS or dim % DIM_STEP:
        return False
    built = covered(dataset)
    if not built or n_rows > GROWTH * _partitions(dataset) ** 2:
        dataset.create_index(
            COLUMN,
            INDEX_TYPE,
            name=INDEX_NAME,
            metric=METRIC,
            num_partitions=max(2, int(n_rows**0.5)),
            num_bits=1,
            replace=True,
        )
    elif n_rows - built > STALE_PART * n_rows:
        dataset.optimize.optimize_indices(num_indices_to_merge=1)
    else:
        return False
    dataset.checkout_latest()
    return True


def covered(dataset: Any) -> int:
    """Rows inside the vector index; 0 without one."""
    if not any(found.name == INDEX_NAME for found in dataset.describe_indices()):
        return 0
    return int(dataset.stats.index_stats(INDEX_NAME).get("num_indexed_rows") or 0)


def _partitions(dataset: Any) -> int:
    parts = dataset.stats.index_stats(INDEX_NAME)["indices"]
    return max(int(part.get("num_partitions") or 2) for part in parts)


def nearest_rows(
    dataset: Any,
    query: NDArray[np.float32],
    k: int,
    *,
    clip_id: NDArray[np.int64],
    gallery: NDArray[np.float32],
    allowed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The k best gallery rows of one query, best first; None where the index gives too few.

    Args:
        dataset: the table ``clips``, with its vector index.
        query: [R].
        k: rows wanted.
        clip_id: [G] rising, by which rows of the table are found in the gallery.
        gallery: [G, R] what exact products are made with.
        allowed: [G], True = may be answered. Filtered after the proposal, which is made the larger
            for it: use this for filters that let a good part of the gallery through.
    """
    share = 1.0 if allowed is None else max(1, int(allowed.sum())) / len(clip_id)
    n = min(len(clip_id), int((PROPOSED * k + 100) / share))
    n_probes = max(20, int(PROBES_PART * len(clip_id) ** 0.5))
    table = dataset.to_table(
        columns=["clip_id", "_distance"],
        nearest={"column": COLUMN, "q": query, "k": n, "nprobes": n_probes},
    )
    ids = np.sort(table.column("clip_id").to_numpy())
    rows = np.minimum(np.searchsorted(clip_id, ids), len(clip_id) - 1)
    rows = rows[clip_id[rows] == ids]  # others belong to videos that do not count
    if allowed is not None:
        rows = rows[allowed[rows]]
    if len(rows) < k:
        return None
    scores = gallery[rows] @ query
    best = np.lexsort((rows, -scores))[:k]
    return rows[best], scores[best].astype(np.float32)
