"""SigLIP and SigLIP 2 through transformers, as a backbone for zero-shot search or training.

Zhai et al., arXiv 2303.15343; Tschannen et al., arXiv 2502.14786. Checkpoints of a fixed
resolution (transformers' ``SiglipModel``); the NaFlex ones change the number of patches with the
picture and do not fit a bundle. Letters: B texts or clips, F frames, P patches, W words, E width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finecut.errors import BundleError, MissingDependency

MEAN = STD = (0.5, 0.5, 0.5)  # of pixels in [0, 1]
PAD_ID = 0
MAX_FRAMES = 12  # of a clip in an index; the model has no limit


class Siglip(nn.Module):
    """A ``Backbone`` (methods/zero_shot.py) around a transformers ``SiglipModel``."""

    def __init__(self, model: nn.Module, tokenizer: bytes, lowercase: bool = True) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.lowercase = lowercase
        self.logit_scale = model.logit_scale  # the log, as CLIP's

    def encode_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, 3, H, H] → frame_embeds_raw [B, F, E], patch_embeds_raw [B, F, P, E].

        The tower has no class token; its head pools the patches by attention. A patch embedding
        is what that head gives for a picture of this one patch, so it lies in the joint space.
        """
        batch, frames = pixels.shape[:2]
        vision = self.model.vision_model
        tokens = _through(vision, vision.embeddings(pixels.flatten(0, 1)))
        tokens = vision.post_layernorm(tokens)  # [B·F, P, E]
        count, width = tokens.shape[1:]
        # ``view`` and not ``unflatten``: the latter takes sizes as constants when traced.
        return (
            self._pool(tokens).view(batch, frames, width),
            self._pool(tokens.reshape(-1, 1, width)).view(batch, frames, count, width),
        )

    def _pool(self, tokens: Tensor) -> Tensor:
        """[N, P, E] → [N, E]: the head's attention from one learned query, then its MLP.

        Written out, because ``nn.MultiheadAttention`` takes the batch size as a constant when it
        is traced for export.
        """
        head = self.model.vision_model.head
        width, heads = tokens.shape[-1], head.attention.num_heads
        weight, bias = head.attention.in_proj_weight, head.attention.in_proj_bias
        query = F.linear(head.probe[0], weight[:width], bias[:width])  # [1, E]
        key, value = F.linear(tokens, weight[width:], bias[width:]).chunk(2, dim=-1)
        query, key, value = (
            x.view(*x.shape[:2], heads, width // heads) for x in (query[None], key, value)
        )  # [1, 1, heads, ·], [N, P, heads, ·]
        query = query[0]
        scores = torch.einsum("qhd,nphd->nhp", query, key) * (width // heads) ** -0.5
        pooled = torch.einsum("nhp,nphd->nhd", scores.softmax(dim=-1), value).flatten(1)
        pooled = head.attention.out_proj(pooled)
        return pooled + head.mlp(head.layernorm(pooled))

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """[B, W] → text_embeds_raw [B, E]. Attention is not causal and training always padded to
        the full length, so the ids are padded here whatever W is."""
        text = self.model.text_model
        length = self.model.config.text_config.max_position_embeddings
        padded = F.pad(input_ids, (0, length - input_ids.shape[1]), value=PAD_ID)
        words = text.final_layer_norm(_through(text, text.embeddings(padded)))
        return text.head(words[:, -1])

    def bundle_facts(self) -> dict[str, Any]:
        """What a bundle must know (see ``export_plans.clip_facts``)."""
        vision, text = self.model.config.vision_config, self.model.config.text_config
        return dict(
            mean=MEAN,
            std=STD,
            tokenizer=self.tokenizer,
            image_size=vision.image_size,
            max_frames=MAX_FRAMES,
            max_words=text.max_position_embeddings,
            vocab_size=text.vocab_size,
            recall_dim=vision.hidden_size,
            embed_dim=vision.hidden_size,
            patch_grid=vision.image_size // vision.patch_size,
            resize="squash",
            interpolation="bilinear",
            lowercase=self.lowercase,
        )


def _through(tower: nn.Module, tokens: Tensor) -> Tensor:
    for layer in tower.encoder.layers:
        out = layer(tokens, None)  # no mask: every token sees every other
        tokens = out[0] if isinstance(out, tuple) else out
    return tokens


def load_siglip(folder: Path | str) -> Siglip:
    """A SigLIP from a Hugging Face folder: config.json, safetensors weights, tokenizer.json.

    Nothing is downloaded.

    Raises:
        MissingDependency: transformers is not installed.
        BundleError: a file is missing, or the folder holds another kind of model.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise BundleError(
                f"'{folder}' has no {name}; a SigLIP folder holds config.json, model.safetensors "
                "and tokenizer.json."
            )
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise BundleError(f"'{folder}/config.json' is no model config: {error}") from error
    if kind not in ("siglip", "siglip_model"):
        raise BundleError(
            f"'{folder}' holds a {kind!r} model, expected siglip (SigLIP, or SigLIP 2 of a fixed "
            "resolution)."
        )
    try:
        from transformers import SiglipModel
    except ImportError as error:
        raise MissingDependency(
            f"SigLIP needs transformers ({error.name} is missing): pip install transformers."
        ) from error
    model = SiglipModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return Siglip(model.float().eval(), (folder / "tokenizer.json").read_bytes())


def siglip_from_config(config: Any, tokenizer: bytes) -> Siglip:
    """A SigLIP with random weights, for training from nothing and for tests."""
    try:
        from transformers import SiglipModel
    except ImportError as error:
        raise MissingDependency(
            f"SigLIP needs transformers ({error.name} is missing): pip install transformers."
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Siglip(SiglipModel(config).eval(), tokenizer)
