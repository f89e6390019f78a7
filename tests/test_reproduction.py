"""The report's tables are those of the results, its plots are there, three seeds at least."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
MINE = ("synthetic-order", "synthetic-details", "synthetic-words", "exercises")


@pytest.fixture()
def tables(monkeypatch: pytest.MonkeyPatch):
    """experiments/tables.py, which is a script and no part of the package."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(ROOT / "experiments")
    yield importlib.import_module("tables")
    for name in ("tables", "record"):
        sys.modules.pop(name, None)


def test_every_table_is_made_from_the_results(tables):
    assert len(re.findall(r"<!-- table [\w-]+: experiments/tables\.py -->", PAGE)) == len(
        tables.TABLES
    )
    assert tables.rewritten(PAGE) == PAGE, "run: python experiments/tables.py"


def test_every_plot_is_there():
    names = re.findall(r"\]\((images/repro-[\w-]+\.png)\)", PAGE)
    assert names
    assert [name for name in names if not (ROOT / "docs" / name).is_file()] == []


@pytest.mark.parametrize("name", MINE)
def test_every_figure_has_three_seeds_and_its_spread(name: str):
    body = json.loads((ROOT / "results" / f"repro-{name}.json").read_text("utf-8"))
    for key, figures in body["summary"].items():
        for figure in figures.values():
            assert figure["seeds"] >= 3 and figure["sd"] >= 0, key
    assert body["command"] and body["machine"] and body["chance"]
    assert all(run["commit"] for run in body["runs"].values())
