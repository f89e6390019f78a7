"""Building the models of this library from golden state dicts, by the road users take.

The state dicts are written to a ``pytorch_model.bin`` and imported, so the goldens prove the
import of published checkpoints as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from finecut.learn.checkpoint import ImportReport, import_clip4clip, import_eercf

from .account import read_json


def clip4clip_state(golden: Path, variant: str) -> dict[str, Tensor]:
    """The whole official state dict of ``<head>_<2d|3d>``."""
    state = load_file(golden / "clip4clip/clip_base_2d.safetensors")
    added = golden / f"clip4clip/{variant}.state.safetensors"
    if added.exists():
        state |= load_file(added)
    return state


def eercf_state(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "eercf/state_clip.safetensors") | load_file(
        golden / "eercf/state_head.safetensors"
    )


def build_clip4clip(golden: Path, variant: str, tmp: Path) -> tuple[nn.Module, ImportReport]:
    config = read_json(golden / "clip4clip/index.json")["config"]
    path = tmp / "pytorch_model.bin.0"
    torch.save(clip4clip_state(golden, variant), path)
    return import_clip4clip(path, max_frames=config["F"], max_words=config["max_words"])


def build_eercf(golden: Path, tmp: Path) -> tuple[nn.Module, ImportReport]:
    config = read_json(golden / "eercf/index.json")["config"]
    path = tmp / "pytorch_model.bin.0"
    torch.save(eercf_state(golden), path)
    return import_eercf(path, max_frames=config["F"], max_words=config["max_words"])


def video_inputs(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loader's (B, pair=1, F, ts=1, 3, H, W) and (B, 1, F) as ``encode_video`` takes them."""
    video = inputs["video"].float()
    batch, pair, frames, ts, channels, height, width = video.shape
    assert (pair, ts, channels) == (1, 1, 3)
    return {
        "pixels": video.reshape(batch, frames, channels, height, width),
        "frame_mask": inputs["video_mask"][:, 0].bool(),
    }


def check_gradients(
    model: nn.Module, expected: dict[str, Tensor], prefix: str, use: Any, relative: float = 1e-4
) -> int:
    """Every stored gradient against the model's; returns how many."""
    parameters = dict(model.named_parameters())
    names = [name for name in expected if name.startswith(prefix)]
    for name in names:
        want = expected[use(name)]
        got = parameters[name.removeprefix(prefix)].grad
        assert got is not None, f"{name}: no gradient"
        torch.testing.assert_close(
            got, want, rtol=relative, atol=relative * float(want.abs().max()), msg=lambda m: m
        )
    return len(names)
