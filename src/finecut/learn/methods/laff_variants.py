"""The other fusion blocks of the LAFF article and code: what the attention block is compared with.

All take features [B, K, D]. Those that stand in for the attention block inside ``LAFF`` (see
``VARIANTS``) return heads [B, H, D/H] of unit length and weights [B, H, K]; the functions below
them are the released code's blocks as they are, for reproduction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from finecut.learn.methods.blocks import unit


def _uniform_weights(features: Tensor, heads: int) -> Tensor:
    size = features.shape[1]
    return features.new_full((features.shape[0], heads, size), 1.0 / size)


class MeanFusion(nn.Module):
    """Attention-free: every feature weighs 1 / k. (The code's JustAverage, cut into heads.)"""

    def __init__(self, common_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        fused = features.mean(dim=1).unflatten(-1, (self.heads, -1))  # [B, H, D/H]
        return unit(fused), _uniform_weights(features, self.heads)


class SingleSpace(nn.Module):
    """Concatenation ("W2VV++ style") has fused already: one space, one unit vector."""

    def __init__(self, common_dim: int, heads: int) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return unit(features), _uniform_weights(features, 1)


class ProjectionFreeMHSA(nn.Module):
    """Self-attention among the features, per head, without Q/K/V projections (code index 11).

    softmax(x xᵀ · scale) x, plus x, LayerNorm(D/H), mean over features. The scale is
    ((D/H) // H)^-0.5: the code divides by H a second time, in whole numbers.
    """

    def __init__(self, common_dim: int, heads: int) -> None:
        super().__init__()
        if common_dim // heads // heads == 0:
            raise ValueError(
                f"ProjectionFreeMHSA: {common_dim} channels in {heads} heads leave a scale of "
                f"1/0; expected common_dim >= heads squared."
            )
        self.heads = heads
        self.scale = (common_dim // heads // heads) ** -0.5
        self.norm = nn.LayerNorm(common_dim // heads)

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Heads [B, H, D/H] before unit length, and the mean attention each feature receives."""
        x = features.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, K, D/H]
        attention = (x @ x.transpose(-1, -2) * self.scale).softmax(dim=-1)  # [B, H, K, K]
        return self.norm(attention @ x + x).mean(dim=2), attention.mean(dim=2)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        heads, weights = self.attend(features)
        return unit(heads), weights


class MHSA(nn.Module):
    """Self-attention of torch among the features, residual, LayerNorm, then mean or max.

    ``aggregate="token"`` puts the max of the features in front and takes what it becomes (the
    code's Attention_MMT). One space of D channels comes out.
    """

    def __init__(self, common_dim: int, heads: int, aggregate: str = "mean") -> None:
        super().__init__()
        if aggregate not in ("mean", "max", "token"):
            raise ValueError(f"MHSA: aggregate {aggregate!r}; expected mean, max or token.")
        self.attention = nn.MultiheadAttention(common_dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(common_dim)
        self.aggregate = aggregate

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """One vector [B, D] before unit length, and the mean attention each feature receives."""
        tokens = features
        if self.aggregate == "token":
            tokens = torch.cat([features.amax(dim=1, keepdim=True), features], dim=1)
        attended, weights = self.attention(tokens, tokens, tokens)  # [B, K, D], [B, K, K]
        out = self.norm(attended + tokens)
        if self.aggregate == "token":
            return out[:, 0], weights[:, 0, 1:]
        pooled = out.mean(dim=1) if self.aggregate == "mean" else out.amax(dim=1)
        return pooled, weights.mean(dim=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        vector, weights = self.attend(features)
        return unit(vector)[:, None], weights[:, None]


def attention_pool(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    mean_gain: float = 0.0,
    gate_by_mean: bool = False,
) -> tuple[Tensor, Tensor]:
    """One head of the released code with its two optional terms, both off in shipped runs.

    Args:
        features: [B, K, D].
        weight: [D] and ``bias`` []: the head's Linear(D, 1).
        bias: see ``weight``.
        mean_gain: g; every coefficient becomes a_i + g. (The code *records* a_i + g / K, which
            is not what it applies; we return what is applied.)
        gate_by_mean: logits are computed on f_i times the mean of the features.

    Returns: unit vector [B, D], coefficients [B, K].
    """
    scored = features * features.mean(dim=1, keepdim=True) if gate_by_mean else features
    coefficients = (scored @ weight + bias).softmax(dim=-1) + mean_gain  # [B, K]
    return unit(torch.einsum("bk,bkd->bd", coefficients, features)), coefficients


def mean_gain_at(epoch: int, decay_rate: float = 0.8) -> float:
    """g of ``attention_pool`` in epoch 0, 1, …: falls by 1 - decay_rate before each, first too.

    >>> [round(mean_gain_at(epoch), 1) for epoch in (0, 1, 4, 9)]
    [0.8, 0.6, 0.0, 0.0]
    """
    return max(0.0, 1.0 - (epoch + 1) * (1.0 - decay_rate))


def slot_weighted_sum(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[B, D]: one learned scalar per feature slot, plus a bias (the code's FcAttention)."""
    return torch.einsum("bkd,k->bd", features, weight) + bias


VARIANTS: dict[str, Callable[[int, int], nn.Module]] = {
    "mean": MeanFusion,
    "concat": SingleSpace,
    "mhsa": MHSA,
    "mhsa_projection_free": ProjectionFreeMHSA,
}
"""fusion name -> block; "attention" is ``laff.AttentionFusion``."""
