"""Where weights come from, and what is frozen."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from finecut.errors import UsageError
from finecut.learn.checkpoint import save_checkpoint
from finecut.learn.encoders.tiny import TINY, tiny_clip
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.recipe import Recipe, Start
from finecut.learn.training.start import StartingPoint, freeze

from ..tiny_models import MAX_FRAMES
from .tiny_pairs import recipe

TINY_MODEL = {"max_words": 12, "head_layers": 1}


def started(weights: str, model: dict[str, Any], **start: Any) -> tuple[nn.Module, list[str]]:
    made = recipe(model={**TINY_MODEL, **model})
    return StartingPoint(replace(made, start=Start(weights, **start))).build({})


@pytest.fixture
def clip_file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.pt"
    torch.save(tiny_clip(7).state_dict(), path)
    return path


@pytest.fixture
def mean_run(tmp_path: Path) -> Path:
    """A trained meanP, as post-pretraining leaves it."""
    torch.manual_seed(1)
    config = Clip4ClipConfig("meanP", TINY, 4, MAX_FRAMES, 12)
    return save_checkpoint(CLIP4Clip(config, tiny_clip(8)), tmp_path / "mean")


def same_clip(model: Any, clip: nn.Module) -> bool:
    ours, theirs = model.clip.state_dict(), clip.state_dict()
    return all(ours[name].equal(theirs[name]) for name in theirs)


def test_tiny_weights_depend_on_the_seed_alone() -> None:
    a, b = started("tiny", {})[0], started("tiny", {})[0]
    assert same_clip(a, b.clip)
    other = StartingPoint(replace(recipe(), seed=9, start=Start("tiny"))).build({})[0]
    assert not same_clip(a, other.clip)


def test_published_towers_and_a_head_that_starts_as_published(clip_file: Path) -> None:
    model, notes = started(f"clip:{clip_file}", {"head": "seqTransf"})
    assert same_clip(model, tiny_clip(7))
    block, below = model.transformerClip.resblocks[0], model.clip.transformer.resblocks[0]
    assert block.mlp.c_fc.weight.equal(below.mlp.c_fc.weight)
    assert model.frame_position_embeddings.weight.equal(model.clip.positional_embedding)
    assert "the head starts anew" in notes[0]


def test_weights_say_what_the_data_must_look_like(clip_file: Path) -> None:
    made = replace(recipe(model=TINY_MODEL), start=Start(f"clip:{clip_file}"))
    assert StartingPoint(made).config().clip == tiny_clip(7).config
    features = Recipe("x", "laff", model={"common_dim": 8, "heads": 2})
    start = StartingPoint(features)
    assert start.config() is None  # the sizes of the features are the data's to tell
    sizes = {"video_features": {"a": 3}, "text_features": {"t": 4}}
    assert start.build(sizes)[0].config.video_features == {"a": 3}


def test_3d_patches_over_2d_weights(clip_file: Path) -> None:
    model, _ = started(f"clip:{clip_file}", {"clip": {"patches": "3d"}})
    kernel = model.clip.visual.conv2.weight
    assert kernel[:, :, 1].equal(tiny_clip(7).visual.conv1.weight)
    assert not kernel[:, :, 0].any()


def test_a_whole_checkpoint(mean_run: Path) -> None:
    model, notes = started(f"checkpoint:{mean_run}", {"head_layers": 4})
    assert same_clip(model, tiny_clip(8)) and "every weight" in notes[0]


def test_another_head_over_a_checkpoint(mean_run: Path) -> None:
    model, notes = started(f"checkpoint:{mean_run}", {"head": "seqTransf"})
    assert same_clip(model, tiny_clip(8)) and "the head starts anew" in notes[0]


def test_another_method_over_a_checkpoint(mean_run: Path) -> None:
    made = replace(recipe("eercf", TINY_MODEL), start=Start(f"checkpoint:{mean_run}"))
    assert same_clip(StartingPoint(made).build({})[0], tiny_clip(8))


@pytest.mark.parametrize(("weights", "model", "message"), [
    ("clip:nowhere", {}, "there is no CLIP at 'nowhere'"),
    ("clip:CLIP", {"clip": {"embed_dim": 32}}, r"\[model.clip\] asks for other sizes"),
    ("checkpoint:nowhere", {}, "No checkpoint at 'nowhere'"),
])  # fmt: skip
def test_weights_that_do_not_fit(
    weights: str, model: dict[str, Any], message: str, clip_file: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        started(weights.replace("CLIP", str(clip_file)), model)


def test_a_method_without_the_tower(mean_run: Path, clip_file: Path) -> None:
    laff = {"video_features": {"a": 3}, "text_features": {"t": 4}, "common_dim": 8, "heads": 2}
    for weights, message in (
        (f"clip:{clip_file}", "laff has no CLIP in it"),
        (f"checkpoint:{mean_run}", "is a CLIP4Clip; there is nothing in it for laff"),
    ):
        with pytest.raises(UsageError, match=message):
            StartingPoint(Recipe("x", "laff", model=laff, start=Start(weights)))


def test_sizes_that_there_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"\[model\] cannot be built \(\w+"):
        started("tiny", {"head": "seqTransf", "head_layers": 1, "clip": {"vision_layers": -1,
                "text_width": -8}})  # fmt: skip


def test_freezing_by_name_and_by_layer() -> None:
    model, notes = started("tiny", {"head": "seqTransf"}, freeze=("clip.visual.", "clip.logit"))
    names = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert names == {
        name for name, _ in model.named_parameters()
        if name.startswith(("clip.visual.", "clip.logit"))
    }  # fmt: skip
    assert "0 are frozen" not in notes[1]


@pytest.mark.parametrize(("start", "message"), [
    (Start("tiny", freeze=("clip.visuall",)), r"begins no parameter's name. Did you mean 'clip"),
    (Start("tiny", freeze=("",)), "nothing is left to train"),
])  # fmt: skip
def test_freezing_nothing_or_all(start: Start, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StartingPoint(replace(recipe(), start=start)).build({})


def test_freeze_layer_num_needs_a_clip() -> None:
    with pytest.raises(UsageError, match="needs a model with a CLIP"):
        freeze(nn.Linear(2, 2), Start(freeze_layer_num=0))


def test_the_config_of_the_tiny_start_is_known_before_the_data() -> None:
    assert StartingPoint(recipe()).found == {"clip": asdict(TINY)}
