"""Measure search on labelled queries: ranks over all videos of the index, in both stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import UsageError
from finecut.metrics import mean_iou, moment_recall_at, ranks, summary
from finecut.search.candidates import find_candidates, video_scores
from finecut.search.labelled import LabelledQuery, VideoNames, check_queries, read_queries
from finecut.search.moments import find_moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.search.engine import Searcher

_BLOCK_CELLS = 16_000_000  # query x clip scores held at once: 64 MB


def quality(
    searcher: Searcher,
    queries: str | Path | Iterable[LabelledQuery | Mapping[str, Any]],
    *,
    recall_k: int = 50,
) -> dict[str, Any]:
    """The figures of ``finecut quality``: R@1, R@5, R@10 in percent, median and mean rank.

    Each query has one right video, ranked among all videos of the index by their best clip.
    ``recall`` is stage 1, exact over the whole index. ``rerank`` is as served: the videos of the
    ``recall_k`` candidates by re-rank score, then the rest in recall order. ``moments``, where
    queries have times: the first moment of the answer counts if it lies in the right video with
    an IoU of at least 0.5; ``miou`` is its mean IoU, 0 in a wrong video, both in percent.
    ``fused``, where the index holds texts: as served, with pictures and words in one ranking.

    Args:
        searcher: over the index.
        queries: a JSON-lines file, or objects with ``query``, ``video`` (path, file name or id),
            and ``start_s`` and ``end_s`` where known.
        recall_k: candidates, as in `Searcher.search`.

    Raises:
        UsageError: a broken line, or a video that is not (or ambiguous) in the index, with the
            number of the line.
    """
    if recall_k < 1:
        raise UsageError(f"recall_k must be at least 1, got {recall_k}.")
    labelled = read_queries(queries) if isinstance(queries, str | Path) else check_queries(queries)
    index = searcher.index
    names = VideoNames(index.videos)
    right = [names.find(item.video, item.where) for item in labelled]
    gallery = np.unique(index.clips.video)  # videos with at least one clip, by position
    column = {int(video): place for place, video in enumerate(gallery)}
    target = np.array([column[video] for video in right])
    tokens = [item.tokens for item in searcher.encode_texts([item.query for item in labelled])]

    recall_ranks = np.empty(len(labelled))
    served_ranks = np.empty(len(labelled))
    found: list[list[list[float]]] = []
    truth: list[list[float]] = []
    step = max(1, _BLOCK_CELLS // max(1, len(index.clips)))
    for start in range(0, len(labelled), step):
        block = slice(start, start + step)
        sims = video_scores(index, tokens[block])  # [Q, G]
        recall_ranks[block] = ranks(sims, target[block])
        for place, scores in enumerate(sims, start):
            item = labelled[place]
            served = find_candidates(searcher.bundle, index, tokens[place], recall_k)
            served_ranks[place] = _served_rank(served.hits, scores, column, int(target[place]))
            if item.start_s is not None and item.end_s is not None:
                first = find_moments(served.hits, 1)[0]
                hit = first.hits[0].video == right[place]
                found.append([[first.start_s, first.end_s]] if hit else [])
                truth.append([item.start_s, item.end_s])
    answer: dict[str, Any] = {
        "n_queries": len(labelled),
        "n_gallery": len(gallery),
        "recall": _figures(recall_ranks),
        "rerank": _figures(served_ranks),
    }
    if searcher.channels:
        cases = searcher.cases(labelled, names, recall_k)
        weights = searcher.weights
        answer["fused"] = _figures(np.array([case.rank(weights) for case in cases]))
    if truth:
        answer["moments"] = {
            "r_at_1_iou_0.5": round(moment_recall_at(found, truth, k=1, iou=0.5), 4),
            "miou": round(mean_iou(found, truth), 4),
        }
    return answer


def _served_rank(
    hits: Sequence[Any], recall: NDArray[np.float32], column: dict[int, int], target: int
) -> float:
    """Rank of the right video: candidates by their score, then the rest by recall; ties shared."""
    best: dict[int, float] = {}
    for hit in hits:
        place = column[hit.video]
        best[place] = max(best.get(place, -np.inf), hit.score)
    if target in best:
        pool, own = np.array(list(best.values())), best[target]
        ahead = 0
    else:
        rest = np.ones(len(recall), bool)
        rest[list(best)] = False
        pool, own = recall[rest], recall[target]
        ahead = len(best)
    return float(ahead + 1 + (pool > own).sum() + ((pool == own).sum() - 1) / 2)


def _figures(rank: NDArray[np.float64]) -> dict[str, float]:
    figures = summary(rank, ks=(1, 5, 10))
    names = {
        "r_at_1": "r_at_1",
        "r_at_5": "r_at_5",
        "r_at_10": "r_at_10",
        "mdr": "MdR",
        "mnr": "MnR",
    }
    return {name: round(figures[key], 4) for name, key in names.items()}
