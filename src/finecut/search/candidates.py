"""The clips of one query that are looked at closely: recalled, their tokens read, re-ranked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.search.depth import frame_features, settle
from finecut.search.moments import ClipHit
from finecut.search.rerank import lacking, rerank, token_sims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from finecut.bundle.load import Bundle
    from finecut.bundle.manifest import Rerank
    from finecut.index.rows import StoredTokens
    from finecut.index.store import Index
    from finecut.search.depth import Depth
    from finecut.types import TextTokens

BLOCK = 256  # candidates in one run of the re-ranker: bounds memory when the whole gallery is asked


@dataclass(frozen=True, slots=True)
class Candidates:
    """Clips of one query, best first. Equal scores keep recall's order, then the gallery's."""

    rows: NDArray[np.int64]  # [K] in the gallery
    recall_scores: NDArray[np.float32]  # [K]
    rerank_scores: NDArray[np.float32] | None  # [K]; None where stage 1 has the last word
    hits: list[ClipHit]  # [K]
    settled: float = -np.inf  # hits from this score on are where they belong, for certain


def find_candidates(
    bundle: Bundle,
    index: Index,
    query: TextTokens,
    recall_k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    reranked: bool = True,
    also: NDArray[np.int64] | None = None,
    k: int = 0,
    depth: Depth | None = None,
) -> Candidates:
    """The ``recall_k`` clips of the largest inner product with the query, re-ranked.

    Without re-ranking (not wanted, no such graph, or an index without the levels it needs) the
    recall scores decide. Frame relevance is the cosine of text and frame, which one can compare
    between clips; a cross re-ranker's own where it is what matches text and frames. ``also`` are
    clips [N] that are looked at wherever stage 1 has them. With a ``depth`` only so many are
    re-ranked as the first ``k`` need; of the others the score is a prediction below
    `Candidates.settled`.
    """
    rows, recall_scores = index.recall(query.recall, recall_k, allowed)
    rows = np.asarray(rows, np.int64)
    recall_scores = np.asarray(recall_scores, np.float32)
    if also is not None and len(more := np.setdiff1d(also, rows)):
        own = index.recall_matrix()[more] @ query.recall
        rows, recall_scores = np.append(rows, more), np.append(recall_scores, own)
        order = np.argsort(-recall_scores, kind="stable")
        rows, recall_scores = rows[order], recall_scores[order]
    if depth is not None and reranked and 0 < k < len(rows) <= BLOCK:
        looked = look_as_needed(bundle, index, query, rows, recall_scores, k, depth)
    else:
        looked = look_closely(bundle, index, query, rows, recall_scores, reranked=reranked)
    if looked.scores is None:
        order, final = np.arange(len(rows)), recall_scores
    else:
        order, final = np.argsort(-looked.scores, kind="stable"), looked.scores
    hits = clip_hits(index, rows[order], final[order], looked, order)
    scores = None if looked.scores is None else final[order]
    settled = float(final[order[k - 1]]) if looked.guessed else -np.inf
    return Candidates(rows[order], recall_scores[order], scores, hits, settled)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a close look at K clips says of one query, in the order the clips were given."""

    scores: NDArray[np.float32] | None  # [K] of the re-ranker; None where there is none
    times: list[NDArray[np.float64]]  # K x [F]
    relevance: list[NDArray[np.float32]]  # K x [F] in [0, 1], one scale for all
    guessed: int = 0  # of the scores are predictions, all below the k-th best


def look_closely(
    bundle: Bundle,
    index: Index,
    query: TextTokens,
    rows: NDArray[np.int64],
    recall_scores: NDArray[np.float32],
    *,
    reranked: bool = True,
) -> Looked:
    """Re-rank scores and frame relevance of clips, from their stored tokens."""
    graph = bundle.manifest.rerank if reranked else None
    scores: list[NDArray[np.float32]] = []
    times: list[NDArray[np.float64]] = []
    relevance: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        tokens = index.tokens(rows[block], patches=reads_patches(graph))
        if graph and lacking(bundle.manifest, tokens):
            graph = None
        frames = None
        if graph:
            found, weights = rerank(bundle, query, recall_scores[block], tokens)
            scores.append(found)
            frames = weights if graph.kind == "cross" else None
        if frames is None:
            frames = plain_relevance(query, tokens)
        for place, mask in enumerate(tokens.frame_mask):
            times.append(tokens.times[place][mask])
            relevance.append(frames[place][mask])
    final = np.concatenate(scores) if scores else recall_scores
    cross = graph is not None and graph.kind == "cross"
    relevance = scaled_weights(relevance, final) if cross else one_scale(relevance)
    return Looked(final if scores else None, times, relevance)


def reads_patches(graph: Rerank | None) -> bool:
    """Whether a re-ranker looks at patches, which are most of what is stored."""
    return graph is not None and "patch_sims" in graph.inputs


def look_as_needed(
    bundle: Bundle,
    index: Index,
    query: TextTokens,
    rows: NDArray[np.int64],
    recall_scores: NDArray[np.float32],
    k: int,
    depth: Depth,
) -> Looked:
    """As `look_closely`, but patches are read only as far as the first ``k`` need it.

    Frames are read of all, so that what is relevant is on the same scale. Clips of the videos that
    are among the first k are always looked at: a moment may reach into them.
    """
    frames = index.tokens(rows, patches=False)
    predicted = depth.predict(frame_features(query, recall_scores, frames))

    def look(places: NDArray[np.int64]) -> NDArray[np.float32]:
        return rerank(bundle, query, recall_scores[places], index.tokens(rows[places]))[0]

    scores, looked = settle(predicted, depth.margin, k, look)
    video = index.clips.video[rows]
    first = np.argsort(-scores, kind="stable")[:k]
    beside = np.flatnonzero(~looked & np.isin(video, video[first]))
    if len(beside):
        scores[beside] = look(beside)
        looked[beside] = True
    sims = plain_relevance(query, frames)
    times = [own[mask] for own, mask in zip(frames.times, frames.frame_mask, strict=True)]
    relevance = [own[mask] for own, mask in zip(sims, frames.frame_mask, strict=True)]
    return Looked(scores, times, one_scale(relevance), int((~looked).sum()))


def clip_hits(
    index: Index,
    rows: NDArray[np.int64],
    scores: NDArray[np.floating],
    looked: Looked,
    order: NDArray[np.int64],
) -> list[ClipHit]:
    """Hits of clips [K]; ``order`` [K] is where each was when it was looked at."""
    clips = index.clips
    return [
        ClipHit(
            row=row,
            video=int(clips.video[row]),
            number=int(clips.number[row]),
            start_s=float(clips.start_s[row]),
            end_s=float(clips.end_s[row]),
            score=float(score),
            times=looked.times[place],
            relevance=looked.relevance[place],
        )
        for row, score, place in zip(rows.tolist(), scores.tolist(), order.tolist(), strict=True)
    ]


def video_scores(index: Index, queries: Sequence[TextTokens]) -> NDArray[np.float32]:
    """[Q, G]: the best recall score among the clips of each video; videos by position."""
    clips = index.clips
    order = np.argsort(clips.video, kind="stable")
    firsts = np.flatnonzero(np.diff(clips.video[order], prepend=-1))
    asked = np.stack([item.recall for item in queries])  # [Q, R]
    scores = asked @ np.asarray(index.recall_matrix()).T  # [Q, clips]
    return np.maximum.reduceat(scores[:, order], firsts, axis=1)


def plain_relevance(query: TextTokens, tokens: StoredTokens) -> NDArray[np.float32]:
    """Text . frame cosines [K, F]: one scale for all clips; alike where no frame is stored."""
    if tokens.frames is None:
        return np.ones(tokens.frame_mask.shape, np.float32)
    return token_sims(tokens.frames, tokens.frame_scale, tokens.frame_mask, query.text)


def scaled_weights(
    weights: list[NDArray[np.float32]], scores: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Weights of frames within their clips, made comparable by how good each clip is, in [0, 1].

    A cross re-ranker looks at one clip at a time: its frame relevance says which frame of the clip
    matters, not whether the clip does.

    >>> weights = [np.array([0.25, 0.5]), np.array([0.5, 0.5])]
    >>> [part.tolist() for part in scaled_weights(weights, np.array([3.0, 1.0]))]
    [[0.5, 1.0], [0.0, 0.0]]
    """
    spread = float(np.ptp(scores)) if len(scores) else 0.0
    level = np.ones(len(scores)) if spread <= 1e-9 else (scores - scores.min()) / spread
    made = []
    for part, height in zip(weights, level.tolist(), strict=True):
        shown = np.maximum(part, 0.0)
        most = float(shown.max())
        shape = np.ones_like(shown) if most <= 1e-9 else shown / most
        made.append((height * shape).astype(np.float32))
    return made


def one_scale(relevance: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Frame relevance of all candidates moved onto [0, 1]: the best frame of all is 1.

    >>> [part.tolist() for part in one_scale([np.array([2.0, 4.0]), np.array([3.0])])]
    [[0.0, 1.0], [0.5]]
    """
    if not relevance:
        return []
    least = min(float(part.min()) for part in relevance)
    most = max(float(part.max()) for part in relevance)
    if most - least <= 1e-9:
        return [np.ones(len(part), np.float32) for part in relevance]
    return [((part - least) / (most - least)).astype(np.float32) for part in relevance]
