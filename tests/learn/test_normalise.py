"""Evaluation normalisations: loops, limits, and what one query at a time must give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn import normalise


def matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


shapes = (st.integers(1, 6), st.integers(1, 5), st.integers(0, 999))


@settings(max_examples=30, deadline=None)
@given(*shapes)
def test_dual_softmax_is_the_product(queries: int, videos: int, seed: int) -> None:
    s = matrix(queries, videos, seed)
    prior = np.exp(s / 0.5) / np.exp(s / 0.5).sum(axis=0)
    np.testing.assert_allclose(normalise.dual_softmax(s, 0.5), s * prior * queries)
    back = normalise.dual_softmax(s, 0.5, "v2t")
    np.testing.assert_allclose(back.T, normalise.dual_softmax(s.T, 0.5))


def test_dual_softmax_survives_large_logits() -> None:
    out = normalise.dual_softmax(matrix(4, 4, 0) * 1e5)
    assert np.isfinite(out).all()


@settings(max_examples=30, deadline=None)
@given(*shapes)
def test_one_query_at_a_time_equals_a_bank_with_that_query(q: int, g: int, seed: int) -> None:
    bank, sims = matrix(4, g, seed), matrix(q, g, seed + 1)
    scores = normalise.QueryBank.build(bank, 0.3).scores(sims)
    for row in range(q):
        together = np.vstack([bank, sims[row : row + 1]])
        expected = normalise.dual_softmax(together, 0.3)[-1] / len(together)
        np.testing.assert_allclose(scores[row], expected)


@settings(max_examples=20, deadline=None)
@given(*shapes)
def test_a_bank_grows_as_if_built_at_once(q: int, g: int, seed: int) -> None:
    bank, more = matrix(3, g, seed), matrix(q, g, seed + 1)
    grown = normalise.QueryBank.build(bank).extend(more)
    whole = normalise.QueryBank.build(np.vstack([bank, more]))
    np.testing.assert_allclose(grown.log_sums, whole.log_sums)
    assert grown.size == whole.size == 3 + q
    wide = normalise.QueryBank.build(bank).append_videos(bank[:, :1])
    both = normalise.QueryBank.build(np.hstack([bank, bank[:, :1]]))
    np.testing.assert_allclose(wide.log_sums, both.log_sums)


def test_log_scores_rank_as_the_inverted_softmax() -> None:
    bank, sims = matrix(5, 7, 0), matrix(3, 7, 1)
    built = normalise.QueryBank.build(bank, 0.05)
    log = normalise.inverted_softmax(sims, bank, 20.0, log=True)
    np.testing.assert_allclose(built.log_scores(sims), log)
    np.testing.assert_allclose(np.exp(log), normalise.inverted_softmax(sims, bank, 20.0))


def test_a_bank_survives_its_file(tmp_path: Path) -> None:
    bank = normalise.QueryBank.build(matrix(4, 6, 2), 0.5)
    bank.save(tmp_path / "bank.npz")
    again = normalise.QueryBank.load(tmp_path / "bank.npz")
    assert (again.size, again.temperature) == (4, 0.5)
    np.testing.assert_array_equal(again.log_sums, bank.log_sums)
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    with pytest.raises(UsageError, match="no query bank"):
        normalise.QueryBank.load(tmp_path / "other.npz")


@settings(max_examples=30, deadline=None)
@given(*shapes, st.integers(1, 3))
def test_dynamic_inverted_softmax_touches_hub_queries_only(q: int, g: int, seed: int, k: int):
    sims, bank = matrix(q, g, seed), matrix(4, g, seed + 1)
    before = sims.copy()
    answer = normalise.dynamic_inverted_softmax(sims, bank, 2.0, min(k, g))
    hubs = {int(v) for row in bank for v in np.argsort(-row)[: min(k, g)]}
    rows = [i for i in range(q) if int(sims[i].argmax()) in hubs]
    assert set(answer.activation_set.tolist()) == hubs
    assert answer.normalised_rows.tolist() == rows
    others = [i for i in range(q) if i not in rows]
    np.testing.assert_array_equal(answer.scores[others], before[others])
    np.testing.assert_array_equal(sims, before)  # the authors' code overwrites its input


@settings(max_examples=20, deadline=None)
@given(*shapes)
def test_sinkhorn_meets_its_marginals(queries: int, videos: int, seed: int) -> None:
    plan = np.exp(normalise.sinkhorn(matrix(queries, videos, seed), 1.0, 300))
    np.testing.assert_allclose(plan.sum(axis=1), 1 / queries, rtol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / videos, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: normalise.dual_softmax([[np.nan]]), ShapeError, "sims: expected a finite"),
        (lambda: normalise.dual_softmax([[1.0]], 0.0), UsageError, "temperature is 0.0"),
        (lambda: normalise.inverted_softmax([[1.0, 2.0]], [[1.0]]), ShapeError, "bank: 1 videos"),
        (
            lambda: normalise.dynamic_inverted_softmax([[1.0]], [[1.0]], k=2),
            UsageError,
            "k is 2, expected 1 to 1",
        ),
        (lambda: normalise.sinkhorn([[1.0]], iterations=0), UsageError, "iterations is 0"),
        (
            lambda: normalise.QueryBank.build([[1.0]]).scores([[1.0, 2.0]]),
            ShapeError,
            "2 videos, the bank knows 1",
        ),
        (
            lambda: normalise.QueryBank.build([[1.0]]).append_videos([[1.0], [2.0]]),
            ShapeError,
            "2 queries for a bank of 1",
        ),
    ],
)
def test_what_is_refused(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
