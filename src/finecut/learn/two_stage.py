"""Coarse to fine over a whole test set: recall by inner product, re-rank the candidates only.

The released EERCF scores every pair at every level and selects afterwards, which saves nothing.
Here the fine levels are computed for the candidates alone, clip by clip, so that no token is
copied per query. Works for every method. Letters: Q texts, G clips, K candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from finecut.errors import ShapeError, UsageError
from finecut.learn.methods.protocol import Method, TextTokens, VideoTokens, recall_sims

# Published offset that puts every re-ranked candidate above every other clip in one matrix.
PRIORITY_OFFSET = 100.0


def recall_candidates(coarse: Tensor, k: int) -> Tensor:
    """The k best clips of each text, best first: [Q, G] → [Q, min(k, G)] int64.

    >>> recall_candidates(torch.tensor([[0.1, 0.9, 0.5]]), 2).tolist()
    [[1, 2]]
    """
    if k < 1:
        raise UsageError(f"recall_k must be at least 1, got {k}.")
    return coarse.topk(min(k, coarse.shape[1]), dim=1).indices


@torch.no_grad()
def rerank_candidates(
    method: Method, text: TextTokens, video: VideoTokens, candidates: Tensor
) -> Tensor:
    """Fine scores of the candidates only: [Q, K], in their order."""
    if candidates.ndim != 2 or candidates.shape[0] != len(text):
        raise ShapeError(
            f"`candidates` must be [Q, K] with Q = {len(text)}, got {tuple(candidates.shape)}."
        )
    fine = torch.zeros(candidates.shape, dtype=torch.float32)
    for clip in candidates.unique().tolist():
        rows, columns = (candidates == clip).nonzero(as_tuple=True)
        one = video.select(slice(clip, clip + 1))
        fine[rows, columns] = method.rerank(text.select(rows), one).scores[:, 0].float()
    return fine


@torch.no_grad()
def two_stage(
    method: Method, text: TextTokens, video: VideoTokens, recall_k: int = 50
) -> tuple[Tensor, Tensor, Tensor]:
    """(coarse [Q, G], candidates [Q, K], fine [Q, K])."""
    coarse = recall_sims(text, video)
    candidates = recall_candidates(coarse, recall_k)
    return coarse, candidates, rerank_candidates(method, text, video, candidates)


def merge_stages(coarse: Tensor, candidates: Tensor, fine: Tensor) -> Tensor:
    """One matrix [Q, G] that ranks all candidates, by their fine score, above all other clips.

    The published form (100 + fine, raw coarse elsewhere); its transpose gives v2t. It ranks
    right as long as every fine score + 100 beats every coarse one, which is checked.
    """
    merged = coarse.clone()
    merged.scatter_(1, candidates, PRIORITY_OFFSET + fine)
    if fine.numel() and (PRIORITY_OFFSET + fine).min() <= coarse.max():
        raise ShapeError(
            f"a fine score {fine.min():.3g} + {PRIORITY_OFFSET:.0f} does not exceed the best coarse"
            f" score {coarse.max():.3g}; divide both by the logit scale before merging."
        )
    return merged
