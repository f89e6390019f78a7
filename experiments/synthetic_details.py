"""EERCF on made-up clips: small and brief things, coarse against fine; its channel constraint; and
how much of full re-ranking two stages keep at which share of its cost.

    python experiments/synthetic_details.py     # writes results/repro-synthetic-details.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from fit import (
    BATCH,
    RATE,
    STEPS,
    TEST_CLIPS,
    TRAIN_CLIPS,
    Clips,
    chance,
    figures,
    fit,
    joined,
    seen_by_tower,
    starting_clip,
    tokens,
)
from synthetic_order import HEAD_LAYERS, SEEDS, frozen
from tiny_clip import FRAMES, TINY

from finecut.learn.methods.eercf import EERCF, EercfConfig, LevelWeights, Variant
from finecut.learn.methods.protocol import Batch
from finecut.learn.two_stage import merge_stages, recall_candidates, rerank_candidates
from record import Record

TASKS = ("brief", "small")
LEVELS = ("video", "frame_weak", "frame_gated", "patch_weak", "patch_gated")
ALL_LEVELS = LevelWeights(1, 1, 1, 1, 1)
CHANNEL_WEIGHTS = (0.0,)  # 0.001 as released: the runs above
MIX = ("order", "direction", "small", "brief", "several", "action")
MIX_TRAIN, MIX_TEST, MIX_STEPS = 1000, 160, 600  # clips of each task
RECALL_KS = (1, 2, 5, 10, 20, 50, 100, 200, 400)


def eercf(seed: int, variant: Variant) -> EERCF:
    """Over this seed's tower, started from its text tower as published."""
    torch.manual_seed(seed)
    config = EercfConfig(
        clip=TINY,
        head_layers=HEAD_LAYERS,
        max_frames=FRAMES,
        variant=variant,
    )
    return EERCF(config, starting_clip(seed))


def trained(seed: int, variant: Variant, train: Clips, channels: float | None = None, **more: Any):
    """A trained EERCF; ``channels`` replaces the weight of the channel constraint."""
    model = eercf(seed, variant)
    weights = model.config.loss_weights
    if channels is not None:
        weights = replace(weights, channels=channels)

    def loss_of(_: Any, batch: Batch) -> torch.Tensor:
        text, video = model.training_tokens(batch)
        return model.token_loss(text, video, batch.video_ids, weights)["loss"]

    fit(model, train, seed=seed, loss_of=loss_of, **more)
    return model


@torch.no_grad()
def by_level(model: EERCF, test: Clips) -> dict[str, dict[str, float]]:
    """Figures of every level alone, of the whole score, and of the pairs of stages."""
    text, video = tokens(model, test)
    levels = model.levels(text, video, ALL_LEVELS)._asdict()
    found = {name: figures(levels[name], test.groups) for name in LEVELS}
    found["all"] = figures(model.rerank(text, video).scores, test.groups)
    return found


def details(record: Record) -> None:
    """Coarse against fine, where something is small, brief, or neither."""
    for seed in SEEDS:
        for task in TASKS:
            test = seen_by_tower(task, TEST_CLIPS, "test", seed, patches=True)
            record.body.setdefault("chance", {})[task] = chance(test)
            for head in ("meanP", "seqTransf"):
                key = f"{task}/CLIP4Clip {head}/{seed}"
                record.run(key, lambda t=task, h=head, s=seed: frozen(t, h, s))
            for variant in ("released", "article"):
                names = [f"EERCF {variant}: {level}" for level in (*LEVELS, "all")]

                def make(v=variant, t=task, s=seed, held=test, n=names) -> dict[str, Any]:
                    train = seen_by_tower(t, TRAIN_CLIPS, "train", s, patches=True)
                    return dict(zip(n, by_level(trained(s, v, train), held).values(), strict=True))

                record.run_all(task, names, seed, make)


def channels(record: Record) -> None:
    """With and without the Pearson constraint."""
    for seed in SEEDS:
        for task in ("brief",):
            for variant in ("released",):
                for weight in CHANNEL_WEIGHTS:
                    base = f"{variant}, weight {weight:g}"
                    names = [f"{base}: {part}" for part in ("video", "all")]

                    def make(v=variant, t=task, s=seed, w=weight, n=names) -> dict[str, Any]:
                        train = seen_by_tower(t, TRAIN_CLIPS, "train", s, patches=True)
                        test = seen_by_tower(t, TEST_CLIPS, "test", s, patches=True)
                        found = by_level(trained(s, v, train, w), test)
                        return {n[0]: found["video"], n[1]: found["all"]}

                    record.run_all(f"channels, {task}", names, seed, make)


def multiply_adds(gallery: int, k: int, frames: int, patches: int, width: int) -> int:
    """Of one query: EERCF's own count, N·d + k·(F + F·P)·d."""
    return gallery * width + k * (frames + frames * patches) * width


def stages(record: Record) -> None:
    """R@1 of two stages as recall_k grows, over a gallery of six kinds of clips."""
    for seed in SEEDS:
        for variant in ("released",):
            names = [f"{variant}, recall_k {k}" for k in (0, *RECALL_KS, "all")]

            def make(v=variant, s=seed, n=names) -> dict[str, Any]:
                train, test = (
                    joined([seen_by_tower(t, count, split, s, patches=True) for t in MIX])
                    for count, split in ((MIX_TRAIN, "train"), (MIX_TEST, "test"))
                )
                model = trained(s, v, train, steps=MIX_STEPS)
                record.body.setdefault("chance", {})["mix"] = chance(test)
                return dict(zip(n, curve(model, test), strict=True))

            record.run_all("two stages", names, seed, make)


@torch.no_grad()
def curve(model: EERCF, test: Clips) -> list[dict[str, float]]:
    """Figures for stage 1 alone, each recall_k, and the whole gallery re-ranked."""
    text, video = tokens(model, test)
    scale = model.clip.logit_scale.exp()
    started = time.process_time()
    coarse = text.recall @ video.recall.T
    coarse_s = time.process_time() - started
    everything = len(test)
    full = multiply_adds(everything, everything, FRAMES, TINY.patch_count, TINY.embed_dim)
    rows = []
    for k in (0, *RECALL_KS, everything):
        cost = multiply_adds(everything, k, FRAMES, TINY.patch_count, TINY.embed_dim)
        seconds, scores = coarse_s, coarse
        if k:
            candidates = recall_candidates(coarse, k)
            started = time.process_time()
            fine = rerank_candidates(model, text, video, candidates)
            seconds += time.process_time() - started
            # Fine scores carry CLIP's scale, up to 100; the merge wants cosine-sized ones.
            scores = merge_stages(coarse, candidates, fine / scale)
        found = figures(scores, test.groups)
        rows.append({**found, "recall_k": k, "cost_share": 100.0 * cost / full,
                     "ms_a_query": 1000.0 * seconds / everything})  # fmt: skip
    return rows


def main(parts: Sequence[str]) -> None:
    """The parts asked for, seed by seed; what is measured already is left out."""
    torch.set_num_threads(1)
    record = Record(
        "synthetic-details",
        "EERCF on made-up clips: coarse against fine, the channel constraint, two stages",
        train_clips=TRAIN_CLIPS,
        test_clips=TEST_CLIPS,
        steps=STEPS,
        batch=BATCH,
        rate=RATE,
        head_layers=HEAD_LAYERS,
        mix={"tasks": MIX, "train": MIX_TRAIN, "test": MIX_TEST, "steps": MIX_STEPS},
    )
    for part in parts or PARTS:
        PARTS[part](record)
    record.save()


PARTS = {"details": details, "stages": stages, "channels": channels}

if __name__ == "__main__":
    main(sys.argv[1:])
