"""Evaluation of every method: parts, chunks and two stages change nothing in the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from finecut import metrics
from finecut.errors import ShapeError
from finecut.learn import normalise
from finecut.learn.encoders.tiny import tiny_clip
from finecut.learn.evaluation import ranking, rerank
from finecut.learn.evaluation.columns import Sims
from finecut.learn.evaluation.evaluate import evaluate_matrix, evaluate_model
from finecut.learn.evaluation.tokens import encode_parts, encode_split
from finecut.learn.methods.protocol import recall_sims
from finecut.learn.two_stage import merge_stages, two_stage
from learn.evaluation.small_split import NoiseClips
from learn.tiny_models import TINY_MODELS

METHODS = sorted(TINY_MODELS)


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return TINY_MODELS[name].build(tiny_clip(3)).eval()


def captioned(sims: np.ndarray, data: NoiseClips) -> tuple[np.ndarray, np.ndarray]:
    """Without the clip that has no caption, as `metrics.v2t` wants it."""
    kept = np.unique(data.video_of_text)
    return sims[:, kept], np.searchsorted(kept, data.video_of_text)


def test_there_are_eight_methods() -> None:
    assert len(METHODS) == 8


@pytest.mark.parametrize("name", METHODS)
def test_every_candidate_re_ranked_is_exhaustive_scoring(name: str) -> None:
    model, data = built(name), NoiseClips(name)
    report = evaluate_model(model, data, recall_k=len(data.video_ids), batch_size=3)
    text, video = encode_split(model, data, batch_size=100)
    with torch.no_grad():
        everything = model.rerank(text, video).scores.numpy()
    found = report.to_json()
    assert found["reranked"]["recall_k"] == 7 and found["reranked"]["recall_loss"] == 0.0
    np.testing.assert_allclose(
        np.diff(report.rows(slice(0, 13)), axis=1), np.diff(everything, axis=1), atol=2e-5
    )
    np.testing.assert_array_equal(
        report.blocks["reranked"].t2v.ranks, metrics.ranks(everything, data.video_of_text)
    )
    expected = metrics.v2t(*captioned(everything, data))
    assert {key: found["reranked"]["v2t"][key] for key in expected} == pytest.approx(expected)
    coarse = recall_sims(text, video).numpy()
    np.testing.assert_array_equal(report.plain.t2v.ranks, metrics.ranks(coarse, data.video_of_text))
    expected = metrics.v2t(*captioned(coarse, data))
    assert {key: found["v2t"][key] for key in expected} == pytest.approx(expected)
    assert evaluate_model(model, data, recall_k=None).ranks() == report.ranks()


@pytest.mark.parametrize("k", [1, 3])
def test_few_candidates_rank_as_the_published_merge(k: int) -> None:
    model, data = built("eercf"), NoiseClips("eercf")
    report = evaluate_model(model, data, recall_k=k)
    text, video = encode_split(model, data)
    coarse, candidates, fine = two_stage(model, text, video, recall_k=k)
    merged = merge_stages(coarse, candidates, fine).numpy()
    column = report.blocks["reranked"]
    np.testing.assert_array_equal(column.t2v.ranks, metrics.ranks(merged, data.video_of_text))
    lost = [right not in row for right, row in zip(data.video_of_text, candidates, strict=True)]
    assert column.settings["recall_loss"] == pytest.approx(100.0 * np.mean(lost))
    assert column.settings["recall_loss"] > 0


def test_only_candidates_are_scored_and_a_chunk_of_texts_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = built("clip4clip-tightTransf"), NoiseClips("clip4clip-tightTransf")
    asked: list[tuple[int, int]] = []
    inner = model.rerank
    monkeypatch.setattr(rerank, "TEXTS_AT_ONCE", 2)
    model.rerank = lambda t, v: (asked.append((len(t), len(v))), inner(t, v))[1]
    split = evaluate_model(model, data, recall_k=2)
    assert sum(texts for texts, _ in asked) == 13 * 2
    assert max(texts for texts, _ in asked) == 2 and {clips for _, clips in asked} == {1}
    monkeypatch.setattr(rerank, "TEXTS_AT_ONCE", 1000)
    assert evaluate_model(model, data, recall_k=2).ranks() == split.ranks()


@pytest.mark.parametrize("cells", [1, 20, 10_000])
def test_the_size_of_chunks_changes_nothing(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sims = rng.normal(size=(30, 9)).astype(np.float32).round(1)  # with ties
    right = np.r_[np.arange(9), rng.integers(0, 9, 21)]
    bank = rng.normal(size=(25, 9)).astype(np.float32)
    monkeypatch.setattr(ranking, "CHUNK_CELLS", cells)
    report = evaluate_matrix(sims, right, dsl=0.2, bank=bank, beta=5.0)

    def t2v(scores: np.ndarray) -> np.ndarray:
        return metrics.ranks(scores, right)

    def v2t(scores: np.ndarray) -> np.ndarray:
        return metrics.ranks(metrics.best_caption_sims(scores, right).T)

    wide = sims.astype(np.float64)
    dsl = {way: normalise.dual_softmax(wide, 0.2, way) for way in ("t2v", "v2t")}
    qbnorm = normalise.dynamic_inverted_softmax(wide, bank, 5.0, 1).scores
    np.testing.assert_array_equal(report.plain.t2v.ranks, t2v(sims))
    np.testing.assert_array_equal(report.plain.v2t.ranks, v2t(sims))
    np.testing.assert_array_equal(report.blocks["dsl"].t2v.ranks, t2v(dsl["t2v"]))
    np.testing.assert_array_equal(report.blocks["dsl"].v2t.ranks, v2t(dsl["v2t"]))
    np.testing.assert_array_equal(report.blocks["qbnorm"].t2v.ranks, t2v(qbnorm))
    np.testing.assert_array_equal(report.blocks["qbnorm"].v2t.ranks, v2t(sims))
    assert report.to_json()["t2v"]["mAP"] == pytest.approx(
        metrics.mean_average_precision(sims, right)
    )


def test_a_bank_of_sentences_cannot_change_video_to_text() -> None:
    rng = np.random.default_rng(1)
    sims, bank = rng.normal(size=(8, 8)), rng.normal(size=(20, 8))
    scores = normalise.inverted_softmax(sims, bank, 3.0, log=True)
    np.testing.assert_array_equal(metrics.ranks(scores.T), metrics.ranks(sims.T))


def test_rsum_is_of_the_three_published_depths() -> None:
    figures = evaluate_matrix(np.eye(3), [0, 1, 2]).to_json()["t2v"]
    assert figures == {
        "r_at_1": 100.0, "r_at_5": 100.0, "r_at_10": 100.0, "r_at_50": 100.0, "RSum": 300.0,
        "MdR": 1.0, "MnR": 1.0, "MIR": 1.0, "mAP": 1.0,
    }  # fmt: skip


def test_a_constant_matrix_scores_as_chance() -> None:
    figures = evaluate_matrix(np.zeros((100, 100)), np.arange(100)).to_json()
    assert figures["t2v"]["r_at_1"] == figures["v2t"]["r_at_1"] == 0.0
    assert figures["t2v"]["MnR"] == 50.5
    assert figures["t2v"]["mAP"] == pytest.approx(np.mean(1 / np.arange(1, 101)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    sims = np.eye(3)
    sims[1, 2] = bad
    with pytest.raises(ShapeError, match="1 of 9 are not finite"):
        evaluate_matrix(sims, [0, 1, 2])


def test_a_model_that_gives_nan_is_refused() -> None:
    model, data = built("clip4clip-meanP"), NoiseClips("clip4clip-meanP")
    with torch.no_grad():
        model.clip.text_projection.fill_(float("nan"))
    with pytest.raises(ShapeError, match="not finite"):
        evaluate_model(model, data)


@pytest.mark.parametrize(
    ("right", "message"),
    [([0, 1], "expected 3 whole"), ([0, 1, 3], "expected 0 to 2"), ([0.0, 1.0, 2.0], "whole")],
)
def test_what_does_not_fit_is_refused(right: list[float], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        evaluate_matrix(np.eye(3), right)
    with pytest.raises(ShapeError, match="2 videos, sims has 3"):
        evaluate_matrix(np.eye(3), [0, 1, 2], bank=np.eye(2))
    with pytest.raises(ShapeError, match="matrix"):
        Sims.of_matrix(np.arange(3))


def test_evaluation_leaves_the_model_in_its_mode() -> None:
    model, data = built("camoe").train(), NoiseClips("camoe")
    trained = evaluate_model(model, data)
    assert model.training
    assert evaluate_model(model.eval(), data).ranks() == trained.ranks()


def test_rows_are_found_in_whatever_part_they_are() -> None:
    model, data = built("taco-clip"), NoiseClips("taco-clip")
    text, video = encode_parts(model, data, batch_size=2)
    whole = video.whole()
    rows = [6, 0, 3, 3, 5]
    picked = video.select(rows)
    assert torch.equal(picked.recall, whole.recall[rows])
    assert torch.equal(picked.frame_embeds, whole.frame_embeds[rows])
    assert torch.equal(text.select([12, 1]).word_embeds, text.whole().word_embeds[[12, 1]])
    assert len(video.parts) == 4 and len(video) == 7


def test_the_known_figures_of_a_real_model_are_met(shared: Path) -> None:
    folder = shared / "data" / "real_similarity"
    report = evaluate_matrix(
        np.load(folder / "t2i_5000x1000.npy"),
        np.load(folder / "text_to_image.npy"),
        dsl=1 / 20,
        bank=np.load(folder / "querybank_3000x1000.npy"),
    ).to_json()

    def figures(block: dict) -> list[float]:
        return [block["t2v"][f"r_at_{k}"] for k in (1, 5, 10)]

    assert figures(report) == pytest.approx([21.2, 51.7, 64.3], abs=0.1)
    assert figures(report["qbnorm"]) == pytest.approx([23.9, 53.0, 66.5], abs=0.1)
    assert figures(report["dsl"]) == pytest.approx([24.2, 54.7, 68.1], abs=0.1)
    assert report["t2v"]["MdR"] == 5 and report["qbnorm"]["bank_size"] == 3000
