"""The decoding stage: an actor that reads videos in a child process of its own."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from finecut.cluster.travel import (
    CLIP_IDS,
    JobRow,
    Verdict,
    decoded_row,
    decoded_schema,
    words_row,
)
from finecut.errors import FinecutError
from finecut.index.decode_pool import DecodePool, Ended, Failed, Probed, Request
from finecut.index.read_texts import ReadTexts
from finecut.storage.location import is_url
from finecut.types import DecodedClip
from finecut.video.spec import DecodeSpec, Limits

if TYPE_CHECKING:
    import pyarrow as pa

WAIT_S = 1.0


class Decode:
    """Rows of jobs in, rows of clips out; at the end of each video its verdict.

    A file that crashes or stalls the decoder ends the child process and is the file's own failure;
    the actor goes on.

    Args:
        spec: the frames to take.
        limits: guards against hostile files.
    """

    def __init__(self, spec: DecodeSpec, limits: Limits) -> None:
        self._spec = spec
        self._limits = limits
        self._inbox: queue.SimpleQueue[tuple[int, Request] | None] = queue.SimpleQueue()
        self._pool: DecodePool[int] | None = None

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        for text in batch.column("job").to_pylist():
            yield from self._read(JobRow.from_json(text))

    def _read(self, job: JobRow) -> Iterator[pa.Table]:
        verdict = Verdict()
        try:
            pool = self._running_pool()
            self._inbox.put((job.job, job.request))
            while verdict.ended is None and verdict.failed is None:
                item = pool.get(WAIT_S)
                message = item[1] if item else None
                if isinstance(message, DecodedClip):
                    if message.number >= CLIP_IDS:
                        self.close()
                        verdict.failed = Failed(
                            "too many clips", f"{job.request.path} has more than {CLIP_IDS} clips."
                        )
                        continue
                    verdict.n_clips += 1
                    yield decoded_row(job, message)
                elif isinstance(message, Probed):
                    verdict.probed = message
                elif isinstance(message, ReadTexts):
                    verdict.texts = message
                elif isinstance(message, Ended):
                    verdict.ended = message
                elif isinstance(message, Failed):
                    verdict.failed = message
        except (FinecutError, StopIteration) as error:
            # No file is to blame: another worker is to try.
            self.close()
            words = {"gave_up": f"{socket.gethostname()}: {error or type(error).__name__}"}
            yield words_row(decoded_schema(), job.job, words)
            return
        path = job.request.path
        if verdict.failed is not None and not is_url(path) and not os.access(path, os.R_OK):
            verdict.missing_on = socket.gethostname()
        yield words_row(decoded_schema(), job.job, verdict.to_words())

    def _running_pool(self) -> DecodePool[int]:
        if self._pool is None:
            self._inbox = queue.SimpleQueue()
            jobs = iter(self._inbox.get, None)
            self._pool = DecodePool(jobs, self._spec, self._limits, workers=1)
            self._pool.__enter__()
        return self._pool

    def close(self) -> None:
        """End the child process; the next job starts another."""
        pool, self._pool = self._pool, None
        self._inbox.put(None)
        if pool is not None:
            pool.__exit__()
