"""Stage 1 over a whole gallery: the k best inner products, exactly, in bounded memory.

A float32 product of many rows at once differs in its last digits with the rows beside it. So it
only chooses who may be among the best; their scores are products in float64, rounded once. An
answer is then the same to the last bit whichever way it was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 65536  # gallery rows per product: 128 MB of float32 at R = 512
SCORED_ROWS = 4096  # rows per product in float64
FEW_ROWS = 1024  # named rows up to which all are scored in float64 at once
ROUNDING = 2.0**-23  # per dimension and length, what a float32 product may be off by; with room


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
        by row; no answer depends on block sizes or on other queries.
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
    return best_of(queries, gallery, k, None if allowed is None else np.flatnonzero(allowed))


def best_of(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    k: int,
    among: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """`top_rows` among some rows [N] of the gallery, or all: [Q, n] with n = min(k, N)."""
    n_rows = len(gallery) if among is None else len(among)
    k = max(0, min(k, n_rows))
    rows = np.zeros((len(queries), k), np.int64)
    scores = np.zeros((len(queries), k), np.float32)
    if k == 0:
        return rows, scores
    kept: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = [
        (np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries
    ]
    if among is not None and n_rows <= FEW_ROWS:
        kept = [(np.asarray(among, np.int64), scores[0])] * len(queries)
        n_rows = 0
    lengths = np.linalg.norm(queries, axis=1)
    for start in range(0, n_rows, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, n_rows)
        block = gallery[start:stop] if among is None else gallery[among[start:stop]]
        products = np.asarray(queries @ block.T, np.float32)  # [Q, block]
        for query, own in enumerate(products):
            near = _near_the_best(own, k, block, lengths[query])
            found = near + start if among is None else among[near + start].astype(np.int64)
            before, best = kept[query]
            together = np.concatenate([best, own[near]])
            found = np.concatenate([before, found])
            if len(together) > k and len(before):
                near = _near_the_best(together, k, gallery, lengths[query], found)
                found, together = found[near], together[near]
            kept[query] = found, together
    for query, (found, _) in enumerate(kept):
        exact = exact_scores(queries[query], gallery, found)
        order = np.lexsort((found, -exact))[:k]
        rows[query], scores[query] = found[order], exact[order]
    return rows, scores


def _near_the_best(
    scores: NDArray[np.float32],
    k: int,
    vectors: NDArray[np.float32],
    query_length: float,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Places of the k largest scores and of all that rounding may have put behind them.

    Args:
        scores: [N] float32 products.
        k: how many count.
        vectors: the rows that were multiplied.
        query_length: of the other side.
        rows: [N] where the vectors are; None: in the order of the scores.
    """
    if len(scores) <= k:
        return np.arange(len(scores))
    best = np.argpartition(scores, len(scores) - k)[-k:]
    some = vectors[best if rows is None else rows[best]]
    longest = float(np.sqrt(np.einsum("nr,nr->n", some, some).max()))
    slack = ROUNDING * some.shape[1] * query_length * longest
    return np.flatnonzero(scores >= scores[best].min() - slack)


def exact_scores(
    query: NDArray[np.floating], gallery: NDArray[np.floating], rows: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Inner products [N] of a query [R] with rows of a gallery [G, R], rounded once.

    >>> exact_scores(np.array([1.0, 2.0]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([1]))
    array([17.], dtype=float32)
    """
    wide = np.asarray(query, np.float64)
    made = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), SCORED_ROWS):
        part = np.asarray(gallery[rows[start : start + SCORED_ROWS]], np.float64)
        # einsum adds up each row alike, wherever it stands; BLAS does not.
        made[start : start + len(part)] = np.einsum("nr,r->n", part, wide)
    return made
