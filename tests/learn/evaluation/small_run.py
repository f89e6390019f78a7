"""The folder of a run of a tiny model, and a folder of small videos it can be evaluated on."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from finecut.learn.checkpoint import method_name, save_checkpoint
from finecut.learn.encoders.tiny import tiny_clip, tiny_tokenizer
from finecut.learn.recipe import DataConfig, EvaluateConfig, Recipe, Sampling
from index.clips import RGB, write_video
from learn.tiny_models import MAX_FRAMES, TINY_MODELS

COLOURS = list(RGB)


def make_videos(folder: Path, count: int = 5) -> Path:
    """Videos of two colours each, two captions a video, in our JSON lines."""
    lines = []
    for number in range(count):
        first, second = COLOURS[number % len(COLOURS)], COLOURS[(number + 1) % len(COLOURS)]
        name = f"clip {number}.mp4"
        write_video(folder / name, [first, second], seconds=1.0, seed=number)
        captions = [f"{first} before {second}", f"a {first} screen and a {second} screen"]
        lines.append(json.dumps({"video": name, "captions": captions}))
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def make_run(
    folder: Path, name: str = "eercf", seed: int = 1, bank: int = 7, layout: str = "jsonl"
) -> Path:
    """What `finecut train` leaves of a tiny model with random weights."""
    torch.manual_seed(seed)
    model: nn.Module = TINY_MODELS[name].build(tiny_clip(seed))
    method = method_name(model)
    save_checkpoint(model, folder, method=method)
    recipe = Recipe(
        name=f"tiny-{name}",
        method=method,
        seed=seed,
        data=DataConfig(root="$NOWHERE", format=layout, sampling=Sampling(max_frames=MAX_FRAMES)),
        evaluate=EvaluateConfig(recall_k=3, batch_size=2),
    )
    (folder / "recipe.toml").write_text(recipe.to_toml())
    ids, _ = tiny_tokenizer()([f"training sentence {i}" for i in range(bank)], max_words=12)
    with torch.no_grad():
        save_file(
            {"recall": model.encode_text(input_ids=ids).recall.contiguous()},
            folder / "query_bank.safetensors",
        )
    return folder
