"""CLIP4Clip: CLIP's two towers and one of four ways to compare a sentence with frames.

Luo et al., arXiv 2104.08860; where the article and the released code differ the code is followed
(docs/methods/clip4clip.md lists the differences). Parameter names are those of the released code,
``transformerClip`` included, so that its checkpoints load as they are.

    meanP        mean of the frames' unit vectors
    seqLSTM      the same after one LSTM over the frames, with a residual
    seqTransf    the same after a small transformer with frame positions, with a residual
    tightTransf  a cross-encoder over [sentence; frames]: no vector per clip, so it re-ranks
                 behind meanP's recall vector

Letters: B pairs, Q texts, G clips, F frames, W words, E joint width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.clip import CLIP, ClipConfig, LayerNorm, QuickGELU, Transformer
from finecut.learn.losses import info_nce, mil_nce
from finecut.learn.methods.blocks import frames_of, gate_weights, masked_mean, unit
from finecut.learn.methods.protocol import Rerank, TextTokens, TokenLoss, VideoTokens

Head = Literal["meanP", "seqLSTM", "seqTransf", "tightTransf"]
HEAD_EPS = 1e-12  # LayerNorm of everything that CLIP4Clip adds; CLIP's own is 1e-5
KEY_MASK = -1e6  # added to the attention scores of padded frames
CROSS_DROPOUT = 0.1  # on the cross-encoder's input, in training only
CROSS_INIT_STD = 0.02  # of the pooler and of the score layer
RELEVANCE_TEMPERATURE = 0.01  # 1 / 100, the largest scale CLIP learns


@dataclass(frozen=True, slots=True)
class Clip4ClipConfig:
    """All that decides the shape of the model."""

    head: Head = "meanP"
    clip: ClipConfig = field(default_factory=ClipConfig)
    head_layers: int = 4  # of seqTransf and tightTransf
    max_frames: int = 12
    max_words: int = 32
    cross_dropout: float = CROSS_DROPOUT
    objective: Literal["info_nce", "mil_nce"] = "info_nce"  # mil_nce: post-pretraining on speech

    def __post_init__(self) -> None:
        if self.head not in ("meanP", "seqLSTM", "seqTransf", "tightTransf"):
            raise UsageError(
                f"head must be meanP, seqLSTM, seqTransf or tightTransf, got {self.head!r}."
            )
        if self.objective not in ("info_nce", "mil_nce"):
            raise UsageError(f"objective must be info_nce or mil_nce, got {self.objective!r}.")
        room = self.clip.context_length - (self.head == "tightTransf")
        if self.head != "meanP" and self.max_frames > room:
            raise UsageError(
                f"max_frames must be at most {room} (rows of the position table) with the head "
                f"{self.head}, got {self.max_frames}."
            )


class CLIP4Clip(TokenLoss):
    """The method; see ``methods/protocol.py`` for what its four functions mean."""

    def __init__(self, config: Clip4ClipConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        self.config = config
        self.reranks = config.head == "tightTransf"
        self.clip = clip or CLIP(config.clip)
        width, context = config.clip.text_width, config.clip.context_length
        joint = config.clip.embed_dim
        if config.head in ("seqLSTM", "seqTransf"):  # the released LSTM carries the table unused
            self.frame_position_embeddings = nn.Embedding(context, joint)
        if config.head == "seqTransf":
            self.transformerClip = Transformer(width, config.head_layers, eps=HEAD_EPS)
        if config.head == "seqLSTM":
            self.lstm_visual = nn.LSTM(joint, joint, batch_first=True)
        if config.head == "tightTransf":
            self.cross = CrossEncoder(joint, context, config.head_layers, config.cross_dropout)
            self.similarity_dense = nn.Linear(joint, 1)
            nn.init.normal_(self.similarity_dense.weight, std=CROSS_INIT_STD)
            nn.init.zeros_(self.similarity_dense.bias)
        self.start_head_from_clip()

    @torch.no_grad()
    def start_head_from_clip(self) -> None:
        """Published initialisation: the new transformer's blocks are CLIP's lowest text blocks,
        and the frame positions CLIP's word positions. To be called after CLIP is loaded, unless
        the checkpoint holds the head itself."""
        stack = self._head_transformer()
        if stack is not None:
            for ours, theirs in zip(stack.resblocks, self.clip.transformer.resblocks, strict=False):
                ours.load_state_dict(theirs.state_dict())
        table = self._head_positions()
        if table is not None:
            table.weight.copy_(self.clip.positional_embedding)

    def _head_transformer(self) -> Transformer | None:
        if self.config.head == "seqTransf":
            return self.transformerClip
        return self.cross.transformer if self.config.head == "tightTransf" else None

    def _head_positions(self) -> nn.Embedding | None:
        if self.config.head in ("seqLSTM", "seqTransf"):
            return self.frame_position_embeddings
        if self.config.head == "tightTransf":
            return self.cross.embeddings.position_embeddings
        return None

    # ------------------------------------------------------------------ the four functions

    def encode_video(
        self,
        pixels: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frames_raw: Tensor | None = None,
    ) -> VideoTokens:
        """Clips → recall [G, E] of unit length and frame_embeds [G, F, E].

        The frames of a loose head are of unit length and are what recall averages, so
        text · frame explains the score; those of tightTransf are raw, as its cross-encoder
        takes them.

        Args:
            pixels: [G, F, 3, H, H] normalised; padded frames are zero.
            frame_mask: [G, F] bool, True = real; None: all are.
            frames_raw: [G, F, E] instead of pixels, from a cache of the frozen tower.
        """
        return self.tokens_from_frames(*frames_of(self.clip, pixels, frames_raw, frame_mask))

    def tokens_from_frames(self, frames_raw: Tensor, frame_mask: Tensor) -> VideoTokens:
        """The head alone: raw frame embeddings [G, F, E] → tokens."""
        frames = unit(self._over_time(frames_raw, frame_mask))
        recall = unit(masked_mean(frames, frame_mask))
        stored = frames_raw if self.config.head == "tightTransf" else frames
        return VideoTokens(recall, stored, frame_mask)

    def encode_text(self, input_ids: Tensor) -> TextTokens:
        """Sentences [Q, W] → recall [Q, E], unit length; text_embeds raw for tightTransf."""
        text_raw = self.clip.encode_text(input_ids).float()
        recall = unit(text_raw)
        return TextTokens(recall, text_raw if self.config.head == "tightTransf" else recall)

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """Cosines of the loose heads (nothing finer exists), scores of the cross-encoder else."""
        if self.config.head != "tightTransf":
            return Rerank(text.recall @ video.recall.T, _relevance(text, video))
        queries = range(len(text))
        rows = [self.cross_scores(text.text_embeds[q], video) for q in queries]  # each [G]
        return Rerank(torch.stack(rows), _relevance(text, video))

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """½ (CE over rows + CE over columns) of the logits; the article prints the sum.

        With the objective mil_nce, pairs of one video are one bag.
        """
        loss = mil_nce if self.config.objective == "mil_nce" else info_nce
        return {"loss": loss(self.logits(text, video), video_ids)}

    # ------------------------------------------------------------------ the heads

    def logits(self, text: TextTokens, video: VideoTokens) -> Tensor:
        """[Q, G]: cosines times exp(logit_scale); tightTransf's scores come without a scale."""
        scores = self.rerank(text, video).scores
        return scores if self.config.head == "tightTransf" else self.clip.logit_scale.exp() * scores

    def _over_time(self, frames_raw: Tensor, frame_mask: Tensor) -> Tensor:
        if self.config.head == "seqLSTM":
            # One direction: frames after the last real one cannot change those before.
            return self.lstm_visual(frames_raw)[0] + frames_raw
        if self.config.head == "seqTransf":
            return frames_over_time(
                frames_raw, frame_mask, self.frame_position_embeddings.weight, self.transformerClip
            )
        return frames_raw

    def cross_scores(self, text_raw: Tensor, video: VideoTokens) -> Tensor:
        """Scores [G] of one sentence [E] against the raw frames of G clips."""
        frames, mask = video.frame_embeds, video.frame_mask
        first = text_raw.expand(frames.shape[0], 1, -1)
        tokens = torch.cat([first, frames], dim=1)  # [G, 1 + F, E]
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return self.similarity_dense(self.cross(tokens, mask)).squeeze(-1)


def frames_over_time(
    frames_raw: Tensor, frame_mask: Tensor, positions: Tensor, transformer: Transformer
) -> Tensor:
    """Frames [G, F, E] after the temporal transformer, plus the frames it was given.

    The residual is from the frames without their positions. EERCF uses the same block.
    """
    count = frames_raw.shape[1]
    if count > positions.shape[0]:
        raise ShapeError(f"{count} frames, expected at most {positions.shape[0]} (position table).")
    x = frames_raw + positions[:count]
    return transformer(x, key_mask(frame_mask, x.dtype)) + frames_raw


def key_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """[G, N] True = real → what is added to attention scores, [G, 1, 1, N]."""
    return (1.0 - mask.to(dtype))[:, None, None, :] * KEY_MASK


class CrossEncoder(nn.Module):
    """tightTransf: positions, transformer, and a pooler on the first token (the sentence).

    The article's figure shows a token-type embedding; the released code has none.
    """

    def __init__(self, width: int, context: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.position_embeddings = nn.Embedding(context, width)
        self.transformer = Transformer(width, layers, eps=HEAD_EPS)
        self.pooler = nn.Module()
        self.pooler.ln_pool = LayerNorm(width, eps=HEAD_EPS)
        self.pooler.dense = nn.Linear(width, width)
        nn.init.normal_(self.pooler.dense.weight, std=CROSS_INIT_STD)
        nn.init.zeros_(self.pooler.dense.bias)
        self.activation = QuickGELU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens [G, N, E], mask [G, N] → pooled [G, E]."""
        x = tokens + self.embeddings.position_embeddings.weight[: tokens.shape[1]]
        x = self.transformer(self.dropout(x), key_mask(mask, x.dtype))
        return self.activation(self.pooler.dense(self.pooler.ln_pool(x)[:, 0]))


def _relevance(text: TextTokens, video: VideoTokens) -> Tensor:
    """How the score divides over the frames: softmax of text · frame."""
    sims = torch.einsum("qd,gfd->qgf", unit(text.text_embeds), unit(video.frame_embeds))
    return gate_weights(sims, RELEVANCE_TEMPERATURE, video.frame_mask[None])
