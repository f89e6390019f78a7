"""A very large gallery in cells of clips that are alike, so that a query reads few of them.

The cells are those of k-means. Cells nearest to a query are looked into until enough clips that
may be answered were seen: a filter costs no recall, it makes the search look into more cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS_PER_ROOT = 2.0  # cells per square root of clips
TRAINED_ROWS = 40  # per cell, to find the centres with
ROUNDS = 6
BLOCK_ROWS = 1 << 13
SEED = 0


@dataclass(frozen=True, slots=True)
class Cells:
    """Clips by cell: those of cell c are ``order[starts[c]:starts[c + 1]]``, rising."""

    centres: NDArray[np.float32]  # [C, R]
    order: NDArray[np.int32]  # [G] gallery rows
    starts: NDArray[np.int64]  # [C + 1]
    packed: NDArray[np.int8]  # [P, R] codes of the first P clips, by cell
    packed_starts: NDArray[np.int64]  # [C + 1] in ``packed``

    def blocks(
        self, query: NDArray[np.float32], least: int
    ) -> tuple[list[NDArray[np.int8]], NDArray[np.int32], NDArray[np.int32]]:
        """What `rows` finds without a filter, but not in order: codes that lie side by side, cell
        after cell, with their rows [N]; and rows [M] whose codes do not."""
        near = self._nearest(query)
        sizes = np.cumsum(np.diff(self.starts)[near])
        blocks, packed, rest = [], [], []
        for cell in near[: int(np.searchsorted(sizes, least)) + 1].tolist():
            own = self.order[self.starts[cell] : self.starts[cell + 1]]
            first, last = self.packed_starts[cell : cell + 2]
            if last > first:
                blocks.append(self.packed[first:last])
                packed.append(own[: last - first])  # rows rise, and packed ones are the first
            rest.append(own[last - first :])
        none = self.order[:0]
        return blocks, np.concatenate([none, *packed]), np.concatenate([none, *rest])

    def _nearest(self, query: NDArray[np.float32]) -> NDArray[np.int64]:
        """All cells, the nearest first."""
        import simsimd

        # One thread: a product so small by BLAS mostly waits for its threads.
        near = simsimd.cdist(self.centres, query[None], "dot", out_dtype="float32")
        return np.argsort(-np.asarray(near)[:, 0], kind="stable")

    def rows(
        self, query: NDArray[np.float32], least: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """Gallery rows in the cells nearest to a query [R], rising: at least so many, unless
        fewer are allowed at all."""
        starts = self.starts
        if allowed is None:
            counts = np.diff(starts)
        else:
            before = np.concatenate([[0], np.cumsum(allowed[self.order], dtype=np.int32)])
            counts = before[starts[1:]] - before[starts[:-1]]
        near = self._nearest(query)
        near = near[: int(np.searchsorted(np.cumsum(counts[near]), least)) + 1]
        near = near[counts[near] > 0]
        spans = zip(starts[near].tolist(), starts[near + 1].tolist(), strict=True)
        found = [self.order[first:last] for first, last in spans]
        rows = np.concatenate(found) if found else self.order[:0]
        if allowed is not None:
            rows = rows[allowed[rows]]
        return np.sort(rows)


def centres_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centres [C, R] of a gallery [G, R] by k-means on a sample; the same for the same gallery."""
    rng = np.random.default_rng(SEED)
    count = max(1, min(int(CELLS_PER_ROOT * len(vectors) ** 0.5), len(vectors)))
    chosen = rng.choice(len(vectors), min(len(vectors), count * TRAINED_ROWS), replace=False)
    sample = np.asarray(vectors[np.sort(chosen)])
    centres = sample[np.sort(rng.choice(len(sample), count, replace=False))]
    for _ in range(ROUNDS):
        order, starts = by_cell(cells_of(sample, centres), count)
        full = np.flatnonzero(np.diff(starts))
        sums = np.add.reduceat(sample[order], starts[full], axis=0)
        centres[full] = sums / np.diff(starts)[full, None]
        empty = np.setdiff1d(np.arange(count), full)
        centres[empty] = sample[rng.choice(len(sample), len(empty), replace=False)]
    return centres


def cells_of(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centre [N] of each vector [N, R]."""
    half = np.einsum("cr,cr->c", centres, centres) / 2
    cells = np.empty(len(vectors), np.int32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        cells[start : start + len(block)] = (block @ centres.T - half).argmax(axis=1)
    return cells


def by_cell(cells: NDArray[np.int32], count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """``order`` and ``starts`` of `Cells`, from the cell of each clip [G].

    >>> order, starts = by_cell(np.array([1, 0, 1], np.int32), 3)
    >>> order.tolist(), starts.tolist()
    ([1, 0, 2], [0, 1, 3, 3])
    """
    sizes = np.bincount(cells, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return np.argsort(cells, kind="stable").astype(np.int32), starts
