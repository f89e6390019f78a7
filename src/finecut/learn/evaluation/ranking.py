"""Ranks of a large test from rows of scores that are made, ranked and dropped chunk by chunk.

Same answers as ``finecut.metrics`` on the whole matrix (tested), in memory of one chunk and of
[G, G] for video-to-text. Letters: Q sentences, G videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from finecut import metrics
from finecut.errors import ShapeError

CHUNK_CELLS = 4_000_000  # scores held at once: 32 MiB as float64
DEPTHS = (1, 5, 10, 50)
Direction = Literal["t2v", "v2t"]


@dataclass(frozen=True)
class Places:
    """Where the right item of each query stands: so many score higher, so many the same."""

    above: NDArray[np.int64]  # [N]
    tied: NDArray[np.int64]  # [N] without itself

    @property
    def ranks(self) -> NDArray[np.float64]:
        """[N] from 1; ties share the mean of the ranks they could take."""
        return 1.0 + self.above + self.tied / 2.0

    def average_precision(self) -> NDArray[np.float64]:
        """[N] 1 / rank, as expected over random orders of what is tied.

        >>> Places(np.array([0, 1]), np.array([1, 0])).average_precision().tolist()
        [0.75, 0.5]
        """
        answer = 1.0 / (1.0 + self.above)
        for row in np.flatnonzero(self.tied):
            first = self.above[row] + 1
            answer[row] = (1.0 / np.arange(first, first + self.tied[row] + 1)).mean()
        return answer


def places(scores: NDArray, right: NDArray[np.int64]) -> Places:
    """Places in each row of the one right column.

    Args:
        scores: [N, G] finite.
        right: [N].

    >>> places(np.array([[0.1, 0.7, 0.3]]), np.array([2])).ranks.tolist()
    [2.0]
    """
    bad = scores.size - int(np.isfinite(scores).sum())
    if bad:
        raise ShapeError(
            f"scores: {bad} of {scores.size} are not finite; a rank among them means nothing. "
            "Look for NaN in the embeddings, or videos without a frame."
        )
    own = scores[np.arange(len(scores)), right][:, None]
    return Places((scores > own).sum(axis=1), (scores == own).sum(axis=1) - 1)


def row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows of at most ``CHUNK_CELLS`` scores."""
    step = max(1, CHUNK_CELLS // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


class Ranker:
    """Takes rows of scores in order; gives the places of both directions.

    Video-to-text is by groups: a video's score with another's captions is that of the best of
    them, and the videos that have captions are ranked (``metrics.v2t``).
    """

    def __init__(
        self,
        video_of_text: NDArray[np.int64],
        gallery: int,
        directions: tuple[Direction, ...] = ("t2v", "v2t"),
    ) -> None:
        self.video_of_text = np.asarray(video_of_text, dtype=np.int64)
        self.directions = directions
        self._chunks: list[Places] = []
        self._best = np.full((gallery, gallery), -np.inf) if "v2t" in directions else None

    def add(self, rows: slice, scores: NDArray) -> None:
        """Scores [n, G] of the given sentences."""
        right = self.video_of_text[rows]
        found = places(scores, right)
        if "t2v" in self.directions:
            self._chunks.append(found)
        if self._best is not None:
            order = np.argsort(right, kind="stable")
            groups, firsts = np.unique(right[order], return_index=True)
            best = np.maximum.reduceat(scores[order], firsts, axis=0)
            self._best[groups] = np.maximum(self._best[groups], best)

    def finish(self) -> dict[str, Places]:
        """The places by direction."""
        answer = {}
        if "t2v" in self.directions:
            answer["t2v"] = Places(
                np.concatenate([c.above for c in self._chunks]),
                np.concatenate([c.tied for c in self._chunks]),
            )
        if self._best is not None:
            captioned = np.unique(self.video_of_text)
            among = self._best[np.ix_(captioned, captioned)].T
            answer["v2t"] = places(among, np.arange(len(captioned)))
        return answer


def figures(found: Places) -> dict[str, float]:
    """The figures of one direction: R@K and RSum in percent, ranks from 1, MIR and mAP in 0-1.

    RSum is R@1 + R@5 + R@10 as published, without R@50.
    """
    answer = metrics.summary(found.ranks)
    table = {f"r_at_{k}": metrics.recall_at(found.ranks, k) for k in DEPTHS}
    table |= {name: answer[name] for name in ("RSum", "MdR", "MnR", "MIR")}
    table["mAP"] = float(found.average_precision().mean())
    return table
