"""Recipes: read strictly, changed from the command line, written whole (test_recipes.py: ours)."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from finecut.errors import UsageError
from finecut.learn.recipe import (
    DataConfig,
    EvaluateConfig,
    Recipe,
    Start,
    TrainConfig,
    expand,
    load_recipe,
)

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))

SMALL = """
name = "small"
method = "clip4clip"
[model]
head = "seqTransf"
[train]
epochs = 3
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_is_written_reads_back(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    (tmp_path / "again.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(tmp_path / "again.toml") == recipe


def test_defaults_are_clip4clips() -> None:
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.lr, config.coef_lr) == (5, 128, 1e-4, 1e-3)
    assert (config.optimiser, config.weight_decay, config.warmup) == ("bertadam", 0.2, 0.1)


def test_settings_go_over_the_file(small: Path) -> None:
    recipe = load_recipe(
        small, ["train.epochs=1", "seed=7", "start.weights=tiny", "start.freeze=['clip.']",
                "data.sampling.max_frames=4", "name=\"other\""]
    )  # fmt: skip
    assert (recipe.train.epochs, recipe.seed, recipe.name) == (1, 7, "other")
    assert recipe.start.weights == "tiny" and recipe.start.freeze == ("clip.",)
    assert recipe.model_config({}).max_frames == 4


@pytest.mark.parametrize(("setting", "message"), [
    ("train.epoch=1", r"small.toml: \[train\] has no key 'epoch'. Did you mean 'epochs'\?"),
    ("trian.epochs=1", "the file has no key 'trian'. Did you mean 'train'"),
    ("model.heads='x'", r"\[model\] has no key 'heads'. Did you mean 'head'\?"),
    ("model.head=seqLstm", "model.head must be 'meanP' or 'seqLSTM'"),
    ("model.clip.width=3", r"\[model.clip\] has no key 'width'"),
    ("model.max_frames=4", r"\[model\] max_frames is 4, \[data.sampling\] max_frames 12"),
    ("method=clip4clap", "No method is called 'clip4clap'; available: clip4clip"),
    ("seed=-1", "seed must be 0 to"),
    ("name=' '", "name must not be empty"),
    ("train.epochs=0", r"\[train\] epochs must be at least 1, got 0"),
    ("train.batch_size=1", "batch_size must be at least 2"),
    ("train.lr=0", "lr must be above 0"),
    ("train.lr=inf", "lr must be finite"),
    ("train.weight_decay=inf", "weight_decay must be finite"),
    ("train.lr=1" + "0" * 400, "train.lr must be a number"),
    ("train.epochs=" + "9" * 5000, "train.epochs must be a whole number"),
    ("train.epochs=" + "[" * 5000, "train.epochs must be a whole number"),
    ("train.warmup=1", r"warmup must be in \[0, 1\)"),
    ("train.micro_batch=-1", "micro_batch must be at least 0"),
    ("train.schedule=one-cycle", "bertadam carries its own schedule"),
    ("train.precision=fp16", "train.precision must be 'fp32' or 'amp' or 'official-fp16'"),
    ("start.weights=clip", "weights must be clip:PATH, bert:PATH, checkpoint:FOLDER, tiny"),
    ("start.weights='clip:'", "weights must be clip:PATH"),
    ("start.freeze_layer_num=-2", "freeze_layer_num must be -1 or more"),
    ("data.validation=test", "the best epoch must not be chosen on the test split"),
    ("data.validation=train", "validation and train are both 'train'"),
    ("data.validation=hold-out:2", "expected a share between 0 and 1"),
    ("data.validation=hold-out:x", "expected a share between 0 and 1"),
    ("data.sampling.framerate=0", "framerate must be from 1"),
    ("evaluate.recall_k=0", "recall_k must be at least 1"),
    ("epochs", "--set takes KEY.KEY=VALUE, got 'epochs'"),
    ("train..lr=1", "--set takes KEY.KEY=VALUE"),
    ("name.x=1", "name is no table"),
])  # fmt: skip
def test_what_a_recipe_refuses(small: Path, setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(small, [setting])


@pytest.mark.parametrize(("settings", "message"), [
    (["train.optimiser=adamw", "train.precision=official-fp16"], "official-fp16 is defined with"),
    (["train.sample=videos", "train.captions_per_video=3"], "must be a multiple of"),
])  # fmt: skip
def test_settings_that_exclude_each_other(small: Path, settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(small, settings)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(UsageError, match="is not TOML"):
        load_recipe(tmp_path / "a.toml")
    for text in ("seed = " + "9" * 5000, "seed = " + "[" * 5000):
        (tmp_path / "a.toml").write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="is not TOML"):
            load_recipe(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_text("# " + "x" * (1 << 20), encoding="utf-8")
    with pytest.raises(UsageError, match="no recipe"):
        load_recipe(tmp_path / "c.toml")


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(SMALL, encoding="utf-8-sig")
    assert load_recipe(tmp_path / "a.toml").name == "small"


def test_max_frames_reaches_a_nested_config() -> None:
    recipe = Recipe("x", "taco-clip")
    assert recipe.model_config({}).taco.max_frames == recipe.data.sampling.max_frames == 12


def test_what_is_found_fills_what_the_table_leaves_out() -> None:
    recipe = Recipe("x", "laff", model={"heads": 2, "common_dim": 8})  # its features are the data's
    with pytest.raises(UsageError, match=r"\[model\] lacks text_features, video_features"):
        recipe.model_config({})
    config = recipe.model_config(
        {"video_features": {"a": 3}, "text_features": {"t": 4}, "heads": 4}
    )
    assert config.heads == 2 and config.video_features == {"a": 3}


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "there")
    assert expand("$SOMEWHERE/a") == expand("${SOMEWHERE}/a") == Path("there/a")
    monkeypatch.delenv("SOMEWHERE")
    with pytest.raises(UsageError, match="needs the environment variable SOMEWHERE"):
        expand("$SOMEWHERE/a")


def test_the_root_of_the_data(small: Path) -> None:
    recipe = load_recipe(small)
    with pytest.raises(UsageError, match="pass --data DIR"):
        recipe.data_root()
    assert recipe.data_root("here") == Path("here")
    assert load_recipe(small, ["data.root=there"]).data_root() == Path("there")


def test_the_written_recipe_holds_every_default(small: Path) -> None:
    table = tomllib.loads(load_recipe(small).to_toml())
    assert table["train"]["lr"] == 1e-4 and table["evaluate"]["recall_k"] == 50
    assert table["model"] == {"head": "seqTransf"}


def test_every_key_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    keys = {
        field.name
        for kind in (Recipe, Start, DataConfig, TrainConfig, EvaluateConfig)
        for field in fields(kind)
    }
    assert not {key for key in keys - {"features"} if f"`{key}`" not in page and key != "start"
                and f"[{key}]" not in page and f"[data.{key}]" not in page}  # fmt: skip
