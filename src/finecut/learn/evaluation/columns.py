"""The columns of a results table that are never mixed: plain, + dual softmax, + query bank.

Each is a way to make rows of scores from rows of similarities; matrices are [Q, G], texts in rows,
and never whole in memory. The re-ranked column, which needs a model, is in ``rerank.py``. The
formulas are those of ``learn/normalise.py`` (tested to be equal on whole matrices).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finecut.errors import ShapeError
from finecut.learn.evaluation.ranking import Places, Ranker, row_chunks
from finecut.learn.normalise import QueryBank, dual_softmax

RowsOf = Callable[[slice], NDArray]  # rows of similarities [n, G]


@dataclass(frozen=True)
class Sims:
    """Similarities of Q sentences to G videos, made row by row."""

    rows: RowsOf
    shape: tuple[int, int]

    @classmethod
    def of_matrix(cls, matrix: NDArray) -> Sims:
        """A matrix in memory, or mapped from a file."""
        if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind != "f":
            raise ShapeError(
                f"sims: expected a matrix [Q, G] of floating-point numbers, got {matrix.dtype} "
                f"{matrix.shape}."
            )
        return cls(
            lambda rows: np.asarray(matrix[rows], dtype=np.float32), (len(matrix), matrix.shape[1])
        )

    @classmethod
    def of_vectors(cls, text: NDArray, video: NDArray) -> Sims:
        """Inner products of recall vectors [Q, R] and [G, R]."""
        if text.shape[1] != video.shape[1]:
            raise ShapeError(
                f"text vectors have {text.shape[1]} entries, video vectors {video.shape[1]}; "
                "they come from different models."
            )
        turned = np.ascontiguousarray(video.T)
        return cls(lambda rows: text[rows] @ turned, (len(text), len(video)))

    def chunks(self) -> list[slice]:
        """Slices of rows that fit into memory."""
        return list(row_chunks(*self.shape))


def plain(sims: Sims, video_of_text: NDArray[np.int64]) -> dict[str, Places]:
    """The similarities as they are."""
    ranker = Ranker(video_of_text, sims.shape[1])
    for rows in sims.chunks():
        ranker.add(rows, sims.rows(rows))
    return ranker.finish()


def with_dual_softmax(
    sims: Sims, video_of_text: NDArray[np.int64], temperature: float
) -> dict[str, Places]:
    """Test-time dual softmax (``normalise.dual_softmax``), each direction with its own prior.

    In float64: the prior of a poor pair is too small for float32, and all such pairs would tie.
    """
    bank = _bank_of(sims, temperature)
    over_texts = Ranker(video_of_text, sims.shape[1], ("t2v",))
    over_videos = Ranker(video_of_text, sims.shape[1], ("v2t",))
    for rows in sims.chunks():
        chunk = sims.rows(rows).astype(np.float64)
        over_texts.add(rows, chunk * np.exp(bank.log_scores(chunk)))
        over_videos.add(rows, dual_softmax(chunk, temperature, "v2t"))
    return over_texts.finish() | over_videos.finish()


def with_query_bank(
    sims: Sims, video_of_text: NDArray[np.int64], bank: Sims, beta: float
) -> dict[str, Places]:
    """QB-Norm (``normalise.dynamic_inverted_softmax``, k = 1); text-to-video alone.

    A bank of sentences moves all scores of a video by the same amount, which changes nothing for
    video-to-text: there the plain ranks hold.
    """
    if bank.shape[1] != sims.shape[1]:
        raise ShapeError(
            f"bank: {bank.shape[1]} videos, sims has {sims.shape[1]}; expected the same gallery."
        )
    hubs = np.unique(np.concatenate([bank.rows(rows).argmax(axis=1) for rows in bank.chunks()]))
    built = _bank_of(bank, 1.0 / beta)
    ranker = Ranker(video_of_text, sims.shape[1], ("t2v",))
    for rows in sims.chunks():
        chunk = sims.rows(rows).astype(np.float64)
        normalised = np.isin(chunk.argmax(axis=1), hubs)
        chunk[normalised] = built.log_scores(chunk)[normalised]
        ranker.add(rows, chunk)
    return ranker.finish()


def _bank_of(sims: Sims, temperature: float) -> QueryBank:
    """log Σ over queries of exp(s / temperature), per video."""
    built: QueryBank | None = None
    for rows in sims.chunks():
        chunk = sims.rows(rows).astype(np.float64)
        built = built.extend(chunk) if built else QueryBank.build(chunk, temperature)
    assert built is not None  # a Sims has a row
    return built
