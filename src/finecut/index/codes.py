"""Recall vectors as bytes: a quarter to read, and a proven bound on what rounding changed.

A vector is kept less the gallery's mean, in 255 steps of its own size, together with the length of
what the steps left out. By Cauchy's inequality no product with a query is off by more than that
length times the query's, so the best by bytes, and all within the bound of them, are sure to hold
the best in truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODED_ROWS = 20_000  # below, the vectors themselves are read in a millisecond or two
MEAN_ROWS = 1 << 15  # rows at most the mean is taken from; any mean gives right answers
BLOCK_ROWS = 1 << 14  # rows coded at a time
STEPS = 127  # on either side of zero
ROUNDING = 1e-6  # of a length, for all that is computed in float32 here


@dataclass(frozen=True, slots=True)
class Codes:
    """A gallery [G, R] as bytes: ``mean + scale * code``, off by a vector of length ``error``."""

    mean: NDArray[np.float32]  # [R]
    code: NDArray[np.int8]  # [G, R]
    scale: NDArray[np.float32]  # [G]
    error: NDArray[np.float32]  # [G]
    longest: float  # of the coded vectors without the mean

    def products(
        self, query: NDArray[np.float32], rows: NDArray[np.integer] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Inner products of a query [R] with rows [N] of the gallery (None: all), and how far
        each may be from the truth, both [N]."""
        code = self.code if rows is None else np.take(self.code, rows, axis=0)
        return self.products_of([code], query, rows)

    def products_of(
        self,
        blocks: Sequence[NDArray[np.int8]],
        query: NDArray[np.float32],
        rows: NDArray[np.integer] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`products` with rows whose codes lie in blocks [n, R], in the order of ``rows``."""
        import simsimd

        scale = self.scale if rows is None else self.scale[rows]
        error = self.error if rows is None else self.error[rows]
        step = float(np.abs(query).max()) / STEPS or 1.0
        digits = np.rint(query / step).astype(np.int8)
        left_out = float(np.linalg.norm(query - step * digits))
        length = float(np.linalg.norm(query))
        sums = [
            np.asarray(simsimd.cdist(block, digits[None], "dot", out_dtype="float32"))[:, 0]
            for block in blocks
        ]
        found = np.concatenate(sums) * (scale * np.float32(step))
        found += np.float32(query @ self.mean)
        slack = ROUNDING * length * (self.longest + float(np.linalg.norm(self.mean)))
        return found, error * np.float32(length) + np.float32(left_out * self.longest + slack)


def mean_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean [R] of vectors [G, R], of some of them where they are many."""
    step = -(-len(vectors) // MEAN_ROWS)
    return np.asarray(vectors[::step].mean(axis=0, dtype=np.float64), np.float32)


def encoded(
    vectors: NDArray[np.float32], mean: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32], float]]:
    """Block by block the codes, scales and errors of vectors [N, R], and the block's longest."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        rest = vectors[start : start + BLOCK_ROWS] - mean
        lengths = np.sqrt(np.einsum("nr,nr->n", rest, rest))
        scale = np.maximum(np.abs(rest).max(axis=1) / STEPS, np.finfo(np.float32).tiny)
        code = np.rint(rest / scale[:, None]).astype(np.int8)
        rest -= code * scale[:, None]
        error = np.sqrt(np.einsum("nr,nr->n", rest, rest)) + ROUNDING * lengths
        yield code, scale, error, float((lengths + error).max())


def coded(vectors: NDArray[np.float32]) -> Codes:
    """The codes of a gallery [G, R], in memory."""
    mean = mean_of(vectors)
    code, scale, error, longest = zip(*encoded(vectors, mean), strict=True)
    return Codes(
        mean, np.concatenate(code), np.concatenate(scale), np.concatenate(error), max(longest)
    )
