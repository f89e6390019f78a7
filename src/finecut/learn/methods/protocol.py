"""What every retrieval method offers: four functions and the value types between them.

The rest of the system knows nothing else of a method. Shapes: B batch, Q texts, G videos, F frames,
P patches per frame, W words, D embedding size, R recall-vector size. Masks are bool, True = real.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError


@dataclass(frozen=True, eq=False)
class VideoTokens:
    """Clips as a method encodes them. ``recall`` is what an index compares by inner product."""

    recall: Tensor  # [G, R]
    frame_embeds: Tensor | None = None  # [G, F, D]
    frame_mask: Tensor | None = None  # [G, F] bool
    patch_embeds: Tensor | None = None  # [G, F, P, D]
    frame_values: Tensor | None = None  # [G, F, D] what is pooled, where attention looks elsewhere

    def __len__(self) -> int:
        return self.recall.shape[0]

    def select(self, rows: Tensor | slice) -> VideoTokens:
        """The same tokens for some clips only: an index tensor, a bool mask or a slice."""
        return _select(self, rows)


@dataclass(frozen=True, eq=False)
class TextTokens:
    """Sentences as a method encodes them. Learned weights are folded into ``recall``, so it is
    not always of unit length."""

    recall: Tensor  # [Q, R]
    text_embeds: Tensor | None = None  # [Q, D]
    word_embeds: Tensor | None = None  # [Q, W, D]
    word_mask: Tensor | None = None  # [Q, W] bool
    word_weights: Tensor | None = None  # [Q, W] 0 where a word does not count

    def __len__(self) -> int:
        return self.recall.shape[0]

    def select(self, rows: Tensor | slice) -> TextTokens:
        """The same tokens for some sentences only."""
        return _select(self, rows)


@dataclass(frozen=True, eq=False)
class Rerank:
    """Fine scores of every given text against every given clip."""

    scores: Tensor  # [Q, G]
    frame_relevance: Tensor | None = None  # [Q, G, F], rows sum to 1 over real frames

    def __post_init__(self) -> None:
        if self.scores.ndim != 2:
            raise ShapeError(
                f"Rerank: scores must be [Q, G], got {tuple(self.scores.shape)}; texts in rows."
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """B matching pairs. ``video`` and ``text`` are the keyword arguments of ``encode_video`` and
    ``encode_text``; row i of one belongs to row i of the other.

    ``video_ids`` [B] int64 lets losses leave out captions of one and the same video as negatives.
    """

    video: Mapping[str, Any]
    text: Mapping[str, Any]
    video_ids: Tensor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # what one method alone needs


@runtime_checkable
class Method(Protocol):
    """A text-to-video retrieval method; each implements it as an ``nn.Module``.

    ``recall_sims`` below is all that stage 1 may do with what it returns. ``loss`` alone is enough
    to train a method; one that also derives from `TokenLoss` can be trained with gradient caching
    and over several processes.
    """

    def encode_video(self, **video: Any) -> VideoTokens:
        """Once per clip; what it returns is stored."""
        ...

    def encode_text(self, **text: Any) -> TextTokens:
        """Once per query."""
        ...

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """Once per query and candidate; needs nothing but stored tokens."""
        ...

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named parts, and ``"loss"``: their weighted sum, which training minimises."""
        ...


class TokenLoss(nn.Module):
    """A method whose loss reads tokens only, never pixels or words.

    So a batch may be encoded in pieces, or on several processes, and its loss still sees every
    negative. A method gives ``token_loss``, and ``training_tokens`` where what it trains on is not
    what it stores.
    """

    # Whether ``rerank`` orders clips otherwise than recall: the method's own figures, and the best
    # epoch of its training, are then those of the re-ranked column.
    reranks: bool = False

    def training_tokens(self, batch: Batch) -> tuple[TextTokens, VideoTokens]:
        """All that the loss reads; every tensor's first axis is the pair."""
        video = self.encode_video(**batch.video)
        return self.encode_text(**batch.text), video

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch in one piece; see the method's ``token_loss``."""
        return self.token_loss(*self.training_tokens(batch), batch.video_ids)


def recall_sims(text: TextTokens, video: VideoTokens) -> Tensor:
    """[Q, G] stage-1 scores: one inner product per pair, for every method.

    >>> text, video = TextTokens(torch.eye(2)), VideoTokens(torch.tensor([[1.0, 2.0]]))
    >>> recall_sims(text, video).tolist()
    [[1.0], [2.0]]
    """
    if text.recall.shape[-1] != video.recall.shape[-1]:
        raise ShapeError(
            f"recall_sims: text vectors have {text.recall.shape[-1]} entries, video vectors "
            f"{video.recall.shape[-1]}; they come from different models."
        )
    return text.recall @ video.recall.T  # [Q, G]


def _select(tokens: Any, rows: Tensor | slice) -> Any:
    parts = {f.name: getattr(tokens, f.name) for f in fields(tokens)}
    return replace(tokens, **{n: t[rows] for n, t in parts.items() if torch.is_tensor(t)})
