"""LAFF and TACo from pixels: both take ready-made features; here a frozen CLIP makes them.

LAFF and TACo know nothing of pixels, but a bundle must. These two wrappers join an extractor and
a method into one model with one checkpoint. Letters: G clips, Q texts, F frames, P patches,
W words, E CLIP's joint width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from finecut.learn.encoders.clip import CLIP, ClipConfig, pool_text
from finecut.learn.methods.blocks import frames_and_patches_of, frames_of, masked_mean, unit
from finecut.learn.methods.laff import LAFF, LaffConfig
from finecut.learn.methods.protocol import Batch, Rerank, TextTokens, TokenLoss, VideoTokens
from finecut.learn.methods.taco import TACo, TacoConfig


@dataclass(frozen=True, slots=True)
class LaffOnClipConfig:
    """LAFF over CLIP: two features a side, of CLIP's width."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    common_dim: int = 4096
    heads: int = 8
    dropout: float = 0.2
    margin: float = 0.2
    max_frames: int = 12
    max_words: int = 32

    def laff(self) -> LaffConfig:
        """The fused features: frame token and mean patch; end token and mean word."""
        width = self.clip.embed_dim
        return LaffConfig(
            video_features={"clip": width, "clip_patches": width},
            text_features={"clip": width, "clip_words": width},
            common_dim=self.common_dim,
            heads=self.heads,
            dropout=self.dropout,
            margin=self.margin,
        )


class LaffOnClip(TokenLoss):
    """See ``methods/protocol.py`` for what its four functions mean; CLIP is frozen."""

    def __init__(self, config: LaffOnClipConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        self.config = config
        self.clip = (clip or CLIP(config.clip)).requires_grad_(False)
        self.laff = LAFF(config.laff())

    def encode_video(
        self,
        pixels: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frames_raw: Tensor | None = None,
        patches_raw: Tensor | None = None,
    ) -> VideoTokens:
        """[G, F, 3, H, H] normalised, [G, F] → recall [G, D] and frame_embeds [G, F, D].

        Or from a cache of the frozen tower: frames_raw [G, F, E] and patches_raw [G, F, P, E].
        """
        return self.laff.encode_video(
            **self._frame_features(pixels, frame_mask, frames_raw, patches_raw)
        )

    def encode_text(self, input_ids: Tensor) -> TextTokens:
        """[Q, W] → recall and text_embeds [Q, D]."""
        return self.laff.encode_text(self._text_features(input_ids))

    def _frame_features(
        self,
        pixels: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frames_raw: Tensor | None = None,
        patches_raw: Tensor | None = None,
    ) -> dict[str, Any]:
        frames, patches, mask = frames_and_patches_of(
            self.clip, pixels, frames_raw, patches_raw, frame_mask
        )
        features = {"clip": unit(frames), "clip_patches": unit(patches.mean(dim=2))}
        return {"frames": features, "frame_mask": mask}

    def _text_features(self, input_ids: Tensor) -> dict[str, Tensor]:
        words = self.clip.encode_words(input_ids).float()
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        real = place <= input_ids.argmax(dim=1, keepdim=True)  # up to the end token
        return {
            "clip": unit(pool_text(words, input_ids)),
            "clip_words": unit(masked_mean(words, real)),
        }

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """LAFF's: the recall score is the score."""
        return self.laff.rerank(text, video)

    def training_tokens(self, batch: Batch) -> tuple[TextTokens, VideoTokens]:
        """LAFF's, of features made here."""
        text = {"features": self._text_features(**batch.text)}
        return self.laff.training_tokens(Batch(self._frame_features(**batch.video), text))

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """LAFF's triplet loss of each head with the hardest negative, summed."""
        return self.laff.token_loss(text, video, video_ids)


@dataclass(frozen=True, slots=True)
class TacoOnClipConfig:
    """TACo over CLIP's frame embeddings; ``taco.feature_dim`` must be CLIP's width."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    taco: TacoConfig = field(default_factory=lambda: TacoConfig(feature_dim=512))


class TacoOnClip(TokenLoss):
    """See ``methods/protocol.py`` for what its four functions mean; CLIP is frozen."""

    reranks = True

    def __init__(self, config: TacoOnClipConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        self.config = config
        self.clip = (clip or CLIP(config.clip)).requires_grad_(False)
        self.taco = TACo(config.taco)

    def encode_video(
        self,
        pixels: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frames_raw: Tensor | None = None,
    ) -> VideoTokens:
        """[G, F, 3, H, H] normalised, [G, F] → TACo's tokens of CLIP's frames.

        Or from a cache of the frozen tower: frames_raw [G, F, E].
        """
        frames, mask = frames_of(self.clip, pixels, frames_raw, frame_mask)
        return self.taco.encode_video(unit(frames), mask)

    def encode_text(
        self, input_ids: Tensor, word_mask: Tensor, word_weights: Tensor | None = None
    ) -> TextTokens:
        """TACo's; ids are of BERT's vocabulary, not of CLIP's."""
        return self.taco.encode_text(input_ids, word_mask, word_weights)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """TACo's three scores added up."""
        return self.taco.rerank(text, video)

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """TACo's; CLIP is frozen, so no gradient reaches the pixels."""
        return self.taco.token_loss(text, video, video_ids)
