"""The tables of docs/reproduction.md for the made-up clips and the exercises, from results/*.json.

python experiments/tables.py            # rewrites what stands between the markers
python experiments/tables.py --check    # exit 1 if a table is not that of the results
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from record import ROOT

PAGE = ROOT / "docs" / "reproduction.md"
Summary = dict[str, dict[str, Any]]


def cell(entry: dict[str, Any] | None, name: str) -> str:
    """Mean ± deviation of one figure, or a dash."""
    if entry is None or name not in entry:
        return "–"
    figure = entry[name]
    return f"{figure['mean']:.1f} ± {figure['sd']:.1f}"


def grid(summary: Summary, rows: dict[str, str], columns: dict[str, str]) -> str:
    """A Markdown table: row label -> key of the summary, column label -> figure."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for label, key in rows.items():
        cells = [cell(summary.get(key), name) for name in columns.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def results(name: str) -> dict[str, Any]:
    """The file of one experiment."""
    return json.loads((ROOT / "results" / f"repro-{name}.json").read_text("utf-8"))


PLAIN = {"R@1": "r_at_1", "R@5": "r_at_5", "v2t R@1": "v2t_r_at_1", "within the group": "in_group"}


def order() -> str:
    """Tasks by heads."""
    summary = results("synthetic-order")["summary"]
    names = {
        "order": "order",
        "direction": "direction",
        "appearance": "appearance",
        "several": "several",
    }
    rows = {
        f"{label}: {head}": f"{task}/{head}"
        for label, task in names.items()
        for head in ("meanP", "seqLSTM", "seqTransf")
        if f"{task}/{head}" in summary
    }
    for key in summary:
        if key.startswith("appearance/"):  # alone in its group, a clip beats it always
            del summary[key]["in_group"]
    return grid(summary, rows, PLAIN)


def tight() -> str:
    """Loose against tight, at the same batch."""
    found = results("synthetic-order")
    rows = {
        key.rpartition("/")[2]: key for key in found["summary"] if key.startswith("several, batch")
    }
    times = {"s to train": "train_s", "s to score all pairs": "score_s"}
    return grid(found["summary"], rows, PLAIN | times)


def levels() -> str:
    """EERCF level by level."""
    summary = results("synthetic-details")["summary"]
    shown = {
        "CLIP4Clip meanP": "CLIP4Clip meanP",
        "CLIP4Clip seqTransf": "CLIP4Clip seqTransf",
        "EERCF, video (coarse)": "EERCF released: video",
        "EERCF, frame, weak": "EERCF released: frame_weak",
        "EERCF, frame, gated": "EERCF released: frame_gated",
        "EERCF, patch, weak": "EERCF released: patch_weak",
        "EERCF, patch, gated": "EERCF released: patch_gated",
        "EERCF, whole score": "EERCF released: all",
        "EERCF as in the article, video": "EERCF article: video",
        "EERCF as in the article, frame, gated": "EERCF article: frame_gated",
        "EERCF as in the article, patch, gated": "EERCF article: patch_gated",
        "EERCF as in the article, whole score": "EERCF article: all",
    }
    lines = ["| | brief: R@1 | brief: within the group | small: R@1 | small: within the group |"]
    lines.append("|---|---:|---:|---:|---:|")
    for label, name in shown.items():
        cells = [
            cell(summary.get(f"{task}/{name}"), figure)
            for task in ("brief", "small")
            for figure in ("r_at_1", "in_group")
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stages() -> str:
    """R@1 as recall_k grows, and what share of full re-ranking it keeps and costs."""
    summary = results("synthetic-details")["summary"]
    whole = summary["two stages/released, recall_k all"]["r_at_1"]["mean"]
    lines = ["| recall_k | R@1 | share of full R@1, % | multiply-adds, % of full | ms a query |"]
    lines.append("|---|---:|---:|---:|---:|")
    for key, row in summary.items():
        if key.startswith("two stages/released"):
            label = key.rpartition(" ")[2]
            share = 100 * row["r_at_1"]["mean"] / whole
            cost, ms = row["cost_share"]["mean"], row["ms_a_query"]["mean"]
            found = f"{cell(row, 'r_at_1')} | {share:.1f} | {cost:.2f} | {ms:.2f} |"
            lines.append(f"| {'0 (coarse alone)' if label == '0' else label} | {found}")
    head, body = lines[:2], lines[2:]
    return "\n".join(head + sorted(body, key=lambda line: float(line.split("|")[4])))


def channels() -> str:
    """EERCF with other weights of its channel constraint."""
    summary = results("synthetic-details")["summary"]
    rows = {
        "without, coarse": "channels, brief/released, weight 0: video",
        "with it, coarse": "brief/EERCF released: video",
        "without, whole score": "channels, brief/released, weight 0: all",
        "with it, whole score": "brief/EERCF released: all",
    }
    return grid(summary, rows, PLAIN)


def taco() -> str:
    """The rows of the article's ablation."""
    summary = results("synthetic-words")["summary"]
    rows = {k.partition("/")[2]: k for k in summary if k.startswith("TACo/")}
    alone = {f"{s} alone": f"{s} alone, R@1" for s in ("sentence", "token", "fused")}
    return grid(summary, rows, PLAIN | alone)


def camoe() -> str:
    """Streams, loss and what is done at test."""
    summary = results("synthetic-words")["summary"]
    rows = {k.partition("/")[2]: k for k in summary if k.startswith("CAMoE/")}
    return grid(summary, rows, PLAIN)


def exercises(question: str) -> str:
    """Every method on the two-frame clips."""
    summary = results("exercises")["summary"]
    rows = {k.partition("/")[2]: k for k in summary if k.startswith(f"{question}/")}
    columns = {"R@1": "r_at_1", "R@5": "r_at_5", "R@10": "r_at_10", "median rank": "MdR"}
    if question == "direction":
        columns = {
            "the right exercise first": "exercise_r_at_1",
            "R@5": "r_at_5",
            "the right way round": "in_group",
        }
    return grid(summary, rows, columns)


TABLES: dict[str, Callable[[], str]] = {
    "order": order,
    "tight": tight,
    "levels": levels,
    "stages": stages,
    "channels": channels,
    "taco": taco,
    "camoe": camoe,
    "exercises-retrieval": lambda: exercises("retrieval"),
    "exercises-direction": lambda: exercises("direction"),
}


def rewritten(page: str) -> str:
    """The page with every table as the results have it."""

    def fresh(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}"

    return re.sub(
        r"(<!-- table ([\w-]+): experiments/tables\.py -->).*?(<!-- end -->)",
        fresh,
        page,
        flags=re.DOTALL,
    )


def main() -> None:
    """Rewrite the page, or say whether it is as it should be."""
    page = PAGE.read_text("utf-8")
    wanted = rewritten(page)
    if "--check" in sys.argv:
        sys.exit(page != wanted)
    PAGE.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
