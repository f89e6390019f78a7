"""MaxSim: a retrieval method of your own for finecut, complete in one file.

Recall by the mean frame; re-rank by how well each word finds its best frame (Khattab and Zaharia,
ColBERT, 2020, with frames for passages). Once this package is installed, `finecut export`, `index`
and `search` take its checkpoints like those of the built-in methods.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from finecut.learn.checkpoint import MethodSpec
from finecut.learn.encoders.clip import CLIP, ClipConfig, pool_text
from finecut.learn.export_graphs import TextGraph, VideoGraph, relevance
from finecut.learn.export_plans import Plan, clip_facts
from finecut.learn.losses import info_nce, token_scores
from finecut.learn.methods.blocks import masked_mean, unit
from finecut.learn.methods.protocol import Batch, Rerank, TextTokens, VideoTokens, recall_sims


@dataclass(frozen=True, slots=True)
class MaxSimConfig:
    clip: ClipConfig = field(default_factory=ClipConfig)
    max_frames: int = 12
    max_words: int = 32


class MaxSim(nn.Module):
    def __init__(self, config: MaxSimConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        self.config = config
        self.clip = clip or CLIP(config.clip)

    def encode_video(self, pixels: Tensor, frame_mask: Tensor) -> VideoTokens:
        frames = unit(self.clip.encode_frames(pixels)[0].float())  # [G, F, E]
        return VideoTokens(unit(masked_mean(frames, frame_mask)), frames, frame_mask)

    def encode_text(self, input_ids: Tensor) -> TextTokens:
        words = self.clip.encode_words(input_ids).float()  # [Q, W, E]
        text = unit(pool_text(words, input_ids))
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        real = place <= input_ids.argmax(dim=1, keepdim=True)  # up to the end token
        return TextTokens(text, text, unit(words), real)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        best = token_scores(text.word_embeds, video.frame_embeds, video.frame_mask)  # [Q, G, W]
        return Rerank(mean_of_words(best, text.word_mask[:, None]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        text, video = self.encode_text(**batch.text), self.encode_video(**batch.video)
        scale = self.clip.logit_scale.exp()
        recall = info_nce(scale * recall_sims(text, video), batch.video_ids)
        words = info_nce(scale * self.rerank(text, video).scores, batch.video_ids)
        return {"recall_loss": recall, "word_loss": words, "loss": recall + words}

    def bundle_plan(self) -> Plan:
        """What goes into which graph of the bundle; see docs/bundle-format.md."""
        model = copy.deepcopy(self).eval()
        facts = clip_facts(self.clip)
        sizes = {k: v for k, v in facts.items() if k not in ("mean", "std", "patch_grid")}
        video_outputs = ["recall_embeds", "frame_embeds"]
        text_outputs = ["recall_query", "text_embeds", "word_embeds"]
        return Plan(
            method="max-sim",
            video=VideoGraph(model.encode_video, model, video_outputs),
            video_outputs=video_outputs,
            text=TextGraph(model.encode_text, model, text_outputs),
            text_outputs=text_outputs,
            rerank=LateMaxSim(),
            rerank_inputs=["frame_sims", "frame_mask", "word_frame_sims", "word_mask"],
            **sizes | {"max_frames": self.config.max_frames, "max_words": self.config.max_words},
        )


class LateMaxSim(nn.Module):
    """The re-ranker from the small arrays the engine makes: K candidates of one query."""

    def forward(
        self, frame_sims: Tensor, frame_mask: Tensor, word_frame_sims: Tensor, word_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        best = word_frame_sims.masked_fill(~frame_mask[:, None], -2.0).amax(dim=-1)  # [K, W]
        return mean_of_words(best, word_mask), relevance(frame_sims, frame_mask)


def mean_of_words(best: Tensor, word_mask: Tensor) -> Tensor:
    real = word_mask.to(best.dtype)
    return (best * real).sum(dim=-1) / real.sum(dim=-1).clamp(min=1.0)


def spec() -> MethodSpec:
    """The entry point ``finecut.methods``: how a checkpoint finds this code."""
    return MethodSpec(MaxSim, MaxSimConfig)
