"""The recipes that come with finecut: all load, and every number says where it is from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finecut.learn.recipe import load_recipe

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
