"""EERCF's second stage over a whole test set: candidates only, against scoring every pair.

1,000 queries x 1,000 clips of 12 frames of 49 patches, 512 channels, k = 50, random unit tokens of
a fixed seed. "exhaustive" is the released way: the weighted frame and patch levels of all pairs,
in blocks of queries, then the best k of recall are looked up. Both give the same scores, which is
checked. Peak memory is what a side adds to the tokens, which both need.

    python benchmarks/eercf_stage2.py [--queries 1000] [--clips 1000] [--repeats 5]

Writes results/bench-eercf-stage2.json.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import record
from finecut.learn.encoders.tiny import TINY
from finecut.learn.methods.blocks import unit
from finecut.learn.methods.eercf import EERCF, EercfConfig
from finecut.learn.methods.protocol import TextTokens, VideoTokens, recall_sims
from finecut.learn.two_stage import recall_candidates, rerank_candidates
from record import Entry

FRAMES, PATCHES, DIM, K, SEED = 12, 49, 512, 50, 0
BLOCK = 20  # queries whose similarities to all patches are held at once by the exhaustive side
REPEATS = 5


def draw(queries: int, clips: int) -> tuple[TextTokens, VideoTokens]:
    generator = torch.Generator().manual_seed(SEED)

    def tokens(*shape: int) -> Tensor:
        return unit(torch.randn(*shape, DIM, generator=generator))

    text = tokens(queries)
    mask = torch.ones(clips, FRAMES, dtype=torch.bool)
    patches = torch.empty(clips, FRAMES, PATCHES, DIM)
    for clip in range(clips):  # one by one: no second copy of 1.2 GB
        patches[clip] = tokens(FRAMES, PATCHES)
    video = VideoTokens(tokens(clips), tokens(clips, FRAMES), mask, patches, tokens(clips, FRAMES))
    return TextTokens(text, text), video


@torch.no_grad()
def exhaustive(model: EERCF, text: TextTokens, video: VideoTokens, candidates: Tensor) -> Tensor:
    """Every pair at every weighted level, written out; then the candidates are looked up."""
    weights, scale = model.config.rerank_weights, model.clip.logit_scale.exp()
    rows = []
    patches = video.patch_embeds.flatten(1, 2)  # [G, F·P, D]
    for start in range(0, len(text), BLOCK):
        t = text.text_embeds[start : start + BLOCK]
        a = torch.einsum("qd,gfd->qgf", t, video.frame_embeds)
        weak = (a * ((a / 0.01).softmax(-1) @ model.frame_logit_weight)).sum(-1)
        gate = (a / 0.1).softmax(-1)
        vectors = unit(torch.einsum("qgf,gfd->qgd", gate, video.frame_values))
        gated = torch.einsum("qd,qgd->qg", t, vectors)
        b = torch.einsum("qd,gnd->qgn", t, patches)
        patch = (b * (b / 0.01).softmax(-1)).sum(-1)
        coarse = text.recall[start : start + BLOCK] @ video.recall.T
        rows.append(
            weights.video * coarse
            + weights.frame_weak * weak
            + weights.frame_gated * gated
            + weights.patch_weak * patch
        )
    return scale * torch.cat(rows).gather(1, candidates)


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process, bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads /proc/self/status: run it on Linux")


def measure(call: Callable[[], Tensor], repeats: int) -> tuple[dict[str, Any], Tensor]:
    seconds, peaks = [], []
    for _ in range(repeats):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = resident("VmRSS")
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
        peaks.append(resident("VmHWM") - before)
    return {
        "median_s": round(median(seconds), 3),
        "spread_s": round(max(seconds) - min(seconds), 3),
        "peak_added_mib": round(max(peaks) / 2**20, 1),
        "repeats": repeats,
    }, result


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    started = time.time()
    usual = 40 if options.quick else 1000
    options.queries = options.queries or usual
    options.clips = options.clips or usual
    options.repeats = 1 if options.quick else options.repeats
    torch.set_grad_enabled(False)
    model = EERCF(EercfConfig(TINY, 1, FRAMES)).eval()  # its towers are not used here
    text, video = draw(options.queries, options.clips)
    candidates = recall_candidates(recall_sims(text, video), K)
    few, fine = measure(lambda: rerank_candidates(model, text, video, candidates), options.repeats)
    every, wanted = measure(lambda: exhaustive(model, text, video, candidates), options.repeats)
    difference = float((fine - wanted).abs().max())
    if difference > 1e-3:
        sys.exit(f"the two sides differ by {difference:.2e}: nothing was written")
    figures = {
        "shapes": {"queries": options.queries, "clips": options.clips, "frames": FRAMES,
                   "patches": PATCHES, "channels": DIM, "k": K},
        "seed": SEED,
        "torch_threads": torch.get_num_threads(),
        "candidates_only": few,
        "exhaustive": every,
        "times_faster": every["median_s"] / few["median_s"],
        "times_less_memory": every["peak_added_mib"] / max(few["peak_added_mib"], 0.1),
        "largest_difference": difference,
    }  # fmt: skip
    record.save("eercf-stage2", entries(figures), figures, started)


def entries(figures: dict[str, Any]) -> list[Entry]:
    few, every = figures["candidates_only"], figures["exhaustive"]
    rival = "every pair scored, as the released code does"
    return [
        Entry(
            "EERCF's second stage over a test set", few["median_s"], "s", "lower", None, rival,
            every["median_s"],
        ),
        Entry(
            "its memory beside the tokens", few["peak_added_mib"], "MiB", "lower", None, rival,
            every["peak_added_mib"],
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
