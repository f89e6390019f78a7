"""The Lance tables of an index: their schemas, and rows to and from Arrow.

``videos`` one row per content, ``clips`` one narrow row per clip (ids, times, recall vector),
``tokens`` one wide row per clip (frame and patch tokens, thumbnails) that is only ever fetched by
row; ``texts`` is described in ``index/texts.py``. ``docs/index-format.md`` is the prose.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.errors import FinecutError, IndexCorrupt, StorageError
from finecut.index.merge import merge_patches
from finecut.index.meta import IndexMeta
from finecut.index.quantise import quantise
from finecut.index.rows import PathStamp, VideoRow
from finecut.index.texts import texts_schema
from finecut.storage.location import Location

if TYPE_CHECKING:
    import pyarrow as pa

    from finecut.types import DecodedClip, VideoTokens

VIDEOS, CLIPS, TOKENS, TEXTS = "videos", "clips", "tokens", "texts"
TABLES = (VIDEOS, CLIPS, TOKENS, TEXTS)


def load_lance() -> Any:
    """The lance module, with its log lines below errors switched off (unless asked for)."""
    os.environ.setdefault("LANCE_LOG", "error")
    import lance

    return lance


def plain_message(error: Exception) -> str:
    """An error's text without the place in Lance's source where it arose, and without secrets."""
    if isinstance(error, StorageError):
        return str(error).rstrip(".")
    from finecut.storage.stores import plain_reason

    return plain_reason(re.sub(r",? \S+\.rs:\d+:\d+", "", str(error)))


def unreadable(directory: Location, what: str, error: Exception) -> FinecutError:
    """The error to raise where Lance cannot read a table: the table's fault, or the network's."""
    told = plain_message(error)
    if directory.is_local or "not found" in told.lower():
        return IndexCorrupt(f"{what} cannot be read: {told}. Delete the folder and index again.")
    return StorageError(
        f"{what} cannot be read: {told}. Check the network and the credentials, and try again."
    )


def table_path(directory: Location, table: str) -> str:
    """Where a table of the index in ``directory`` lies, as Lance takes it."""
    return str(directory / f"{table}.lance")


def table_options(directory: Location) -> dict[str, str] | None:
    """The ``storage_options`` of Lance for the tables of the index in ``directory``."""
    if directory.is_local:
        return None
    from finecut.storage.stores import lance_options

    return lance_options()


def open_table(directory: Location, table: str, version: int | None = None) -> Any:
    """One table as a Lance dataset, at its newest version or the given one.

    Raises:
        OSError, ValueError, RuntimeError: Lance cannot open it.
    """
    return load_lance().dataset(
        table_path(directory, table), version=version, storage_options=table_options(directory)
    )


def videos_schema() -> pa.Schema:
    """One row per content. A path is bytes, as the file system has it."""
    import pyarrow as pa

    return pa.schema(
        [
            ("video_id", pa.string()),
            ("build", pa.int64()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("error", pa.string()),
            ("paths", pa.list_(pa.binary())),
            ("sizes", pa.list_(pa.int64())),
            ("mtimes_ns", pa.list_(pa.int64())),
            ("size_bytes", pa.int64()),
            ("container", pa.string()),
            ("codec", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("rotation", pa.int32()),
            ("duration_s", pa.float64()),
            ("fps", pa.float64()),
            ("has_audio", pa.bool_()),
            ("recorded_at", pa.float64()),
            ("n_clips", pa.int32()),
            ("n_frames", pa.int32()),
            ("lost_frames", pa.int32()),
            ("indexed_at", pa.float64()),
        ]
    )


def clips_schema(meta: IndexMeta) -> pa.Schema:
    """One narrow row per clip."""
    import pyarrow as pa

    return pa.schema(
        [
            ("clip_id", pa.int64()),
            ("video_id", pa.string()),
            ("build", pa.int64()),
            ("number", pa.int32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("n_frames", pa.int32()),
            ("recall", pa.list_(pa.float32(), meta.recall_dim)),
        ]
    )


def tokens_schema(meta: IndexMeta) -> pa.Schema:
    """One wide row per clip; lists hold one entry per frame."""
    import pyarrow as pa

    columns: list[tuple[str, pa.DataType]] = [
        ("clip_id", pa.int64()),
        ("video_id", pa.string()),
        ("build", pa.int64()),
        ("times", pa.list_(pa.float64())),
        ("strip", pa.large_binary()),
        ("strip_width", pa.int32()),
        ("strip_height", pa.int32()),
    ]
    dim, patches = meta.embed_dim, meta.n_patch_tokens
    if meta.levels != "video":
        columns += [
            ("frames", pa.list_(pa.list_(pa.int8(), dim))),
            ("frame_scale", pa.list_(pa.float32())),
        ]
    if meta.levels == "patch":
        columns += [
            ("patches", pa.list_(pa.list_(pa.int8(), patches * dim))),
            ("patch_scale", pa.list_(pa.list_(pa.float32(), patches))),
        ]
    if meta.patches_kept:
        columns += [("patch_home", pa.list_(pa.list_(pa.uint8(), meta.n_patches)))]
    if meta.frame_values:
        columns += [
            ("frame_values", pa.list_(pa.list_(pa.int8(), dim))),
            ("value_scale", pa.list_(pa.float32())),
        ]
    return pa.schema(columns)


def schema_of(table: str, meta: IndexMeta) -> pa.Schema:
    """The Arrow schema of one of the tables."""
    if table == VIDEOS:
        return videos_schema()
    if table == TEXTS:
        return texts_schema()
    return clips_schema(meta) if table == CLIPS else tokens_schema(meta)


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip with its tokens, named as it will be stored."""

    clip_id: int
    video_id: str
    build: int
    clip: DecodedClip  # its frames may already be given up: only times and the strip are stored
    tokens: VideoTokens


def videos_to_arrow(rows: Sequence[VideoRow]) -> pa.Table:
    """Rows of the table ``videos``."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in videos_schema().names}
    for row in rows:
        for name in columns:
            if name == "paths":
                columns[name].append([os.fsencode(stamp.path) for stamp in row.stamps])
            elif name == "sizes":
                columns[name].append([stamp.size_bytes for stamp in row.stamps])
            elif name == "mtimes_ns":
                columns[name].append([stamp.mtime_ns for stamp in row.stamps])
            elif name in ("error", "reason", "container", "codec"):
                # Messages quote file names; Arrow text must be Unicode.
                text = str(getattr(row, name))
                columns[name].append(text.encode("utf-8", "replace").decode("utf-8"))
            else:
                columns[name].append(getattr(row, name))
    return pa.table(columns, schema=videos_schema())


def videos_from_arrow(table: pa.Table) -> list[VideoRow]:
    """The rows of the table ``videos``, done ones first, each kind in the order they were added."""
    rows = []
    for plain in table.to_pylist():
        paths, sizes = plain.pop("paths"), plain.pop("sizes")
        stamps = zip(paths, sizes, plain.pop("mtimes_ns"), strict=True)
        plain["stamps"] = tuple(PathStamp(os.fsdecode(path), *stamp) for path, *stamp in stamps)
        rows.append(VideoRow(**plain))
    rows.sort(key=lambda row: (row.status != "done", row.build, row.indexed_at, row.video_id))
    return rows


def clips_to_arrow(clips: Sequence[EncodedClip], meta: IndexMeta) -> pa.Table:
    """Rows of the table ``clips``."""
    import pyarrow as pa

    recall = np.stack([item.tokens.recall for item in clips]).astype(np.float32)  # [N, R]
    columns = {
        "clip_id": [item.clip_id for item in clips],
        "video_id": [item.video_id for item in clips],
        "build": [item.build for item in clips],
        "number": [item.clip.number for item in clips],
        "start_s": [item.clip.start_s for item in clips],
        "end_s": [item.clip.end_s for item in clips],
        "n_frames": [len(item.clip.times) for item in clips],
        "recall": pa.FixedSizeListArray.from_arrays(pa.array(recall.ravel()), meta.recall_dim),
    }
    return pa.table(columns, schema=clips_schema(meta))


def _ragged(parts: Iterable[np.ndarray], offsets: np.ndarray) -> pa.Array:
    """A list array with one list per clip; axes after the first become one fixed-size list."""
    import pyarrow as pa

    values = np.concatenate(list(parts))  # [T] or [T, …]
    flat: pa.Array = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim > 1:
        flat = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def tokens_to_arrow(clips: Sequence[EncodedClip], meta: IndexMeta) -> pa.Table:
    """Rows of the table ``tokens``; float tokens are quantised here."""
    import pyarrow as pa

    lengths = [len(item.clip.times) for item in clips]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns: dict[str, Any] = {
        "clip_id": [item.clip_id for item in clips],
        "video_id": [item.video_id for item in clips],
        "build": [item.build for item in clips],
        "times": _ragged([item.clip.times for item in clips], offsets),
        "strip": [item.clip.strip for item in clips],
        "strip_width": [item.clip.strip_width for item in clips],
        "strip_height": [item.clip.strip_height for item in clips],
    }

    def add(name: str, scale_name: str, parts: list[Any]) -> None:
        stored = [quantise(part) for part in parts]
        columns[name] = _ragged([values for values, _ in stored], offsets)
        columns[scale_name] = _ragged([scale for _, scale in stored], offsets)

    if meta.levels != "video":
        add("frames", "frame_scale", [item.tokens.frames for item in clips])
    if meta.levels == "patch":
        parts = [np.asarray(item.tokens.patches) for item in clips]
        if meta.patches_kept:
            merged = [merge_patches(part, meta.patches_kept) for part in parts]
            parts = [tokens for tokens, _ in merged]
            columns["patch_home"] = _ragged([home for _, home in merged], offsets)
        add("patches", "patch_scale", parts)
    if meta.frame_values:
        add("frame_values", "value_scale", [item.tokens.frame_values for item in clips])
    return pa.table(columns, schema=tokens_schema(meta))


def ragged_numpy(column: Any, tail: tuple[int, ...], *, fixed: bool = False) -> np.ndarray:
    """Every entry of a list column on end, [T, *tail], without a copy where Arrow allows.

    ``fixed``: the column's own lists are the tail, [N, *tail].
    """
    parts = []
    for chunk in column.chunks:
        flat = chunk.flatten()
        if tail and not fixed:
            flat = flat.flatten()
        parts.append(flat.to_numpy(zero_copy_only=False).reshape(-1, *tail))
    if not parts:
        return np.zeros((0, *tail), np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
