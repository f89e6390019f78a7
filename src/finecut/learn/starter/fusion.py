"""The starter's two heads: EfficientNet features and MiniLM vectors into one space.

Two parts side by side, joined as one vector so that recall stays one inner product:

* LAFF, trained on Flickr8k: pooled features, standardised logits and square roots of class
  probabilities are fused with attention and meet the sentence vector in h spaces;
* class names, not trained (ConSE, arXiv:1312.5650): class probabilities, flattened by a
  temperature, mix the sentence vectors of the 1,000 class names; it knows what Flickr8k has not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finecut.learn.methods.laff import LaffConfig, Side, fold, unit
from finecut.learn.starter.backbone import FEATURE_DIM
from finecut.learn.starter.minilm import SENTENCE_DIM

N_CLASSES = 1000
# Centred MiniLM vectors have entries of about 0.05; LAFF's tanh wants about 1.
SENTENCE_SCALE = 20.0


@dataclass(frozen=True)
class FusionConfig:
    """Sizes of the heads, and the weights that were chosen on Flickr8k dev and the shared clips."""

    common_dim: int = 1024  # of LAFF, over all heads
    heads: int = 8
    dropout: float = 0.3
    class_temperature: float = 2.0  # > 1 flattens the class probabilities before they mix names
    class_weight: float = 0.75  # of the class-name cosine against LAFF's

    def laff(self) -> LaffConfig:
        return LaffConfig(
            video_features={"pooled": FEATURE_DIM, "logits": N_CLASSES, "classes": N_CLASSES},
            text_features={"sentence": SENTENCE_DIM},
            common_dim=self.common_dim,
            heads=self.heads,
            dropout=self.dropout,
        )


@dataclass(frozen=True)
class Statistics:
    """What the heads centre and scale by; measured on Flickr8k train, the names' on the classes."""

    pooled_mean: Tensor  # [1280]
    pooled_std: Tensor
    logits_mean: Tensor  # [1000]
    logits_std: Tensor
    sentence_mean: Tensor  # [384]
    name_vectors: Tensor  # [1000, 384] of class names, centred


class ImageHead(nn.Module):
    """Pooled features [B, 1280] of clips, frames or regions -> unit vectors, LAFF and class names.

    ``classifier`` is EfficientNet's own last layer; it is not trained.
    """

    def __init__(
        self, config: FusionConfig, stats: Statistics, weight: Tensor, bias: Tensor
    ) -> None:
        super().__init__()
        self.temperature = config.class_temperature
        self.side = Side(config.laff().video_features, config.laff())
        for name, value in (
            ("classifier_weight", weight.detach().clone()),
            ("classifier_bias", bias.detach().clone()),
            ("pooled_mean", stats.pooled_mean),
            ("pooled_std", stats.pooled_std),
            ("logits_mean", stats.logits_mean),
            ("logits_std", stats.logits_std),
            ("name_vectors", stats.name_vectors),
        ):
            self.register_buffer(name, value)

    def features(self, pooled: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The three features LAFF fuses, and the class-name mixture [B, 384] of unit length."""
        logits = pooled @ self.classifier_weight.T + self.classifier_bias
        flat = (logits / self.temperature).softmax(-1)
        fused = {
            "pooled": (pooled - self.pooled_mean) / self.pooled_std,
            "logits": (logits - self.logits_mean) / self.logits_std,
            # Square roots of probabilities are of unit length; times sqrt(1000) of unit entries.
            "classes": logits.softmax(-1).sqrt() * N_CLASSES**0.5,
        }
        return fused, unit(flat @ self.name_vectors)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        fused, names = self.features(pooled)
        return fold(self.side(fused)[0]), names


class TextHead(nn.Module):
    """MiniLM sentence vectors [B, 384] -> unit vectors in the same two parts."""

    def __init__(self, config: FusionConfig, stats: Statistics) -> None:
        super().__init__()
        self.side = Side(config.laff().text_features, config.laff())
        self.register_buffer("sentence_mean", stats.sentence_mean)

    def forward(self, sentences: Tensor) -> tuple[Tensor, Tensor]:
        centred = sentences - self.sentence_mean
        fused, _ = self.side({"sentence": centred * SENTENCE_SCALE})
        return fold(fused), unit(centred)


class Fusion(nn.Module):
    """Both heads, and the temperature InfoNCE learns."""

    def __init__(
        self, config: FusionConfig, stats: Statistics, weight: Tensor, bias: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        self.image = ImageHead(config, stats, weight, bias)
        self.text = TextHead(config, stats)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))  # the log, as everywhere

    def embed_images(self, pooled: Tensor) -> Tensor:
        """[B, 1280] -> [B, common_dim + 384]: what recall compares."""
        return torch.cat(self.image(pooled), dim=-1)

    def embed_sentences(self, sentences: Tensor) -> Tensor:
        """[B, 384] -> [B, common_dim + 384], the class-name weight folded in."""
        laff, names = self.text(sentences)
        return torch.cat([laff, self.config.class_weight * names], dim=-1)
