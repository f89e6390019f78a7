"""Frames as each method's ``encode_video`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finecut.errors import UsageError
from finecut.learn.preprocess import normalise


@dataclass(frozen=True, slots=True)
class FrameNeeds:
    """Size of the frames a method takes, and how many of a video at most."""

    size: int  # pixels, square
    max_frames: int


def frame_needs(method: str, config: Any) -> FrameNeeds:
    """What a method's config asks of a video.

    Raises:
        UsageError: the method does not take pixels.
    """
    clip = getattr(config, "clip", None)
    if clip is None and hasattr(config, "frame_size"):
        return FrameNeeds(config.frame_size, config.max_frames)
    if clip is None:
        raise UsageError(
            f'{method} takes ready-made features, not pixels: use kind = "features", or the '
            f"method {method}-clip, which makes its features by a frozen CLIP."
        )
    return FrameNeeds(clip.image_size, _max_frames(config))


def _max_frames(config: Any) -> int:
    inner = getattr(config, "taco", config)
    return inner.max_frames


def pixel_inputs(videos: Sequence[NDArray[np.uint8]], needs: FrameNeeds) -> dict[str, Tensor]:
    """``pixels`` [G, F, 3, H, H] with CLIP's statistics taken out and ``frame_mask`` [G, F].

    F is always ``needs.max_frames``: padded frames are zero, as in the published loaders, where
    they still pass the tower (and EERCF's released softmax), so an embedding must not depend on
    what else is in the batch.

    Args:
        videos: uint8 [F_i, H, H, 3] each.
        needs: of the method.
    """
    size, room = needs.size, needs.max_frames
    pixels = torch.zeros(len(videos), room, 3, size, size)
    mask = torch.zeros(len(videos), room, dtype=torch.bool)
    for row, frames in enumerate(videos):
        pixels[row, : len(frames)] = normalise(torch.from_numpy(np.ascontiguousarray(frames)))
        mask[row, : len(frames)] = True
    return {"pixels": pixels, "frame_mask": mask}
