"""What matching one query costs: multiply-adds per method and data set, from the formulas.

Encoders are not counted: they run once per clip and once per query for every method. "Published"
counts each text–feature inner product once, as the EERCF article does; "honest" also counts
forming the vector that a text-gated level compares, and the cross-encoders' layers.
"""

from __future__ import annotations

from dataclasses import dataclass

EMBED_DIM = 512  # of ViT-B/32 CLIP
PATCHES = 49  # per frame of 224 pixels at patch 32
RECALL_K = 50  # EERCF's rerantopk
TACO_FUSION_LAYERS = 2  # arXiv 2108.09980
TACO_WIDTH = 768  # BERT-base, in all three of its parts


@dataclass(frozen=True, slots=True)
class Gallery:
    """N clips searched, with the words and frames the published runs used."""

    name: str
    clips: int
    words: int
    frames: int
    claimed_ratio: int  # EERCF's saving over the reference, as the authors state it


TEST_SETS = (
    Gallery("MSRVTT-1K", 1_000, 32, 12, 14),
    Gallery("MSRVTT-3K", 2_990, 32, 12, 39),
    Gallery("VATEX", 1_500, 32, 12, 20),
    Gallery("ActivityNet", 4_917, 64, 64, 126),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiply-adds of one query against one test set."""

    method: str
    test_set: str
    published: int | None  # None where no publication counts it
    honest: int


def coarse_cost(clips: int, dim: int = EMBED_DIM) -> int:
    """One inner product per clip: CLIP4Clip's loose heads and every recall stage.

    >>> coarse_cost(1000)
    512000
    """
    return clips * dim


def eercf_cost(
    clips: int, frames: int, k: int = RECALL_K, patches: int = PATCHES, dim: int = EMBED_DIM
) -> int:
    """N·d + k·(F + F·P)·d: the count behind the published ratios.

    >>> eercf_cost(1000, 12)
    15872000
    """
    return coarse_cost(clips, dim) + k * (frames + frames * patches) * dim


def eercf_honest_cost(
    clips: int, frames: int, k: int = RECALL_K, patches: int = PATCHES, dim: int = EMBED_DIM
) -> int:
    """Forming the gated vectors costs as much again as the similarities they are weighed by."""
    return coarse_cost(clips, dim) + 2 * k * (frames + frames * patches) * dim


def multi_grained_cost(clips: int, words: int, frames: int, dim: int = EMBED_DIM) -> int:
    """X-CLIP's pattern, (video + frames) × (sentence + words) for every clip of the gallery.

    >>> round(multi_grained_cost(1000, 32, 12) / eercf_cost(1000, 12), 2)
    13.84
    """
    return clips * (words + 1) * (frames + 1) * dim


def transformer_cost(tokens: int, layers: int, dim: int = EMBED_DIM) -> int:
    """One pass of a transformer: 12·d² per token and layer, plus attention's 2·tokens²·d.

    >>> transformer_cost(1, 1, dim=1)
    14
    """
    return layers * (12 * tokens * dim * dim + 2 * tokens * tokens * dim)


def cross_cost(
    clips: int, tokens: int, layers: int, k: int | None = None, dim: int = EMBED_DIM
) -> int:
    """A cross-encoder over ``tokens`` per pair: over the gallery, or over k recalled clips."""
    if k is None:
        return clips * transformer_cost(tokens, layers, dim)
    return coarse_cost(clips, dim) + min(k, clips) * transformer_cost(tokens, layers, dim)


def costs(
    test_set: Gallery, k: int = RECALL_K, dim: int = EMBED_DIM, patches: int = PATCHES
) -> list[Cost]:
    """Every method on one test set, dearest formulas last."""
    clips, words, frames = test_set.clips, test_set.words, test_set.frames
    name = test_set.name
    flat = coarse_cost(clips, dim)
    laff_dim = 4096  # the released config: 8 heads of 512, laid end to end
    experts = 3  # CAMoE: entity, action and sentence stream, each a vector of d
    return [
        Cost("CLIP4Clip meanP/seqLSTM/seqTransf", name, flat, flat),
        Cost(f"LAFF ({laff_dim} channels)", name, None, coarse_cost(clips, laff_dim)),
        Cost(f"CAMoE ({experts} streams, folded)", name, None, experts * flat),
        Cost(
            "EERCF", name, eercf_cost(clips, frames, k, patches, dim),
            eercf_honest_cost(clips, frames, k, patches, dim),
        ),
        Cost(
            f"TACo, top {k}", name, None,
            cross_cost(clips, words + frames, TACO_FUSION_LAYERS, k, TACO_WIDTH),
        ),
        Cost(
            "words × frames (X-CLIP pattern)", name,
            multi_grained_cost(clips, words, frames, dim),
            multi_grained_cost(clips, words, frames, dim),
        ),
        Cost(
            f"CLIP4Clip tightTransf, top {k}", name, None,
            cross_cost(clips, 1 + frames, 4, k, dim),
        ),
        Cost(
            "CLIP4Clip tightTransf, all pairs", name, None,
            cross_cost(clips, 1 + frames, 4, dim=dim),
        ),
    ]  # fmt: skip


def published_ratios() -> dict[str, float]:
    """How much less EERCF counts than the multi-grained reference, by test set."""
    return {
        s.name: multi_grained_cost(s.clips, s.words, s.frames) / eercf_cost(s.clips, s.frames)
        for s in TEST_SETS
    }


def honest_ratios() -> dict[str, float]:
    """The same with the forming of gated vectors counted."""
    return {
        s.name: multi_grained_cost(s.clips, s.words, s.frames)
        / eercf_honest_cost(s.clips, s.frames)
        for s in TEST_SETS
    }
