"""EERCF against vectors made by the official code: five levels, losses, gradients, two stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finecut.learn.losses import pearson_released
from finecut.learn.methods.eercf import EERCF, LevelWeights, LossWeights, weighted
from finecut.learn.methods.protocol import Batch, TextTokens, VideoTokens
from finecut.learn.two_stage import merge_stages, two_stage

from .account import Account, read_json
from .official import build_eercf, check_gradients, eercf_state, video_inputs
from .test_clip4clip import check_summary

COVERS = (
    "eercf/expected.json",
    "eercf/expected.safetensors",
    "eercf/index.json",
    "eercf/inputs.safetensors",
    "eercf/state_clip.safetensors",
    "eercf/state_head.safetensors",
)

SCORES = 1e-4  # absolute, float32; the stored tolerance is 5e-4
LOSS = 1e-5  # relative
LEVELS = {  # the golden's names of the five similarities
    "video": "video",
    "frame_weak": "frame_weak",
    "frame_tib": "frame_gated",
    "patch_weak": "patch_weak",
    "patch_tib": "patch_gated",
}


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "eercf"


@pytest.fixture(scope="module")
def index(folder: Path) -> dict[str, Any]:
    return read_json(folder / "index.json")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "inputs.safetensors")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "expected.safetensors")


@pytest.fixture
def model(golden: Path, tmp_path: Path) -> EERCF:
    model, report = build_eercf(golden, tmp_path)
    assert not report.filled and not report.unexpected
    assert isinstance(model, EERCF)
    return model


def close(got: torch.Tensor, want: torch.Tensor, atol: float = SCORES) -> None:
    torch.testing.assert_close(got, want.to(got.dtype), rtol=0, atol=atol)


def batch_of(inputs: dict[str, torch.Tensor]) -> Batch:
    return Batch(video=video_inputs(inputs), text={"input_ids": inputs["input_ids"][:, 0]})


def encode(
    model: EERCF, inputs: dict[str, torch.Tensor], ids: str = "input_ids"
) -> tuple[TextTokens, VideoTokens]:
    with torch.no_grad():
        return model.encode_text(inputs[ids][:, 0]), model.encode_video(**video_inputs(inputs))


def loss_weights(stored: dict[str, float]) -> LossWeights:
    account = Account("weights", stored)
    value = {name: stored[account.use(name)] for name in stored}
    made = LossWeights(
        LevelWeights(
            video=value.pop("video_weight"),
            frame_weak=value.pop("weakframe_weight"),
            frame_gated=value.pop("strongframe_weight"),
            patch_weak=value.pop("weakpatch_weight"),
            patch_gated=value.pop("strongpatch_weight"),
        ),
        weak=value.pop("weak_loss_weight"),
        strong=value.pop("strong_loss_weight"),
        channels=value.pop("cdcl_loss_weight"),
        channels_video=value.pop("cdcl_video_weight"),
        channels_frame=value.pop("cdcl_frame_weight"),
        channels_patch=value.pop("cdcl_patch_weight"),
    )
    assert not value, f"weights this test does not know: {value}"
    return made


def test_every_entry_has_a_test(expected: dict[str, torch.Tensor], folder: Path) -> None:
    account = Account("expected.safetensors", expected)
    stored = read_json(folder / "expected.json")
    for name in ("sequence_output", "seq_features", "visual_output", "visual_patches"):
        account.use(name)
    for group in ("eval", "eval_3texts", "train"):
        for level in LEVELS:
            account.use(f"{group}/{level}")
    for level in ("video", "frame", "patch"):
        account.use(f"pearson/{level}")
    for case in stored["stage2"]:
        account.use(f"stage2/{case}/coarse")
        account.use(f"stage2/{case}/final")
    account.use("dsl/rerank_input")
    account.use("dsl/cal_new_output")
    for weights in stored["weights"]:
        for name in expected:
            if name.startswith(f"grad_{weights}/"):
                account.use(name)
    assert account.close()
    assert set(stored) == {"weights", "loss", "stage2"}


def test_inputs(inputs: dict[str, torch.Tensor], index: dict) -> None:
    account, config = Account("inputs", inputs), index["config"]
    assert inputs[account.use("video_mask")].sum(dim=(1, 2)).tolist() == config["lens"]
    assert inputs[account.use("attention_mask")].sum(dim=(1, 2)).tolist() == config["tlen"]
    assert inputs[account.use("ms_sentences_per_video")].tolist() == config["groups"]
    assert len(inputs[account.use("ms_input_ids")]) == sum(config["groups"])
    assert inputs[account.use("ms_attention_mask")].any()
    assert not inputs[account.use("token_type_ids")].any()
    assert inputs[account.use("input_ids")].shape[0] == config["nt"]
    assert inputs[account.use("video")].shape[2] == config["F"]
    assert account.close()


def test_state_dict_layout(golden: Path, model: EERCF, index: dict) -> None:
    official = eercf_state(golden)
    model.clip.to_official_fp16()
    ours = model.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in ours.items()} == {
        n: (t.shape, t.dtype) for n, t in official.items()
    }
    half = {name for name, t in ours.items() if t.dtype == torch.float16}
    assert half == set(index["files"]["state_clip.safetensors"]["fp16_keys"])
    head = index["files"]["state_head.safetensors"]["keys"]
    assert {n: list(t.shape) for n, t in ours.items() if not n.startswith("clip.")} == head


def test_features(
    model: EERCF, inputs: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    ids = inputs["input_ids"][:, 0]
    with torch.no_grad():
        close(model.clip.encode_text(ids)[:, None], expected["sequence_output"], 1e-5)
        close(model.clip.encode_words(ids), expected["seq_features"], 1e-5)
        frames, patches = model.clip.encode_frames(video_inputs(inputs)["pixels"])
    close(frames, expected["visual_output"], 1e-5)
    close(patches, expected["visual_patches"], 1e-5)


@pytest.mark.parametrize("group, texts", [("eval", None), ("eval_3texts", 3)])
def test_five_similarities(
    model: EERCF,
    inputs: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
    group: str,
    texts: int | None,
) -> None:
    text, video = encode(model, inputs)
    with torch.no_grad():
        levels = model.levels(text.select(slice(0, texts)), video)
        scale = model.clip.logit_scale.exp()
    for theirs, ours in LEVELS.items():
        close(scale * getattr(levels, ours), expected[f"{group}/{theirs}"])


def test_training_similarities(
    model: EERCF, inputs: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    text, video = encode(model, inputs)
    with torch.no_grad():
        levels, frames, patches = model.training_levels(text, video)
        scale = model.clip.logit_scale.exp()
    for theirs, ours in LEVELS.items():
        close(scale * getattr(levels, ours), expected[f"train/{theirs}"])
    for name, vectors in (("video", video.recall), ("frame", frames), ("patch", patches)):
        want = expected[f"pearson/{name}"].item()
        assert pearson_released(text.text_embeds, vectors).item() == pytest.approx(want, rel=LOSS)


def test_losses_and_gradients(
    golden: Path,
    folder: Path,
    inputs: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    stored = read_json(folder / "expected.json")
    assert set(stored["loss"]) == set(stored["weights"])
    for name, weights in stored["weights"].items():
        model, _ = build_eercf(golden, tmp_path)
        model.train()
        text, video = model.training_tokens(batch_of(inputs))
        loss = model.token_loss(text, video, weights=loss_weights(weights))["loss"]
        assert loss.item() == pytest.approx(stored["loss"][name], rel=LOSS)
        loss.backward()
        assert check_gradients(model, expected, f"grad_{name}/", lambda entry: entry)


def test_default_weights_are_the_released_ones(
    model: EERCF, folder: Path, inputs: dict[str, torch.Tensor]
) -> None:
    stored = read_json(folder / "expected.json")
    assert model.config.loss_weights == loss_weights(stored["weights"]["default"])
    got = model.loss(batch_of(inputs))["loss"].item()
    assert got == pytest.approx(stored["loss"]["default"], rel=LOSS)


def test_two_stages(
    model: EERCF,
    folder: Path,
    inputs: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
) -> None:
    stored = read_json(folder / "expected.json")["stage2"]
    assert stored
    groups = inputs["ms_sentences_per_video"].numpy()
    for name, case in stored.items():
        multi = name.startswith("multi")
        text, video = encode(model, inputs, "ms_input_ids" if multi else "input_ids")
        coarse, candidates, fine = two_stage(model, text, video, recall_k=case["topk"])
        coarse = coarse * model.clip.logit_scale.exp().detach()
        final = merge_stages(coarse, candidates, fine)
        close(coarse, expected[f"stage2/{name}/coarse"])
        close(final, expected[f"stage2/{name}/final"])
        account = Account(name, case)
        assert case[account.use("weights")] in ("default", "all_terms")  # do not enter the score
        account.use("topk")
        tables, matrix = case[account.use("metrics")], final.numpy()
        if multi:
            owner = np.repeat(np.arange(len(groups)), groups)
            from finecut.metrics import best_caption_sims

            check_summary(matrix, owner, tables["t2v"], lower_median=True)
            check_summary(best_caption_sims(matrix, owner).T, None, tables["v2t"])
        else:
            check_summary(matrix, None, tables["t2v"])
            check_summary(matrix.T, None, tables["v2t"])
        recalls = sum(tables["t2v"][f"R{k}"] for k in (1, 5, 10))
        assert case[account.use("selection_score_R1+R5+R10")] == pytest.approx(recalls, abs=1e-4)
        assert account.close()


def test_dual_softmax_before_selection(expected: dict[str, torch.Tensor], index: dict) -> None:
    """The released ``cal_new``: both matrices times softmax over texts times their number."""
    coarse, fine = (
        m * m.softmax(dim=0) * len(m)
        for m in (expected["eval/video"], expected["dsl/rerank_input"])
    )
    candidates = coarse.topk(min(index["config"]["topk"], coarse.shape[1]), dim=1).indices
    final = merge_stages(coarse, candidates, fine.gather(1, candidates))
    close(final, expected["dsl/cal_new_output"])


def test_only_levels_with_a_weight_are_computed(
    model: EERCF, inputs: dict[str, torch.Tensor]
) -> None:
    text, video = encode(model, inputs)
    wanted = LevelWeights(video=0.5, frame_weak=0.8)
    levels = model.levels(text, video, wanted)
    assert levels.patch_weak is None and levels.patch_gated is None and levels.frame_gated is None
    whole = model.levels(text, video)
    torch.testing.assert_close(weighted(levels, wanted), 0.5 * whole.video + 0.8 * whole.frame_weak)
