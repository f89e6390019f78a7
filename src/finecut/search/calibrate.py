"""Fit a bundle's calibration: from queries that have a match in a library and ones that have none.

Used when a bundle is made (see `finecut.bundle.manifest.Calibration`), never during a search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.errors import ShapeError
from finecut.search.calibration import measure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

GALLERY_SIZES = (3, 10, 30, 100, 300)
_STEPS = 100
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Fit:
    """The numbers of a `Calibration`, and how well they tell the two kinds of query apart."""

    slope: float
    gallery_slope: float
    intercept: float
    threshold: float
    kept: float  # share of queries with a match that are called good, in [0, 1]
    refused: float  # share of queries without one that are called "no good match"


def fit_calibration(
    bank: NDArray[np.float32],
    gallery: NDArray[np.float32],
    matched: NDArray[np.float32],
    match: ArrayLike,
    unmatched: NDArray[np.float32],
    *,
    sizes: Sequence[int] = GALLERY_SIZES,
    rounds: int = 4,
    seed: int = 0,
) -> Fit:
    """Fit on libraries of many sizes, drawn from one gallery of recall vectors.

    Args:
        bank: [B, R] recall vectors of the query bank.
        gallery: [G, R] recall vectors of clips.
        matched: [Q, R] recall vectors of queries that describe a clip.
        match: [Q] the clip each of them describes.
        unmatched: [U, R] recall vectors of queries that describe no clip of the gallery.
        sizes: clips in the drawn libraries; those above G are left out.
        rounds: libraries drawn per query and size.
        seed: of the drawing.

    Raises:
        ShapeError: sizes disagree, or there is too little to draw from.
    """
    match = np.asarray(match, np.int64)
    sizes = [size for size in sizes if 2 <= size <= len(gallery)]
    if not sizes or not len(matched) or len(match) != len(matched) or not len(unmatched):
        raise ShapeError(
            "A fit needs clips, queries with the clip each describes, and queries without one; "
            f"got {len(gallery)} clips, {len(matched)} and {len(match)}, and {len(unmatched)}."
        )
    background = measure(bank, gallery)
    drawn = np.random.default_rng(seed)
    z_matched = (matched @ gallery.T - background.mean) / background.sd  # [Q, G]
    z_unmatched = (unmatched @ gallery.T - background.mean) / background.sd
    best: list[float] = []
    logs: list[float] = []
    good: list[bool] = []
    for size in sizes:
        for _ in range(rounds):
            for z, clip in zip(z_matched, match, strict=True):
                library = drawn.choice(len(gallery), size, replace=False)
                best.append(float(z[np.append(library[1:], clip)].max()))
                good.append(True)
            for z in z_unmatched:
                library = drawn.choice(len(gallery), size, replace=False)
                best.append(float(z[library].max()))
                good.append(False)
        logs += [float(np.log(size))] * (len(best) - len(logs))
    label, largest, log_size = np.array(good), np.array(best), np.array(logs)
    # How the best of G clips grows by chance alone; taken off, so that a query without a match is
    # refused equally often in any library. (Independent normal scores would give about 0.46.)
    growth = 0.0
    if len(sizes) > 1:
        growth = max(0.0, float(np.polyfit(log_size[~label], largest[~label], 1)[0]))
    level = largest - growth * log_size
    slope, intercept = _logistic(level, label)
    sure = 1.0 / (1.0 + np.exp(-(slope * level + intercept)))
    threshold = _balanced(sure, label)
    return Fit(
        slope=slope,
        gallery_slope=slope * growth,
        intercept=intercept,
        threshold=threshold,
        kept=float((sure[label] >= threshold).mean()),
        refused=float((sure[~label] < threshold).mean()),
    )


def _logistic(x: NDArray[np.float64], label: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept by Newton's method; both labels weigh the same in sum."""
    mean, sd = float(x.mean()), float(x.std()) or 1.0
    design = np.stack([(x - mean) / sd, np.ones(len(x))], axis=1)
    weight = np.where(label, 0.5 / label.sum(), 0.5 / (~label).sum()) * len(x)
    beta = np.zeros(2)
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (p - label)) + _RIDGE * beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        beta -= step
        if float(np.abs(step).max()) < 1e-9:
            break
    slope = max(float(beta[0]) / sd, 1e-3)
    return slope, float(beta[1]) - slope * mean


def _balanced(sure: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    """The threshold at which as large a share of matches is kept as of the others is refused."""
    places = np.unique(sure)
    kept = np.array([(sure[label] >= place).mean() for place in places])
    refused = np.array([(sure[~label] < place).mean() for place in places])
    return round(float(places[np.abs(kept - refused).argmin()]), 4)
