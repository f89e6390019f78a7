"""What of each method goes into which graph of a bundle: one plan per method."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from finecut.errors import UsageError
from finecut.learn.encoders.clip_tokenizer import ClipTokenizer
from finecut.learn.export_graphs import (
    CrossClip4Clip,
    CrossTaco,
    LateEercf,
    LateZeroShot,
    LateZeroShotPatches,
    TextGraph,
    VideoGraph,
    WithWeights,
)
from finecut.learn.methods.camoe import CAMoE
from finecut.learn.methods.clip4clip import CLIP4Clip
from finecut.learn.methods.eercf import EERCF
from finecut.learn.methods.on_clip import LaffOnClip, TacoOnClip
from finecut.learn.methods.zero_shot import ZeroShot
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
    interpolation: str = "bicubic"
    lowercase: bool = False
    sos_eos: tuple[int, int] = (0, 0)  # ids that open and close a sentence, for random samples
    provenance: Mapping[str, Any] = field(default_factory=dict)  # of parts that come ready-made


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


def plan_camoe(model: CAMoE) -> Plan:
    """Recall is the whole score. The text graph finds nouns and verbs by the model's own table of
    pieces (``camoe_text.learn_key_pieces``): there is no tagger behind the door."""
    model = copy.deepcopy(model).float().eval()
    facts = _clip_sizes(model.config)
    return Plan(
        method="camoe",
        **_encoders(model, ["recall_embeds", "frame_embeds"]),
        **facts | {"recall_dim": 3 * facts["embed_dim"]},
    )


def plan_laff(model: LaffOnClip) -> Plan:
    model = copy.deepcopy(model).float().eval()
    dim = model.config.common_dim
    return Plan(
        method="laff",
        **_encoders(model, ["recall_embeds", "frame_embeds"]),
        **_clip_sizes(model.config) | {"recall_dim": dim, "embed_dim": dim},
    )


def plan_taco(model: TacoOnClip) -> Plan:
    """The tokeniser is BERT's and comes with the checkpoint (tokenizer.json in its folder)."""
    model = copy.deepcopy(model).float().eval()
    config, taco = model.config, model.config.taco
    wrapped = WithWeights(model)
    outputs = ["recall_query", "text_embeds", "word_embeds"]
    return Plan(
        method="taco",
        video=VideoGraph(wrapped.encode_video, wrapped, ["recall_embeds", "frame_embeds"]),
        video_outputs=["recall_embeds", "frame_embeds"],
        text=TextGraph(wrapped.encode_text, wrapped, outputs, takes_mask=True),
        text_outputs=outputs,
        tokenizer=b"",
        image_size=config.clip.image_size,
        max_frames=taco.max_frames,
        max_words=taco.max_words,
        vocab_size=taco.text.vocab_size,
        recall_dim=taco.text.width,
        embed_dim=taco.text.width + 1,
        rerank=CrossTaco(model),
        rerank_kind="cross",
        rerank_inputs=["text_embeds", "word_embeds", "word_mask", "frame_embeds", "frame_mask"],
    )


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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(path, max_words)
        return path.read_bytes()


PLANS: Mapping[type[nn.Module], Callable[[Any], Plan]] = {
    CLIP4Clip: plan_clip4clip,
    EERCF: plan_eercf,
    CAMoE: plan_camoe,
    LaffOnClip: plan_laff,
    TacoOnClip: plan_taco,
    ZeroShot: plan_zero_shot,
}
