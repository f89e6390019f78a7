"""Small pieces that several methods are built of: unit length, masked mean, text gate, and frames
from pixels or from a cache."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from finecut.errors import ShapeError


def unit(x: Tensor) -> Tensor:
    """x scaled to length 1 on the last axis; zero stays zero.

    >>> import torch
    >>> unit(torch.tensor([3.0, 4.0])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return F.normalize(x, dim=-1, eps=1e-12)


def masked_mean(frame_embeds: Tensor, frame_mask: Tensor) -> Tensor:
    """Mean over real frames: [G, F, D], [G, F] → [G, D]; zero for a clip without any.

    The published code divides by zero there and scores NaN; here such a clip scores 0.
    """
    mask = frame_mask.to(frame_embeds.dtype)[..., None]  # [G, F, 1]
    count = mask.sum(dim=1).clamp(min=1.0)
    return (frame_embeds * mask).sum(dim=1) / count


def gate_weights(sims: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Softmax of similarities over the last axis, of real entries only.

    Args:
        sims: [..., N].
        temperature: divides before the softmax.
        mask: broadcasts to [..., N], True = real; rows without any give zeros.

    Relations: with temperature → ∞ it is the mean, with → 0 the best match alone.
    """
    sims = sims / temperature
    if mask is None:
        return sims.softmax(dim=-1)
    weights = sims.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return weights.nan_to_num(nan=0.0).masked_fill(~mask, 0.0)


def frames_of(
    clip: Any, pixels: Tensor | None, frames_raw: Tensor | None, frame_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What a tower makes of frames, or what a frozen one made of them before.

    Args:
        clip: the tower, asked only for pixels.
        pixels: [G, F, 3, H, H] normalised; or None.
        frames_raw: [G, F, E] frame embeddings of a frozen tower; or None.
        frame_mask: [G, F] bool; None: every frame is real.

    Returns: frames [G, F, E] float32 and the mask.
    Raises:
        ShapeError: both or neither are given.
    """
    if (pixels is None) == (frames_raw is None):
        raise ShapeError("Give a clip's pixels, or its frames_raw from a cache: one of the two.")
    frames = clip.encode_frames(pixels)[0] if frames_raw is None else frames_raw
    return frames.float(), every_frame(frames) if frame_mask is None else frame_mask


def frames_and_patches_of(
    clip: Any,
    pixels: Tensor | None,
    frames_raw: Tensor | None,
    patches_raw: Tensor | None,
    frame_mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`frames_of` with patches_raw [G, F, P, E]; returns frames, patches and the mask."""
    if pixels is not None and frames_raw is None and patches_raw is None:
        frames, patches = clip.encode_frames(pixels)
    elif pixels is None and frames_raw is not None and patches_raw is not None:
        frames, patches = frames_raw, patches_raw
    else:
        raise ShapeError(
            "Give a clip's pixels, or both frames_raw and patches_raw from a cache "
            "(a cache of this method must be made with its patches)."
        )
    mask = every_frame(frames) if frame_mask is None else frame_mask
    return frames.float(), patches.float(), mask


def every_frame(frames: Tensor) -> Tensor:
    """[G, F, ...] → [G, F] bool, all True."""
    return torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
