"""Two zero-text-training uses of a video encoder: step localisation (CrossTask) and frame labelling
(COIN), with their published measures. NumPy but for the classifier.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from finecut.errors import ShapeError


def locate_steps(scores: ArrayLike) -> NDArray[np.int64]:
    """The second at which each step happens: one second a step, in the given order, best sum.

    CrossTask's dynamic programme (background costs 0, each step exactly one second; steps may
    touch). The official code reads a stale value when there are as many seconds as steps and then
    errs in about half of the cases; this does not.

    Args:
        scores: [T, K] of every second against every step, finite, T >= K.

    Returns: [K] int64, strictly rising, 0-based seconds. Equal sums: the earlier second.

    Raises:
        ShapeError: fewer seconds than steps, or scores that are not finite.

    >>> locate_steps([[0.1, 5.0], [3.0, 0.2], [0.0, 1.0]]).tolist()  # step 2 may not come first
    [1, 2]
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or 0 in scores.shape or not np.isfinite(scores).all():
        raise ShapeError(f"scores: expected finite [T, K], got shape {scores.shape}.")
    seconds, steps = scores.shape
    if seconds < steps:
        raise ShapeError(
            f"{steps} steps cannot take one second each in {seconds} seconds; expected at least "
            f"as many seconds as steps."
        )
    # best[t, k]: largest sum of steps 0..k-1 within seconds 0..t-1
    best = np.full((seconds + 1, steps + 1), -np.inf)
    best[:, 0] = 0.0
    for t in range(1, seconds + 1):
        with_step = best[t - 1, :-1] + scores[t - 1]
        best[t, 1:] = np.maximum(best[t - 1, 1:], with_step)
    chosen = np.empty(steps, dtype=np.int64)
    t = seconds
    for k in range(steps, 0, -1):
        while t > k and best[t - 1, k] == best[t, k]:
            t -= 1
        t -= 1
        chosen[k - 1] = t
    return chosen


class StepAnnotation(NamedTuple):
    """One annotated stretch: 1-based step, seconds [floor(start_s), ceil(end_s))."""

    step: int
    start_s: float
    end_s: float


def read_annotations(lines: Iterable[str]) -> list[StepAnnotation]:
    """CrossTask's csv rows ``step,start,end``.

    >>> read_annotations(["1,0.69,2.63"])
    [StepAnnotation(step=1, start_s=0.69, end_s=2.63)]
    """
    found = []
    for number, row in enumerate(csv.reader(lines), start=1):
        try:
            step, start, end = row
            annotation = StepAnnotation(int(step), float(start), float(end))
        except ValueError:
            raise ShapeError(
                f"annotation line {number}: expected `step,start,end`, got {','.join(row)!r}."
            ) from None
        if annotation.step < 1 or not 0 <= annotation.start_s <= annotation.end_s < math.inf:
            raise ShapeError(
                f"annotation line {number}: {annotation}; expected a step from 1 and "
                "0 <= start <= end."
            )
        found.append(annotation)
    return found


class StepHits(NamedTuple):
    """Annotated steps of one video, and how many of them were located."""

    hits: int
    annotated: int


def step_hits(located: ArrayLike, annotations: Sequence[StepAnnotation]) -> StepHits:
    """Steps whose located second lies in an annotation of that step; each step counts once.

    >>> step_hits([1, 4], [StepAnnotation(1, 0.7, 2.6), StepAnnotation(2, 5.0, 6.0)])
    StepHits(hits=1, annotated=2)
    """
    seconds = np.asarray(located)
    steps = {a.step for a in annotations}
    hits = {
        a.step
        for a in annotations
        if a.step <= len(seconds)
        and math.floor(a.start_s) <= seconds[a.step - 1] < math.ceil(a.end_s)
    }
    return StepHits(len(hits), len(steps))


def step_recall(videos: Iterable[tuple[str, StepHits]]) -> tuple[dict[str, float], float]:
    """Recall of each task and their mean (the published figure), both 0-1.

    Args:
        videos: (task, hits of one of its videos).

    >>> step_recall([("a", StepHits(1, 2)), ("a", StepHits(2, 2)), ("b", StepHits(0, 1))])
    ({'a': 0.75, 'b': 0.0}, 0.375)
    """
    hits: dict[str, int] = defaultdict(int)
    annotated: dict[str, int] = defaultdict(int)
    for task, count in videos:
        hits[task] += count.hits
        annotated[task] += count.annotated
    per_task = {task: hits[task] / annotated[task] for task in annotated if annotated[task]}
    if not per_task:
        raise ShapeError("step_recall: no annotated step; expected one at least.")
    return per_task, sum(per_task.values()) / len(per_task)


def step_scores(text_recall: Tensor, frame_embeds: Tensor) -> Tensor:
    """[T, K]: TACo's sentence score of every second's token against every step's text.

    Args:
        text_recall: [K, D] from ``encode_text`` on the step descriptions.
        frame_embeds: [T, D] the video tokens, one a second.
    """
    return frame_embeds @ text_recall.T


def train_frame_classifier(
    tokens: Tensor,
    labels: Tensor,
    classes: int,
    *,
    steps: int = 500,
    batch: int = 1024,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> nn.Linear:
    """A linear classifier of frozen frame tokens (COIN: 778 steps and background).

    Args:
        tokens: [N, D] frame tokens of all training videos.
        labels: [N] int64 in [0, classes).
        classes: 779 on COIN.
        steps: Adam steps; ``batch`` tokens each, drawn with ``seed``.
        batch: see ``steps``.
        learning_rate: of Adam. The article gives none of these.
        seed: of initialisation and order.
    """
    if tokens.ndim != 2 or labels.shape != tokens.shape[:1] or not len(tokens):
        raise ShapeError(
            f"tokens {tuple(tokens.shape)} and labels {tuple(labels.shape)}; expected [N, D], [N]."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ShapeError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, expected 0 to "
            f"{classes - 1}."
        )
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(tokens.shape[1], classes)
    nn.init.normal_(head.weight, std=0.02, generator=generator)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.Adam(head.parameters(), lr=learning_rate)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (min(batch, len(tokens)),), generator=generator)
        loss = nn.functional.cross_entropy(head(tokens[rows].detach()), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval()


def frame_accuracy(videos: Iterable[tuple[ArrayLike, ArrayLike]]) -> float:
    """COIN's measure, 0-1: frames labelled right over all frames of all videos.

    Args:
        videos: (predicted [F], true [F]) labels of each.

    >>> frame_accuracy([([1, 1, 0], [1, 2, 0]), ([5], [5])])
    0.75
    """
    right = total = 0
    for predicted, true in videos:
        predicted, true = np.asarray(predicted), np.asarray(true)
        if predicted.shape != true.shape or predicted.ndim != 1:
            raise ShapeError(
                f"frame_accuracy: {predicted.shape} predicted, {true.shape} true labels."
            )
        right += int((predicted == true).sum())
        total += len(true)
    if not total:
        raise ShapeError("frame_accuracy: no frame; expected one at least.")
    return right / total
