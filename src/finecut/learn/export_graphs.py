"""The torch modules that become a bundle's graphs: bytes → tokens, ids → query, arrays → score.

They are ordinary torch, so that the parity gate can run them beside their ONNX form. Padding
reaches them as a mask; padded frames are zeroed after normalisation, as in the published loaders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from finecut.learn.losses import token_scores
from finecut.learn.methods import zero_shot
from finecut.learn.methods.blocks import gate_weights, masked_mean, unit
from finecut.learn.methods.clip4clip import CLIP4Clip
from finecut.learn.methods.eercf import (
    EERCF,
    FRAME_GATE_TEMPERATURE,
    WEAK_TEMPERATURE,
    gated_from_gram,
)
from finecut.learn.methods.on_clip import TacoOnClip
from finecut.learn.methods.protocol import TextTokens, VideoTokens
from finecut.learn.preprocess import CLIP_MEAN, CLIP_STD

# ---------------------------------------------------------------------- the two encoder graphs


class VideoGraph(nn.Module):
    """Bytes in, tokens out. The pixel statistics are inside, so they cannot drift."""

    def __init__(
        self,
        encode: Callable[..., VideoTokens],
        owner: nn.Module,
        outputs: list[str],
        mean: tuple[float, ...] = CLIP_MEAN,
        std: tuple[float, ...] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.owner = owner  # registers the parameters that `encode` uses
        self.encode = encode
        self.outputs = outputs
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, ...]:
        pixels = frames.permute(0, 1, 4, 2, 3).float() / 255.0  # [N, F, 3, H, W]
        pixels = (pixels - self.mean) / self.std
        pixels = pixels * frame_mask[:, :, None, None, None].float()
        tokens = self.encode(pixels=pixels, frame_mask=frame_mask)
        by_name = {
            "recall_embeds": tokens.recall,
            "frame_embeds": tokens.frame_embeds,
            "patch_embeds": tokens.patch_embeds,
            "frame_values": tokens.frame_values,
        }
        return tuple(by_name[name] for name in self.outputs)


class TextGraph(nn.Module):
    """Ids of the true length in, query out."""

    def __init__(
        self,
        encode: Callable[..., TextTokens],
        owner: nn.Module,
        outputs: list[str],
        takes_mask: bool = False,
    ) -> None:
        super().__init__()
        self.owner = owner
        self.encode = encode
        self.outputs = outputs
        self.takes_mask = takes_mask

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> tuple[Tensor, ...]:
        if self.takes_mask:
            tokens = self.encode(input_ids=input_ids, word_mask=word_mask)
        else:
            tokens = self.encode(input_ids=input_ids * word_mask)  # padding is id 0
        by_name = {
            "recall_query": tokens.recall,
            "text_embeds": tokens.text_embeds,
            "word_embeds": tokens.word_embeds,
        }
        return tuple(by_name[name] for name in self.outputs)


def relevance(sims: Tensor, mask: Tensor) -> Tensor:
    """Cosines [K, F] to [0, 1], one scale for all candidates of a query; 0 for padding."""
    return ((sims + 1) / 2).clamp(0, 1) * mask.to(sims.dtype)


# ---------------------------------------------------------------------- the re-rank graphs


class LateEercf(nn.Module):
    """EERCF's stage 2 from small arrays. Padded frames are masked, which is EERCF with
    ``mask_padding``: an index stores real frames only."""

    def __init__(self, model: EERCF) -> None:
        super().__init__()
        self.weights = model.config.rerank_weights
        self.register_buffer("wf", model.frame_logit_weight.detach().clone())
        self.register_buffer("scale", model.clip.logit_scale.detach().exp())

    def forward(
        self,
        recall_score: Tensor,
        frame_sims: Tensor,
        frame_mask: Tensor,
        frame_value_sims: Tensor,
        frame_gram: Tensor,
        patch_sims: Tensor,
    ) -> tuple[Tensor, Tensor]:
        frames = frame_sims.shape[1]
        attention = gate_weights(frame_sims, WEAK_TEMPERATURE, frame_mask)
        attention = attention @ self.wf[:frames, :frames]
        frame_weak = (frame_sims.masked_fill(~frame_mask, 0.0) * attention).sum(-1)
        gate = gate_weights(frame_sims, FRAME_GATE_TEMPERATURE, frame_mask)
        every = frame_mask[..., None].expand(patch_sims.shape).flatten(-2)
        flat = patch_sims.flatten(-2)
        patch_weak = (flat * gate_weights(flat, WEAK_TEMPERATURE, every)).sum(-1)
        w = self.weights
        score = (
            w.video * recall_score
            + w.frame_weak * frame_weak
            + w.frame_gated * gated_from_gram(gate, frame_value_sims, frame_gram)
            + w.patch_weak * patch_weak
        )
        return self.scale * score, relevance(frame_sims, frame_mask)


class LateZeroShotPatches(nn.Module):
    def forward(
        self,
        recall_score: Tensor,
        frame_sims: Tensor,
        frame_mask: Tensor,
        frame_gram: Tensor,
        patch_sims: Tensor,
    ) -> tuple[Tensor, Tensor]:
        score = zero_shot.late_score(recall_score, frame_sims, frame_mask, frame_gram, patch_sims)
        return score, relevance(frame_sims, frame_mask)


class LateZeroShot(nn.Module):
    def forward(
        self, recall_score: Tensor, frame_sims: Tensor, frame_mask: Tensor, frame_gram: Tensor
    ) -> tuple[Tensor, Tensor]:
        score = zero_shot.late_score(recall_score, frame_sims, frame_mask, frame_gram, None)
        return score, relevance(frame_sims, frame_mask)


class CrossClip4Clip(nn.Module):
    """tightTransf over the stored raw frames of each candidate."""

    def __init__(self, model: CLIP4Clip) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, text_embeds: Tensor, frame_embeds: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        # The recall vector is no input of the cross-encoder; only its length matters here.
        video = VideoTokens(frame_embeds[:, 0], frame_embeds, frame_mask)
        sims = unit(frame_embeds) @ unit(text_embeds)
        return self.model.cross_scores(text_embeds, video), relevance(sims, frame_mask)


class WithWeights(nn.Module):
    """TACo's encoders with one more channel, which carries each word's weight to the re-ranker.

    Frames and the sentence hold 0 there, so no inner product changes.
    """

    def __init__(self, model: TacoOnClip) -> None:
        super().__init__()
        self.model = model

    def encode_video(self, pixels: Tensor, frame_mask: Tensor) -> VideoTokens:
        video = self.model.encode_video(pixels, frame_mask)
        return replace(video, frame_embeds=nn.functional.pad(video.frame_embeds, (0, 1)))

    def encode_text(self, input_ids: Tensor, word_mask: Tensor) -> TextTokens:
        text = self.model.encode_text(input_ids, word_mask)
        return replace(
            text,
            text_embeds=nn.functional.pad(text.text_embeds, (0, 1)),
            word_embeds=torch.cat([text.word_embeds, text.word_weights[..., None]], dim=-1),
        )


class CrossTaco(nn.Module):
    """TACo's sentence, token and fused score from stored tokens (see ``WithWeights``)."""

    def __init__(self, model: TacoOnClip) -> None:
        super().__init__()
        self.taco = model.taco

    def forward(
        self,
        text_embeds: Tensor,
        word_embeds: Tensor,
        word_mask: Tensor,
        frame_embeds: Tensor,
        frame_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        taco, clips = self.taco, frame_embeds.shape[0]
        text, words, frames = text_embeds[:-1], word_embeds[:, :-1], frame_embeds[..., :-1]
        recall = masked_mean(frames, frame_mask)
        recall = unit(recall) if taco.config.normalise else recall
        best = token_scores(words[None], frames, frame_mask)[0]  # [K, W]
        weights = word_embeds[:, -1] * word_mask
        fused = taco.fuse(
            words.expand(clips, -1, -1), word_mask.expand(clips, -1), frames, frame_mask
        )
        score = recall @ text + taco.config.token_score_weight * (best @ weights) + fused
        return score, relevance(unit(frames) @ unit(text), frame_mask)
