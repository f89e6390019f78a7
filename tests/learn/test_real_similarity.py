"""Metrics and normalisations on a real model's similarities, whose figures are known.

The known figures were counted before the matrix was rounded to half precision, with ties against
the query; a tenth of 5,000 queries may move by rounding, so they are met within 0.4 points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finecut import metrics
from finecut.learn import normalise

WITHIN = 0.4  # points of R@K


@pytest.fixture(scope="module")
def real(shared: Path) -> dict[str, np.ndarray]:
    folder = shared / "data" / "real_similarity"
    return {
        "sims": np.load(folder / "t2i_5000x1000.npy").astype(np.float32),
        "bank": np.load(folder / "querybank_3000x1000.npy").astype(np.float32),
        "truth": np.load(folder / "text_to_image.npy").astype(np.int64),
    }


def figures(sims: np.ndarray, truth: np.ndarray) -> list[float]:
    table = metrics.t2v(sims, truth)
    return [table[f"r_at_{k}"] for k in (1, 5, 10)]


def test_raw(real: dict[str, np.ndarray]) -> None:
    assert figures(real["sims"], real["truth"]) == pytest.approx([21.2, 51.7, 64.3], abs=WITHIN)
    assert metrics.t2v(real["sims"], real["truth"])["MdR"] == pytest.approx(5, abs=0.5)


def test_query_bank_normalisation(real: dict[str, np.ndarray]) -> None:
    answer = normalise.dynamic_inverted_softmax(real["sims"], real["bank"], 20.0, 1)
    assert figures(answer.scores, real["truth"]) == pytest.approx([23.9, 53.0, 66.5], abs=WITHIN)


@pytest.mark.parametrize(("scale", "known"), [(20, [24.2, 54.7, 68.1]), (100, [20.1, 49.7, 65.1])])
def test_dual_softmax_helps_and_too_much_of_it_hurts(
    real: dict[str, np.ndarray], scale: int, known: list[float]
) -> None:
    scores = normalise.dual_softmax(real["sims"], 1 / scale)
    assert figures(scores, real["truth"]) == pytest.approx(known, abs=WITHIN)


def test_dual_softmax_with_one_caption_an_image(real: dict[str, np.ndarray]) -> None:
    first = np.unique(real["truth"], return_index=True)[1]
    sims, truth = real["sims"][first], real["truth"][first]
    assert figures(sims, truth) == pytest.approx([21.9, 52.0, 64.3], abs=WITHIN)
    scores = normalise.dual_softmax(sims, 1 / 20)
    assert figures(scores, truth) == pytest.approx([26.4, 55.9, 68.0], abs=WITHIN)


def test_a_bank_of_other_queries_helps_one_query_at_a_time(real: dict[str, np.ndarray]) -> None:
    bank = normalise.QueryBank.build(real["bank"], 1 / 20)
    raw = figures(real["sims"], real["truth"])
    for scores in (bank.scores(real["sims"]), bank.log_scores(real["sims"])):
        assert figures(scores, real["truth"])[0] > raw[0] + 1.0


def test_sinkhorn_spreads_the_hubs(real: dict[str, np.ndarray]) -> None:
    plan = normalise.sinkhorn(real["sims"][:1000], 0.05, 10)
    top = [np.bincount(s.argmax(1), minlength=1000).max() for s in (real["sims"][:1000], plan)]
    assert top[1] < top[0]
