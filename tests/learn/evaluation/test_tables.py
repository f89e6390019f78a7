"""Tables in README and docs are those of the results; a published figure never becomes ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finecut.learn.evaluation import tables
from finecut.learn.evaluation.tables import Figure, ResultsError, Row

PAGES = ("clip4clip", "eercf", "camoe", "laff", "taco")


def test_every_page_is_what_the_results_say() -> None:
    made = tables.blocks()
    found = tables.pages()
    names = {page.name for page in found}
    assert names >= {"README.md", "published-results.md", *(f"{page}.md" for page in PAGES)}
    for page in found:
        text = page.read_text(encoding="utf-8")
        assert tables.fill(text, made) == text, (
            f"{page.name}: run python -m finecut.learn.evaluation.tables"
        )


def test_all_five_articles_are_there_with_sources() -> None:
    published = tables.read_published(tables.ROOT / "results" / "published")
    assert set(published) == set(PAGES)
    rows = [row for page in published.values() for row in page]
    assert len(rows) >= 180
    assert all(row.source and row.paper for row in rows)
    assert sum(row.headline for row in rows) == 6


@pytest.mark.parametrize(
    ("page", "variant", "data", "direction", "column", "figures"),
    [  # a few cells against the specifications
        ("clip4clip", "meanP", "MSR-VTT 1k-A (9k)", "t2v", "plain", {"R@1": 43.1, "MnR": 16.2}),
        ("clip4clip", "tightTransf", "DiDeMo", "t2v", "plain", {"R@1": 25.8, "MdR": 5}),
        ("eercf", "EERCF", "MSR-VTT 1k-A (9k)", "v2t", "re-ranked 50", {"R@1": 44.7}),
        ("camoe", "CAMoE", "MSR-VTT full", "v2t", "+ DSL", {"R@1": 59.8, "R@10": 92.8}),
        ("laff", "LAFF-ml", "TGIF", "t2v", "plain", {"R@1": 24.5, "MdR": 8}),
        ("taco", "L1 + L2 + L3, cascade", "YouCook2", "t2v", "plain", {"R@1": 15.8, "MdR": 10}),
    ],
)
def test_cells_are_those_of_the_articles(
    page: str, variant: str, data: str, direction: str, column: str, figures: dict[str, float]
) -> None:
    published = tables.read_published(tables.ROOT / "results" / "published")
    (row,) = [
        row
        for row in published[page]
        if (row.variant, row.data, row.direction, row.column) == (variant, data, direction, column)
    ]
    assert {name: row.paper[name].value for name in figures} == figures


def test_only_taco_was_read_and_the_letters_say_so() -> None:
    published = tables.read_published(tables.ROOT / "results" / "published")
    for page, rows in published.items():
        marks = {figure.mark for row in rows for figure in row.paper.values()}
        assert ("paper" in marks) == (page == "taco")


ROW = Row(
    "EERCF", "EERCF", "B", "MSVD", "t2v", "re-ranked 50", "main", "Table 9",
    {"R@1": Figure(47.0, "memory"), "R@5": Figure(None, "withheld")}, "not run",
)  # fmt: skip


def write_ours(root: Path, **changes: object) -> Row:
    block = {"t2v": {"r_at_1": 41.25, "r_at_5": 70.0}}
    sd = {"reranked": {"t2v": {"r_at_1": 0.31, "r_at_5": 0.4}}}
    result = {"standard": True, "t2v": {"r_at_1": 1.0}, "reranked": block, "sd": sd}
    (root / "x.json").write_text(json.dumps({**result, **changes}))
    return replace(ROW, ours="x.json")


def test_ours_is_read_from_a_standard_run_of_the_same_column(tmp_path: Path) -> None:
    assert tables.ours_text(ROW, tmp_path) == "not run"
    row = write_ours(tmp_path)
    assert tables.ours_text(row, tmp_path) == "R@1 41.2 ± 0.3, R@5 70.0 ± 0.4"
    text = tables.table([row], tmp_path)
    assert "| 47.0 m | ? | R@1 41.2 ± 0.3, R@5 70.0 ± 0.4 |" in text
    assert "m: from memory, not checked; ?: known with so little" in text
    row = write_ours(tmp_path, standard=False, why_not="3 videos are missing")
    with pytest.raises(ResultsError, match="no standard run \\(3 videos are missing\\)"):
        tables.ours_text(row, tmp_path)
    with pytest.raises(ResultsError, match="does not exist"):
        tables.ours_text(replace(ROW, ours="none.json"), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "best"},
        {"source": ""},
        {"paper": {}},
        {"paper": {"R@2": {"value": 1.0, "mark": "paper"}}},
        {"paper": {"R@1": {"value": 1.0, "mark": "hearsay"}}},
        {"paper": {"R@1": {"value": None, "mark": "memory"}}},
        {"paper": {"R@1": {"value": 1.0, "mark": "withheld"}}},
    ],
)
def test_a_cell_without_source_or_mark_is_refused(change: dict, tmp_path: Path) -> None:
    row = {
        "variant": "v", "data": "d", "direction": "t2v", "column": "plain", "kind": "main",
        "source": "Table 1", "paper": {"R@1": {"value": 1.0, "mark": "paper"}}, "ours": "not run",
    }  # fmt: skip
    file = {"method": "M", "page": "m", "rows": [row]}
    (tmp_path / "m.json").write_text(json.dumps(file))
    assert tables.read_published(tmp_path)["m"][0].paper["R@1"] == Figure(1.0, "paper")
    (tmp_path / "m.json").write_text(json.dumps({**file, "rows": [{**row, **change}]}))
    with pytest.raises(ResultsError, match=r"m\.json: ValueError"):
        tables.read_published(tmp_path)


def test_a_stale_page_is_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- figures: x -->\nold 43.1\n<!-- end of figures -->\nb\n")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "blocks", lambda: {"x": "new\n"})
    monkeypatch.setattr(tables, "pages", lambda: [page])
    assert tables.main(["--check"]) == 1 and "old" in page.read_text()
    assert tables.main([]) == 0
    assert page.read_text() == "a\n<!-- figures: x -->\nnew\n<!-- end of figures -->\nb\n"
    assert tables.main(["--check"]) == 0
    assert "README.md: out of date" in capsys.readouterr().err
    with pytest.raises(ResultsError, match="no table 'y'"):
        tables.fill("<!-- figures: y -->\n<!-- end of figures -->", {"x": ""})
