"""Any image–text dual encoder as a text-to-video method, without training.

Recall is the mean of the frames' unit vectors (CLIP4Clip's meanP). Re-ranking is EERCF's
parameter-free part: the sentence weighs frames and patches. The weights of the levels are ours;
no publication has them. Fine-tuning is CLIP4Clip's loss on the recall vectors.

Letters: B pairs, Q texts, G clips, F frames, P patches per frame, E width.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from finecut.learn.losses import info_nce
from finecut.learn.methods.blocks import gate_weights, masked_mean, unit
from finecut.learn.methods.eercf import (
    FRAME_GATE_TEMPERATURE,
    WEAK_TEMPERATURE,
    LevelWeights,
    gated_from_gram,
)
from finecut.learn.methods.protocol import Rerank, TextTokens, TokenLoss, VideoTokens

# Patch tokens were never trained to meet text, so they count little.
LEVELS = LevelWeights(video=0.5, frame_gated=0.4, patch_weak=0.1)


class Backbone(Protocol):
    """What zero-shot search needs of a dual encoder; ours, SigLIP's and open_clip's have it."""

    logit_scale: Tensor

    def encode_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, F, 3, H, H] → frame_embeds_raw [B, F, E], patch_embeds_raw [B, F, P, E] or None."""
        ...

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """[B, W] → text_embeds_raw [B, E]."""
        ...


class ZeroShot(TokenLoss):
    """See ``methods/protocol.py`` for what its four functions mean.

    Args:
        backbone: a ``Backbone``.
        patches: keep patch tokens, if the backbone has them: they are most of an index's size.
    """

    reranks = True

    def __init__(self, backbone: nn.Module, patches: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.patches = patches

    def encode_video(self, pixels: Tensor, frame_mask: Tensor) -> VideoTokens:
        """Clips → recall [G, E], frame_embeds [G, F, E], patch_embeds [G, F, P, E] or None."""
        frames, patches = self.backbone.encode_frames(pixels)
        frames = unit(frames.float())
        kept = unit(patches.float()) if self.patches and patches is not None else None
        return VideoTokens(unit(masked_mean(frames, frame_mask)), frames, frame_mask, kept)

    def encode_text(self, input_ids: Tensor) -> TextTokens:
        """Sentences [Q, W] → recall and text_embeds, the same unit vectors [Q, E]."""
        text = unit(self.backbone.encode_text(input_ids).float())
        return TextTokens(text, text)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """Weighted sum of the levels in ``LEVELS``, over real frames only."""
        mask = video.frame_mask[None]
        sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)
        gram = torch.einsum("gfd,ged->gfe", video.frame_embeds, video.frame_embeds)
        patch_sims = None
        if video.patch_embeds is not None:
            patch_sims = torch.einsum("qd,gfpd->qgfp", text.text_embeds, video.patch_embeds)
        scores = late_score(text.recall @ video.recall.T, sims, mask, gram, patch_sims)
        return Rerank(scores, gate_weights(sims, WEAK_TEMPERATURE, mask))

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Symmetric cross-entropy of the recall cosines at the backbone's scale."""
        logits = self.backbone.logit_scale.exp() * (text.recall @ video.recall.T)
        return {"loss": info_nce(logits, video_ids)}


def late_score(
    recall_score: Tensor, frame_sims: Tensor, mask: Tensor, gram: Tensor, patch_sims: Tensor | None
) -> Tensor:
    """Score of small arrays: [...], [..., F], [..., F], [..., F, F], [..., F, P] → [...]."""
    weights = gate_weights(frame_sims, FRAME_GATE_TEMPERATURE, mask)
    score = LEVELS.video * recall_score
    score = score + LEVELS.frame_gated * gated_from_gram(weights, frame_sims, gram)
    if patch_sims is not None:
        every = mask[..., None].expand(patch_sims.shape).flatten(-2)
        flat = patch_sims.flatten(-2)  # [..., F·P]
        score = score + LEVELS.patch_weak * (
            flat * gate_weights(flat, WEAK_TEMPERATURE, every)
        ).sum(-1)
    return score
