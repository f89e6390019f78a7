"""A small folder of real video files with captions, and a recipe for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finecut.learn.data.sampling import Sampling
from finecut.learn.encoders.tiny import TINY
from finecut.learn.recipe import DataConfig, Recipe, Start, TrainConfig
from video_writing import COLOURS, X264, steps, write_video

SENTENCES = {
    "red": ("a red screen glows", "someone paints a red wall"),
    "green": ("a green screen glows", "someone mows a green lawn"),
    "blue": ("a blue screen glows", "someone sails a blue sea"),
    "yellow": ("a yellow screen glows", "someone peels a yellow banana"),
    "white": ("a white screen glows", "someone builds a white snowman"),
}
BERT = {"vocab_size": 200, "width": 16, "layers": 1, "heads": 2, "inner": 32}
MODELS: dict[str, dict[str, Any]] = {
    "clip4clip": {"head": "seqTransf", "head_layers": 1},
    "eercf": {"head_layers": 1},
    "camoe": {"expert_layers": 1},
    "laff-clip": {"common_dim": 32, "heads": 2},
    "taco-clip": {
        "taco": {
            "feature_dim": TINY.embed_dim,
            "text": BERT,
            "video_layers": 1,
            "fusion_layers": 1,
            "max_words": 12,
        }
    },
}


def write_set(root: Path, colours: Sequence[str] = tuple(SENTENCES), name: str = "train") -> Path:
    """One clip of each colour, of rising lengths, and ``name``.jsonl; all in a second."""
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, colour in enumerate(colours):
        write_video(
            root / f"{colour}.mp4",
            steps(1 + number, 8),
            width=64,
            height=48,
            rate=8,
            options=X264,
            shots=[(1e9, COLOURS[colour])],
            code=False,
        )
        lines.append({"video": f"{colour}.mp4", "captions": list(SENTENCES[colour])})
    (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return root


def recipe_for(method: str = "clip4clip", root: Path | str = "", **data: Any) -> Recipe:
    """A recipe of a tiny model on a set of `write_set`."""
    given = {"validation": "hold-out:0.2", "sampling": Sampling(max_frames=3), **data}
    return Recipe(
        name="small",
        method=method,
        model=MODELS.get(method, {}),
        start=Start(weights="tiny"),
        data=DataConfig(root=str(root), **given),
        train=TrainConfig(epochs=1, batch_size=4),
    )
