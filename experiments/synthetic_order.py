"""CLIP4Clip's four heads where time matters and where it does not, on made-up clips.

    python experiments/synthetic_order.py     # writes results/repro-synthetic-order.json

One picture tower a seed, frozen; text tower and head are trained. The tested pairs of things are
held out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
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
    seen_by_tower,
    starting_clip,
    tokens,
)
from tiny_clip import FRAMES, TINY

from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig, Head
from record import Record

LOOSE: dict[str, tuple[Head, ...]] = {
    "order": ("meanP", "seqLSTM", "seqTransf"),
    "direction": ("meanP", "seqLSTM", "seqTransf"),
    "appearance": ("meanP", "seqLSTM", "seqTransf"),
    "several": ("meanP", "seqTransf"),
}
TIGHT = ("several",)
SEEDS = (0, 1, 2)
HEAD_LAYERS = 2
TIGHT_BATCH, TIGHT_STEPS = 16, 300  # every pair of the batch goes through the cross-encoder


def model_for(head: Head, seed: int) -> CLIP4Clip:
    """The head over this seed's tower, started from its text tower as published."""
    torch.manual_seed(seed)
    config = Clip4ClipConfig(head=head, clip=TINY, head_layers=HEAD_LAYERS, max_frames=FRAMES)
    return CLIP4Clip(config, starting_clip(seed))


def measured(model: CLIP4Clip, test: Clips) -> dict[str, Any]:
    """Figures on the test clips, and the seconds that scoring every pair took."""
    text, video = tokens(model, test)
    started = time.process_time()
    with torch.no_grad():
        scores = model.rerank(text, video).scores
    return {**figures(scores, test.groups), "score_s": time.process_time() - started}


def frozen(
    task: str,
    head: Head,
    seed: int,
    *,
    test_count: int = TEST_CLIPS,
    batch_size: int = BATCH,
    steps: int = STEPS,
) -> dict[str, Any]:
    """Train text tower and head over the frozen tower's frames."""
    train = seen_by_tower(task, TRAIN_CLIPS, "train", seed)
    model = model_for(head, seed)
    seconds = fit(model, train, seed=seed, batch_size=batch_size, steps=steps)
    test = seen_by_tower(task, test_count, "test", seed)
    return {**measured(model, test), "train_s": seconds}


def loose(record: Record) -> None:
    """The three heads that give a clip a vector of its own."""
    for seed in SEEDS:
        for task, heads in LOOSE.items():
            record.body.setdefault("chance", {})[task] = chance(
                seen_by_tower(task, TEST_CLIPS, "test", seed)
            )
            for head in heads:
                record.run(f"{task}/{head}/{seed}", lambda t=task, h=head, s=seed: frozen(t, h, s))


def tight(record: Record) -> None:
    """The cross-encoder against loose heads trained with batches of the same size."""
    for seed in SEEDS:
        for task in TIGHT:
            for head in ("meanP", "seqTransf", "tightTransf"):
                record.run(
                    f"{task}, batch {TIGHT_BATCH}/{head}/{seed}",
                    lambda t=task, h=head, s=seed: frozen(
                        t, h, s, batch_size=TIGHT_BATCH, steps=TIGHT_STEPS
                    ),
                )


def main(parts: Sequence[str]) -> None:
    """The parts asked for, seed by seed; what is measured already is left out."""
    torch.set_num_threads(1)
    record = Record(
        "synthetic-order",
        "CLIP4Clip's heads on made-up clips: time, appearance, binding; tight against loose",
        train_clips=TRAIN_CLIPS,
        test_clips=TEST_CLIPS,
        steps=STEPS,
        batch=BATCH,
        rate=RATE,
        head_layers=HEAD_LAYERS,
        tight={"steps": TIGHT_STEPS, "batch": TIGHT_BATCH},
    )
    for part in parts or PARTS:
        PARTS[part](record)
    record.save()


PARTS = {"loose": loose, "tight": tight}

if __name__ == "__main__":
    main(sys.argv[1:])
