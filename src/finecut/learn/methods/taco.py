"""TACo: token-aware cascade contrastive learning (Yang et al., ICCV 2021, arXiv:2108.09980).

No official code exists; this follows the article. Features of a frozen network go through a few
self-attention layers, the caption through BERT; both are compared three ways:

    sentence   [CLS] · mean video token                       -> L1, and recall
    token      Σ over nouns and verbs, weighted by IDF, of the
               best matching video token                      -> L2
    fused      a small transformer over text and video tokens -> L3, for few pairs: those whose
               sentence and token scores are the hardest ("cascade")

Loss L1 + λ L2 + L3; at test time the scores add up in the same way. Products are plain: nothing is
normalised and the temperatures are 1, unless configured.

Ours where the article is silent: learned video positions with a LayerNorm, text before video in
the fusion, L3 in both directions, IDF weights that sum to 1 per caption, captions of one video
never each other's negatives. Letters: Q texts, G videos, B pairs, W words, F frames, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.bert import Bert, BertConfig, BertStack, init_bert
from finecut.learn.losses import (
    sampled_contrastive,
    text_to_video_nce,
    token_contrastive,
    token_scores,
)
from finecut.learn.methods.blocks import gate_weights, masked_mean, unit
from finecut.learn.methods.protocol import Rerank, TextTokens, TokenLoss, VideoTokens

FUSION_CHUNK = 512  # pairs fused at once: bounds memory, changes nothing else


@dataclass(frozen=True, slots=True)
class TacoConfig:
    """All that decides the shape of the model, its loss and its score."""

    feature_dim: int = 3072  # ResNet-152 (2048) beside S3D (1024), concatenated per second
    text: BertConfig = field(default_factory=BertConfig)
    video_layers: int = 2  # 1 in ablations, 2 from scratch, 4 after HowTo100M
    fusion_layers: int = 2
    max_words: int = 30  # [CLS] and [SEP] included
    max_frames: int = 48
    sentence_temperature: float = 1.0  # τ1
    token_temperature: float = 1.0  # τ2
    normalise: bool = False  # unit tokens before all products; then lower the temperatures
    token_loss_weight: float = 0.5  # λ_t
    token_score_weight: float = 0.5  # of the token score at test time (appendix F)
    hard_negatives: int = 8  # K'
    weighted_cascade: bool = False  # True: IDF weights in the cascade's token scores as well
    reduction: Literal["sum", "mean"] = "sum"  # over the batch

    def __post_init__(self) -> None:
        if self.hard_negatives < 1:
            raise UsageError(f"TACo: hard_negatives is {self.hard_negatives}, expected 1 or more.")
        if self.max_words > self.text.max_words:
            raise UsageError(
                f"TACo: max_words {self.max_words} exceeds BERT's {self.text.max_words} positions."
            )


class TACo(TokenLoss):
    """The method; see ``methods/protocol.py`` for what its four functions mean."""

    reranks = True

    def __init__(self, config: TacoConfig) -> None:
        super().__init__()
        self.config = config
        bert = config.text
        width, shape = bert.width, (bert.heads, bert.inner, bert.dropout)
        self.text = Bert(bert)
        self.project = nn.Linear(config.feature_dim, width)
        self.frame_positions = nn.Embedding(config.max_frames, width)
        self.frame_norm = nn.LayerNorm(width, eps=1e-12)
        self.video_stack = BertStack(width, config.video_layers, *shape)
        self.fusion_types = nn.Embedding(2, width)  # 0 = text, 1 = video
        self.fusion_positions = nn.Embedding(config.max_words + config.max_frames, width)
        self.fusion_stack = BertStack(width, config.fusion_layers, *shape)
        self.fusion_score = nn.Linear(width, 1)
        for module in (self.project, self.frame_positions, self.fusion_types):
            init_bert(module)
        for module in (self.fusion_positions, self.fusion_score):
            init_bert(module)
        # Mean IDF of each piece as noun or verb: weights where no tagger is at hand (an exported
        # model). ``taco_text.learn_piece_weights`` fills it.
        self.register_buffer("piece_weights", torch.zeros(bert.vocab_size))

    # ------------------------------------------------------------------ the four functions

    def encode_video(self, features: Tensor, frame_mask: Tensor) -> VideoTokens:
        """Features of a frozen network [G, F, d], frame_mask [G, F] bool -> tokens.

        recall [G, D] is the mean real token, frame_embeds [G, F, D] the tokens.
        """
        count = features.shape[1]
        if count > self.config.max_frames:
            raise ShapeError(f"{count} frames, expected at most {self.config.max_frames}.")
        x = self.project(features) + self.frame_positions.weight[:count]
        tokens = self.video_stack(self.frame_norm(x), frame_mask)  # [G, F, D]
        tokens = tokens * frame_mask.to(tokens.dtype)[..., None]
        if self.config.normalise:
            tokens = unit(tokens)
        mean = masked_mean(tokens, frame_mask)
        return VideoTokens(unit(mean) if self.config.normalise else mean, tokens, frame_mask)

    def encode_text(
        self, input_ids: Tensor, word_mask: Tensor, word_weights: Tensor | None = None
    ) -> TextTokens:
        """Captions [Q, W] with [CLS] first -> recall [Q, D] ([CLS]) and word_embeds [Q, W, D].

        Args:
            input_ids: [Q, W].
            word_mask: [Q, W] bool.
            word_weights: [Q, W], 0 off the tokens of interest, rows summing to 1 or 0
                (``taco_text.text_inputs``); without it the piece table decides.
        """
        if input_ids.shape[1] > self.config.max_words:
            raise ShapeError(
                f"{input_ids.shape[1]} words, expected at most {self.config.max_words}."
            )
        words = self.text(input_ids, word_mask)
        if self.config.normalise:
            words = unit(words)
        if word_weights is None:
            raw = self.piece_weights[input_ids] * word_mask
            word_weights = raw / raw.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return TextTokens(words[:, 0], words[:, 0], words, word_mask, word_weights)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """Sentence + 0.5 · token + fused score, of every text against every video."""
        texts, videos = len(text), len(video)
        rows = torch.arange(texts, device=text.recall.device).repeat_interleave(videos)
        columns = torch.arange(videos, device=text.recall.device).repeat(texts)
        fused = self.fused_scores(text, video, rows, columns).view(texts, videos)
        tokens = token_scores(text.word_embeds, video.frame_embeds, video.frame_mask)
        weighted = torch.einsum("qgw,qw->qg", tokens, text.word_weights)
        scores = text.recall @ video.recall.T + self.config.token_score_weight * weighted + fused
        return Rerank(scores, self._relevance(text, video))

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """L1 + λ L2 + L3, with L3 over the cascade's pairs in both directions."""
        config, ids = self.config, video_ids
        sentence = text.recall @ video.recall.T  # [B, B]
        tokens = token_scores(text.word_embeds, video.frame_embeds, video.frame_mask)

        negatives = self._hard_negatives(sentence, tokens, text.word_weights, ids)
        needed = (
            negatives[0]
            | negatives[1].T
            | torch.eye(len(text), dtype=torch.bool).to(sentence.device)
        )
        rows, columns = needed.nonzero(as_tuple=True)
        fused = torch.zeros_like(sentence).index_put(
            (rows, columns), self.fused_scores(text, video, rows, columns)
        )
        parts = {
            "sentence_loss": text_to_video_nce(
                sentence / config.sentence_temperature, ids, config.reduction
            ),
            "token_loss": token_contrastive(
                tokens, text.word_weights, config.token_temperature, ids, config.reduction
            ),
            "fused_loss": sampled_contrastive(fused, negatives[0], config.reduction)
            + sampled_contrastive(fused.T, negatives[1], config.reduction),
        }
        total = parts["sentence_loss"] + parts["fused_loss"]
        return {**parts, "loss": total + config.token_loss_weight * parts["token_loss"]}

    # ------------------------------------------------------------------ fusion

    def fused_scores(
        self, text: TextTokens, video: VideoTokens, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """[N] scores of pairs (text rows[n], video columns[n]) by the fusion transformer."""
        chunks = [
            self.fuse(
                text.word_embeds[r], text.word_mask[r], video.frame_embeds[c], video.frame_mask[c]
            )
            for r, c in zip(rows.split(FUSION_CHUNK), columns.split(FUSION_CHUNK), strict=True)
        ]
        return torch.cat(chunks)

    def fuse(self, words: Tensor, word_mask: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """words [N, W, D], frames [N, F, D] -> [N]."""
        places = self.fusion_positions.weight
        width = self.config.max_words  # a frame's place does not depend on the caption's length
        text = words + self.fusion_types.weight[0] + places[: words.shape[1]]
        clip = frames + self.fusion_types.weight[1] + places[width : width + frames.shape[1]]
        joined = self.fusion_stack(
            torch.cat([text, clip], dim=1), torch.cat([word_mask, mask], dim=1)
        )
        return self.fusion_score(joined[:, 0]).squeeze(-1)

    # ------------------------------------------------------------------ cascade

    @torch.no_grad()
    def _hard_negatives(
        self, sentence: Tensor, tokens: Tensor, weights: Tensor, video_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        interest = weights if self.config.weighted_cascade else (weights > 0).to(weights.dtype)
        alignment = cascade_alignment(sentence, tokens, interest)
        barred = same_video(len(sentence), video_ids, sentence.device)
        return (
            hardest(alignment, self.config.hard_negatives, barred),
            hardest(alignment.T, self.config.hard_negatives, barred),
        )

    def _relevance(self, text: TextTokens, video: VideoTokens) -> Tensor:
        """Softmax over frames of what sentence and weighted words together find in each."""
        sought = text.recall + torch.einsum("qw,qwd->qd", text.word_weights, text.word_embeds)
        sims = torch.einsum("qd,gfd->qgf", sought, video.frame_embeds)
        scale = self.config.text.width**0.5 if not self.config.normalise else 0.1
        return gate_weights(sims, scale, video.frame_mask[None])


def cascade_alignment(sentence: Tensor, tokens: Tensor, interest: Tensor) -> Tensor:
    """[Q, G]: sentence score plus the summed scores of the tokens of interest (article, 3.3).

    Args:
        sentence: [Q, G].
        tokens: [Q, G, W].
        interest: [Q, W], 1 on tokens of interest (the article's formula) or IDF weights.
    """
    return sentence + torch.einsum("qgw,qw->qg", tokens, interest)


def hardest(alignment: Tensor, count: int, barred: Tensor) -> Tensor:
    """[B, B] bool: the ``count`` best columns of each row that are not barred; ties: lower index.

    Fewer where fewer are allowed.

    >>> barred = torch.eye(3, dtype=torch.bool)
    >>> hardest(torch.tensor([[9., 1, 1], [0, 9, 5], [7, 7, 9]]), 1, barred).int().tolist()
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    """
    ranked = alignment.masked_fill(barred, -torch.inf).argsort(dim=1, descending=True, stable=True)
    chosen = torch.zeros_like(barred).scatter(1, ranked[:, :count], True)
    return chosen & ~barred


def same_video(size: int, video_ids: Tensor | None, device: torch.device | str) -> Tensor:
    """[B, B] bool: pairs of one video, the diagonal included; they are never negatives."""
    if video_ids is None:
        return torch.eye(size, dtype=torch.bool, device=device)
    return video_ids[:, None] == video_ids[None, :]
