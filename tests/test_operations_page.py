"""docs/operations.md: its files parse, its commands are accepted, its plan is what was measured."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from finecut.cli.main import program
from finecut.server.telemetry import Telemetry

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def block(kind: str) -> str:
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1, kind
    return found[0]


def commands() -> list[str]:
    """Every finecut command on the page, those of the two files included."""
    lines = [line.strip() for line in PAGE.splitlines() if line.startswith("    finecut ")]
    lines += re.findall(r"command: (finecut .*)", block("yaml"))
    lines += ["finecut " + line for line in re.findall(r"bin/finecut (.*)", block("ini"))]
    return lines


def test_the_compose_file_parses():
    yaml = pytest.importorskip("yaml")
    plain = yaml.safe_load(block("yaml"))
    search = plain["services"]["search"]
    assert search["deploy"]["replicas"] == 3 and "/ready" in search["healthcheck"]["test"][-1]
    assert set(plain["services"]) == {"search", "balancer"}
    drain_s = float(re.search(r"--drain-s (\S+)", search["command"])[1])
    # Leaving takes the draining and at most ten seconds more.
    assert drain_s + 10 < float(search["stop_grace_period"].rstrip("s"))
    port = re.search(r"--port (\S+)", search["command"])[1]
    assert port in search["healthcheck"]["test"][-1]
    assert plain["services"]["balancer"]["command"].endswith(f"search:{port}")


def test_the_unit_parses():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("ini"))
    assert unit.sections() == ["Unit", "Service", "Install"]
    service = unit["Service"]
    drain_s = float(re.search(r"--drain-s (\S+)", service["ExecStart"])[1])
    assert drain_s + 10 < float(service["TimeoutStopSec"])
    assert service["KillSignal"] == "SIGTERM"


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted(line: str):
    """Each is parsed by the real command line, up to where it would begin."""
    import typer

    words = shlex.split(line)[1:]
    words = [word for word in words if word not in ("…", "NEW_PLACE")]
    root = typer.main.get_command(program())
    context = root.make_context("finecut", list(words), allow_extra_args=True)
    name, verb, rest = root.resolve_command(context, words)  # type: ignore[attr-defined]
    verb.make_context(name, rest)


def test_there_are_commands():
    assert len(commands()) >= 12


def test_metrics_are_those_of_the_server():
    told = set(re.findall(r"`(finecut_[a-z_]+)", PAGE.split("## Metrics")[1].split("\n## ")[0]))
    known = set()
    for metric in Telemetry().registry.collect():
        known |= {metric.name, f"{metric.name}_total"}
    assert told <= known
    assert {"finecut_index_commit", "finecut_index_open_failures"} <= told


def test_the_example_of_a_caller_asks_again(monkeypatch: pytest.MonkeyPatch):
    import urllib.error
    import urllib.request
    from io import BytesIO

    space: dict = {}
    exec(block("python"), space)
    monkeypatch.setattr("time.sleep", lambda _: None)
    busy = urllib.error.HTTPError("u", 503, "busy", {"Retry-After": "1"}, None)
    wrong = urllib.error.HTTPError("u", 422, "wrong", {}, None)

    def answers(*of):
        queue = list(of)

        def urlopen(url, timeout):
            one = queue.pop(0)
            if isinstance(one, Exception):
                raise one
            return BytesIO(one)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)

    answers(ConnectionResetError(), urllib.error.URLError("refused"), busy, b'{"a": 1}')
    assert space["search"]("http://x", "q") == {"a": 1}
    answers(wrong)
    with pytest.raises(urllib.error.HTTPError):
        space["search"]("http://x", "q")
    answers(busy, busy)
    with pytest.raises(urllib.error.HTTPError):
        space["search"]("http://x", "q", tries=2)


@pytest.fixture(scope="module")
def plan() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plan", ROOT / "benchmarks" / "plan.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_the_plan_is_what_the_figures_give(plan: ModuleType):
    assert plan.with_plan(PAGE, ROOT / "results") == PAGE, "run: python benchmarks/plan.py"


def test_other_figures_give_another_plan(plan: ModuleType, tmp_path: Path):
    scale = json.loads((ROOT / "results" / "bench-scale.json").read_text("utf-8"))
    scale["figures"]["levels"]["patch"]["cpu_s_per_s"] *= 2
    (tmp_path / "bench-scale.json").write_text(json.dumps(scale))
    given = plan.read(tmp_path)
    assert given.cpu_s_per_s == scale["figures"]["levels"]["patch"]["cpu_s_per_s"]
    assert plan.block(tmp_path) not in PAGE
    reckoned = plan.reckon(given)
    assert reckoned.core_hours == pytest.approx(plan.HOURS * given.cpu_s_per_s)
    assert reckoned.clips == plan.HOURS * given.clips_per_hour
    assert (
        reckoned.indexes * min(reckoned.clips_by_memory, reckoned.clips_by_time) >= reckoned.clips
    )
