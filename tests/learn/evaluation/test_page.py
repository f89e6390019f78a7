"""docs/evaluation.md says what was measured and what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "evaluation.md").read_text("utf-8")


def test_the_measured_speed_is_what_the_page_says() -> None:
    measured = json.loads((ROOT / "results" / "bench-evaluate.json").read_text("utf-8"))["figures"]
    sides = measured["sides"]
    assert f"takes {sides['ours']['cpu_s']['all']:.1f} s of one core" in PAGE
    assert f"against {sides['reference']['cpu_s']['all']:.1f} s" in PAGE
    assert f"{measured['times_faster_match_and_rank']:.1f} times less" in PAGE
    assert f"medians of {measured['repeats']} by" in PAGE
    assert measured["shapes"]["sentences"] == measured["shapes"]["videos"] == 1000


@pytest.mark.parametrize("page", ["evaluation.md", "published-results.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target


def test_every_option_named_on_the_page_exists() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text("utf-8")
    named = set(re.findall(r"--[a-z-]+", PAGE))
    assert len(named) > 10
    assert [option for option in sorted(named) if option not in reference] == []
