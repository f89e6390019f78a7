"""A result of `finecut evaluate` as text."""

from __future__ import annotations

from typing import Any

from finecut.cli.show import out, table

SHOWN = (
    ("r_at_1", "R@1", 1), ("r_at_5", "R@5", 1), ("r_at_10", "R@10", 1), ("r_at_50", "R@50", 1),
    ("RSum", "RSum", 1), ("MdR", "MdR", 1), ("MnR", "MnR", 1), ("MIR", "MIR", 3),
    ("mAP", "mAP", 3),
)  # fmt: skip


def show_result(found: dict[str, Any]) -> None:
    """A result as a table of columns by direction, then what each column was made with."""
    seeds = f", mean of {found['seeds']} seeds ± standard deviation" if "seeds" in found else ""
    out(
        " ".join(str(found[name]) for name in ("name", "split") if found[name])
        + f": {found['queries']} sentences, {found['gallery']} videos, "
        f"protocol {found['protocol']}{seeds}"
    )
    rows = [("", "", *(title for _, title, _ in SHOWN))]
    for name, block in blocks_of(found).items():
        for way in ("t2v", "v2t"):
            spread = blocks_of(found.get("sd", {})).get(name, {}).get(way, {})
            cells = [_cell(block[way], spread, key, digits) for key, _, digits in SHOWN]
            rows.append((name if way == "t2v" else "", way, *cells))
    table(rows, right=tuple(range(2, len(SHOWN) + 2)))
    for line in _settings(found):
        out(line)
    for name, figures in found.get("graded", {}).items():
        out(
            f"graded relevance, {name}: nDCG {figures['ndcg']:.4f}, nDCG@10 "
            f"{figures['ndcg_at_10']:.4f}, mAP {figures['mAP']:.4f} of {figures['queries']} "
            "sentences"
        )
    if "moments" in found:
        block = found["moments"]
        recalls = ", ".join(
            f"R@1 at IoU {name.rsplit('_', 1)[1]} {value:.1f}"
            for name, value in block.items()
            if name.startswith("r_at_1_iou")
        )
        out(f"moments in the right video: {recalls}, mean IoU {block['miou']:.1f}")
    if "against" in found:
        _show_difference(found["against"])


def _show_difference(found: dict[str, Any]) -> None:
    rows = [("", "", "figure", "ours", "theirs", "difference", "95 % interval", "p")]
    for name, ways in found.items():
        for way, figures in ways.items() if isinstance(ways, dict) else ():
            for one in figures:
                digits = 3 if one["figure"] == "MIR" else 1
                ours, theirs = (f"{one[key]:.{digits}f}" for key in ("ours", "theirs"))
                low, high = (f"{one[key]:+.{digits}f}" for key in ("low", "high"))
                moved = f"{one['difference']:+.{digits}f}"
                title = next((t for key, t, _ in SHOWN if key == one["figure"]), one["figure"])
                cells = (ours, theirs, moved, f"{low} to {high}", f"{one['p']:.3f}")
                rows.append((name, way, title, *cells))
    out()
    out(f"against {found['file']}, paired bootstrap over videos:")
    table(rows, right=(3, 4, 5, 6, 7))


def blocks_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The columns of a result by name, the plain one first."""
    from finecut.learn.evaluation.report import BLOCKS

    plain = {"plain": found} if "t2v" in found else {}
    return plain | {name: found[name] for name in BLOCKS if name in found}


def _cell(figures: dict[str, float], spread: dict[str, float], key: str, digits: int) -> str:
    text = f"{figures[key]:.{digits}f}"
    return f"{text} ± {spread[key]:.{digits}f}" if key in spread else text


def _settings(found: dict[str, Any]) -> list[str]:
    lines = []
    if "reranked" in found:
        block = found["reranked"]
        lines.append(
            f"reranked: the {block['recall_k']} best by recall; {block['recall_loss']:.2f} % of "
            "sentences lost their video there"
        )
    if "dsl" in found:
        block = found["dsl"]
        lines.append(
            f"dsl: temperature {block['temperature']:.4g}, over all {block['bank_size']} queries "
            "of the test: not comparable with figures that take one query at a time"
        )
    if "qbnorm" in found:
        block = found["qbnorm"]
        lines.append(f"qbnorm: bank of {block['bank_size']} sentences, beta {block['beta']:g}")
    return lines


def show_procedures(found: dict[str, Any]) -> None:
    """CrossTask's recall or COIN's frame accuracy."""
    spread = found.get("sd", {})
    for name, figure, what in (
        ("crosstask", "recall", "average recall of the steps"),
        ("coin", "frame_accuracy", "frame accuracy"),
    ):
        if name in found:
            block = found[name]
            deviation = spread.get(name, {}).get(figure)
            text = "" if deviation is None else f" ± {deviation:.1f}, {found['seeds']} seeds"
            out(f"{found['name']}: {what} {block[figure]:.1f} %{text}, {block['videos']} videos")
            for task, value in block.get("per_task", {}).items():
                out(f"  {task}: {value:.1f} %")
