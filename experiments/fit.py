"""Training heads and text towers over frozen frames, and the figures every experiment reports.

The picture tower is trained once (`tiny_clip`) and frozen, its frames and patches are computed
once; what is trained is the text tower and all that a method adds. Batches hold whole groups, so
that a clip's rivals are among its negatives. Letters: G clips, F frames, P patches, B batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from tiny_clip import clips, encode, features, same_sentence, tower
from torch import Tensor, nn

from finecut import metrics
from finecut.learn.encoders.clip import CLIP
from finecut.learn.methods.protocol import Batch, TextTokens, VideoTokens

TRAIN_CLIPS, TEST_CLIPS = 3000, 160
STEPS, BATCH, RATE = 400, 64, 2e-3

TextInputs = Callable[[Sequence[str]], dict[str, Tensor]]


@dataclass(frozen=True)
class Clips:
    """Clips as a frozen tower sees them."""

    frames_raw: Tensor  # [G, F, E]
    patches_raw: Tensor | None  # [G, F, P, E]
    captions: tuple[str, ...]
    groups: Tensor  # [G]

    def __len__(self) -> int:
        return len(self.captions)

    def inputs(self, rows: Tensor | slice = slice(None)) -> dict[str, Tensor]:
        """Keyword arguments of ``encode_video``."""
        found = {"frames_raw": self.frames_raw[rows]}
        if self.patches_raw is not None:
            found["patches_raw"] = self.patches_raw[rows]
        return found


def seen_by_tower(task: str, count: int, split: str, seed: int, patches: bool = False) -> Clips:
    """The clips of one task through the tower of this seed; test clips are those of seed 0."""
    made = clips(task, count, split, seed if split == "train" else 0)
    with torch.no_grad():
        frames, patch = features(tower(seed).eval(), made)
    return Clips(frames, patch if patches else None, made.captions, torch.from_numpy(made.groups))


def joined(parts: Sequence[Clips]) -> Clips:
    """Several sets as one; groups stay apart."""
    groups, start = [], 0
    for part in parts:
        groups.append(part.groups + start)
        start += int(part.groups.max()) + 1
    patches = [p.patches_raw for p in parts]
    return Clips(
        torch.cat([p.frames_raw for p in parts]),
        None if patches[0] is None else torch.cat(patches),
        tuple(c for p in parts for c in p.captions),
        torch.cat(groups),
    )


def starting_clip(seed: int) -> CLIP:
    """The tower of this seed, its picture side frozen."""
    clip = tower(seed)
    clip.visual.requires_grad_(False)
    return clip


def plain_text(captions: Sequence[str]) -> dict[str, Tensor]:
    """``input_ids`` alone: what CLIP4Clip and EERCF take."""
    return {"input_ids": encode(captions)}


def fit(
    model: nn.Module,
    train: Clips,
    *,
    seed: int,
    text_inputs: TextInputs = plain_text,
    loss_of: Callable[[nn.Module, Batch], Tensor] | None = None,
    steps: int = STEPS,
    rate: float = RATE,
    batch_size: int = BATCH,
) -> float:
    """Train in place with AdamW and a one-cycle rate; returns seconds of CPU time.

    ``loss_of`` replaces the method's own loss.
    """
    loss_of = loss_of or (lambda m, batch: m.loss(batch)["loss"])
    text, alike = text_inputs(train.captions), same_sentence(train.captions)
    members = [torch.nonzero(train.groups == g)[:, 0] for g in torch.unique(train.groups)]
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model.train()
    started = time.process_time()
    for _ in range(steps):
        rows = _whole_groups(members, batch_size, generator)
        batch = Batch(train.inputs(rows), {k: v[rows] for k, v in text.items()}, alike[rows])
        loss = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        clip = getattr(model, "clip", None)
        if clip is not None:
            clip.clamp_logit_scale()
    model.eval()
    return time.process_time() - started


def _whole_groups(members: list[Tensor], most: int, generator: torch.Generator) -> Tensor:
    rows: list[Tensor] = []
    count = 0
    for g in torch.randperm(len(members), generator=generator).tolist():
        if count + len(members[g]) > most:
            break
        rows.append(members[g])
        count += len(members[g])
    return torch.cat(rows)


@torch.no_grad()
def tokens(
    model: nn.Module, test: Clips, text_inputs: TextInputs = plain_text
) -> tuple[TextTokens, VideoTokens]:
    """All captions and clips as the model encodes them."""
    return model.encode_text(**text_inputs(test.captions)), model.encode_video(**test.inputs())


def figures(scores: Tensor, groups: Tensor) -> dict[str, float]:
    """Percent: R@1, R@5, R@10 both ways, median rank, and ``in_group``: how often a caption's own
    clip beats the others of its group."""
    sims = scores.double().numpy()
    t2v, v2t = metrics.t2v(sims), metrics.v2t(sims)
    rivals = groups[:, None] == groups[None, :]
    inside = scores.masked_fill(~rivals, -torch.inf)
    own = scores.diagonal()
    # Ties count half, as by tossing a coin: equal scores are what a blind model gives.
    ahead = (inside > own[:, None]).sum(dim=1)
    level = (inside == own[:, None]).sum(dim=1)
    won = torch.where(ahead == 0, 1.0 / level.double(), torch.zeros(len(own), dtype=torch.double))
    return {
        "r_at_1": t2v["r_at_1"],
        "r_at_5": t2v["r_at_5"],
        "r_at_10": t2v["r_at_10"],
        "MdR": t2v["MdR"],
        "v2t_r_at_1": v2t["r_at_1"],
        "in_group": 100.0 * won.mean().item(),
    }


def chance(test: Clips) -> dict[str, float]:
    """What guessing gives, percent."""
    sizes = torch.bincount(test.groups)
    sizes = sizes[sizes > 0].double()
    return {
        "gallery": len(test),
        "r_at_1": 100.0 / len(test),
        "in_group": 100.0 * (len(sizes) / sizes.sum()).item(),
    }
