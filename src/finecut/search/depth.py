"""How many candidates a query needs re-ranked: fewer than all, where the first k are settled.

Patches are most of what re-ranking reads. A candidate's recall score and its few frames already say
what its re-rank score will be, but for an error that can be measured: on the bundle's own bank of
ordinary queries, in this very index. So candidates are looked at in the order of the prediction,
and the rest is left once the k-th best score stands above all that the rest can reach, by the
largest error there was. Where that cannot be shown to keep the first ten and to save work, every
candidate is looked at, as without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.index.meta import write_json
from finecut.search.rerank import rerank, token_sims
from finecut.types import TextTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.index.rows import StoredTokens
    from finecut.index.store import Index

CHUNK = 10  # candidates looked at between two decisions, at most
SENTENCES = 128  # of the bank: half to fit, half to check
_FEWEST = 32
RECALL_K, K = 50, 10  # candidates and answers the check is made with: those of a usual search
SAFE, SAVES = 0.99, 0.6  # part of the checked queries with the same first k, and of the cost left
# Patch bytes of a usual search from which deciding costs less than it saves: measured, see
# docs/decisions.md.
WORTH_BYTES = 8 << 20
_GROWTH = 1.5  # an index this many times as large is measured anew
_PREFIX = "depth-"
_FORM = 1


@dataclass(frozen=True, slots=True)
class Depth:
    """A re-rank score as predicted, and how far above the prediction it can be."""

    weights: tuple[float, ...]  # of the recall score, the best frame and the mean frame
    margin: float  # largest error among ordinary queries, in units of re-rank scores

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """[K] up to a shift that is common to the query's candidates."""
        return features @ np.array(self.weights)


def features_of(
    recall_scores: NDArray[np.float32], frame_sims: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What a score is predicted from, [K, 3]: recall score, best frame, mean of the frames."""
    best = np.where(mask, frame_sims, -np.inf).max(axis=1)
    mean = np.where(mask, frame_sims, 0.0).sum(axis=1) / mask.sum(axis=1)
    return np.stack([recall_scores, best, mean], axis=1).astype(np.float64)


def settle(
    predicted: NDArray[np.float64],
    margin: float,
    k: int,
    look: Callable[[NDArray[np.int64]], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Look at candidates until no other can be among the first k.

    Args:
        predicted: [K] scores up to a common shift.
        margin: how far above the prediction a score can be.
        k: answers wanted.
        look: places [n] of candidates to their true scores [n].

    Returns: scores [K], true ones of those that were looked at and predicted ones, below the k-th
        best, of the others; and which were looked at, [K].

    >>> true = np.array([0.9, 0.1, 0.8, 0.0], np.float32)
    >>> settle(np.array([0.9, 0.2, 0.7, 0.1]), 0.2, 1, lambda places: true[places])[1].tolist()
    [True, False, True, False]
    """
    order = np.argsort(-predicted, kind="stable")
    scores = predicted.astype(np.float32)
    looked = np.zeros(len(predicted), bool)
    done, stop = 0, min(k, len(order))
    while True:
        part = order[done:stop]
        scores[part] = look(part)
        looked[part] = True
        done = stop
        if done == len(order):
            return scores, looked
        seen = order[:done]
        shift = float((scores[seen] - predicted[seen]).mean())
        edge = float(np.partition(scores[seen], -k)[-k])
        needed = int((predicted[order] + shift + margin >= edge).sum())
        if needed <= done:
            break
        stop = min(needed, done + CHUNK)
    rest = order[done:]
    under = np.nextafter(np.float32(edge), np.float32(-np.inf))
    scores[rest] = np.minimum(predicted[rest] + shift, under)
    return scores, looked


@dataclass(frozen=True, slots=True)
class _Ordinary:
    """One ordinary query's candidates, looked at in full."""

    features: NDArray[np.float64]  # [K, 3]
    scores: NDArray[np.float32]  # [K]


def fit_depth(bundle: Bundle, index: Index) -> Depth | None:
    """What the bundle's ordinary queries show in this index; None where all must be looked at.

    Half of the queries gives prediction and margin. On the other half the first ten must be those
    of looking at everything in at least 99 % of the queries, at 60 % of the cost or less; else
    there is no such depth.
    """
    bank = bundle.query_bank()
    if bank is None or len(bank.recall) < _FEWEST or len(index.clips) < 2 * K:
        return None
    step = max(1, len(bank.recall) // SENTENCES)
    queries = [
        TextTokens(recall=recall, text=text)
        for recall, text in zip(bank.recall[::step], bank.text[::step], strict=True)
    ][:SENTENCES]
    cases = [_looked_at(bundle, index, query) for query in queries]
    depth = _fitted(cases[::2])
    if depth is None:
        return None
    same, cost = checked(cases[1::2], depth)
    if same < SAFE or cost > SAVES:
        return None
    # The largest error of all is the margin: the check was made with that of one half.
    return Depth(depth.weights, max(depth.margin, _margin(cases, depth)))


def _looked_at(bundle: Bundle, index: Index, query: TextTokens) -> _Ordinary:
    rows, recall_scores = index.recall(query.recall, RECALL_K)
    tokens = index.tokens(rows)
    scores, _ = rerank(bundle, query, recall_scores, tokens)
    return _Ordinary(frame_features(query, recall_scores, tokens), scores)


def frame_features(
    query: TextTokens, recall_scores: NDArray[np.float32], tokens: StoredTokens
) -> NDArray[np.float64]:
    """`features_of` candidates from their stored frames."""
    mask = tokens.frame_mask
    sims = token_sims(tokens.frames, tokens.frame_scale, mask, query.text)
    return features_of(recall_scores, sims, mask)


def _fitted(cases: list[_Ordinary]) -> Depth | None:
    """Least squares within queries: what is common to a query's candidates orders nothing."""
    features = np.concatenate([case.features - case.features.mean(axis=0) for case in cases])
    scores = np.concatenate([case.scores - case.scores.mean() for case in cases])
    weights = np.linalg.lstsq(features, scores, rcond=None)[0]
    if not np.isfinite(weights).all():
        return None
    depth = Depth(tuple(float(weight) for weight in weights), 0.0)
    return Depth(depth.weights, _margin(cases, depth))


def _margin(cases: list[_Ordinary], depth: Depth) -> float:
    """The most any candidate's score exceeds its prediction, shifted by the first k's errors."""
    worst = 0.0
    for case in cases:
        predicted = depth.predict(case.features)
        order = np.argsort(-predicted, kind="stable")
        errors = (case.scores - predicted)[order]
        if len(errors) > K:
            worst = max(worst, float(errors[K:].max() - errors[:K].mean()))
    return worst


def checked(cases: list[_Ordinary], depth: Depth) -> tuple[float, float]:
    """Part of the queries whose first k are those of looking at everything, and the part of the
    candidates that were looked at."""
    same, looked_at, asked = 0, 0, 0
    for case in cases:
        scores, looked = settle(
            depth.predict(case.features), depth.margin, K, lambda at, own=case: own.scores[at]
        )
        first, wanted = (np.argsort(-s, kind="stable")[:K] for s in (scores, case.scores))
        same += bool(np.array_equal(first, wanted))
        looked_at += int(looked.sum())
        asked += len(looked)
    return same / max(1, len(cases)), looked_at / max(1, asked)


class Depths:
    """The depth of one version of an index, as far as it is known. Safe to use from many threads.

    It is measured by `measure`, which takes a hundred full searches, and kept beside the index; a
    searcher that finds none kept looks at every candidate.
    """

    def __init__(self, bundle: Bundle, index: Index) -> None:
        self._bundle, self._index = bundle, index
        self._lock = threading.Lock()
        self._known: list[Depth | None] = []  # empty: not looked for yet

    def of(self, kind: str, k: int, recall_k: int = RECALL_K) -> Depth | None:
        """For a query of this kind, k answers and so many candidates; None: look at all of them.

        The largest error was found among 50 candidates: among more there can be a larger one.
        """
        if kind != "text" or k > K or recall_k > RECALL_K:
            return None
        with self._lock:
            if not self._known:
                self._known.append(self._kept()[1] if self.worth_it else None)
            return self._known[0]

    def measure(self) -> Depth | None:
        """Measure it, unless that is done or cannot pay; what `of` answers from now on."""
        if not self.worth_it:
            return None
        found, depth = self._kept()
        if not found:
            depth = fit_depth(self._bundle, self._index)
            self._keep(depth)
        with self._lock:
            self._known = [depth]
        return depth

    @property
    def worth_it(self) -> bool:
        """Whether a usual search reads so many patches that leaving some out pays."""
        rerank, clips, meta = self._bundle.manifest.rerank, self._index.clips, self._index.meta
        late = rerank is not None and rerank.kind == "late" and "patch_sims" in rerank.inputs
        if not late or meta.levels != "patch" or len(clips) < 2 * K:
            return False
        frames = float(clips.n_frames.mean()) * min(RECALL_K, len(clips))
        return frames * meta.n_patches * meta.embed_dim >= WORTH_BYTES

    @property
    def one_clip_each(self) -> bool:
        """Whether videos are single clips, nearly all of them."""
        return len(self._index.clips) <= 1.2 * len(self._index.videos)

    # -- kept beside the index: for this bundle and about this many clips ------------------------

    @property
    def _path(self) -> Path:
        text = f"{_FORM}|{self._index.meta.uuid}|{self._bundle.fingerprint}"
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        return self._index.cache_folder / f"{_PREFIX}{key}.json"

    def _kept(self) -> tuple[bool, Depth | None]:
        """Whether a measurement is kept that holds for this index, and what it says."""
        try:
            plain: dict[str, Any] = json.loads(self._path.read_bytes())
            size = len(self._index.clips) / int(plain["clips"])
            if not 1 / _GROWTH <= size <= _GROWTH:
                return False, None
            if plain["depth"] is None:
                return True, None
            weights = tuple(float(weight) for weight in plain["depth"]["weights"])
            depth = Depth(weights, float(plain["depth"]["margin"]))
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            return False, None
        good = len(weights) == 3 and np.isfinite([*weights, depth.margin]).all()
        return (True, depth) if good and depth.margin >= 0 else (False, None)

    def _keep(self, depth: Depth | None) -> None:
        plain = {
            "clips": len(self._index.clips),
            "depth": None if depth is None else asdict(depth),
        }
        with contextlib.suppress(OSError):  # an index that cannot be written to is searched too
            self._path.parent.mkdir(exist_ok=True)
            write_json(self._path, plain)
