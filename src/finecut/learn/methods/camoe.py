"""CAMoE: three experts, one gate, aligned with sentence, nouns and verbs (Cheng et al., 2021,
arXiv:2109.04290), trained with the dual softmax loss.

The network was never released; only the loss was, in sixteen lines. What follows is built from
the article's description, and what it leaves open is said at the place. CLIP encodes frames and
three forms of the caption: whole, nouns only, verbs only. Three experts pool the same frames:

    entity    -> compared with the nouns
    action    -> compared with the verbs
    gated sum of all three (one gate, from the mean frame) -> compared with the whole sentence

The score is the weighted mean of three cosines: one inner product of vectors three times as long.

Ours where the article is silent: the gate's form, squeeze-and-excitation over frame slots, equal
weights of the streams, captions without a key word kept whole. Letters: G clips, Q texts, F frames,
W words, E joint width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from finecut.errors import ShapeError, UsageError
from finecut.learn.encoders.clip import CLIP, ClipConfig, Transformer, pool_text
from finecut.learn.losses import dual_softmax_loss, info_nce
from finecut.learn.methods.blocks import frames_of, gate_weights, masked_mean, unit
from finecut.learn.methods.clip4clip import frames_over_time
from finecut.learn.methods.protocol import Batch, Rerank, TextTokens, TokenLoss, VideoTokens

STREAMS = ("sentence", "entity", "action")
RELEVANCE_TEMPERATURE = 0.01  # of cosines; only for showing which frames match
HEAD_EPS = 1e-12  # LayerNorm of CLIP4Clip's temporal transformer, which self-attention follows

Aggregation = Literal["mean", "se", "self_attention"]
SentenceMode = Literal["RKW", "AKWE", "MUW"]


@dataclass(frozen=True, slots=True)
class CamoeConfig:
    """All that decides the shape of the model, its loss and its score."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    fusion_expert: Aggregation = "self_attention"
    entity_expert: Aggregation = "mean"
    action_expert: Aggregation = "se"
    sentence_mode: SentenceMode = "MUW"  # the best of the three in the article
    expert_layers: int = 4  # of self_attention experts (CLIP4Clip's seqTransf)
    se_reduction: int = 4  # frame slots per hidden unit of an se expert
    stream_weights: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)  # sentence, entity, action
    dual_softmax: bool = True  # False: plain symmetric InfoNCE
    dual_softmax_temperature: float = 1000.0  # authors' default for training
    max_frames: int = 12
    max_words: int = 32
    filler_id: int = 269  # "." as a word of CLIP's vocabulary: stands for a masked piece

    def __post_init__(self) -> None:
        if len(self.stream_weights) != len(STREAMS) or min(self.stream_weights) < 0:
            raise UsageError(
                f"CAMoE: stream_weights {self.stream_weights}; expected three of 0 or more "
                f"({', '.join(STREAMS)})."
            )


class SqueezeExcitation(nn.Module):
    """Frames weighed by two small layers over the frame slots; the weights divided by their sum.

    z_t = channel mean of frame t (0 for padding); a = σ(W2 relu(W1 z + b1) + b2);
    out = Σ a_t x_t / Σ a_t over real frames.
    """

    def __init__(self, slots: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(slots, max(1, slots // reduction))
        self.excite = nn.Linear(max(1, slots // reduction), slots)

    def weights(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """[G, F] in (0, 1), before padding is left out."""
        count, slots = frames.shape[1], self.squeeze.in_features
        if count > slots:
            raise ShapeError(f"{count} frames for {slots} slots; expected at most {slots}.")
        z = frames.mean(dim=-1) * frame_mask.to(frames.dtype)  # [G, F]
        z = nn.functional.pad(z, (0, slots - count))  # shorter clips leave slots empty
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(z))))[:, :count]

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """[G, F, E], [G, F] -> [G, E]; 0 for a clip without a real frame."""
        a = (self.weights(frames, frame_mask) * frame_mask.to(frames.dtype))[..., None]
        return (a * frames).sum(dim=1) / a.sum(dim=1).clamp(min=1e-12)


class FrameSelfAttention(nn.Module):
    """CLIP4Clip's temporal transformer with frame positions and residual, then the mean."""

    def __init__(self, slots: int, width: int, layers: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(slots, width) * 0.01)
        self.transformer = Transformer(width, layers, eps=HEAD_EPS)

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """[G, F, E], [G, F] -> [G, E]."""
        seen = frames_over_time(frames, frame_mask, self.positions, self.transformer)
        return masked_mean(seen, frame_mask)


class FrameMean(nn.Module):
    """Mean over real frames; no parameters."""

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """[G, F, E], [G, F] -> [G, E]."""
        return masked_mean(frames, frame_mask)


class CAMoE(TokenLoss):
    """The method; see ``methods/protocol.py`` for what its four functions mean."""

    def __init__(self, config: CamoeConfig, clip: CLIP | None = None) -> None:
        super().__init__()
        self.config = config
        self.clip = clip or CLIP(config.clip)
        self.fusion_expert = _expert(config.fusion_expert, config)
        self.entity_expert = _expert(config.entity_expert, config)
        self.action_expert = _expert(config.action_expert, config)
        self.gate = nn.Linear(config.clip.embed_dim, len(STREAMS))
        if config.sentence_mode == "AKWE":
            self.key_word = nn.Parameter(torch.zeros(2, config.clip.text_width))
        # Which pieces of the vocabulary are mostly nouns, mostly verbs: used where no tagger is
        # at hand (an exported model). ``camoe_text.learn_key_pieces`` fills it; row 0 = entity.
        self.register_buffer("key_pieces", torch.zeros(2, config.clip.vocab_size, dtype=torch.bool))

        self.start_experts_from_clip()

    @torch.no_grad()
    def start_experts_from_clip(self) -> None:
        """Self-attention experts begin as CLIP's lowest text blocks and word positions, as
        CLIP4Clip's head does; call it again once CLIP's weights are loaded."""
        for expert in (self.fusion_expert, self.entity_expert, self.action_expert):
            if isinstance(expert, FrameSelfAttention):
                pairs = zip(
                    expert.transformer.resblocks, self.clip.transformer.resblocks, strict=False
                )
                for ours, theirs in pairs:
                    ours.load_state_dict(theirs.state_dict())
                expert.positions.copy_(self.clip.positional_embedding[: len(expert.positions)])

    # ------------------------------------------------------------------ the four functions

    def encode_video(
        self,
        pixels: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frames_raw: Tensor | None = None,
    ) -> VideoTokens:
        """Clips -> recall [G, 3E]: three unit vectors laid end to end; and unit frames.

        Args:
            pixels: [G, F, 3, H, H] normalised; padded frames are zero.
            frame_mask: [G, F] bool, True = real; None: all are.
            frames_raw: [G, F, E] instead of pixels, from a cache of the frozen tower.
        """
        return self.tokens_from_frames(*frames_of(self.clip, pixels, frames_raw, frame_mask))

    def tokens_from_frames(self, frames_raw: Tensor, frame_mask: Tensor) -> VideoTokens:
        """Experts and gate alone: raw frame embeddings [G, F, E] -> tokens."""
        recall = unit(self.video_streams(frames_raw, frame_mask)).flatten(1)  # [G, 3E]
        return VideoTokens(recall, unit(frames_raw), frame_mask)

    def encode_text(
        self,
        input_ids: Tensor,
        entity_ids: Tensor | None = None,
        action_ids: Tensor | None = None,
        entity_flags: Tensor | None = None,
        action_flags: Tensor | None = None,
    ) -> TextTokens:
        """Sentences -> recall [Q, 3E]: the three streams' unit vectors times their weights.

        Arguments as ``text_streams``.
        """
        streams = self.text_streams(input_ids, entity_ids, action_ids, entity_flags, action_flags)
        weights = streams.new_tensor(self.config.stream_weights)[:, None]
        return TextTokens((weights * streams).flatten(1), streams[:, 0])

    def rerank(self, text: TextTokens, video: VideoTokens) -> Rerank:
        """The recall score is the score; the sentence says which frames match."""
        sims = torch.einsum("qd,gfd->qgf", text.text_embeds, video.frame_embeds)
        relevance = gate_weights(sims, RELEVANCE_TEMPERATURE, video.frame_mask[None])
        return Rerank(text.recall @ video.recall.T, relevance)

    def training_tokens(self, batch: Batch) -> tuple[TextTokens, VideoTokens]:
        """As stored, but the text's streams [Q, 3E] come without their weights."""
        video = self.encode_video(**batch.video)
        streams = self.text_streams(**batch.text)  # [Q, 3, E]
        return TextTokens(streams.flatten(1)), VideoTokens(video.recall)

    def token_loss(
        self, text: TextTokens, video: VideoTokens, video_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Sum over the three streams of dual softmax (or InfoNCE), both directions averaged."""
        streams = [side.recall.unflatten(1, (len(STREAMS), -1)) for side in (text, video)]
        logits = torch.einsum("qse,gse->sqg", *streams) * self.clip.logit_scale.exp()
        temperature = self.config.dual_softmax_temperature
        parts = {
            f"{name}_loss": dual_softmax_loss(stream, temperature, video_ids)
            if self.config.dual_softmax
            else info_nce(stream, video_ids)
            for name, stream in zip(STREAMS, logits, strict=True)
        }
        return {**parts, "loss": torch.stack(list(parts.values())).sum()}

    # ------------------------------------------------------------------ experts and gate

    def video_streams(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """[G, 3, E], not normalised: what sentence, nouns and verbs are compared with."""
        experts = torch.stack(
            [
                self.fusion_expert(frames, frame_mask),
                self.entity_expert(frames, frame_mask),
                self.action_expert(frames, frame_mask),
            ],
            dim=1,
        )  # [G, 3, E]
        return gated_streams(experts, self.gate(masked_mean(frames, frame_mask)))

    # ------------------------------------------------------------------ the three sentences

    def text_streams(
        self,
        input_ids: Tensor,
        entity_ids: Tensor | None = None,
        action_ids: Tensor | None = None,
        entity_flags: Tensor | None = None,
        action_flags: Tensor | None = None,
    ) -> Tensor:
        """[Q, 3, E] unit vectors of the whole sentence, its nouns and its verbs.

        Args:
            input_ids: [Q, W] the whole caption.
            entity_ids: [Q, W'] its nouns (RKW, MUW); ``camoe_text.stream_inputs`` makes all these
                from tagged captions. Without it the piece table decides what to mask.
            action_ids: [Q, W'] its verbs.
            entity_flags: AKWE: [Q, W] bool, which words of the whole caption to mark.
            action_flags: likewise for verbs.
        """
        if self.config.sentence_mode == "AKWE":
            entity = self._marked(input_ids, 0, entity_flags)
            action = self._marked(input_ids, 1, action_flags)
        else:
            masked = (
                self._masked(input_ids, 0) if entity_ids is None else entity_ids,
                self._masked(input_ids, 1) if action_ids is None else action_ids,
            )
            entity, action = (self.clip.encode_text(ids) for ids in masked)
        whole = self.clip.encode_text(input_ids)
        return unit(torch.stack([whole, entity, action], dim=1).float())

    def _key_flags(self, input_ids: Tensor, row: int) -> Tensor:
        """[Q, W]: pieces the table knows as nouns (row 0) or verbs (row 1)."""
        return self.key_pieces[row][input_ids]

    def _masked(self, input_ids: Tensor, row: int) -> Tensor:
        return mask_useless_pieces(
            input_ids, self._key_flags(input_ids, row), self.config.filler_id
        )

    def _marked(self, input_ids: Tensor, row: int, flags: Tensor | None) -> Tensor:
        flags = self._key_flags(input_ids, row) if flags is None else flags
        words = self.clip.encode_words(input_ids, flags[..., None] * self.key_word[row])
        return pool_text(words, input_ids)


def gated_streams(experts: Tensor, gate_logits: Tensor) -> Tensor:
    """[G, 3, E] experts (fusion, entity, action) -> streams: only the sentence's is a mixture.

    v_sentence = Σ_e softmax(gate)_e E_e; the others are their own expert ("single gate").

    Args:
        experts: [G, 3, E].
        gate_logits: [G, 3].
    """
    gate = gate_logits.softmax(dim=-1)
    sentence = torch.einsum("ge,ged->gd", gate, experts)
    return torch.cat([sentence[:, None], experts[:, 1:]], dim=1)


def mask_useless_pieces(input_ids: Tensor, keep: Tensor, filler_id: int) -> Tensor:
    """MUW on pieces: what is not kept becomes the filler; start, end and padding stay.

    A caption with nothing to keep stays whole. ``input_ids`` [Q, W] and ``keep`` [Q, W] bool;
    the end token has the highest id, padding follows it, the start token comes first.

    >>> ids = torch.tensor([[510, 5, 6, 7, 511, 0]])
    >>> keep = torch.tensor([[False, False, True, False, False, False]])
    >>> mask_useless_pieces(ids, keep, 1).tolist()
    [[510, 1, 6, 1, 511, 0]]
    """
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    inside = (place > 0) & (place < input_ids.argmax(dim=1, keepdim=True))  # [Q, W]
    keep = keep & inside
    useless = inside & ~keep & keep.any(dim=1, keepdim=True)
    return input_ids.masked_fill(useless, filler_id)


def _expert(kind: Aggregation, config: CamoeConfig) -> nn.Module:
    if kind == "mean":
        return FrameMean()
    if kind == "se":
        return SqueezeExcitation(config.max_frames, config.se_reduction)
    if kind == "self_attention":
        return FrameSelfAttention(config.max_frames, config.clip.embed_dim, config.expert_layers)
    raise UsageError(f"CAMoE: expert {kind!r}; expected mean, se or self_attention.")
