"""The report's tables of real pairs are those of the results, from three seeds at least."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
SEEDED = ("laff-flickr8k", "laff-features", "laff-heads", "laff-losses", "taco-features")


@pytest.fixture()
def report(monkeypatch: pytest.MonkeyPatch):
    """experiments/laff_report.py, which is a script and no part of the package."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(ROOT / "experiments")
    yield importlib.import_module("laff_report")
    for name in ("laff_report", "tables", "record"):
        sys.modules.pop(name, None)


def test_every_table_is_made_from_the_results(report):
    named = re.findall(r"<!-- table ([\w-]+): experiments/laff_report\.py -->", PAGE)
    assert sorted(named) == sorted(report.TABLES)
    assert report.rewritten(PAGE) == PAGE, "run: python experiments/laff_report.py"


@pytest.mark.parametrize("name", SEEDED)
def test_every_figure_has_three_seeds_and_its_spread(name: str):
    body = json.loads((ROOT / "results" / f"repro-{name}.json").read_text("utf-8"))
    for key, figures in body["summary"].items():
        for figure in figures.values():
            assert figure["seeds"] >= 3 and figure["sd"] >= 0, key
    assert body["command"] and body["machine"]
    assert all(run["commit"] for run in body["runs"].values())


def test_the_recipe_reaches_what_it_promises():
    body = json.loads((ROOT / "results" / "repro-laff-flickr8k.json").read_text("utf-8"))
    assert len(body["runs"]) == 3
    for run in body["runs"].values():
        assert run["r_at_1"] >= 24.0 and run["r_at_10"] >= 67.0


def test_known_figures_of_the_similarity_matrix():
    body = json.loads((ROOT / "results" / "repro-real-similarity.json").read_text("utf-8"))
    for name, known in body["known"].items():
        run = body["runs"][f"similarity/{name}/0"]
        measured = [run[key] for key in ("r_at_1", "r_at_5", "r_at_10")]
        assert measured == pytest.approx(known, abs=0.15), name
