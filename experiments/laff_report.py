"""Tables and plots of the real pairs in docs/reproduction.md, from results/repro-*.json.

python experiments/laff_report.py            # rewrites what stands between its markers, and plots
python experiments/laff_report.py --check    # exit 1 if a table is not that of the results
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from tables import PAGE, cell, grid, results

BLOCKS = {
    "attention (LAFF)": "attention",
    "attention-free (mean)": "mean",
    "concatenation": "concat",
    "self-attention": "mhsa_projection_free",
}
HEADS = (1, 2, 4, 8, 16)
COUNTS = (1, 2, 3, 4)
LOSSES = {
    "triplet, combined": "triplet, combined",
    "triplet, single": "triplet, single",
    "InfoNCE, combined": "info_nce, combined",
    "InfoNCE, single": "info_nce, single",
    "dual softmax, prior temperature 1000 (released)": "dual_softmax, single",
    "dual softmax, prior temperature 1": "dual_softmax, prior at 1",
    "triplet, combined, no dropout of inputs (article)": "triplet, combined, inputs whole",
    "triplet, single, no dropout of inputs": "triplet, single, inputs whole",
    "InfoNCE, single, no dropout of inputs": "info_nce, single, inputs whole",
}
FIGURES = {"R@1": "r_at_1", "R@5": "r_at_5", "R@10": "r_at_10", "v2t R@1": "v2t_r_at_1"}


def _laff(part: str) -> dict[str, dict[str, Any]]:
    return results(f"laff-{part}")["summary"]


def blocks() -> str:
    """R@1 of each block by features a side."""
    lines = [
        "| features a side | " + " | ".join(map(str, COUNTS)) + " |",
        "|---|" + "---:|" * len(COUNTS),
    ]
    for label, fusion in BLOCKS.items():
        keys = [_block(fusion, n) for n in COUNTS]
        cells = [cell(_laff("features").get(key), "r_at_1") for key in keys]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _block(fusion: str, count: int) -> str:
    """Key of the record; with one feature the mean is the attention."""
    return f"features/{'attention' if count == 1 and fusion == 'mean' else fusion}, {count}"


def published() -> str:
    """The blocks with the article's loss."""
    rows = {label: f"published/{fusion}" for label, fusion in BLOCKS.items()}
    return grid(_laff("losses"), rows, FIGURES)


def heads() -> str:
    """1 to 16 heads."""
    return grid(_laff("heads"), {str(h): f"heads/{h}" for h in HEADS}, FIGURES)


def losses() -> str:
    """Losses, and what comes after each at test."""
    columns = {
        "R@1": "r_at_1",
        "R@10": "r_at_10",
        "v2t R@1": "v2t_r_at_1",
        "+ DSL R@1": "dsl_r_at_1",
        "+ DSL R@10": "dsl_r_at_10",
        "+ QB-Norm R@1": "qbnorm_r_at_1",
        "+ QB-Norm R@10": "qbnorm_r_at_10",
    }
    rows = {label: f"loss/{key}" for label, key in LOSSES.items()}
    return grid(_laff("losses"), rows, columns)


def negatives() -> str:
    """TACo's cascade."""
    rows = {"cascade": "negatives/cascade", "random": "negatives/random"}
    columns = {
        "R@1": "r_at_1",
        "R@5": "r_at_5",
        "R@10": "r_at_10",
        "without the fused score: R@1": "recall_r_at_1",
        "R@10 ": "recall_r_at_10",
    }
    return grid(results("taco-features")["summary"], rows, columns)


def similarity() -> str:
    """Known and measured."""
    found = results("real-similarity")
    lines = ["| scores | known R@1/5/10 | measured R@1/5/10 |", "|---|---|---|"]
    for name, known in found["known"].items():
        run = found["runs"][f"similarity/{name}/0"]
        measured = "/".join(f"{run[key]:.1f}" for key in ("r_at_1", "r_at_5", "r_at_10"))
        lines.append(f"| {name} | {'/'.join(f'{x:.1f}' for x in known)} | {measured} |")
    return "\n".join(lines)


def recipe() -> str:
    """The recipe's seeds."""
    found = results("laff-flickr8k")
    columns = {**FIGURES, "+ DSL R@1": "dsl_r_at_1", "+ QB-Norm R@1": "qbnorm_r_at_1"}
    return grid(found["summary"], {"laff-flickr8k, dev": "recipe/laff-flickr8k"}, columns)


TABLES: dict[str, Callable[[], str]] = {
    "laff-recipe": recipe,
    "laff-blocks": blocks,
    "laff-published": published,
    "laff-heads": heads,
    "laff-losses": losses,
    "taco-features": negatives,
    "real-similarity": similarity,
}


def rewritten(page: str) -> str:
    """The page with every table as the results have it."""
    return re.sub(
        r"(<!-- table ([\w-]+): experiments/laff_report\.py -->).*?(<!-- end -->)",
        lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}",
        page,
        flags=re.DOTALL,
    )


def plot() -> None:
    """docs/images/repro-laff-features.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from plots import INK, save

    features, heads = _laff("features"), _laff("heads")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for colour, (label, fusion) in zip(INK, BLOCKS.items(), strict=False):
        points = [(n, features.get(_block(fusion, n))) for n in COUNTS]
        _line(left, [(n, entry) for n, entry in points if entry], colour, label)
    left.set_xticks(COUNTS)
    left.set_xlabel("features a side")
    left.set_ylabel("text to image R@1, %")
    left.legend(frameon=False, fontsize=8)
    points = [(n, heads[f"heads/{h}"]) for n, h in enumerate(HEADS) if f"heads/{h}" in heads]
    _line(right, points, INK[1], "attention, 4 features a side")
    right.set_xticks(range(len(HEADS)), [str(h) for h in HEADS])
    right.set_xlabel("heads")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, "laff-features")


def _line(axes: Any, points: list[tuple[int, dict[str, Any]]], colour: str, label: str) -> None:
    places = [place for place, _ in points]
    means = [entry["r_at_1"]["mean"] for _, entry in points]
    spread = [entry["r_at_1"]["sd"] for _, entry in points]
    axes.errorbar(places, means, spread, color=colour, marker="o", capsize=3, label=label)


def main() -> None:
    """Rewrite the page and draw, or say whether the page is as it should be."""
    page = PAGE.read_text("utf-8")
    wanted = rewritten(page)
    if "--check" in sys.argv:
        sys.exit(page != wanted)
    PAGE.write_text(wanted, "utf-8")
    plot()


if __name__ == "__main__":
    main()
