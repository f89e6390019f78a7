"""Train the starter's LAFFs on Flickr8k embeddings: images with their captions, in batches."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from finecut.learn.methods.laff import unit
from finecut.learn.starter.data import Pairs
from finecut.learn.starter.features import Classifier
from finecut.learn.starter.fusion import Fusion, FusionConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Chosen on the dev split. Six thousand images are few: most of it is against overfitting."""

    epochs: int = 20
    batch_images: int = 256
    captions: int = 2  # of an image's five, drawn anew in each batch
    learning_rate: float = 1e-3
    weight_decay: float = 0.2
    input_dropout: float = 0.3
    centre_weight: float = 3.0  # of the cosine to the mean of an image's captions
    seed: int = 0


def several_captions_info_nce(logits: Tensor, captions: int) -> Tensor:
    """InfoNCE where each image has several captions; an image's others are no negatives.

    Args:
        logits: [B * captions, B] captions in rows, image after image.
        captions: of each image.

    Captions choose among the images; an image chooses each of its captions against those of all
    other images. The mean of both, as in the usual symmetric loss, which it is for one caption.

    >>> logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    >>> right = torch.arange(2)
    >>> usual = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    >>> torch.allclose(several_captions_info_nce(logits, 1), usual)
    True
    """
    n = logits.shape[1]
    images = torch.arange(n, device=logits.device)
    owners = images.repeat_interleave(captions)
    to_image = F.cross_entropy(logits, owners)
    own = owners[None] == images[:, None]  # [B, B * captions]
    others = logits.T.masked_fill(own, -torch.inf).logsumexp(1)  # [B]
    right = logits.T[own].reshape(n, captions)
    to_caption = (torch.logaddexp(right, others[:, None]) - right).mean()
    return (to_image + to_caption) / 2


def train_fusion(
    train: Pairs,
    classifier: Classifier,
    config: FusionConfig | None = None,
    settings: TrainConfig | None = None,
) -> Fusion:
    """A trained `Fusion`, in evaluation mode. The same seed gives the same weights."""
    config, settings = config or FusionConfig(), settings or TrainConfig()
    torch.manual_seed(settings.seed)
    model = Fusion(config, classifier, train.images, train.captions)
    with torch.no_grad():
        features, _ = model.features(train.images)
        captions = model.evening(train.captions)  # [N, 5, 384]
    for member, laff in enumerate(model.laffs):
        torch.manual_seed(settings.seed + member)
        _train_member(laff, features, captions, settings)
        log.info("LAFF %d of %d is trained", member + 1, config.members)
    model.eval().requires_grad_(False)
    model.centre_popularity(train.images)
    return model


def _train_member(
    laff: torch.nn.Module, features: dict[str, Tensor], captions: Tensor, settings: TrainConfig
) -> None:
    centres = unit(captions.mean(1))
    size, count = settings.batch_images, settings.captions
    steps = len(captions) // size
    optimiser = torch.optim.AdamW(
        laff.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * steps
    )
    laff.train()
    for epoch in range(settings.epochs):
        total = 0.0
        for rows in torch.randperm(len(captions)).split(size)[:steps]:
            images = laff(
                {name: F.dropout(x[rows], settings.input_dropout) for name, x in features.items()}
            )
            drawn = torch.rand(size, captions.shape[1]).argsort(1)[:, :count, None]
            texts = captions[rows].take_along_dim(drawn, 1).flatten(0, 1)  # [size * count, 384]
            loss = several_captions_info_nce(laff.logit_scale.exp() * texts @ images.T, count)
            away = (1.0 - (images * centres[rows]).sum(-1)).mean()
            loss = loss + settings.centre_weight * away
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        log.info("epoch %d of %d: loss %.3f", epoch + 1, settings.epochs, total / steps)
    laff.eval()
