"""A split of tiny clips for the tiny models: two captions a clip, as `PairData`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from learn.tiny_models import COLOURS, clips


class ColourClips:
    """Clips of plain colours, several of each; every caption names its clip's colour."""

    name, split, protocol = "colours", "test", "multi"
    moments = None
    missing: Sequence[str] = ()

    def __init__(
        self, text: Callable[[], dict[str, torch.Tensor]], copies: int = 2, captions: int = 2
    ) -> None:
        made = [clips(torch.Generator().manual_seed(seed)) for seed in range(copies)]
        self.pixels = torch.cat([pixels for pixels, _ in made])
        self.mask = torch.cat([mask for _, mask in made])
        count, colours = len(self.pixels), len(COLOURS)
        self.video_ids = [f"clip{i}" for i in range(count)]
        self.video_of_text = np.repeat(np.arange(count), captions)
        self.sentences = [f"a {list(COLOURS)[v % colours]} screen" for v in self.video_of_text]
        self._colour = self.video_of_text % colours
        self._text = text()
        self.read: list[str] = []  # what was asked for, in order

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        self.read += [self.video_ids[row] for row in rows]
        at = torch.as_tensor(rows)
        return {"pixels": self.pixels[at], "frame_mask": self.mask[at]}

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        at = torch.as_tensor(self._colour[list(rows)])
        return {name: value[at] for name, value in self._text.items()}
