"""Which pairs meet in which step, and how they are read: in order, ahead, and without the broken.

The order depends on the seed and the epoch alone, so a run that goes on needs no sampler state, and
every process of a distributed run knows the global batch of which it takes its share.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from finecut.errors import UsageError, VideoError
from finecut.learn.data.pairs import PairData, make_batch
from finecut.learn.methods.protocol import Batch
from finecut.learn.recipe import TrainConfig

MIN_PAIRS = 2  # a pair alone has nothing to be told from


@dataclass(frozen=True)
class Loaded:
    """One step's share of this process; ``batch`` is None where fewer than two pairs are left."""

    batch: Batch | None
    skipped: dict[str, str]  # video -> why it could not be read


class Order:
    """Rows of sentences, step by step, for every epoch."""

    def __init__(self, data: PairData, config: TrainConfig, seed: int) -> None:
        self.video_of_text = np.asarray(data.video_of_text, np.int64)
        self.seed = seed
        self.captions = config.captions_per_video if config.sample == "videos" else 0
        self.captioned = np.unique(self.video_of_text)
        items = len(self.captioned) if self.captions else len(self.video_of_text)
        per_step = config.batch_size // self.captions if self.captions else config.batch_size
        # Fewer items than a batch holds: one smaller batch. Else the last, smaller one is dropped.
        self.per_step = min(per_step, items)
        self.batch_size = self.per_step * max(self.captions, 1)
        if self.batch_size < MIN_PAIRS:
            raise UsageError(
                f"'{data.name}' {data.split} has {items} "
                f"{'videos' if self.captions else 'sentences'}; training needs two pairs at least."
            )
        self.steps = items // self.per_step  # of an epoch

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """[steps, batch] rows of sentences of one epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        if not self.captions:
            order = generator.permutation(len(self.video_of_text))
            return order[: self.steps * self.per_step].reshape(self.steps, self.per_step)
        videos = generator.permutation(self.captioned)[: self.steps * self.per_step]
        by_video = np.argsort(self.video_of_text, kind="stable")
        starts = np.searchsorted(self.video_of_text[by_video], videos)
        ends = np.searchsorted(self.video_of_text[by_video], videos, side="right")
        drawn = [
            by_video[start + draw(generator, end - start, self.captions)]
            for start, end in zip(starts, ends, strict=True)
        ]
        return np.concatenate(drawn).reshape(self.steps, self.batch_size)


def draw(generator: np.random.Generator, have: int, want: int) -> NDArray[np.int64]:
    """``want`` of ``have`` items, each at most once where there are enough."""
    return generator.choice(have, want, replace=want > have)


class Reader(torch.utils.data.Dataset):
    """(epoch, step) -> this process's share of that step's pairs, read from the data."""

    def __init__(self, data: PairData, order: Order, rank: int = 0, ranks: int = 1) -> None:
        if order.batch_size % ranks:
            raise UsageError(
                f"A batch of {order.batch_size} pairs cannot be shared among {ranks} processes; "
                f"make batch_size a multiple of {ranks}."
            )
        self.data, self.order = data, order
        share = order.batch_size // ranks
        self.share = slice(rank * share, (rank + 1) * share)
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, place: tuple[int, int]) -> Loaded:
        epoch, step = place
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.order.rows(epoch))
        return read(self.data, self._epoch[1][step][self.share])


def read(data: PairData, rows: Sequence[int] | NDArray[np.int64]) -> Loaded:
    """The pairs of these sentences; those whose video cannot be read are left out, with why."""
    rows = np.asarray(rows)
    try:
        return Loaded(make_batch(data, rows), {})
    except VideoError:
        videos = data.video_of_text[rows]
        broken: dict[int, str] = {}
        for video in np.unique(videos).tolist():
            try:
                data.video_inputs([video])
            except VideoError as error:
                broken[video] = str(error)
        if not broken:  # alone each can be read: not a fault of one video
            raise
    left = rows[~np.isin(videos, list(broken))]
    skipped = {data.video_ids[video]: reason for video, reason in broken.items()}
    return Loaded(make_batch(data, left) if len(left) >= MIN_PAIRS else None, skipped)


def read_ahead(reader: Reader, places: Sequence[tuple[int, int]], workers: int) -> Iterator[Loaded]:
    """The steps in order; with workers, read by so many processes while the model computes."""
    if not workers:
        yield from (reader[place] for place in places)
        return
    yield from torch.utils.data.DataLoader(
        reader,
        batch_size=None,
        sampler=places,  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_ignore_interrupt,
        # Not fork: Lance and the decoders hold threads, which do not survive it.
        multiprocessing_context="spawn",
        # Its own, so that the model's random numbers do not depend on the count of workers.
        generator=torch.Generator().manual_seed(reader.order.seed),
    )


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches the whole group; the main process saves and then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
