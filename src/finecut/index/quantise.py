"""Tokens as stored: int8 with one float32 scale each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantise(tokens: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round every token (last axis) to 255 steps of its own size.

    Args:
        tokens: [..., D] finite floats.

    Returns: values [..., D] int8 in [-127, 127] and scale [...] float32, such that
        ``values * scale[..., None]`` is within ``scale / 2`` of the tokens. A zero token has
        scale 0.
    Raises:
        ShapeError: a token is not finite.

    >>> values, scale = quantise(np.array([[1.0, -0.5, 0.0]], np.float32))
    >>> values.tolist(), round(float(scale[0]), 6)
    ([[127, -64, 0]], 0.007874)
    """
    largest = np.abs(tokens).max(axis=-1, initial=0.0)
    if not np.isfinite(largest).all():
        raise ShapeError("Tokens must be finite numbers; the bundle gave NaN or infinity.")
    scale = (largest / 127.0).astype(np.float32)
    steps = np.where(scale > 0, scale, np.float32(1.0))
    values = np.rint(tokens / steps[..., None])
    return np.clip(values, -127, 127).astype(np.int8), scale


def dequantise(values: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float32 tokens [..., D] that ``values`` [..., D] and ``scale`` [...] stand for."""
    return values.astype(np.float32) * scale[..., None]
