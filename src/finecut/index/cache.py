"""The disposable copy of an index that opens in milliseconds: plain arrays to map into memory.

Loading Lance costs a process a good part of a second, and a one-shot search needs nothing but the
recall matrix, a few clip columns and the tokens of fifty candidates. So a snapshot is kept beside
the tables. Big columns are appended to in place (readers map only the part they know of) as long as
clips are only added; a removal starts a new generation, into which what is left is copied. Deleting
the folder is always safe.
"""

from __future__ import annotations

import json
import mmap
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from finecut.index import text_lists
from finecut.index.columns import appending, copy_rows, mapped
from finecut.index.gallery import EXACT_ROWS, Gallery
from finecut.index.gallery_files import carry_gallery, load_gallery, save_gallery
from finecut.index.lock import FileLock
from finecut.index.meta import IndexMeta, write_json
from finecut.index.place import cache_folder
from finecut.index.rows import ClipTable, VideoRow, VideoRows, video_lines
from finecut.index.text_lists import TextLists
from finecut.storage.location import Location

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

HEAD = "snapshot.json"
LAYOUT = 6
# Tokens are kept where they take at most this part of the disk's room, or little anyway; others
# are fetched from Lance, which costs a search tens of milliseconds.
TOKENS_ROOM_PART = 0.25
TOKENS_LIMIT_BYTES = 2 << 30
FEW_TEXTS = 200_000  # lists of their words are made in a second or two, by whoever needs them
MANY_TEXTS = 2_000_000  # and of so many at the end of a run; beyond, Lance searches them
PATCHES = "patches"  # the one column that is read where it lies
OF_PATCHES = ("patch_scale", "patch_home")  # read with them
COPY_ROWS = 512  # clips per step while copying tokens
COPY_VECTORS = 1 << 15  # and while copying recall vectors


def frame_columns(meta: IndexMeta) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Token columns with one entry per frame: name -> (dtype, the axes after [T])."""
    dim, patches = meta.embed_dim, meta.n_patch_tokens
    columns: dict[str, tuple[str, tuple[int, ...]]] = {"times": ("float64", ())}
    if meta.levels != "video":
        columns |= {"frames": ("int8", (dim,)), "frame_scale": ("float32", ())}
    if meta.levels == "patch":
        columns |= {"patches": ("int8", (patches * dim,)), "patch_scale": ("float32", (patches,))}
    if meta.patches_kept:
        columns |= {"patch_home": ("uint8", (meta.n_patches,))}
    if meta.frame_values:
        columns |= {"frame_values": ("int8", (dim,)), "value_scale": ("float32", ())}
    return columns


def bytes_per_frame(meta: IndexMeta) -> int:
    """Bytes one frame takes in the token columns."""
    return sum(
        np.dtype(dtype).itemsize * int(np.prod(tail, dtype=np.int64))
        for dtype, tail in frame_columns(meta).values()
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of one version of an index that a search needs in memory."""

    version: str
    videos: Sequence[VideoRow]
    clips: ClipTable
    token_row: NDArray[np.int64]  # [G] offset in the table `tokens` of that version
    recall: NDArray[np.float32]  # [G, R]
    tokens: dict[str, NDArray[Any]] | None  # frame columns [T, …] in gallery order, if cached
    texts: TextLists | None = None  # None where there are none, or too many to keep lists of
    gallery: Gallery | None = None  # what makes a large `recall` quick to search

    @property
    def lacks_cells(self) -> bool:
        """Whether the gallery is so large that whoever has time should find its cells."""
        found = self.gallery.cells if self.gallery else None
        return len(self.recall) > EXACT_ROWS and found is None


@dataclass(frozen=True, slots=True)
class _Kept:
    """Clips of a snapshot that the next one begins with."""

    folder: Path  # of their generation
    number: int  # of the snapshot
    rows: NDArray[np.int64]  # [N] rising, where they are in it
    n_frames: NDArray[np.int32]  # [G] of all its clips
    gallery: dict[str, Any] | None  # what it says of its gallery

    @property
    def whole(self) -> bool:
        return len(self.rows) == len(self.n_frames)

    def frames(self) -> NDArray[np.int64]:
        """Rows of the clips' frames in the token columns."""
        counts = self.n_frames[self.rows].astype(np.int64)
        stops = np.cumsum(self.n_frames, dtype=np.int64)[self.rows]
        shift = stops - np.cumsum(counts)  # of each clip, from where its frames will be
        return np.arange(int(counts.sum())) + np.repeat(shift, counts)


class Source(Protocol):
    """Where a snapshot is copied from: the tables."""

    version: str
    videos: Sequence[VideoRow]
    clips: ClipTable
    token_row: NDArray[np.int64]
    texts_version: int  # of the table ``texts``; 0 without one

    def texts(self, most_rows: int) -> pa.Table | None:
        """The table ``texts``, unless it has more rows than that."""
        ...

    def recall(self, first: int, last: int) -> NDArray[np.float32]:
        """Recall vectors of these gallery rows, [last - first, R]."""
        ...

    def frames(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Frame columns of these gallery rows on end, [T, …]."""
        ...


class Cache:
    """The snapshot kept beside an index (on this machine, of one in an object store), if it can be
    read or written at all."""

    def __init__(self, directory: Location, meta: IndexMeta) -> None:
        self.folder = cache_folder(directory, meta.uuid)
        self.meta = meta
        self._local = directory.is_local

    # -- reading -------------------------------------------------------------------------------

    def load(self, version: str) -> Snapshot | None:
        """The snapshot of this very version, or None where there is none that can be trusted."""
        try:
            return self._load(version)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # disposable: whatever is wrong with it, it is made anew

    def _load(self, version: str) -> Snapshot | None:
        about = json.loads((self.folder / HEAD).read_bytes())
        if about["version"] != version or about["layout"] != LAYOUT:
            return None
        folder = self.folder / Path(str(about["generation"])).name
        columns = np.load(folder / f"{about['number']:d}.npz", allow_pickle=False)
        clips = ClipTable(**{name: columns[name] for name in ClipTable.__slots__})
        n_clips, n_frames = len(clips), int(clips.n_frames.sum())
        recall = mapped(folder / "recall.bin", "float32", (n_clips, self.meta.recall_dim))
        tokens = None
        if about["tokens"]:
            tokens = {
                name: mapped(folder / f"{name}.bin", dtype, (n_frames, *tail))
                for name, (dtype, tail) in frame_columns(self.meta).items()
            }
        return Snapshot(
            version=version,
            videos=VideoRows(
                mapped(folder / f"{about['number']:d}.jsonl", "uint8", (int(about["lines"]),)),
                columns["line_ends"],
            ),
            clips=clips,
            recall=recall,
            token_row=columns["token_row"],
            tokens=tokens,
            texts=self._load_texts(about["texts"], columns["text_place"]),
            gallery=load_gallery(folder, int(about["number"]), recall, about["gallery"]),
        )

    def _load_texts(
        self, about: dict[str, Any] | None, place: NDArray[np.int32]
    ) -> TextLists | None:
        if about is None:
            return None
        folder = self.folder / Path(str(about["folder"])).name
        return TextLists(folder, place, about["channels"])

    # -- writing -------------------------------------------------------------------------------

    def save(
        self,
        source: Source,
        *,
        limit_bytes: int | None = None,
        most_texts: int = FEW_TEXTS,
    ) -> bool:
        """Keep a snapshot, if the folder can be written and nobody else is at it.

        Args:
            source: what to copy; of what is kept already nothing is read again.
            limit_bytes: tokens larger than this stay in Lance alone; None: by the disk's room.
            most_texts: of more texts than this no lists are made; they are searched by Lance. With
                more than ``FEW_TEXTS`` there is also time to find the cells of a large gallery.

        Returns: whether it is kept now.
        """
        lock = FileLock(self.folder / "cache.lock")
        try:
            self.folder.mkdir(parents=not self._local, exist_ok=True)
            if not lock.try_acquire():
                return False
        except OSError:
            return False
        try:
            for _ in range(2):  # damaged files are not gone on with the second time
                try:
                    self._save(source, limit_bytes, most_texts)
                    return True
                except (OSError, ValueError):
                    with suppress(OSError):
                        (self.folder / HEAD).unlink(missing_ok=True)
        finally:
            lock.release()
        return False  # a full disk, say: searching goes on without

    def _save(self, source: Source, limit_bytes: int | None, most_texts: int) -> None:
        for part in self.folder.glob(f".{HEAD}.*.part"):
            part.unlink(missing_ok=True)
        clips = source.clips
        n_frames = int(clips.n_frames.sum())
        limit = self._room_for_tokens() if limit_bytes is None else limit_bytes
        with_tokens = n_frames * bytes_per_frame(self.meta) <= limit
        kept = self._kept(clips.clip_id, with_tokens)
        if kept is not None and kept.whole:
            generation, number, gallery = kept.folder.name, kept.number, kept.gallery
        else:
            generation, number, gallery = uuid.uuid4().hex[:12], 0, None
            (self.folder / generation).mkdir()
            if kept is not None:
                gallery = self._carry_over(kept, self.folder / generation, with_tokens)
        n_kept = 0 if kept is None else len(kept.rows)
        folder = self.folder / generation
        frames_kept = int(clips.n_frames[:n_kept].sum())
        with appending(folder / "recall.bin", n_kept * self.meta.recall_dim * 4) as file:
            for start in range(n_kept, len(clips), COPY_VECTORS):
                part = source.recall(start, min(start + COPY_VECTORS, len(clips)))
                file.write(np.ascontiguousarray(part, np.float32).data)
        if with_tokens:
            self._append_tokens(folder, source, n_kept, frames_kept)
        number += 1
        recall = mapped(folder / "recall.bin", "float32", (len(clips), self.meta.recall_dim))
        patient = most_texts > FEW_TEXTS
        gallery = save_gallery(folder, number, recall, gallery, patient=patient)
        lines, line_ends = video_lines(source.videos)
        (folder / f"{number}.jsonl").write_bytes(lines)
        texts, text_place = self._save_texts(source, most_texts)
        columns = {name: getattr(clips, name) for name in ClipTable.__slots__}
        np.savez(
            folder / f"{number}.npz",
            token_row=source.token_row,
            line_ends=line_ends,
            text_place=text_place,
            **columns,
        )
        about = {
            "layout": LAYOUT,
            "version": source.version,
            "generation": generation,
            "number": number,
            "tokens": with_tokens,
            "lines": len(lines),
            "texts": texts,
            "gallery": gallery,
        }
        write_json(self.folder / HEAD, about)
        self._drop_others(generation, number, texts)

    def _save_texts(
        self, source: Source, most_texts: int
    ) -> tuple[dict[str, Any] | None, NDArray[np.int32]]:
        """Lists of the texts, made anew only where the texts changed: what the head says of them,
        and where their videos are in this version."""
        nothing = None, np.zeros(0, np.int32)
        if not source.texts_version:
            return nothing
        folder = self.folder / f"texts-{self.meta.uuid[:12]}-{source.texts_version}"
        done = [row.video_id for row in source.videos if row.status == "done"]  # they come first
        for kept in (True, False):
            if not kept:
                table = source.texts(most_texts)
                if table is None:
                    return nothing
                shutil.rmtree(folder, ignore_errors=True)
                text_lists.write_lists(folder, table)
            with suppress(OSError, ValueError, KeyError, TypeError):
                place, channels = text_lists.places_and_counts(folder, done)
                return {"folder": folder.name, "channels": channels}, place
        return nothing

    def _room_for_tokens(self) -> int:
        """Bytes tokens may take. What is kept of them counts as room, so that keeping them does not
        end by itself as they grow. Out of an object store not all that fits is fetched: the first
        search would wait for it."""
        if not self._local:
            return TOKENS_LIMIT_BYTES
        kept = 0
        for name in frame_columns(self.meta):
            kept += sum(path.stat().st_size for path in self.folder.glob(f"*/{name}.bin"))
        free = shutil.disk_usage(self.folder).free
        return max(TOKENS_LIMIT_BYTES, int(TOKENS_ROOM_PART * (free + kept)))

    def _append_tokens(self, folder: Path, source: Source, first: int, frames_kept: int) -> None:
        columns = frame_columns(self.meta)
        files = {}
        for name, (dtype, tail) in columns.items():
            width = np.dtype(dtype).itemsize * int(np.prod(tail, dtype=np.int64))
            files[name] = appending(folder / f"{name}.bin", frames_kept * width)
        try:
            last = len(source.clips)
            for start in range(first, last, COPY_ROWS):
                part = source.frames(np.arange(start, min(start + COPY_ROWS, last)))
                for name, (dtype, _) in columns.items():
                    files[name].write(np.ascontiguousarray(part[name], dtype).data)
        finally:
            for file in files.values():
                file.close()

    def _kept(self, clip_id: NDArray[np.int64], with_tokens: bool) -> _Kept | None:
        """What is kept of the first of these clips; None where nothing can be used. Clip ids rise
        and are never used twice: an old id is an old clip, and new clips come last."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((self.folder / HEAD).read_bytes())
            folder = self.folder / Path(str(about["generation"])).name
            if about["layout"] != LAYOUT or about["tokens"] != with_tokens:
                return None
            if not about["version"].startswith(self.meta.uuid[:12]):
                return None  # of another index that lay here before
            columns = np.load(folder / f"{about['number']:d}.npz", allow_pickle=False)
            old, n_frames = columns["clip_id"], columns["n_frames"]
            last = int(old.max(initial=-1))
            rows = np.searchsorted(old, clip_id[: np.searchsorted(clip_id, last, "right")])
            if np.array_equal(old[rows], clip_id[: len(rows)]):
                return _Kept(folder, int(about["number"]), rows, n_frames, about["gallery"])
        return None

    def _carry_over(self, kept: _Kept, folder: Path, with_tokens: bool) -> dict[str, Any] | None:
        """Copy the columns of clips that are kept; what is kept of the gallery."""
        dim = self.meta.recall_dim
        copy_rows(kept.folder / "recall.bin", folder / "recall.bin", 4 * dim, kept.rows)
        if with_tokens:
            frames = kept.frames()
            for name, (dtype, tail) in frame_columns(self.meta).items():
                width = np.dtype(dtype).itemsize * int(np.prod(tail, dtype=np.int64))
                copy_rows(kept.folder / f"{name}.bin", folder / f"{name}.bin", width, frames)
        return carry_gallery(kept.folder, folder, dim, kept.rows, kept.gallery)

    def _drop_others(self, generation: str, number: int, texts: dict[str, Any] | None) -> None:
        """Remove what no snapshot needs. A reader that has it mapped keeps it until it lets go."""
        needed = {generation, texts["folder"] if texts else ""}
        for entry in self._entries():
            if entry.is_dir() and entry.name not in needed:
                shutil.rmtree(entry, ignore_errors=True)
        for entry in (self.folder / generation).iterdir():
            stem = entry.name.split(".")[0]
            # The one before stays for a reader that has just read the old head.
            if stem.isdigit() and int(stem) < number - 1:
                with suppress(OSError):
                    entry.unlink()

    def _entries(self) -> Iterator[Path]:
        yield from list(self.folder.iterdir())


def ask_for(column: NDArray[Any], spans: Sequence[slice]) -> None:
    """Have the system read these rows of a mapped column all at once rather than page by page.

    Cold, that is the difference between one wait and thousands; warm, it costs microseconds.
    """
    mapped = column.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    width = column.strides[0]
    for span in spans:
        first = span.start * width // mmap.PAGESIZE * mmap.PAGESIZE
        with suppress(OSError):
            mapped.madvise(mmap.MADV_WILLNEED, first, span.stop * width - first)
