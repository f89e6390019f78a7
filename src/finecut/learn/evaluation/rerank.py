"""The re-ranked column: the fine score orders the candidates that recall found, above all others.

Exhaustive scoring is the same with every clip a candidate. Only (text, candidate) pairs are ever
scored, one clip against the texts that want it, so memory holds one clip's tokens and a chunk of
texts, never [Q, G, F, P].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finecut.errors import ShapeError
from finecut.learn.evaluation.columns import RowsOf, Sims
from finecut.learn.evaluation.tokens import Progress, TokenParts, device_of, tokens_to
from finecut.learn.methods.protocol import TextTokens, VideoTokens
from finecut.learn.two_stage import recall_candidates

TEXTS_AT_ONCE = 1024


def candidates_of(sims: Sims, recall_k: int) -> NDArray[np.int32]:
    """[Q, K] the K best videos of each sentence by recall, K = min(recall_k, G)."""
    return np.concatenate(
        [
            recall_candidates(torch.from_numpy(sims.rows(rows)), recall_k).int().numpy()
            for rows in sims.chunks()
        ]
    )


def recall_loss(candidates: NDArray[np.integer], video_of_text: NDArray[np.int64]) -> float:
    """Percent of sentences whose right video is not among the candidates: lost whatever follows.

    >>> recall_loss(np.array([[0, 1], [0, 2]]), np.array([1, 1]))
    50.0
    """
    found = (candidates == np.asarray(video_of_text)[:, None]).any(axis=1)
    return float((~found).mean() * 100.0)


@torch.no_grad()
def fine_scores(
    model: Any,
    text: TokenParts[TextTokens],
    video: TokenParts[VideoTokens],
    candidates: NDArray[np.integer],
    on_progress: Progress | None = None,
) -> NDArray[np.float32]:
    """[Q, K] the method's fine score of each candidate."""
    device = device_of(model)
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    count = candidates.shape[1]
    order = np.argsort(candidates, axis=None, kind="stable")  # pairs, clip by clip
    ends = np.searchsorted(candidates.ravel()[order], np.arange(len(video)), side="right")
    fine = np.empty(candidates.size, dtype=np.float32)
    start = 0
    for clip, end in enumerate(ends.tolist()):
        pairs, start = order[start:end], end
        if len(pairs):
            tokens = tokens_to(video.select([clip]), device)
            for at in range(0, len(pairs), TEXTS_AT_ONCE):
                some = pairs[at : at + TEXTS_AT_ONCE]
                texts = tokens_to(text.select(some // count), device)
                fine[some] = model.rerank(texts, tokens).scores[:, 0].float().cpu().numpy()
        if on_progress:
            on_progress("clips re-ranked", clip + 1, len(video))
    if was_training:
        model.train()
    bad = int((~np.isfinite(fine)).sum())
    if bad:
        raise ShapeError(
            f"{bad} of {fine.size} fine scores are not finite; a rank among them means nothing. "
            "Look for NaN in the weights or videos without a frame."
        )
    return fine.reshape(candidates.shape)


def merged(sims: Sims, candidates: NDArray[np.integer], fine: NDArray[np.float32]) -> RowsOf:
    """Rows of scores in which every candidate, by its fine score, stands above every other clip.

    As published, video-to-text reads the same text-driven matrix by columns. In float64, which
    keeps fine differences whole beside the offset that lifts them.
    """
    highest = max(float(sims.rows(rows).max()) for rows in sims.chunks())
    offset = highest - float(fine.min()) + 1.0

    def rows_of(rows: slice) -> NDArray[np.float64]:
        scores = sims.rows(rows).astype(np.float64)
        lifted = fine[rows].astype(np.float64) + offset
        np.put_along_axis(scores, candidates[rows], lifted, axis=1)
        return scores

    return rows_of
