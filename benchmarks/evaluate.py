"""One full evaluation of the size of MSR-VTT's test: 1,000 sentences x 1,000 videos of 12 frames.

EERCF on tiny towers with random weights, random pixels of a fixed seed: encoding, recall, re-
ranking the best 50, both directions' figures. "reference" is the published procedure written
plainly: every pair at every level, batch of sentences by batch of videos, the temporal head run
anew for each pair of batches as the released code does, then ranks by sorting. Both encode with
the same towers and give the same figures, which is checked. Times are of processor, for the
machine may be shared; clock times stand beside them.

    python benchmarks/evaluate.py [--size 1000] [--repeats 3]

Writes results/bench-evaluate.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

import record
from finecut.learn.encoders.tiny import TINY
from finecut.learn.evaluation.evaluate import evaluate_model
from finecut.learn.methods.blocks import unit
from finecut.learn.methods.eercf import EERCF, EercfConfig
from finecut.learn.methods.protocol import TextTokens, VideoTokens
from record import Entry

FRAMES, WORDS, K, BATCH, SEED = 12, 32, 50, 64, 0


class RandomPairs:
    """Pairs of random pixels and random words, made when they are asked for."""

    name, split, protocol = "random", "test", "single"
    moments, missing = None, ()

    def __init__(self, size: int) -> None:
        self.video_ids = [f"video{i}" for i in range(size)]
        self.sentences = [f"sentence {i}" for i in range(size)]
        self.video_of_text = np.arange(size)
        generator = torch.Generator().manual_seed(SEED)
        side = TINY.image_size
        self.pixels = torch.randint(
            0, 255, (size, FRAMES, 3, side, side), generator=generator, dtype=torch.uint8
        )
        self.ids = torch.randint(1, TINY.vocab_size - 2, (size, WORDS), generator=generator)
        self.ids[:, -1] = TINY.vocab_size - 1  # the end token is the largest

    def video_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        pixels = self.pixels[list(rows)].float() / 64 - 2
        return {"pixels": pixels, "frame_mask": torch.ones(len(rows), FRAMES, dtype=torch.bool)}

    def text_inputs(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"input_ids": self.ids[list(rows)]}


class Clock:
    """Processor and clock seconds of the stages of one run."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.clock: dict[str, float] = {}
        self._cpu, self._clock = time.process_time(), time.perf_counter()

    def lap(self, stage: str) -> None:
        cpu, clock = time.process_time(), time.perf_counter()
        self.cpu[stage] = self.cpu.get(stage, 0.0) + cpu - self._cpu
        self.clock[stage] = self.clock.get(stage, 0.0) + clock - self._clock
        self._cpu, self._clock = cpu, clock


def ours(model: EERCF, data: RandomPairs, clock: Clock) -> dict[str, dict[str, float]]:
    """`finecut evaluate`'s own function."""

    def stage(what: str, done: int, total: int) -> None:
        if done == total and what == "videos":
            clock.lap("encode")

    found = evaluate_model(model, data, recall_k=K, batch_size=BATCH, on_progress=stage)
    clock.lap("match and rank")
    return {way: found.to_json()["reranked"][way] for way in ("t2v", "v2t")}


@torch.no_grad()
def reference(model: EERCF, data: RandomPairs, clock: Clock) -> dict[str, dict[str, float]]:
    """All levels of all pairs in batches, candidates looked up in the whole matrix, sorting."""
    batches = [
        list(range(at, min(at + BATCH, len(data.video_ids))))
        for at in range(0, len(data.video_ids), BATCH)
    ]
    texts = [model.encode_text(**data.text_inputs(rows)) for rows in batches]
    raw = []
    for rows in batches:
        given = data.video_inputs(rows)
        frames, patches = model.clip.encode_frames(given["pixels"])
        raw.append((frames, patches, given["frame_mask"]))
    clock.lap("encode")
    coarse, fine = [], []
    for text in texts:
        rows = []
        for frames, patches, mask in raw:
            video = model.encode_video(frames_raw=frames, patches_raw=patches, frame_mask=mask)
            rows.append(levels(model, text, video))  # [2, B, B]
        both = torch.cat(rows, dim=2)
        coarse.append(both[0])
        fine.append(both[1])
    merged = select(torch.cat(coarse), torch.cat(fine)).numpy()
    figures = {"t2v": by_sorting(merged), "v2t": by_sorting(merged.T)}
    clock.lap("match and rank")
    return figures


def levels(model: EERCF, text: TextTokens, video: VideoTokens) -> Tensor:
    """Coarse and fine scores [2, B, B] of every pair, the formulas written out."""
    weights, t = model.config.rerank_weights, text.text_embeds
    a = torch.einsum("qd,gfd->qgf", t, video.frame_embeds)
    weak = (a * ((a / 0.01).softmax(-1) @ model.frame_logit_weight)).sum(-1)
    gated = unit(torch.einsum("qgf,gfd->qgd", (a / 0.1).softmax(-1), video.frame_values))
    b = torch.einsum("qd,gnd->qgn", t, video.patch_embeds.flatten(1, 2))
    patch = (b * (b / 0.01).softmax(-1)).sum(-1)
    coarse = text.recall @ video.recall.T
    fine = weights.video * coarse + weights.frame_weak * weak + weights.patch_weak * patch
    fine = fine + weights.frame_gated * torch.einsum("qd,qgd->qg", t, gated)
    return torch.stack([coarse, model.clip.logit_scale.exp() * fine])


def select(coarse: Tensor, fine: Tensor) -> Tensor:
    """The released merge: 100 + fine at the best K of recall (the offset large enough here)."""
    best = coarse.topk(min(K, coarse.shape[1]), dim=1).indices
    merged = coarse.double()
    return merged.scatter(1, best, 1000 + fine.double().gather(1, best))


def by_sorting(scores: np.ndarray) -> dict[str, float]:
    """The field's usual metric: sort each row, look for the diagonal."""
    ordered = np.sort(-scores, axis=1)
    ranks = np.where(ordered + np.diag(scores)[:, None] == 0)[1]
    return {
        **{f"r_at_{k}": float(100.0 * (ranks < k).mean()) for k in (1, 5, 10, 50)},
        "MdR": float(np.median(ranks) + 1),
        "MnR": float(ranks.mean() + 1),
    }


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--size", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    started = time.time()
    options.size = options.size or (128 if options.quick else 1000)
    options.repeats = 1 if options.quick else options.repeats
    torch.manual_seed(SEED)
    model = EERCF(EercfConfig(TINY, 4, FRAMES, WORDS)).eval()
    data = RandomPairs(options.size)
    runs: dict[str, list[Clock]] = {"ours": [], "reference": []}
    figures = {}
    for side in (ours, reference):  # libraries load, memory warms
        side(model, RandomPairs(2 * BATCH), Clock())
    for _ in range(options.repeats):
        for name, side in (("ours", ours), ("reference", reference)):
            clock = Clock()
            figures[name] = side(model, data, clock)
            runs[name].append(clock)
    for way in ("t2v", "v2t"):
        for figure, value in figures["reference"][way].items():
            if abs(figures["ours"][way][figure] - value) > 0.2:
                sys.exit(
                    f"{way} {figure}: ours {figures['ours'][way][figure]}, reference {value}: "
                    "nothing was written"
                )
    sides = {name: summary(clocks) for name, clocks in runs.items()}

    def ratio(stage: str) -> float:
        return round(sides["reference"]["cpu_s"][stage] / sides["ours"]["cpu_s"][stage], 2)

    result = {
        "shapes": {"sentences": options.size, "videos": options.size, "frames": FRAMES,
                   "patches": (TINY.image_size // TINY.patch_size) ** 2,
                   "channels": TINY.embed_dim, "recall_k": K, "batch": BATCH},
        "seed": SEED,
        "repeats": options.repeats,
        "sides": sides,
        "times_faster": ratio("all"),
        "times_faster_match_and_rank": ratio("match and rank"),
        "figures_agree_within": 0.2,
        "torch_threads": torch.get_num_threads(),
    }  # fmt: skip
    record.save("evaluate", entries(result), result, started)


def entries(figures: dict[str, Any]) -> list[Entry]:
    ours, plain = figures["sides"]["ours"]["cpu_s"], figures["sides"]["reference"]["cpu_s"]
    size = figures["shapes"]["sentences"]
    rival = "the published procedure, written plainly"
    return [
        Entry(
            f"evaluation of {size:,} x {size:,}, {what}, processor time", ours[stage], "s",
            "lower", None, rival, plain[stage],
        )
        for what, stage in (("all", "all"), ("matching and ranking", "match and rank"))
    ]  # fmt: skip


def summary(clocks: list[Clock]) -> dict[str, dict[str, float]]:
    """Median seconds of each stage and of all, and the spread of all."""
    found = {}
    for kind in ("cpu", "clock"):
        times = [getattr(clock, kind) for clock in clocks]
        stages = {stage: round(median(t[stage] for t in times), 3) for stage in times[0]}
        totals = [sum(t.values()) for t in times]
        spread = round(max(totals) - min(totals), 3)
        found[f"{kind}_s"] = {**stages, "all": round(median(totals), 3), "spread": spread}
    return found


if __name__ == "__main__":
    main()
