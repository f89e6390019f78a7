"""A split of tiny clips for the tiny models: two captions a clip, as `PairData`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from learn.tiny_models import MAX_FRAMES, SIDE, TINY_MODELS, bert_text, clip_text


class NoiseClips:
    """Clips of noise, of ragged lengths, and captions of random words: nothing ties with anything.

    One clip has three captions, one has none.
    """

    name, split, protocol = "noise", "test", "multi"
    moments = None
    missing: Sequence[str] = ()

    def __init__(self, method: str, count: int = 7, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.pixels = torch.randn(count, MAX_FRAMES, 3, SIDE, SIDE, generator=g)
        self.mask = torch.arange(MAX_FRAMES) < torch.randint(
            1, MAX_FRAMES + 1, (count, 1), generator=g
        )
        self.pixels *= self.mask[:, :, None, None, None]
        self.video_ids = [f"clip{i}" for i in range(count)]
        self.video_of_text = np.sort(np.r_[np.arange(1, count), np.arange(1, count), 1])
        self.sentences = [f"sentence {i}" for i in range(len(self.video_of_text))]
        self.text = _words(method, len(self.sentences), g)
        self.read: list[str] = []  # what was asked for, in order

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        self.read += [self.video_ids[row] for row in rows]
        at = torch.as_tensor(rows)
        return {"pixels": self.pixels[at], "frame_mask": self.mask[at]}

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        self.read += [self.sentences[row] for row in rows]
        at = torch.as_tensor(rows)
        return {name: value[at] for name, value in self.text.items()}


def _words(method: str, count: int, g: torch.Generator) -> dict[str, torch.Tensor]:
    if TINY_MODELS[method].text is bert_text:
        ids = torch.randint(4, 12, (count, 6), generator=g)
        return {"input_ids": ids, "word_mask": torch.ones_like(ids, dtype=torch.bool)}
    assert TINY_MODELS[method].text is clip_text
    ids = torch.randint(1, 900, (count, 8), generator=g)
    ids[:, -1] = 1023  # the end token is the largest
    return {"input_ids": ids}
