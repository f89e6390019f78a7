"""What an evaluation found: one column per way of scoring, and what it was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finecut.learn.evaluation.ranking import Places, figures

BLOCKS = ("reranked", "dsl", "qbnorm")  # beside the plain column, in the order of a table


@dataclass(frozen=True)
class Column:
    """One way of scoring: the right item's place for every query, and the settings."""

    t2v: Places
    v2t: Places
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Settings, then the figures of both directions."""
        return {**self.settings, "t2v": figures(self.t2v), "v2t": figures(self.v2t)}


@dataclass(frozen=True)
class Report:
    """All columns of one model on one split.

    ``facts`` say what was measured: name, split, protocol, gallery, queries, standard, why_not.
    """

    plain: Column
    blocks: dict[str, Column]  # by name, of BLOCKS
    facts: dict[str, Any]
    query_videos: NDArray[np.int64]  # [Q]
    queries_hash: str
    video_ids: list[str]  # [G]
    rows: Callable[[slice], NDArray]  # scores of the best column there is: re-ranked, else plain
    extra: dict[str, Any] = field(default_factory=dict)  # graded relevance, moments

    def to_json(self) -> dict[str, Any]:
        """The figures: plain at the top, then one block per other column, then the facts."""
        return {
            **self.plain.to_json(),
            **{name: self.blocks[name].to_json() for name in BLOCKS if name in self.blocks},
            **self.extra,
            **self.facts,
        }

    def ranks(self) -> dict[str, dict[str, list[float]]]:
        """Every query's rank, by column and direction: what two results are paired by."""
        columns = {"plain": self.plain, **self.blocks}
        return {
            name: {"t2v": column.t2v.ranks.tolist(), "v2t": column.v2t.ranks.tolist()}
            for name, column in columns.items()
        }


def hash_queries(
    video_ids: Sequence[str], sentences: Sequence[str], video_of_text: Sequence[int] | NDArray
) -> str:
    """A short hash of what was asked of what gallery: results with the same one may be paired.

    >>> hash_queries(["a"], ["x"], [0]) == hash_queries(["a"], ["y"], [0])
    False
    """
    digest = hashlib.sha256()
    for item in (*video_ids, "", *sentences, "", *map(str, video_of_text)):
        data = item.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
