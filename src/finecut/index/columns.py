"""Columns of the cache as plain files: appended to in place, mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COPY_BYTES = 1 << 26  # at a time, of rows that are kept


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


def copy_rows(source: Path, target: Path, width: int, rows: NDArray[np.int64]) -> None:
    """Write some rows [N] of a column, each of so many bytes, into a file of their own.

    Raises:
        OSError, ValueError: the column is gone or too short.
    """
    count = int(rows.max(initial=-1)) + 1
    column = mapped(source, "uint8", (count, width))
    step = max(1, COPY_BYTES // max(1, width))
    with open(target, "wb") as file:
        for start in range(0, len(rows), step):
            file.write(np.ascontiguousarray(column[rows[start : start + step]]).data)
