"""Evaluation steps that re-scale a similarity matrix with the help of *other queries*.

None of this is part of a model's score: dual softmax, Sinkhorn and the like look at many queries
at once, so tables made with them and without are not comparable; report which was used and how
large the bank was. Only ``QueryBank`` fits a live search, one query at a time against a stored
bank. NumPy; matrices are [Q, G], **texts in rows**.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from finecut.errors import ShapeError, UsageError

Matrix = NDArray[np.floating]


def dual_softmax(
    sims: ArrayLike, temperature: float = 1.0, direction: Literal["t2v", "v2t"] = "t2v"
) -> Matrix:
    """Test-time dual softmax (CAMoE, arXiv:2109.04290): sims times a softmax prior.

    t2v: S · softmax(S / temperature over queries) · Q, ranked along rows.
    v2t: S · softmax(S / temperature over videos) · G, ranked along columns.
    The factors Q and G change no ranking. One query alone is left as it is. A negative similarity
    turns the prior's meaning round: ``inverted_softmax`` is the safe variant.

    Args:
        sims: [Q, G]; scaled logits with temperature 1, or cosines with about 0.01.
        temperature: divides before the softmax.
        direction: which ranking the matrix is for.

    >>> dual_softmax([[2.0, 1.0]]).tolist()
    [[2.0, 1.0]]
    """
    sims = _matrix(sims, "sims")
    axis = {"t2v": 0, "v2t": 1}[direction]
    scaled = sims / _positive(temperature, "temperature")
    prior = np.exp(scaled - _logsumexp(scaled, axis))
    return sims * prior * sims.shape[axis]


def inverted_softmax(
    sims: ArrayLike, bank: ArrayLike, beta: float = 20.0, *, log: bool = False
) -> Matrix:
    """exp(beta s) / Σ_bank exp(beta b), per video: hubs that every bank query likes sink.

    Args:
        sims: [Q, G].
        bank: [N, G] similarities of bank queries (training captions) to the same videos.
        beta: 20 on cosines in QB-Norm; 1 / temperature.
        log: the logarithm, which ranks the same and never under- or overflows.

    Source: Smith et al., ICLR 2017; used by QB-Norm (Bogolin et al., CVPR 2022).

    >>> inverted_softmax([[0.5, 0.4]], [[0.9, 0.1]], beta=1.0, log=True).round(6).tolist()
    [[-0.4, 0.3]]
    """
    sims, bank = _pair(sims, bank)
    log_scores = beta * sims - _logsumexp(_positive(beta, "beta") * bank, 0)
    return log_scores if log else np.exp(log_scores)


class DIS(NamedTuple):
    """Scores of ``dynamic_inverted_softmax`` and which videos and rows it concerned."""

    scores: Matrix  # [Q, G]; rows are not comparable with one another
    activation_set: NDArray[np.intp]  # videos that are in some bank query's top k, rising
    normalised_rows: NDArray[np.intp]  # queries whose own best video is among them, rising


def dynamic_inverted_softmax(
    sims: ArrayLike, bank: ArrayLike, beta: float = 20.0, k: int = 1
) -> DIS:
    """QB-Norm: inverted softmax only for queries whose best video is a hub.

    Args:
        sims: [Q, G].
        bank: [N, G].
        beta: 20 on cosines; 1 / 1.99 (CLIP2Video) or 0.8 (CLIP4Clip on LSMDC) on scaled logits.
        k: a video is a hub if it is among the top k of any bank query.

    Source: ioanacroi/qb-norm. Unlike the authors' code this leaves its input as it was.
    """
    sims, bank = _pair(sims, bank)
    if not 1 <= k <= sims.shape[1]:
        raise UsageError(f"dynamic_inverted_softmax: k is {k}, expected 1 to {sims.shape[1]}.")
    hubs = np.unique(np.argsort(-bank, axis=1, kind="stable")[:, :k])
    rows = np.flatnonzero(np.isin(sims.argmax(axis=1), hubs))
    scores = sims.copy()
    scores[rows] = inverted_softmax(sims, bank, beta)[rows]
    return DIS(scores, hubs, rows)


def sinkhorn(sims: ArrayLike, epsilon: float = 0.05, iterations: int = 50) -> Matrix:
    """Log transport plan of exp(S / epsilon) with uniform marginals 1/Q and 1/G.

    Each iteration scales columns, then rows, in the log domain: every query gets the same total
    attention and so does, nearly, every video.

    >>> plan = np.exp(sinkhorn([[1.0, 0.0], [0.8, 0.1]]))
    >>> plan.sum(axis=1).round(6).tolist()
    [0.5, 0.5]
    """
    sims = _matrix(sims, "sims")
    if iterations < 1:
        raise UsageError(f"sinkhorn: iterations is {iterations}, expected 1 or more.")
    scaled = sims / _positive(epsilon, "epsilon")
    queries, videos = sims.shape
    row, column = np.zeros((queries, 1)), np.zeros((1, videos))
    for _ in range(iterations):
        column = -np.log(videos) - _logsumexp(scaled + row, 0)
        row = -np.log(queries) - _logsumexp(scaled + column, 1)
    return scaled + row + column


@dataclass(frozen=True)
class QueryBank:
    """Dual softmax for one query at a time: per video, log Σ over bank queries of exp(b / T).

    Built once per index from past or training queries; a live query joins the bank for its own
    normaliser only. Adding queries or videos needs no second look at the old ones.
    """

    log_sums: NDArray[np.float64]  # [G]
    size: int  # queries in the bank
    temperature: float = 1.0

    @classmethod
    def build(cls, bank: ArrayLike, temperature: float = 1.0) -> QueryBank:
        """From the bank's similarities [N, G] to the gallery."""
        bank = _matrix(bank, "bank")
        scaled = bank / _positive(temperature, "temperature")
        return cls(_logsumexp(scaled, 0)[0].astype(np.float64), len(bank), float(temperature))

    def extend(self, bank: ArrayLike) -> QueryBank:
        """The bank with more queries [N, G] in it."""
        other = QueryBank.build(self._fits(bank, "bank"), self.temperature)
        return QueryBank(
            np.logaddexp(self.log_sums, other.log_sums), self.size + other.size, self.temperature
        )

    def append_videos(self, bank: ArrayLike) -> QueryBank:
        """The bank over a grown gallery: [size, new videos], the same queries."""
        other = QueryBank.build(bank, self.temperature)
        if other.size != self.size:
            raise ShapeError(
                f"append_videos: {other.size} queries for a bank of {self.size}; expected the same."
            )
        joined = np.concatenate([self.log_sums, other.log_sums])
        return QueryBank(joined, self.size, self.temperature)

    def scores(self, sims: ArrayLike) -> Matrix:
        """[Q, G]: s · exp(s/T) / (bank + exp(s/T)); queries do not see one another.

        >>> QueryBank.build([[0.0, 0.0]]).scores([[1.0, 0.0]]).round(3).tolist()
        [[0.731, 0.0]]
        """
        sims = self._fits(sims, "sims")
        scaled = sims / self.temperature
        return sims * np.exp(scaled - np.logaddexp(self.log_sums, scaled))

    def log_scores(self, sims: ArrayLike) -> Matrix:
        """[Q, G]: s/T - log bank. Ranks like the inverted softmax; safe for negative s."""
        return self._fits(sims, "sims") / self.temperature - self.log_sums

    def save(self, path: Path | str) -> None:
        """Write one .npz file of plain arrays."""
        with Path(path).open("wb") as file:
            np.savez(file, log_sums=self.log_sums, size=self.size, temperature=self.temperature)

    @classmethod
    def load(cls, path: Path | str) -> QueryBank:
        """Read what ``save`` wrote; nothing in the file is executed."""
        with np.load(Path(path), allow_pickle=False) as file:
            missing = {"log_sums", "size", "temperature"} - set(file.files)
            if missing:
                raise UsageError(f"{path}: no query bank, {sorted(missing)} are missing.")
            log_sums = _matrix(file["log_sums"][None], "log_sums")[0]
            return cls(log_sums, int(file["size"]), float(file["temperature"]))

    def _fits(self, sims: ArrayLike, name: str) -> Matrix:
        matrix = _matrix(sims, name)
        if matrix.shape[1] != len(self.log_sums):
            raise ShapeError(
                f"{name}: {matrix.shape[1]} videos, the bank knows {len(self.log_sums)}; rebuild "
                "it, or use append_videos for new ones."
            )
        return matrix


def _logsumexp(values: Matrix, axis: int) -> Matrix:
    top = values.max(axis=axis, keepdims=True)
    return top + np.log(np.exp(values - top).sum(axis=axis, keepdims=True))


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise UsageError(f"{name} is {value}, expected more than 0.")
    return value


def _matrix(value: ArrayLike, name: str) -> Matrix:
    matrix = np.asarray(value)
    if matrix.dtype.kind != "f" or matrix.dtype.itemsize < 4:
        matrix = matrix.astype(np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape or not np.isfinite(matrix).all():
        raise ShapeError(f"{name}: expected a finite [Q, G] matrix, got shape {matrix.shape}.")
    return matrix


def _pair(sims: ArrayLike, bank: ArrayLike) -> tuple[Matrix, Matrix]:
    sims, bank = _matrix(sims, "sims"), _matrix(bank, "bank")
    if sims.shape[1] != bank.shape[1]:
        raise ShapeError(
            f"bank: {bank.shape[1]} videos, sims has {sims.shape[1]}; expected the same gallery."
        )
    return sims, bank
