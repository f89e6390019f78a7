"""Losses that do not move, and numbers that are none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from finecut.learn.training.watch import (
    WINDOW,
    LossWatch,
    TrainingError,
    check_gradients,
    check_loss,
    gradient_norm,
)


def warnings(losses: list[float], batch_size: int = 8, first_step: int = 0) -> list[str]:
    watch = LossWatch(batch_size, first_step)
    said = [watch.see(step, loss) for step, loss in enumerate(losses)]
    return [warning for warning in said if warning]


def test_a_loss_at_chance_is_told_once() -> None:
    found = warnings([math.log(8) + 0.001] * 20 * WINDOW)
    assert len(found) == 1 and "ln of the batch size: the model guesses" in found[0]


def test_a_loss_that_stands_still_is_told_once() -> None:
    found = warnings([51.2] * 20 * WINDOW)  # LAFF with equal embeddings: B · h · margin
    assert len(found) == 1 and "has not moved since step 0 (51.2000, now 51.2000)" in found[0]


def test_a_loss_that_falls_is_not_told() -> None:
    assert not warnings([2.08 * 0.995**step for step in range(20 * WINDOW)])


def test_the_warm_up_does_not_count() -> None:
    still = [math.log(8)] * 5 * WINDOW
    assert not warnings(
        [*still, *[1.0 * 0.99**s for s in range(9 * WINDOW)]], first_step=len(still)
    )


def test_a_loss_that_is_none_names_step_parts_and_videos() -> None:
    parts = {"a_loss": torch.tensor(1.0), "loss": torch.tensor(math.nan)}
    with pytest.raises(
        TrainingError, match=r"step 7 \(a_loss 1, loss nan\).*: v0, v1, .*v7 \.\.\."
    ):
        check_loss(parts, 7, [f"v{i}" for i in range(10)])
    check_loss({"loss": torch.tensor(1.0)}, 7, [])


def test_the_first_parameter_whose_gradient_is_none_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    grads = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(gradient_norm(model), grads.norm())
    check_gradients(model, 3)
    model[1].weight.grad[0, 0] = math.inf
    assert not torch.isfinite(gradient_norm(model))
    with pytest.raises(TrainingError, match=r"gradient of 1\.weight is not finite at step 3\. No"):
        check_gradients(model, 3)
