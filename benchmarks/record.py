"""What every benchmark writes, and how it takes turns: results/bench-NAME.json and a plot.

A figure stands beside its target and beside a limit or rival measured in the same run; whether the
target is met and how far the limit is are computed here and nowhere else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parent.parent
QUICK = "--quick"
# Packages whose version can change a figure; those that are not installed are left out.
PACKAGES = (
    "numpy", "onnxruntime", "openvino", "av", "pylance", "pyarrow", "faiss-cpu", "tokenizers",
    "torch", "fastapi", "uvicorn", "httpx", "pydantic", "typer",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One figure: what it is, what it should be, and what it is compared with.

    Args:
        name: what was measured, unique in its file.
        value: the median of several rounds where there are rounds.
        unit: of ``value``, ``target``, ``limit_value`` and ``spread`` alike.
        better: whether more or less of it is better.
        target: what issue or design ask for; None where nothing does.
        limit_or_rival: what ``limit_value`` is, in words; empty where there is none.
        limit_value: measured in the same run.
        spread: least and largest of the rounds.
        note: for a missed target, what the profile says.

    >>> entry = Entry("query", 10.0, "ms", "lower", 12.0, "exact search", 5.0)
    >>> entry.ratio, entry.target_met
    (0.5, True)
    """

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None
    limit_or_rival: str = ""
    limit_value: float | None = None
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as good as the limit or rival: over 1 is better than it."""
        if self.limit_value is None:
            return None
        over, under = self.value, self.limit_value
        if self.better == "lower":
            over, under = under, over
        return over / under if under else None

    @property
    def target_met(self) -> bool | None:
        if self.target is None:
            return None
        better = self.value >= self.target if self.better == "higher" else self.value <= self.target
        return bool(better)

    def row(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "better": self.better,
            "target": self.target,
            "target_met": self.target_met,
            "limit_or_rival": self.limit_or_rival,
            "limit_value": self.limit_value,
            "ratio": self.ratio,
            "spread": list(self.spread) if self.spread else None,
            "note": self.note,
        }


@dataclass(frozen=True)
class Rounds:
    """Seconds of the clock and of this process's processor time, one of each a round."""

    clock: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def clock_s(self) -> float:
        return median(self.clock)

    @property
    def cpu_s(self) -> float:
        return median(self.cpu)

    def spread(self, scale: float = 1.0) -> tuple[float, float]:
        """Least and largest of the clock's seconds, times ``scale``."""
        return min(self.clock) * scale, max(self.clock) * scale


def by_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Rounds]:
    """Each way once to warm up, then ``rounds`` times by turns, so that noise falls on all."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            cpu, clock = time.process_time(), time.perf_counter()
            way()
            taken[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    return {
        name: Rounds(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
        for name, pairs in taken.items()
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed (nearest rank).

    >>> percentile([4, 1, 3, 2], 0.5), percentile([4, 1, 3, 2], 0.95)
    (2, 4)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a benchmark: its page's first line, and ``--quick``."""
    first = (doc or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(description=first, allow_abbrev=False)
    parser.add_argument(
        QUICK, action="store_true", help="seconds, not minutes; writes to build/bench-quick"
    )
    return parser


def folder() -> Path:
    """results/; a quick run's figures are not worth keeping and go to build/bench-quick."""
    if named := os.environ.get("FINECUT_RESULTS"):
        return Path(named)
    return ROOT / ("build/bench-quick" if QUICK in sys.argv else "results")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, and how busy it is (1, 5, 15 minutes)."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
        "system": platform.platform(),
        "load_average": list(os.getloadavg()),
    }


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit measured, with a + where the sources had been changed since."""
    here = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    head = subprocess.run(["git", "rev-parse", "HEAD"], **here).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain", "--", "src"], **here).stdout.strip()
    return (head or "unknown") + ("+" if changed else "")


def rounded(value: Any, digits: int = 4) -> Any:
    """The same, with floats to four significant digits; numpy's scalars become Python's.

    >>> rounded({"a": [0.0123456, 98765.4], "b": 7, "c": None})
    {'a': [0.01235, 98770.0], 'b': 7, 'c': None}
    """
    if isinstance(value, Mapping):
        return {str(key): rounded(each, digits) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each, digits) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    return value


def save(
    name: str,
    entries: Sequence[Entry],
    figures: Mapping[str, Any] | None = None,
    started: float | None = None,
) -> Path:
    """Write results/bench-NAME.json whole or not at all, and print its entries.

    Args:
        name: of the file, in lower case with hyphens.
        entries: what goes into the table of docs/speed.md.
        figures: anything more.
        started: ``time.time()`` when the benchmark began.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise SystemExit(f"bench-{name}: two entries of one name in {names}")
    body = {
        "name": name,
        "command": " ".join(["python", *command()]),
        "quick": QUICK in sys.argv,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": None if started is None else time.time() - started,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "entries": [entry.row() for entry in entries],
        "figures": dict(figures or {}),
    }
    target = folder() / f"bench-{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(".json.part")
    beside.write_text(json.dumps(rounded(body), indent=1, allow_nan=False) + "\n", "utf-8")
    beside.replace(target)
    for entry in entries:
        print(line_of(entry))
    return target


def command() -> list[str]:
    """How this benchmark was called, without this machine's folders."""
    script = Path(sys.argv[0]).resolve()
    inside = script.relative_to(ROOT) if script.is_relative_to(ROOT) else Path(script.name)
    shared = os.environ.get("FINECUT_SHARED", "\0")
    return [inside.as_posix(), *(word.replace(shared, "$FINECUT_SHARED") for word in sys.argv[1:])]


def line_of(entry: Entry) -> str:
    row = rounded(entry.row())
    said = f"{row['name']}: {row['value']:g} {row['unit']}"
    if row["target"] is not None:
        said += f", target {row['target']:g} {'met' if row['target_met'] else 'MISSED'}"
    if row["ratio"] is not None:
        said += f", {row['ratio']:g} x {row['limit_or_rival']} ({row['limit_value']:g})"
    return said


def plot(name: str, draw: Callable[[Axes], None]) -> Path:
    """Draw one picture into plots/bench-NAME.svg; the same figures give the same file."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "finecut"
    matplotlib.rcParams["svg.fonttype"] = "none"  # words stay words: small, and searchable
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.0), layout="constrained")
    draw(axes)
    target = folder() / "plots" / f"bench-{name}.svg"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return target
