"""The starter's heads: EfficientNet features into the space of MiniLM's sentence vectors.

Sentences are not transformed beyond centring and an evening-out of directions, so that words
Flickr8k never saw keep their places; images are brought to them in three ways:

* LAFF (`finecut.learn.methods.laff`), trained on Flickr8k: four features fused with attention;
* kernel ridge regression on the same features (`kernel.py`), closed form;
* class names, untrained: the mixture of the 1,000 class names' vectors by class probabilities.

The first two make one vector, what was learned; the names are kept beside it, and a query weighs
them the more the less it sounds like the captions that were learned from.

A clip's vector ends with one more number, its popularity among ordinary sentences, which a query
subtracts: QB-Norm's inverted softmax (arXiv:2112.12777) for a fixed bank, folded into one inner
product. It takes hubs down: clips that are fairly near to everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finecut.learn.methods.laff import LaffConfig, Side, fold, unit
from finecut.learn.starter.features import KEPT, Classifier, ImageFeatures
from finecut.learn.starter.kernel import KernelHead, k_means
from finecut.learn.starter.minilm import SENTENCE_DIM


@dataclass(frozen=True)
class FusionConfig:
    """Sizes, and the weights that were chosen on Flickr8k dev and the shared clips."""

    common_dim: int = 768  # of LAFF, over all heads
    heads: int = 8
    dropout: float = 0.5
    members: int = 4  # LAFFs of different seeds, averaged
    kernel_weight: float = 1.5  # of the kernel's unit vector against LAFF's
    # Weight of the class-name cosine against what was learned: the first number for a query as
    # near to the captions as `near`, the second more for one as far as `far`. Nearness is the mean
    # of the five highest cosines to the bank; half of the dev captions are nearer than 0.51, half
    # of the shared clips' captions nearer than 0.39.
    names_weight: tuple[float, float] = (0.2, 0.8)
    near: float = 0.5
    far: float = 0.3
    hub_names_weight: float = 0.4  # the names' weight where popularity is measured
    token_names_weight: float = 0.8  # and in tokens
    hub_weight: float = 0.5  # of the popularity that is subtracted
    hub_scale: float = 12.0  # inverse temperature of the inverted softmax
    hub_sentences: int = 1000  # cluster centres of the training captions

    def laff(self) -> LaffConfig:
        return LaffConfig(
            video_features=KEPT,
            text_features={"sentence": SENTENCE_DIM},
            no_transform=(),
            common_dim=self.common_dim,
            heads=self.heads,
            dropout=self.dropout,
        )


class Evening(nn.Module):
    """Sentence vectors -> unit vectors whose directions are evened out: (s - mean) C^-1/4.

    C is the captions' covariance, scaled to a mean variance of 1 and lifted by 0.05. Plain
    MiniLM space spends most of its length on a few directions that captions differ in little.
    """

    def __init__(self, captions: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", captions.mean(0))
        centred = (captions - self.mean).double()
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(captions))
        values = values / values.mean() + 0.05
        self.register_buffer("even", ((vectors * values.pow(-0.25)) @ vectors.T).float())

    def forward(self, sentences: Tensor) -> Tensor:
        return unit((sentences - self.mean) @ self.even)


class LaffHead(nn.Module):
    """LAFF's video side and a linear map from its common spaces to sentence space."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        laff = config.laff()
        self.side = Side(laff.video_features, laff)
        self.out = nn.Linear(config.common_dim, SENTENCE_DIM)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))  # the log, as everywhere

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return unit(self.out(fold(self.side(features)[0])))


class Fusion(nn.Module):
    """Everything after the backbones, on both sides."""

    def __init__(
        self, config: FusionConfig, classifier: Classifier, images: Tensor, captions: Tensor
    ) -> None:
        """Args:
        images: [N, 1280] pooled features of the training images.
        captions: [N, C, 384] their captions' sentence vectors.
        """
        super().__init__()
        self.config = config
        self.features = ImageFeatures(classifier, images)
        self.evening = Evening(captions.flatten(0, 1))
        evened = self.evening(captions)
        features, _ = self.features(images)
        self.kernel = KernelHead(features, unit(evened.mean(1)))
        self.laffs = nn.ModuleList([LaffHead(config) for _ in range(config.members)])
        bank = k_means(self.evening(captions[:, 0]), config.hub_sentences, seed=0)
        bank = unit(bank @ torch.linalg.inv(self.evening.even))  # centred sentences again
        self.register_buffer("familiar", bank)  # [B, 384]
        self.register_buffer("bank", self._query(bank))  # [B, 384]
        self.register_buffer("usual", torch.zeros(()))  # popularity, set by `centre_popularity`

    # ---- images

    def embed(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features [B, 1280] of frames or regions -> two unit vectors [B, 384] each: what
        was learned, in evened-out sentence space, and the mixture of class names."""
        features, names = self.features(pooled)
        learned = sum(laff(features) for laff in self.laffs) / len(self.laffs)
        return unit(unit(learned) + self.config.kernel_weight * self.kernel(features)), names

    def tokens(self, learned: Tensor, names: Tensor) -> Tensor:
        """Unit vectors [..., 384] of frames or regions, to be compared with `text_tokens`."""
        return unit(learned @ self.evening.even + self.config.token_names_weight * names)

    def popularity(self, clips: Tensor) -> Tensor:
        """How near clips [..., 384] are to ordinary sentences, against the usual: [..., 1]."""
        scale = self.config.hub_scale
        return (scale * clips @ self.bank.T).logsumexp(-1, keepdim=True) / scale - self.usual

    @torch.no_grad()
    def centre_popularity(self, images: Tensor) -> None:
        """Make 0 the mean popularity of ``images``: it then hardly counts between two clips."""
        self.usual.zero_()
        self.usual.copy_(self.recall_vectors(*self.embed(images))[:, -1].mean())

    def recall_vectors(self, learned: Tensor, names: Tensor) -> Tensor:
        """Means over a clip's frames of `embed`'s parts -> [..., 769]."""
        learned, names = unit(learned) @ self.evening.even, unit(names)
        popular = self.popularity(learned + self.config.hub_names_weight * names)
        return torch.cat([learned, names, popular], dim=-1)

    # ---- sentences

    def _query(self, centred: Tensor) -> Tensor:
        """Unit centred sentences [..., 384], so long that their evened-out self has length 1."""
        return centred / (centred @ self.evening.even).norm(dim=-1, keepdim=True).clamp(min=1e-6)

    def names_weights(self, centred: Tensor) -> Tensor:
        """[B, 384] unit centred sentences -> [B, 1]: how much class names count for each."""
        c = self.config
        nearness = (centred @ self.familiar.T).topk(5, dim=-1).values.mean(-1, keepdim=True)
        distance = ((c.near - nearness) / (c.near - c.far)).clamp(0.0, 1.0)
        return c.names_weight[0] + c.names_weight[1] * distance

    def recall_queries(self, sentences: Tensor) -> Tensor:
        """[B, 384] -> [B, 769]; the inner product with a clip is its score."""
        centred = unit(sentences - self.evening.mean)
        query = self._query(centred)
        hub = torch.full_like(query[..., :1], -self.config.hub_weight)
        return torch.cat([query, self.names_weights(centred) * query, hub], dim=-1)

    def text_tokens(self, sentences: Tensor) -> Tensor:
        """[B, 384] -> [B, 384] of unit length, what frame and patch tokens are compared with."""
        return unit(sentences - self.evening.mean)
