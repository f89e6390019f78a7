"""Weights of the channels from a person's labelled queries, and what they are worth.

What a search finds does not depend on the weights, only its order does: each query is searched
once, and weights are tried on what was found. The gain is measured by cross-validation, on queries
the weights were not chosen by; a gain that does not survive that is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import UsageError
from finecut.search.answering import find_places
from finecut.search.candidates import video_scores
from finecut.search.fusion import Weights, fused_scores
from finecut.search.heard import Heard
from finecut.search.labelled import LabelledQuery, VideoNames, check_queries, read_queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.search.answering import Library
    from finecut.search.engine import Searcher
    from finecut.search.places import Place
    from finecut.search.query import QueryEncoder

GRID = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
FOLDS = 5
_ROUNDS = 2  # of going through all channels
MIN_QUERIES = 10


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled query and everything found for it, whatever the weights."""

    places: Sequence[Place]
    recall: NDArray[np.float32]  # [G] of the videos, by their best clip
    columns: Mapping[int, int]  # video -> place among the G
    target: int  # among the G

    def rank(self, weights: Weights) -> float:
        """Rank of the right video: those found by their best moment, then the rest by recall."""
        best: dict[int, float] = {}
        scores = fused_scores(self.places, weights)
        for place, score in zip(self.places, scores, strict=True):
            column = self.columns[place.video]
            best[column] = max(best.get(column, -np.inf), score)
        if self.target in best:
            pool, own, ahead = np.array(list(best.values())), best[self.target], 0
        else:
            rest = np.ones(len(self.recall), bool)
            rest[list(best)] = False
            pool, own, ahead = self.recall[rest], self.recall[self.target], len(best)
        return float(ahead + 1 + (pool > own).sum() + ((pool == own).sum() - 1) / 2)


def find_cases(
    library: Library,
    encoder: QueryEncoder,
    labelled: Sequence[LabelledQuery],
    names: VideoNames,
    recall_k: int,
) -> list[Case]:
    """Each query searched once. Queries are taken as sentences, whatever syntax they hold."""
    index = library.index
    gallery = np.unique(index.clips.video)
    columns = {int(video): place for place, video in enumerate(gallery)}
    heard = Heard(index, library.channels, None)
    cases = []
    for item, asked in zip(
        labelled, encoder.encode_texts([item.query for item in labelled]), strict=True
    ):
        texts = heard.words(item.query)
        _, places = find_places(library, asked, texts, recall_k, None)
        recall = video_scores(index, [asked.tokens])[0]
        cases.append(Case(places, recall, columns, columns[names.find(item.video, item.where)]))
    return cases


def tune(
    searcher: Searcher,
    queries: str | Path | Iterable[LabelledQuery | Mapping[str, Any]],
    *,
    recall_k: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """Weights that rank the right videos best, and figures before and after.

    Returns: ``weights``; ``now`` (weights in use) and ``tuned`` with ``r_at_1`` in percent and
        ``mir``, the mean inverse rank; ``cross_validated`` the same on held-out queries;
        ``n_queries``, ``n_heard`` (queries that any text answers), ``worth_it``.
    Raises:
        UsageError: no text channel in the index, fewer than ten queries, or a broken line.
    """
    if not searcher.channels:
        raise UsageError("This index holds no texts: there is no weight to tune.")
    labelled = read_queries(queries) if isinstance(queries, str | Path) else check_queries(queries)
    if len(labelled) < MIN_QUERIES:
        raise UsageError(
            f"Tuning takes at least {MIN_QUERIES} labelled queries, got {len(labelled)}: with "
            "fewer it cannot be told from chance."
        )
    cases = searcher.cases(labelled, VideoNames(searcher.index.videos), recall_k)
    now = searcher.weights
    weights = best_weights(cases, searcher.channels, now)
    held_out = np.empty(len(cases))
    fold = np.random.default_rng(seed).permutation(len(cases)) % FOLDS
    for number in range(FOLDS):
        others = [case for case, own in zip(cases, fold, strict=True) if own != number]
        chosen = best_weights(others, searcher.channels, now)
        for i in np.flatnonzero(fold == number):
            held_out[i] = cases[i].rank(chosen)
    before = np.array([case.rank(now) for case in cases])
    answer = {
        "n_queries": len(cases),
        "n_heard": sum(any(place.texts for place in case.places) for case in cases),
        "weights": dict(weights.by_channel),
        "now": _figures(before),
        "tuned": _figures(np.array([case.rank(weights) for case in cases])),
        "cross_validated": _figures(held_out),
    }
    answer["worth_it"] = answer["cross_validated"]["mir"] > answer["now"]["mir"]
    return answer


def best_weights(cases: Sequence[Case], channels: Sequence[str], now: Weights) -> Weights:
    """Weights of the largest mean inverse rank, channel by channel from those in use.

    Only ratios matter, so the picture keeps its weight, unless it is 0.
    """
    weights = dict(now.by_channel)
    weights["picture"] = weights["picture"] or 1.0
    best = _mir(cases, Weights(weights))
    for _ in range(_ROUNDS):
        for channel in channels:
            for value in GRID:
                tried = {**weights, channel: value * weights["picture"]}
                figure = _mir(cases, Weights(tried))
                if figure > best + 1e-9:
                    best, weights = figure, tried
    return Weights(weights)


def _mir(cases: Sequence[Case], weights: Weights) -> float:
    return float(np.mean([1.0 / case.rank(weights) for case in cases]))


def _figures(rank: NDArray[np.float64]) -> dict[str, float]:
    return {
        "r_at_1": round(100.0 * float((rank <= 1).mean()), 4),
        "mir": round(float((1.0 / rank).mean()), 4),
    }
