"""What of each method goes into which graph of a bundle.

A plan holds three small modules: pixels as bytes → tokens, ids → query, and arrays → score. They
are ordinary torch, so that the parity gate can run them beside their ONNX form. Padding reaches
them as a mask; padded frames are zeroed after normalisation, as in the published loaders.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from finecut.errors import UsageError
from finecut.learn.encoders.clip_tokenizer import ClipTokenizer
from finecut.learn.methods import zero_shot
from finecut.learn.methods.blocks import gate_weights, unit
from finecut.learn.methods.clip4clip import CLIP4Clip
from finecut.learn.methods.eercf import (
    EERCF,
    FRAME_GATE_TEMPERATURE,
    WEAK_TEMPERATURE,
    gated_from_gram,
)
from finecut.learn.methods.protocol import TextTokens, VideoTokens
from finecut.learn.methods.zero_shot import ZeroShot
from finecut.learn.onnx_graph import OnnxLstm
from finecut.learn.preprocess import CLIP_MEAN, CLIP_STD

RERANK_SHAPES = {  # letters of each input's axes; a number is that very size
    "recall_score": "K",
    "frame_sims": "K F",
    "frame_mask": "K F",
    "frame_value_sims": "K F",
    "frame_gram": "K F F",
    "patch_sims": "K F P",
    "word_frame_sims": "K W F",
    "word_mask": "W",
    "text_embeds": "D",
    "word_embeds": "W D",
    "frame_embeds": "K F D",
}


@dataclass
class Plan:
    """The parts of one bundle before they are written."""

    method: str
    video: nn.Module  # (frames, frame_mask) -> one tensor per name in video_outputs
    video_outputs: list[str]
    text: nn.Module  # (input_ids, word_mask) -> likewise
    text_outputs: list[str]
    tokenizer: bytes
    image_size: int  # pixels, square
    max_frames: int
    max_words: int
    vocab_size: int
    recall_dim: int
    embed_dim: int
    patch_grid: int = 0  # rows = columns; 0: no patch level
    rerank: nn.Module | None = None
    rerank_kind: str = "late"
    rerank_inputs: list[str] = field(default_factory=list)
    resize: str = "crop"
    lowercase: bool = False
    sos_eos: tuple[int, int] = (0, 0)  # ids that open and close a sentence, for random samples


# ---------------------------------------------------------------------- the two encoder graphs


class VideoGraph(nn.Module):
    """Bytes in, tokens out. The pixel statistics are inside, so they cannot drift."""

    def __init__(
        self,
        encode: Callable[..., VideoTokens],
        owner: nn.Module,
        outputs: list[str],
        mean: tuple[float, ...] = CLIP_MEAN,
        std: tuple[float, ...] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.owner = owner  # registers the parameters that `encode` uses
        self.encode = encode
        self.outputs = outputs
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, frames: Tensor, frame_mask: Tensor) -> tuple[Tensor, ...]:
        pixels = frames.permute(0, 1, 4, 2, 3).float() / 255.0  # [N, F, 3, H, W]
        pixels = (pixels - self.mean) / self.std
        pixels = pixels * frame_mask[:, :, None, None, None].float()
        tokens = self.encode(pixels=pixels, frame_mask=frame_mask)
        by_name = {
            "recall_embeds": tokens.recall,
            "frame_embeds": tokens.frame_embeds,
            "patch_embeds": tokens.patch_embeds,
            "frame_values": tokens.frame_values,
        }
        return tuple(by_name[name] for name in self.outputs)


class TextGraph(nn.Module):
    """Ids of the true length in, query out."""

    def __init__(
        self, encode: Callable[..., TextTokens], owner: nn.Module, outputs: list[str]
    ) -> None:
        super().__init__()
        self.owner = owner
        self.encode = encode
        self.outputs = outputs

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> tuple[Tensor, ...]:
        tokens = self.encode(input_ids=input_ids * word_mask)  # padding is id 0
        by_name = {
            "recall_query": tokens.recall,
            "text_embeds": tokens.text_embeds,
            "word_embeds": tokens.word_embeds,
        }
        return tuple(by_name[name] for name in self.outputs)


def relevance(sims: Tensor, mask: Tensor) -> Tensor:
    """Cosines [K, F] to [0, 1], one scale for all candidates of a query; 0 for padding."""
    return ((sims + 1) / 2).clamp(0, 1) * mask.to(sims.dtype)


# ---------------------------------------------------------------------- the re-rank graphs


class LateEercf(nn.Module):
    """EERCF's stage 2 from small arrays. Padded frames are masked, which is EERCF with
    ``mask_padding``: an index stores real frames only."""

    def __init__(self, model: EERCF) -> None:
        super().__init__()
        self.weights = model.config.rerank_weights
        self.register_buffer("wf", model.frame_logit_weight.detach().clone())
        self.register_buffer("scale", model.clip.logit_scale.detach().exp())

    def forward(
        self,
        recall_score: Tensor,
        frame_sims: Tensor,
        frame_mask: Tensor,
        frame_value_sims: Tensor,
        frame_gram: Tensor,
        patch_sims: Tensor,
    ) -> tuple[Tensor, Tensor]:
        frames = frame_sims.shape[1]
        attention = gate_weights(frame_sims, WEAK_TEMPERATURE, frame_mask)
        attention = attention @ self.wf[:frames, :frames]
        frame_weak = (frame_sims.masked_fill(~frame_mask, 0.0) * attention).sum(-1)
        gate = gate_weights(frame_sims, FRAME_GATE_TEMPERATURE, frame_mask)
        every = frame_mask[..., None].expand(patch_sims.shape).flatten(-2)
        flat = patch_sims.flatten(-2)
        patch_weak = (flat * gate_weights(flat, WEAK_TEMPERATURE, every)).sum(-1)
        w = self.weights
        score = (
            w.video * recall_score
            + w.frame_weak * frame_weak
            + w.frame_gated * gated_from_gram(gate, frame_value_sims, frame_gram)
            + w.patch_weak * patch_weak
        )
        return self.scale * score, relevance(frame_sims, frame_mask)


class LateZeroShotPatches(nn.Module):
    def forward(
        self,
        recall_score: Tensor,
        frame_sims: Tensor,
        frame_mask: Tensor,
        frame_gram: Tensor,
        patch_sims: Tensor,
    ) -> tuple[Tensor, Tensor]:
        score = zero_shot.late_score(recall_score, frame_sims, frame_mask, frame_gram, patch_sims)
        return score, relevance(frame_sims, frame_mask)


class LateZeroShot(nn.Module):
    def forward(
        self, recall_score: Tensor, frame_sims: Tensor, frame_mask: Tensor, frame_gram: Tensor
    ) -> tuple[Tensor, Tensor]:
        score = zero_shot.late_score(recall_score, frame_sims, frame_mask, frame_gram, None)
        return score, relevance(frame_sims, frame_mask)


class CrossClip4Clip(nn.Module):
    """tightTransf over the stored raw frames of each candidate."""

    def __init__(self, model: CLIP4Clip) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, text_embeds: Tensor, frame_embeds: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        # The recall vector is no input of the cross-encoder; only its length matters here.
        video = VideoTokens(frame_embeds[:, 0], frame_embeds, frame_mask)
        sims = unit(frame_embeds) @ unit(text_embeds)
        return self.model.cross_scores(text_embeds, video), relevance(sims, frame_mask)


# ---------------------------------------------------------------------- one plan per method


def plan_for(model: nn.Module) -> Plan:
    """The plan of a built-in method, or of a plugin's: a ``bundle_plan()`` of its own.

    Raises:
        UsageError: a model that nobody has a plan for.
    """
    if hasattr(model, "bundle_plan"):
        return model.bundle_plan()
    for kind, make in PLANS.items():
        if isinstance(model, kind):
            return make(model)
    raise UsageError(
        f"{type(model).__name__} cannot be exported: it is none of "
        f"{', '.join(kind.__name__ for kind in PLANS)} and has no bundle_plan()."
    )


def plan_clip4clip(model: CLIP4Clip) -> Plan:
    model = copy.deepcopy(model).float().eval()
    if model.config.head == "seqLSTM":
        model.lstm_visual = OnnxLstm(model.lstm_visual)
    tight = model.config.head == "tightTransf"
    return Plan(
        method=f"clip4clip-{model.config.head}",
        rerank=CrossClip4Clip(model) if tight else None,
        rerank_kind="cross",
        rerank_inputs=["text_embeds", "frame_embeds", "frame_mask"] if tight else [],
        **_encoders(model, ["recall_embeds", "frame_embeds"]),
        **_clip_sizes(model.config),
    )


def plan_eercf(model: EERCF) -> Plan:
    if model.config.rerank_weights.patch_gated:
        raise UsageError(
            "EERCF's text-gated patch level cannot be served: it needs the inner products of all "
            "patches of a clip. Set rerank=LevelWeights(..., patch_gated=0) in its config."
        )
    model = copy.deepcopy(model).float().eval()
    names = ["recall_embeds", "frame_embeds", "patch_embeds", "frame_values"]
    return Plan(
        method=f"eercf-{model.config.variant}",
        rerank=LateEercf(model),
        rerank_inputs=[
            "recall_score", "frame_sims", "frame_mask", "frame_value_sims", "frame_gram",
            "patch_sims",
        ],
        patch_grid=round(model.config.clip.patch_count**0.5),
        **_encoders(model, names),
        **_clip_sizes(model.config),
    )  # fmt: skip


def plan_zero_shot(model: ZeroShot) -> Plan:
    model = copy.deepcopy(model).float().eval()
    backbone = model.backbone
    facts = backbone.bundle_facts() if hasattr(backbone, "bundle_facts") else clip_facts(backbone)
    grid = facts.pop("patch_grid") if model.patches else 0
    facts.pop("patch_grid", None)
    late = ["recall_score", "frame_sims", "frame_mask", "frame_gram"]
    names = ["recall_embeds", "frame_embeds"] + ["patch_embeds"] * bool(grid)
    mean, std = facts.pop("mean"), facts.pop("std")
    return Plan(
        method="zero-shot",
        rerank=LateZeroShotPatches() if grid else LateZeroShot(),
        rerank_inputs=late + ["patch_sims"] * bool(grid),
        patch_grid=grid,
        **_encoders(model, names, mean, std),
        **facts,
    )


def clip_facts(clip: Any) -> dict[str, Any]:
    """What a bundle must know of our own CLIP used as a zero-shot backbone."""
    config = clip.config
    tokenizer = ClipTokenizer(config.vocab_size)
    return dict(
        mean=CLIP_MEAN,
        std=CLIP_STD,
        tokenizer=tokenizer_bytes(tokenizer, config.context_length),
        image_size=config.image_size,
        max_frames=12,  # of a clip in the index, CLIP4Clip's setting; the model has no limit
        max_words=config.context_length,
        vocab_size=config.vocab_size,
        sos_eos=(tokenizer.sot, tokenizer.eot),
        recall_dim=config.embed_dim,
        embed_dim=config.embed_dim,
        patch_grid=round(config.patch_count**0.5),
    )


def _clip_sizes(config: Any) -> dict[str, Any]:
    facts = clip_facts(type("ClipOnly", (), {"config": config.clip}))
    for name in ("mean", "std", "patch_grid"):
        facts.pop(name)
    return facts | {"max_frames": config.max_frames, "max_words": config.max_words}


def _encoders(
    model: Any,
    video_outputs: list[str],
    mean: tuple[float, ...] = CLIP_MEAN,
    std: tuple[float, ...] = CLIP_STD,
) -> dict[str, Any]:
    text_outputs = ["recall_query", "text_embeds"]
    return dict(
        video=VideoGraph(model.encode_video, model, video_outputs, mean, std),
        video_outputs=video_outputs,
        text=TextGraph(model.encode_text, model, text_outputs),
        text_outputs=text_outputs,
    )


def tokenizer_bytes(tokenizer: ClipTokenizer, max_words: int) -> bytes:
    """tokenizer.json as bytes."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(path, max_words)
        return path.read_bytes()


PLANS: Mapping[type[nn.Module], Callable[[Any], Plan]] = {
    CLIP4Clip: plan_clip4clip,
    EERCF: plan_eercf,
    ZeroShot: plan_zero_shot,
}
