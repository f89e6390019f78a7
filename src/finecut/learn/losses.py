"""Every loss once, with its equation and source.

Matrices have **texts in rows**: entry [i, j] is text i against video j, and row i belongs to
column i. ``logits`` are already multiplied by the exponentiated logit scale; ``sims`` are raw.
``video_ids`` [B], where given, leave out pairs of captions of one video as negatives.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from finecut.errors import ShapeError, UsageError

Reduction = Literal["mean", "sum"]


def info_nce(logits: Tensor, video_ids: Tensor | None = None) -> Tensor:
    """Symmetric contrastive loss: mean of text-to-video and video-to-text cross entropy.

    -(1/2B) Σ_i [ log softmax(S_i,:)_i + log softmax(S_:,i)_i ]   (CLIP; CLIP4Clip eq. 9-11)

    Args:
        logits: [B, B], texts in rows.
        video_ids: [B] or None.

    >>> round(info_nce(torch.zeros(4, 4)).item(), 4)  # chance among four: ln 4
    1.3863
    """
    return (text_to_video_nce(logits, video_ids) + text_to_video_nce(logits.T, video_ids)) / 2


def text_to_video_nce(
    logits: Tensor, video_ids: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """One direction: -log softmax over columns, at the diagonal. Transpose for the other one."""
    _check_square(logits)
    twins = _twins(len(logits), video_ids)
    if twins is not None:
        logits = logits.masked_fill(twins, -torch.inf)
    return _reduce(torch.logsumexp(logits, dim=1) - logits.diagonal(), reduction)


def mil_nce(logits: Tensor, bags: Tensor | None = None) -> Tensor:
    """MIL-NCE: any of several captions may be the right one (Miech et al., CVPR 2020, eq. 1).

    -mean over videos v of log [ Σ_{t in bag} e^s(t,v) / Σ e^s ], the lower sum over the bag's own
    pairs, all other texts against v, and the bag's texts against all other videos.

    Spoken words of HowTo100M are often about what is shown a little earlier or later, so a clip's
    bag holds its neighbours' texts too. The authors' code counts the bag's own pairs twice in the
    lower sum; the article's equation, followed here, once.

    Args:
        logits: [B, B], texts in rows; videos of one bag are the same video.
        bags: [B] equal for pairs of one video; None: every pair is a bag of its own.

    >>> round(mil_nce(torch.zeros(4, 4), torch.tensor([0, 0, 1, 1])).item(), 4)  # 2 of 6 pairs
    1.0986
    """
    _check_square(logits)
    if bags is None:
        bags = torch.arange(len(logits), device=logits.device)
    _twins(len(logits), bags)  # checks the shape
    distinct, place = bags.unique(return_inverse=True)
    first = torch.full_like(distinct, len(bags)).scatter_reduce(
        0, place, torch.arange(len(bags), device=bags.device), "amin"
    )
    nothing = torch.finfo(logits.dtype).min / 4  # not -inf: an empty sum must have a gradient of 0
    sims = logits[:, first]  # [B texts, V videos]
    own = place[:, None] == torch.arange(len(distinct), device=bags.device)  # [B, V]
    right = sims.masked_fill(~own, nothing).logsumexp(dim=0)  # [V]
    other_texts = sims.masked_fill(own, nothing).logsumexp(dim=0)
    per_text = sims.masked_fill(own, nothing).logsumexp(dim=1)  # [B] against other videos
    other_videos = torch.where(own, per_text[:, None], nothing).logsumexp(dim=0)
    every = torch.stack([right, other_texts, other_videos]).logsumexp(dim=0)
    return (every - right).mean()


def dual_softmax_loss(
    logits: Tensor, temperature: float = 1000.0, video_ids: Tensor | None = None
) -> Tensor:
    """CAMoE's dual softmax loss as its authors released it (DSL.py); both directions averaged.

    prior = softmax over *texts* of S / temperature, per video; revised = S · prior · B;
    loss = -log softmax(revised over videos) at the diagonal. The prior keeps its gradient.

    Args:
        logits: [B, B] scaled cosines.
        temperature: 1000 in training (authors' default): the prior is then nearly uniform and
            the loss close to ``info_nce``; 1 at inference.
        video_ids: [B] or None. The authors' code has no such exclusion.

    >>> sims = torch.tensor([[9.0, 1.0], [2.0, 8.0]])
    >>> dual_softmax_loss(sims, 1.0) < info_nce(sims)
    tensor(True)
    """
    per_text, per_video = dual_softmax_parts(logits, temperature, video_ids)
    return (per_text.mean() + per_video.mean()) / 2


def dual_softmax_parts(
    logits: Tensor, temperature: float = 1000.0, video_ids: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss of each text and of each video, both [B], before any mean.

    Pairs of one video count neither in the prior, whose factor B becomes the number of texts left,
    nor among the negatives.
    """
    _check_square(logits)
    twins = _twins(len(logits), video_ids)
    parts = []
    for s in (logits, logits.T):
        prior, count = s / temperature, torch.full_like(s[:1], len(s))
        if twins is not None:
            prior = prior.masked_fill(twins, -torch.inf)
            count = count - twins.sum(dim=0, keepdim=True)
        revised = s * prior.softmax(dim=0) * count
        if twins is not None:
            revised = revised.masked_fill(twins, -torch.inf)
        parts.append(torch.logsumexp(revised, dim=1) - revised.diagonal())
    return parts[0], parts[1]


def dual_softmax_article(
    cosines: Tensor,
    logit_scale: float | Tensor,
    temperature: float = 1.0,
    *,
    batch_factor: bool = False,
) -> tuple[Tensor, Tensor]:
    """The article's form (arXiv 2109.04290): text-to-video and video-to-text losses, as means.

    prior = softmax over the other direction of temperature · cosines; the logits are
    logit_scale · cosines · prior. Two differences from the released code: the temperature
    multiplies, and the factor B is missing, without which a flat prior shrinks all logits
    B-fold. Train with ``dual_softmax_loss``; this is here to compare.
    """
    _check_square(cosines)
    losses = []
    for s in (cosines, cosines.T):
        prior = (s * temperature).softmax(dim=0)
        logits = logit_scale * s * prior * (len(s) if batch_factor else 1)
        losses.append((torch.logsumexp(logits, dim=1) - logits.diagonal()).mean())
    return losses[0], losses[1]


def hardest_negative_triplet(
    sims: Tensor,
    margin: float = 0.2,
    video_ids: Tensor | None = None,
    *,
    direction: Literal["t2v", "v2t", "both"] = "t2v",
    hardest: bool = True,
    reduction: Reduction = "sum",
) -> Tensor:
    """Triplet ranking loss with the hardest negative of the batch (VSE++; LAFF's per-space loss).

    Σ_q max(0, margin + max_{j≠q} s(q, j) - s(q, q)); LAFF sums over the batch and, outside this
    function, over its heads.

    Args:
        sims: [B, B] cosines, texts in rows.
        margin: 0.2 in LAFF.
        video_ids: [B] or None. LAFF's code has no such exclusion.
        direction: "t2v" = text anchors, video negatives (LAFF).
        hardest: False sums over all negatives ("mean": over all B² entries).
        reduction: over anchors.

    >>> sims = torch.tensor([[0.9, 0.8], [0.1, 0.5]])
    >>> round(hardest_negative_triplet(sims).item(), 4)  # max(0, 0.2 + 0.8 - 0.9) + 0
    0.1
    """
    _check_square(sims)
    if direction == "both":
        return hardest_negative_triplet(
            sims, margin, video_ids, hardest=hardest, reduction=reduction
        ) + hardest_negative_triplet(
            sims.T, margin, video_ids, hardest=hardest, reduction=reduction
        )
    rows = sims if direction == "t2v" else sims.T
    excluded = torch.eye(len(sims), dtype=torch.bool, device=sims.device)
    twins = _twins(len(sims), video_ids)
    if twins is not None:
        excluded = excluded | twins
    cost = (margin + rows - rows.diagonal()[:, None]).clamp(min=0)
    cost = cost.masked_fill(excluded, 0.0)
    return _reduce(cost.amax(dim=1) if hardest else cost, reduction)


def pearson_released(a: Tensor, b: Tensor, weight: float = 0.14) -> Tensor:
    """EERCF's intra-modal constraint as released: weight · Σ_k (c_k - 1)² over channels.

    c_k = (1/B) Σ_i â_ik b̂_ik, each channel standardised over the batch with the unbiased
    deviation, so a perfect channel gives (B - 1) / B and not 1. The released code also has an
    off-diagonal term, with weight 0.

    Args:
        a: [B, D] and ``b`` [B, D], matching rows; B at least 2.
        b: see ``a``.
        weight: 0.14 in the released code.
    """
    return weight * ((_correlation(a, b) - 1) ** 2).sum()


def pearson_article(a: Tensor, b: Tensor) -> Tensor:
    """EERCF's constraint as its article words it: mean over channels of the distance 1 - ρ_k.

    >>> a = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0]])
    >>> round(abs(pearson_article(a, 2 * a + 1).item()), 5)
    0.0
    """
    size = len(a)
    return (1 - _correlation(a, b) * size / (size - 1)).mean()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    if a.shape != b.shape or a.ndim != 2 or len(a) < 2:
        raise ShapeError(
            f"pearson: expected two [B, D] of one shape with B >= 2, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}."
        )
    a, b = ((x - x.mean(dim=0)) / x.std(dim=0) for x in (a, b))
    return (a * b).mean(dim=0)  # [D]


def token_scores(word_embeds: Tensor, frame_embeds: Tensor, frame_mask: Tensor) -> Tensor:
    """[Q, G, W]: each word's best inner product among the real frames of each video (TACo eq. 4).

    Args:
        word_embeds: [Q, W, D].
        frame_embeds: [G, F, D].
        frame_mask: [G, F] bool; a video without a real frame scores 0.
    """
    products = torch.einsum("qwd,gfd->qgwf", word_embeds, frame_embeds)
    products = products.masked_fill(~frame_mask[None, :, None], -torch.inf)
    best = products.amax(dim=-1)  # [Q, G, W]
    return torch.where(frame_mask.any(dim=-1)[None, :, None], best, torch.zeros_like(best))


def token_contrastive(
    scores: Tensor,
    word_weights: Tensor,
    temperature: float = 1.0,
    video_ids: Tensor | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    """TACo's token-aware loss (eq. 4 with the IDF weights of its appendix A).

    -Σ_i Σ_p w_ip log softmax over videos of s(x_:, y_i^p) / temperature, at video i.

    Args:
        scores: [B, B, W] from ``token_scores``.
        word_weights: [B, W]; 0 where a token is not of interest.
        temperature: τ2, 1 in the article.
        video_ids: [B] or None.
        reduction: over texts.
    """
    logits = scores / temperature
    twins = _twins(len(logits), video_ids)
    if twins is not None:
        logits = logits.masked_fill(twins[:, :, None], -torch.inf)
    own = logits.diagonal(dim1=0, dim2=1).T  # [B, W]
    losses = torch.logsumexp(logits, dim=1) - own  # [B, W]
    return _reduce((word_weights * losses).sum(dim=1), reduction)


def sampled_contrastive(logits: Tensor, negatives: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Cross entropy of the diagonal against chosen negatives only (TACo's fused loss, eq. 5).

    -Σ_i log [ e^{g_ii} / (e^{g_ii} + Σ_{j in N_i} e^{g_ij}) ]

    Args:
        logits: [B, B], anchors in rows; entries outside diagonal and negatives are not read.
        negatives: [B, B] bool, the diagonal False.
        reduction: over anchors.
    """
    _check_square(logits)
    used = negatives | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    masked = logits.masked_fill(~used, -torch.inf)
    return _reduce(torch.logsumexp(masked, dim=1) - logits.diagonal(), reduction)


def _reduce(losses: Tensor, reduction: Reduction) -> Tensor:
    if reduction not in ("mean", "sum"):
        raise UsageError(f"reduction {reduction!r}; expected 'mean' or 'sum'.")
    return losses.mean() if reduction == "mean" else losses.sum()


def _check_square(logits: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[0] != logits.shape[1] or not len(logits):
        raise ShapeError(
            f"a batch loss needs one video per text: expected a square matrix, texts in rows, "
            f"got {tuple(logits.shape)}."
        )


def _twins(size: int, video_ids: Tensor | None) -> Tensor | None:
    """[B, B] bool: other rows of the same video."""
    if video_ids is None:
        return None
    if video_ids.shape != (size,):
        raise ShapeError(f"video_ids: expected [{size}], got {tuple(video_ids.shape)}.")
    same = video_ids[:, None] == video_ids[None, :]
    return same & ~torch.eye(size, dtype=torch.bool, device=video_ids.device)
