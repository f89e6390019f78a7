"""Generators go on where they were."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from finecut.learn.training.randomness import random_states, seed_everything, set_random_states


def draws() -> list[float]:
    return [torch.rand(()).item(), float(np.random.rand()), random.random(), random.gauss(0, 1)]


def test_generators_go_on_after_saving_and_loading() -> None:
    kept = random_states()
    try:
        seed_everything(3)
        first = draws()
        file = io.BytesIO()
        torch.save(random_states(), file)
        second = draws()
        file.seek(0)
        set_random_states(torch.load(file, weights_only=True))
        assert draws() == second != first
        seed_everything(3)
        assert draws() == first
    finally:
        set_random_states(kept)
