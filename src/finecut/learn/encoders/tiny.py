"""A small CLIP with seeded random weights: everything the big one has, for tests and demos."""

from __future__ import annotations

import torch

from finecut.learn.encoders.clip import CLIP, ClipConfig
from finecut.learn.encoders.clip_tokenizer import ClipTokenizer

TINY = ClipConfig(
    embed_dim=64,
    image_size=32,
    patch_size=16,
    vision_width=64,
    vision_layers=2,
    context_length=32,
    vocab_size=1024,
    text_width=64,
    text_layers=2,
)


def tiny_clip(seed: int = 0, config: ClipConfig = TINY) -> CLIP:
    """A randomly initialised CLIP; the same seed gives the same weights.

    >>> a, b = tiny_clip(1), tiny_clip(1)
    >>> bool((a.visual.proj == b.visual.proj).all())
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIP(config).eval()


def tiny_tokenizer(config: ClipConfig = TINY) -> ClipTokenizer:
    """The tokeniser of a tiny CLIP: the first merges of the real one."""
    return ClipTokenizer(config.vocab_size)
