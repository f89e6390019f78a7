"""Fit the confidence of an answer: how far right answers stand out, and wrong ones at their best.

A query's z against a clip is what `finecut.search.calibration` computes: its recall score minus
the bank's mean on that clip, in the bank's standard deviations. Questions are asked of random
libraries of 10 to all clips: with the right clip in it, and with the right video taken out, where
the best z there is belongs to a wrong answer. Absurd queries belong to the second kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from finecut.learn.starter.clips import Clips

SIZES = (10, 20, 40, 92)  # videos in a library
_DRAWS = 4  # libraries of each size for each query

# Asked of any library of ordinary videos, these have no answer.
ABSURD = (
    "a purple elephant playing chess on the moon",
    "an octopus conducting a symphony orchestra",
    "a dinosaur ironing a shirt in a laundry",
    "the signing of the treaty of Versailles",
    "a penguin refuelling a jet fighter in the desert",
    "a medieval knight using a photocopier",
    "an x-ray picture of a broken leg",
    "a walrus getting a haircut at the barber",
    "microscope view of bacteria dividing",
    "a submarine parked in a shopping mall",
)


@dataclass(frozen=True)
class Fit:
    """A logistic over z, and how well it tells answers from the lack of one."""

    slope: float
    intercept: float
    threshold: float
    figures: dict[str, float]


def z_scores(queries: Tensor, bank: Tensor, gallery: Tensor) -> Tensor:
    """[Q, G] z of each query [Q, R] on each clip [G, R], against the bank [B, R].

    >>> gallery = torch.eye(2)
    >>> bank = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    >>> z_scores(torch.tensor([[3.0, 1.0]]), bank, gallery).tolist()
    [[2.0, 0.0]]
    """
    background = bank @ gallery.T  # [B, G]
    return (queries @ gallery.T - background.mean(0)) / background.std(0, correction=0)


def draw_cases(z: Tensor, absurd: Tensor, clips: Clips, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Best z of queries with an answer in their library, and of queries without one.

    Args:
        z: [Q, G] of the captions, one a video, in order.
        absurd: [A, G] of queries that no library answers.
        clips: which video each clip is of.
        seed: of the libraries drawn.
    """
    draw = torch.Generator().manual_seed(seed)
    n = len(z)
    best = torch.full((n + len(absurd), n), -torch.inf)  # by video: its best clip
    rows = clips.video.expand(len(best), -1)
    best = best.scatter_reduce(1, rows, torch.cat([z, absurd]), "amax")
    found, missed = [], []
    for size in SIZES:
        for query in range(len(best)):
            for _ in range(_DRAWS):
                others = torch.randperm(n, generator=draw)
                others = others[others != query][: size - 1]
                top = best[query, others].max()
                if query < n and best[query, query] > top:  # a right answer, shown first
                    found.append(best[query, query])
                missed.append(top)
    return torch.stack(found), torch.stack(missed)


def fit(found: Tensor, missed: Tensor) -> Fit:
    """Logistic regression with both kinds weighing the same, and the least-error threshold."""
    z = torch.cat([found, missed]).double()
    label = torch.cat([torch.ones_like(found), torch.zeros_like(missed)]).double()
    weight = torch.where(label > 0, 0.5 / len(found), 0.5 / len(missed))
    theta = torch.zeros(2, dtype=torch.float64)
    columns = torch.stack([z, torch.ones_like(z)], 1)  # [N, 2]
    for _ in range(50):  # Newton's method
        p = (columns @ theta).sigmoid()
        slope = columns.T @ (weight * (p - label)) + 1e-6 * theta
        bend = columns.T @ (columns * (weight * p * (1 - p))[:, None]) + 1e-6 * torch.eye(2)
        theta = theta - torch.linalg.solve(bend, slope)
    confidence = (columns @ theta).sigmoid()
    right, wrong = confidence[label > 0], confidence[label == 0]
    steps = torch.linspace(0.2, 0.8, 61, dtype=torch.float64)
    errors = [((right < t).double().mean() + (wrong >= t).double().mean()) / 2 for t in steps]
    threshold = float(steps[int(torch.stack(errors).argmin())])
    return Fit(
        slope=float(theta[0]),
        intercept=float(theta[1]),
        threshold=round(threshold, 2),
        figures={
            "confidence_auc": 100 * area_under_curve(right, wrong),
            "answers_doubted": 100 * float((right < threshold).double().mean()),
            "misses_believed": 100 * float((wrong >= threshold).double().mean()),
        },
    )


def area_under_curve(right: Tensor, wrong: Tensor) -> float:
    """The chance that a right answer is more confident than a wrong one; ties are half.

    >>> area_under_curve(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    ordered = wrong.sort().values
    below = torch.searchsorted(ordered, right, right=False).double()
    upto = torch.searchsorted(ordered, right, right=True).double()
    return float(((below + upto) / 2).mean() / len(wrong))
