"""A TREC run file of an evaluation: each sentence a topic, each video a document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finecut.learn.data.trecvid import MAX_RUN
from finecut.learn.evaluation.ranking import row_chunks
from finecut.learn.evaluation.whole_file import whole_file

_NOT_ONE_WORD = re.compile(r"[\s%]")


def word(name: str) -> str:
    """A name as one word: white space and ``%`` as in web addresses.

    >>> word("my clip.mp4")
    'my%20clip.mp4'
    """
    return _NOT_ONE_WORD.sub(lambda match: "".join(f"%{b:02X}" for b in match[0].encode()), name)


def topic_names(video_ids: Sequence[str], video_of_text: NDArray[np.int64]) -> list[str]:
    """``video#n``: the n-th sentence, from 0, of a video; the topic of that sentence.

    >>> topic_names(["a", "b"], np.array([1, 0, 1]))
    ['b#0', 'a#0', 'b#1']
    """
    seen: Counter[int] = Counter()
    names = []
    for video in video_of_text.tolist():
        names.append(f"{word(video_ids[video])}#{seen[video]}")
        seen[video] += 1
    return names


def write_trec(
    path: Path,
    topics: Sequence[str],
    video_ids: Sequence[str],
    scores_of: Callable[[slice], NDArray],
    *,
    tag: str = "finecut",
    depth: int = MAX_RUN,
) -> None:
    """Write ``topic Q0 video rank score tag`` for the best ``depth`` videos of every sentence.

    The score written falls by one a rank, so that tools that sort by score and break ties by name
    see our order. The file appears whole or not at all.

    Args:
        path: of the run file.
        topics: [Q] names.
        video_ids: [G].
        scores_of: rows of scores [n, G].
        tag: of the run, one word.
        depth: lines a topic.
    """
    names = [word(name) for name in video_ids]
    depth = min(depth, len(names))
    with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
        for rows in row_chunks(len(topics), len(names)):
            order = np.argsort(-scores_of(rows), axis=1, kind="stable")[:, :depth]
            for topic, best in zip(topics[rows], order.tolist(), strict=True):
                file.writelines(
                    f"{topic} Q0 {names[video]} {rank} {depth + 1 - rank} {tag}\n"
                    for rank, video in enumerate(best, start=1)
                )
