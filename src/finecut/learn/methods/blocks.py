"""The three small pieces that several methods are built of: unit length, masked mean, text gate."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """x scaled to length 1 on the last axis; zero stays zero.

    >>> import torch
    >>> unit(torch.tensor([3.0, 4.0])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return F.normalize(x, dim=-1, eps=1e-12)


def masked_mean(frame_embeds: Tensor, frame_mask: Tensor) -> Tensor:
    """Mean over real frames: [G, F, D], [G, F] → [G, D]; zero for a clip without any.

    The published code divides by zero there and scores NaN; here such a clip scores 0.
    """
    mask = frame_mask.to(frame_embeds.dtype)[..., None]  # [G, F, 1]
    count = mask.sum(dim=1).clamp(min=1.0)
    return (frame_embeds * mask).sum(dim=1) / count


def gate_weights(sims: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Softmax of similarities over the last axis, of real entries only.

    Args:
        sims: [..., N].
        temperature: divides before the softmax.
        mask: broadcasts to [..., N], True = real; rows without any give zeros.

    Relations: with temperature → ∞ it is the mean, with → 0 the best match alone.
    """
    sims = sims / temperature
    if mask is None:
        return sims.softmax(dim=-1)
    weights = sims.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return weights.nan_to_num(nan=0.0).masked_fill(~mask, 0.0)
