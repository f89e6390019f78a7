"""BERT-type transformer, post-LayerNorm: TACo's text encoder and, its layers, its other two stacks.

Loads ``bert-base-uncased`` and its kin from the Hugging Face layout; the pooler, which nothing
here uses, is left out. Letters: B sequences, N tokens, W words, D width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finecut.errors import ShapeError, UsageError

NORM_EPS = 1e-12  # BERT
INIT_STD = 0.02  # BERT


@dataclass(frozen=True, slots=True)
class BertConfig:
    """Sizes; the defaults are BERT-base, uncased."""

    vocab_size: int = 30522
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    max_words: int = 512  # rows of the position table
    dropout: float = 0.1


class BertLayer(nn.Module):
    """x = LN(x + attention(x)); x = LN(x + MLP(x)), with GELU and dropout before each sum."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ShapeError(f"width {width} cannot be divided into {heads} attention heads.")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, D], mask [B, 1, 1, N] bool -> [B, N, D]."""
        split = (*x.shape[:2], self.heads, -1)
        query, key, value = (
            part(x).view(split).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # each [B, heads, N, D/heads]
        seen = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout.p if self.training else 0.0
        )
        seen = self.attention_out(seen.transpose(1, 2).reshape(x.shape))
        x = self.attention_norm(x + self.dropout(seen))
        return self.norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


class BertStack(nn.Module):
    """Layers one after the other; none at all is the identity."""

    def __init__(self, width: int, layers: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BertLayer(width, heads, inner, dropout) for _ in range(layers))
        self.apply(init_bert)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, D], mask [B, N] bool, True = real."""
        # A row without any real token would have no key; it attends to all and is not used.
        keys = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]
        for layer in self.layers:
            x = layer(x, keys)
        return x


class Bert(nn.Module):
    """Words in, one vector per word out, the first of them ([CLS]) for the sentence."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.max_words, config.width)
        self.types = nn.Embedding(2, config.width)  # only type 0 is used; kept for checkpoints
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(init_bert)
        self.stack = BertStack(
            config.width, config.layers, config.heads, config.inner, config.dropout
        )

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        """input_ids [B, W], word_mask [B, W] bool -> [B, W, D].

        Raises:
            ShapeError: more words than the position table has rows.
        """
        length = input_ids.shape[1]
        if length > self.config.max_words:
            raise ShapeError(
                f"`input_ids` has {length} words, expected at most {self.config.max_words}; "
                "truncate the text."
            )
        x = self.words(input_ids) + self.positions.weight[:length] + self.types.weight[0]
        return self.stack(self.dropout(self.norm(x)), word_mask)


def init_bert(module: nn.Module) -> None:
    """BERT's initialisation: normal weights of deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


_LAYER_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm",
}
_EMBEDDING_NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "types",
    "embeddings.LayerNorm": "norm",
}


def bert_from_hugging_face(
    state: Mapping[str, Tensor], *, heads: int | None = None, dropout: float = 0.1
) -> Bert:
    """A Hugging Face BERT state dict as ``Bert``; sizes are read off it.

    Args:
        state: with or without the prefix ``bert.``; pooler and pre-training heads are ignored.
        heads: not in the file; default: one per 64 channels.
        dropout: not in the file.

    Raises:
        ShapeError: tensors of the encoder are missing.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix("bert.").replace("gamma", "weight").replace("beta", "bias")
        stem, _, part = name.rpartition(".")
        layer = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", stem)
        if stem in _EMBEDDING_NAMES:
            ours[f"{_EMBEDDING_NAMES[stem]}.{part}"] = tensor
        elif layer and layer.group(2) in _LAYER_NAMES:
            ours[f"stack.layers.{layer.group(1)}.{_LAYER_NAMES[layer.group(2)]}.{part}"] = tensor
    layers = 1 + max((int(n.split(".")[2]) for n in ours if n.startswith("stack.")), default=-1)
    if "words.weight" not in ours or "positions.weight" not in ours or not layers:
        raise ShapeError("no BERT encoder in these tensors; expected the Hugging Face layout.")
    vocab, width = ours["words.weight"].shape
    config = BertConfig(
        vocab_size=vocab,
        width=width,
        layers=layers,
        heads=heads or max(width // 64, 1),
        inner=ours["stack.layers.0.up.weight"].shape[0],
        max_words=ours["positions.weight"].shape[0],
        dropout=dropout,
    )
    bert = Bert(config)
    missing = sorted(bert.state_dict().keys() - ours.keys())
    if missing:
        raise ShapeError(f"{len(missing)} tensors of BERT are missing, first {missing[:3]}.")
    bert.load_state_dict({name: tensor.float() for name, tensor in ours.items()})
    return bert.eval()


class BertSentence(nn.Module):
    """Captions to one frozen vector each: LAFF's ``bert`` feature, or a sentence transformer's.

    "pooler": tanh(Linear([CLS])), what the released LAFF takes from bert-base-uncased;
    "mean": mean of the words, unit length (MiniLM and its kin); "cls": [CLS] as it is.
    """

    def __init__(
        self, bert: Bert, pooling: Literal["pooler", "mean", "cls"], pooler: nn.Linear | None = None
    ) -> None:
        super().__init__()
        if (pooling == "pooler") != (pooler is not None):
            raise UsageError(
                f"pooling {pooling!r} {'needs' if pooler is None else 'has no use for'} the "
                "checkpoint's pooler."
            )
        self.bert = bert
        self.pooling = pooling
        self.pooler = pooler
        self.eval().requires_grad_(False)

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        """input_ids [B, W], word_mask [B, W] bool -> [B, D]."""
        words = self.bert(input_ids, word_mask)
        if self.pooling == "mean":
            real = word_mask[..., None].to(words.dtype)
            mean = (words * real).sum(dim=1) / real.sum(dim=1).clamp(min=1.0)
            return F.normalize(mean, dim=-1)
        return torch.tanh(self.pooler(words[:, 0])) if self.pooler is not None else words[:, 0]


def bert_sentence_from_hugging_face(
    state: Mapping[str, Tensor],
    pooling: Literal["pooler", "mean", "cls"] = "mean",
    *,
    heads: int | None = None,
) -> BertSentence:
    """``BertSentence`` from a Hugging Face state dict; "pooler" reads its pooler too.

    MiniLM-L6 has 12 heads of 32 channels, which its file does not say: pass ``heads=12``.
    """
    bert = bert_from_hugging_face(state, heads=heads, dropout=0.0)
    if pooling != "pooler":
        return BertSentence(bert, pooling)
    found = {n.removeprefix("bert."): t.float() for n, t in state.items() if "pooler.dense" in n}
    if set(found) != {"pooler.dense.weight", "pooler.dense.bias"}:
        raise ShapeError("these tensors have no pooler; use pooling 'mean' or 'cls'.")
    pooler = nn.Linear(bert.config.width, found["pooler.dense.bias"].shape[0])
    pooler.load_state_dict({n.removeprefix("pooler.dense."): t for n, t in found.items()})
    return BertSentence(bert, pooling, pooler)
