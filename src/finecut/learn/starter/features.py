"""What the heads see of an image: four features made of one pooled EfficientNet vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finecut.learn.methods.laff import unit

# Kept directions of each feature. The classes' probabilities are the same evidence as the pooled
# feature seen through the 1,000-class layer, so fewer of their directions say something new.
KEPT = {"pooled": 400, "logits": 256, "classes": 300, "names": 200}
# > 1 flattens the class probabilities before they mix names: 1.0 has 7.1 % R@1 on dev by class
# names alone, 2.5 has 8.7 %.
CLASS_TEMPERATURE = 2.5
# Of the classes' mean probability on the training images, how much is taken off: what every
# image has a little of says nothing.
PRIOR = 0.5


@dataclass(frozen=True)
class Classifier:
    """EfficientNet's last layer and the sentence vectors of its classes' names."""

    weight: Tensor  # [1000, 1280]
    bias: Tensor  # [1000]
    names: Tensor  # [1000, 384], centred


class ImageFeatures(nn.Module):
    """Pooled features [B, 1280] -> named features, each centred, rotated and evened out.

    pooled: the feature itself; logits: standardised class logits; classes: square roots of class
    probabilities; names: the mixture of class-name vectors (ConSE, arXiv:1312.5650), which is
    also returned whole, [B, 384] of unit length.
    """

    def __init__(self, classifier: Classifier, images: Tensor) -> None:
        """Args: images: [N, 1280] training images, what means and directions are measured on."""
        super().__init__()
        self.register_buffer("weight", classifier.weight.detach().clone())
        self.register_buffer("bias", classifier.bias.detach().clone())
        self.register_buffer("names", classifier.names.clone())
        logits = images @ self.weight.T + self.bias
        self.register_buffer("pooled_mean", images.mean(0))
        self.register_buffer("pooled_std", images.std(0) + 1e-3)
        self.register_buffer("logits_mean", logits.mean(0))
        self.register_buffer("logits_std", logits.std(0) + 1e-3)
        self.register_buffer("prior", PRIOR * (logits / CLASS_TEMPERATURE).softmax(-1).mean(0))
        raw, _ = self.raw(images)
        for name, kept in KEPT.items():
            mean, turn = principal(raw[name], kept)
            self.register_buffer(f"{name}_centre", mean)
            self.register_buffer(f"{name}_turn", turn)

    def raw(self, pooled: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        logits = pooled @ self.weight.T + self.bias
        mixture = (logits / CLASS_TEMPERATURE).softmax(-1) - self.prior
        names = unit(mixture @ self.names)
        return {
            "pooled": (pooled - self.pooled_mean) / self.pooled_std,
            "logits": (logits - self.logits_mean) / self.logits_std,
            "classes": logits.softmax(-1).sqrt(),
            "names": names,
        }, names

    def forward(self, pooled: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        raw, names = self.raw(pooled)
        turned = {
            name: (raw[name] - getattr(self, f"{name}_centre")) @ getattr(self, f"{name}_turn")
            for name in KEPT
        }
        return turned, names


def principal(x: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Mean [D] and map [D, kept] to principal directions, halfway to equal variances.

    Each direction is divided by the root of its deviation, then all by one number so that the
    entries have a deviation of 1 over the sample.

    >>> mean, turn = principal(torch.randn(100, 6) * torch.tensor([9.0, 4, 1, 1, 1, 1]), 2)
    >>> round(float(((torch.randn(1, 6) - mean) @ turn).shape[1]))
    2
    """
    mean = x.mean(0)
    centred = (x - mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    values = values.flip(0)[:kept].clamp(min=0.0)
    # eigh leaves signs open; the largest entry is made positive, so that a rebuild is the same
    vectors = vectors.flip(1)[:, :kept]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * largest.sign()
    turn = vectors / values.sqrt().clamp(min=1e-3).sqrt()
    turn = turn / (centred @ turn).std()
    return mean, turn.float().contiguous()


def joined(features: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Features side by side, each divided by the root of its size and times its weight."""
    return torch.cat(
        [
            features[name] * (weight / features[name].shape[-1] ** 0.5)
            for name, weight in weights.items()
        ],
        dim=-1,
    )
