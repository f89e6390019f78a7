"""The processes of one training run: one alone, or several started by torchrun.

Each process encodes its share of the batch; tokens are gathered from all of them, so that each
computes the loss of the whole batch and no negative is lost. Letters: B pairs, R processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from finecut.errors import UsageError

# The others wait while the first process validates.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def gather(self, tokens: Any) -> Any:
        """Tokens of the whole batch, in the order of the ranks; gradients flow back to their owner.

        A process's pairs may be fewer than another's, and its words or frames shorter: what is
        padded at the end is False in the masks.
        """
        if self.size == 1:
            return tokens
        named = {f.name: getattr(tokens, f.name) for f in fields(tokens)}
        return replace(
            tokens, **{n: self.gather_rows(t) for n, t in named.items() if torch.is_tensor(t)}
        )

    def gather_rows(self, tensor: Tensor) -> Tensor:
        """Rows of all processes, [B_1 + ... + B_R, ...]."""
        if self.size == 1:
            return tensor
        mine = torch.tensor(tensor.shape, device=tensor.device)
        shapes = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(shapes, mine)
        largest = torch.stack(shapes).amax(0).tolist()
        padded = tensor
        if list(tensor.shape) != largest:
            padded = tensor.new_zeros(largest)
            padded[tuple(slice(n) for n in tensor.shape)] = tensor
        counts = [int(shape[0]) for shape in shapes]
        parts = _Gather.apply(padded, self.rank, self.size).split(largest[0])
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes.

        With ``gather``'s sum in the backward pass that is the gradient of the whole batch, for
        towers (each process holds its share) and for heads (each holds all of it) alike.
        """
        if self.size == 1:
            return
        by_kind: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_kind.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for grads in by_kind.values():
            flat = torch.cat([grad.flatten() for grad in grads]) / self.size
            dist.all_reduce(flat)
            for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
                grad.copy_(part.view_as(grad))

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all get the same answer."""
        if self.size == 1:
            return flag
        count = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(count)
        return bool(count.item())

    def from_first(self, value: Any) -> Any:
        """The first process's value, for all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def collect(self, value: Any) -> list[Any]:
        """Every process's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


class _Gather(torch.autograd.Function):
    """[B, ...] of equal shapes -> [R * B, ...]; the gradient is the sum over processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank = rank
        # gloo knows no bool
        plain = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor
        parts = [torch.empty_like(plain) for _ in range(size)]
        dist.all_gather(parts, plain.contiguous())
        return torch.cat(parts).to(tensor.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        summed = grad.contiguous().clone()
        dist.all_reduce(summed)
        size = len(summed) // dist.get_world_size()
        return summed[ctx.rank * size : (ctx.rank + 1) * size], None, None


@contextmanager
def join() -> Iterator[Ranks]:
    """This process's place: alone, or one of those that torchrun started.

    torchrun says so in the environment; the processes talk by NCCL where each has a GPU, by gloo
    on CPUs.

    Raises:
        UsageError: fewer GPUs than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpus and here > gpus:
        raise UsageError(f"torchrun started {here} processes, but there are {gpus} GPUs.")
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    if size == 1:
        yield Ranks(0, 1, device)
        return
    dist.init_process_group("nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()
