"""LAFF: lightweight attentional feature fusion (Hu et al., ECCV 2022, arXiv:2112.01832).

A clip is described by k1 ready-made features of different extractors, a sentence by k2. Each side
takes every feature to D channels, cuts the channels into h heads, and in each head sums the
features with softmax weights: h unit vectors. The similarity is the mean of the h cosines. Laid
end to end and divided by sqrt(h), the h vectors are one unit vector: recall is an inner product.

We follow the authors' code where it and the article differ:

* one Linear(d_i, D) per feature serves all heads, which see D / h channels each (the article
  reads as if each head had its own), with D = 4096 (article: 2048);
* features named in ``no_transform`` (the fine-tuned CLIP ones) are not projected: the vector is
  repeated h times, so each head sees all of it, then batch-normalised; it needs size D / h;
* fused heads are unit length before the cosine.

One thing we do not follow: LAFF-ml's code lets padded frames take part in the frame softmax. Their
values are 0 and the result is normalised, so the embedding is the same, but the frame weights are
not; here padded frames are masked out.

Ours, and off unless configured (``laff_config.py``): other losses, in every head or in groups of
heads; a common space that exists already, without weights; dropout of video features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError
from finecut.learn.encoders.text_features import GRUText
from finecut.learn.methods.blocks import gate_weights, masked_mean, unit
from finecut.learn.methods.laff_config import LaffConfig
from finecut.learn.methods.laff_loss import distance_to_centre, ranking_losses, spaces_of
from finecut.learn.methods.laff_variants import VARIANTS
from finecut.learn.methods.protocol import Batch, Rerank, TextTokens, TokenLoss, VideoTokens

MAX_LOGIT_SCALE = 100.0  # CLIP's
RELEVANCE_TEMPERATURE = 0.05  # of cosines; only for showing which frames match


class Transform(nn.Module):
    """One feature, d channels -> D: Linear, tanh, dropout, and batch norm where configured."""

    def __init__(self, dim: int, common_dim: int, dropout: float, batch_norm: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, common_dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(common_dim) if batch_norm else nn.Identity()
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, feature: Tensor) -> Tensor:
        return self.norm(self.dropout(torch.tanh(self.fc(feature))))  # [B, D]


class Repeat(nn.Module):
    """One feature of D / h channels -> D: repeated for each head, batch-normalised, no weights."""

    def __init__(self, common_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm1d(common_dim)

    def forward(self, feature: Tensor) -> Tensor:
        return self.norm(feature.repeat(1, self.heads))  # [B, D]


class AttentionFusion(nn.Module):
    """The LAFF block: k features of D channels -> h unit vectors, with the weights it used.

    Per head: a = softmax over features of w·f_i + b, then unit(sum of a_i f_i).
    Relations: with w = 0 this is the attention-free mean; one head is the single-space block.
    """

    def __init__(self, common_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(heads, common_dim // heads))
        self.bias = nn.Parameter(torch.zeros(heads))
        for row in self.weight.data:  # each head is a Linear(D / h, 1) of its own
            nn.init.xavier_uniform_(row[None])

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """features [B, K, D], mask [B, K] bool -> heads [B, H, D/H], weights [B, H, K].

        Where a row has no real feature, its weights and its vectors are all 0.
        """
        chunks = features.unflatten(-1, (self.heads, -1))  # [B, K, H, D/H]
        logits = torch.einsum("bkhd,hd->bhk", chunks, self.weight) + self.bias[:, None]
        weights = gate_weights(logits, 1.0, None if mask is None else mask[:, None])  # [B, H, K]
        return unit(torch.einsum("bhk,bkhd->bhd", weights, chunks)), weights


class Side(nn.Module):
    """Video or text side: named features -> h unit vectors and the weights of the features."""

    def __init__(
        self, sizes: Mapping[str, int], config: LaffConfig, input_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.names = tuple(sizes)
        self.input_dropout = nn.Dropout(input_dropout)
        self.transforms = nn.ModuleDict()
        if config.fusion == "concat":
            self.transforms["concat"] = Transform(
                sum(sizes.values()), config.common_dim, config.dropout, config.batch_norm
            )
        else:
            for name, size in sizes.items():
                self.transforms[_key(name)] = (
                    Repeat(config.common_dim, config.heads)
                    if name in config.no_transform
                    else Transform(size, config.common_dim, config.dropout, config.batch_norm)
                )
        build = VARIANTS.get(config.fusion, AttentionFusion)
        self.fuse = build(config.common_dim, config.heads)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        missing = [name for name in self.names if name not in features]
        if missing:
            raise ShapeError(
                f"LAFF: features {missing} are missing; got {sorted(features)}, expected "
                f"{list(self.names)}."
            )
        read = {name: self.input_dropout(features[name]) for name in self.names}
        if "concat" in self.transforms:
            joined = torch.cat(list(read.values()), dim=-1)
            stacked = self.transforms["concat"](joined)[:, None]  # [B, 1, D]
        else:
            stacked = torch.stack(
                [self.transforms[_key(name)](feature) for name, feature in read.items()], dim=1
            )  # [B, K, D]
        return self.fuse(stacked)


class LAFF(TokenLoss):
    """The whole method. Extractors are outside; only the GRU is trained with it."""

    def __init__(self, config: LaffConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_fusion = nn.ModuleDict(
            {_key(n): AttentionFusion(d, heads=1) for n, d in config.frame_features.items()}
        )
        video_features = {**config.video_features, **config.frame_features}
        self.video_side = Side(video_features, config, config.video_input_dropout)
        self.text_side = Side(config.text_features, config)
        if config.gru is not None:
            hidden = config.text_features[config.gru]
            self.gru = GRUText(config.gru_words, config.gru_embed_dim, hidden)
        self.spaces = config.loss_spaces or config.output_heads
        if config.loss != "triplet":  # the logs, as everywhere
            start = torch.full((self.spaces,), -math.log(config.temperature))
            self.logit_scale = nn.Parameter(start)

    # ---- the two sides, head by head

    def video_heads(
        self,
        features: Mapping[str, Tensor] | None = None,
        frames: Mapping[str, Tensor] | None = None,
        frame_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, H, D/H] of clips and the weights [B, H, K] of their features.

        Args:
            features: name -> [B, d] video-level features.
            frames: name -> [B, F, d] frame-level features: fused by attention where the config
                names them under ``frame_features`` (LAFF-ml), else averaged.
            frame_mask: [B, F] bool, for ``frames``; None: all are real.
        """
        return self.video_side(self._pooled(features, frames, frame_mask))

    def _pooled(
        self,
        features: Mapping[str, Tensor] | None,
        frames: Mapping[str, Tensor] | None,
        frame_mask: Tensor | None,
    ) -> dict[str, Tensor]:
        """Every feature at video level."""
        pooled = dict(features or {})
        for name, values in (frames or {}).items():
            if name in self.config.frame_features:
                pooled[name], _ = self.fuse_frames(name, values, frame_mask)
            elif name not in pooled:
                real = values.new_ones(values.shape[:2]) if frame_mask is None else frame_mask
                pooled[name] = masked_mean(values, real)
        return pooled

    def fuse_frames(
        self, name: str, frames: Tensor, frame_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """LAFF-ml's first step: frames [B, F, d] -> unit vector [B, d], frame weights [B, F]."""
        heads, weights = self.frame_fusion[_key(name)](frames, frame_mask)
        return heads[:, 0], weights[:, 0]

    def text_heads(self, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, H, D/H] of sentences and the weights [B, H, K] of their features.

        Args:
            features: name -> [B, d]; for the GRU's name (word numbers [B, W], mask [B, W]).
        """
        return self.text_side(self._with_gru(features))

    def _with_gru(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.config.gru is None:
            return features
        return {**features, self.config.gru: self.gru(*features[self.config.gru])}

    def frame_tokens(self, frames: Mapping[str, Tensor]) -> Tensor:
        """[B, F, R]: each frame as if it were a clip of its own, in the space of recall."""
        names = self.video_side.names
        batch, count = frames[names[0]].shape[:2]
        single = {name: frames[name].flatten(0, 1) for name in names}
        for name in self.config.frame_features:  # attention over one frame leaves its direction
            single[name] = unit(single[name])
        return self._recall(self.video_side, single).unflatten(0, (batch, count))

    def _recall(self, side: Side, features: Mapping[str, Any]) -> Tensor:
        """[B, R] of unit length: the heads and the shared space laid end to end."""
        folded = fold(side(features)[0])
        if not self.config.shared_space:
            return folded
        weight = self.config.shared_weight
        shared = unit(features[self.config.shared_space[side is self.text_side]])
        joined = torch.cat([folded, math.sqrt(weight) * shared], dim=-1)
        return joined / math.sqrt(1.0 + weight)

    # ---- the four functions of the protocol

    def encode_video(
        self,
        features: Mapping[str, Tensor] | None = None,
        frames: Mapping[str, Tensor] | None = None,
        frame_mask: Tensor | None = None,
    ) -> VideoTokens:
        """Arguments as ``video_heads``. Where every feature is known frame by frame, the frames
        get tokens too: they explain and locate, and do not enter the score."""
        recall = self._recall(self.video_side, self._pooled(features, frames, frame_mask))
        if not frames or any(name not in frames for name in self.video_side.names):
            return VideoTokens(recall)
        if frame_mask is None:
            shape = next(iter(frames.values())).shape[:2]
            frame_mask = torch.ones(shape, dtype=torch.bool, device=recall.device)
        return VideoTokens(recall, self.frame_tokens(frames), frame_mask)

    def encode_text(self, features: Mapping[str, Any]) -> TextTokens:
        """Arguments as ``text_heads``."""
        recall = self._recall(self.text_side, self._with_gru(features))
        return TextTokens(recall=recall, text_embeds=recall)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """LAFF has no second stage: the recall score is the score."""
        scores = text.recall @ video.recall.T
        if video.frame_embeds is None:
            return Rerank(scores)
        sims = torch.einsum("qd,gfd->qgf", text.recall, video.frame_embeds)
        return Rerank(scores, gate_weights(sims, RELEVANCE_TEMPERATURE, video.frame_mask[None]))

    def training_tokens(self, batch: Batch) -> tuple[TextTokens, VideoTokens]:
        """The h unit vectors of each side laid end to end, without `fold`'s factor.

        A clip that several sentences of the batch belong to is encoded once.
        """
        text, _ = self.text_heads(**batch.text)
        video, place = each_once(batch.video, batch.video_ids)
        heads, _ = self.video_heads(**video)
        heads = heads if place is None else heads[place]
        return TextTokens(text.flatten(1)), VideoTokens(heads.flatten(1))

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The configured ranking loss, summed over spaces, and what pulls a clip to its centre.

        As published: in each head the hardest-negative triplet loss, text to video, summed over
        the batch.
        """
        config = self.config
        sides = [
            spaces_of(side.recall.unflatten(1, (config.output_heads, -1)), self.spaces)
            for side in (text, video)
        ]
        scale = None if config.loss == "triplet" else self.logit_scale.exp()
        losses = ranking_losses(
            config.loss,
            *sides,
            margin=config.margin,
            prior_temperature=config.prior_temperature,
            logit_scale=scale,
            video_ids=video_ids,
        )
        parts = {f"{config.loss}_loss": losses.sum()}
        if config.centre_weight:
            away = distance_to_centre(*sides, video_ids).sum()
            parts["centre_loss"] = config.centre_weight * away
        return {**parts, "loss": sum(parts.values())}

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the learned scale at 100 or less, as CLIP does; call after each step."""
        if self.config.loss != "triplet":
            self.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))


def fold(heads: Tensor) -> Tensor:
    """h unit vectors [B, H, d] -> one unit vector [B, H*d] whose products are mean cosines."""
    return heads.flatten(1) / math.sqrt(heads.shape[1])


def each_once(
    video: Mapping[str, Any], video_ids: Tensor | None
) -> tuple[Mapping[str, Any], Tensor | None]:
    """The inputs of distinct clips, and where each row's clip is among them (None: as it was).

    >>> inputs = {"features": {"a": torch.tensor([[5.0], [5.0], [6.0]])}}
    >>> once, place = each_once(inputs, torch.tensor([9, 9, 4]))
    >>> once["features"]["a"].tolist(), place.tolist()
    ([[6.0], [5.0]], [1, 1, 0])
    """
    if video_ids is None:
        return video, None
    distinct, place = torch.unique(video_ids, return_inverse=True)
    if len(distinct) == len(video_ids):
        return video, None
    rows = torch.arange(len(video_ids), device=video_ids.device)
    first = torch.full_like(distinct, len(rows)).scatter_reduce(0, place, rows, "amin")

    def pick(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: pick(inner) for name, inner in value.items()}
        return value[first] if torch.is_tensor(value) else value

    return pick(video), place


def mean_cosine(text_heads: Tensor, video_heads: Tensor) -> Tensor:
    """[Q, G] mean over heads of the cosine per head: what ``fold`` computes as one product.

    Args:
        text_heads: [Q, H, d], any length.
        video_heads: [G, H, d], any length.

    >>> same = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    >>> mean_cosine(same, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])).item()  # (1 + 0) / 2
    0.5
    """
    per_head = torch.einsum("qhd,ghd->hqg", unit(text_heads), unit(video_heads))
    return per_head.mean(dim=0)


def _key(name: str) -> str:
    # nn.ModuleDict forbids dots, which extractors' names have
    return name.replace(".", "·")
