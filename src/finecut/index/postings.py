"""Words found in memory-mapped lists of where they stand: BM25 without loading Lance.

One list per term holds every place it stands at, as (row, position). Rows are texts, in the order
of the table. Lance's own full-text index answers where there are too many texts to keep lists of.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.text.terms import BREAK

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

# Of BM25 (Robertson and Zaragoza 2009), as Lucene and Lance set them: how soon more of a word adds
# little, and how much a long text is held against it.
K1, B = 1.2, 0.75
_POSITION_BITS = 20  # a row has at most 20,000 characters and as many pairs


@dataclass(frozen=True, slots=True)
class Postings:
    """Where each term stands. V terms, N rows, T places, P pairs of a term and a row it is in."""

    vocabulary: NDArray[np.uint8]  # every term's UTF-8 on end, terms in the order of their bytes
    term_ends: NDArray[np.int64]  # [V] where each ends in ``vocabulary``
    row_ends: NDArray[np.int64]  # [V] where each term's rows end in ``rows``
    rows: NDArray[np.int32]  # [P] rising within a term
    weights: NDArray[np.float32]  # [P] BM25 of the term in the row
    place_ends: NDArray[np.int64]  # [V] where each term's places end in ``places``
    places: NDArray[np.int64]  # [T] row << 20 | position, rising within a term
    n_rows: NDArray[np.int64]  # [1] N

    def any_of(self, terms: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows with any of the terms, rising, and their BM25 scores."""
        spans = [self._span(self.row_ends, number) for number in self._numbers(terms)]
        if len(spans) == 1:
            return self.rows[spans[0]].astype(np.int64), np.array(self.weights[spans[0]])
        scores = np.zeros(int(self.n_rows[0]), np.float32)
        for span in spans:
            scores[self.rows[span]] += self.weights[span]
        found = np.flatnonzero(scores)
        return found, scores[found]

    def phrase(self, terms: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows where the terms stand side by side in this order, rising, and the sum of the terms'
        BM25 scores there."""
        numbers = self._numbers(terms)
        if len(numbers) < len(terms):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        shifted = [
            self.places[self._span(self.place_ends, number)] - offset
            for offset, number in enumerate(numbers)
        ]
        begins = min(shifted, key=len, default=np.zeros(0, np.int64))
        for places in shifted:
            if places is not begins:
                begins = begins[_among(begins, places)]
        rows = np.unique(begins >> _POSITION_BITS)
        scores = np.zeros(len(rows), np.float32)
        for number in dict.fromkeys(numbers):
            span = self._span(self.row_ends, number)
            scores += self.weights[span][np.searchsorted(self.rows[span], rows)]
        return rows, scores

    def _numbers(self, terms: Sequence[str]) -> list[int]:
        """The numbers of those terms that are anywhere."""
        found = []
        for term in terms:
            wanted = term.encode("utf-8", "replace")
            number = bisect_left(range(len(self.term_ends)), wanted, key=self._term)
            if number < len(self.term_ends) and self._term(number) == wanted:
                found.append(number)
        return found

    def _term(self, number: int) -> bytes:
        return self.vocabulary[self._span(self.term_ends, number)].tobytes()

    @staticmethod
    def _span(ends: NDArray[np.int64], number: int) -> slice:
        return slice(int(ends[number - 1]) if number else 0, int(ends[number]))


def _among(wanted: NDArray[np.int64], given: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some numbers are among others; both rise."""
    if not len(given):
        return np.zeros(len(wanted), np.bool_)
    spots = np.minimum(np.searchsorted(given, wanted), len(given) - 1)
    return given[spots] == wanted


def build_postings(terms: pa.ChunkedArray) -> dict[str, NDArray[Any]]:
    """The arrays of ``Postings`` for rows of terms with spaces between (`row_terms`).

    >>> import pyarrow as pa
    >>> lists = Postings(**build_postings(pa.chunked_array([["a cat", "the cat sat", ""]])))
    >>> lists.any_of(["cat"])[0].tolist(), lists.phrase(["cat", "sat"])[0].tolist()
    ([0, 1], [1])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    whole: Any = terms.cast(pa.large_string()).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], pa.large_string())
    split: Any = pc.call_function("split_pattern", [whole], pc.SplitPatternOptions(" "))
    encoded = split.flatten().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)  # [T]
    names = [name.encode() for name in encoded.dictionary.to_pylist()]
    counts = np.diff(split.offsets.to_numpy())  # [N]
    rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    starts = np.cumsum(counts) - counts
    positions = np.arange(len(codes), dtype=np.int64) - np.repeat(starts, counts)
    # Terms in the order of their bytes; what separates, and the empty text, is none.
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.full(len(names), -1, np.int64)
    kept = [number for number in order if names[number] not in (b"", BREAK.encode())]
    rank[kept] = np.arange(len(kept))
    ranks = rank[codes]
    real = ranks >= 0
    ranks, rows, places = ranks[real], rows[real], (rows[real] << _POSITION_BITS) | positions[real]
    by_term = np.argsort(ranks, kind="stable")
    ranks, rows, places = ranks[by_term], rows[by_term], places[by_term]
    # A new pair wherever the term or the row changes.
    begins = np.flatnonzero(np.diff(ranks, prepend=-1) | np.diff(rows, prepend=-1))
    times = np.diff(begins, append=len(ranks))  # [P] how often the term is in the row
    pair_ranks, pair_rows = ranks[begins], rows[begins]
    n_with = np.bincount(pair_ranks, minlength=len(kept))  # [V]
    lengths = np.bincount(rows, minlength=len(counts))  # [N]
    rarity = np.log1p((len(counts) - n_with + 0.5) / (n_with + 0.5))
    damping = K1 * (1.0 - B + B * lengths / max(1.0, float(lengths.mean() if len(lengths) else 0)))
    weights = rarity[pair_ranks] * times * (K1 + 1.0) / (times + damping[pair_rows])
    vocabulary = b"".join(names[number] for number in kept)
    return {
        "vocabulary": np.frombuffer(vocabulary, np.uint8),
        "term_ends": np.cumsum([len(names[number]) for number in kept], dtype=np.int64),
        "row_ends": np.cumsum(n_with, dtype=np.int64),
        "rows": pair_rows.astype(np.int32),
        "weights": weights.astype(np.float32),
        "place_ends": np.cumsum(np.bincount(ranks, minlength=len(kept)), dtype=np.int64),
        "places": places,
        "n_rows": np.array([len(counts)], np.int64),
    }
