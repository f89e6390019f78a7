"""Lance's full-text index over the texts: kept up by the writer, and asked where there are more
texts than lists of their words are kept of (``text_lists.py``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.index.texts import CHANNELS, STATE, TextHit, checked_channels
from finecut.text.terms import query_terms, sequence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finecut.index.rows import VideoRow

COLUMN = "terms"
INDEX_NAME = "terms_idx"
STALE_ROWS = 2000  # outside the full-text index, read one by one at every query
STALE_PART = 0.1
_SHOWN = ["video_id", "channel", "start_s", "end_s", "text", "language", "source"]


def tend(dataset: Any) -> bool:
    """Build the full-text index where it is missing, or take in what lies outside it."""
    n_rows = dataset.count_rows()
    built = covered(dataset)
    if built is None:
        if not n_rows:
            return False
        build(dataset)
    elif n_rows - built > max(STALE_ROWS, STALE_PART * n_rows):
        dataset.optimize.optimize_indices()
    else:
        return False
    dataset.checkout_latest()
    return True


def build(dataset: Any) -> None:
    """The full-text index. Terms come folded and cut, so Lance only splits at spaces."""
    dataset.create_scalar_index(
        COLUMN,
        "INVERTED",
        name=INDEX_NAME,
        base_tokenizer="whitespace",
        with_position=True,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        max_token_length=None,
        num_workers=1,
        replace=True,
    )


def covered(dataset: Any) -> int | None:
    """Rows inside the full-text index; None without one."""
    if not any(found.name == INDEX_NAME for found in dataset.describe_indices()):
        return None
    return int(dataset.stats.index_stats(INDEX_NAME).get("num_indexed_rows") or 0)


class TextTable:
    """The texts of one version of an index.

    Args:
        dataset: the table ``texts``.
        videos: of the same version; texts of others do not count.
    """

    def __init__(self, dataset: Any, videos: Sequence[VideoRow]) -> None:
        self._dataset = dataset
        self._place = {
            row.video_id: number for number, row in enumerate(videos) if row.status == "done"
        }
        self._videos = videos

    def channels(self) -> dict[str, int]:
        """Rows per channel that has any."""
        table = self._dataset.to_table(columns=["channel"])
        counts = table.group_by("channel").aggregate([("channel", "count")]).to_pylist()
        found = {row["channel"]: int(row["channel_count"]) for row in counts}
        return {name: found[name] for name in CHANNELS if name in found}

    def search(
        self,
        words: str,
        *,
        channels: Collection[str] | None,
        k: int,
        phrase: bool,
        allowed_videos: NDArray[np.bool_] | None,
    ) -> list[TextHit]:
        """See ``Index.search_text``."""
        from lance.query import MatchQuery, PhraseQuery

        wanted = checked_channels(channels)
        terms = sequence(words) if phrase else query_terms(words)
        if not terms:
            return []
        kind = PhraseQuery if phrase else MatchQuery
        query = kind(" ".join(terms), COLUMN)
        n_rows, limit = self._dataset.count_rows(), 2 * k
        while True:
            table = self._dataset.scanner(
                columns=[*_SHOWN, "_score"], full_text_query=query, limit=limit
            ).to_table()
            hits = [
                hit
                for hit in map(self._hit, table.to_pylist())
                if hit is not None
                and hit.channel in wanted
                and (allowed_videos is None or allowed_videos[hit.video])
            ]
            if len(hits) >= k or len(table) < limit or limit >= n_rows:
                break
            limit *= 8
        hits.sort(key=lambda hit: (-hit.score, hit.video, hit.start_s))
        return hits[:k]

    def of_video(self, video: int) -> list[TextHit]:
        """All texts of one video, in the order of their times."""
        video_id = self._videos[video].video_id
        table = self._dataset.to_table(
            columns=_SHOWN, filter=f"video_id = '{video_id}' AND channel != '{STATE}'"
        )
        found = [hit for hit in map(self._hit, table.to_pylist()) if hit is not None]
        return sorted(found, key=lambda hit: (hit.start_s, hit.end_s, hit.source))

    def _hit(self, row: Mapping[str, Any]) -> TextHit | None:
        video = self._place.get(row["video_id"])
        if video is None:
            return None
        return TextHit(
            video=video,
            channel=row["channel"],
            start_s=row["start_s"],
            end_s=row["end_s"],
            text=row["text"],
            score=float(row.get("_score") or 0.0),
            source=row["source"],
            language=row["language"],
        )
