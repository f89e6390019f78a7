"""A gallery of recall vectors, searched quickly: bytes choose, exact products decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finecut.index.recall import best_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.cells import Cells
    from finecut.index.codes import Codes

EXACT_ROWS = 200_000  # up to so many clips in an index every answer is exact
LOOKED_ROWS = 32_768  # clips at least whose bytes are read where there are cells
LOOKED_PER_K = 20  # and at least so many for each clip wanted
GATHERED_PART = 0.25  # of a gallery up to which single rows are read quicker than all on end
FIRST_PART = 2  # times k clips are scored first: the k-th best of them is the bar for the rest


@dataclass(frozen=True, slots=True)
class Gallery:
    """A gallery's recall vectors [G, R] with what makes searching them quick."""

    recall: NDArray[np.float32]
    codes: Codes
    cells: Cells | None = None  # where every clip is not looked at

    def top(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k gallery rows of the largest inner product with a query [R], best first.

        Exact up to ``EXACT_ROWS`` clips and wherever a filter lets few through; beyond, exact
        among the clips of the nearest cells. Scores and the order of ties are `recall.top_rows`'.

        Args:
            query: [R].
            k: rows wanted.
            allowed: [G], True = may be answered.
        """
        size = len(self.recall)
        count = size if allowed is None else int(np.count_nonzero(allowed))
        look = max(LOOKED_ROWS, LOOKED_PER_K * k)
        among: NDArray[np.integer] | None = None
        if self.cells is not None and look < min(count, GATHERED_PART * size):
            if allowed is None:
                return self._side_by_side(self.cells, query, k, look)
            among = self.cells.rows(query, look, allowed)
        elif allowed is not None and count <= max(look, GATHERED_PART * size):
            among = np.flatnonzero(allowed)
        return self._exactly(query, min(k, count), among, allowed)

    def _exactly(
        self,
        query: NDArray[np.float32],
        k: int,
        among: NDArray[np.integer] | None,
        allowed: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of some allowed rows, or of all."""
        if k < 1:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        products, margin = self.codes.products(query, among)
        masked = allowed if among is None else None
        if masked is not None:
            products[~masked] = -np.inf
        return self._decide(query, k, products, margin, among, masked)

    def _side_by_side(
        self, cells: Cells, query: NDArray[np.float32], k: int, look: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best in the nearest cells, whose codes are read where they lie."""
        blocks, packed, rest = cells.blocks(query, look)
        if len(rest):
            blocks.append(np.take(self.codes.code, rest, axis=0))
        among = np.concatenate([packed, rest])
        products, margin = self.codes.products_of(blocks, query, among)
        return self._decide(query, min(k, len(among)), products, margin, among, None)

    def _decide(
        self,
        query: NDArray[np.float32],
        k: int,
        products: NDArray[np.float32],
        margin: NDArray[np.float32],
        among: NDArray[np.integer] | None,
        masked: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of rows [N] by exact products, from those by bytes [N] and their margin."""
        n_first = min(FIRST_PART * k, len(products))
        first = np.argpartition(products, len(products) - n_first)[-n_first:]
        if masked is not None:
            first = first[masked[first]]
        near = first if among is None else among[first]
        bar = best_of(query[None], self.recall, k, near)[1][0, -1]
        # What is below the bar even at its best cannot be among the k.
        may = np.flatnonzero(products + margin >= bar)
        among = may if among is None else among[may]
        rows, scores = best_of(query[None], self.recall, k, among)
        return rows[0], scores[0]
