"""LAFF against the released code's own numbers (float64): blocks, losses, both models, metrics."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from finecut import metrics, metrics_pooled
from finecut.learn import losses
from finecut.learn.encoders.text_features import (
    STOP_WORDS,
    NetVLAD,
    Vocabulary,
    bag_of_words,
    mean_word_vector,
    pad_numbers,
    words_of,
)
from finecut.learn.methods import laff, laff_variants
from finecut.learn.methods.laff_official import UNUSED, import_official
from finecut.learn.methods.protocol import Batch, recall_sims

from .account import read_json
from .cases import ATOL, Case, cases_of, same

COVERS = (
    "laff/blocks.json",
    "laff/blocks.safetensors",
    "laff/losses.json",
    "laff/losses.safetensors",
    "laff/model.json",
    "laff/model.safetensors",
    "laff/model_ml.json",
    "laff/model_ml.safetensors",
    "laff/metrics.json",
    "laff/xinfap.json",
)

# ---- blocks


def load_heads(block: laff.AttentionFusion, state: dict[str, Tensor]) -> None:
    rows = range(block.heads)
    key = "attention_layer.{}.embedding_common.0.{}"
    block.load_state_dict(
        {
            "weight": torch.cat([state[key.format(i, "weight")] for i in rows]),
            "bias": torch.cat([state[key.format(i, "bias")] for i in rows]),
        }
    )


def check_single_head(case: Case) -> None:
    state = case.state()
    gain = case.meta["global_weight"] if case.meta["with_ave"] else 0.0
    y, coefficients = laff_variants.attention_pool(
        case["x"],
        state["embedding_common.0.weight"][0],
        state["embedding_common.0.bias"][0],
        mean_gain=gain,
        gate_by_mean=case.meta["mul"],
    )
    same(y, case["y"], case.name)
    slots = case["x"].shape[1]
    recorded = coefficients - gain + gain / slots  # the code records this, and applies a + g
    same(recorded, case["weights_recorded"], case.name)
    if gain == 0.0 and not case.meta["mul"]:
        block = laff.AttentionFusion(case["x"].shape[-1], 1).double()
        block.load_state_dict(
            {
                "weight": state["embedding_common.0.weight"],
                "bias": state["embedding_common.0.bias"],
            }
        )
        same(block(case["x"])[0][:, 0], case["y"], case.name)


def check_multihead(case: Case) -> None:
    x, heads, state = case["x"], case.meta["heads"], case.state()
    if case["y"].shape[-1] * heads == x.shape[-1]:
        chunks = x.unflatten(-1, (heads, -1)).unbind(dim=2)
    else:  # split_head=False: each head sees all channels
        chunks = [x] * heads
    gain = case.meta.get("global_weight", 0.0) if "withave" in case.name else 0.0
    if case.meta.get("l2norm_each_head"):
        chunks = [laff.unit(c) for c in chunks]
    outs, weights = [], []
    for i, chunk in enumerate(chunks):
        y, w = laff_variants.attention_pool(
            chunk,
            state[f"attention_layer.{i}.embedding_common.0.weight"][0],
            state[f"attention_layer.{i}.embedding_common.0.bias"][0],
            mean_gain=gain,
        )
        outs.append(y)
        weights.append(w)
    same(torch.stack(outs, dim=1), case["y"], case.name)
    if "weights" in case:
        same(torch.stack(weights, dim=1), case["weights"], case.name)
    plain = not gain and not case.meta.get("l2norm_each_head")
    if plain and case["y"].shape[-1] * heads == x.shape[-1]:  # the shipped block
        block = laff.AttentionFusion(x.shape[-1], heads).double()
        load_heads(block, state)
        y, w = block(x)
        same(y, case["y"], case.name)
        same(w, case["weights"], case.name)


def check_mean(case: Case) -> None:
    same(case["x"].mean(dim=1), case["y"], case.name)
    heads, _ = laff_variants.MeanFusion(case["x"].shape[-1], 1)(case["x"])
    same(heads[:, 0], torch.nn.functional.normalize(case["y"], dim=-1), case.name)


def check_slots(case: Case) -> None:
    state = case.state()
    y = laff_variants.slot_weighted_sum(
        case["x"], state["fc_layer.weight"][0], state["fc_layer.bias"]
    )
    same(y, case["y"], case.name)


def check_projection_free(case: Case) -> None:
    block = laff_variants.ProjectionFreeMHSA(case["x"].shape[-1], case.meta["heads"]).double()
    assert block.scale == pytest.approx(case.meta["scale"], abs=1e-15)
    state = case.state()
    block.norm.load_state_dict(
        {"weight": state["layer_norm.weight"], "bias": state["layer_norm.bias"]}
    )
    same(block.attend(case["x"])[0], case["y"], case.name)


def check_mhsa(case: Case) -> None:
    state = case.state()
    heads = case.meta.get("heads", 8)  # the released code hard-codes 8
    aggregate = case.meta.get("agg", "token")
    block = laff_variants.MHSA(case["x"].shape[-1], heads, aggregate).double()
    ours = {}
    for key, value in state.items():
        if key.startswith("layer_norm."):
            ours[key.replace("layer_norm", "norm")] = value
        else:
            ours["attention." + re.sub(r"^.*?(in_proj|out_proj)", r"\1", key)] = value
    block.load_state_dict(ours)
    same(block.eval().attend(case["x"])[0], case["y"], case.name)


def check_netvlad(case: Case) -> None:
    state = case.state()
    clusters, dim = state["centeroids"].shape
    assert clusters == case.meta["num_clusters"]
    block = NetVLAD(dim, clusters).double()
    block.load_state_dict({"centres": state["centeroids"], "assign.weight": state["fc1.weight"]})
    sequences = [case[k] for k in case.order if re.fullmatch(r"seq\d+", k)]
    longest = max(map(len, sequences))
    padded = torch.full((len(sequences), longest, dim), 7.0, dtype=torch.float64)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    same(block(padded, mask), case["y"], case.name)


def check_transform(case: Case) -> None:
    state, x = case.state(), case["x"]
    has_fc, has_bn = "fc1.weight" in state, "bn1.weight" in state
    if has_fc:
        block = laff.Transform(x.shape[1], len(state["fc1.bias"]), 0.0, has_bn).double()
    else:
        block = laff.Repeat(x.shape[1], 1).double()
    block.load_state_dict(
        {k.replace("fc1", "fc").replace("bn1", "norm"): v for k, v in state.items()}
    )
    same(block.eval()(x), case["y_eval"], case.name)
    same(block.train()(x), case["y_train_nodropout"], case.name)
    for key, value in case.state("after_train.").items():
        same(block.state_dict()[key.replace("bn1", "norm")], value, f"{case.name} {key}")


BLOCKS = {
    r"attention1_.*": check_single_head,
    r"just_average.*": check_mean,
    r"fc_attention.*": check_slots,
    r"laff_multihead_.*": check_multihead,
    r"mhsa_projectionfree_.*": check_projection_free,
    r"mhsa_torch_.*": check_mhsa,
    r"attention_mmt.*": check_mhsa,
    r"netvlad.*": check_netvlad,
    r"transform_.*": check_transform,
}


def test_blocks(golden: Path) -> None:
    cases = cases_of(golden, "laff/blocks")
    for case in cases:
        checks = [check for pattern, check in BLOCKS.items() if re.fullmatch(pattern, case.name)]
        assert len(checks) == 1, f"block case {case.name} is not known"
        checks[0](case)
        case.account.close()
    assert cases


# ---- losses


def check_triplet(case: Case) -> None:
    txt, vid = (case[k].clone().requires_grad_() for k in ("txt", "vid"))
    value = losses.hardest_negative_triplet(
        laff.unit(txt) @ laff.unit(vid).T,
        case.meta["margin"],
        direction={"t2i": "t2v", "i2t": "v2t", "bidir": "both"}[case.meta["direction"]],
        hardest=case.meta["max_violation"],
        reduction=case.meta["cost_style"],
    )
    value.backward()
    same(value[None], case["loss"], case.name)
    same(txt.grad, case["grad_txt"], case.name)
    same(vid.grad, case["grad_vid"], case.name)


def check_similarity(case: Case) -> None:
    txt, vid = case["txt"], case["vid"]
    per_head = torch.einsum("qhd,ghd->hqg", laff.unit(txt), laff.unit(vid))
    same(per_head, case["sim_per_head"], case.name)
    same(laff.mean_cosine(txt, vid), case["sim"], case.name)
    folded = laff.fold(laff.unit(txt)) @ laff.fold(laff.unit(vid)).T
    same(folded, case["sim"], case.name)


def check_spaces(case: Case) -> None:
    txt, vid = case["txt"], case["vid"]
    margin = case.meta.get("margin", 0.2)
    sims = torch.einsum("qhd,ghd->hqg", laff.unit(txt), laff.unit(vid))
    combined = torch.stack([losses.hardest_negative_triplet(s, margin) for s in sims]).sum()
    same(combined[None], case["combined_loss"], case.name)
    # the released single-loss path reads the matrix transposed: texts as negatives of videos
    single = losses.hardest_negative_triplet(sims.mean(dim=0), margin, direction="v2t")
    same(single[None], case["single_loss"], case.name)


def check_dsl(case: Case) -> None:
    sims = laff.unit(case["txt"]) @ laff.unit(case["vid"]).T
    per_text, per_video = losses.dual_softmax_parts(sims, 1000.0)
    same(((per_text.sum() + per_video.sum()) / 2)[None], case["loss"], case.name)


LOSSES = {
    r"mrl_.*": check_triplet,
    r"multispace_similarity.*": check_similarity,
    r"multispace_loss.*": check_spaces,
    r"dsl_in_laff_repo.*": check_dsl,
}


def test_losses(golden: Path) -> None:
    cases = cases_of(golden, "laff/losses")
    for case in cases:
        checks = [check for pattern, check in LOSSES.items() if re.fullmatch(pattern, case.name)]
        assert len(checks) == 1, f"loss case {case.name} is not known"
        checks[0](case)
        case.account.close()
    assert cases


# ---- the two models, captions to loss and gradients


@pytest.mark.parametrize("stem", ["laff/model", "laff/model_ml"])
def test_model(golden: Path, stem: str) -> None:
    cases = cases_of(golden, stem)
    for case in cases:
        check_model(case)
        case.account.close()
    assert cases


def check_model(case: Case) -> None:
    meta = case.meta
    model = import_official(case.state(), margin=meta["margin"]).model
    config = model.config
    assert config.heads == meta["heads"] and config.common_dim == meta["common_dim"]
    assert dict(config.video_features) == meta["feature_dims"]
    assert config.batch_norm == meta["batch_norm_on_transforms"]
    assert list(config.text_features) == meta["text_slots"]

    # words and vocabularies
    captions = meta["captions"]
    every = [*captions, *meta["extra_vocab_captions"]]
    assert [words_of(c) for c in captions] == meta["tokens_clean"]
    plain = [words_of(c) for c in every]
    content = [words_of(c, stop_words=STOP_WORDS) for c in every]
    assert content[: len(captions)] == meta["tokens_nsw"]
    bow_words = Vocabulary.build(content, min_count=1)
    gru_words = Vocabulary.build(plain, min_count=1, special=True)
    assert list(bow_words.words) == meta["bow_vocab"]
    assert list(gru_words.words) == meta["gru_vocab"]
    numbers = [gru_words.encode(words) for words in plain[: len(captions)]]
    assert numbers == meta["gru_indices"]

    # text features
    table = dict(zip(meta["w2v_words"], case["w2v_matrix"].numpy(), strict=True))
    own = content[: len(captions)]
    text = {
        "rnn_encoder": pad_numbers(numbers),
        "bow_encoder": torch.from_numpy(bag_of_words(own, bow_words)),
        "w2v_encoder": torch.from_numpy(mean_word_vector(own, table, case["w2v_matrix"].shape[1])),
        "CLIP_encoder": case["clip_txt"],
    }
    features = dict(text)
    features["rnn_encoder"] = model.gru(*text["rnn_encoder"])
    wanted = [k for k in case.order if k.startswith("txt_feature.")]
    assert {k.removeprefix("txt_feature.") for k in wanted} == set(features)
    for key in wanted:
        same(features[key.removeprefix("txt_feature.")], case[key], f"{case.name} {key}")

    # both sides
    video = {n: case[f"vid.{n}"] for n in meta["feature_dims"]}
    frames = {n: case[f"frame.{n}"] for n in config.frame_features}
    mask = case["frame_mask"].bool() if frames else None
    txt_heads, txt_weights = model.text_heads(text)
    vid_heads, vid_weights = model.video_heads(video, frames, mask)
    same(txt_heads, case["txt_emb"], f"{case.name} txt_emb")
    same(txt_weights, case["txt_attention"], f"{case.name} txt_attention")
    same(vid_heads, case["vid_emb"], f"{case.name} vid_emb")
    if "vid_attention" in case:
        same(vid_weights, case["vid_attention"], f"{case.name} vid_attention")
    if frames:
        same(vid_heads, case["vid_emb_masked_fixed"], f"{case.name} masked")
        for key in [k for k in case.order if k.startswith("frame_attention_weights_")]:
            row = int(re.search(r"video(\d+)", key).group(1))
            (name,) = config.frame_features  # the official record is of one frame feature
            _, official = model.fuse_frames(name, frames[name][row : row + 1])  # mask left out
            same(official, case[key], f"{case.name} {key}")
            _, ours = model.fuse_frames(name, frames[name], mask)
            assert torch.all(ours[~mask] == 0), "padded frames have no weight here"

    # recall by one inner product, the loss, and its gradients
    arguments = (
        {"features": video, "frames": frames, "frame_mask": mask} if frames else {"features": video}
    )
    batch = Batch(video=arguments, text={"features": text})
    sims = recall_sims(model.encode_text(**batch.text), model.encode_video(**batch.video))
    same(sims, case["sim"], f"{case.name} sim")
    loss = model.loss(batch)["loss"]
    torch.testing.assert_close(loss[None].detach(), case["loss"], rtol=1e-9, atol=0)
    loss.backward()
    check_gradients(case, model)


def check_gradients(case: Case, model: laff.LAFF) -> None:
    """Each official gradient against ours, by importing the gradients as if they were weights."""
    given = {k.removeprefix("grad."): k for k in case.order if k.startswith("grad.")}
    assert given
    official = {k: torch.zeros_like(v) for k, v in case.state().items()}
    for key, entry in given.items():
        official[key] = case[entry]
    as_weights = dict(import_official(official).model.named_parameters())
    # ones where a gradient was given, by the same road, tells which of ours to compare
    marks = {k: torch.full_like(v, float(k in given)) for k, v in case.state().items()}
    marked = dict(import_official(marks).model.named_parameters())
    compared = 0
    for name, parameter in model.named_parameters():
        known = marked[name].bool()
        if known.any():
            same(parameter.grad[known], as_weights[name][known], f"grad {name}")
            compared += int(known.sum())
    assert compared == sum(case[e].numel() for k, e in given.items() if not UNUSED.search(k))


# ---- metrics


def test_ranking_metrics(golden: Path) -> None:
    cases = read_json(golden / "laff/metrics.json")["cases"]
    for number, case in enumerate(cases):
        sims, relevant = np.array(case["sim"]), np.array(case["relevance"]).astype(bool)
        assert case["multi_relevant"] == bool((relevant.sum(axis=1) > 1).any())
        figures = metrics.summary(metrics.ranks(sims, relevant))
        ours = {
            "r1": figures["r_at_1"],
            "r5": figures["r_at_5"],
            "r10": figures["r_at_10"],
            "medr": np.floor(figures["MdR"]),  # the released code floors
            "meanr": figures["MnR"],
            "mir": figures["MIR"],
            "mAP": metrics.mean_average_precision(sims, relevant),
            "sumR": figures["RSum"],
        }
        assert ours.keys() == case["expected"].keys()
        assert ours == pytest.approx(case["expected"], abs=ATOL), f"case {number}"
    assert cases


def test_pooled_metrics(golden: Path) -> None:
    cases = read_json(golden / "laff/xinfap.json")["cases"]
    for case in cases:
        qrels: dict = {}
        for topic, document, stratum, judgement in case["qrels"]:
            qrels.setdefault(topic, {})[document] = (stratum, judgement)
        run: dict = {}
        for topic, document, score in case["run"]:
            run.setdefault(topic, {})[document] = score
        expected = dict(case["expected"])
        trec = expected.pop("trec_eval_infAP_and_map_per_topic")
        ours = {
            "xinfAP_per_topic": metrics_pooled.xinf_ap_per_topic(qrels, run),
            "xinfAP_mean": metrics_pooled.xinf_ap(qrels, run),
            "infNDCG": metrics_pooled.xinf_ndcg(qrels, run),
            "iP10": metrics_pooled.xinf_precision(qrels, run, 10),
            "iP100": metrics_pooled.xinf_precision(qrels, run, 100),
            "inum_rel": metrics_pooled.estimated_relevant(qrels),
        }
        assert ours.keys() == expected.keys()
        for key, value in expected.items():
            assert ours[key] == pytest.approx(value, rel=1e-12, abs=1e-11), f"{case['name']} {key}"
        infap = metrics_pooled.inf_ap_per_topic(qrels, run)
        ap = metrics_pooled.average_precision_per_topic(qrels, run)
        assert trec.keys() == infap.keys() == ap.keys()
        for topic, value in trec.items():
            assert {"infAP": infap[topic], "map": ap[topic]} == pytest.approx(value, abs=ATOL)
    assert cases
