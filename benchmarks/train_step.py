"""One CLIP4Clip training step on tiny towers, against the published procedure written out plainly.

128 pairs of 12 frames of 32 x 32 pixels and 32 words; seqTransf with four layers; float32. The
reference follows the released code: the batch in one piece, the head, the loss, both clippings and
BertAdam written out. Both start from the same weights and see the same batch; that their weights
agree afterwards is checked. Activation memory is what autograd keeps for the backward pass.

    python benchmarks/train_step.py [--pairs 128] [--repeats 7]

Writes results/bench-train-step.json.
"""

from __future__ import annotations

import copy
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import record
from finecut.learn.encoders.tiny import TINY
from finecut.learn.methods.protocol import Batch
from finecut.learn.recipe import Recipe, Start, TrainConfig
from finecut.learn.training.loop import Run
from finecut.learn.training.ranks import Ranks
from finecut.learn.training.run_folder import RunFolder
from record import Entry

FRAMES, WORDS, LAYERS, SEED, STEPS = 12, 32, 4, 0, 100
LR, COEF_LR, DECAY, WARMUP = 1e-4, 1e-3, 0.2, 0.1
TOLERANCE = 1e-6  # of weights after all steps; they move by some 1e-5


def make_batch(pairs: int) -> Batch:
    """Random pixels and words of a fixed seed; a third of the clips is shorter."""
    generator = torch.Generator().manual_seed(SEED)
    size = TINY.image_size
    pixels = torch.randn(pairs, FRAMES, 3, size, size, generator=generator)
    lengths = torch.where(torch.arange(pairs) % 3 == 0, FRAMES // 2, FRAMES)
    mask = torch.arange(FRAMES)[None] < lengths[:, None]
    ids = torch.randint(1, TINY.vocab_size - 2, (pairs, WORDS), generator=generator)
    ids[:, -1] = TINY.vocab_size - 1  # the end token
    pixels = pixels * mask[:, :, None, None, None]
    return Batch({"pixels": pixels, "frame_mask": mask}, {"input_ids": ids}, torch.arange(pairs))


# ---------------------------------------------------------------------- the published procedure


class PlainBertAdam:
    """modules/optimization.py: a loop over the parameters, tensor by tensor."""

    def __init__(self, model: nn.Module) -> None:
        self.groups = []
        no_decay = ("bias", "LayerNorm.bias", "LayerNorm.weight")
        for name, parameter in model.named_parameters():
            lr = LR * COEF_LR if "clip." in name else LR
            decay = 0.0 if any(part in name for part in no_decay) else DECAY
            self.groups.append((parameter, lr, decay))
        self.state: dict[Tensor, dict[str, Any]] = {}

    @torch.no_grad()
    def step(self) -> None:
        for parameter, lr, decay in self.groups:
            if parameter.grad is None:
                continue
            state = self.state.setdefault(
                parameter,
                {"step": 0, "m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)},
            )
            nn.utils.clip_grad_norm_(parameter, 1.0)
            grad, m, v = parameter.grad, state["m"], state["v"]
            m.mul_(0.9).add_(grad, alpha=0.1)
            v.mul_(0.98).addcmul_(grad, grad, value=0.02)
            update = m / (v.sqrt() + 1e-6)
            if decay > 0:
                update += decay * parameter
            x = state["step"] / STEPS
            factor = x / WARMUP if x < WARMUP else 0.5 * (1.0 + math.cos(math.pi * x))
            parameter.add_(-lr * factor * update)
            state["step"] += 1


def plain_step(model: Any, optimiser: PlainBertAdam, batch: Batch) -> float:
    """One step of main_task_retrieval.py for the head seqTransf."""
    for parameter in model.parameters():
        parameter.grad = None
    frames = model.clip.encode_frames(batch.video["pixels"])[0]
    words = model.clip.encode_text(batch.text["input_ids"])
    mask = batch.video["frame_mask"].float()
    positions = model.frame_position_embeddings(torch.arange(FRAMES)[None].expand(len(frames), -1))
    extended = ((1.0 - mask) * -1e6)[:, None, None, :]
    output = model.transformerClip(frames + positions, extended) + frames
    output = output / output.norm(dim=-1, keepdim=True)
    count = mask.sum(dim=1, keepdim=True)
    count[count == 0] = 1.0
    video = (output * mask[..., None]).sum(dim=1) / count
    video = video / video.norm(dim=-1, keepdim=True)
    text = words / words.norm(dim=-1, keepdim=True)
    sims = model.clip.logit_scale.exp() * text @ video.t()
    losses = [-F.log_softmax(s, dim=-1).diag().mean() for s in (sims, sims.T)]
    loss = (losses[0] + losses[1]) / 2
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    with torch.no_grad():
        model.clip.logit_scale.clamp_(max=math.log(100))
    return loss.item()


# ---------------------------------------------------------------------- ours


class Pairs:
    """Stands for data: its batch is made once."""

    def __init__(self, batch: Batch) -> None:
        count = len(batch.video_ids)
        self.name, self.split, self.protocol = "random", "train", "single"
        self.video_ids = [str(row) for row in range(count)]
        self.sentences = [""] * count
        self.video_of_text = np.arange(count)
        self.moments, self.missing = None, ()


def our_run(batch: Batch, folder: Path, **train: Any) -> Run:
    recipe = Recipe(
        "bench", "clip4clip", seed=SEED, start=Start("tiny"),
        model={"head": "seqTransf", "head_layers": LAYERS, "max_words": WORDS},
        train=TrainConfig(
            epochs=STEPS, batch_size=len(batch.video_ids), lr=LR, coef_lr=COEF_LR,
            weight_decay=DECAY, warmup=WARMUP, **train,
        ),
    )  # fmt: skip
    alone = Ranks(0, 1, torch.device("cpu"))
    return Run(recipe, RunFolder(folder), alone, lambda *_: Pairs(batch), None)


class Kept:
    """Counts the bytes of the storages that autograd holds, each once."""

    def __init__(self) -> None:
        self.holders: dict[int, int] = {}  # by storage
        self.now = self.most = 0

    def hold(self, tensor: Tensor) -> Ticket:
        storage = tensor.untyped_storage()
        ticket = Ticket(self, tensor, storage.data_ptr(), storage.nbytes())
        if self.holders.get(ticket.place, 0) == 0:
            self.now += ticket.size
            self.most = max(self.most, self.now)
        self.holders[ticket.place] = self.holders.get(ticket.place, 0) + 1
        return ticket


class Ticket:
    """Stands for a tensor that autograd holds; it is let go of with it."""

    def __init__(self, kept: Kept, tensor: Tensor, place: int, size: int) -> None:
        self.kept, self.tensor, self.place, self.size = kept, tensor, place, size

    def __del__(self) -> None:
        self.kept.holders[self.place] -= 1
        if not self.kept.holders[self.place]:
            self.kept.now -= self.size


def kept_bytes(step: Callable[[], float]) -> int:
    """What autograd holds at most at one time during a step."""
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.hold, lambda ticket: ticket.tensor):
        step()
    return kept.most


def measure(steps: dict[str, Callable[[], float]], repeats: int) -> dict[str, Any]:
    """Every kind once in each round; processor time is of use on a busy machine too."""
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(repeats):
        for name, step in steps.items():
            started, used = time.perf_counter(), time.process_time()
            step()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    return {
        name: {
            "median_s": round(median(wall[name]), 4),
            "spread_s": round(max(wall[name]) - min(wall[name]), 4),
            "median_cpu_s": round(median(cpu[name]), 4),
            "activations_mib": round(kept_bytes(step) / 2**20, 2),
            "repeats": repeats,
        }
        for name, step in steps.items()
    }


def main() -> None:
    parser = record.arguments(__doc__)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    started = time.time()
    options.pairs = options.pairs or (32 if options.quick else 128)
    options.repeats = 1 if options.quick else options.repeats
    batch = make_batch(options.pairs)
    with tempfile.TemporaryDirectory() as place:
        kinds = {
            "ours": {},
            "gradient_caching_16": {"micro_batch": 16},
            "activation_checkpointing": {"activation_checkpointing": True},
            "bfloat16": {"precision": "amp"},
        }
        runs = {name: our_run(batch, Path(place) / name, **kind) for name, kind in kinds.items()}
        reference = copy.deepcopy(runs["ours"].model)
        optimiser = PlainBertAdam(reference)
        steps: dict[str, Callable[[], float]] = {
            "published_procedure": lambda: plain_step(reference, optimiser, batch)
        }
        for name, run in runs.items():
            steps[name] = lambda run=run: run.one_step(batch)
        figures = measure(steps, options.repeats)
    theirs = reference.state_dict()
    differences = {
        name: max(
            float((value - theirs[key]).abs().max())
            for key, value in run.model.state_dict().items()
        )
        for name, run in runs.items()
    }
    exact = [name for name in runs if name != "bfloat16"]
    if max(differences[name] for name in exact) > TOLERANCE:
        sys.exit(f"the sides differ, {differences}: nothing was written")
    base = figures["published_procedure"]
    for name in runs:
        figures[name]["times_the_published_cpu"] = round(
            figures[name]["median_cpu_s"] / base["median_cpu_s"], 2
        )
        figures[name]["largest_weight_difference"] = differences[name]
    result = {
        "shapes": {"pairs": options.pairs, "frames": FRAMES, "words": WORDS,
                   "pixels": TINY.image_size, "width": TINY.vision_width, "head_layers": LAYERS},
        "seed": SEED,
        **figures,
        "torch_threads": torch.get_num_threads(),
    }  # fmt: skip
    record.save("train-step", entries(result), result, started)


def entries(figures: dict[str, Any]) -> list[Entry]:
    plain = figures["published_procedure"]
    rival = "the published procedure, written plainly"
    measures = (
        ("processor time", "median_cpu_s", "s"),
        ("activations", "activations_mib", "MiB"),
    )
    return [
        Entry(
            f"training step, {kind.replace('_', ' ')}, {what}", figures[kind][key], unit, "lower",
            None, rival, plain[key],
        )
        for kind in ("ours", "gradient_caching_16", "activation_checkpointing", "bfloat16")
        for what, key, unit in measures
    ]  # fmt: skip


if __name__ == "__main__":
    main()
