"""The plan for ten million hours: arithmetic on measured figures, written into docs/operations.md.

    python benchmarks/plan.py [--check]

Measured: results/bench-scale.json (bytes, processor time, recall over few clips) and, where it is
there, results/bench-ann.json (recall at a million clips, the bytes it keeps in memory). Assumed are
prices, machines and what one asks of them: the constants below, and the text says so. ``--check``
exits with 1 where the page does not say what the figures say; tests/test_plan.py holds it to that.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- plan: written by benchmarks/plan.py -->", "<!-- /plan -->"

HOURS = 10_000_000
# Assumed, not measured.
CORES = 1000  # that index
CORE_HOUR_USD = 0.04
STORE_GB_MONTH_USD = 0.023
MACHINE_GIB, MACHINE_CORES = 64, 16  # of a search replica
MACHINE_USD_MONTH = 400.0
SHARE_OF_MEMORY = 0.75  # for what recall reads; the rest is the system's and the requests'
STAGE_ONE_MS = 50.0  # that recall may take in one index
COPIES = 2  # replicas of each index
COLUMN_BYTES = 40  # a clip's ids, times, counts and row: ClipTable and token_row
VIDEO_HOURS = 0.1  # of a video: each has a row in the table of videos


@dataclass(frozen=True)
class Inputs:
    """What was measured."""

    bytes_per_hour: dict[str, float]  # by level
    tables: dict[str, float]  # bytes of an hour by table, level patch
    clips_per_hour: float
    cpu_s_per_s: float  # one core's seconds for a second of video
    recall_ms_per_million: float
    recall_bytes_per_clip: float  # read by recall
    recall_from: str


def read(results: Path) -> Inputs:
    """The figures the plan rests on, by name."""
    scale = json.loads((results / "bench-scale.json").read_text("utf-8"))["figures"]
    levels = scale["levels"]
    whole = levels["patch"]
    recall = scale["recall"]
    per_million, size = recall["ms_per_million"], 4.0 * recall["recall_dim"]
    source = f"bench-scale.json, {recall['clips']:,} clips, in proportion"
    found = largest(results / "bench-ann.json")
    if found is not None:
        clips, figures = found
        per_million = figures["ways"]["ours"]["p50_ms"] * 1e6 / clips
        # Codes and cells are read; of the vectors themselves only those of the best clips.
        size = figures["disk_mb"]["codes and cells"] * 1e6 / clips
        source = f"bench-ann.json, {clips:,} clips"
    return Inputs(
        {level: each["bytes_per_hour"] for level, each in levels.items()},
        whole["table_bytes_per_hour"],
        whole["clips_per_hour"],
        whole["cpu_s_per_s"],
        per_million,
        size,
        source,
    )


def largest(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Clips and figures of the largest gallery recall was measured on."""
    if not path.exists():
        return None
    figures = json.loads(path.read_text("utf-8"))["figures"]
    sizes = [
        (each["clips"], each)
        for each in figures.values()
        if isinstance(each, dict) and "codes and cells" in each.get("disk_mb", {})
    ]
    return max(sizes, key=lambda pair: pair[0], default=None)


@dataclass(frozen=True)
class Plan:
    """What follows."""

    clips: float
    core_hours: float
    days: float
    build_usd: float
    store_tb: dict[str, float]
    store_usd_month: float
    clips_by_memory: float
    clips_by_time: float
    indexes: int
    hours_per_index: float
    machines: int
    machines_usd_month: float
    query_core_s: float
    video_rows: float


def reckon(given: Inputs) -> Plan:
    """The arithmetic, and nothing else.

    >>> given = Inputs({"patch": 1e7}, {}, 300.0, 0.05, 5.0, 800.0, "")
    >>> plan = reckon(given)
    >>> plan.clips, plan.core_hours, plan.store_tb["patch"]
    (3000000000.0, 500000.0, 100.0)
    >>> plan.clips_by_time  # 50 ms at 5 ms a million
    10000000.0
    """
    clips = HOURS * given.clips_per_hour
    core_hours = HOURS * given.cpu_s_per_s
    store_tb = {level: HOURS * size / 1e12 for level, size in given.bytes_per_hour.items()}
    by_memory = MACHINE_GIB * 2**30 * SHARE_OF_MEMORY / (given.recall_bytes_per_clip + COLUMN_BYTES)
    by_time = STAGE_ONE_MS / given.recall_ms_per_million * 1e6
    indexes = -int(-clips // min(by_memory, by_time))
    # As many indexes as fit a machine share it: memory, and a core for each query at once.
    per_machine = max(1, min(int(by_memory // min(by_memory, by_time)), MACHINE_CORES))
    machines = -(-indexes * COPIES // per_machine)
    return Plan(
        clips=clips,
        core_hours=core_hours,
        days=core_hours / CORES / 24,
        build_usd=core_hours * CORE_HOUR_USD,
        store_tb=store_tb,
        store_usd_month=store_tb["patch"] * 1000 * STORE_GB_MONTH_USD,
        clips_by_memory=by_memory,
        clips_by_time=by_time,
        indexes=indexes,
        hours_per_index=HOURS / indexes,
        machines=machines,
        machines_usd_month=machines * MACHINE_USD_MONTH,
        query_core_s=clips / 1e6 * given.recall_ms_per_million / 1000,
        video_rows=HOURS / VIDEO_HOURS / indexes,
    )


def short(value: float) -> str:
    """A figure with two digits that count and its thousands apart.

    >>> short(1234567.0), short(0.0451), short(87.4)
    ('1,200,000', '0.045', '87')
    """
    if value >= 10:
        digits = len(str(int(value)))
        return f"{round(value, 2 - digits):,.0f}"
    return f"{value:.2g}"


def text(given: Inputs, plan: Plan) -> str:
    """The part of docs/operations.md between the two marks."""
    levels = ", ".join(
        f"{level} {short(size / 1e6)} MB ({short(plan.store_tb[level])} TB)"
        for level, size in given.bytes_per_hour.items()
    )
    largest_table = max(given.tables, key=lambda name: given.tables[name])
    share = 100 * given.tables[largest_table] / sum(given.tables.values())
    bound = "memory" if plan.clips_by_memory < plan.clips_by_time else "time"
    tb, per_million = plan.store_tb["patch"], given.recall_ms_per_million
    rows = [
        (
            "clips",
            f"{HOURS:,} h x {short(given.clips_per_hour)} clips an hour",
            f"{short(plan.clips / 1e9)} billion",
        ),
        ("bytes", "bytes of an hour x hours, by level", levels),
        ("of which", f"the table `{largest_table}`, level patch", f"{short(share)} %"),
        (
            "storage",
            f"{short(tb)} TB x {STORE_GB_MONTH_USD} USD a GB and month (assumed)",
            f"{short(plan.store_usd_month)} USD a month",
        ),
        (
            "building",
            f"{HOURS:,} h x {short(given.cpu_s_per_s)} core-seconds for a second of 720p",
            f"{short(plan.core_hours)} core-hours",
        ),
        (
            "its time",
            f"core-hours / {CORES:,} cores (assumed) / 24",
            f"{short(plan.days)} days",
        ),
        (
            "its cost",
            f"core-hours x {CORE_HOUR_USD} USD (assumed)",
            f"{short(plan.build_usd)} USD",
        ),
        (
            "clips of one index, by memory",
            f"{MACHINE_GIB} GiB x {SHARE_OF_MEMORY} / ({short(given.recall_bytes_per_clip)} + "
            f"{COLUMN_BYTES}) bytes",
            f"{short(plan.clips_by_memory / 1e6)} million",
        ),
        (
            "clips of one index, by time",
            f"{short(STAGE_ONE_MS)} ms / {short(per_million)} ms a million ({given.recall_from})",
            f"{short(plan.clips_by_time / 1e6)} million",
        ),
        (
            "indexes",
            f"clips / the smaller of both, here {bound}",
            f"{plan.indexes:,}, of {short(plan.hours_per_index)} h each",
        ),
        (
            "machines",
            f"{COPIES} replicas of each index; a machine of {MACHINE_GIB} GiB and "
            f"{MACHINE_CORES} cores has as many as its memory holds, one a core at most",
            f"{plan.machines:,}",
        ),
        (
            "their cost",
            f"machines x {short(MACHINE_USD_MONTH)} USD a month (assumed)",
            f"{short(plan.machines_usd_month)} USD a month",
        ),
        (
            "query fan-out",
            f"{short(plan.clips / 1e6)} million clips x {short(per_million)} ms",
            f"{plan.indexes:,} calls, {short(plan.query_core_s)} s of search in all for each query",
        ),
    ]
    lines = ["| | arithmetic | gives |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def block(results: Path) -> str:
    given = read(results)
    return f"{BEGIN}\n{text(given, reckon(given))}{END}"


def with_plan(page: str, results: Path) -> str:
    """The page with the plan as the figures have it."""
    found = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block(results), page, flags=re.DOTALL
    )
    if found[1] != 1:
        raise SystemExit(f"{PAGE} must hold {BEGIN} and {END} once.")
    return found[0]


def main() -> None:
    page = PAGE.read_text("utf-8")
    written = with_plan(page, ROOT / "results")
    if "--check" in sys.argv:
        sys.exit(int(written != page))
    PAGE.write_text(written, "utf-8")


if __name__ == "__main__":
    main()
