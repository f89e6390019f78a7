"""TACo's losses, token scores, cascade and IDF weights; CrossTask's decoding and measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from finecut.learn import losses, steps
from finecut.learn.methods import taco, taco_text
from finecut.learn.methods.blocks import masked_mean
from finecut.text.idf import IdfTable, Word

from .account import Account, read_json
from .cases import ATOL, Case, cases_of, same

COVERS = (
    "taco/losses*.json",
    "taco/losses*.safetensors",
    "taco/idf.json",
    "taco/crosstask.json",
)
REL = 1e-9


def chosen(mask: torch.Tensor) -> list[list[int]]:
    return [sorted(row.nonzero()[:, 0].tolist()) for row in mask]


def rows(indices: torch.Tensor) -> list[list[int]]:
    return [sorted(row.tolist()) for row in indices]


def check_batch(case: Case) -> None:
    """The file's matrices are [video, text]; ours [text, video]."""
    meta = dict(case.meta)
    meta_used = Account(f"{case.name} meta", set(meta) - {"notes"})
    get = lambda key: meta[meta_used.use(key)]  # noqa: E731
    tau1, tau2, lambda_t, count = (get(k) for k in ("tau1", "tau2", "lambda_t", "K_prime"))

    video = case["video_tokens"].clone().requires_grad_()
    words = case["text_tokens"].clone().requires_grad_()
    fusion = case["fusion_logits"].clone().requires_grad_()
    video_mask = case["video_mask"].bool()
    interest = case["poi_mask"].double()
    places = torch.arange(words.shape[1])
    assert not (interest.bool() & (places >= case["text_len"][:, None])).any()
    idf = case["idf"] * interest
    weights = idf / idf.sum(dim=1, keepdim=True).clamp(min=1e-12)
    same(weights, case["token_weights"], case.name)

    mean = masked_mean(video, video_mask)
    sentence = words[:, 0] @ mean.T  # [Q, G]
    tokens = losses.token_scores(words, video, video_mask)  # [Q, G, W]
    same(mean, case["xbar"], case.name)
    same(words[:, 0], case["ybar"], case.name)
    same(sentence.T, case["s1"], case.name)
    same(tokens.permute(1, 0, 2), case["token_sims"], case.name)
    unweighted = torch.einsum("qgw,qw->qg", tokens, interest)
    weighted = torch.einsum("qgw,qw->qg", tokens, weights)
    same(unweighted.T, case["s2_unweighted"], case.name)
    same(weighted.T, case["s2_idf_weighted"], case.name)

    barred = taco.same_video(len(words), None, "cpu")
    align = taco.cascade_alignment(sentence, tokens, interest).detach()
    align_idf = taco.cascade_alignment(sentence, tokens, weights).detach()
    same(align.T, case["align_unweighted"], case.name)
    same(align_idf.T, case["align_weighted"], case.name)
    hard_videos = taco.hardest(align, count, barred)
    hard_texts = taco.hardest(align.T, count, barred)
    assert chosen(hard_videos) == rows(case["neg_videos_per_text"])
    assert chosen(hard_texts) == rows(case["neg_texts_per_video"])
    hard_weighted = taco.hardest(align_idf, count, barred)
    assert chosen(hard_weighted) == rows(case["neg_videos_per_text_weighted"])
    kept = int(hard_videos.sum() + hard_texts.sum()) + 2 * len(words)
    assert kept == get("number_of_fusion_pairs")

    parts = {
        "L1_text_to_video": losses.text_to_video_nce(sentence / tau1, reduction="sum"),
        "L1_video_to_text": losses.text_to_video_nce(sentence.T / tau1, reduction="sum"),
        "L2_idf_weighted": losses.token_contrastive(tokens, weights, tau2),
        "L2_all_weights_one": losses.token_contrastive(tokens, interest, tau2),
        "L3_text_anchor": losses.sampled_contrastive(fusion.T, hard_videos),
        "L3_video_anchor": losses.sampled_contrastive(fusion, hard_texts),
    }
    parts["L3_symmetric_sum"] = parts["L3_text_anchor"] + parts["L3_video_anchor"]
    total = (
        parts["L1_text_to_video"] + lambda_t * parts["L2_idf_weighted"] + parts["L3_text_anchor"]
    )
    parts["total_text_anchor"] = total
    expected = get("losses")
    assert parts.keys() == expected.keys()
    for key, value in expected.items():
        assert parts[key].item() == pytest.approx(value, rel=REL), f"{case.name} {key}"
    total.backward()
    same(video.grad, case["grad_video_tokens"], case.name)
    same(words.grad, case["grad_text_tokens"], case.name)
    same(fusion.grad, case["grad_fusion_logits"], case.name)

    for weight, key in ((1.0, "score_sum_lambda1"), (0.5, "score_sum_lambda05")):
        score = sentence + weight * weighted + case["fusion_logits"].T
        same(score.T, case[key], case.name)
    meta_used.close()


def check_all_negatives(case: Case) -> None:
    logits = case["fusion_logits"]
    every = ~torch.eye(len(logits), dtype=torch.bool)
    text_anchor = losses.sampled_contrastive(logits.T, every)
    video_anchor = losses.sampled_contrastive(logits, every)
    assert set(case.meta) == {"L3_text_anchor", "L3_video_anchor"}
    assert text_anchor.item() == pytest.approx(case.meta["L3_text_anchor"], rel=REL)
    assert video_anchor.item() == pytest.approx(case.meta["L3_video_anchor"], rel=REL)
    plain = losses.text_to_video_nce(logits.T, reduction="sum")
    assert plain.item() == pytest.approx(text_anchor.item(), rel=REL)


def check_ties(case: Case) -> None:
    align, count = case["align"].T, case.meta["K_prime"]  # [text, video]
    barred = taco.same_video(len(align), None, "cpu")
    assert chosen(taco.hardest(align, count, barred)) == rows(case["neg_videos_per_text"])
    assert chosen(taco.hardest(align.T, count, barred)) == rows(case["neg_texts_per_video"])


CHECKS = {
    "batch": check_batch,
    "l3_all_negatives": check_all_negatives,
    "cascade_ties": check_ties,
}


def test_losses(golden: Path) -> None:
    stems = sorted(path.stem for path in (golden / "taco").glob("losses*.json"))
    tensors = sorted(path.stem for path in (golden / "taco").glob("losses*.safetensors"))
    assert stems and stems == tensors
    for stem in stems:
        cases = cases_of(golden, f"taco/{stem}")
        for case in cases:
            assert case.name in CHECKS, f"{stem}: case {case.name} is not known"
            CHECKS[case.name](case)
            case.account.close()
        assert cases


def test_idf(golden: Path) -> None:
    data = read_json(golden / "taco/idf.json")
    table = IdfTable.build(data["corpus"])
    account = Account("idf", data["idf"])
    for word, value in data["idf"].items():
        assert table.idf(account.use(word)) == pytest.approx(value, abs=ATOL)
    assert set(table.counts) == set(data["idf"])
    account.close()
    assert data["queries"]
    for query in data["queries"]:
        words = [Word(*entry) for entry in query["words"]]
        pieces = [piece for word in words for piece in word.pieces]
        assert ["[CLS]", *pieces, "[SEP]"] == query["tokens"]
        raw = [0.0, *table.piece_weights(words, taco_text.INTEREST), 0.0]
        assert raw == pytest.approx(query["token_idf"], abs=ATOL)
        weights = taco_text.caption_weights(words, table)
        assert weights == pytest.approx(query["token_weights_sum1"], abs=ATOL)
        assert set(query) == {"words", "tokens", "token_idf", "token_weights_sum1"}


def test_crosstask(golden: Path) -> None:
    data = read_json(golden / "taco/crosstask.json")
    results = []
    for video in data["videos"]:
        seconds = steps.locate_steps(video["scores"])
        assert seconds.tolist() == video["expected_frames"], video["video"]
        csv_rows = [",".join(map(str, row)) for row in video["annotations"]]
        hits = steps.step_hits(seconds, steps.read_annotations(csv_rows))
        assert hits == (video["steps_hit"], video["steps_present"]), video["video"]
        results.append((video["task"], hits))
    assert results
    per_task, average = steps.step_recall(results)
    assert per_task == pytest.approx(data["expected"]["recall_per_task"], abs=ATOL)
    assert average == pytest.approx(data["expected"]["average_recall"], abs=ATOL)
    assert np.isfinite(average) and set(data["expected"]) == {"recall_per_task", "average_recall"}
