"""LAFF beside the built-in starter: what it knows is kept, what your videos need is learnt.

For people without CLIP weights. The starter's frozen graphs give a frame its pooled
EfficientNet-Lite0 feature and a recall vector, a sentence its MiniLM vector and a recall query
(``learn/inputs/starter.py``). A LAFF [Hu et al., arXiv:2112.01832] is trained on these; its score
is added to the starter's:

    score = starter's recall score + mix * mean over heads of LAFF's cosines

Both are inner products, so recall is one inner product of the vectors laid end to end. With an
untrained LAFF this is the starter with a little noise. The loss is symmetric InfoNCE: hardest
negatives, LAFF's own, overfit small sets at once. All of this but LAFF is ours.

Letters: G clips, Q texts, F frames, D common width, R the starter's recall width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError
from finecut.learn.losses import info_nce
from finecut.learn.methods.blocks import gate_weights, masked_mean, unit
from finecut.learn.methods.laff import LaffConfig, Side, fold
from finecut.learn.methods.protocol import Batch, Rerank, TextTokens, TokenLoss, VideoTokens

if TYPE_CHECKING:
    from finecut.learn.export_plans import Plan
    from finecut.learn.inputs.tower import FrozenTower

RELEVANCE_TEMPERATURE = 0.05  # of cosines; only for showing which frames match
MAX_LOG_SCALE = math.log(100.0)  # as CLIP's


@dataclass(frozen=True, slots=True)
class LaffStarterConfig:
    """Sizes; the defaults fit the starter that ships with this version."""

    pooled_dim: int = 1280  # EfficientNet-Lite0
    sentence_dim: int = 384  # MiniLM
    recall_dim: int = 769  # of the starter's recall vectors
    common_dim: int = 512  # D
    heads: int = 4
    dropout: float = 0.3
    mix: float = 1.0  # LAFF's part of the score at the start; it is learnt
    scale: float = 20.0  # inverse temperature at the start, the starter's own
    max_frames: int = 12
    frame_size: int = 224  # pixels, square
    starter: str = ""  # fingerprint of the starter it was trained on; the data fills it in

    def laff(self) -> LaffConfig:
        """The fused features of both sides."""
        return LaffConfig(
            video_features={"pooled": self.pooled_dim, "starter": self.recall_dim},
            text_features={"sentence": self.sentence_dim, "starter": self.recall_dim},
            common_dim=self.common_dim,
            heads=self.heads,
            dropout=self.dropout,
        )


class LaffStarter(TokenLoss):
    """See ``methods/protocol.py`` for what its four functions mean."""

    def __init__(self, config: LaffStarterConfig) -> None:
        super().__init__()
        self.config = config
        laff = config.laff()
        self.pooled_norm = nn.LayerNorm(config.pooled_dim)
        self.video_side = Side(laff.video_features, laff)
        self.text_side = Side(laff.text_features, laff)
        self.log_mix = nn.Parameter(torch.tensor(math.log(config.mix)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)))

    @staticmethod
    def frozen_tower() -> FrozenTower:
        """What makes ``frames_raw`` of frames."""
        from finecut.learn.inputs.starter import StarterTower

        return StarterTower()

    def bundle_plan(self) -> Plan:
        """How a trained model becomes a bundle: its heads behind the starter's graphs."""
        from finecut.learn.export_starter import plan_laff_starter

        return plan_laff_starter(self)

    def encode_video(self, frames_raw: Tensor, frame_mask: Tensor) -> VideoTokens:
        """Clips → recall [G, R + D] and frame_embeds [G, F, R + D]: each frame as if it were a
        clip of its own, of unit length.

        Args:
            frames_raw: [G, F, pooled + R] of the starter.
            frame_mask: [G, F] bool, True = real.
        """
        recall = self._clips(masked_mean(frames_raw, frame_mask))
        frames = unit(self._clips(frames_raw.flatten(0, 1)).unflatten(0, frame_mask.shape))
        return VideoTokens(recall, frames * frame_mask[..., None], frame_mask)

    def _clips(self, features: Tensor) -> Tensor:
        """[G, pooled + R] → [G, R + D]."""
        config = self.config
        if features.shape[-1] != config.pooled_dim + config.recall_dim:
            raise ShapeError(
                f"frames_raw must have {config.pooled_dim + config.recall_dim} channels, got "
                f"{features.shape[-1]}: of another starter."
            )
        pooled, starter = features.split([config.pooled_dim, config.recall_dim], dim=-1)
        heads, _ = self.video_side({"pooled": self.pooled_norm(pooled), "starter": starter})
        return torch.cat([starter, fold(heads)], dim=-1)

    def encode_text(self, sentences_raw: Tensor) -> TextTokens:
        """Sentences [Q, sentence + R] → recall [Q, R + D] and, of unit length, text_embeds."""
        config = self.config
        sentence, starter = sentences_raw.split([config.sentence_dim, config.recall_dim], dim=-1)
        # MiniLM's vectors have unit length; brought to unit entries as LAFF's Linear expects.
        scaled = sentence * config.sentence_dim**0.5
        heads, _ = self.text_side({"sentence": scaled, "starter": starter})
        recall = torch.cat([starter, self.log_mix.exp() * fold(heads)], dim=-1)
        # By division: the tracing exporter takes the size of `unit` for a constant here.
        length = recall.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        return TextTokens(recall, recall / length)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """The recall score is the score; frames explain it."""
        scores = text.recall @ video.recall.T
        sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)
        return Rerank(scores, gate_weights(sims, RELEVANCE_TEMPERATURE, video.frame_mask[None]))

    def training_tokens(self, batch: Batch) -> tuple[TextTokens, VideoTokens]:
        """Recall alone: the frames' tokens enter no loss and cost twelve times as much."""
        frames, mask = batch.video["frames_raw"], batch.video["frame_mask"]
        return self.encode_text(**batch.text), VideoTokens(self._clips(masked_mean(frames, mask)))

    def scale(self) -> Tensor:
        """What the loss multiplies scores by."""
        return self.log_scale.clamp(max=MAX_LOG_SCALE).exp()

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Symmetric InfoNCE of the summed score."""
        return {"loss": info_nce(self.scale() * text.recall @ video.recall.T, video_ids)}
