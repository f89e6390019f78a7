"""Paired bootstrap and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from finecut.errors import UsageError
from finecut.learn.evaluation.compare import compare, over_seeds, paired_bootstrap
from finecut.learn.evaluation.evaluate import evaluate_matrix
from finecut.learn.evaluation.result import as_json, as_stored


def difference(figure: str, *args: object, **options: object):
    return next(d for d in paired_bootstrap(*args, **options) if d.figure == figure)  # type: ignore[arg-type]


def test_a_clear_difference_is_found_and_chance_is_not() -> None:
    rng = np.random.default_rng(0)
    worse = rng.integers(1, 20, 400).astype(float)
    better = np.where(rng.random(400) < 0.2, 1.0, worse)
    groups = np.arange(400)
    found = difference("r_at_1", [better], [worse], groups)
    assert found.difference == pytest.approx(100 * ((better <= 1).mean() - (worse <= 1).mean()))
    assert 0 < found.low < found.difference < found.high and found.p < 0.01
    other = rng.permutation(worse)
    found = difference("MIR", [other], [worse], groups)
    assert found.low < 0 < found.high and found.p > 0.05


def test_the_interval_is_that_of_a_binomial_difference() -> None:
    """400 pairs, +1 in 40 of them: mean 10 points, standard error sqrt(p (1 - p) / n)."""
    ours, theirs = np.ones(400), np.ones(400)
    theirs[:40] = 2.0
    found = difference("r_at_1", [ours], [theirs], np.arange(400))
    error = 100 * np.sqrt(0.1 * 0.9 / 400)
    assert found.low == pytest.approx(10 - 1.96 * error, abs=0.5)
    assert found.high == pytest.approx(10 + 1.96 * error, abs=0.5)


def test_captions_of_one_video_are_drawn_together() -> None:
    """20 captions of each of 20 videos that agree: no more is known than from 20 queries."""
    ours = np.repeat(np.r_[np.ones(12), np.full(8, 3.0)], 20)
    theirs = np.full(400, 2.0)
    alone = difference("r_at_1", [ours], [theirs], np.arange(400))
    together = difference("r_at_1", [ours], [theirs], np.repeat(np.arange(20), 20))
    assert together.difference == alone.difference == 60.0
    assert (together.high - together.low) > 3 * (alone.high - alone.low)


def test_the_order_of_groups_and_the_block_size_do_not_matter(monkeypatch) -> None:
    from finecut.learn.evaluation import compare as module

    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(1, 5, (2, 50)).astype(float)
    groups = np.repeat(np.arange(10), 5)
    once = difference("r_at_5", [ours], [theirs], groups, samples=200)
    monkeypatch.setattr(module, "BLOCK_CELLS", 30)
    assert difference("r_at_5", [ours], [theirs], groups, samples=200) == once


def test_seeds_are_averaged_query_by_query() -> None:
    a, b, theirs = np.array([1.0, 2.0]), np.array([2.0, 2.0]), np.array([2.0, 2.0])
    found = difference("r_at_1", [a, b], [theirs], np.arange(2), samples=50)
    assert (found.ours, found.theirs) == (25.0, 0.0)
    with pytest.raises(UsageError, match="the same 2 queries"):
        paired_bootstrap([a], [np.ones(3)], np.arange(2))


def matrices() -> list:
    rng = np.random.default_rng(2)
    return [evaluate_matrix(np.eye(6) + rng.normal(size=(6, 6)), range(6)) for _ in range(3)]


def test_several_seeds_give_mean_and_deviation() -> None:
    reports = matrices()
    found = as_json(reports)
    singles = [report.to_json()["v2t"]["MnR"] for report in reports]
    assert found["v2t"]["MnR"] == pytest.approx(np.mean(singles))
    assert found["sd"]["v2t"]["MnR"] == pytest.approx(np.std(singles, ddof=1))
    assert found["seeds"] == 3 and [run["v2t"]["MnR"] for run in found["runs"]] == singles
    assert "gallery" not in found["sd"] and found["gallery"] == 6
    assert "sd" not in as_json(reports[:1])


def test_seeds_of_different_tests_are_refused() -> None:
    with pytest.raises(UsageError, match="different queries or galleries"):
        as_json([matrices()[0], evaluate_matrix(np.eye(5), range(5))])


def test_settings_are_kept_not_averaged() -> None:
    mean, spread = over_seeds([{"temperature": 0.01, "x": 1.0}, {"temperature": 0.02, "x": 2.0}])
    assert mean == {"temperature": 0.01, "x": 1.5} and set(spread) == {"x"}


def test_stored_results_are_compared_column_by_column() -> None:
    stored = [as_stored([report]) for report in matrices()]
    found = compare(stored[0], stored[1])
    assert set(found) == {"plain"} and set(found["plain"]) == {"t2v", "v2t"}
    mine = found["plain"]["t2v"][0]
    assert mine["figure"] == "r_at_1"
    assert mine["ours"] == pytest.approx(stored[0]["t2v"]["r_at_1"])
    with pytest.raises(UsageError, match="other queries or another gallery"):
        compare(stored[0], as_stored([evaluate_matrix(np.eye(5), range(5))]))
    with pytest.raises(UsageError, match="holds no ranks"):
        compare(stored[0], {"t2v": {}})


@pytest.mark.parametrize(("ranks", "message"), [
    ([{}], "no column in common"),
    (["plain"], "t2v ranks of 'plain' cannot be read"),
    ([{"plain": {}}], "t2v ranks of 'plain' cannot be read"),
    ([{"plain": {"t2v": ["x"], "v2t": []}}], "t2v ranks of 'plain' cannot be read"),
    ([{"plain": {"t2v": [None], "v2t": []}}], "not all numbers from 1"),
    ([{"plain": {"t2v": [0.0], "v2t": []}}], "not all numbers from 1"),
])  # fmt: skip
def test_ranks_that_are_none_are_refused(ranks: list, message: str) -> None:
    stored = as_stored([matrices()[0]])
    with pytest.raises(UsageError, match=message):
        compare(stored, {**stored, "ranks": ranks})
