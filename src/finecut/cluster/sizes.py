"""How many workers of each stage a cluster has room for, and what each may hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finecut.cluster.connect import Node
from finecut.errors import UsageError

if TYPE_CHECKING:
    from finecut.index.meta import IndexMeta

# Of a CPU. A decoder and an encoder share one, as threads of a run on one machine do, and what is
# left over is for Ray itself. Writers wait for disks and networks: they ask for nothing, so that
# they find room however full a node is.
DECODER_CPUS = 0.5
ENCODER_CPUS = 0.4
BLOCK_BYTES = 16 << 20  # of decoded frames that travel as one object
WRITE_BYTES = 64 << 20  # of tokens in one file of a table, at most
MOST_WRITE_CLIPS = 256  # and so many clips, that progress is seen and little is lost
JOBS_PER_BLOCK = 16  # videos handed to a decoder at once, at most


@dataclass(frozen=True, slots=True)
class Sizes:
    """The workers of a run."""

    decoders: int
    encoders: int
    writers: int
    decoder_cpus: float
    encoder_cpus: float
    encoder_gpus: float
    write_rows: int  # clips in one file, about

    @property
    def cpus(self) -> float:
        """CPUs that all of them need."""
        return self.decoders * self.decoder_cpus + self.encoders * self.encoder_cpus

    @property
    def gpus(self) -> float:
        """GPUs that all of them need."""
        return self.encoders * self.encoder_gpus


def sizes_for(
    nodes: Sequence[Node],
    *,
    n_jobs: int,
    clip_bytes: int,
    workers: int | None = None,
    encoder_gpus: float = 0.0,
) -> Sizes:
    """What fits: a decoder and an encoder for each whole CPU of each node.

    Args:
        nodes: those that are alive.
        n_jobs: videos there are to read; no more decoders than these.
        clip_bytes: of the tokens of one clip.
        workers: decoders asked for; they share the CPUs when there are more of them.
        encoder_gpus: GPUs (or a part of one) for each encoder; then as many encoders as there is
            room for on GPUs.

    Raises:
        UsageError: there is no room for one of each.

    >>> nodes = [Node("a", "h", "1", 2.0, 0.0), Node("b", "h", "2", 1.5, 0.0)]
    >>> sizes = sizes_for(nodes, n_jobs=100, clip_bytes=1 << 20)
    >>> sizes.decoders, sizes.encoders, sizes.cpus < 3
    (3, 3, True)
    """
    slots = sum(math.floor(node.cpus) for node in nodes)
    if slots < 1:
        total = sum(node.cpus for node in nodes)
        raise UsageError(
            f"The cluster has {total:g} CPUs for this run; decoding and encoding need one whole "
            "CPU on one of its machines at least. Add a machine, or start Ray with more: "
            "ray start --num-cpus N"
        )
    decoders, encoders = slots, slots
    if encoder_gpus > 0:
        encoders = sum(math.floor(node.gpus / encoder_gpus + 1e-9) for node in nodes)
        if encoders < 1:
            total = sum(node.gpus for node in nodes)
            raise UsageError(
                f"The cluster has {total:g} GPUs; --encoder-gpus {encoder_gpus:g} needs so many "
                "on one machine. Leave it out to encode on CPUs."
            )
        encoders = min(encoders, slots)
    decoders = workers or decoders
    decoder_cpus = min(DECODER_CPUS, math.floor(DECODER_CPUS * slots / decoders * 1e3) / 1e3)
    write_rows = max(16, min(MOST_WRITE_CLIPS, WRITE_BYTES // max(1, clip_bytes)))
    return Sizes(
        decoders=max(1, min(decoders, n_jobs)),
        encoders=max(1, min(encoders, n_jobs)),
        writers=max(1, min((encoders + 1) // 2, n_jobs)),
        decoder_cpus=max(decoder_cpus, 0.001),
        encoder_cpus=ENCODER_CPUS,
        encoder_gpus=encoder_gpus,
        # A small library is seen to grow too.
        write_rows=max(8, min(write_rows, n_jobs)),
    )


def clip_bytes(meta: IndexMeta) -> int:
    """Bytes of the stored tokens of the longest clip, about."""
    per_frame = meta.embed_dim if meta.levels != "video" else 0
    per_frame *= (1 + meta.n_patches) + meta.frame_values
    return 4 * meta.recall_dim + meta.max_frames * (per_frame + 4 * (1 + meta.n_patches)) + 8192
