"""The writing stage: a task that writes encoded clips beside the tables of the index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from finecut.cluster.travel import WORDS
from finecut.errors import IndexMismatch
from finecut.index.fragments import write_clips
from finecut.index.meta import IndexMeta, read_meta
from finecut.index.tables import CLIPS, TOKENS, clips_schema, open_table, tokens_schema
from finecut.storage.location import Location

if TYPE_CHECKING:
    import pyarrow as pa


def write_rows(batch: pa.Table, *, directory: str, meta: IndexMeta) -> pa.Table:
    """Encoded clips to files; what is said of videos passes through.

    Args:
        batch: encoded clips and words.
        directory: of the index.
        meta: of the index; one of another uuid in its place is not touched.

    Returns:
        One column of JSON: words with their job; and what was written, once.

    Raises:
        IndexMismatch: this machine does not see the index.
    """
    import pyarrow as pa

    is_words = batch.column(WORDS).is_valid()
    lines = [
        json.dumps({"job": row["job"], **json.loads(row[WORDS])})
        for row in batch.filter(is_words).select(["job", WORDS]).to_pylist()
    ]
    rows = batch.filter(batch.column(WORDS).is_null())
    if rows.num_rows:
        lines.append(json.dumps(_written(rows, Location.parse(directory), meta)))
    return pa.table({WORDS: pa.array(lines, pa.large_string())})


def _written(rows: pa.Table, directory: Location, meta: IndexMeta) -> dict[str, Any]:
    check_same_index(directory, meta)
    written = write_clips(
        rows.select(tokens_schema(meta).names),
        rows.select(clips_schema(meta).names),
        open_table(directory, TOKENS),
        open_table(directory, CLIPS),
    )
    about = rows.select(["job", "number", "n_frames", "start_s", "end_s"]).to_pylist()
    return {"tokens": written.tokens, "clips": written.clips, "rows": about}


def check_same_index(directory: Location, meta: IndexMeta) -> None:
    """Raise unless the index is here as it is where the run was started.

    Raises:
        IndexMismatch: it is another one.
        IndexNotFound: there is none.
    """
    here = read_meta(directory)
    if here.uuid != meta.uuid:
        raise IndexMismatch(
            f"The index at {directory} is another one on this machine. Mount the same folder at "
            "the same place on every machine of the cluster, or keep the index in an object store."
        )
