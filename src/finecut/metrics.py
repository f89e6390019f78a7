"""Retrieval metrics: ranks, R@K, MdR, MnR, RSum, mAP, MIR, nDCG, and moment localisation.

Everything here takes a matrix of similarities with **texts in rows** and videos in columns, is
NumPy only, and answers the same whatever the order of the gallery: items with equal scores share
the mean of the ranks they could take. The field's usual code does not do this (it counts a tie as
an extra query, or as a win: see docs/methods), so a constant matrix scores here what chance scores.
Pooled and sampled judgements (infAP, xinfAP) live in ``finecut.metrics_pooled``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finecut.errors import ShapeError

CHUNK_CELLS = 4_000_000
"""Cells of a comparison table held at once while ranking: 4 M booleans are 4 MiB."""

DEFAULT_KS = (1, 5, 10)


def ranks(sims: ArrayLike, relevant: ArrayLike | None = None) -> NDArray[np.float64]:
    """Rank of the first relevant item of each row, from 1; ties take the mean rank.

    Args:
        sims: [Q, G], higher is more alike, finite.
        relevant: [Q] the column of the one relevant item of each row; or [Q, G] bool, several
            may be relevant; or None: row i belongs to column i (Q = G).

    Returns:
        [Q] float64. With one relevant item: 1 + (items above) + (items equal) / 2. With r
        relevant items sharing the best relevant score among n others equal to them: the
        expected rank of the first under random order, 1 + above + n / (r + 1).

    Raises:
        ShapeError: sims is not a finite matrix, relevant does not fit it, or a row has no
            relevant item.

    >>> ranks([[0.9, 0.1, 0.2], [0.8, 0.3, 0.5], [0.4, 0.4, 0.4]])
    array([1., 3., 2.])
    >>> ranks([[0.1, 0.7, 0.3]], [[True, False, True]])
    array([2.])
    """
    sims = _finite_matrix(sims)
    relevance = _relevance(sims, relevant)
    best = np.where(relevance, sims, -np.inf).max(axis=1)  # [Q]
    answer = np.empty(len(sims), dtype=np.float64)
    step = max(1, CHUNK_CELLS // max(1, sims.shape[1]))
    for start in range(0, len(sims), step):
        rows = slice(start, start + step)
        equal = sims[rows] == best[rows, None]
        above = (sims[rows] > best[rows, None]).sum(axis=1)
        tied_relevant = (equal & relevance[rows]).sum(axis=1)
        tied_others = equal.sum(axis=1) - tied_relevant
        answer[rows] = 1.0 + above + tied_others / (tied_relevant + 1.0)
    return answer


def recall_at(rank: ArrayLike, k: int) -> float:
    """R@k: the share of queries whose first relevant item ranks k or better, in percent 0-100.

    >>> recall_at([1.0, 2.0, 4.0, 1.5], 1)
    25.0
    """
    rank = _rank_vector(rank)
    if k < 1:
        raise ShapeError(f"recall_at: k is {k}, expected 1 or more.")
    return float((rank <= k).mean() * 100.0)


def summary(rank: ArrayLike, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """The figures of a results table from a vector of ranks.

    Returns:
        ``r_at_<k>`` in percent for each k, ``RSum`` (their sum), ``MdR`` and ``MnR`` (median and
        mean rank, from 1), ``MIR`` (mean of 1 / rank). The median is the plain one; LAFF's
        published tables floor it.

    >>> figures = summary([1, 2, 20], ks=(1, 10))
    >>> {name: round(value, 2) for name, value in figures.items()}
    {'r_at_1': 33.33, 'r_at_10': 66.67, 'RSum': 100.0, 'MdR': 2.0, 'MnR': 7.67, 'MIR': 0.52}
    """
    rank = _rank_vector(rank)
    figures = {f"r_at_{k}": recall_at(rank, k) for k in ks}
    figures["RSum"] = float(sum(figures.values()))
    figures["MdR"] = float(np.median(rank))
    figures["MnR"] = float(rank.mean())
    figures["MIR"] = float((1.0 / rank).mean())
    return figures


def t2v(
    sims: ArrayLike, video_of_text: ArrayLike | None = None, ks: Sequence[int] = DEFAULT_KS
) -> dict[str, float]:
    """Text-to-video figures: each caption is a query, its video the one right answer.

    Args:
        sims: [Q, G] finite.
        video_of_text: [Q] column of each caption's video; None: caption i belongs to video i.
        ks: depths for R@K.

    >>> t2v([[0.9, 0.1], [0.8, 0.2], [0.1, 0.7]], [0, 0, 1])["r_at_1"]
    100.0
    """
    return summary(ranks(sims, video_of_text), ks)


def v2t(
    sims: ArrayLike, video_of_text: ArrayLike | None = None, ks: Sequence[int] = DEFAULT_KS
) -> dict[str, float]:
    """Video-to-text figures where captions are grouped by video (the CLIP4Clip protocol).

    The score of a video against a *group* of captions is that of the group's best caption, and
    groups are ranked: G candidates, not Q. (LAFF ranks the single captions instead:
    ``ranks(sims.T, relevant)`` with all captions of the video relevant.)

    >>> v2t([[0.9, 0.1], [0.2, 0.8], [0.1, 0.7]], [0, 0, 1])["MnR"]
    1.5
    """
    return summary(ranks(best_caption_sims(sims, video_of_text).T), ks)


def best_caption_sims(sims: ArrayLike, video_of_text: ArrayLike | None = None) -> NDArray:
    """[G, G]: row g is the largest similarity among the captions of video g to each video.

    Raises:
        ShapeError: a video without any caption.

    >>> best_caption_sims([[0.9, 0.1], [0.2, 0.8], [0.1, 0.7]], [0, 0, 1]).tolist()
    [[0.9, 0.8], [0.1, 0.7]]
    """
    sims = _finite_matrix(sims)
    if video_of_text is None:
        _relevance(sims, None)
        return sims
    groups = _columns(sims, video_of_text)
    videos = sims.shape[1]
    missing = np.setdiff1d(np.arange(videos), groups)
    if missing.size:
        raise ShapeError(
            f"best_caption_sims: {missing.size} of {videos} videos have no caption (first: "
            f"{missing[0]}); video-to-text needs one each. Leave those videos out."
        )
    best = np.full((videos, videos), -np.inf, dtype=sims.dtype)
    np.maximum.at(best, groups, sims)
    return best


def mean_average_precision(sims: ArrayLike, relevant: ArrayLike | None = None) -> float:
    """mAP in 0-1: per query the mean, over its relevant items, of precision at their ranks.

    Ties give the expectation over random orders of the tied items (McSherry and Najork, ECIR
    2008), so the order of the gallery cannot matter.

    >>> value = mean_average_precision([[0.9, 0.8, 0.1]], [[True, False, True]])
    >>> value == (1 / 1 + 2 / 3) / 2
    True
    """
    sims = _finite_matrix(sims)
    relevance = _relevance(sims, relevant)
    return float(np.mean([_average_precision(s, r) for s, r in zip(sims, relevance, strict=True)]))


def _average_precision(scores: NDArray, relevant: NDArray) -> float:
    total = relevant.sum()
    precision_sum, seen, seen_relevant = 0.0, 0, 0
    for size, hits in _tie_groups(scores, relevant.astype(np.float64)):
        if hits:
            places = np.arange(1, size + 1)
            others = (places - 1) * ((hits - 1) / (size - 1) if size > 1 else 0.0)
            precision_sum += float(
                (hits / size * (seen_relevant + others + 1) / (seen + places)).sum()
            )
        seen += size
        seen_relevant += hits
    return precision_sum / float(total)


def ndcg(sims: ArrayLike, gains: ArrayLike, k: int | None = None) -> float:
    """Mean nDCG@k in 0-1 with discount 1 / log2(1 + rank); ties share the mean discount.

    Args:
        sims: [Q, G] finite.
        gains: [Q, G], zero or more; each row needs one positive gain.
        k: depth; None is the whole gallery.

    >>> round(ndcg([[0.9, 0.5, 0.1]], [[0.0, 1.0, 0.0]]), 4)  # 1 / log2(1 + 2)
    0.6309
    """
    sims = _finite_matrix(sims)
    gains = np.asarray(gains, dtype=np.float64)
    if gains.shape != sims.shape or not np.isfinite(gains).all() or (gains < 0).any():
        raise ShapeError(
            f"ndcg: gains must be finite, zero or more, of shape {sims.shape}; got {gains.shape}."
        )
    if (gains.max(axis=1, initial=0.0) <= 0).any():
        raise ShapeError("ndcg: each row of gains needs at least one positive entry.")
    depth = sims.shape[1] if k is None else k
    discount = 1.0 / np.log2(np.arange(2, sims.shape[1] + 2))
    discount[depth:] = 0.0
    values = []
    for scores, gain in zip(sims, gains, strict=True):
        dcg, seen = 0.0, 0
        for size, gain_sum in _tie_groups(scores, gain):
            dcg += gain_sum / size * discount[seen : seen + size].sum()
            seen += size
        values.append(dcg / float((np.sort(gain)[::-1] * discount).sum()))
    return float(np.mean(values))


def _tie_groups(scores: NDArray, weights: NDArray[np.float64]) -> list[tuple[int, float]]:
    """(number of items, sum of their weights) per distinct score, best score first."""
    _, group = np.unique(scores, return_inverse=True)
    sizes = np.bincount(group)
    sums = np.bincount(group, weights=weights)
    return list(zip(sizes[::-1].tolist(), sums[::-1].tolist(), strict=True))


def moment_iou(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of intervals ``[start_s, end_s)``, broadcast over leading axes.

    Raises:
        ShapeError: last axis is not 2, a bound is not finite, or an interval ends before it
            starts. Two empty intervals have IoU 0.

    >>> moment_iou([[0.0, 4.0], [5.0, 6.0]], [2.0, 6.0]).tolist()  # 2 of 6 seconds; 1 of 4
    [0.3333333333333333, 0.25]
    """
    predicted, truth = _intervals(predicted, "predicted"), _intervals(truth, "truth")
    overlap = np.minimum(predicted[..., 1], truth[..., 1]) - np.maximum(
        predicted[..., 0], truth[..., 0]
    )
    overlap = np.maximum(overlap, 0.0)
    union = (predicted[..., 1] - predicted[..., 0]) + (truth[..., 1] - truth[..., 0]) - overlap
    return np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)


def moment_recall_at(
    predicted: Sequence[ArrayLike], truth: ArrayLike, *, k: int = 1, iou: float = 0.5
) -> float:
    """R@k@IoU in percent: queries with a moment of IoU >= ``iou`` among their first k.

    Args:
        predicted: one [n, 2] array of moments per query, best first; n may be 0.
        truth: [Q, 2].
        k: how many predictions count.
        iou: threshold in (0, 1].

    >>> moment_recall_at([[[0, 4]], [[0, 1], [2, 6]]], [[0, 5], [2, 6]], k=1, iou=0.7)
    50.0
    """
    best = _best_iou(predicted, truth, k)
    return float((best >= iou).mean() * 100.0)


def mean_iou(predicted: Sequence[ArrayLike], truth: ArrayLike) -> float:
    """mIoU in percent: mean over queries of the IoU of the first predicted moment.

    >>> mean_iou([[[0, 4]], []], [[0, 8], [2, 6]])
    25.0
    """
    return float(_best_iou(predicted, truth, 1).mean() * 100.0)


def _best_iou(predicted: Sequence[ArrayLike], truth: ArrayLike, k: int) -> NDArray[np.float64]:
    truth = _intervals(truth, "truth")
    if truth.ndim != 2 or len(truth) != len(predicted) or not len(truth):
        raise ShapeError(
            f"moments: {len(predicted)} queries predicted, truth has shape {truth.shape}; "
            "expected [Q, 2] with one row per query and at least one query."
        )
    best = np.zeros(len(truth))
    for row, moments in enumerate(predicted):
        moments = np.asarray(moments, dtype=np.float64)[:k]
        if moments.size:
            best[row] = moment_iou(moments, truth[row]).max()
    return best


def _intervals(value: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim < 1 or array.shape[-1] != 2 or not np.isfinite(array).all():
        raise ShapeError(f"{name}: expected finite [..., 2] seconds, got shape {array.shape}.")
    if (array[..., 1] < array[..., 0]).any():
        raise ShapeError(f"{name}: an interval ends before it starts; expected start_s <= end_s.")
    return array


def _rank_vector(rank: ArrayLike) -> NDArray[np.float64]:
    rank = np.asarray(rank, dtype=np.float64)
    if rank.ndim != 1 or not rank.size or not (np.isfinite(rank) & (rank >= 1)).all():
        raise ShapeError(
            f"rank: expected a non-empty vector of finite ranks from 1, got shape {rank.shape}."
        )
    return rank


def _finite_matrix(sims: ArrayLike) -> NDArray:
    sims = np.asarray(sims)
    if sims.dtype.kind not in "fiub":
        raise ShapeError(f"sims: expected numbers, got dtype {sims.dtype}.")
    if sims.dtype.kind != "f" or sims.dtype.itemsize < 4:
        sims = sims.astype(np.float64)
    if sims.ndim != 2 or 0 in sims.shape:
        raise ShapeError(f"sims: expected a non-empty [Q, G] matrix, got shape {sims.shape}.")
    bad = int((~np.isfinite(sims)).sum())
    if bad:
        raise ShapeError(
            f"sims: {bad} of {sims.size} entries are not finite; a rank among them means nothing. "
            "Look for NaN in the embeddings, or score masked items with a finite low value."
        )
    return sims


def _columns(sims: NDArray, index: ArrayLike) -> NDArray[np.intp]:
    index = np.asarray(index)
    if index.shape != (len(sims),) or index.dtype.kind not in "iu":
        raise ShapeError(
            f"relevant: expected {len(sims)} whole column numbers, got shape {index.shape} of "
            f"{index.dtype}."
        )
    if (index < 0).any() or (index >= sims.shape[1]).any():
        raise ShapeError(
            f"relevant: columns run from {index.min()} to {index.max()}, expected 0 to "
            f"{sims.shape[1] - 1}."
        )
    return index.astype(np.intp)


def _relevance(sims: NDArray, relevant: ArrayLike | None) -> NDArray[np.bool_]:
    if relevant is None:
        if sims.shape[0] != sims.shape[1]:
            raise ShapeError(
                f"sims: without `relevant` the matrix must be square (row i belongs to column i), "
                f"got {sims.shape}. Pass the column of each row's relevant item."
            )
        return np.eye(len(sims), dtype=bool)
    given = np.asarray(relevant)
    if given.ndim == 2:
        if given.shape != sims.shape or given.dtype != np.bool_:
            raise ShapeError(
                f"relevant: expected bool {sims.shape}, got {given.dtype} {given.shape}."
            )
        empty = int((~given.any(axis=1)).sum())
        if empty:
            raise ShapeError(f"relevant: {empty} rows have no relevant item; leave them out.")
        return given
    table = np.zeros(sims.shape, dtype=bool)
    table[np.arange(len(sims)), _columns(sims, given)] = True
    return table
