"""Thumbnails of a clip, side by side in one JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT = 120  # pixels of a thumbnail
_MAX_WIDTH = 320  # very wide videos get lower thumbnails instead
_QUALITY = 70
_MAX_STRIP_WIDTH = 65_000  # JPEG holds 65,535


def thumb_size(width: float, height: float) -> tuple[int, int]:
    """Width and height of a thumbnail of a picture shown that wide and high.

    >>> thumb_size(1920, 1080), thumb_size(1080, 1920), thumb_size(4000, 100)
    ((213, 120), (68, 120), (320, 8))
    """
    scale = min(HEIGHT / height, _MAX_WIDTH / width)
    return max(2, round(width * scale)), max(2, round(height * scale))


def jpeg_strip(thumbs: Sequence[NDArray[np.uint8]]) -> tuple[bytes, int, int]:
    """JPEG of equally sized thumbnails side by side, and the width and height of one."""
    height, width = thumbs[0].shape[:2]
    if width * len(thumbs) > _MAX_STRIP_WIDTH:
        narrow = max(1, _MAX_STRIP_WIDTH // len(thumbs))
        thumbs = [np.asarray(Image.fromarray(t).resize((narrow, height))) for t in thumbs]
        width = narrow
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(thumbs), axis=1)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue(), width, height
