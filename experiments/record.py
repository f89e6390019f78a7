"""results/repro-NAME.json: one entry a run, written as each finishes, so that work can go on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent


class Record:
    """The runs of one experiment; keys are "what/variant/seed"."""

    def __init__(self, name: str, what: str, **settings: Any) -> None:
        self.path = ROOT / "results" / f"repro-{name}.json"
        self.body: dict[str, Any] = {"runs": {}}
        if self.path.exists():
            self.body = json.loads(self.path.read_text("utf-8"))
        self.body |= {
            "what": what,
            "command": f"python experiments/{name.replace('-', '_')}.py",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
            "one thread, other work beside it",
            "settings": settings,
        }

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        return self.body["runs"]

    def run(self, key: str, make: Callable[[], dict[str, Any]]) -> None:
        """Measure and store, unless it is there."""
        if key in self.runs:
            return
        found = make()
        self.runs[key] = {**_rounded(found), "commit": _commit()}
        shown = {k: v for k, v in self.runs[key].items() if isinstance(v, float)}
        print(key, json.dumps(shown), flush=True)
        self.save()

    def run_all(
        self, what: str, variants: Sequence[str], seed: int, make: Callable[[], dict[str, Any]]
    ) -> None:
        """One training that gives figures of several variants: ``make`` returns them by name."""
        keys = {variant: f"{what}/{variant}/{seed}" for variant in variants}
        if all(key in self.runs for key in keys.values()):
            return
        found = make()
        for variant, key in keys.items():
            self.runs.pop(key, None)
            self.run(key, lambda v=variant: found[v])

    def save(self) -> None:
        """Summarise over seeds and replace the file."""
        self.body["runs"] = dict(sorted(self.runs.items()))
        self.body["summary"] = summary(self.runs)
        self.path.parent.mkdir(exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.body, indent=1) + "\n", "utf-8")
        part.replace(self.path)


def summary(runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and sample deviation over seeds of every figure, keyed without the seed."""
    seeds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for key, run in runs.items():
        for name, value in run.items():
            if isinstance(value, int | float):
                seeds[key.rpartition("/")[0]][name].append(float(value))
    return {
        key: _rounded({n: _mean_sd(v) for n, v in found.items()}) for key, found in seeds.items()
    }


def _mean_sd(values: Iterable[float]) -> dict[str, float]:
    array = np.asarray(list(values))
    sd = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    return {"mean": float(array.mean()), "sd": sd, "seeds": len(array)}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return round(value, 3) if isinstance(value, float) else value


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()[:12] or "not in a repository"
