"""The SigLIP adapter computes what transformers computes, and becomes a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finecut.errors import BundleError
from finecut.learn.encoders.siglip import Siglip, load_siglip, siglip_from_config
from finecut.learn.export import export
from finecut.learn.methods.zero_shot import ZeroShot

from ..tiny_models import bert_tokenizer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model() -> Siglip:
    common = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    common |= {"num_attention_heads": 2}
    text = common | {"vocab_size": 50, "max_position_embeddings": 16, "projection_size": 32}
    vision = common | {"image_size": 32, "patch_size": 16}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    return siglip_from_config(config, bert_tokenizer())


@torch.no_grad()
def test_pooled_vectors_are_those_of_transformers(model: Siglip) -> None:
    pixels = torch.randn(2, 3, 3, 32, 32)
    frames, patches = model.encode_frames(pixels)
    want = model.model.vision_model(pixel_values=pixels.flatten(0, 1)).pooler_output
    torch.testing.assert_close(frames.flatten(0, 1), want, rtol=1e-4, atol=1e-5)
    assert patches.shape == (2, 3, 4, 32)
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    padded = torch.nn.functional.pad(ids, (0, 12))
    want = model.model.text_model(input_ids=padded).pooler_output
    torch.testing.assert_close(model.encode_text(ids), want, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_text_of_any_padding_is_the_same(model: Siglip) -> None:
    ids = torch.tensor([[2, 7, 9, 3]])
    for more in (1, 5, 12):
        padded = torch.nn.functional.pad(ids, (0, more))
        torch.testing.assert_close(model.encode_text(padded), model.encode_text(ids))


def test_a_folder_is_loaded_and_exported(model: Siglip, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "tokenizer.json").write_bytes(bert_tokenizer())
    report = export(f"siglip:{tmp_path / 'hf'}", tmp_path / "bundle")
    assert report.method == "zero-shot" and max(report.largest_difference.values()) < 1e-4
    from finecut.bundle.load import Bundle

    manifest = Bundle.load(tmp_path / "bundle").manifest
    assert manifest.frames.resize == "squash" and manifest.text.lowercase
    assert manifest.video.n_patches == 4
    assert manifest.text.languages == ("en",)  # a small vocabulary
    export(f"siglip:{tmp_path / 'hf'}", tmp_path / "many", languages=["en", "zh"])
    assert Bundle.load(tmp_path / "many").manifest.text.languages == ("en", "zh")


def test_folders_that_do_not_fit_are_refused(model: Siglip, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no config\.json"):
        load_siglip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BundleError, match="holds a 'siglip2' model, expected siglip"):
        load_siglip(tmp_path)
    assert isinstance(ZeroShot(model).backbone, Siglip)
