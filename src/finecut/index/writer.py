"""The one writer of an index: commits over four tables that hold at any instant.

A commit appends tokens, then clips, then puts the videos (that is what makes clips count), then
replaces ``head.json`` (that is what readers follow). Taking videos away goes the other way round:
videos first, then clips and tokens. So whatever is cut off, rows without their video are all that
can be left over, and ``open`` removes them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import IndexCorrupt, IndexMismatch, UsageError
from finecut.index import history, text_search
from finecut.index.alias import follow
from finecut.index.fragments import WrittenClips, append_written
from finecut.index.lock import FileLock
from finecut.index.meta import (
    HEAD_FILE,
    META_FILE,
    SCHEMA_VERSION,
    Head,
    IndexMeta,
    read_head,
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
    load_lance,
    plain_message,
    schema_of,
    table_path,
    tokens_to_arrow,
    videos_from_arrow,
    videos_to_arrow,
)
from finecut.index.texts import STATE, VideoTexts, texts_schema, texts_to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

LOCK_FILE = "writer.lock"
COMPACT_FRAGMENTS = 24  # fragments of a table from which joining them pays
# Wide rows are not copied again.
FRAGMENT_ROWS = {VIDEOS: 1 << 20, CLIPS: 1 << 20, TEXTS: 1 << 20, TOKENS: 8192}
DELETED_PART = 0.2  # of a table's rows from which giving their space back pays
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

    def __init__(self, directory: Path, meta: IndexMeta | None = None) -> None:
        self.directory = directory = follow(directory)
        self._wanted = meta
        self._lock = FileLock(directory / LOCK_FILE)
        self._tables: dict[str, Any] = {}
        self.meta: IndexMeta
        self.head: Head
        self.videos: dict[str, VideoRow] = {}

    # -- opening -------------------------------------------------------------------------------

    def __enter__(self) -> IndexWriter:
        if self._wanted is None:
            read_meta(self.directory)  # says what to do where nothing is
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            foreign = self._foreign_entry()
            if foreign:
                raise UsageError(
                    f"{self.directory} is no index and is not empty (it holds {foreign!r}). Name "
                    "a folder of its own for the index: --index FOLDER"
                )
            self._lock.__enter__()
        except OSError as error:
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

    def _foreign_entry(self) -> str | None:
        """Something in the folder that no index has: then it is not ours to fill."""
        if (self.directory / META_FILE).exists():
            return None
        ours = {
            LOCK_FILE,
            HEAD_FILE,
            "cache",
            history.FOLDER,
            *(f"{table}.lance" for table in TABLES),
        }
        for entry in self.directory.iterdir():
            if entry.name not in ours and not entry.name.endswith(".part"):
                return entry.name
        return None

    def _open(self) -> None:
        for part in self.directory.glob(".*.part"):
            part.unlink(missing_ok=True)  # of a writer that was cut off
        if not (self.directory / META_FILE).exists():
            if self._wanted is None:
                read_meta(self.directory)  # raises: another process removed the index just now
            self._create()
        self.meta = read_meta(self.directory)
        if self._wanted is not None:
            self._check_same(self._wanted)
        lance = load_lance()
        self.head = read_head(self.directory)
        if not self._has_texts():
            self._make_table(TEXTS, self.meta)
            self.head = replace(self.head, texts=0)
        for table in TABLES:
            try:
                self._tables[table] = lance.dataset(table_path(self.directory, table))
            except (OSError, ValueError) as error:
                raise IndexCorrupt(
                    f"The table {table} of {self.directory} cannot be opened: "
                    f"{plain_message(error)}. Delete the folder and index again."
                ) from error
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

    def _create(self) -> None:
        assert self._wanted is not None
        lance = load_lance()
        for table in TABLES:
            path = Path(table_path(self.directory, table))
            with suppress(OSError, ValueError):
                if path.exists() and lance.dataset(str(path)).count_rows():
                    raise IndexCorrupt(
                        f"{self.directory} holds tables but no {META_FILE}. Put the file back, or "
                        "delete the folder and index again."
                    )
        versions: dict[str, Any] = {
            table: self._make_table(table, self._wanted) for table in TABLES
        }
        head = Head(
            1,
            **versions,
            next_clip_id=0,
            build=0,
            n_videos=0,
            n_clips=0,
            n_frames=0,
            video_s=0.0,
            at=now(),
        )
        write_json(self.directory / HEAD_FILE, head)
        write_json(self.directory / META_FILE, self._wanted)  # last: from here on it is an index

    def _make_table(self, table: str, meta: IndexMeta) -> int:
        """An empty table in place of whatever is there; its version."""
        path = table_path(self.directory, table)
        shutil.rmtree(path, ignore_errors=True)
        empty = schema_of(table, meta).empty_table()
        return load_lance().write_dataset(empty, path).version

    def _has_texts(self) -> bool:
        """Whether the table is there and to be trusted; texts can always be read again."""
        if not self.head.texts:  # made before there were texts, or by a finecut without them
            return False
        try:
            table = load_lance().dataset(table_path(self.directory, TEXTS), version=self.head.texts)
            return bool(table.schema == texts_schema())
        except (OSError, ValueError):
            return False

    def _restore_texts(self) -> None:
        """Go back to the texts of the last commit: those of a commit that was cut off may be half,
        and what they were made from is written with them, so the next run reads them again."""
        table = self._tables[TEXTS]
        if self.head.texts and table.version != self.head.texts:
            table.checkout_version(self.head.texts).restore()
            table.checkout_latest()

    def _check_same(self, wanted: IndexMeta) -> None:
        have = self.meta
        if have.schema_version != SCHEMA_VERSION or have.fingerprint != wanted.fingerprint:
            raise IndexMismatch(
                f"The index at {self.directory} was built with the bundle {have.bundle_name} "
                f"({have.fingerprint[:12]}); this run uses {wanted.bundle_name} "
                f"({wanted.fingerprint[:12]}). Use the first one: finecut index FOLDER "
                f"--bundle {have.bundle_ref} --index {self.directory}  or build a new index: "
                f"finecut index FOLDER --bundle {wanted.bundle_ref} --index NEW_PLACE  or delete "
                f"the folder {self.directory} to begin anew in its place."
            )
        if have.levels != wanted.levels:
            raise IndexMismatch(
                f"The index at {self.directory} stores tokens at level {have.levels!r}; this run "
                f"asks for {wanted.levels!r}. Go on with: finecut index FOLDER --levels "
                f"{have.levels} --index {self.directory}  or build a new index in another place."
            )

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
        self._tables[table].insert(rows, mode="append")

    def _put_videos(self, rows: Sequence[VideoRow]) -> None:
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
            names = ", ".join(
                f"'{video_id}'" for video_id in video_ids[start : start + IDS_PER_DELETE]
            )
            self._tables[table].delete(f"video_id IN ({names}){more}")

    def _remove_orphans(self, among: Sequence[str] | None = None) -> None:
        """Take away clips and tokens whose (video, run) is not done (of these videos, if given)."""
        live = {(row.video_id, row.build) for row in self.videos.values() if row.status == "done"}
        for table in (CLIPS, TOKENS):
            found = self._tables[table].to_table(columns=["video_id", "build"])
            pairs = found.group_by(["video_id", "build"]).aggregate([])
            ids, builds = pairs["video_id"].to_pylist(), pairs["build"].to_pylist()
            by_build: dict[int, list[str]] = {}
            for pair in zip(ids, builds, strict=True):
                if pair not in live and (among is None or pair[0] in among):
                    by_build.setdefault(pair[1], []).append(pair[0])
            for build, video_ids in by_build.items():
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

    def compact(self) -> bool:
        """Join small files where enough have piled up, see to the words' index, and drop versions
        nobody reads any more."""
        joined = False
        for name, table in self._tables.items():
            rows = FRAGMENT_ROWS[name]
            parts = table.get_fragments()
            n_rows = sum(part.physical_rows for part in parts)
            n_deleted = sum(part.num_deletions for part in parts)
            n_small = sum(part.physical_rows < rows for part in parts)
            if n_small >= COMPACT_FRAGMENTS or n_deleted > DELETED_PART * n_rows:
                table.optimize.compact_files(
                    target_rows_per_fragment=rows,
                    materialize_deletions_threshold=DELETED_PART / 2,
                    num_threads=1,
                )
                table.checkout_latest()
                joined = True
        tended = text_search.tend(self._tables[TEXTS])
        if joined or tended:
            self._write_head()
        history.tidy(self.directory, self.head, self._tables, now())
        return joined or tended

    def dataset(self, table: str) -> Any:
        """The Lance dataset of one table, at the version this writer sees."""
        return self._tables[table]

    def _versions(self) -> dict[str, int]:
        return {name: table.version for name, table in self._tables.items()}

    def _write_head(self) -> None:
        versions = self._versions()
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
        history.keep(self.directory, self.head)
        write_json(self.directory / HEAD_FILE, head)
        self.head = head


def now() -> float:
    """Unix seconds; the one clock rows are stamped with."""
    return time.time()
