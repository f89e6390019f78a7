"""The pages of the methods: links lead somewhere, and measured figures are those of results/."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))


def test_there_is_a_page_for_these_methods() -> None:
    assert {"laff", "taco", "camoe"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"
    for named in re.findall(r"`((?:tests|results|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), f"{page.name}: {named} does not exist"


def table(page: str) -> dict[str, list[float]]:
    """Rows of measured figures: label -> numbers."""
    rows = {}
    for line in (ROOT / "docs" / "methods" / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and all(re.fullmatch(r"\d+\.\d", cell) for cell in cells[1:]):
            rows[cells[0]] = [float(cell) for cell in cells[1:]]
    return rows


def rounded(figures: dict[str, float]) -> list[float]:
    return [float(f"{figures[f'r_at_{k}']:.1f}") for k in (1, 5, 10)]


def test_normalisation_figures_are_the_measured_ones() -> None:
    measured = json.loads((ROOT / "results" / "bench-normalisation.json").read_text("utf-8"))[
        "figures"
    ]
    expected = {"no normalisation": rounded(measured["raw"])}
    for name, curve in measured["by_scale"].items():
        expected[f"{name}, scale 20"] = rounded(curve["20"])
    sinkhorn = measured["sinkhorn_by_epsilon"]["0.05"]
    expected["Sinkhorn, ε 0.05, all queries at once"] = rounded(sinkhorn)
    assert table("camoe.md") == expected


def test_fusion_figures_are_the_measured_ones() -> None:
    measured = json.loads((ROOT / "results" / "bench-laff-fusion.json").read_text("utf-8"))[
        "figures"
    ]
    assert table("laff.md") == {name: rounded(row) for name, row in measured["runs"].items()}
