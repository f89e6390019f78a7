"""Graded relevance: several videos answer a sentence, each to a degree (nDCG, mAP).

The file is a matrix `.npy` [Q, G] of gains, or lines `topic 0 video gain` in which the topic is
`video#n`, the n-th sentence (from 0) of a video, as in the run files written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finecut import metrics
from finecut.errors import UsageError
from finecut.learn.data.files import read_text
from finecut.learn.evaluation.arrays import load_array
from finecut.learn.evaluation.ranking import row_chunks
from finecut.learn.evaluation.trec import topic_names, word

DEPTH = 10
GainsOf = Callable[[slice], NDArray]


def read_gains(path: Path, video_ids: Sequence[str], video_of_text: NDArray[np.int64]) -> GainsOf:
    """Rows of gains [n, G] of the sentences, from either form of file.

    Raises:
        UsageError: the file does not fit the split (where, how).
    """
    shape = (len(video_of_text), len(video_ids))
    if path.suffix == ".npy":
        matrix = load_array(path, f"a matrix {list(shape)} of gains")
        if matrix.shape != shape or matrix.dtype.kind not in "fiub":
            raise UsageError(
                f"{path}: expected gains [Q, G] = {list(shape)}, got {matrix.dtype} "
                f"{list(matrix.shape)}."
            )
        return lambda rows: np.asarray(matrix[rows], dtype=np.float64)
    topic_row = {name: row for row, name in enumerate(topic_names(video_ids, video_of_text))}
    column = {word(name): place for place, name in enumerate(video_ids)}
    found: list[dict[int, float]] = [{} for _ in range(shape[0])]
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            topic, _, video, gain = cells
            row, place, value = topic_row[topic], column[video], float(gain)
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"{path}:{number}: expected `topic 0 video gain` with a topic like "
                f"{next(iter(topic_row))} and a video of the split, got {line.strip()!r} ({error})."
            ) from None
        found[row][place] = value

    def rows_of(rows: slice) -> NDArray:
        gains = np.zeros((rows.stop - rows.start, shape[1]))
        for at, some in enumerate(found[rows]):
            for place, value in some.items():
                gains[at, place] = value
        return gains

    return rows_of


def graded_figures(
    scores_of: Callable[[slice], NDArray], gains_of: GainsOf, shape: tuple[int, int]
) -> dict[str, Any]:
    """nDCG, nDCG@10 and mAP (any positive gain counts), 0-1, of sentences with a relevant video.

    Args:
        scores_of: rows of scores [n, G].
        gains_of: rows of gains [n, G], none negative.
        shape: (Q, G).

    >>> scores, gains = np.array([[3.0, 2.0, 1.0]]), np.array([[0.0, 1.0, 0.0]])
    >>> found = graded_figures(lambda rows: scores[rows], lambda rows: gains[rows], (1, 3))
    >>> round(found["ndcg"], 3), found["mAP"], found["queries"]
    (0.631, 0.5, 1)
    """
    sums = {"ndcg": 0.0, f"ndcg_at_{DEPTH}": 0.0, "mAP": 0.0}
    counted = 0
    for rows in row_chunks(*shape):
        gains = gains_of(rows)
        kept = (gains > 0).any(axis=1)
        if not kept.any():
            continue
        scores, gains = scores_of(rows)[kept], gains[kept]
        count = len(scores)
        sums["ndcg"] += count * metrics.ndcg(scores, gains)
        sums[f"ndcg_at_{DEPTH}"] += count * metrics.ndcg(scores, gains, k=DEPTH)
        sums["mAP"] += count * metrics.mean_average_precision(scores, gains > 0)
        counted += count
    if not counted:
        raise UsageError("The relevance file gives no sentence a relevant video.")
    return {**{name: value / counted for name, value in sums.items()}, "queries": counted}
