"""The recipes that come with finecut: all load, and every number says where it is from."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from finecut.errors import UsageError
from finecut.learn.checkpoint import load_checkpoint, method_name
from finecut.learn.recipe import load_recipe
from finecut.learn.training.loop import train
from server.serving import color_video

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
# What a file says of itself, or where the data lie, needs no source.
PLAIN = {
    "name",
    "method",
    "source",
    "root",
    "kind",
    "format",
    "train",
    "validation",
    "test",
    "cache",
}


def test_every_method_has_recipes():
    methods = {load_recipe(path).method for path in RECIPES}
    assert {"clip4clip", "eercf", "camoe", "taco", "laff"} <= methods


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_is_called_like_its_file(path: Path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.source
    assert recipe.data.validation != recipe.data.test


def test_a_recipe_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("eercf-msvd").name == "eercf-msvd"
    with pytest.raises(UsageError, match=r"no recipe of that name; near it are .*eercf-msvd"):
        load_recipe("eercf-mvsd")
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe("eercf-msvd.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_number_says_where_it_is_from(path: Path):
    text = path.read_text(encoding="utf-8")
    marks = set(re.findall(r"\[\w+\]", "\n".join(re.findall(r"^#.*$", text, re.M))))
    assert "[choice]" in marks
    bare = []
    for line in text.splitlines():
        setting = re.match(r"(\w+) = [-\d]", line)
        if setting and setting[1] not in PLAIN:
            comment = line.partition("#")[2]
            if not set(re.findall(r"\[\w+\]", comment)) & marks:
                bare.append(line)
    assert not bare, bare


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training, three validation and three test videos with two sentences each."""
    root = tmp_path_factory.mktemp("colours")
    names = ["red", "green", "blue", "yellow", "white", "black"]
    lines = []
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        for number in range(count):
            first, then = names[number], names[(number + 2) % 6]
            color_video(root / f"{split}{number}.mp4", first, then, seconds=1.0)
            captions = [f"a {first} screen, then a {then} one", f"{first} and {then}"]
            lines.append({"video": f"{split}{number}.mp4", "captions": captions, "split": split})
    text = "\n".join(json.dumps(line) for line in lines)
    (root / "captions.jsonl").write_text(text, encoding="utf-8")
    return root


TINY = [
    "start.weights=tiny",
    "data.format=jsonl",
    "data.train=captions:train",
    "data.validation=captions:val",
    "data.test=captions:test",
    "data.sampling.max_frames=4",
    "model.max_words=16",  # the tiny CLIP has 32 positions
    "train.epochs=1",
    "train.precision=fp32",  # half precision has its own tests, and is slow without a GPU
    "train.workers=0",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [p for p in RECIPES if "clip:$CLIP_WEIGHTS" in p.read_text()],
    ids=lambda path: path.stem,
)
def test_a_recipe_trains_on_videos_with_a_tiny_clip(path: Path, colours: Path, tmp_path: Path):
    recipe = load_recipe(path, TINY)
    report = train(recipe, tmp_path / "run", root=colours)
    assert report.epochs == 1 and not report.skipped
    assert math.isfinite(report.loss)
    model = load_checkpoint(tmp_path / "run")
    assert method_name(model) == recipe.method
