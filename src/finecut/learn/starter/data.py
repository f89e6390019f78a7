"""What the starter is trained and chosen on: Flickr8k embeddings and the shared clips."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finecut.errors import UsageError

CAPTIONS_PER_IMAGE = 5


def shared_data() -> Path:
    """``data`` of the shared material, found by the environment variable FINECUT_SHARED."""
    root = os.environ.get("FINECUT_SHARED")
    if not root or not (Path(root) / "data").is_dir():
        raise UsageError(
            f"FINECUT_SHARED must name the folder of the shared material (with data/ in it), "
            f"got {root!r}."
        )
    return Path(root) / "data"


@dataclass(frozen=True)
class Pairs:
    """Images with five human captions each, as features of the frozen extractors."""

    images: Tensor  # [N, 1280] pooled EfficientNet-Lite0 features
    captions: Tensor  # [N, 5, 384] unit MiniLM vectors

    @property
    def queries(self) -> Tensor:
        """[5N, 384] captions in order; caption i belongs to image ``targets[i]``."""
        return self.captions.flatten(0, 1)

    @property
    def targets(self) -> Tensor:
        return torch.arange(len(self.images)).repeat_interleave(CAPTIONS_PER_IMAGE)


def flickr(split: str) -> Pairs:
    """The ``train`` (6,000 images) or ``dev`` (1,000) split of the shared Flickr8k embeddings."""
    root = shared_data() / "flickr8k_embeddings"

    def load(name: str) -> np.ndarray:
        return np.load(root / f"{split}_{name}.npy", allow_pickle=False)

    images = torch.from_numpy(load("image_efflite0").astype(np.float32))
    captions = torch.from_numpy(load("text_minilm").astype(np.float32))
    owners = load("text_to_image")
    if not np.array_equal(owners, np.arange(len(images)).repeat(CAPTIONS_PER_IMAGE)):
        raise UsageError(f"{root}: captions must come five an image, in the order of the images.")
    return Pairs(images, captions.unflatten(0, (len(images), CAPTIONS_PER_IMAGE)))
