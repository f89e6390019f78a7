"""Train the starter's LAFF on Flickr8k embeddings: image batches with all their captions."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from finecut.learn.starter.data import Pairs
from finecut.learn.starter.fusion import Fusion, FusionConfig, Statistics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Chosen on the dev split."""

    epochs: int = 40
    batch_images: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.2
    seed: int = 0


def statistics(train: Pairs, weight: Tensor, bias: Tensor, names: Tensor) -> Statistics:
    """Means and deviations over the training images and captions."""
    logits = train.images @ weight.T + bias
    return Statistics(
        pooled_mean=train.images.mean(0),
        pooled_std=train.images.std(0) + 1e-3,
        logits_mean=logits.mean(0),
        logits_std=logits.std(0) + 1e-3,
        sentence_mean=train.queries.mean(0),
        name_vectors=names,
    )


def several_captions_info_nce(logits: Tensor, captions: int) -> Tensor:
    """InfoNCE where each image has several captions; an image's others are no negatives.

    Args:
        logits: [B * captions, B] captions in rows, image after image.
        captions: of each image.

    Captions choose among the images; an image chooses each of its captions against those of all
    other images. The mean of both, as in the usual symmetric loss, which it is for one caption.

    >>> logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    >>> usual = (F.cross_entropy(logits, torch.arange(2)) + F.cross_entropy(logits.T, torch.arange(2))) / 2
    >>> torch.allclose(several_captions_info_nce(logits, 1), usual)
    True
    """
    n = logits.shape[1]
    owners = torch.arange(n, device=logits.device).repeat_interleave(captions)
    to_image = F.cross_entropy(logits, owners)
    own = owners[None] == torch.arange(n, device=logits.device)[:, None]  # [B, B * captions]
    others = logits.T.masked_fill(own, -torch.inf).logsumexp(1)  # [B]
    right = logits.T[own].reshape(n, captions)
    to_caption = (torch.logaddexp(right, others[:, None]) - right).mean()
    return (to_image + to_caption) / 2


def train_fusion(
    train: Pairs,
    stats: Statistics,
    weight: Tensor,
    bias: Tensor,
    config: FusionConfig | None = None,
    settings: TrainConfig | None = None,
) -> Fusion:
    """A trained `Fusion`, in evaluation mode. The same seed gives the same weights."""
    settings = settings or TrainConfig()
    torch.manual_seed(settings.seed)
    model = Fusion(config or FusionConfig(), stats, weight, bias).train()
    with torch.no_grad():
        fused, _ = model.image.features(train.images)  # nothing in it is trained
    centred = (train.captions - stats.sentence_mean) * 20.0
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    size = settings.batch_images
    steps = len(train.images) // size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * steps
    )
    for epoch in range(settings.epochs):
        total = 0.0
        for rows in torch.randperm(len(train.images)).split(size)[:steps]:
            captions = centred[rows]
            with torch.autocast("cpu", torch.bfloat16):
                images, _ = model.image.side({name: x[rows] for name, x in fused.items()})
                texts, _ = model.text.side({"sentence": captions.flatten(0, 1)})
            sims = texts.float().flatten(1) @ images.float().flatten(1).T / images.shape[1]
            loss = several_captions_info_nce(model.logit_scale.exp() * sims, captions.shape[1])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        log.info("epoch %d of %d: loss %.3f", epoch + 1, settings.epochs, total / steps)
    return model.eval().requires_grad_(False)
