"""What benchmarks write: targets and ratios, files, and the pages made of them."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Imports a module of benchmarks/ by its name; what was imported is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if Path(file).parent == BENCHMARKS:
            del sys.modules[name]


def test_a_ratio_over_one_is_better_than_the_rival(load) -> None:
    entry = load("record").Entry
    fast = entry("a", 5.0, "ms", "lower", 4.0, "rival", 10.0)
    assert (fast.ratio, fast.target_met) == (2.0, False)
    many = entry("b", 20.0, "1/s", "higher", 20.0, "rival", 10.0)
    assert (many.ratio, many.target_met) == (2.0, True)
    plain = entry("c", 1.0, "s", "lower")
    assert (plain.ratio, plain.target_met) == (None, None)


def test_turns_are_taken_after_one_to_warm_up(load) -> None:
    taken: list[str] = []
    ways = {name: lambda name=name: taken.append(name) for name in ("a", "b")}
    rounds = load("record").by_turns(ways, 3)
    assert "".join(taken) == "abababab"
    assert len(rounds["a"].clock) == len(rounds["b"].cpu) == 3
    assert rounds["a"].spread()[0] <= rounds["a"].clock_s <= rounds["a"].spread()[1]


def test_the_file_holds_entries_machine_versions_and_command(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = load("record")
    monkeypatch.setenv("FINECUT_RESULTS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / "query.py"), "--clips", "10"])
    entry = record.Entry("a", 1.23456, "ms", "lower", 2.0, "b", 0.1, (1.0, 2.0), "why")
    path = record.save("made-up", [entry], {"more": [0.123456]}, 0.0)
    found = json.loads(path.read_text("utf-8"))
    assert found["command"] == "python benchmarks/query.py --clips 10"
    assert found["figures"] == {"more": [0.1235]}
    assert found["entries"][0] == {
        "name": "a", "value": 1.235, "unit": "ms", "better": "lower", "target": 2.0,
        "target_met": True, "limit_or_rival": "b", "limit_value": 0.1, "ratio": 0.081,
        "spread": [1.0, 2.0], "note": "why",
    }  # fmt: skip
    assert found["versions"]["python"] and found["machine"]["cores"] == os.cpu_count()
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(SystemExit, match="two entries of one name"):
        record.save("made-up", [entry, entry])


def test_the_same_plot_is_the_same_file(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    record = load("record")
    monkeypatch.setenv("FINECUT_RESULTS", str(tmp_path))

    def draw(axes) -> None:
        axes.plot([1, 2, 4], label="a line")
        axes.legend()

    first = record.plot("x", draw).read_bytes()
    assert first.startswith(b"<?xml") and record.plot("x", draw).read_bytes() == first


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("bench-*.json")), ids=lambda p: p.stem
)
def test_stored_figures_are_of_one_shape(load, path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))
    assert path.stem == f"bench-{found['name']}" and not found["quick"]
    script = re.search(r"benchmarks/\w+\.py", found["command"])
    assert script and (ROOT / script[0]).exists()
    entry = load("record").Entry
    assert found["entries"]
    for row in found["entries"]:
        names = ("name", "value", "unit", "better", "target", "limit_or_rival", "limit_value")
        again = entry(**{name: row[name] for name in names}).row()
        assert again["target_met"] == row["target_met"]
        if row["ratio"] is None:
            assert again["ratio"] is None
        else:
            assert again["ratio"] == pytest.approx(row["ratio"], rel=2e-3)


def test_pages_show_what_is_stored() -> None:
    command = [sys.executable, str(BENCHMARKS / "table.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_missed_target_is_marked_and_its_note_told(load) -> None:
    table, record = load("table"), load("record")
    rows = [
        record.Entry("slow | one", 10.0, "ms", "lower", 8.0, "the limit", 5.0, note="the profile"),
        record.Entry("quick one", 10.0, "1/s", "higher", 8.0),
    ]
    file = {"name": "made-up", "entries": [row.row() for row in rows]}
    lines = list(table.target_table([file]))
    assert lines[2].startswith(r"| slow \| one | ≤ 8 ms | 10 ms | **missed** by 25% [1] |")
    assert "| the limit: 5 ms | 0.5 |" in lines[2] and "| met |" in lines[3]
    assert lines[-1].startswith("[1] the profile")


@pytest.mark.parametrize("name", ["query", "evaluate"])
def test_a_benchmark_runs_in_its_quick_form(name: str, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "FINECUT_RESULTS": str(tmp_path),
        "FINECUT_BENCH_BUILD": str(tmp_path / "b"),
    }
    if name == "evaluate":
        pytest.importorskip("torch")
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / f"bench-{name}.json").read_text("utf-8"))
    assert found["quick"] and found["entries"] and all(e["value"] > 0 for e in found["entries"])
