"""The random numbers a run draws: begun from its seed, kept with its state."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Torch's, numpy's and Python's generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states() -> dict[str, Any]:
    """All generators, in types that load without unpickling code."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), as_tensor(keys), int(position), int(has_gauss), float(cached)],
        "python": [version, as_tensor(internal), gauss],
    }


def as_tensor(numbers: Any) -> torch.Tensor:
    """Hundreds of numbers as one object: quick to save."""
    return torch.from_numpy(np.asarray(numbers, np.int64))


def set_random_states(state: dict[str, Any]) -> None:
    """Back to what ``random_states`` saw."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
