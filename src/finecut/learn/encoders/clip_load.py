"""Published CLIP weights, in any of their layouts, as one state dict with OpenAI's names.

OpenAI's .pt archives, open_clip, Hugging Face ``CLIPModel`` and the ``pytorch_model.bin`` of
CLIP4Clip and EERCF (prefix ``clip.``) hold the same tensors under different names.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from finecut.errors import BundleError
from finecut.learn.encoders.archive import read_tensors
from finecut.learn.encoders.clip import CLIP, Activation, ClipConfig

# Sizes that OpenAI's archives carry as tensors beside the weights.
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}


def load_clip(path: Path | str, activation: Activation | None = None) -> CLIP:
    """A CLIP with published weights, in float32.

    Args:
        path: a weights file, or a Hugging Face folder with config.json beside the weights.
        activation: of the MLPs. It cannot be read off the weights: OpenAI's models use
            quick_gelu, LAION's and DataComp's gelu. Default: what config.json says, else
            quick_gelu for OpenAI-style files.

    Raises:
        BundleError: unreadable, not a ViT CLIP, or tensors missing.
    """
    path = Path(path)
    heads: dict[str, int] = {}
    if path.is_dir():
        activation, heads = _read_hf_config(path, activation)
        path = _weights_in(path)
    state = to_openai_names(read_tensors(path))
    config = infer_config(state, activation or "quick_gelu")
    return build_clip(state, replace(config, **heads))


def build_clip(state: dict[str, Tensor], config: ClipConfig | None = None) -> CLIP:
    """A CLIP that holds exactly the tensors of ``state`` (OpenAI names), upcast to float32."""
    model = CLIP(config or infer_config(state))
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    if model.config.patches == "3d" and "visual.conv2.weight" in missing:
        missing.remove("visual.conv2.weight")
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if missing or wrong:
        raise BundleError(
            f"The CLIP weights do not fit: missing {missing[:5] or 'none'}, "
            f"wrong shapes {wrong[:5] or 'none'}."
        )
    with torch.no_grad():
        for name, value in wanted.items():
            if name in state:
                value.copy_(state[name].to(value.dtype))
    if model.config.patches == "3d" and "visual.conv2.weight" not in state:
        model.visual.inflate_patches()
    return model


def infer_config(state: dict[str, Tensor], activation: Activation = "quick_gelu") -> ClipConfig:
    """The sizes of a CLIP, read off its tensors.

    Raises:
        BundleError: a ResNet CLIP (no ``visual.proj``) or not a CLIP at all.
    """
    needed = ("visual.conv1.weight", "visual.proj", "visual.positional_embedding",
              "text_projection", "positional_embedding", "token_embedding.weight",
              "ln_final.weight")  # fmt: skip
    absent = [name for name in needed if name not in state]
    if absent:
        kind = "a ResNet CLIP" if "visual.attnpool.positional_embedding" in state else "no ViT CLIP"
        raise BundleError(f"This is {kind}: expected the tensors {absent}. Use a ViT CLIP.")
    width, _, patch, _ = state["visual.conv1.weight"].shape
    grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    return ClipConfig(
        embed_dim=state["text_projection"].shape[1],
        image_size=grid * patch,
        patch_size=patch,
        vision_width=width,
        vision_layers=_count_layers(state, "visual.transformer"),
        context_length=state["positional_embedding"].shape[0],
        vocab_size=state["token_embedding.weight"].shape[0],
        text_width=state["ln_final.weight"].shape[0],
        text_layers=_count_layers(state, "transformer"),
        activation=activation,
        patches="3d" if "visual.conv2.weight" in state else "2d",
    )


def _count_layers(state: dict[str, Tensor], prefix: str) -> int:
    pattern = re.compile(rf"^{re.escape(prefix)}\.resblocks\.(\d+)\.")
    return len({match[1] for name in state if (match := pattern.match(name))})


def to_openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The CLIP tensors of any known layout under OpenAI's names; other keys are dropped."""
    state = _strip_prefix(state, "module.")
    state = _strip_prefix(state, "clip.")
    if "vision_model.embeddings.class_embedding" in state:
        return _from_hugging_face(state)
    if "text.positional_embedding" in state:  # open_clip's CustomTextCLIP with a standard tower
        state = {name.removeprefix("text."): value for name, value in state.items()}
    return {name: value for name, value in state.items() if name not in _NOT_WEIGHTS}


def _strip_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return inside or state


_HF_NAMES = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # their spelling
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "logit_scale": "logit_scale",
}
_HF_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_HF_LAYER = re.compile(r"^(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$")


def _from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in _HF_NAMES:
            out[_HF_NAMES[name]] = value
        elif match := _HF_LAYER.match(name):
            tower = "visual.transformer" if match[1] == "vision" else "transformer"
            block = f"{tower}.resblocks.{match[2]}"
            if match[3] in _HF_PARTS:
                out[f"{block}.{_HF_PARTS[match[3]]}.{match[4]}"] = value
            elif match[3] == "self_attn.q_proj":  # q, k and v are stacked in OpenAI's layout
                parts = [state[name.replace("q_proj", f"{part}_proj")] for part in ("q", "k", "v")]
                out[f"{block}.attn.in_proj_{match[4]}"] = torch.cat(parts)
    for ours, theirs in (("text_projection", "text"), ("visual.proj", "visual")):
        if f"{theirs}_projection.weight" in state:
            out[ours] = state[f"{theirs}_projection.weight"].T.contiguous()
    return out


def _read_hf_config(
    folder: Path, activation: Activation | None
) -> tuple[Activation | None, dict[str, int]]:
    file = folder / "config.json"
    if not file.is_file():
        return activation, {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        text = config.get("text_config") or {}
        vision = config.get("vision_config") or {}
    except (ValueError, AttributeError) as error:
        raise BundleError(f"'{file}' is not a Hugging Face model config: {error}") from error
    if activation is None:
        named = vision.get("hidden_act", "quick_gelu")  # CLIPConfig's own default
        if named not in ("quick_gelu", "gelu"):
            raise BundleError(f"'{file}' names the activation {named!r}, expected gelu kinds.")
        activation = named
    heads = {
        "text_heads": int(text.get("num_attention_heads", 0)),
        "vision_heads": int(vision.get("num_attention_heads", 0)),
    }
    # Left out of config.json means the default of CLIPConfig, which is one head per 64 channels.
    return activation, {name: count for name, count in heads.items() if count > 0}


def _weights_in(folder: Path) -> Path:
    for name in ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise BundleError(f"No model.safetensors or pytorch_model.bin in '{folder}'.")
