"""Torch modules to the graphs of the starter bundle: exported, checked, made small, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finecut.errors import BundleError
from finecut.learn.onnx_graph import largest_difference, to_onnx
from finecut.learn.starter.graphs import RerankGraph, TextGraph, VideoGraph
from finecut.learn.starter.shrink import eight_bit_matmuls, eight_bit_tables, half_weights

# Largest difference from torch that is let through, before and after a graph is made small.
EXACT = 1e-4
SMALL = {"video.onnx": 0.02, "text.onnx": 0.05, "rerank.onnx": EXACT}

# Tensors inside the graphs that tests reach for, by the constant that is subtracted from them.
POOLED_VIEWS = "pooled_views"  # [M * (1 + P), 1280] pooled features of frames and their regions
SENTENCES = "sentences"  # [Q, 384] MiniLM's vectors
_INNER = {
    "fusion.features.pooled_mean": POOLED_VIEWS,
    "fusion.evening.mean": SENTENCES,
}


@dataclass(frozen=True)
class Graphs:
    """Serialised graphs by file name, and how far each is from torch."""

    files: dict[str, bytes]
    exact: dict[str, float]
    small: dict[str, float]


def export_graphs(video: VideoGraph, text: TextGraph, rerank: RerankGraph) -> Graphs:
    """All three graphs, small.

    Raises:
        BundleError: a graph differs from torch beyond the stated tolerance.
    """
    regions = len(video.regions)
    parts: dict[str, tuple[nn.Module, list[str], list[dict[str, Tensor]], str]] = {
        "video.onnx": (
            video,
            ["recall_embeds", "frame_embeds", "patch_embeds"],
            [_clips(2, 3), _clips(1, 1), _clips(3, 5)],
            "NF",
        ),
        "text.onnx": (
            text,
            ["recall_query", "text_embeds"],
            [_sentences(2, 7), _sentences(1, 4), _sentences(3, 30)],
            "QW",
        ),
        "rerank.onnx": (
            rerank,
            ["score", "frame_relevance"],
            [_candidates(5, 4, regions), _candidates(1, 1, regions)],
            "KF",
        ),
    }
    files, exact, small = {}, {}, {}
    for name, (module, outputs, samples, letters) in parts.items():
        data = to_onnx(module, samples[0], outputs, _axes(samples[0], letters))
        exact[name] = _gate(name, module, data, outputs, samples, EXACT)
        data = name_inner(data, _INNER)
        if name == "text.onnx":
            data = eight_bit_matmuls(eight_bit_tables(data))
        if name != "rerank.onnx":
            data = half_weights(data)
        small[name] = _gate(name, module, data, outputs, samples, SMALL[name])
        files[name] = data
    return Graphs(files, exact, small)


def name_inner(data: bytes, inner: Mapping[str, str]) -> bytes:
    """Give tensors inside a graph lasting names: constant subtracted from a tensor -> its name."""
    import onnx

    model = onnx.load_from_string(data)
    renamed = {
        node.input[0]: inner[node.input[1]]
        for node in model.graph.node
        if node.op_type == "Sub" and node.input[1] in inner
    }
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
    return model.SerializeToString()


def _gate(
    name: str,
    module: nn.Module,
    data: bytes,
    outputs: list[str],
    samples: list[dict[str, Tensor]],
    tolerance: float,
) -> float:
    worst = largest_difference(module, data, outputs, samples)
    if max(worst.values()) > tolerance:
        raise BundleError(
            f"{name} differs from torch by {worst}, at most {tolerance:g} is allowed; nothing is "
            "written."
        )
    return max(worst.values())


def _axes(example: Mapping[str, Tensor], letters: str) -> dict[str, dict[int, str]]:
    """The first axis of each input is free, and the second where it is the second letter."""
    return {
        name: {0: letters[0]} | ({1: letters[1]} if value.ndim > 1 else {})
        for name, value in example.items()
    }


def _clips(n: int, f: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(n)
    # Coarse noise, enlarged: networks see more of natural pictures in it than in white noise.
    coarse = torch.rand(n * f, 3, 14, 14, generator=draw)
    frames = nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(0, 1)
    frames = (frames * 255).round().to(torch.uint8).permute(0, 2, 3, 1).unflatten(0, (n, f))
    mask = torch.arange(f)[None] < torch.arange(f, f - n, -1).clamp(min=1)[:, None]
    return {"frames": frames.contiguous(), "frame_mask": mask}


def _sentences(q: int, w: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(w)
    ids = torch.randint(1996, 12000, (q, w), generator=draw)
    ids[:, 0], ids[:, -1] = 101, 102
    mask = torch.arange(w)[None] < torch.arange(w, w - q, -1)[:, None]
    return {"input_ids": ids, "word_mask": mask}


def _candidates(k: int, f: int, p: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(k)
    mask = torch.arange(f)[None] < torch.arange(f, f - k, -1).clamp(min=1)[:, None]
    return {
        "recall_score": torch.rand(k, generator=draw),
        "frame_sims": torch.rand(k, f, generator=draw),
        "frame_mask": mask,
        "patch_sims": torch.rand(k, f, p, generator=draw),
    }
