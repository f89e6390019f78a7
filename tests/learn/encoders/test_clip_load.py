"""Published layouts: the same tensors under other names give the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from finecut.errors import BundleError
from finecut.learn.encoders.clip import CLIP
from finecut.learn.encoders.clip_load import infer_config, load_clip, to_openai_names
from finecut.learn.encoders.tiny import TINY, tiny_clip

MODEL = tiny_clip(5)


def save(path: Path, state: dict[str, Tensor]) -> Path:
    save_file({n: t.detach().clone().contiguous() for n, t in state.items()}, path)
    return path


def same_model(got: CLIP, want: CLIP = MODEL) -> None:
    assert got.config == want.config
    for name, value in want.state_dict().items():
        assert torch.equal(got.state_dict()[name], value), name


def hugging_face_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Written independently of the loader's tables, from transformers' CLIPModel."""
    out = {"logit_scale": state["logit_scale"]}
    out["text_projection.weight"] = state["text_projection"].T
    out["visual_projection.weight"] = state["visual.proj"].T
    text, vision = "text_model.", "vision_model."
    out[text + "embeddings.token_embedding.weight"] = state["token_embedding.weight"]
    out[text + "embeddings.position_embedding.weight"] = state["positional_embedding"]
    out[vision + "embeddings.class_embedding"] = state["visual.class_embedding"]
    out[vision + "embeddings.patch_embedding.weight"] = state["visual.conv1.weight"]
    out[vision + "embeddings.position_embedding.weight"] = state["visual.positional_embedding"]
    for kind in ("weight", "bias"):
        out[f"{text}final_layer_norm.{kind}"] = state[f"ln_final.{kind}"]
        out[f"{vision}pre_layrnorm.{kind}"] = state[f"visual.ln_pre.{kind}"]
        out[f"{vision}post_layernorm.{kind}"] = state[f"visual.ln_post.{kind}"]
        for tower, prefix, layers in ((text, "", 2), (vision, "visual.", 2)):
            for n in range(layers):
                ours, hf = f"{prefix}transformer.resblocks.{n}.", f"{tower}encoder.layers.{n}."
                stacked = state[f"{ours}attn.in_proj_{kind}"].chunk(3)
                for part, value in zip("qkv", stacked, strict=True):
                    out[f"{hf}self_attn.{part}_proj.{kind}"] = value
                out[f"{hf}self_attn.out_proj.{kind}"] = state[f"{ours}attn.out_proj.{kind}"]
                out[f"{hf}layer_norm1.{kind}"] = state[f"{ours}ln_1.{kind}"]
                out[f"{hf}layer_norm2.{kind}"] = state[f"{ours}ln_2.{kind}"]
                out[f"{hf}mlp.fc1.{kind}"] = state[f"{ours}mlp.c_fc.{kind}"]
                out[f"{hf}mlp.fc2.{kind}"] = state[f"{ours}mlp.c_proj.{kind}"]
    return out


def test_openai_names_with_the_size_tensors(tmp_path: Path) -> None:
    state = MODEL.state_dict() | {"input_resolution": torch.tensor(32)}
    torch.save(dict(state), tmp_path / "ViT.pt")
    same_model(load_clip(tmp_path / "ViT.pt"))


@pytest.mark.parametrize("prefix", ["clip.", "module.", "module.clip."])
def test_prefixes(tmp_path: Path, prefix: str) -> None:
    state = {prefix + name: value for name, value in MODEL.state_dict().items()}
    same_model(load_clip(save(tmp_path / "a.safetensors", state)))


def test_half_precision_weights_are_upcast(tmp_path: Path) -> None:
    half = {name: value.half() for name, value in MODEL.state_dict().items()}
    got = load_clip(save(tmp_path / "a.safetensors", half))
    assert got.visual.proj.dtype == torch.float32
    assert torch.equal(got.visual.proj, MODEL.visual.proj.half().float())


def test_open_clip_custom_text_tower(tmp_path: Path) -> None:
    towers = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.",
              "text_projection")  # fmt: skip
    state = {
        f"text.{name}" if name.startswith(towers) else name: value
        for name, value in MODEL.state_dict().items()
    }
    same_model(load_clip(save(tmp_path / "a.safetensors", state)))


def test_hugging_face_folder(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", hugging_face_names(MODEL.state_dict()))
    config = {"text_config": {"num_attention_heads": 1}, "vision_config": {"hidden_act": "gelu"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    got = load_clip(tmp_path)
    assert got.config.activation == "gelu" and got.config.text_heads == 1
    for name, value in MODEL.state_dict().items():
        assert torch.equal(got.state_dict()[name], value), name


@torch.no_grad()
def test_transformers_computes_the_same(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    common = {"num_attention_heads": 1, "num_hidden_layers": 2, "hidden_size": 64}
    common |= {"intermediate_size": 256}
    theirs = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=common | {"vocab_size": 1024, "max_position_embeddings": 32,
                                  "eos_token_id": 1023},
            vision_config=common | {"image_size": 32, "patch_size": 16},
            projection_dim=64,
        )
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path)
    ours = load_clip(tmp_path).eval()
    ids = torch.tensor([[1022, 5, 77, 1023], [1022, 9, 1023, 0]])
    video = torch.randn(2, 1, 3, 32, 32)
    text = theirs.text_projection(theirs.text_model(input_ids=ids).pooler_output)
    image = theirs.visual_projection(theirs.vision_model(pixel_values=video[:, 0]).pooler_output)
    torch.testing.assert_close(ours.encode_text(ids), text, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.encode_frames(video)[0][:, 0], image, rtol=1e-4, atol=1e-5)


def test_sizes_are_read_off_the_tensors() -> None:
    assert infer_config(MODEL.state_dict()) == TINY
    deep = tiny_clip(0, TINY.with_patches("3d"))
    assert infer_config(deep.state_dict()).patches == "3d"


def test_what_is_no_vit_clip_is_refused(tmp_path: Path) -> None:
    state = {"visual.attnpool.positional_embedding": torch.zeros(1)}
    with pytest.raises(BundleError, match="ResNet CLIP"):
        load_clip(save(tmp_path / "rn50.safetensors", state))
    broken = dict(MODEL.state_dict())
    del broken["ln_final.bias"]
    with pytest.raises(BundleError, match=r"missing \['ln_final.bias'\]"):
        load_clip(save(tmp_path / "broken.safetensors", broken))
    broken = dict(MODEL.state_dict())
    broken["ln_final.bias"] = torch.zeros(3)
    with pytest.raises(BundleError, match=r"ln_final.bias \(3,\) instead of \(64,\)"):
        load_clip(save(tmp_path / "shape.safetensors", broken))


def test_other_tensors_of_a_method_checkpoint_are_left_out() -> None:
    state = {f"clip.{n}": t for n, t in MODEL.state_dict().items()}
    state["transformerClip.resblocks.0.ln_1.weight"] = torch.zeros(1)
    assert to_openai_names(state).keys() == MODEL.state_dict().keys()
