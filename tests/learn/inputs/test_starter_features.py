"""Features of the built-in starter: its own graphs, cut open; and the method trained on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finecut.bundle.load import Bundle
from finecut.errors import BundleError, ShapeError, UsageError
from finecut.learn.checkpoint import load_checkpoint, save_checkpoint
from finecut.learn.data.cache import make_cache
from finecut.learn.data.open_split import open_split
from finecut.learn.data.pairs import make_batch
from finecut.learn.data.sampling import Sampling
from finecut.learn.export_plans import plan_for
from finecut.learn.inputs.starter import StarterTextInputs, StarterTower, with_outputs
from finecut.learn.methods.laff_starter import LaffStarter, LaffStarterConfig
from finecut.learn.methods.protocol import Batch
from learn.data.small_set import recipe_for, write_set

SENTENCES = ["a dog catches a frisbee", "two women sing on a stage in the evening", "snow"]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load("starter")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (4, 7, 7, 3), dtype=np.uint8)
    return coarse.repeat(32, axis=1).repeat(32, axis=2)


def starter_recipe(root: Path | str = "", **data: object):
    sampling = Sampling(max_frames=3, rule="time", resize="squash")
    recipe = recipe_for("laff-starter", root, sampling=sampling, **data)
    return replace(recipe, start=replace(recipe.start, weights="starter"))


def test_features_hold_what_the_bundle_gives(bundle: Bundle, frames: np.ndarray):
    config = LaffStarterConfig()
    (made,) = StarterTower()([frames])
    assert made["frames_raw"].shape == (4, config.pooled_dim + config.recall_dim)
    for row, frame in zip(made["frames_raw"], frames, strict=True):
        (wanted,) = bundle.encode_clips([frame[None]])
        assert np.abs(row[config.pooled_dim :] - wanted.recall).max() < 1e-4
    features = StarterTextInputs(LaffStarterConfig())(SENTENCES)["sentences_raw"].numpy()
    assert features.shape == (3, config.sentence_dim + config.recall_dim)
    assert np.allclose(np.linalg.norm(features[:, : config.sentence_dim], axis=1), 1, atol=1e-3)
    for row, sentence in zip(features, SENTENCES, strict=True):
        (wanted,) = bundle.encode_text([sentence])
        assert np.abs(row[config.sentence_dim :] - wanted.recall).max() < 1e-4


def test_several_videos_keep_their_frames_apart(frames: np.ndarray):
    tower = StarterTower()
    together = tower([frames[:1], frames[1:]])
    apart = [tower([frames[:1]])[0], tower([frames[1:]])[0]]
    for a, b in zip(together, apart, strict=True):
        assert np.abs(a["frames_raw"] - b["frames_raw"]).max() < 1e-4
    assert tower.padding()["frames_raw"].shape == together[0]["frames_raw"].shape[1:]


def test_without_its_laff_the_model_is_the_starter(bundle: Bundle, frames: np.ndarray):
    model = LaffStarter(LaffStarterConfig(mix=1e-12)).eval()
    raw = torch.from_numpy(StarterTower()([frames])[0]["frames_raw"])[:, None]  # clips of 1 frame
    mask = torch.ones(4, 1, dtype=torch.bool)
    text = StarterTextInputs(LaffStarterConfig())(SENTENCES)
    with torch.inference_mode():
        ours = model.rerank(model.encode_text(**text), model.encode_video(raw, mask)).scores
    clips = np.stack([c.recall for c in bundle.encode_clips([f[None] for f in frames])])
    queries = np.stack([q.recall for q in bundle.encode_text(SENTENCES)])
    assert np.abs(ours.numpy() - queries @ clips.T).max() < 1e-3


def test_padding_changes_nothing(frames: np.ndarray):
    model = LaffStarter(LaffStarterConfig(common_dim=32)).eval()
    raw = torch.from_numpy(StarterTower()([frames[:2]])[0]["frames_raw"])[None]
    padded = torch.cat([raw, torch.full_like(raw, 7.0)], dim=1)
    with torch.inference_mode():
        alone = model.encode_video(raw, torch.ones(1, 2, dtype=torch.bool))
        among = model.encode_video(padded, torch.tensor([[True, True, False, False]]))
    assert torch.allclose(alone.recall, among.recall, atol=1e-6)
    assert (among.frame_embeds[0, 2:] == 0).all()  # type: ignore[index]


def test_features_of_another_size_are_refused():
    model = LaffStarter(LaffStarterConfig(common_dim=32))
    with pytest.raises(ShapeError, match="must have 2049 channels, got 5"):
        model.encode_video(torch.zeros(1, 2, 5), torch.ones(1, 2, dtype=torch.bool))


def test_a_model_of_another_starter_is_refused():
    here = StarterTextInputs(LaffStarterConfig()).model_facts()["starter"]
    StarterTextInputs(LaffStarterConfig(starter=here))
    other = LaffStarterConfig(common_dim=32, starter="0" * 16)
    with pytest.raises(UsageError, match=f"starter {'0' * 16}, the one here is {here}"):
        StarterTextInputs(other)
    with pytest.raises(UsageError, match="was trained on the starter 0000"):
        plan_for(LaffStarter(other))


def test_a_graph_without_the_inner_tensor_is_refused(bundle: Bundle):
    with pytest.raises(BundleError, match="has no pooled_nothing"):
        with_outputs(bundle.files.read("text.onnx"), ["pooled_nothing"])


def test_a_video_is_decoded_once_and_a_cache_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = write_set(tmp_path / "set", ["red", "green", "blue"])
    recipe = starter_recipe(root)
    data = open_split(recipe, "train", training=True)
    asked = []
    real = type(data).frames  # type: ignore[attr-defined]
    monkeypatch.setattr(
        type(data), "frames", lambda self, row: (asked.append(row), real(self, row))[1]
    )
    first, second = make_batch(data, [0, 2]), make_batch(data, [3, 0])
    assert sorted(asked) == [0, 1]
    assert torch.equal(first.video["frames_raw"][0], second.video["frames_raw"][1])
    report = make_cache(recipe, tmp_path / "c", features=True)
    assert report.done == 3
    held = open_split(starter_recipe(root, kind="cache", cache=str(tmp_path / "c")), "train")
    difference = held.video_inputs([0, 1])["frames_raw"] - data.video_inputs([0, 1])["frames_raw"]
    assert difference.abs().max() < 0.01
    model = LaffStarter(LaffStarterConfig(common_dim=32, max_frames=3))
    held.check_model(model)  # type: ignore[attr-defined]
    save_checkpoint(model, tmp_path / "run")
    twin = load_checkpoint(tmp_path / "run")
    assert torch.equal(twin.log_mix, model.log_mix)


def test_training_reads_the_same_recall_as_search(frames: np.ndarray):
    model = LaffStarter(LaffStarterConfig(common_dim=32)).eval()
    raw = torch.from_numpy(StarterTower()([frames])[0]["frames_raw"]).unflatten(0, (2, 2))
    video = {"frames_raw": raw, "frame_mask": torch.tensor([[True, True], [True, False]])}
    text = StarterTextInputs(LaffStarterConfig())(SENTENCES[:2])
    batch = Batch(video, text, torch.tensor([0, 1]))
    trained_text, trained_video = model.training_tokens(batch)
    assert torch.allclose(trained_video.recall, model.encode_video(**video).recall, atol=1e-6)
    assert torch.allclose(trained_text.recall, model.encode_text(**text).recall, atol=1e-6)
    model.loss(batch)["loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
