"""The stages as one Ray Data pipeline, and its results as they come."""

from __future__ import annotations

import json
import queue
import threading
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from finecut.cluster.decode import Decode
from finecut.cluster.encode import Encode
from finecut.cluster.sizes import BLOCK_BYTES, JOBS_PER_BLOCK, Sizes
from finecut.cluster.travel import WORDS, JobRow, jobs_to_arrow
from finecut.cluster.write import write_rows
from finecut.index.meta import IndexMeta
from finecut.storage.location import Location
from finecut.video.spec import DecodeSpec, Limits

if TYPE_CHECKING:
    import ray.data

# Of one task, when its worker or node is lost. Without a bound a file that kills its worker
# would be tried for ever; what is given up here is tried once more alone: see `work.py`.
MOST_RETRIES = 6
MOST_START_DEATHS = 50  # of workers of a stage in a row, while they start
RESULTS_HELD = 64  # results the driver has not taken in
FEW_JOBS_PER_WORKER = 4  # blocks of jobs for each decoder, so that none idles long at the end


class Pipeline:
    """One pass over some jobs. Use as a context manager; `get` gives what workers report.

    Args:
        jobs: what to read.
        sizes: how many workers.
        spec: the frames to take.
        limits: guards against hostile files.
        bundle_ref: of the model.
        directory: of the index.
        meta: of the index.
        one_by_one: each job in a block and a file of its own, so that none suffers from another.
    """

    def __init__(
        self,
        jobs: Sequence[JobRow],
        sizes: Sizes,
        *,
        spec: DecodeSpec,
        limits: Limits,
        bundle_ref: str,
        directory: Location,
        meta: IndexMeta,
        one_by_one: bool = False,
    ) -> None:
        from finecut.cluster.stop import ASKED

        self._stopping = ASKED
        self._stopping.clear()
        self._results: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue(RESULTS_HELD)
        self._dataset = _dataset(
            jobs,
            sizes,
            spec,
            limits,
            bundle_ref,
            directory,
            meta,
            1 if one_by_one else max(1, len(jobs) // (FEW_JOBS_PER_WORKER * sizes.decoders)),
        )
        self._thread = threading.Thread(target=self._run, name="finecut-cluster", daemon=True)

    def __enter__(self) -> Pipeline:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers; what they have not reported is lost."""
        self._stopping.set()
        self._thread.join()

    def get(self, timeout_s: float) -> dict[str, Any] | None:
        """The next report, or None after ``timeout_s`` without one.

        Raises:
            StopIteration: there will be no more.
            Exception: Ray gave up.
        """
        try:
            item = self._results.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if item is None:
            raise StopIteration
        if isinstance(item, Exception):
            raise item
        return item

    def _run(self) -> None:
        try:
            batches: Iterable[Any] = self._dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=1
            )
            for batch in batches:
                for text in batch.column(WORDS).to_pylist():
                    self._put(json.loads(text))
                if self._stopping.is_set():
                    break
            self._put(None)
        except Exception as error:  # no thread may end without the main one knowing
            self._put(None if self._stopping.is_set() else error)

    def _put(self, item: dict[str, Any] | Exception | None) -> None:
        while not self._stopping.is_set():
            try:
                self._results.put(item, timeout=0.1)
                return
            except queue.Full:
                continue


def _dataset(
    jobs: Sequence[JobRow],
    sizes: Sizes,
    spec: DecodeSpec,
    limits: Limits,
    bundle_ref: str,
    directory: Location,
    meta: IndexMeta,
    jobs_per_block: int,
) -> ray.data.Dataset:
    import ray.data
    from ray.data import ActorPoolStrategy

    _set_up()
    # Retries of Ray's own are named in no other way, up to 2.63 at least.
    warnings.filterwarnings("ignore", message=".*is deprecated and will be removed in Ray")
    step = min(JOBS_PER_BLOCK, jobs_per_block)
    blocks = [jobs_to_arrow(jobs[start : start + step]) for start in range(0, len(jobs), step)]
    lost: dict[str, Any] = {
        "max_restarts": -1,
        "max_task_retries": MOST_RETRIES,
        "scheduling_strategy": "SPREAD",
    }
    gpus = {"num_gpus": sizes.encoder_gpus} if sizes.encoder_gpus else {}
    return (
        ray.data.from_blocks(blocks)  # from_arrow would run tasks, and wait for room
        .map_batches(
            Decode,
            fn_constructor_kwargs={"spec": spec, "limits": limits},
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=sizes.decoders, max_tasks_in_flight_per_actor=1),
            num_cpus=sizes.decoder_cpus,
            **lost,
        )
        .map_batches(
            Encode,
            fn_constructor_kwargs={"bundle_ref": bundle_ref, "meta": meta},
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=sizes.encoders, max_tasks_in_flight_per_actor=2),
            num_cpus=sizes.encoder_cpus,
            **gpus,
            **lost,
        )
        .map_batches(
            partial(write_rows, directory=str(directory), meta=meta),
            batch_size=sizes.write_rows,
            batch_format="pyarrow",
            num_cpus=0,
            concurrency=sizes.writers,
            max_retries=MOST_RETRIES,
        )
    )


def _set_up() -> None:
    """How Ray Data is to run this: quietly, in small blocks, and on after errors."""
    from ray.data import DataContext

    from finecut.cluster.stop import EndWhenAsked

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    context.target_min_block_size = 0
    context.max_errored_blocks = -1  # their videos come again, see `work.py`
    context.max_consecutive_actor_init_deaths = MOST_START_DEATHS
    context.execution_no_progress_timeout_s = -1  # one file may take hours
    context.execution_options.preserve_order = False
    context.custom_execution_callback_classes = [EndWhenAsked]
