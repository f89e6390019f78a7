"""Columns of the cache as plain files: appended to in place, mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def appending(path: Path, size_bytes: int) -> Any:
    """Open for writing at ``size_bytes``: over what an interrupted write left behind it.

    Raises:
        ValueError: the file is shorter than that.
    """
    if not path.exists():
        path.touch()
    if path.stat().st_size < size_bytes:
        raise ValueError(f"{path} is shorter than its snapshot")
    file = open(path, "r+b")  # noqa: SIM115 (the caller closes it)
    file.seek(size_bytes)
    return file


def mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The first rows of a column, read-only.

    Raises:
        OSError, ValueError: there is no such file, or it is too short.
    """
    if 0 in shape:
        return np.zeros(shape, dtype)  # an empty file cannot be mapped
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)
