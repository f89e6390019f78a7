"""Stage 1 over a whole gallery: the k best inner products, exactly, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 65536  # gallery rows per product: 128 MB of float32 at R = 512


def top_rows(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k gallery rows of the largest inner product per query, best first.

    Args:
        queries: [Q, R].
        gallery: [G, R].
        k: rows wanted per query.
        allowed: [G], True = may be answered.

    Returns: rows [Q, n] and scores [Q, n] with n = min(k, allowed rows). Equal scores are ordered
        by row, so that an answer does not depend on block sizes.
    Raises:
        ShapeError: sizes disagree.

    >>> top_rows(np.array([[1.0, 0.0]]), np.array([[0.1, 0], [0.9, 0], [0.5, 0]]), 2)[0]
    array([[1, 2]])
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ShapeError(
            f"`queries` [Q, R] and `gallery` [G, R] must share R, got {queries.shape} and "
            f"{gallery.shape}."
        )
    if allowed is not None and allowed.shape != (len(gallery),):
        raise ShapeError(
            f"`allowed` must hold one entry per clip ({len(gallery)}), got {allowed.shape}."
        )
    chosen = None if allowed is None else np.flatnonzero(allowed)
    n_rows = len(gallery) if chosen is None else len(chosen)
    k = min(k, n_rows)
    best_rows = np.zeros((len(queries), 0), np.int64)
    best_scores = np.zeros((len(queries), 0), np.float32)
    if k <= 0:
        return best_rows, best_scores
    for start in range(0, n_rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n_rows)
        block = gallery[start:stop] if chosen is None else gallery[chosen[start:stop]]
        scores = np.asarray(queries @ block.T, np.float32)  # [Q, block]
        if scores.shape[1] > k:
            # All that reach the k-th best score, so that ties are settled by row below.
            part = _largest(scores, k)
            scores = np.take_along_axis(scores, part, axis=1)
        else:
            part = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        rows = part + start if chosen is None else chosen[part + start]
        best_rows = np.concatenate([best_rows, rows], axis=1)
        best_scores = np.concatenate([best_scores, scores], axis=1)
        order = np.lexsort((best_rows, -best_scores), axis=1)[:, :k]
        best_rows = np.take_along_axis(best_rows, order, axis=1)
        best_scores = np.take_along_axis(best_scores, order, axis=1)
    return best_rows, best_scores


def _largest(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions [Q, k] of the k largest per row; of equal ones at the edge, the first."""
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    edge = np.take_along_axis(scores, part, axis=1).min(axis=1)
    n_over = (scores >= edge[:, None]).sum(axis=1)
    for query in np.flatnonzero(n_over > k):  # ties at the edge: rare, settled with care
        above = np.flatnonzero(scores[query] > edge[query])
        equal = np.flatnonzero(scores[query] == edge[query])
        part[query] = np.concatenate([above, equal[: k - len(above)]])
    return part
