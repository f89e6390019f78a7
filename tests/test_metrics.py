"""Metrics against plain loops and, for ties, against the average over every order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut import metrics
from finecut.errors import ShapeError

few_scores = st.integers(-2, 2)  # few values, so that ties are common


@st.composite
def scored_rows(draw: st.DrawFn, max_items: int = 6) -> tuple[list[int], list[bool]]:
    size = draw(st.integers(1, max_items))
    scores = draw(st.lists(few_scores, min_size=size, max_size=size))
    relevant = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    relevant[draw(st.integers(0, size - 1))] = True
    return scores, relevant


def every_order(scores: list[int]) -> list[tuple[int, ...]]:
    """Every ranking that fits the scores, each as likely as any other."""
    return [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


@settings(max_examples=60, deadline=None)
@given(scored_rows())
def test_ranks_are_the_mean_over_every_order_of_ties(row: tuple[list[int], list[bool]]) -> None:
    scores, relevant = row
    orders = every_order(scores)
    expected = np.mean([1 + min(o.index(i) for i, r in enumerate(relevant) if r) for o in orders])
    assert metrics.ranks([scores], [relevant])[0] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(scored_rows())
def test_average_precision_is_the_mean_over_every_order(row: tuple[list[int], list[bool]]) -> None:
    scores, relevant = row

    def average_precision(order: tuple[int, ...]) -> float:
        hits, total = 0, 0.0
        for place, item in enumerate(order, start=1):
            if relevant[item]:
                hits += 1
                total += hits / place
        return total / sum(relevant)

    expected = np.mean([average_precision(order) for order in every_order(scores)])
    assert metrics.mean_average_precision([scores], [relevant]) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(scored_rows(5), st.integers(1, 6))
def test_ndcg_is_the_mean_over_every_order(row: tuple[list[int], list[bool]], k: int) -> None:
    scores, relevant = row
    gains = [2.0 * r for r in relevant]

    def dcg(order: tuple[int, ...]) -> float:
        return sum(gains[item] / math.log2(p + 2) for p, item in enumerate(order[:k]))

    ideal = dcg(tuple(sorted(range(len(gains)), key=lambda i: -gains[i])))
    expected = np.mean([dcg(order) for order in every_order(scores)]) / ideal
    assert metrics.ndcg([scores], [gains], k) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000))
def test_gallery_order_changes_nothing(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sims = rng.integers(0, 3, (size, size)).astype(float)
    shuffle = rng.permutation(size)
    truth = np.argsort(shuffle)  # where column i went
    plain, moved = metrics.ranks(sims), metrics.ranks(sims[:, shuffle], truth)
    assert plain.tolist() == moved.tolist()
    figures = metrics.summary(plain)
    assert figures["r_at_1"] <= figures["r_at_5"] <= figures["r_at_10"]
    assert figures["RSum"] == pytest.approx(sum(figures[f"r_at_{k}"] for k in (1, 5, 10)))


def test_a_constant_matrix_scores_like_chance() -> None:
    ranks = metrics.ranks(np.zeros((101, 101)))
    assert (ranks == 51.0).all()
    assert metrics.recall_at(ranks, 10) == 0.0


def test_half_precision_ties_do_not_become_extra_queries() -> None:
    sims = np.random.default_rng(0).random((60, 60)).astype(np.float16)
    assert len(metrics.ranks(sims)) == 60
    assert metrics.ranks(sims).tolist() == metrics.ranks(sims.astype(np.float64)).tolist()


def test_ranking_by_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sims = np.random.default_rng(1).integers(0, 5, (23, 23))
    whole = metrics.ranks(sims)
    monkeypatch.setattr(metrics, "CHUNK_CELLS", 50)
    assert metrics.ranks(sims).tolist() == whole.tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 999))
def test_v2t_takes_the_best_caption_of_each_group(captions: list[int], seed: int) -> None:
    owner = [video for video, count in enumerate(captions) for _ in range(count)]
    videos = len(captions)
    sims = np.random.default_rng(seed).random((len(owner), videos))
    expected = []
    for video in range(videos):
        group = [max(sims[i, video] for i, o in enumerate(owner) if o == u) for u in range(videos)]
        expected.append(1 + sum(score > group[video] for score in group))
    assert metrics.v2t(sims, owner) == metrics.summary(expected)
    assert metrics.t2v(sims, owner) == metrics.summary(
        [1 + (row > row[o]).sum() for row, o in zip(sims, owner, strict=True)]
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.ranks([[1.0, math.nan], [0.0, 1.0]]), "1 of 4 entries are not finite"),
        (lambda: metrics.ranks([[1.0, math.inf], [0.0, 1.0]]), "1 of 4 entries are not finite"),
        (lambda: metrics.ranks(np.zeros((2, 3))), r"must be square.*\(2, 3\)"),
        (lambda: metrics.ranks(np.zeros((2, 3)), [0, 3]), "from 0 to 3, expected 0 to 2"),
        (lambda: metrics.ranks(np.zeros((2, 3)), [0.0, 1.0]), "got shape .* of float64"),
        (lambda: metrics.ranks(np.zeros((1, 2)), [[False, False]]), "1 rows have no relevant"),
        (lambda: metrics.ranks(np.zeros((0, 2)), []), "non-empty"),
        (lambda: metrics.ranks([["a"]]), "expected numbers"),
        (lambda: metrics.recall_at([1.0], 0), "k is 0"),
        (lambda: metrics.recall_at([0.5], 1), "ranks from 1"),
        (lambda: metrics.v2t(np.zeros((2, 2)), [0, 0]), "1 of 2 videos have no caption"),
        (lambda: metrics.ndcg([[1.0, 2.0]], [[0.0, 0.0]]), "at least one positive"),
        (lambda: metrics.ndcg([[1.0, 2.0]], [[0.0, -1.0]]), "zero or more"),
        (lambda: metrics.moment_iou([2.0, 1.0], [0.0, 1.0]), "predicted: an interval ends"),
        (lambda: metrics.mean_iou([[[0, 1]]], [[0, 1], [0, 1]]), "1 queries predicted"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


seconds = st.floats(0, 50, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(seconds, seconds, seconds, seconds)
def test_iou_is_what_counting_says(a: float, b: float, c: float, d: float) -> None:
    one, two = sorted((a, b)), sorted((c, d))
    iou = float(metrics.moment_iou(one, two))
    assert 0.0 <= iou <= 1.0
    assert iou == float(metrics.moment_iou(two, one))
    if one[0] < one[1]:
        assert float(metrics.moment_iou(one, one)) == 1.0
    overlap = max(0.0, min(one[1], two[1]) - max(one[0], two[0]))
    union = (one[1] - one[0]) + (two[1] - two[0]) - overlap
    assert iou == pytest.approx(overlap / union if union > 0 else 0.0)


def test_moment_recall_counts_only_the_first_k() -> None:
    found = [[[9, 10], [0, 4]], [], [[0, 8]]]
    truth = [[0, 4], [1, 2], [0, 4]]
    assert metrics.moment_recall_at(found, truth, k=1, iou=0.5) == pytest.approx(100 / 3)
    assert metrics.moment_recall_at(found, truth, k=2, iou=0.5) == pytest.approx(200 / 3)
    assert metrics.moment_recall_at(found, truth, k=2, iou=0.7) == pytest.approx(100 / 3)
    assert metrics.mean_iou(found, truth) == pytest.approx((0 + 0 + 0.5) / 3 * 100)
