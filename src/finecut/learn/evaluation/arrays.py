"""Arrays from files of others: NumPy's own format, nothing in it executed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finecut.errors import UsageError


def load_array(path: Path, what: str) -> NDArray:
    """A `.npy` file mapped into memory.

    Raises:
        UsageError: missing, or no such array; ``what`` says in the message what was expected.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: expected {what} in NumPy's .npy format: {error}") from error
