"""Measure a starter bundle as shipped: Flickr8k dev by its heads, clips by the whole product."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from finecut.bundle.load import Bundle
from finecut.learn.starter.bank import query_bank
from finecut.learn.starter.data import Pairs, flickr, shared_data
from finecut.learn.starter.minilm import SentenceEncoder
from finecut.learn.starter.shipped import image_recall, run_part

KS = ("r_at_1", "r_at_5", "r_at_10")


def measure(place: Path, *, speed: bool = True) -> dict[str, Any]:
    """Every quality figure of the bundle at ``place``, in percent; speeds in their own units."""
    bundle = Bundle.load(place)
    video = bundle.files.read(bundle.manifest.video.graph)
    text = bundle.files.read(bundle.manifest.text.graph)
    views = 1 + bundle.manifest.video.n_patches
    dev = flickr("dev")
    figures: dict[str, Any] = {
        "size_mb": round(sum(entry.size_bytes for entry in bundle.manifest.files) / 1e6, 1),
        "flickr8k_dev_t2i": _rounded(image_recall(video, text, dev, views)),
        "flickr8k_dev_t2i_small_text": _rounded(
            image_recall(video, text, with_rounding_errors(dev, text), views)
        ),
        "panda70m_samples_t2v": clips_quality(place),
    }
    if speed:
        figures["speed"] = _speed(place)
    return figures


def clips_quality(place: Path) -> dict[str, Any]:
    """`finecut quality` over the shared clips: indexed by the product, captions by machines."""
    from finecut.index.build import build_index
    from finecut.search.engine import Searcher
    from finecut.search.quality import quality

    root = shared_data() / "panda70m_samples"
    rows = [json.loads(line) for line in (root / "captions.jsonl").open(encoding="utf-8")]
    queries = [{"query": row["caption"], "video": Path(row["clip"]).name} for row in rows]
    bundle = Bundle.load(place)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        build_index([root / "clips"], index, bundle, workers=1)
        return quality(Searcher.open(index, bundle=bundle), queries)


def with_rounding_errors(pairs: Pairs, text_graph: bytes) -> Pairs:
    """The pairs with what 8-bit MiniLM adds to a sentence vector: errors seen on the query bank.

    Flickr8k's captions are only at hand as vectors of the exact MiniLM.
    """
    import torch

    from finecut.learn.starter.export import SENTENCES

    encode = SentenceEncoder()
    encode.tokenizer.no_padding()
    errors = []
    for sentence in query_bank():
        ids = np.array([encode.tokenizer.encode(sentence).ids], np.int64)
        feeds = {"input_ids": ids, "word_mask": np.ones(ids.shape, bool)}
        shipped = run_part(text_graph, feeds, [SENTENCES])[0]
        errors.append(torch.from_numpy(shipped) - encode([sentence]))
    seen = torch.cat(errors)
    draw = torch.Generator().manual_seed(0)
    n, c, _ = pairs.captions.shape
    pick = torch.randint(len(seen), (n, c), generator=draw)
    return Pairs(pairs.images, pairs.captions + seen[pick])


def _speed(place: Path) -> dict[str, float]:
    """Milliseconds to load and ask, frames a second; two threads, medians."""
    bundle = Bundle.load(place, threads=2)
    begun = time.perf_counter()
    bundle.encode_text(["a dog"])
    first_query = time.perf_counter() - begun
    queries = [f"a {thing}" for thing in query_bank()[:40]]
    asked = []
    for query in queries:
        begun = time.perf_counter()
        bundle.encode_text([query])
        asked.append(time.perf_counter() - begun)
    frames = np.random.default_rng(0).integers(0, 256, (12, 224, 224, 3), np.uint8)
    begun = time.perf_counter()
    bundle.encode_clips([frames])
    first_clip = time.perf_counter() - begun
    seen = []
    for _ in range(5):
        begun = time.perf_counter()
        bundle.encode_clips([frames])
        seen.append(time.perf_counter() - begun)
    return {
        "first_query_ms": round(1e3 * first_query, 1),
        "query_ms": round(1e3 * float(np.median(asked)), 2),
        "first_clip_ms": round(1e3 * first_clip, 1),
        "frames_per_second": round(len(frames) / float(np.median(seen)), 1),
    }


def as_table(figures: dict[str, Any]) -> str:
    """The figures for reading: one line a set."""
    lines = [f"{'':44}{'R@1':>8}{'R@5':>8}{'R@10':>8}"]
    clips = figures["panda70m_samples_t2v"]
    rows = {
        "Flickr8k dev, text to image": figures["flickr8k_dev_t2i"],
        "the same, 8-bit text errors added": figures["flickr8k_dev_t2i_small_text"],
        "92 shared clips, machine captions, recall": clips["recall"],
        "the same, re-ranked": clips["rerank"],
    }
    for name, row in rows.items():
        lines.append(f"{name:44}" + "".join(f"{row[k]:8.1f}" for k in KS))
    lines.append(f"files: {figures['size_mb']} MB")
    lines += [f"{name}: {value}" for name, value in figures.get("speed", {}).items()]
    return "\n".join(lines)


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in row.items()}
