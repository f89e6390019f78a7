"""docs/images/repro-*.png from results/repro-*.json: bars with deviations, chance as a line.

python experiments/plots.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from tables import results

from record import ROOT

IMAGES = ROOT / "docs" / "images"
INK = ("#9aa5b1", "#4c78a8", "#f58518", "#54a24b", "#b279a2", "#eeca3b", "#e45756")
Bars = dict[str, Sequence[dict[str, Any] | None]]


def bars(
    axes: Any, groups: Sequence[str], series: Bars, figure: str, chance: Sequence[float]
) -> None:
    """One group of bars for each of ``groups``, one bar a series; a dash at each group's chance."""
    width = 0.8 / len(series)
    for number, (label, entries) in enumerate(series.items()):
        places = [i - 0.4 + width * (number + 0.5) for i in range(len(groups))]
        means = [e[figure]["mean"] if e else float("nan") for e in entries]
        spread = [e[figure]["sd"] if e else float("nan") for e in entries]
        axes.bar(places, means, width * 0.92, yerr=spread, capsize=2, label=label,
                 color=INK[number % len(INK)], error_kw={"linewidth": 0.8})  # fmt: skip
    for i, level in enumerate(chance):
        axes.plot([i - 0.42, i + 0.42], [level, level], color="black", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(0, 105)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Any, name: str) -> None:
    """As PNG, the same bytes for the same results."""
    IMAGES.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(IMAGES / f"repro-{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def order() -> None:
    """Heads by task, within the group and R@1."""
    found = results("synthetic-order")
    summary, chance = found["summary"], found["chance"]
    tasks = {
        "order": "order",
        "direction": "direction",
        "appearance": "appearance",
        "several": "several\n(colours swapped)",
    }
    figure, sides = plt.subplots(1, 2, figsize=(12, 3.8))
    left, right = sides
    for axes, name in zip(sides, ("in_group", "r_at_1"), strict=True):
        # alone in its group, a clip of "appearance" beats it always
        shown = [t for t in tasks if name == "r_at_1" or t != "appearance"]
        series = {
            head: [summary.get(f"{task}/{head}") for task in shown]
            for head in ("meanP", "seqLSTM", "seqTransf")
        }
        levels = [chance[task.partition(",")[0]][name] for task in shown]
        bars(axes, [tasks[t] for t in shown], series, name, levels)
    left.set_ylabel("own clip beats its group, %")
    right.set_ylabel("t2v R@1 among 160, %")
    right.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    for axes in (left, right):
        axes.tick_params(axis="x", labelsize=8)
    save(figure, "synthetic-order")


def levels() -> None:
    """EERCF's levels on brief and small things."""
    found = results("synthetic-details")
    summary, chance = found["summary"], found["chance"]
    shown = {
        "CLIP4Clip seqTransf": "CLIP4Clip seqTransf",
        "video": "video (coarse)", "frame_weak": "frame, weak", "frame_gated": "frame, gated",
        "patch_weak": "patch, weak", "patch_gated": "patch, gated", "all": "whole score",
    }  # fmt: skip
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    series = {
        label: [
            summary.get(f"{task}/{level}") or summary.get(f"{task}/EERCF released: {level}")
            for task in ("brief", "small")
        ]
        for level, label in shown.items()
    }
    for axes, name, label in (
        (left, "in_group", "own clip beats its group of 4, %"),
        (right, "r_at_1", "t2v R@1 among 160, %"),
    ):
        bars(axes, ("brief thing", "small thing"), series, name,
             [chance[task][name] for task in ("brief", "small")])  # fmt: skip
        axes.set_ylabel(label)
    right.legend(frameon=False, fontsize=8)
    save(figure, "synthetic-levels")


def stages() -> None:
    """R@1 against the cost of two stages."""
    found = results("synthetic-details")
    rows = [row for key, row in found["summary"].items() if key.startswith("two stages/released")]
    rows.sort(key=lambda row: row["recall_k"]["mean"])
    cost = [row["cost_share"]["mean"] for row in rows]
    mean = [row["r_at_1"]["mean"] for row in rows]
    spread = [row["r_at_1"]["sd"] for row in rows]
    figure, axes = plt.subplots(figsize=(6.5, 4))
    axes.errorbar(cost, mean, yerr=spread, marker="o", capsize=2, color=INK[1])
    gallery = int(found["chance"]["mix"]["gallery"])
    for x, y, row in zip(cost, mean, rows, strict=True):
        k = int(row["recall_k"]["mean"])
        label = {0: "", 1: "coarse alone, k=1", gallery: "all"}.get(k, f"k={k}")
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(4, -11), fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("multiply-adds a query, % of re-ranking the whole gallery")
    axes.set_ylabel(f"t2v R@1 among {gallery}, %")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "synthetic-stages")


def lying(name: str, rows: dict[str, str], summary: dict, figure_name: str, label: str,
          chance: float) -> None:  # fmt: skip
    """Horizontal bars: row label -> key of the summary."""
    figure, axes = plt.subplots(figsize=(8, 0.38 * len(rows) + 1.1))
    keys = list(rows.values())
    means = [summary[k][figure_name]["mean"] for k in keys]
    spread = [summary[k][figure_name]["sd"] for k in keys]
    axes.barh(list(rows), means, xerr=spread, capsize=2, color=INK[1], error_kw={"linewidth": 0.8})
    axes.axvline(chance, color="black", linestyle="--", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, name)


def words() -> None:
    """TACo's losses and CAMoE's streams."""
    found = results("synthetic-words")
    summary = found["summary"]
    rows = {k.replace("/", ": "): k for k in summary}
    lying("synthetic-words", rows, summary, "r_at_1",
          f"t2v R@1 among {found['chance']['gallery']}, %", found["chance"]["r_at_1"])  # fmt: skip


def exercises() -> None:
    """Retrieval and direction on the two-frame clips."""
    found = results("exercises")
    summary = found["summary"]
    names = [k.partition("/")[2] for k in summary if k.startswith("retrieval/")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), sharey=True)
    for axes, question, value, label, chance in (
        (left, "retrieval", "r_at_1", "exercise found: t2v R@1 among 150, %", 100 / 150),
        (right, "direction", "in_group", "the right way round, %", 50.0),
    ):
        entries = [summary[f"{question}/{name}"][value] for name in names]
        axes.barh(names, [e["mean"] for e in entries], xerr=[e["sd"] for e in entries], capsize=2,
                  color=INK[1], error_kw={"linewidth": 0.8})  # fmt: skip
        axes.axvline(chance, color="black", linestyle="--", linewidth=1)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    left.invert_yaxis()
    save(figure, "exercises")


if __name__ == "__main__":
    for draw in (order, levels, stages, words, exercises):
        try:
            draw()
        except (FileNotFoundError, KeyError) as missing:
            print(f"{draw.__name__}: not drawn, {missing} is not measured yet")
