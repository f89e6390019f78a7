"""open_clip's zoo (PE-Core, MobileCLIP2, DFN, …) as a backbone for zero-shot search or training.

open_clip and the towers it takes from timm need torchvision; all of that is optional here, and
what is missing is named. Letters: B texts or clips, F frames, P patches, W words, E width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finecut.errors import BundleError, MissingDependency
from finecut.learn.encoders.clip_tokenizer import FULL_VOCAB, ClipTokenizer

MAX_FRAMES = 12  # of a clip in an index; the model has no limit
_RESIZE = {"shortest": "crop", "squash": "squash", "longest": "pad"}


class OpenClip(nn.Module):
    """A ``Backbone`` (methods/zero_shot.py) around an open_clip model."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.logit_scale = model.logit_scale
        # open_clip's own ViT can hand out its tokens; towers of timm only their pooled vector.
        self.has_patches = all(hasattr(model.visual, part) for part in ("output_tokens", "proj"))
        if self.has_patches:
            model.visual.output_tokens = True

    def encode_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, F, 3, H, H] → frame_embeds_raw [B, F, E], patch_embeds_raw [B, F, P, E] or None."""
        batch, frames = pixels.shape[:2]
        seen = self.model.visual(pixels.flatten(0, 1))
        if not self.has_patches:
            return seen.view(batch, frames, -1), None
        pooled, tokens = seen
        if self.model.visual.proj is not None:
            tokens = tokens @ self.model.visual.proj
        # ``view`` and not ``unflatten``: the latter takes sizes as constants when traced.
        return pooled.view(batch, frames, -1), tokens.view(batch, frames, *tokens.shape[1:])

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """[B, W] → text_embeds_raw [B, E]; padded here to the full length, which some of the text
        towers were trained with and all of them take."""
        missing = self.context_length - input_ids.shape[1]
        return self.model.encode_text(F.pad(input_ids, (0, missing), value=0))

    @property
    def context_length(self) -> int:
        return int(getattr(self.model, "context_length", None) or self.tokenizer.context_length)

    def bundle_facts(self) -> dict[str, Any]:
        """What a bundle must know (see ``export_plans.clip_facts``)."""
        visual = self.model.visual
        size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
        told = getattr(visual, "preprocess_cfg", {})
        with torch.no_grad():
            frames, patches = self.encode_frames(torch.zeros(1, 1, 3, size, size))
        data, vocab = self._tokenizer_json()
        return dict(
            mean=tuple(visual.image_mean or told["mean"]),
            std=tuple(visual.image_std or told["std"]),
            tokenizer=data,
            image_size=size,
            max_frames=MAX_FRAMES,
            max_words=self.context_length,
            vocab_size=vocab,
            sos_eos=(vocab - 2, vocab - 1),
            recall_dim=frames.shape[-1],
            embed_dim=frames.shape[-1],
            patch_grid=0 if patches is None else round(patches.shape[2] ** 0.5),
            resize=_RESIZE[told.get("resize_mode", "shortest")],
            interpolation=told.get("interpolation", "bicubic"),
        )

    def _tokenizer_json(self) -> tuple[bytes, int]:
        from finecut.learn.export_plans import tokenizer_bytes

        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None and hasattr(inner, "backend_tokenizer"):  # a Hugging Face one
            return inner.backend_tokenizer.to_str().encode(), len(inner)
        if getattr(self.tokenizer, "vocab_size", None) == FULL_VOCAB:
            return tokenizer_bytes(ClipTokenizer(), self.context_length), FULL_VOCAB
        raise BundleError(
            f"The tokenizer {type(self.tokenizer).__name__} has no Hugging Face form; pass "
            "tokenizer= to export()."
        )


def load_open_clip(model: str, weights: str | None = None, tag: str | None = None) -> OpenClip:
    """A model of open_clip by name, with weights from a file.

    Args:
        model: as ``open_clip.list_models()`` names it, for instance "PE-Core-B-16".
        weights: a local checkpoint file; None: random weights. Nothing is downloaded.
        tag: which of open_clip's published weights the file is ("openai", "dfn2b", …). They
            differ in how a frame is resized and normalised; needed only where a model's tags do.

    Raises:
        MissingDependency: names the missing package: open_clip, timm or torchvision.
        BundleError: open_clip does not know the model or the tag, or a tag is needed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingDependency(
            f"open_clip needs the package {error.name}, which is not installed: "
            "pip install open_clip_torch (it brings timm and torchvision)."
        ) from error
    known = open_clip.list_models()
    if model not in known:
        raise BundleError(f"open_clip has no model {model!r}; it has {len(known)}: {known[:5]} ….")
    pixels = _pixel_settings(open_clip, model, tag) if weights or tag else {}
    built = open_clip.create_model(
        model, pretrained=weights, load_weights=weights is not None, **pixels
    )
    return OpenClip(built.float().eval(), open_clip.get_tokenizer(model))


def _pixel_settings(open_clip: Any, model: str, tag: str | None) -> dict[str, Any]:
    """Mean, deviation, interpolation and resize rule of the published weights."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag is not None and tag not in tags:
        raise BundleError(f"open_clip's {model} has the weights {tags}, got the tag {tag!r}.")
    found = []
    for name in [tag] if tag else tags:
        told = open_clip.get_pretrained_cfg(model, name)
        settings = {
            f"image_{key}": told[key]
            for key in ("mean", "std", "interpolation", "resize_mode")
            if told.get(key) is not None
        }
        if settings not in found:
            found.append(settings)
    if len(found) > 1:
        raise BundleError(
            f"The published weights of {model} differ in how frames are prepared; name the one "
            f"this file is: open_clip:{model}@TAG:FILE with TAG among {tags}."
        )
    return found[0] if found else {}
