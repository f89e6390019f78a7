"""An index as a reader sees it: one consistent snapshot, never blocked by the writer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import IndexCorrupt, NotFound, ShapeError, UsageError
from finecut.index.alias import follow
from finecut.index.cache import FEW_TEXTS, OF_PATCHES, PATCHES, Cache, Snapshot, ask_for
from finecut.index.history import find
from finecut.index.meta import Head, IndexMeta, read_head, read_meta
from finecut.index.recall import top_rows
from finecut.index.rows import (
    ClipTable,
    PatchTokens,
    StoredTokens,
    Strip,
    VideoRow,
)
from finecut.index.stats import IndexStats, stats_of
from finecut.index.table_reader import LANCE_ERRORS, TableReader
from finecut.index.tables import TEXTS, plain_message, unreadable
from finecut.index.text_lists import TextLists
from finecut.index.text_search import TextTable
from finecut.index.texts import TextHit, checked_channels
from finecut.storage.location import Location

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_QUERIES = 16  # at most so many are searched one by one: one product serves more better
OPEN_TRIES = 5  # a writer may commit and tidy between two reads of ours


class Index:
    """Open with ``Index.open``. Reading attributes never blocks and never changes under you:
    only ``refresh`` moves on to the latest commit."""

    def __init__(self, directory: Location, meta: IndexMeta) -> None:
        self.directory = directory
        self.meta = meta
        self.pinned = False  # at a past state
        self._cache = Cache(directory, meta)
        self._head: Head
        self._snapshot: Snapshot
        self._reader: TableReader | None = None
        self._texts: TextLists | TextTable | None = None

    @classmethod
    def open(
        cls,
        path: str | Path | Location,
        *,
        most_texts: int = FEW_TEXTS,
        as_of: str | int | None = None,
    ) -> Index:
        """The index in a folder, at its latest commit or a past one.

        Args:
            path: of the folder, or of an alias of it; or a URL such as ``s3://bucket/index``.
            as_of: a past state, as `finecut.index.history.find` reads it; it is read from the
                tables and stays what it is: ``refresh`` changes nothing.
            most_texts: up to so many, lists of their words are made where there are none yet;
                without lists texts are searched by Lance, which takes longer.

        Raises:
            IndexNotFound: there is none.
            IndexMismatch: it has a schema this finecut does not know.
            IndexCorrupt: it cannot be read as written.
            NotFound, UsageError: ``as_of`` names no state that is kept.
            StorageError: its object store cannot be reached.
        """
        directory = follow(path)
        index = cls(directory, read_meta(directory))
        if as_of is None:
            index._load(most_texts)
        else:
            index._load_past(find(directory, as_of).head)
        return index

    @property
    def version(self) -> str:
        """Text that changes whenever the content does."""
        return self._snapshot.version

    @property
    def cache_folder(self) -> Path:
        """Where what can be made anew is kept, always on this machine; it may not exist."""
        return self._cache.folder

    @property
    def videos(self) -> Sequence[VideoRow]:
        """Every video, the done ones first (a clip's ``video`` is a position here), then failed."""
        return self._snapshot.videos

    @property
    def clips(self) -> ClipTable:
        """The gallery's columns."""
        return self._snapshot.clips

    def recall_matrix(self) -> NDArray[np.float32]:
        """What stage 1 compares, [G, R]; a read-only memory map where there is a cache."""
        return self._snapshot.recall

    def refresh(self) -> bool:
        """Move on to the latest commit; whether anything changed. Costs one small read if not."""
        if self.pinned:
            return False
        meta = read_meta(self.directory)
        if read_head(self.directory).version(meta) == self.version:
            return False
        self.meta = meta
        self._cache = Cache(self.directory, meta)
        self._load()
        return True

    # -- stage 1 -------------------------------------------------------------------------------

    def recall(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k clips of the largest inner product, best first.

        Args:
            query: [R] or [Q, R].
            k: clips wanted per query.
            allowed: [G], True = may be answered.

        Returns: gallery rows and scores, [n] or [Q, n], with n = min(k, allowed clips). Exact in an
            index of up to ``EXACT_ROWS`` clips, and wherever a filter lets few through.
        Raises:
            ShapeError: the query is not of this index's recall size, or not finite.
            UsageError: k is below 1.
        """
        queries = np.atleast_2d(np.asarray(query, np.float32))
        if queries.ndim != 2 or queries.shape[1] != self.meta.recall_dim:
            raise ShapeError(
                f"`query` must be [{self.meta.recall_dim}] or [Q, {self.meta.recall_dim}], got "
                f"{np.shape(query)}."
            )
        if not np.isfinite(queries).all():
            raise ShapeError("`query` must be finite numbers.")
        if k < 1:
            raise UsageError(f"`k` must be at least 1, got {k}.")
        if allowed is not None and np.shape(allowed) != (len(self.clips),):
            raise ShapeError(
                f"`allowed` must hold one entry per clip ({len(self.clips)}), got "
                f"{np.shape(allowed)}."
            )
        gallery = self._snapshot.gallery
        if gallery is None or len(queries) > FEW_QUERIES:
            rows, scores = top_rows(queries, self.recall_matrix(), k, allowed)
        else:
            found = [gallery.top(one, k, allowed) for one in queries]
            rows, scores = (np.stack(part) for part in zip(*found, strict=True))
        return (rows[0], scores[0]) if np.ndim(query) == 1 else (rows, scores)

    # -- stage 2 -------------------------------------------------------------------------------

    def tokens(
        self, rows: Sequence[int] | NDArray[np.int64], *, patches: bool = True
    ) -> StoredTokens:
        """The stored tokens of K clips, in the order asked for, padded to the longest.

        Args:
            rows: in the gallery.
            patches: False leaves them out, which are most of what is read.

        Raises:
            UsageError: a row is outside the gallery.
            IndexCorrupt: the tables cannot be read.
        """
        wanted = np.asarray(rows, np.int64).reshape(-1)
        n_clips = len(self.clips)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= n_clips):
            raise UsageError(f"Clips are numbered 0 to {n_clips - 1}, got {wanted.tolist()!r:.80}.")
        if self._snapshot.tokens is not None:
            return self._padded(wanted, *self._cached(wanted, patches))
        columns = self._tables().frames(wanted, patches=patches)
        parts = None
        if PATCHES in columns:
            stops = np.cumsum(self.clips.n_frames[wanted])
            parts = np.split(columns.pop(PATCHES), stops)[:-1]  # the last is empty
        return self._padded(wanted, columns, parts)

    def strip(self, row: int) -> Strip:
        """The thumbnails of one clip.

        Raises:
            UsageError: the row is outside the gallery.
        """
        if not 0 <= row < len(self.clips):
            raise UsageError(f"Clips are numbered 0 to {len(self.clips) - 1}, got {row}.")
        names = ["strip", "strip_width", "strip_height", "times"]
        offsets = self._snapshot.token_row[[row]]
        plain = self._tables().take(offsets, names).to_pylist()[0]
        return Strip(
            jpeg=plain["strip"],
            tile_width=plain["strip_width"],
            tile_height=plain["strip_height"],
            times=np.array(plain["times"], np.float64),
        )

    def _cached(
        self, rows: NDArray[np.int64], with_patches: bool
    ) -> tuple[dict[str, NDArray[Any]], list[NDArray[np.int8]] | None]:
        """Frame columns of these rows on end, and views of their patches, out of the maps."""
        assert self._snapshot.tokens is not None
        last = self._frame_stop[rows]
        counts = self.clips.n_frames[rows]
        kept = dict(self._snapshot.tokens)
        patches = kept.pop(PATCHES, None)
        if not with_patches:
            kept = {name: column for name, column in kept.items() if name not in OF_PATCHES}
        # Of every row its frames, on end: one take is a fifth of the time of slices joined.
        frames = np.repeat(last - np.cumsum(counts), counts) + np.arange(counts.sum())
        columns = {name: np.asarray(column)[frames] for name, column in kept.items()}
        if patches is None or not with_patches:
            return columns, None
        spans = [slice(*span) for span in zip((last - counts).tolist(), last.tolist(), strict=True)]
        ask_for(patches, spans)
        flat = np.asarray(patches)  # its slices are cheaper than those of a memmap
        return columns, [flat[span] for span in spans]

    def _padded(
        self,
        rows: NDArray[np.int64],
        columns: dict[str, NDArray[Any]],
        patches: list[NDArray[np.int8]] | None,
    ) -> StoredTokens:
        counts = self.clips.n_frames[rows]
        longest = int(counts.max(initial=1))
        mask = np.arange(longest) < counts[:, None]  # [K, F]
        padded = {}
        for name, column in columns.items():
            if mask.all():
                full = np.asarray(column).reshape(*mask.shape, *column.shape[1:])
            else:
                full = np.zeros((*mask.shape, *column.shape[1:]), column.dtype)
                full[mask] = column
            padded[name] = full
        kept = None
        if patches is not None:
            parts = [part.reshape(-1, self.meta.embed_dim) for part in patches]
            kept = PatchTokens(parts, self.meta.n_patch_tokens)
        home = padded.get("patch_home")
        if home is not None and home.max(initial=0) >= self.meta.n_patch_tokens:
            raise IndexCorrupt(
                f"The index at {self.directory} has patches of tokens that are not there. Delete "
                "the folder and index again."
            )
        return StoredTokens(rows=rows, frame_mask=mask, patches=kept, **padded)

    # -- texts ---------------------------------------------------------------------------------

    @property
    def channels(self) -> dict[str, int]:
        """Texts per channel, of channels that have any; {} in an index without texts."""
        table = self._text_table()
        return table.channels() if table else {}

    def search_text(
        self,
        words: str,
        *,
        channels: Collection[str] | None = None,
        k: int = 100,
        phrase: bool = False,
        allowed_videos: NDArray[np.bool_] | None = None,
    ) -> list[TextHit]:
        """The k texts that fit best, best first (BM25 per row; any word may match).

        Args:
            words: in any language; case, width and accents make no difference. Where no spaces are
                written, every pair of characters is a word.
            channels: of ``texts.CHANNELS``; all without.
            k: texts wanted at most.
            phrase: only texts with the words side by side, in this order.
            allowed_videos: [V], True = may be answered; one entry per row of ``videos``.

        Raises:
            UsageError: an unknown channel, or k below 1.
            ShapeError: ``allowed_videos`` is of another length.
        """
        if k < 1:
            raise UsageError(f"`k` must be at least 1, got {k}.")
        if allowed_videos is not None and np.shape(allowed_videos) != (len(self.videos),):
            raise ShapeError(
                f"`allowed_videos` must hold one entry per video ({len(self.videos)}), got "
                f"{np.shape(allowed_videos)}."
            )
        table = self._text_table()
        if table is None:
            checked_channels(channels)
            return []
        return table.search(
            words, channels=channels, k=k, phrase=phrase, allowed_videos=allowed_videos
        )

    def texts_of(self, video: int) -> list[TextHit]:
        """All texts of one video (a position in ``videos``), by time; their score is 0.

        Raises:
            UsageError: there is no such video.
        """
        if not 0 <= video < len(self.videos):
            raise UsageError(f"Videos are numbered 0 to {len(self.videos) - 1}, got {video}.")
        table = self._text_table()
        return table.of_video(video) if table else []

    def _text_table(self) -> TextLists | TextTable | None:
        if self._texts is None:
            self._texts = self._snapshot.texts
        if self._texts is None and self._head.texts:
            self._texts = TextTable(self._tables().dataset(TEXTS), self.videos)
        return self._texts

    # -- loading -------------------------------------------------------------------------------

    def _load(self, most_texts: int = FEW_TEXTS) -> None:
        for last in range(OPEN_TRIES - 1, -1, -1):
            head = read_head(self.directory)
            version = head.version(self.meta)
            snapshot, reader = self._cache.load(version), None
            if snapshot and most_texts > FEW_TEXTS:
                no_lists = snapshot.texts is None and head.texts
                if no_lists or snapshot.lacks_cells:
                    snapshot = None  # kept by a reader that could not wait for them
            if snapshot is None:
                try:
                    reader = TableReader(self.directory, self.meta, head).read()
                    if self._cache.save(reader, most_texts=most_texts):
                        snapshot = self._cache.load(version)
                    if snapshot is None:
                        snapshot = _uncached(reader)
                except LANCE_ERRORS as error:
                    if last:
                        continue  # a writer may have moved on and tidied up
                    what = f"The index at {self.directory}"
                    raise unreadable(self.directory, what, error) from error
            self._take(head, snapshot, reader)
            return

    def _load_past(self, head: Head) -> None:
        try:
            reader = TableReader(self.directory, self.meta, head).read()
            self._take(head, _uncached(reader), reader)
        except LANCE_ERRORS as error:
            raise NotFound(
                f"Commit {head.number} of {self.directory} cannot be read: {plain_message(error)}. "
                "It may have been tidied away just now."
            ) from error
        self.pinned = True

    def _take(self, head: Head, snapshot: Snapshot, reader: TableReader | None) -> None:
        self._head, self._snapshot, self._reader = head, snapshot, reader
        self._texts = None
        self._frame_stop = np.cumsum(snapshot.clips.n_frames, dtype=np.int64)

    def _tables(self) -> TableReader:
        """The tables of this snapshot, for what the cache does not hold."""
        if self._reader is None:
            self._reader = TableReader(self.directory, self.meta, self._head)
            self._reader.clips, self._reader.token_row = self.clips, self._snapshot.token_row
        return self._reader

    # -- facts ---------------------------------------------------------------------------------

    def stats(self) -> IndexStats:
        """Counts and sizes, for people."""
        return stats_of(self)


def _uncached(reader: TableReader) -> Snapshot:
    """A snapshot in this process's own memory, where no cache can be kept."""
    recall = reader.recall(0, len(reader.clips))
    return Snapshot(
        reader.version, reader.videos, reader.clips, reader.token_row, recall, tokens=None
    )
