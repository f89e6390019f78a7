"""Pairs in memory: clips of one colour each, with captions that name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from finecut.errors import VideoError
from finecut.learn.recipe import Recipe, Start, TrainConfig
from finecut.learn.strict_toml import from_table

from ..tiny_models import COLOURS, MAX_FRAMES, clips
from ..tiny_models import clip_text as colour_captions

CAPTIONS = 2  # of every video


class ColourPairs:
    """So many clips, their colours in turn, each with two captions; a `PairData`."""

    def __init__(
        self, videos: int = 12, seed: int = 0, split: str = "train", broken: tuple[int, ...] = ()
    ) -> None:
        self.name, self.split, self.protocol = "colours", split, "multi"
        self.video_ids = [f"{split}-{row}" for row in range(videos)]
        self.video_of_text = np.arange(videos).repeat(CAPTIONS)
        self.sentences = [f"caption {row}" for row in range(videos * CAPTIONS)]
        self.moments, self.missing, self.broken = None, (), broken
        generator = torch.Generator().manual_seed(seed)
        rounds = [clips(generator) for _ in range(-(-videos // len(COLOURS)))]
        self.pixels = torch.cat([pixels for pixels, _ in rounds])[:videos]
        self.frame_mask = torch.cat([mask for _, mask in rounds])[:videos]
        self.ids = colour_captions()["input_ids"]

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        for row in rows:
            if row in self.broken:
                raise VideoError(f"{self.video_ids[row]} is cut off")
        index = torch.tensor(list(rows))
        return {"pixels": self.pixels[index], "frame_mask": self.frame_mask[index]}

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        videos = torch.from_numpy(self.video_of_text[list(rows)])
        return {"input_ids": self.ids[videos % len(COLOURS)]}


def opener(**given: Any) -> Any:
    """What `train` opens its data with: twelve clips to learn, six to validate on."""

    def open_data(role: str, config: Any, text_state: Any) -> ColourPairs:
        if role == "train":
            return ColourPairs(**{"videos": 12, **given})
        return ColourPairs(6, seed=1, split="validation")

    return open_data


def recipe(method: str = "clip4clip", model: dict[str, Any] | None = None, **train: Any) -> Recipe:
    """A tiny CLIP4Clip, two epochs of three steps, AdamW."""
    values = {
        "epochs": 2, "batch_size": 8, "optimiser": "adamw", "lr": 1e-3, "coef_lr": 1.0,
        "weight_decay": 0.01, "log_every": 1, **train,
    }  # fmt: skip
    return Recipe(
        name="tiny",
        method=method,
        model={"max_words": 12} if model is None else model,
        start=Start("tiny"),
        data=from_table(
            Recipe.__dataclass_fields__["data"].default_factory,
            {"validation": "validation", "sampling": {"max_frames": MAX_FRAMES}},
            "data",
        ),
        train=TrainConfig(**values),
    )
