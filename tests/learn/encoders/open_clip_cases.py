"""The open_clip adapter, on models with random weights; run by ``test_open_clip.py`` in a process
of its own, because a stand-in for torchvision would mislead other packages."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from finecut.errors import BundleError
from finecut.learn.encoders.open_clip import load_open_clip
from finecut.learn.export import export
from finecut.learn.methods.zero_shot import ZeroShot

from . import torchvision_stand_in


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    try:
        import torchvision  # noqa: F401
    except ImportError:
        torchvision_stand_in.install()
    return pytest.importorskip("open_clip", reason="open_clip_torch is not installed")


@pytest.fixture(scope="module")
def tiny(open_clip: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2,
                     "layers": 2},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("open_clip") / "finecut-tiny.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return path.stem


@torch.no_grad()
def test_frames_and_texts_are_open_clips_own(tiny: str) -> None:
    torch.manual_seed(0)
    backbone = load_open_clip(tiny)
    pixels = torch.randn(2, 3, 3, 32, 32)
    frames, patches = backbone.encode_frames(pixels)
    assert patches is not None and patches.shape == (2, 3, 4, 32)
    want = backbone.model.encode_image(pixels.flatten(0, 1))[0]  # pooled, tokens
    torch.testing.assert_close(frames.flatten(0, 1), want)
    ids = torch.tensor([[49406, 320, 1929, 49407]])
    want = backbone.model.encode_text(torch.nn.functional.pad(ids, (0, 12)))
    torch.testing.assert_close(backbone.encode_text(ids), want)


@torch.no_grad()
def test_our_own_clip_reads_the_same_weights(tiny: str, tmp_path: Path) -> None:
    from finecut.learn.encoders.clip_load import load_clip

    torch.manual_seed(0)
    backbone = load_open_clip(tiny)
    torch.save(backbone.model.state_dict(), tmp_path / "open_clip_model.bin")
    ours = load_clip(tmp_path / "open_clip_model.bin", activation="gelu")
    pixels = torch.randn(2, 1, 3, 32, 32)
    frames, patches = backbone.encode_frames(pixels)
    # Heads are one per 64 channels in the vision tower; this tiny text tower has two of 16.
    torch.testing.assert_close(ours.encode_frames(pixels)[0], frames, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.encode_frames(pixels)[1], patches, rtol=1e-4, atol=1e-5)


def test_it_becomes_a_bundle(tiny: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = export(ZeroShot(load_open_clip(tiny)), tmp_path / "bundle")
    assert report.method == "zero-shot" and max(report.largest_difference.values()) < 1e-4


def test_frame_preparation_follows_the_published_weights(open_clip: ModuleType) -> None:
    from finecut.learn.encoders.open_clip import _pixel_settings

    pe_core = _pixel_settings(open_clip, "PE-Core-B-16", None)
    assert pe_core["image_resize_mode"] == "squash" and pe_core["image_mean"] == (0.5,) * 3
    with pytest.raises(BundleError, match=r"open_clip:\S+@TAG:FILE"):
        _pixel_settings(open_clip, _model_with_different_tags(open_clip), None)
    with pytest.raises(BundleError, match="got the tag 'mine'"):
        _pixel_settings(open_clip, "ViT-B-32", "mine")


def _model_with_different_tags(open_clip: ModuleType) -> str:
    for model in open_clip.list_models():
        means = {
            str(open_clip.get_pretrained_cfg(model, tag).get("mean"))
            for tag in open_clip.list_pretrained_tags_by_model(model)
        }
        if len(means) > 1:
            return model
    pytest.skip("no model of this open_clip has weights with different statistics")


def test_an_unknown_model_is_refused(open_clip: ModuleType) -> None:
    with pytest.raises(BundleError, match="no model 'ViT-Z-1'"):
        load_open_clip("ViT-Z-1")
