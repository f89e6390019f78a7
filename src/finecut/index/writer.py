"""The one writer of an index: commits over four tables that hold at any instant.

A commit appends tokens, then clips, then puts the videos (that is what makes clips count), then
replaces ``head.json`` (that is what readers follow). Taking videos away goes the other way round:
videos first, then clips and tokens. So whatever is cut off, rows without their video are all that
can be left over, and ``open`` removes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import IndexLocked, StorageConflict, UsageError
from finecut.index import history, text_search, upkeep
from finecut.index.alias import follow
from finecut.index.create import check_same, create, foreign_entry, has_texts, make_table
from finecut.index.fragments import WrittenClips, append_written
from finecut.index.lock import writer_lock
from finecut.index.meta import (
    HEAD_FILE,
    META_FILE,
    Head,
    IndexMeta,
    read_head_with_etag,
    read_meta,
    write_json,
)
from finecut.index.rows import VideoRow
from finecut.index.tables import (
    CLIPS,
    TABLES,
    TEXTS,
    TOKENS,
    VIDEOS,
    EncodedClip,
    clips_to_arrow,
    open_table,
    tokens_to_arrow,
    unreadable,
    videos_from_arrow,
    videos_to_arrow,
)
from finecut.index.texts import STATE, VideoTexts, texts_to_arrow
from finecut.storage.location import Location
from finecut.storage.objects import exists

if TYPE_CHECKING:
    import pyarrow as pa

# Wide rows are not copied again.
FRAGMENT_ROWS = {VIDEOS: 1 << 20, CLIPS: 1 << 20, TEXTS: 1 << 20, TOKENS: 8192}
IDS_PER_DELETE = 500


class IndexWriter:
    """Use as a context manager: the lock is held inside.

    Args:
        directory: of the index; created when ``meta`` is given and nothing is there.
        meta: what a new index shall be. An existing one must be of the same bundle.

    Raises (on entry):
        IndexLocked: another process writes.
        IndexMismatch: the index was built with another bundle or other levels.
        IndexNotFound: no index is there and no ``meta`` is given.
        UsageError: the folder holds something else, or cannot be written.
    """

    def __init__(self, directory: Location | str | Path, meta: IndexMeta | None = None) -> None:
        self.directory = follow(directory)
        self._wanted = meta
        self._lock = writer_lock(self.directory)
        self._head_etag = ""
        self._tables: dict[str, Any] = {}
        self.meta: IndexMeta
        self.head: Head
        self.videos: dict[str, VideoRow] = {}

    # -- opening -------------------------------------------------------------------------------

    def __enter__(self) -> IndexWriter:
        if self._wanted is None:
            read_meta(self.directory)  # says what to do where nothing is
        try:
            if self.directory.is_local:
                self.directory.path.mkdir(parents=True, exist_ok=True)
            foreign = foreign_entry(self.directory)
            if foreign:
                raise UsageError(
                    f"{self.directory} is no index and is not empty (it holds {foreign!r}). Name "
                    "a folder of its own for the index: --index FOLDER"
                )
            self._lock.__enter__()
        except OSError as error:
            if not self.directory.is_local:
                raise  # it says by itself what to do about a store
            raise UsageError(
                f"The index at {self.directory} cannot be written: {error}. Check the permissions "
                "and the space, or choose another place: --index FOLDER"
            ) from error
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _open(self) -> None:
        if self.directory.is_local:
            for part in self.directory.path.glob(".*.part"):
                part.unlink(missing_ok=True)  # of a writer that was cut off
        if not exists(self.directory / META_FILE):
            if self._wanted is None:
                read_meta(self.directory)  # raises: another process removed the index just now
            else:
                create(self.directory, self._wanted, now())
        self.meta = read_meta(self.directory)
        if self._wanted is not None:
            check_same(self.directory, self.meta, self._wanted)
        self.head, self._head_etag = read_head_with_etag(self.directory / HEAD_FILE)
        if not has_texts(self.directory, self.head):
            make_table(self.directory, TEXTS, self.meta)
            self.head = replace(self.head, texts=0)
        for table in TABLES:
            try:
                self._tables[table] = open_table(self.directory, table)
            except (OSError, ValueError) as error:
                what = f"The table {table} of {self.directory}"
                raise unreadable(self.directory, what, error) from error
        if self.head.restored:  # the last writer was cut off while it went back to a past state
            history.bring_back(self._tables, self.head)
        self._restore_texts()
        rows = videos_from_arrow(self._tables[VIDEOS].to_table())
        self.videos = {row.video_id: row for row in rows}
        self._remove_orphans()
        self._delete(TEXTS, sorted(set(self.text_states()) - set(self.videos)))
        builds = [self.head.build, *(row.build for row in rows)]
        self.build = max(builds) + 1
        largest = max(self._largest_clip_id(CLIPS), self._largest_clip_id(TOKENS))
        self.next_clip_id = max(self.head.next_clip_id, largest + 1)
        if any(table.version != getattr(self.head, name) for name, table in self._tables.items()):
            self._write_head()  # the last writer was cut off between its tables and its head

    def _restore_texts(self) -> None:
        """Go back to the texts of the last commit: those of a commit that was cut off may be half,
        and what they were made from is written with them, so the next run reads them again."""
        table = self._tables[TEXTS]
        if self.head.texts and table.version != self.head.texts:
            table.checkout_version(self.head.texts).restore()
            table.checkout_latest()

    def _largest_clip_id(self, table: str) -> int:
        column = self._tables[table].to_table(columns=["clip_id"]).column(0)
        return int(np.max(column.to_numpy(), initial=-1))

    # -- changing ------------------------------------------------------------------------------

    def take_clip_ids(self, count: int) -> range:
        """Fresh clip ids, never used before in this index."""
        first = self.next_clip_id
        self.next_clip_id += count
        return range(first, first + count)

    def commit(
        self,
        clips: Sequence[EncodedClip] = (),
        videos: Sequence[VideoRow] = (),
        removed: Iterable[str] = (),
        texts: Sequence[VideoTexts] = (),
        written: Sequence[WrittenClips] = (),
    ) -> None:
        """Store clips, put videos (new or changed rows) and take others away, for good.

        Clips may come before their video: they count from the commit that puts it.

        Args:
            clips: to be stored.
            videos: rows to put.
            removed: ids of videos to take away.
            texts: of videos.
            written: clips that other processes wrote beside the tables.
        """
        gone = [video_id for video_id in removed if video_id in self.videos]
        if not (clips or videos or gone or texts or written):
            return
        if texts:
            self._put_texts(texts)
        if clips:
            self._append(TOKENS, tokens_to_arrow(clips, self.meta))
            self._append(CLIPS, clips_to_arrow(clips, self.meta))
        append_written(self._tables, written)
        if videos:
            self._put_videos(videos)
        stale = list(gone)
        for row in videos:
            before = self.videos.get(row.video_id)
            if before is not None and before.n_clips and before.build != row.build:
                stale.append(row.video_id)
            self.videos[row.video_id] = row
        if gone:
            self._delete(VIDEOS, gone)
            for video_id in gone:
                del self.videos[video_id]
            self._delete(TEXTS, gone)
        if stale:
            self._remove_orphans(stale)
        self._write_head()

    def _append(self, table: str, rows: pa.Table) -> None:
        self._lock.check()
        self._tables[table].insert(rows, mode="append")

    def _put_videos(self, rows: Sequence[VideoRow]) -> None:
        self._lock.check()
        table = self._tables[VIDEOS]
        put = videos_to_arrow(rows)
        if any(row.video_id in self.videos for row in rows):
            merge = table.merge_insert("video_id")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(put)
            table.checkout_latest()
        else:
            self._append(VIDEOS, put)

    def set_texts(self, text_channels: str, speech_model: str) -> None:
        """Which texts this index has from now on."""
        if (text_channels, speech_model) != (self.head.text_channels, self.head.speech_model):
            self.head = replace(self.head, text_channels=text_channels, speech_model=speech_model)
            self._write_head()

    def set_keep(self, keep_s: float) -> None:
        """How long from now on a state that was replaced can be gone back to, in seconds."""
        if keep_s != self.head.keep_s:
            self.head = replace(self.head, keep_s=keep_s)
            self._write_head()

    def restore(self, past: Head) -> None:
        """Make a past state of this index (``history.find``) its newest one, as a new commit."""
        self._put_head(history.restored_head(past, self.head, now()))
        self._open()

    def text_states(self) -> dict[str, str]:
        """What the texts of each video were made from, as it was stored."""
        table = self._tables[TEXTS].to_table(
            columns=["video_id", "text"], filter=f"part = '{STATE}'"
        )
        return dict(zip(table["video_id"].to_pylist(), table["text"].to_pylist(), strict=True))

    def _put_texts(self, videos: Sequence[VideoTexts]) -> None:
        """Texts in place of those of the same parts. Half of it is never seen: readers and the next
        writer go by the version in ``head.json``."""
        by_parts: dict[frozenset[str], list[str]] = {}
        for video in videos:
            by_parts.setdefault(video.parts | {STATE}, []).append(video.video_id)
        if self._tables[TEXTS].count_rows():
            for parts, video_ids in by_parts.items():
                names = ", ".join(f"'{part}'" for part in sorted(parts))
                self._delete(TEXTS, video_ids, f" AND part IN ({names})")
        self._append(TEXTS, texts_to_arrow(videos, self.build))

    def _delete(self, table: str, video_ids: Sequence[str], more: str = "") -> None:
        for start in range(0, len(video_ids), IDS_PER_DELETE):
            self._lock.check()
            names = ", ".join(
                f"'{video_id}'" for video_id in video_ids[start : start + IDS_PER_DELETE]
            )
            self._tables[table].delete(f"video_id IN ({names}){more}")

    def _remove_orphans(self, among: Sequence[str] | None = None) -> None:
        """Take away clips and tokens whose (video, run) is not done (of these videos, if given)."""
        live = {(row.video_id, row.build) for row in self.videos.values() if row.status == "done"}
        for table in (CLIPS, TOKENS):
            for build, video_ids in upkeep.orphans(self._tables[table], live, among).items():
                self._delete(table, video_ids, f" AND build = {build}")

    def remove_unfinished(self) -> None:
        """Take away clips that were stored for videos that then failed or were given up."""
        before = self._versions()
        self._remove_orphans()
        if self._versions() != before:
            self._write_head()

    # -- upkeep --------------------------------------------------------------------------------

    def fragments(self) -> int:
        """Files of the most scattered table."""
        return max(len(table.get_fragments()) for table in self._tables.values())

    def compact(self, *, orphans: bool = False) -> bool:
        """Join small files where enough have piled up, see to the words' index, and drop versions
        nobody reads any more.

        Args:
            orphans: delete files too that no version names, which processes that were killed left
                behind: only when nobody is writing clips for this writer.
        """
        joined = False
        for name, table in self._tables.items():
            self._lock.check()
            joined |= upkeep.join_small_files(table, FRAGMENT_ROWS[name])
        tended = text_search.tend(self._tables[TEXTS])
        if joined or tended:
            self._write_head()
        history.tidy(self.directory, self.head, self._tables, now(), orphans=orphans)
        return joined or tended

    def dataset(self, table: str) -> Any:
        """The Lance dataset of one table, at the version this writer sees."""
        return self._tables[table]

    def _versions(self) -> dict[str, int]:
        return {name: table.version for name, table in self._tables.items()}

    def _write_head(self) -> None:
        versions: dict[str, Any] = self._versions()
        done = [row for row in self.videos.values() if row.status == "done"]
        head = Head(
            number=self.head.number + 1,
            at=now(),
            keep_s=self.head.keep_s,
            **versions,
            text_channels=self.head.text_channels,
            speech_model=self.head.speech_model,
            next_clip_id=self.next_clip_id
            if hasattr(self, "next_clip_id")
            else self.head.next_clip_id,
            build=max([self.head.build, *(row.build for row in done)]),
            n_videos=len(done),
            n_clips=sum(row.n_clips for row in done),
            n_frames=sum(row.n_frames for row in done),
            video_s=float(sum(row.duration_s for row in done)),
        )
        self._put_head(head)

    def _put_head(self, head: Head) -> None:
        """The commit: from here on readers see this head, and the one before is a past state."""
        self._lock.check()
        history.keep(self.directory, self.head)
        place = self.directory / HEAD_FILE
        try:
            self._head_etag = write_json(place, head, if_match=self._head_etag)
        except StorageConflict as error:
            raise IndexLocked(
                f"Another process has written to {self.directory} since this one began, which has "
                "lost its place as the writer. What was reported done is kept; run the same "
                "command again to go on."
            ) from error
        self.head = head


def now() -> float:
    """Unix seconds; the one clock rows are stamped with."""
    return time.time()
