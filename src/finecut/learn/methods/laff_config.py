"""LAFF's settings: the article's, its code's where they differ, and ours, which are off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from finecut.errors import UsageError
from finecut.learn.methods.laff_loss import LaffLoss

Fusion = Literal["attention", "mean", "concat", "mhsa", "mhsa_projection_free"]


@dataclass(frozen=True)
class LaffConfig:
    """Sizes of the features, by name and in order, and of the common spaces.

    ``gru`` names the text feature, if any, that a GRU trained with the model computes; its size
    in ``text_features`` is the GRU's.
    """

    video_features: Mapping[str, int]  # video level: name -> channels
    text_features: Mapping[str, int]
    frame_features: Mapping[str, int] = field(default_factory=dict)  # LAFF-ml: fused over frames
    no_transform: tuple[str, ...] = ()  # names, of either side, that skip Linear and tanh
    common_dim: int = 4096  # D; article 2048, authors' config 4096
    heads: int = 8  # h; best of {1, 2, 4, 8, 16} in the article
    dropout: float = 0.2  # authors' config
    batch_norm: bool = False  # authors' config: off for LAFF, on for LAFF-ml
    fusion: Fusion = "attention"  # the others are the article's ablations
    video_input_dropout: float = 0.0  # of video features before their transforms; ours
    loss: LaffLoss = "triplet"  # the article's; the others are ours
    # Groups of heads with a loss of their own. 0: each head (the article's combined loss), 1: all
    # (its single loss); between, as many LAFFs side by side.
    loss_spaces: int = 0
    margin: float = 0.2  # of the triplet loss, in cosine
    temperature: float = 0.05  # of the other losses, where its learning starts
    prior_temperature: float = 1000.0  # of the dual softmax's prior; CAMoE's authors' in training
    centre_weight: float = 0.0  # of the distance between a clip and its sentences' mean; ours
    # A video and a text feature that lie in one space already: one more common space, without
    # weights, whose cosine counts shared_weight times the heads' mean; ours.
    shared_space: tuple[str, ...] = ()
    shared_weight: float = 1.0
    gru: str | None = None
    gru_words: int = 0  # size of its vocabulary, <pad>, <start>, <end> and <unk> included
    gru_embed_dim: int = 500  # of its word embedding; word2vec's in the authors' code

    def __post_init__(self) -> None:
        if min(self.common_dim, self.heads) < 1:
            raise UsageError(
                f"LAFF: common_dim {self.common_dim} and heads {self.heads} must be at least 1."
            )
        for name in ("dropout", "video_input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"LAFF: {name} must be in [0, 1), got {getattr(self, name)}.")
        if self.common_dim % self.heads:
            raise UsageError(
                f"LAFF: common_dim {self.common_dim} does not divide into {self.heads} heads."
            )
        if self.loss_spaces < 0 or (self.loss_spaces and self.output_heads % self.loss_spaces):
            raise UsageError(
                f"LAFF: {self.output_heads} heads do not divide into loss_spaces "
                f"{self.loss_spaces}."
            )
        above_zero = (self.temperature, self.prior_temperature)
        positive = all(0 < value < math.inf for value in above_zero)
        if not positive or not 0 <= self.centre_weight < math.inf:
            raise UsageError(
                f"LAFF: temperature {self.temperature}, prior_temperature "
                f"{self.prior_temperature} and centre_weight {self.centre_weight}; expected above "
                "0 for the first two, 0 or more for the third."
            )
        if not self.video_features and not self.frame_features:
            raise UsageError("LAFF: no video feature is named; expected one at least.")
        if not self.text_features:
            raise UsageError("LAFF: no text feature is named; expected one at least.")
        self._check_shared_space()
        named = [
            pair
            for side in (self.video_features, self.frame_features, self.text_features)
            for pair in side.items()
        ]
        unknown = set(self.no_transform) - {name for name, _ in named}
        if unknown:
            raise UsageError(
                f"LAFF: no_transform names {sorted(unknown)}, expected among "
                f"{sorted({name for name, _ in named})}."
            )
        if self.gru is not None and (self.gru not in self.text_features or self.gru_words < 4):
            raise UsageError(
                f"LAFF: gru {self.gru!r} with {self.gru_words} words; expected one of "
                f"{sorted(self.text_features)} and a vocabulary of 4 or more."
            )
        for name, size in named:
            if name in self.no_transform and size * self.heads != self.common_dim:
                raise UsageError(
                    f"LAFF: feature {name!r} without transform has {size} channels, expected "
                    f"common_dim / heads = {self.common_dim // self.heads}."
                )

    def _check_shared_space(self) -> None:
        if not self.shared_space:
            return
        sides = {**self.video_features, **self.frame_features}, self.text_features
        sizes = [side.get(name) for side, name in zip(sides, self.shared_space, strict=False)]
        if len(self.shared_space) != 2 or None in sizes or sizes[0] != sizes[1]:
            raise UsageError(
                f"LAFF: shared_space {list(self.shared_space)} has sizes {sizes}; expected a video "
                "and a text feature of one size."
            )
        if self.shared_weight <= 0:
            raise UsageError(f"LAFF: shared_weight is {self.shared_weight}, expected above 0.")

    @property
    def output_heads(self) -> int:
        """Common spaces that come out: concatenation and MHSA have one."""
        return 1 if self.fusion in ("concat", "mhsa") else self.heads
