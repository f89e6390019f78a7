"""Frames as the published recipes see them: which ones, and as what numbers.

The search product samples by time and sends bytes through the door (``video/``); this file is
the training and evaluation protocol of CLIP4Clip and EERCF, frame for frame.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from finecut.errors import ShapeError, UsageError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # RGB, of pixels in [0, 1]; OpenAI CLIP
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

FramePosition = Literal["head", "tail", "uniform"]  # CLIP4Clip's slice_framepos 0, 1, 2


def decoded_frame_indices(
    frame_count: int,
    fps: float,
    framerate: int = 1,
    start_end_s: tuple[int, int] | None = None,
) -> list[int]:
    """The frame numbers that CLIP4Clip's extractor decodes.

    In each second, of ``int(fps)`` frames (29.97 counts as 29, so times drift), the first
    ``framerate`` of every ``int(fps) // framerate``-th frame; the last second is inclusive; it
    stops where the video ends.

    Raises:
        UsageError: fps below 1 (the official code divides by zero) or framerate above fps.

    >>> decoded_frame_indices(75, 30.0)
    [0, 30, 60]
    """
    whole_fps = int(fps)
    if whole_fps < 1:
        raise UsageError(f"fps must be at least 1, got {fps}: resample the video first.")
    if not 1 <= framerate <= whole_fps:
        raise UsageError(f"framerate must be 1 to {whole_fps} (the video's fps), got {framerate}.")
    inside = list(range(0, whole_fps, whole_fps // framerate))[:framerate]
    start_s, end_s = start_end_s or (0, -(-frame_count // whole_fps))
    wanted = (second * whole_fps + i for second in range(start_s, end_s + 1) for i in inside)
    indices = []
    for index in wanted:
        if index >= frame_count:
            break
        indices.append(index)
    return indices


def keep_frames(count: int, max_frames: int, position: FramePosition = "uniform") -> list[int]:
    """Which of ``count`` decoded frames are kept when there are more than ``max_frames``.

    >>> keep_frames(5, 3)
    [0, 2, 4]
    >>> keep_frames(5, 3, "tail")
    [2, 3, 4]
    """
    if count <= max_frames or position == "head":
        return list(range(min(count, max_frames)))
    if position == "tail":
        return list(range(count - max_frames, count))
    return [int(i) for i in np.linspace(0, count - 1, num=max_frames, dtype=int)]


def preprocess_image(image: NDArray[np.uint8] | Image.Image, size: int = 224) -> Tensor:
    """One frame as CLIP takes it: [3, size, size] float32.

    Bicubic resize (Pillow's, antialiased) of the short side to ``size``, centre cut, RGB in
    [0, 1], minus mean, over standard deviation.

    Args:
        image: uint8 [height, width, 3] RGB, or a Pillow image.
        size: pixels.
    """
    return normalise(torch.from_numpy(crop_image(image, size)))


def crop_image(image: NDArray[np.uint8] | Image.Image, size: int = 224) -> NDArray[np.uint8]:
    """`preprocess_image` before it becomes numbers: uint8 [size, size, 3] RGB.

    >>> crop_image(np.zeros((30, 40, 3), np.uint8), 8).shape
    (8, 8, 3)
    """
    if not isinstance(image, Image.Image):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ShapeError(
                f"`image` must be uint8 [height, width, 3], got {image.dtype} {image.shape}."
            )
        image = Image.fromarray(image)
    image = image.convert("RGB")
    width, height = image.size
    short, long = sorted((width, height))
    scaled_long = int(size * long / short)
    width, height = (size, scaled_long) if width <= height else (scaled_long, size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.array(image.crop((left, top, left + size, top + size)))


def normalise(frames: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] → float32 [..., 3, H, W], CLIP's mean and deviation taken out."""
    ordered = frames.movedim(-1, -3).contiguous()  # while it is bytes
    pixels = ordered.to(torch.float32, copy=True)
    shape = (3, 1, 1)
    mean = torch.tensor(CLIP_MEAN, device=pixels.device).view(shape)
    std = torch.tensor(CLIP_STD, device=pixels.device).view(shape)
    return pixels.div_(255.0).sub_(mean).div_(std)


def pad_frames(frames: Tensor, max_frames: int) -> tuple[Tensor, Tensor]:
    """[F, 3, H, W] → [max_frames, 3, H, W] padded with zeros, and frame_mask [max_frames].

    The zeros come after normalisation, as in the published loaders: a padded frame is mid-grey,
    not black.
    """
    count = frames.shape[0]
    if count > max_frames:
        raise ShapeError(f"{count} frames do not fit into max_frames {max_frames}; keep fewer.")
    padded = frames.new_zeros(max_frames, *frames.shape[1:])
    padded[:count] = frames
    mask = torch.zeros(max_frames, dtype=torch.bool)
    mask[:count] = True
    return padded, mask
