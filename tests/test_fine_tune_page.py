"""Figures on docs/fine-tune.md are those of the stored experiment."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS = ("t2v_r_at_1", "t2v_r_at_5", "t2v_r_at_10", "t2v_MdR", "v2t_r_at_1", "v2t_r_at_10")


def test_the_page_shows_what_was_measured():
    body = json.loads((ROOT / "results/repro-finetune-starter.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/fine-tune.md").read_text(encoding="utf-8")
    for label, key in (("the starter as it is", "starter"), ("fine-tuned", "fine-tuned")):
        figures = body["summary"][f"exercises/{key}"]
        cells = [f"{figures[c]['mean']:.1f} ± {figures[c]['sd']:.1f}" for c in COLUMNS]
        assert f"| {label} | {' | '.join(cells)} |" in page
        assert all(figures[c]["seeds"] >= 3 for c in COLUMNS)
    assert body["command"] in page
