"""The encoding stage: an actor that holds the bundle and turns clips into rows of the tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.cluster.travel import WORDS, clips_of, encoded_schema, words_row
from finecut.errors import BundleError, FinecutError
from finecut.index.encode import Encoder
from finecut.index.meta import IndexMeta
from finecut.index.tables import EncodedClip, clips_to_arrow, tokens_to_arrow
from finecut.types import DecodedClip

if TYPE_CHECKING:
    import pyarrow as pa

    from finecut.bundle.load import Bundle

Clip = tuple[dict[str, Any], DecodedClip]  # the ids of its row, and the clip


class Encode:
    """Rows of decoded clips in, rows of encoded clips out; words pass through.

    Args:
        bundle_ref: of the model, found on every machine.
        meta: of the index, whose fingerprint it must have.
        threads: of one run.
    """

    def __init__(self, bundle_ref: str, meta: IndexMeta, threads: int = 1) -> None:
        self._ref = bundle_ref
        self._meta = meta
        self._threads = threads
        self._schema = encoded_schema(meta)
        self._bundle: Bundle | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        is_words = batch.column(WORDS).is_valid()
        words = batch.filter(is_words).select(["job", WORDS])
        parts = [
            words_row(self._schema, row["job"], json.loads(row[WORDS])) for row in words.to_pylist()
        ]
        rows = batch.filter(batch.column(WORDS).is_null())
        if rows.num_rows:
            try:
                parts.append(self._encoded(rows))
            except BundleError as error:  # nothing else would encode either
                jobs = sorted(set(rows.column("job").to_pylist()))
                parts += [words_row(self._schema, job, {"broken": str(error)}) for job in jobs]
        return pa.concat_tables(parts) if parts else self._schema.empty_table()

    def _encoded(self, rows: pa.Table) -> pa.Table:
        import pyarrow as pa

        bundle = self._loaded()
        frames = bundle.manifest.frames
        parts = []
        with Encoder[dict[str, Any]](bundle, 1) as encoder:
            for some in _batches(clips_of(rows, frames.height, frames.width), encoder.batch_frames):
                encoder.put(some)
                good = []
                for item in encoder.take(wait=True):
                    if item.tokens is None:
                        words = {"not_encoded": item.error}
                        parts.append(words_row(self._schema, item.owner["job"], words))
                        continue
                    light = replace(
                        item.clip, frames=np.empty((len(item.clip.times), 0, 0, 3), np.uint8)
                    )
                    row = item.owner
                    clip = EncodedClip(
                        row["clip_id"], row["video_id"], row["build"], light, item.tokens
                    )
                    good.append((row["job"], clip))
                if good:
                    parts.append(self._stored(good))
        return pa.concat_tables(parts)

    def _stored(self, clips: Sequence[tuple[int, EncodedClip]]) -> pa.Table:
        import pyarrow as pa

        encoded = [clip for _, clip in clips]
        narrow, wide = clips_to_arrow(encoded, self._meta), tokens_to_arrow(encoded, self._meta)
        columns = {
            "job": pa.array([job for job, _ in clips], pa.int64()),
            WORDS: pa.nulls(len(clips), pa.large_string()),
        }
        for table in (narrow, wide):
            columns |= dict(zip(table.schema.names, table.columns, strict=True))
        return pa.table({name: columns[name] for name in self._schema.names}, schema=self._schema)

    def _loaded(self) -> Bundle:
        if self._bundle is None:
            self._bundle = load_same(self._ref, self._meta.fingerprint, self._threads)
        return self._bundle


def load_same(ref: str, fingerprint: str, threads: int = 1) -> Bundle:
    """The bundle as this machine has it.

    Raises:
        BundleError: this machine does not have it, or has another one of the name.
    """
    from finecut.bundle.load import Bundle

    try:
        bundle = Bundle.load(ref, threads=threads)
    except BundleError:
        raise
    except FinecutError as error:
        raise BundleError(str(error)) from error
    if bundle.fingerprint != fingerprint:
        raise BundleError(
            f"The bundle {ref} is another one on this machine ({bundle.fingerprint[:12]}) than "
            f"where the run was started ({fingerprint[:12]}). Install the same one on all of them."
        )
    return bundle


def _batches(clips: Sequence[Clip], batch_frames: int) -> list[list[Clip]]:
    """Clips in their order, about so many frames together."""
    batches: list[list[Clip]] = [[]]
    n_frames = 0
    for item in clips:
        if n_frames >= batch_frames:
            batches.append([])
            n_frames = 0
        batches[-1].append(item)
        n_frames += len(item[1].times)
    return batches
