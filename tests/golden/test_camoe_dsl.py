"""CAMoE and dual softmax: the released loss, test-time uses, query banks, experts, sentences."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from finecut import metrics
from finecut.learn import losses, normalise
from finecut.learn.methods import camoe, camoe_text
from finecut.text.tags import Tagged

from .account import read_json
from .cases import Case, cases_of, same

COVERS = (
    "camoe_dsl/dsl.json",
    "camoe_dsl/dsl.safetensors",
    "camoe_dsl/qbnorm.json",
    "camoe_dsl/qbnorm.safetensors",
    "camoe_dsl/moe.json",
    "camoe_dsl/moe.safetensors",
    "camoe_dsl/sentences.json",
)
REL = 1e-9  # float64 set


def run_cases(golden: Path, stem: str, checks: dict) -> None:
    cases = cases_of(golden, stem)
    for case in cases:
        fitting = [check for pattern, check in checks.items() if re.fullmatch(pattern, case.name)]
        assert len(fitting) == 1, f"{stem}: case {case.name} is not known"
        fitting[0](case)
        case.account.close()
    assert cases


# ---- the loss


def check_released(case: Case) -> None:
    sim = case["sim"].clone().requires_grad_()
    temperature = case.meta["temp"]
    per_text, per_video = losses.dual_softmax_parts(sim, temperature)
    total = losses.dual_softmax_loss(sim, temperature)
    total.backward()
    revised = normalise.dual_softmax(case["sim"].numpy(), temperature, "t2v")
    scale = float(case["sim"].abs().max())
    same(torch.from_numpy(revised), case["revised_t2v"], case.name, atol=1e-11 * scale)
    for ours, key in ((per_text, "loss_per_text"), (per_video, "loss_per_video")):
        torch.testing.assert_close(ours.detach(), case[key], rtol=REL, atol=1e-9, msg=case.name)
    torch.testing.assert_close(total.detach()[None], case["total"], rtol=REL, atol=0)
    same(sim.grad, case["grad_sim"], case.name)


def check_article(case: Case) -> None:
    cos, meta = case["cos"], case.meta
    same((cos * meta["temp"]).softmax(dim=0), case["prior_t2v"], case.name)
    same((cos * meta["temp"]).softmax(dim=1), case["prior_v2t"], case.name)
    for name, expected in meta["losses"].items():
        t2v, v2t = losses.dual_softmax_article(
            cos,
            meta["logit_scale"],
            meta["temp"],
            batch_factor={"paper_no_B": False, "with_B": True}[name],
        )
        ours = {"t2v": t2v, "v2t": v2t, "sum": t2v + v2t, "mean": (t2v + v2t) / 2}
        assert ours.keys() == expected.keys()
        for key, value in expected.items():
            assert ours[key].item() == pytest.approx(value, rel=REL), f"{case.name} {name} {key}"


# ---- test-time uses


def check_rerank(case: Case) -> None:
    sim, video = case["sim"].numpy(), case["gt_video"].numpy()
    temperature = case.meta["temp"]
    t2v = normalise.dual_softmax(sim, temperature, "t2v")
    v2t = normalise.dual_softmax(sim, temperature, "v2t")
    same(torch.from_numpy(t2v), case["t2v"], case.name, atol=1e-11 * np.abs(sim).max())
    same(torch.from_numpy(v2t), case["v2t"], case.name, atol=1e-11 * np.abs(sim).max())
    captions = np.arange(sim.shape[1])[:, None] == video[None]  # [G, Q] relevant captions
    for when, rows, columns in (("before", sim, sim), ("after", t2v, v2t)):
        ranks = metrics.ranks(rows, video)
        assert (ranks - 1).tolist() == case[f"rank_t2v_{when}"].tolist(), case.name
        back = metrics.ranks(columns.T, captions)
        assert (back - 1).tolist() == case[f"rank_v2t_{when}"].tolist(), case.name
        assert metrics.recall_at(ranks, 1) == pytest.approx(case.meta[f"R1_t2v_{when}"])


def check_streaming(case: Case) -> None:
    bank = normalise.QueryBank.build(case["bank"].numpy(), case.meta["temp"])
    scores = bank.scores(case["queries"].numpy())
    same(torch.from_numpy(scores), case["scores"], case.name)


def test_dual_softmax(golden: Path) -> None:
    run_cases(
        golden,
        "camoe_dsl/dsl",
        {
            r"official_.*": check_released,
            r"paper_formula_.*": check_article,
            r"rerank_streaming_.*": check_streaming,
            r"rerank_(?!streaming_).*": check_rerank,
        },
    )


def check_dis(case: Case) -> None:
    answer = normalise.dynamic_inverted_softmax(
        case["test"].numpy(), case["bank"].numpy(), case.meta["beta"], case.meta["k"]
    )
    assert answer.activation_set.tolist() == sorted(case["activation_set"].tolist())
    assert answer.normalised_rows.tolist() == sorted(case["normalised_rows"].tolist())
    torch.testing.assert_close(
        torch.from_numpy(answer.scores), case["out"], rtol=REL, atol=1e-12, msg=case.name
    )
    order = np.argsort(-answer.scores, axis=1, kind="stable")
    assert (order == case["order"].numpy()).all(), case.name


def check_inverted(case: Case) -> None:
    test, bank, beta = case["test"].numpy(), case["bank"].numpy(), case.meta["beta"]
    plain = torch.from_numpy(normalise.inverted_softmax(test, bank, beta))
    torch.testing.assert_close(plain, case["out"], rtol=REL, atol=1e-12, msg=case.name)
    log = torch.from_numpy(normalise.inverted_softmax(test, bank, beta, log=True))
    same(log, case["log_out"], case.name)


def check_sinkhorn(case: Case) -> None:
    plan = normalise.sinkhorn(case["sim"].numpy(), case.meta["epsilon"], case.meta["iterations"])
    same(torch.from_numpy(plan), case["log_plan"], case.name)


def test_query_banks(golden: Path) -> None:
    run_cases(
        golden,
        "camoe_dsl/qbnorm",
        {r"dis_.*": check_dis, r"is_.*": check_inverted, r"sinkhorn_.*": check_sinkhorn},
    )


# ---- experts, gate, sentences


def check_mean(case: Case) -> None:
    same(camoe.FrameMean()(case["frames"], case["mask"].bool()), case["out"], case.name)


def check_se(case: Case) -> None:
    hidden, slots = case["W1"].shape
    block = camoe.SqueezeExcitation(slots, case.meta["reduction"]).double()
    if block.squeeze.out_features != hidden:  # another rounding of slots / reduction
        block.squeeze = torch.nn.Linear(slots, hidden).double()
        block.excite = torch.nn.Linear(hidden, slots).double()
    block.load_state_dict(
        {
            "squeeze.weight": case["W1"],
            "squeeze.bias": case["b1"],
            "excite.weight": case["W2"],
            "excite.bias": case["b2"],
        }
    )
    mask = case["mask"].bool()
    weights = block.weights(case["frames"], mask).detach()
    expected = case["weights"]
    if (expected[~mask] == 0).all():
        weights = weights.masked_fill(~mask, 0.0)
    same(weights, expected, case.name)
    same(block(case["frames"], mask), case["out"], case.name)


def check_moe(case: Case) -> None:
    logits = case["mean_frames"] @ case["Wg"].T + case["bg"]
    same(logits.softmax(dim=-1), case["gate"], case.name)
    experts = torch.stack([case[f"expert_{n}"] for n in ("fusion", "entity", "action")], dim=1)
    streams = camoe.gated_streams(experts, logits)
    same(streams[:, 0], case["video_sentence"], case.name)
    text = torch.stack([case[f"text_{n}"] for n in camoe.STREAMS], dim=1)
    sims = torch.einsum("qse,gse->sqg", camoe.unit(text), camoe.unit(streams))
    for name, sim in zip(camoe.STREAMS, sims, strict=True):
        same(sim, case[f"sim_{name}"], case.name)
    same(sims.mean(dim=0), case["sim_mean"], case.name)
    weights = torch.full((3, 1), 1 / 3, dtype=torch.float64)
    folded = (weights * camoe.unit(text)).flatten(1) @ camoe.unit(streams).flatten(1).T
    same(folded, case["sim_mean"], f"{case.name} folded")

    total = dsl_total = 0.0
    for name, sim in zip(camoe.STREAMS, sims * case.meta["logit_scale"], strict=True):
        parts = (losses.text_to_video_nce(sim), losses.text_to_video_nce(sim.T))
        duals = [part.mean() for part in losses.dual_softmax_parts(sim, 1000.0)]
        for key, values in (("losses", parts), ("dsl_losses", duals)):
            expected = case.meta[key][name]
            for direction, value in zip(("t2v", "v2t"), values, strict=True):
                assert value.item() == pytest.approx(expected[direction], rel=REL, abs=1e-9)
        total += losses.info_nce(sim).item()
        dsl_total += losses.dual_softmax_loss(sim, 1000.0).item()
    assert total == pytest.approx(case.meta["total"], rel=REL)
    assert dsl_total == pytest.approx(case.meta["dsl_total"], rel=REL)


def test_experts(golden: Path) -> None:
    run_cases(
        golden,
        "camoe_dsl/moe",
        {
            r"mean_pool.*": check_mean,
            r"se_attention.*": check_se,
            r"single_gate_moe.*": check_moe,
        },
    )


def test_sentences(golden: Path) -> None:
    items = read_json(golden / "camoe_dsl/sentences.json")["items"]
    checked = 0
    for item in items:
        words = [Tagged(*pair) for pair in item["words"]]
        assert set(item) == {"words", *camoe_text.KEY_TAGS}
        for stream in camoe_text.KEY_TAGS:
            flags = [int(flag) for flag in camoe_text.key_flags(words, stream)]
            ours = {
                "RKW": camoe_text.retain_key_words(words, stream),
                "AKWE_keyword_flags": flags,
                "MUW": camoe_text.mask_useless_words(words, stream),
                "MUW_keep_flags": flags,
            }
            assert ours == item[stream]
            checked += len(ours)
    assert checked
