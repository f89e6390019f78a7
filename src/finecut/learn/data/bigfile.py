"""BigFile: the feature folders of the LAFF family (feature.bin, id.txt, shape.txt).

``shape.txt`` holds "rows columns", ``id.txt`` the names in order, ``feature.bin`` float32 row by
row. Files come from strangers: sizes are checked before anything is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finecut.errors import NotFound, ShapeError, UsageError


class BigFile(Mapping[str, NDArray[np.float32]]):
    """A feature folder as a mapping name -> float32 [columns], memory-mapped."""

    def __init__(self, folder: Path | str) -> None:
        folder = Path(folder)
        for name in ("shape.txt", "id.txt", "feature.bin"):
            if not (folder / name).is_file():
                raise NotFound(
                    f"{folder} is no BigFile: {name} is missing; expected shape.txt, id.txt and "
                    "feature.bin."
                )
        try:
            rows, columns = map(int, (folder / "shape.txt").read_text("utf-8").split())
        except ValueError:
            raise ShapeError(
                f"{folder / 'shape.txt'}: expected two whole numbers, rows and columns."
            ) from None
        names = (folder / "id.txt").read_text("utf-8").split()
        size = (folder / "feature.bin").stat().st_size
        if rows < 1 or columns < 1 or len(names) != rows or size != rows * columns * 4:
            raise ShapeError(
                f"{folder}: shape.txt says {rows} x {columns}; id.txt has {len(names)} names and "
                f"feature.bin {size} bytes, expected {rows} and {rows * columns * 4}."
            )
        self.names = tuple(names)
        self.dim = columns
        self._row = {name: row for row, name in enumerate(names)}
        self._table = np.memmap(
            folder / "feature.bin", dtype="<f4", mode="r", shape=(rows, columns)
        )

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self._table[self._row[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, names: Sequence[str]) -> NDArray[np.float32]:
        """[n, columns] in the order asked (the released reader gives file order)."""
        missing = [name for name in names if name not in self._row]
        if missing:
            raise NotFound(f"BigFile: {len(missing)} names are unknown, first {missing[0]!r}.")
        return np.asarray(self._table[[self._row[name] for name in names]])


def write_bigfile(folder: Path | str, names: Sequence[str], table: ArrayLike) -> None:
    """Write a new feature folder; refuses one that exists."""
    values = np.asarray(table, dtype="<f4")
    if values.ndim != 2 or len(values) != len(names) or len(set(names)) != len(names):
        raise ShapeError(
            f"write_bigfile: {len(names)} names for a table of shape {values.shape}; expected "
            "distinct names, one per row."
        )
    if any(not name or name.split() != [name] for name in names):
        raise UsageError("write_bigfile: names must not be empty or hold white space.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=False)
    values.tofile(folder / "feature.bin")
    (folder / "id.txt").write_text(" ".join(names), "utf-8")
    (folder / "shape.txt").write_text(f"{values.shape[0]} {values.shape[1]}", "utf-8")
