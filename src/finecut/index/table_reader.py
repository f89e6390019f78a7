"""One version of an index straight from its Lance tables: narrow columns now, the rest by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import IndexCorrupt
from finecut.index.cache import OF_PATCHES, PATCHES, frame_columns
from finecut.index.meta import Head, IndexMeta
from finecut.index.rows import ClipTable, VideoRow
from finecut.index.tables import (
    CLIPS,
    TEXTS,
    TOKENS,
    VIDEOS,
    open_table,
    ragged_numpy,
    unreadable,
    videos_from_arrow,
)
from finecut.storage.location import Location

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

# What Lance raises for files that are missing, cut short or not its own.
LANCE_ERRORS = (OSError, ValueError, RuntimeError)
_NARROW = ("clip_id", "video_id", "build", "number", "start_s", "end_s", "n_frames")


class TableReader:
    """The tables at the versions one head names; opens each when it is first needed."""

    def __init__(self, directory: Location, meta: IndexMeta, head: Head) -> None:
        self.directory = directory
        self.meta = meta
        self.head = head
        self.version = head.version(meta)
        self.texts_version = head.texts
        self._datasets: dict[str, Any] = {}
        self.videos: Sequence[VideoRow]
        self.clips: ClipTable
        self.token_row: NDArray[np.int64]  # [G] offset in the table `tokens`
        self._clip_row: NDArray[np.int64]  # [G] offset in the table `clips`

    def dataset(self, table: str) -> Any:
        """One table, at the head's version."""
        if table not in self._datasets:
            version = getattr(self.head, table)
            self._datasets[table] = open_table(self.directory, table, version)
        return self._datasets[table]

    def read(self) -> TableReader:
        """Read the gallery: everything but vectors and tokens.

        Raises:
            IndexCorrupt: clips without tokens.
            OSError, ValueError, RuntimeError: Lance cannot read a table.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        self.videos = videos_from_arrow(self.dataset(VIDEOS).to_table())
        done = [row for row in self.videos if row.status == "done"]  # they come first
        table = self.dataset(CLIPS).to_table(columns=list(_NARROW))
        names = pa.array([row.video_id for row in done], pa.string())
        look_up = pc.SetLookupOptions(names)
        place = pc.call_function("index_in", [table["video_id"]], look_up)
        video = pc.fill_null(place, -1).to_numpy().astype(np.int32)  # [N]
        builds = np.array([row.build for row in done] + [-1], np.int64)
        # Clips of videos that are not done, or that another run has indexed since, do not count.
        counts = (video >= 0) & (builds[video] == table["build"].to_numpy())
        clip_id = table["clip_id"].to_numpy()
        order = np.argsort(clip_id, kind="stable")
        order = order[counts[order]]
        self._clip_row = order
        self.clips = ClipTable(
            clip_id=clip_id[order],
            video=video[order],
            number=table["number"].to_numpy()[order],
            start_s=table["start_s"].to_numpy()[order],
            end_s=table["end_s"].to_numpy()[order],
            n_frames=table["n_frames"].to_numpy()[order],
        )
        self.token_row = self._token_rows()
        return self

    def _token_rows(self) -> NDArray[np.int64]:
        wanted = self.clips.clip_id
        stored = self.dataset(TOKENS).to_table(columns=["clip_id"]).column(0).to_numpy()
        by_id = np.argsort(stored, kind="stable")
        spot = np.searchsorted(stored, wanted, sorter=by_id)
        rows = by_id[np.minimum(spot, len(stored) - 1)] if len(stored) else spot
        if len(wanted) and not (len(stored) and np.array_equal(stored[rows], wanted)):
            raise IndexCorrupt(
                f"The index at {self.directory} lacks the tokens of some clips. Delete the folder "
                "and index again."
            )
        return rows.astype(np.int64)

    def recall(self, first: int, last: int) -> NDArray[np.float32]:
        """Recall vectors of gallery rows ``first`` to ``last``, [last - first, R]."""
        if last <= first:
            return np.zeros((0, self.meta.recall_dim), np.float32)
        offsets = self._clip_row[first:last]
        column = self.dataset(CLIPS).take(offsets, columns=["recall"]).column(0)
        return ragged_numpy(column, (self.meta.recall_dim,), fixed=True)

    def frames(self, rows: NDArray[np.int64], *, patches: bool = True) -> dict[str, NDArray[Any]]:
        """Frame columns of these gallery rows on end, [T, …]; without patches if they are not
        wanted."""
        columns = frame_columns(self.meta)
        if not patches:
            columns = {n: c for n, c in columns.items() if n not in (PATCHES, *OF_PATCHES)}
        if not len(rows):
            return {name: np.zeros((0, *tail), kind) for name, (kind, tail) in columns.items()}
        table = self.take(self.token_row[rows], list(columns))
        return {
            name: ragged_numpy(table.column(name), tail).astype(kind, copy=False)
            for name, (kind, tail) in columns.items()
        }

    def texts(self, most_rows: int) -> pa.Table | None:
        """The table of texts, unless it has more rows than that."""
        dataset = self.dataset(TEXTS)
        return None if dataset.count_rows() > most_rows else dataset.to_table()

    def take(self, offsets: NDArray[np.int64], columns: list[str]) -> Any:
        """Rows of the table ``tokens``, in the order asked for.

        Raises:
            IndexCorrupt: it cannot be read.
            StorageError: its object store cannot be reached.
        """
        try:
            return self.dataset(TOKENS).take(offsets, columns=columns)
        except LANCE_ERRORS as error:
            what = f"The tokens of {self.directory} (tidied away, if it was opened long ago)"
            raise unreadable(self.directory, what, error) from error
