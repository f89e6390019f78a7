"""Loss and gradients of one batch: in one piece, in pieces that keep all negatives, or gathered.

Gradient caching (Gao et al., arXiv:2101.06983): the batch is encoded in pieces without keeping
activations, the loss of all tokens gives each token's gradient, and the pieces are encoded once
more to carry it into the weights. The gradient is that of the whole batch, unlike accumulation,
where each piece has its own few negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from finecut.errors import UsageError
from finecut.learn.methods.protocol import Batch, TextTokens, TokenLoss, VideoTokens
from finecut.learn.training.ranks import Ranks

Autocast = Callable[[], AbstractContextManager[Any]]


def check_method(model: nn.Module, micro_batch: int, ranks: int) -> None:
    """Refuse what cannot have the gradient of the whole batch.

    Raises:
        UsageError: gradient caching or several processes with a method that has no token_loss, or
            with batch normalisation, whose statistics would be of each piece alone.
    """
    if not micro_batch and ranks == 1:
        return
    asked = "micro_batch" if micro_batch else f"training on {ranks} processes"
    if not isinstance(model, TokenLoss):
        raise UsageError(
            f"{type(model).__name__} has no token_loss, which {asked} needs: set micro_batch = 0 "
            "and use one process."
        )
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise UsageError(
            f"{asked} would give batch normalisation the statistics of each piece alone. Set "
            "micro_batch = 0 and use one process, or leave batch_norm and no_transform out."
        )


def backward(
    model: nn.Module,
    batch: Batch,
    ranks: Ranks,
    *,
    micro_batch: int = 0,
    autocast: Autocast,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> dict[str, Tensor]:
    """Add the gradients of the batch's loss to the parameters; returns the loss's parts.

    Args:
        model: in training mode, on ``ranks.device``.
        batch: this process's pairs, on the CPU.
        ranks: the processes; gradients are the mean of theirs afterwards.
        micro_batch: pairs encoded at a time; 0: all.
        autocast: the precision of the encoders. The loss of a `TokenLoss` is float32 always.
        scale: of the loss, against underflow in half precision.
    """
    if not isinstance(model, TokenLoss):
        with autocast():
            parts = model.loss(on_device(batch, ranks.device))
        scale(parts["loss"]).backward()
        return parts
    size = _size(batch)
    step = micro_batch if 0 < micro_batch < size else size
    pieces = [slice(start, min(start + step, size)) for start in range(0, size, step)]

    def encode(rows: slice) -> tuple[TextTokens, VideoTokens]:
        piece = batch if len(pieces) == 1 else rows_of(batch, rows, size)
        with autocast():
            text, video = model.training_tokens(on_device(piece, ranks.device))
        return _float(text), _float(video)

    if len(pieces) == 1:
        text, video = encode(pieces[0])
    else:
        states, encoded = [], []
        with torch.no_grad():
            for rows in pieces:
                states.append(random_state())
                encoded.append(encode(rows))
        text, video = (_leaves(side) for side in zip(*encoded, strict=True))
    ids = batch.video_ids
    if ids is not None:
        ids = ranks.gather_rows(ids.to(ranks.device))
    parts = model.token_loss(ranks.gather(text), ranks.gather(video), ids)
    scale(parts["loss"]).backward()
    if len(pieces) > 1:
        after = random_state()
        for rows, state in zip(pieces, states, strict=True):
            set_random_state(state)  # the same dropout as the first time
            again = encode(rows)
            tensors, grads = [], []
            for new, leaf in zip(again, (text, video), strict=True):
                for name, tensor in _tensors(new).items():
                    cached = getattr(leaf, name).grad
                    if tensor.requires_grad and cached is not None:
                        tensors.append(tensor)
                        grads.append(cached[rows])
            if tensors:
                torch.autograd.backward(tensors, grads)
        set_random_state(after)
    ranks.average_gradients(model.parameters())
    return parts


def rows_of(batch: Batch, rows: slice, size: int) -> Batch:
    """Some pairs of a batch of ``size``."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor[rows] if tensor.ndim and tensor.shape[0] == size else tensor

    ids = None if batch.video_ids is None else batch.video_ids[rows]
    return Batch(each(batch.video, cut), each(batch.text, cut), ids, each(batch.extra, cut))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with every tensor on a device."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    ids = None if batch.video_ids is None else move(batch.video_ids)
    return Batch(each(batch.video, move), each(batch.text, move), ids, each(batch.extra, move))


def each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested arguments with every tensor changed."""
    if torch.is_tensor(value):
        return change(value)
    if isinstance(value, Mapping):
        return {name: each(item, change) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(each(item, change) for item in value)
    return value


def random_state() -> tuple[Tensor, list[Tensor]]:
    """Of torch's generators: what dropout draws from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda


def set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


def _size(batch: Batch) -> int:
    found: list[int] = []
    each(batch.text, lambda tensor: found.append(tensor.shape[0]) or tensor)
    return found[0]


def _tensors(tokens: Any) -> dict[str, Tensor]:
    named = {f.name: getattr(tokens, f.name) for f in fields(tokens)}
    return {name: value for name, value in named.items() if torch.is_tensor(value)}


def _float(tokens: Any) -> Any:
    """Half-precision tokens in float32, for the loss."""
    half = (torch.float16, torch.bfloat16)
    found = {name: t.float() for name, t in _tensors(tokens).items() if t.dtype in half}
    return replace(tokens, **found) if found else tokens


def _leaves(parts: tuple[Any, ...]) -> Any:
    """Pieces joined, as the start of a graph of their own."""
    joined = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in _tensors(parts[0])
    }
    for tensor in joined.values():
        tensor.requires_grad_(tensor.is_floating_point())
    return replace(parts[0], **joined)
