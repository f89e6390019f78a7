"""Started by torchrun: the gradients of every tiny method, each process holding half of the batch.

    torchrun --nproc-per-node 2 -m learn.training.gradients_by_torchrun OUT

Writes OUT/METHOD.safetensors from the first process.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from finecut.learn.encoders.tiny import tiny_clip
from finecut.learn.methods.protocol import Batch
from finecut.learn.training.backward import backward, rows_of
from finecut.learn.training.ranks import Ranks, join

from ..tiny_models import TINY_MODELS, clips


def colour_batch(name: str) -> Batch:
    """Six pairs, two of them captions of one video."""
    pixels, mask = clips(torch.Generator().manual_seed(1))
    ids = torch.tensor([0, 1, 2, 2, 4, 5])
    return Batch({"pixels": pixels, "frame_mask": mask}, TINY_MODELS[name].text(), ids)


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(3)
    return TINY_MODELS[name].build(tiny_clip(0)).eval()  # no dropout: shares would draw another


def main(out: Path) -> None:
    with join() as ranks:
        for name in TINY_MODELS:
            # An uneven share, as after a video that could not be read.
            share = slice(0, 4) if ranks.first else slice(4, 6)
            for micro_batch in (0, 1):
                grads = gradients(name, rows_of(colour_batch(name), share, 6), ranks, micro_batch)
                if ranks.first:
                    save_file(grads, out / f"{name}-{micro_batch}.safetensors")


def gradients(name: str, batch: Batch, ranks: Ranks, micro_batch: int) -> dict[str, torch.Tensor]:
    """Gradients by parameter, and the loss under the name "loss"."""
    model = built(name)
    cast = contextlib.nullcontext
    parts = backward(model, batch, ranks, micro_batch=micro_batch, autocast=cast)
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {**found, "loss": parts["loss"].detach()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
