"""What the stored thumbnails of a video show, as few numbers: to tell a copy from a look-alike.

A picture is its brightness on a 16 x 16 grid, less its mean, at unit length; the inner product of
two is their normalised correlation. Size, shape, black bars, contrast and the codec then matter
little, and where things are in the picture matters much, which embeddings tell badly.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.store import Index

GRID = 16
DARK = 28  # brightness up to which an edge is a black bar
MOST_BAR = 0.35  # of a side
FLAT = 2.0  # grey levels: pictures of less contrast say nothing of where things are


def video_pictures(
    index: Index, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The frames of some clips of one video, in their order: times [F], pictures [F, 256]."""
    from PIL import Image

    tiles: list[NDArray[np.uint8]] = []
    times: list[float] = []
    for row in rows.tolist():
        strip = index.strip(row)
        with Image.open(io.BytesIO(strip.jpeg)) as whole:
            grey = np.asarray(whole.convert("L"))
        times += strip.times.tolist()
        tiles += [
            grey[: strip.tile_height, left : left + strip.tile_width]
            for left in range(0, len(strip.times) * strip.tile_width, strip.tile_width)
        ]
    return np.array(times, np.float64), pictures_of(tiles)


def pictures_of(tiles: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Grey tiles of one size as pictures, [F, 256]: black bars common to all are left out.

    >>> pictures_of([np.zeros((30, 40), np.uint8)]).any()
    np.False_
    """
    from PIL import Image

    if not tiles:
        return np.zeros((0, GRID * GRID), np.float32)
    top, bottom, left, right = _without_bars(np.maximum.reduce(tiles))
    made = np.empty((len(tiles), GRID * GRID), np.float32)
    for number, tile in enumerate(tiles):
        cropped = Image.fromarray(tile[top:bottom, left:right])
        made[number] = np.asarray(cropped.resize((GRID, GRID), Image.Resampling.BOX)).ravel()
    made -= made.mean(axis=1, keepdims=True)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return np.where(length > FLAT * GRID, made / np.maximum(length, 1e-6), 0).astype(np.float32)


def _without_bars(brightest: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is ever lit."""
    edges = []
    for axis in (1, 0):
        lit = np.percentile(brightest, 90, axis=axis) > DARK
        size = len(lit)
        most = int(size * MOST_BAR)
        places = np.flatnonzero(lit)
        if not len(places):
            edges += [0, size]
            continue
        edges += [min(int(places[0]), most), max(int(places[-1]) + 1, size - most)]
    return edges[0], edges[1], edges[2], edges[3]
