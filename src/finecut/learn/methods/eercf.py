"""EERCF: recall by one vector per clip, re-rank by frames and patches that the sentence weighs.

AAAI 2024, arXiv 2401.00701, on top of CLIP4Clip's seqTransf. Two variants, both named:

    released  what the authors' code and checkpoint do. Fine scores are mostly softmax-pooled
              similarities ("weak"); of the text-gated vectors only the frames' is used; the
              channel loss is a squared diagonal term; learned Wg and Wf stand beside the
              parameter-free block.
    article   what the article presents: frame and patch scores come from the text-gated
              interaction block, the channel loss is the Pearson distance 1 − ρ. The article's
              own loss weights could not be read; the ones in ``ARTICLE_LOSS`` are ours.

Five similarities of text i and clip j (s is CLIP's scale, t, f, p unit length, u frames after the
temporal transformer, g their mean, all of unit length):

    video        t Wg g                                          stage 1
    frame_weak   Σ_f a_f (softmax(a / 0.01) Wf)_f,  a_f = t·f_f
    frame_gated  t·unit(Σ_f softmax(a / 0.1)_f u_f)              attention on f, values u
    patch_weak   Σ_k b_k softmax(b / 0.01)_k,       b_k = t·p_k  over all F·P patches
    patch_gated  t·unit(Σ_k softmax(b / 0.01)_k p_k)

Letters: B pairs, Q texts, G clips, K candidates, F frames, P patches per frame, E width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.clip import CLIP, ClipConfig, Transformer
from finecut.learn.losses import info_nce, pearson_article, pearson_released
from finecut.learn.methods.blocks import frames_and_patches_of, gate_weights, masked_mean, unit
from finecut.learn.methods.clip4clip import HEAD_EPS, frames_over_time
from finecut.learn.methods.protocol import (
    Rerank,
    TextTokens,
    TokenLoss,
    VideoTokens,
    recall_sims,
)

WEAK_TEMPERATURE = 0.01  # frames and patches, modules/modeling.py
FRAME_GATE_TEMPERATURE = 0.1
PATCH_GATE_TEMPERATURE = 0.01

Variant = Literal["released", "article"]


@dataclass(frozen=True, slots=True)
class LevelWeights:
    """How much each of the five similarities counts."""

    video: float = 0.0
    frame_weak: float = 0.0
    frame_gated: float = 0.0
    patch_weak: float = 0.0
    patch_gated: float = 0.0


@dataclass(frozen=True, slots=True)
class LossWeights:
    """L = weak·CE(Σ weak levels) + strong·CE(Σ gated levels) + channels·Σ levels of Pearson."""

    levels: LevelWeights
    weak: float = 0.8
    strong: float = 0.2
    channels: float = 0.001
    channels_video: float = 1.0
    channels_frame: float = 1.0
    channels_patch: float = 0.0


RELEASED_LOSS = LossWeights(LevelWeights(video=0.5, frame_weak=0.5, frame_gated=1.0,
                                         patch_weak=0.05, patch_gated=0.0))  # fmt: skip
ARTICLE_LOSS = LossWeights(
    LevelWeights(video=1.0, frame_gated=1.0, patch_gated=1.0),
    weak=0.5, strong=0.5, channels_patch=1.0,
)  # fmt: skip
# Constants of the released code; its command-line weights do not enter the final score.
RELEASED_RERANK = LevelWeights(video=0.5, frame_weak=0.8, frame_gated=0.2, patch_weak=0.2)
ARTICLE_RERANK = LevelWeights(video=1.0, frame_gated=1.0, patch_gated=1.0)


@dataclass(frozen=True, slots=True)
class EercfConfig:
    """All that decides the shape of the model and its scores."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    head_layers: int = 4
    max_frames: int = 12
    max_words: int = 32
    variant: Variant = "released"
    # False, as released: padded frames compete in every softmax of the fine levels.
    mask_padding: bool = False
    rerank: LevelWeights | None = None  # None: the variant's own

    def __post_init__(self) -> None:
        if self.variant not in ("released", "article"):
            raise UsageError(f"variant must be released or article, got {self.variant!r}.")
        if self.clip.patches != "2d":
            raise UsageError("EERCF is defined for 2D patches only, got 3d.")

    @property
    def rerank_weights(self) -> LevelWeights:
        if self.rerank is not None:
            return self.rerank
        return RELEASED_RERANK if self.variant == "released" else ARTICLE_RERANK

    @property
    def loss_weights(self) -> LossWeights:
        return RELEASED_LOSS if self.variant == "released" else ARTICLE_LOSS


class Levels(NamedTuple):
    """The five similarities, [Q, G] each, before CLIP's scale; None where not asked for."""

    video: Tensor | None
    frame_weak: Tensor | None
    frame_gated: Tensor | None
    patch_weak: Tensor | None
    patch_gated: Tensor | None


class EERCF(TokenLoss):
    """The method; parameter names are those of the released code."""

    reranks = True

    def __init__(self, config: EercfConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        self.config = config
        self.clip = clip or CLIP(config.clip)
        joint = config.clip.embed_dim
        self.global_mat_weight = nn.Parameter(torch.eye(joint))  # Wg
        self.frame_logit_weight = nn.Parameter(torch.eye(config.max_frames))  # Wf
        self.frame_position_embeddings = nn.Embedding(config.clip.context_length, joint)
        self.transformerClip = Transformer(config.clip.text_width, config.head_layers, eps=HEAD_EPS)
        self.start_head_from_clip()

    @torch.no_grad()
    def start_head_from_clip(self) -> None:
        """Published initialisation, as CLIP4Clip's seqTransf; Wg and Wf are identities."""
        below = self.clip.transformer.resblocks
        for ours, theirs in zip(self.transformerClip.resblocks, below, strict=False):
            ours.load_state_dict(theirs.state_dict())
        self.frame_position_embeddings.weight.copy_(self.clip.positional_embedding)

    # ------------------------------------------------------------------ the four functions

    def encode_video(
        self,
        pixels: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frames_raw: Tensor | None = None,
        patches_raw: Tensor | None = None,
    ) -> VideoTokens:
        """Clips → g [G, E], f [G, F, E], p [G, F, P, E], u [G, F, E] (frame_values).

        Args:
            pixels: [G, F, 3, H, H] normalised; padded frames are zero.
            frame_mask: [G, F] bool, True = real; None: all are.
            frames_raw: [G, F, E] instead of pixels, from a cache of the frozen tower.
            patches_raw: [G, F, P, E], with frames_raw.
        """
        frames_raw, patches_raw, frame_mask = frames_and_patches_of(
            self.clip, pixels, frames_raw, patches_raw, frame_mask
        )
        values = unit(
            frames_over_time(
                frames_raw, frame_mask, self.frame_position_embeddings.weight, self.transformerClip
            )
        )
        return VideoTokens(
            recall=unit(masked_mean(values, frame_mask)),
            frame_embeds=unit(frames_raw),
            frame_mask=frame_mask,
            patch_embeds=unit(patches_raw),
            frame_values=values,
        )

    def encode_text(self, input_ids: Tensor) -> TextTokens:
        """Sentences → t [Q, E] of unit length and recall t Wg [Q, E], which is not."""
        text = unit(self.clip.encode_text(input_ids).float())
        return TextTokens(recall=text @ self.global_mat_weight, text_embeds=text)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """Weighted sum of the levels that count in this variant, times CLIP's scale."""
        weights = self.config.rerank_weights
        scores = self.clip.logit_scale.exp() * weighted(self.levels(text, video, weights), weights)
        sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)
        return Rerank(scores, gate_weights(sims, WEAK_TEMPERATURE, video.frame_mask[None]))

    def token_loss(
        self,
        text: TextTokens,
        video: VideoTokens,
        video_ids: Tensor | None = None,
        weights: LossWeights | None = None,
    ) -> dict[str, Tensor]:
        """L of ``LossWeights`` and its parts; ``weights`` None: the variant's."""
        weights = weights or self.config.loss_weights
        levels, gated_frames, gated_patches = self.training_levels(text, video)
        scale = self.clip.logit_scale.exp()
        part = weights.levels
        weak = scale * weighted(levels, LevelWeights(part.video, frame_weak=part.frame_weak,
                                                     patch_weak=part.patch_weak))  # fmt: skip
        strong = scale * weighted(
            levels, LevelWeights(frame_gated=part.frame_gated, patch_gated=part.patch_gated)
        )
        # The logits are summed before the cross-entropy, not one cross-entropy per level.
        inter = weights.weak * info_nce(weak, video_ids)
        inter = inter + weights.strong * info_nce(strong, video_ids)
        intra = sum(
            weight * self.channel_loss(text.text_embeds, vectors)
            for weight, vectors in (
                (weights.channels_video, video.recall),
                (weights.channels_frame, gated_frames),
                (weights.channels_patch, gated_patches),
            )
            if weight
        )
        return {
            "loss": inter + weights.channels * intra,
            "inter": inter,
            "intra": torch.as_tensor(intra),
        }

    # ------------------------------------------------------------------ the five similarities

    def levels(
        self, text: TextTokens, video: VideoTokens, wanted: LevelWeights | None = None
    ) -> Levels:
        """Similarities [Q, G] of every pair, each pair gated by its own text (test mode).

        Levels to which ``wanted`` gives weight 0 are not computed; default all five.
        """
        want = wanted or LevelWeights(1, 1, 1, 1, 1)
        mask = self._gate_mask(video)
        a = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)  # [Q, G, F]
        patch_weak = patch_gated = None
        if want.patch_weak or want.patch_gated:
            patch_weak, patch_gated = self._patch_levels(text, video, bool(want.patch_gated))
        return Levels(
            video=recall_sims(text, video) if want.video else None,
            frame_weak=self._frame_weak(a, mask) if want.frame_weak else None,
            frame_gated=frame_gated(a, text, video, mask) if want.frame_gated else None,
            patch_weak=patch_weak if want.patch_weak else None,
            patch_gated=patch_gated,
        )

    def _gate_mask(self, video: VideoTokens) -> Tensor | None:
        return video.frame_mask if self.config.mask_padding else None

    def _frame_weak(self, a: Tensor, mask: Tensor | None) -> Tensor:
        """a [Q, G, F] → [Q, G]. Wf multiplies the softmax row from the right and ties a
        checkpoint to its frame count; clips of fewer frames use its upper left corner, which is
        the same as padding them under a mask."""
        frames, most = a.shape[-1], self.frame_logit_weight.shape[0]
        if frames > most:
            raise ShapeError(
                f"{frames} frames, but Wf was trained for {most}: sample at most {most} frames."
            )
        weights = gate_weights(a, WEAK_TEMPERATURE, mask)
        weights = weights @ self.frame_logit_weight[:frames, :frames]
        if mask is not None:
            a = a.masked_fill(~mask, 0.0)
        return (a * weights).sum(dim=-1)

    def _patch_levels(
        self, text: TextTokens, video: VideoTokens, gated: bool
    ) -> tuple[Tensor, Tensor | None]:
        """[Q, G] each; clip by clip, because [Q, G, F·P, E] would not fit in any memory."""
        mask = self._gate_mask(video)
        weak, strong = [], []
        for clip, patches in enumerate(video.patch_embeds):
            flat = patches.flatten(0, 1)  # [F·P, E]
            clip_mask = None if mask is None else mask[clip].repeat_interleave(patches.shape[1])
            b = text.text_embeds @ flat.T  # [Q, F·P]
            # Both patch temperatures are 0.01, so the two levels share one softmax.
            w = gate_weights(b, WEAK_TEMPERATURE, clip_mask)
            weak.append((b * w).sum(dim=-1))
            if gated:
                strong.append((unit(w @ flat) * text.text_embeds).sum(dim=-1))
        return torch.stack(weak, dim=1), torch.stack(strong, dim=1) if gated else None

    def training_levels(
        self, text: TextTokens, video: VideoTokens
    ) -> tuple[Levels, Tensor, Tensor]:
        """Train mode: the gated vector of clip j is made by text j alone and compared with every
        text; its attention gets no gradient. Weak levels are as in test mode.

        Returns: levels [B, B], gated frame vectors [B, E] and gated patch vectors [B, E].
        """
        if len(text) != len(video):
            raise ShapeError(f"{len(text)} texts and {len(video)} clips; training takes pairs.")
        weak = self.levels(text, video, LevelWeights(video=1, frame_weak=1, patch_weak=1))
        mask = self._gate_mask(video)
        t = text.text_embeds
        patches = video.patch_embeds.flatten(1, 2)  # [B, F·P, E]
        per_frame = video.patch_embeds.shape[2]
        patch_mask = None if mask is None else mask.repeat_interleave(per_frame, dim=1)
        frames = own_gate(t, video.frame_embeds, video.frame_values, FRAME_GATE_TEMPERATURE, mask)
        patch = own_gate(t, patches, patches, PATCH_GATE_TEMPERATURE, patch_mask)
        return weak._replace(frame_gated=t @ frames.T, patch_gated=t @ patch.T), frames, patch

    def channel_loss(self, text: Tensor, vectors: Tensor) -> Tensor:
        """Pearson constraint over channels, in this variant's form."""
        form = pearson_released if self.config.variant == "released" else pearson_article
        return form(text, vectors)


def own_gate(
    text: Tensor, keys: Tensor, values: Tensor, temperature: float, mask: Tensor | None
) -> Tensor:
    """Clip j's vector gated by text j: [B, E], [B, N, E], [B, N, E] → [B, E], unit length."""
    sims = torch.einsum("bd,bnd->bn", text, keys)
    weights = gate_weights(sims, temperature, mask).detach()
    return unit(torch.einsum("bn,bnd->bd", weights, values))


def frame_gated(a: Tensor, text: TextTokens, video: VideoTokens, mask: Tensor | None) -> Tensor:
    """[Q, G] from small arrays only: t·unit(Σ w u) = Σ w (t·u) / √(w G w), G the frames' Gram.

    Exact, and F² numbers per clip instead of a vector per pair.
    """
    w = gate_weights(a, FRAME_GATE_TEMPERATURE, mask)  # [Q, G, F]
    value_sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_values)
    gram = torch.einsum("gfd,ged->gfe", video.frame_values, video.frame_values)
    return gated_from_gram(w, value_sims, gram)


def gated_from_gram(w: Tensor, value_sims: Tensor, gram: Tensor) -> Tensor:
    """Σ w (t·u) / √(w G w): [..., F], [..., F], [..., F, F] → [...]; 0 for a clip of none."""
    squared = torch.einsum("...f,...fe,...e->...", w, gram, w)
    return (w * value_sims).sum(dim=-1) / squared.clamp(min=1e-12).sqrt()


def weighted(levels: Levels, weights: LevelWeights) -> Tensor:
    """Sum of the levels that have a weight."""
    parts = [
        getattr(weights, name) * sims
        for name, sims in levels._asdict().items()
        if sims is not None and getattr(weights, name)
    ]
    return torch.stack(parts).sum(dim=0)
