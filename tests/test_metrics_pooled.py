"""Inferred measures: what they must be where everything is judged, and what they refuse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut import metrics_pooled as pooled
from finecut.errors import ShapeError


@st.composite
def judged_run(draw: st.DrawFn):
    size = draw(st.integers(1, 12))
    names = [f"d{i:02d}" for i in range(size)]
    relevant = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    relevant[draw(st.integers(0, size - 1))] = 1
    strata = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
    scores = draw(st.permutations(range(size)))
    qrels = {"t": {n: (s, r) for n, s, r in zip(names, strata, relevant, strict=True)}}
    return qrels, {"t": {n: float(s) for n, s in zip(names, scores, strict=True)}}


@settings(max_examples=60, deadline=None)
@given(judged_run())
def test_where_all_is_judged_inferred_is_plain(case) -> None:
    qrels, run = case
    plain = pooled.average_precision_per_topic(qrels, run)["t"]
    assert pooled.xinf_ap(qrels, run) == pytest.approx(plain, abs=2e-4)
    assert pooled.inf_ap(qrels, run) == pytest.approx(plain, abs=2e-4)
    relevant = sum(r for _, r in qrels["t"].values())
    assert pooled.estimated_relevant(qrels) == pytest.approx(relevant)
    assert pooled.xinf_precision(qrels, run, 12) == pytest.approx(relevant / 12, abs=1e-4)
    order = pooled.ranking(run["t"])
    dcg = sum(qrels["t"][d][1] / math.log2(p + 1) for p, d in enumerate(order, start=1))
    ideal = sum(1 / math.log2(p + 1) for p in range(1, relevant + 1))
    assert pooled.xinf_ndcg(qrels, run) == pytest.approx(dcg / ideal)


def test_topics_missing_from_the_run_are_left_out_of_the_mean() -> None:
    qrels = {"a": {"x": (1, 1)}, "b": {"y": (1, 1)}}
    assert pooled.xinf_ap(qrels, {"a": {"x": 1.0}, "z": {"x": 1.0}}) == pytest.approx(1.0)


def test_a_topic_without_relevant_documents_scores_0() -> None:
    qrels, run = {"a": {"x": (1, 0), "y": (1, -1)}}, {"a": {"x": 1.0, "y": 0.5}}
    assert pooled.xinf_ap(qrels, run) == 0.0
    assert pooled.inf_ap(qrels, run) == 0.0
    assert pooled.xinf_ndcg(qrels, run) == 0.0


def test_only_the_first_documents_count() -> None:
    run = {"a": {f"d{i:04d}": -float(i) for i in range(1200)}}
    last, beyond = {"a": {"d0999": (1, 1)}}, {"a": {"d1000": (1, 1)}}
    assert pooled.xinf_ap(last, run) > 0.0
    assert pooled.xinf_ap(beyond, run) == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pooled.read_qrels(["1501 0 shot"]), "line 1.*3 columns"),
        (lambda: pooled.read_qrels(["", "1501 0 shot 1 x"]), "line 2"),
        (lambda: pooled.read_run(["1501 Q0 shot 1 9"]), "line 1"),
        (lambda: pooled.read_run(["1501 Q0 shot 1 high me"]), "line 1"),
        (lambda: pooled.xinf_ap({"a": {}}, {"b": {"x": 1.0}}), "no topic in common"),
        (lambda: pooled.ranking({"x": math.nan}), "'x'.*not finite"),
        (lambda: pooled.xinf_precision({}, {}, 0), "k is 0"),
    ],
)
def test_what_is_refused(call, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


def test_files_are_read_as_the_tools_write_them() -> None:
    qrels = pooled.read_qrels(["1501 0 a 1 1", "1501 0 b 2 -1", "1502 0 a 0"])
    assert qrels == {"1501": {"a": (1, 1), "b": (2, -1)}, "1502": {"a": (1, 0)}}
    assert pooled.read_run(["1501 Q0 a 1 9998 x", ""]) == {"1501": {"a": 9998.0}}
