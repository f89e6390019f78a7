"""Tokens of a whole split, kept in the parts they were encoded in, in memory or mapped from disk.

A gallery of patch tokens is far larger than anything compared at once, so parts are never joined:
stage 1 needs the recall vectors alone, stage 2 one clip at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from finecut.errors import ShapeError
from finecut.learn.data.pairs import PairData
from finecut.learn.methods.protocol import TextTokens, VideoTokens

T = TypeVar("T", TextTokens, VideoTokens)
BATCH = 32  # items encoded at once
Progress = Callable[[str, int, int], None]
"""Called with (what is done, items done, items in all)."""


class PartStore(Protocol):
    """Where encoded parts survive an interruption (``cache.PartCache``)."""

    def load(self, side: str, number: int) -> dict[str, Tensor] | None:
        """The part's tensors, or None where it has to be made."""
        ...

    def save(self, side: str, number: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the part; gives it back as it is to be used from now on."""
        ...


class TokenParts(Generic[T]):
    """Tokens of N items in consecutive parts. ``recall`` [N, R] is at hand, the rest on demand."""

    def __init__(self, parts: Sequence[T]) -> None:
        if not parts:
            raise ShapeError("There is nothing to evaluate: no item was encoded.")
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])  # [parts + 1]
        self.recall = torch.cat([part.recall for part in parts]).float()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def select(self, rows: Sequence[int] | np.ndarray) -> T:
        """The tokens of some items, in the order asked for; shorter ones padded at the end."""
        rows = np.asarray(rows, dtype=np.int64)
        part_of = np.searchsorted(self.starts, rows, side="right") - 1
        pieces, places = [], []
        for number in np.unique(part_of):
            mine = np.flatnonzero(part_of == number)
            inside = torch.from_numpy(rows[mine] - self.starts[number])
            pieces.append(self.parts[number].select(inside))
            places.append(mine)
        joined = join_tokens(pieces)
        order = np.argsort(np.concatenate(places))
        return joined if (order[1:] > order[:-1]).all() else joined.select(torch.from_numpy(order))

    def whole(self) -> T:
        """All items as one value; for sets that fit into memory."""
        return join_tokens(self.parts)


def join_tokens(parts: Sequence[T]) -> T:
    """Consecutive items as one value; frames and words are padded at the end, masked out.

    >>> a = VideoTokens(torch.zeros(1, 2), torch.ones(1, 1, 2), torch.ones(1, 1).bool())
    >>> b = VideoTokens(torch.zeros(1, 2), torch.ones(1, 3, 2), torch.ones(1, 3).bool())
    >>> join_tokens([a, b]).frame_mask.tolist()
    [[True, False, False], [True, True, True]]
    """
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {}
    for field in fields(parts[0]):
        tensors = [getattr(part, field.name) for part in parts]
        if all(t is None for t in tensors):
            continue
        if field.name.startswith(("frame_", "word_", "patch_")):
            longest = max(t.shape[1] for t in tensors)
            tensors = [_pad(t, longest) for t in tensors]
        joined[field.name] = torch.cat(tensors)
    return replace(parts[0], **joined)


def _pad(tensor: Tensor, length: int) -> Tensor:
    if tensor.shape[1] == length:
        return tensor
    shape = list(tensor.shape)
    shape[1] = length - tensor.shape[1]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=1)


def as_tensors(tokens: TextTokens | VideoTokens) -> dict[str, Tensor]:
    """The parts of a value that are there, by name."""
    named = {field.name: getattr(tokens, field.name) for field in fields(tokens)}
    return {name: value for name, value in named.items() if value is not None}


@torch.no_grad()
def encode_parts(
    model: Any,
    data: PairData,
    *,
    batch_size: int = BATCH,
    store: PartStore | None = None,
    on_progress: Progress | None = None,
) -> tuple[TokenParts[TextTokens], TokenParts[VideoTokens]]:
    """Every sentence and every video of a split, encoded in evaluation mode, on the CPU.

    Args:
        model: a method; stays on its device and in the mode (training, evaluation) it was in.
        data: one split.
        batch_size: items encoded at once, which is also one part.
        store: parts that are in it are not encoded again.
        on_progress: called after each part.

    Raises:
        VideoError: a video cannot be read; the message names it.
    """
    device = device_of(model)
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        text = _encode(
            "sentences", TextTokens, len(data.sentences), batch_size, store, on_progress,
            lambda rows: model.encode_text(**to_device(data.text_inputs(rows), device)),
        )  # fmt: skip
        video = _encode(
            "videos", VideoTokens, len(data.video_ids), batch_size, store, on_progress,
            lambda rows: model.encode_video(**to_device(data.video_inputs(rows), device)),
        )  # fmt: skip
    finally:
        if was_training:
            model.train()
    return text, video


def encode_split(
    model: Any,
    data: PairData,
    *,
    batch_size: int = BATCH,
    on_progress: Progress | None = None,
) -> tuple[TextTokens, VideoTokens]:
    """Every sentence and every video of a split as one value each, on the CPU."""
    text, video = encode_parts(model, data, batch_size=batch_size, on_progress=on_progress)
    return text.whole(), video.whole()


def _is_part(kind: type, tensors: dict[str, Tensor], count: int) -> bool:
    """Whether a stored part holds the tokens of so many items, and nothing else."""
    known = {field.name for field in fields(kind)}
    sizes = {tensor.shape[0] if tensor.ndim else 0 for tensor in tensors.values()}
    return "recall" in tensors and tensors.keys() <= known and sizes == {count}


def _encode(
    side: str,
    kind: type[T],
    count: int,
    batch_size: int,
    store: PartStore | None,
    on_progress: Progress | None,
    encode: Callable[[list[int]], T],
) -> TokenParts[T]:
    parts = []
    for number, start in enumerate(range(0, count, batch_size)):
        rows = list(range(start, min(start + batch_size, count)))
        tensors = store.load(side, number) if store else None
        if tensors is None or not _is_part(kind, tensors, len(rows)):
            tensors = {n: t.cpu() for n, t in as_tensors(encode(rows)).items()}
            if store:
                tensors = store.save(side, number, tensors)
        parts.append(kind(**tensors))
        if on_progress:
            on_progress(side, rows[-1] + 1, count)
    return TokenParts(parts)


def device_of(model: Any) -> torch.device:
    """Where the model's weights are; the CPU where it has none."""
    if isinstance(model, nn.Module):
        for tensor in model.parameters():
            return tensor.device
    return torch.device("cpu")


def to_device(value: Any, device: torch.device) -> Any:
    """The same nested arguments with every tensor on a device."""
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    if isinstance(value, tuple):  # LAFF's words and their mask
        return tuple(to_device(item, device) for item in value)
    return value


def tokens_to(tokens: T, device: torch.device) -> T:
    """The same tokens on a device."""
    if device.type == "cpu":
        return tokens
    return type(tokens)(**{name: value.to(device) for name, value in as_tensors(tokens).items()})
