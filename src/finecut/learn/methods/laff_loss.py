"""What LAFF is trained on: a ranking loss in each of its common spaces, or in groups of them.

The article's "combined" loss is a hardest-negative triplet loss in every head, summed; its
"single" loss is the same on the mean similarity of all heads. Between the two, heads in groups with
a loss of their own are several LAFFs trained side by side: transforms and attention of one head
never read another's channels, so nothing but the loss ties heads together.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from finecut.learn.losses import dual_softmax_loss, hardest_negative_triplet, info_nce
from finecut.learn.methods.blocks import unit

LaffLoss = Literal["triplet", "info_nce", "dual_softmax"]


def spaces_of(heads: Tensor, spaces: int) -> Tensor:
    """Unit heads [B, H, d] -> unit vectors [B, S, H/S * d] of consecutive heads laid end to end.

    Their products are the mean cosines of each group.

    >>> heads = torch.eye(2)[None].repeat(1, 2, 1)  # four heads of size 2
    >>> spaces_of(heads, 1).tolist()
    [[[0.5, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5]]]
    >>> spaces_of(heads, 4).shape
    torch.Size([1, 4, 2])
    """
    grouped = heads.unflatten(1, (spaces, -1)).flatten(2)
    return grouped / math.sqrt(heads.shape[1] // spaces)


def ranking_losses(
    kind: LaffLoss,
    text: Tensor,
    video: Tensor,
    *,
    margin: float,
    prior_temperature: float,
    logit_scale: Tensor | None,
    video_ids: Tensor | None,
) -> Tensor:
    """[S] the loss of each space.

    Args:
        kind: "triplet" sums over the batch (article); the others are means.
        text: [B, S, D], unit length.
        video: [B, S, D], unit length.
        margin: of the triplet loss.
        prior_temperature: of the dual softmax loss.
        logit_scale: [S], exponentiated; None for the triplet loss.
        video_ids: [B] or None; the dual softmax does not read them.
    """
    sims = torch.einsum("qsd,gsd->sqg", text, video)  # [S, Q, G]
    if kind == "triplet":
        return torch.stack([hardest_negative_triplet(s, margin, video_ids) for s in sims])
    logits = sims if logit_scale is None else sims * logit_scale[:, None, None]
    if kind == "dual_softmax":
        return torch.stack([dual_softmax_loss(s, prior_temperature) for s in logits])
    return torch.stack([info_nce(s, video_ids) for s in logits])


def distance_to_centre(text: Tensor, video: Tensor, video_ids: Tensor | None) -> Tensor:
    """[S] mean of 1 - cosine between a video and the mean of its sentences in the batch.

    Ours: captions of one clip say different things, and what they share is what the clip shows.

    Args:
        text: [B, S, D], unit length.
        video: [B, S, D], unit length.
        video_ids: [B]; None: every sentence is alone.

    >>> text = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> video = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])
    >>> distance_to_centre(text, video, None).item()
    0.5
    >>> round(distance_to_centre(text, video, torch.tensor([7, 7])).item(), 3)  # 1 - cos 45°
    0.293
    """
    if video_ids is not None:
        same = (video_ids[:, None] == video_ids[None]).to(text.dtype)
        text = unit(torch.einsum("ij,jsd->isd", same, text))
    return 1.0 - (text * video).sum(-1).mean(0)
