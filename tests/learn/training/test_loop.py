"""Whole runs in memory: what is learnt, kept, logged, warned of and refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finecut.errors import UsageError
from finecut.learn.checkpoint import load_checkpoint, read_header
from finecut.learn.recipe import Recipe, load_recipe
from finecut.learn.training import watch
from finecut.learn.training.loop import train
from finecut.learn.training.watch import TrainingError

from ..tiny_models import clips
from .tiny_pairs import ColourPairs, opener, recipe


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_the_colours(tmp_path: Path) -> None:
    made = recipe(epochs=12, batch_size=6, sample="videos", select="MIR")
    report = train(made, tmp_path / "run", data=opener(videos=24))
    assert report.best["r_at_1"] >= 90.0
    assert log(tmp_path / "run")[0]["loss"] > 2 * report.loss
    model = load_checkpoint(tmp_path / "run")
    header = read_header(tmp_path / "run")
    assert header["method"] == "clip4clip"
    assert header["provenance"]["epoch"] == report.best_epoch
    assert header["provenance"]["validation_t2v"] == report.best
    bank = load_file(tmp_path / "run" / "query_bank.safetensors")["recall"]
    assert bank.shape == (48, 64)
    data = ColourPairs(24)
    with torch.no_grad():
        want = model.encode_text(**data.text_inputs(range(48))).recall
    torch.testing.assert_close(bank, want)


METHODS = {
    "clip4clip": {"max_words": 12},
    "eercf": {"max_words": 12, "head_layers": 1},
    "camoe": {"max_words": 12, "expert_layers": 1},
    "laff-clip": {"max_words": 12, "common_dim": 64, "heads": 4},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method: str, tmp_path: Path) -> None:
    made = recipe(method, METHODS[method], epochs=1, micro_batch=4)
    report = train(made, tmp_path / "run", data=opener())
    assert report.steps == 3 and np.isfinite(report.loss)
    model = load_checkpoint(tmp_path / "run")
    pixels, mask = clips(torch.Generator().manual_seed(0))
    assert model.encode_video(pixels=pixels, frame_mask=mask).recall.isfinite().all()


def test_the_stored_recipe_trains_the_same(tmp_path: Path) -> None:
    made = recipe(epochs=1)
    train(made, tmp_path / "a", data=opener())
    again = load_recipe(tmp_path / "a" / "recipe.toml")
    assert again == made
    train(again, tmp_path / "b", data=opener())
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(a[name].equal(b[name]) for name in a)
    train(replace(made, seed=1), tmp_path / "c", data=opener())
    c = load_file(tmp_path / "c" / "model.safetensors")
    assert any(not a[name].equal(c[name]) for name in a)


def test_the_log_and_tensorboard_hold_every_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = []
    report = train(recipe(), tmp_path / "run", data=opener(), on_progress=seen.append)
    lines = log(tmp_path / "run")
    steps = [line for line in lines if "validation/r_at_1" not in line]
    epochs = [line for line in lines if "validation/r_at_1" in line]
    assert [line["step"] for line in steps] == list(range(1, 7))
    assert [line["step"] for line in epochs] == [3, 6]
    assert epochs[0]["loss"] == pytest.approx(np.mean([line["loss"] for line in steps[:3]]))
    assert steps[-1]["eta_s"] == 0.0 < steps[0]["eta_s"] and steps[0]["pairs_per_s"] > 0
    assert [now.step for now in seen] == [line["step"] for line in lines]
    assert report.seconds > 0
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    events = board.Scalars("loss")
    assert [event.step for event in events if event.step != 3 and event.step != 6] == [1, 2, 4, 5]
    assert board.Scalars("validation/r_at_1")[0].value == pytest.approx(
        epochs[0]["validation/r_at_1"]
    )


def test_without_tensorboard_the_log_has_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if not installed
    train(recipe(epochs=1), tmp_path / "run", data=opener())
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert len(log(tmp_path / "run")) == 4


def test_a_video_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    report = train(recipe(), tmp_path / "run", data=opener(broken=(3,)))
    assert report.skipped == {"train-3": "train-3 is cut off"}
    assert report.steps == 6 and all(np.isfinite(line["loss"]) for line in log(tmp_path / "run"))


def test_a_broken_validation_video_does_not_end_the_run(tmp_path: Path) -> None:
    def open_data(role: str, config: Any, text_state: Any) -> ColourPairs:
        if role == "train":
            return ColourPairs(12)
        return ColourPairs(6, seed=1, split="validation", broken=(2,))

    report = train(recipe(epochs=1), tmp_path / "run", data=open_data)
    assert report.skipped == {"validation-2": "validation-2 is cut off"}
    assert 0 <= report.best["r_at_1"] <= 100


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_numbers_that_are_none_end_the_run_and_keep_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from finecut.learn.methods.clip4clip import CLIP4Clip

    whole = CLIP4Clip.token_loss
    calls = []

    def poisoned(self: Any, text: Any, video: Any, video_ids: Any = None) -> Any:
        parts = whole(self, text, video, video_ids)
        calls.append(1)
        if len(calls) == 5:
            if what == "loss":
                parts["loss"] = parts["loss"] * torch.nan
            else:
                parts["loss"].register_hook(lambda grad: grad * torch.inf)
        return parts

    monkeypatch.setattr(CLIP4Clip, "token_loss", poisoned)
    words = (
        r"loss is not finite at step 4 \(loss nan\); videos of the batch: train-"
        if what == "loss"
        else r"gradient of clip\.\S+ is not finite at step 4 \(nor those"
    )
    with pytest.raises(TrainingError, match=words):
        train(recipe(), tmp_path / "run", data=opener())
    # The epoch before is whole: the checkpoint loads, and the run goes on from it.
    load_checkpoint(tmp_path / "run")
    report = train(recipe(), tmp_path / "run", data=opener())
    assert report.epochs == 2
    monkeypatch.setattr(CLIP4Clip, "token_loss", whole)
    train(recipe(), tmp_path / "clean", data=opener())
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "clean"))
    assert all(a[name].equal(b[name]) for name in a)


def test_other_captions_of_a_video_are_no_negatives_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finecut.learn.methods.clip4clip import CLIP4Clip

    whole, given = CLIP4Clip.token_loss, []

    def noting(self: Any, text: Any, video: Any, video_ids: Any = None) -> Any:
        given.append(video_ids)
        return whole(self, text, video, video_ids)

    monkeypatch.setattr(CLIP4Clip, "token_loss", noting)
    for asked in (False, True):
        given.clear()
        made = recipe(epochs=1, same_video_negatives=asked)
        train(made, tmp_path / str(asked), data=opener())
        assert all((ids is None) is asked for ids in given) and given


def test_freezing_keeps_weights_as_they_were(tmp_path: Path) -> None:
    made = recipe(epochs=1)
    made = replace(made, start=replace(made.start, freeze_layer_num=1, freeze=("clip.logit",)))
    report = train(made, tmp_path / "run", data=opener())
    trained = load_checkpoint(tmp_path / "run").state_dict()
    torch.manual_seed(made.seed)
    from finecut.learn.methods.clip4clip import CLIP4Clip

    fresh = CLIP4Clip(made.model_config({"clip": tiny_config()})).state_dict()
    moved = {name for name in fresh if not fresh[name].equal(trained[name])}
    assert "clip.logit_scale" not in moved
    assert not any(".resblocks.0." in name or "embedding" in name for name in moved)
    assert {"clip.text_projection", "clip.visual.proj", "clip.ln_final.weight"} <= moved
    assert any(".resblocks.1." in name for name in moved)
    assert "are frozen" in report.notes[1]


def tiny_config() -> dict[str, Any]:
    from dataclasses import asdict

    from finecut.learn.encoders.tiny import TINY

    return asdict(TINY)


def test_a_loss_that_does_not_move_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WINDOW", 3)
    seen = []
    made = recipe(epochs=10, batch_size=24, lr=1e-12, log_every=100)  # all pairs in every step
    train(made, tmp_path / "run", data=opener(), on_progress=seen.append)
    told = [now.warning for now in seen if now.warning]
    assert len(told) == 1 and "the loss" in told[0]
    assert [line["warning"] for line in log(tmp_path / "run") if line["warning"]] == told


def test_early_stop(tmp_path: Path) -> None:
    # A rate of next to nothing: validation never rises after the first epoch.
    made = recipe(epochs=50, lr=1e-12, early_stop=2)
    report = train(made, tmp_path / "run", data=opener())
    assert report.epochs == 3
    assert report.notes[-1] == "2 epochs without a better validation: stopped"
    assert report.best_epoch == 3  # of equal epochs the last, as published
    again = train(made, tmp_path / "run", data=opener())
    assert again.already_finished


def test_fewer_pairs_than_a_batch_make_one_smaller_batch(tmp_path: Path) -> None:
    report = train(recipe(batch_size=128), tmp_path / "run", data=opener(videos=3))
    assert report.steps == 2
    assert "the data gives 6 pairs a step at most" in report.notes


def test_the_logit_scale_is_clamped(tmp_path: Path) -> None:
    train(recipe(epochs=1, lr=3.0, max_grad_norm=0), tmp_path / "run", data=opener())
    scale = load_checkpoint(tmp_path / "run").clip.logit_scale
    assert scale.item() <= np.log(100) + 1e-6


def test_a_plugin_with_a_loss_alone_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finecut.learn import checkpoint

    from . import plugin_method

    point = type("Point", (), {"name": "plain", "load": lambda self: plugin_method.spec})()
    monkeypatch.setattr(checkpoint, "entry_points", lambda group: [point])
    made = Recipe(
        "plugin", "plain", start=recipe().start, train=recipe(epochs=10, lr=1e-2).train,
        data=recipe().data, model={"width": 16},
    )  # fmt: skip
    report = train(made, tmp_path / "run", data=opener())
    assert report.steps == 30 and log(tmp_path / "run")[0]["loss"] > report.loss
    with pytest.raises(UsageError, match="Plain has no token_loss, which micro_batch needs"):
        train(
            replace(made, train=replace(made.train, micro_batch=4)), tmp_path / "b", data=opener()
        )
