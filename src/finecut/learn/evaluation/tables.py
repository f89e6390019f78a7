"""Tables of published and measured figures, written into README and docs from ``results/``.

``results/published/*.json`` holds, for each of the five articles, every published cell that is
known here: the figure, where it stands, how far it can be trusted, and ours: "not run", or the
result file of ``finecut evaluate --output`` it is read from. No figure is typed into a page:
between ``<!-- figures: NAME -->`` and ``<!-- end of figures -->`` stands what this module makes.

    python -m finecut.learn.evaluation.tables            # write the pages
    python -m finecut.learn.evaluation.tables --check    # fail where one is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finecut.errors import FinecutError
from finecut.learn.evaluation.whole_file import whole_file

ROOT = Path(__file__).parents[4]
NOT_RUN = "not run"
MARKS = {
    "paper": ("p", "read in the article"),
    "code": ("c", "read in the authors' repository"),
    "second-hand": ("s", "copied in a later publication"),
    "listing": ("l", "from a public listing of results"),
    "issue": ("i", "stated in an issue of the repository"),
    "memory": ("m", "from memory, not checked"),
    "withheld": ("?", "known with so little confidence that it is not printed"),
}
METRICS = (
    "R@1", "R@5", "R@10", "R@50", "MdR", "MnR", "xinfAP", "average recall", "frame accuracy",
)  # fmt: skip
OURS = {"R@1": "r_at_1", "R@5": "r_at_5", "R@10": "r_at_10", "R@50": "r_at_50"}
KINDS = ("main", "baseline", "zero-shot", "ablation", "reproduction")
_BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


class ResultsError(FinecutError):
    """A results file that says something it may not."""


@dataclass(frozen=True)
class Figure:
    """A published number; None where it is too uncertain to print."""

    value: float | None
    mark: str


@dataclass(frozen=True)
class Row:
    """One line of a published table, and ours."""

    method: str
    variant: str
    backbone: str
    data: str
    direction: str
    column: str
    kind: str
    source: str
    paper: dict[str, Figure]
    ours: str
    headline: bool = False


def read_published(folder: Path) -> dict[str, list[Row]]:
    """Rows by page, from every ``*.json`` of the folder.

    Raises:
        ResultsError: a file lacks something, or a mark or metric is not known.
    """
    found: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        try:
            found[data["page"]] = [_row(data["method"], row) for row in data["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{path}: {type(error).__name__}: {error}") from error
    if not found:
        raise ResultsError(f"{folder} holds no published figures.")
    return found


def _row(method: str, row: dict[str, Any]) -> Row:
    figures = {}
    for name, cell in row["paper"].items():
        if name not in METRICS or cell["mark"] not in MARKS:
            raise ValueError(f"unknown metric or mark: {name} {cell}")
        if (cell["value"] is None) != (cell["mark"] == "withheld"):
            raise ValueError(f"a figure is withheld or has a value: {name} {cell}")
        figures[name] = Figure(cell["value"], cell["mark"])
    if row["kind"] not in KINDS or not figures or not row["source"]:
        raise ValueError(f"a row needs a known kind, figures and a source: {row}")
    return Row(
        method, row["variant"], row.get("backbone", ""), row["data"], row["direction"],
        row["column"], row["kind"], row["source"], figures, row["ours"],
        bool(row.get("headline")),
    )  # fmt: skip


def ours_text(row: Row, root: Path) -> str:
    """What we measured for a row: "not run", or the figures of its result file.

    Raises:
        ResultsError: the file is missing, is of another method, or is no standard run.
    """
    if row.ours == NOT_RUN:
        return NOT_RUN
    path = root / row.ours
    if not path.is_file():
        raise ResultsError(f"{row.method} {row.data}: ours is {row.ours}, which does not exist.")
    result = json.loads(path.read_text(encoding="utf-8"))
    if not result.get("standard"):
        raise ResultsError(
            f"{row.ours} is no standard run ({result.get('why_not')}): it may not stand beside "
            f"published figures of {row.data}."
        )
    word = row.column.split()[0]
    block = {"plain": "", "re-ranked": "reranked", "+": "dsl"}[word]
    figures = (result[block] if block else result)[row.direction]
    spread = result.get("sd", {})
    spread = (spread.get(block, {}) if block else spread).get(row.direction, {})
    parts = []
    for name in row.paper:
        key = OURS.get(name, name)
        if key in figures:
            deviation = f" ± {spread[key]:.1f}" if key in spread else ""
            parts.append(f"{name} {figures[key]:.1f}{deviation}")
    return ", ".join(parts)


def table(rows: Sequence[Row], root: Path, *, method: bool = False, source: bool = False) -> str:
    """Rows as a Markdown table; every published figure carries its mark, explained below."""
    metrics = [name for name in METRICS if any(name in row.paper for row in rows)]
    head = ["system", *(["article's variant"] if method else []), "set", "direction", "scores"]
    head = [*head, *metrics, *(["where"] if source else []), "ours"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        name = ", ".join(part for part in (row.variant, row.backbone) if part)
        cells = [row.method, name] if method else [name]
        cells += [row.data, row.direction, row.column]
        cells += [_cell(metric, row.paper.get(metric)) for metric in metrics]
        lines.append([*cells, *([row.source] if source else []), ours_text(row, root)])
    used = {figure.mark for row in rows for figure in row.paper.values()}
    legend = "; ".join(f"{MARKS[mark][0]}: {MARKS[mark][1]}" for mark in MARKS if mark in used)
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"{text}\n\nThe figures are the articles'; {legend}. The last column is ours.\n"


def _cell(metric: str, figure: Figure | None) -> str:
    if figure is None:
        return ""
    sign = MARKS[figure.mark][0]
    digits = {"MdR": "g", "xinfAP": ".3f"}.get(metric, ".1f")
    return sign if figure.value is None else f"{figure.value:{digits}} {sign}"


def blocks(root: Path = ROOT) -> dict[str, str]:
    """Every block by name: ``headline``, a page's main rows, and ``PAGE-all``."""
    published = read_published(root / "results" / "published")
    made = {}
    for page, rows in published.items():
        made[page] = table([row for row in rows if row.kind == "main"], root)
        made[f"{page}-all"] = table(sorted_by_kind(rows), root, source=True)
    chosen = [row for rows in published.values() for row in rows if row.headline]
    made["headline"] = table(chosen, root, method=True)
    return made


def sorted_by_kind(rows: Sequence[Row]) -> list[Row]:
    """Main rows first, then baselines, and so on; otherwise as in the file."""
    return sorted(rows, key=lambda row: KINDS.index(row.kind))


def fill(page: str, made: dict[str, str]) -> str:
    """A page with every block replaced by what it should be.

    Raises:
        ResultsError: the page names a block that there is not.

    >>> fill("<!-- figures: x -->\\nold\\n<!-- end of figures -->", {"x": "new\\n"})
    '<!-- figures: x -->\\nnew\\n<!-- end of figures -->'
    """

    def replaced(match: re.Match[str]) -> str:
        if match[2] not in made:
            raise ResultsError(f"There is no table {match[2]!r}; there are {sorted(made)}.")
        return match[1] + made[match[2]] + match[3]

    return _BLOCK.sub(replaced, page)


def pages(root: Path = ROOT) -> list[Path]:
    """Pages that hold a block."""
    every = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [page for page in every if _BLOCK.search(page.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write all pages, or with ``--check`` name those out of date; 1 where there are any."""
    parser = argparse.ArgumentParser(prog="python -m finecut.learn.evaluation.tables")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a stale page")
    check = parser.parse_args(arguments).check
    made = blocks()
    stale = 0
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = fill(before, made)
        if after != before:
            stale += 1
            sys.stderr.write(f"{page.relative_to(ROOT)}: {'out of date' if check else 'written'}\n")
            if not check:
                with whole_file(page) as part:
                    part.write_text(after, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
