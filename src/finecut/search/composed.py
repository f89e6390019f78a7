"""AND and NOT: clips that show every term at once and nothing of what is left out.

Each term's chance on a clip is its calibrated confidence there, for that clip on its own. A clip's
chance is their product, times one minus the chance of each thing left out. On real clips this
keeps more of what is wanted, and lets less of what is not, than subtracting embeddings or
filtering (docs/how-search-works.md; benchmarks/negation.py measures it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from finecut.index.gallery import EXACT_ROWS
from finecut.search.candidates import Candidates, Looked, clip_hits, look_closely
from finecut.search.heard import NEVER, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.index.store import Index
    from finecut.search.calibration import Confidence
    from finecut.search.heard import Heard
    from finecut.search.query import Asked
    from finecut.search.understood import SoughtStep, SoughtTerm

_WIDEN = 4  # candidates per term, in multiples of recall_k, where not every clip can be looked at


@dataclass(frozen=True, slots=True)
class Chances:
    """What stage 1 says of one step on some clips."""

    recall: NDArray[np.float32]  # [N, T] recall scores of the terms' sentences
    total: NDArray[np.float64]  # [N] log chance of the step


class StepSearch:
    """Looks for one step of a query in one version of an index."""

    def __init__(
        self,
        bundle: Bundle,
        index: Index,
        confidence: Confidence,
        step: SoughtStep,
        heard: Heard,
        *,
        pictures: bool = True,
        reranked: bool = True,
    ) -> None:
        self.bundle, self.index, self.confidence = bundle, index, confidence
        self.step, self.heard = step, heard
        self.pictures = pictures  # False: only words are looked for
        self.reranked = reranked
        self.spreads: dict[str, float] = {}  # sentence -> how much frames differ for it

    def chances(self, rows: NDArray[np.int64]) -> Chances:
        """The step's chance on some clips [N]."""
        recall = np.stack([self._recall(term.asked, rows) for term in self.step.terms], axis=1)
        where = Where.clips(self.index, rows)
        total = self.against(rows)
        for place, term in enumerate(self.step.terms):
            total += self.log_chance(term, self.logits(term, rows, recall[:, place]), where)
        return Chances(recall, total)

    def rows(self, recall_k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Clips to look for the step in, in gallery order: every allowed one; in a very large index
        those that are likeliest for any of its terms."""
        size = len(self.index.clips)
        count = size if allowed is None else int(allowed.sum())
        if count <= EXACT_ROWS:
            return np.arange(size) if allowed is None else np.flatnonzero(allowed)
        found = [self.heard.rows(self.step)]
        for term in self.step.terms:
            if term.asked is not None:
                query = term.asked.tokens.recall
                found.append(self.index.recall(query, _WIDEN * recall_k, allowed)[0])
        rows = np.unique(np.concatenate(found).astype(np.int64))
        return rows if allowed is None else rows[allowed[rows]]

    def _recall(self, asked: Asked | None, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if asked is None:
            return np.zeros(len(rows), np.float32)
        matrix = self.index.recall_matrix()
        # The whole gallery in its order is read from the map as it is, without a copy.
        whole = len(rows) == len(matrix) and bool((rows == np.arange(len(rows))).all())
        return (matrix if whole else matrix[rows]) @ asked.tokens.recall

    def logits(
        self,
        term: SoughtTerm,
        rows: NDArray[np.int64],
        scores: NDArray[np.floating] | None = None,
    ) -> NDArray[np.float64]:
        """[N] log odds that clips show a term; ``scores`` [N] in the units of recall scores."""
        if term.asked is None:
            return np.zeros(len(rows))
        if scores is None:
            scores = self._recall(term.asked, rows)
        return self.confidence.logits(term.asked, rows, scores)

    def against(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """[N] log chance that clips show and say nothing of what is left out."""
        total = self.heard.log_unheard(self.step, Where.clips(self.index, rows))
        for asked in self.step.unseen:
            total += log_sigmoid(-self.confidence.logits(asked, rows, self._recall(asked, rows)))
        return total

    def log_chance(
        self, term: SoughtTerm, logits: NDArray[np.float64], where: Where
    ) -> NDArray[np.float64]:
        """[N] log chance of a term: seen, or its words heard; and each of its phrases heard."""
        chance = np.zeros(len(where))
        if term.asked is not None:
            heard = self.heard.chance(term, where)
            missed = log_sigmoid(-logits) if self.pictures else np.zeros(len(where))
            chance = np.log(-np.expm1(missed + np.log1p(-heard)) + 1e-300)
        return np.maximum(term.weight * chance + self.heard.log_phrases(term, where), NEVER)

    def candidates(self, recall_k: int, allowed: NDArray[np.bool_] | None) -> Candidates:
        """The ``recall_k`` likeliest clips, looked at closely, best first.

        The re-ranker's scores of a term take part in the units of its recall scores, so that the
        same calibration holds: shifted and scaled to their mean and deviation on these clips.
        """
        everywhere = self.rows(recall_k, allowed)
        found = self.chances(everywhere)
        best = np.argsort(-found.total, kind="stable")[:recall_k]
        best = best[found.total[best] > NEVER]
        rows = everywhere[best]
        where, total = Where.clips(self.index, rows), self.against(rows)
        looks: list[Looked] = []
        for place, term in enumerate(self.step.terms):
            scores = found.recall[best, place].astype(np.float64)
            if term.asked is not None:
                own = look_closely(
                    self.bundle,
                    self.index,
                    term.asked.tokens,
                    rows,
                    found.recall[best, place],
                    reranked=self.reranked,
                )
                scores = scores if own.scores is None else in_units(own.scores, scores)
                looks.append(own)
            total += self.log_chance(term, self.logits(term, rows, scores), where)
        looked = weakest(looks) if looks else self._unseen(rows)
        order = np.argsort(-total, kind="stable")
        hits = clip_hits(self.index, rows[order], np.exp(total[order]), looked, order)
        reranked = None if looked.scores is None else looked.scores[order]
        return Candidates(rows[order], found.recall[best, 0][order], reranked, hits)

    def _unseen(self, rows: NDArray[np.int64]) -> Looked:
        """Frames that say nothing, where only words are looked for."""
        tokens = self.index.tokens(rows, patches=False)
        times = [t[mask] for t, mask in zip(tokens.times, tokens.frame_mask, strict=True)]
        return Looked(None, times, [np.ones(len(part), np.float32) for part in times])

    def sure(self, row: int, where: Where, gallery: int) -> float:
        """Confidence in a moment of one clip: of its weakest term, or that nothing is there that
        should not be."""
        rows = np.array([row])
        chances = [0.0]
        for term in self.step.terms:
            logits = np.zeros(1)
            if term.asked is not None:
                scores = self._recall(term.asked, rows)
                logits = self.confidence.logits(term.asked, rows, scores, gallery)
            plain = replace(term, weight=1.0)
            chances.append(float(self.log_chance(plain, logits, where)[0]))
        return float(np.exp(min([*chances, float(self.against(rows)[0])])))

    def seen(self, row: int, gallery: int) -> float | None:
        """Confidence that the pictures of one clip show every sentence of the step, and nothing
        that should not be there; None where no picture is looked at."""
        asked = [term.asked for term in self.step.terms if term.asked is not None]
        if not (asked and self.pictures):
            return None
        rows = np.array([row])
        chances = [
            log_sigmoid(self.confidence.logits(one, rows, self._recall(one, rows), gallery))[0]
            for one in asked
        ]
        return float(np.exp(min([*chances, self.against(rows)[0]])))


def log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(1 / (1 + exp(-x))) for any x.

    >>> log_sigmoid(np.array([0.0, -1000.0, 1000.0])).round(4).tolist()
    [-0.6931, -1000.0, -0.0]
    """
    return -np.logaddexp(0.0, -np.asarray(x, np.float64))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) for any x."""
    return np.exp(log_sigmoid(x))


def in_units(scores: NDArray[np.floating], units: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores shifted and scaled to the mean and deviation of others of the same clips.

    >>> in_units(np.array([0.0, 2.0]), np.array([0.1, 0.3])).round(3).tolist()
    [0.1, 0.3]
    """
    scores, units = np.asarray(scores, np.float64), np.asarray(units, np.float64)
    spread = float(scores.std())
    if spread <= 1e-9:
        return units
    return units.mean() + (scores - scores.mean()) * (float(units.std()) / spread)


def weakest(looks: Sequence[Looked]) -> Looked:
    """Frames as relevant as to the term they fit least: a moment shows all. Scores of the first."""
    relevance = [
        np.minimum.reduce(parts) for parts in zip(*(one.relevance for one in looks), strict=True)
    ]
    return replace(looks[0], relevance=relevance)
