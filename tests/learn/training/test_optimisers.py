"""Learning rates by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from finecut.learn.encoders.tiny import TINY, tiny_clip
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.optim import BertAdam
from finecut.learn.recipe import TrainConfig
from finecut.learn.training.optimisers import Schedule, build_optimiser, shape


def config(**values: Any) -> TrainConfig:
    return TrainConfig(**{"optimiser": "adamw", "schedule": "constant", "warmup": 0.0, **values})


def model() -> CLIP4Clip:
    return CLIP4Clip(Clip4ClipConfig("seqTransf", TINY, 1, 4, 12), tiny_clip())


def rates(made: TrainConfig, steps: int) -> list[float]:
    schedule = Schedule(build_optimiser(model(), made, steps), made, steps)
    return [schedule.before_step(step) for step in range(steps)]


@pytest.mark.parametrize(("values", "want"), [
    ({}, [1.0, 1.0, 1.0, 1.0]),
    ({"warmup": 0.5}, [0.0, 0.5, 1.0, 1.0]),
    ({"schedule": "warmup-linear", "warmup": 0.5}, [0.0, 0.5, 1.0, 0.5]),
    ({"schedule": "warmup-cosine", "warmup": 0.25}, [0.0, 0.8535534, 0.5, 0.1464466]),
    ({"schedule": "one-cycle", "warmup": 0.5}, [0.04, 0.52, 1.0, 0.500002]),
    ({"optimiser": "bertadam", "schedule": "warmup-cosine", "warmup": 0.25},
     [0.0, 0.8535534, 0.5, 0.1464466]),
])  # fmt: skip
def test_the_rate_of_every_step(values: dict[str, Any], want: list[float]) -> None:
    assert rates(config(lr=1.0, **values), 4) == pytest.approx(want, abs=1e-6)


def test_every_group_keeps_its_share_of_the_rate() -> None:
    made = config(lr=0.1, coef_lr=1e-3, schedule="warmup-linear")
    optimiser = build_optimiser(model(), made, 10)
    Schedule(optimiser, made, 10).before_step(5)
    by_kind = {("clip." in group["names"][0]): group["lr"] for group in optimiser.param_groups}
    assert by_kind[False] == pytest.approx(0.05) and by_kind[True] == pytest.approx(0.05e-3)


def test_bertadam_applies_the_rate_that_is_shown() -> None:
    made = TrainConfig(lr=0.5, warmup=0.5, weight_decay=0.0)
    net = torch.nn.Linear(1, 1, bias=False)
    optimiser = build_optimiser(net, made, 4)
    assert isinstance(optimiser, BertAdam)
    schedule = Schedule(optimiser, made, 4)
    for step in range(2):
        before = net.weight.item()
        net.weight.grad = torch.full((1, 1), 1e9)  # clipped to 1
        rate = schedule.before_step(step)
        optimiser.step()
    state = optimiser.state[net.weight]
    update = state["m"] / (state["v"].sqrt() + 1e-6)
    assert before - net.weight.item() == pytest.approx(rate * update.item(), rel=1e-5)


def test_the_plateau_halves_after_its_patience() -> None:
    made = config(lr=1.0, schedule="plateau", plateau_factor=0.5, plateau_patience=2, lr_decay=0.99)
    schedule = Schedule(build_optimiser(model(), made, 10), made, 10)
    seen = []
    for figure in (10.0, 11.0, 11.0, 10.0, 9.0, 12.0):
        schedule.after_epoch(figure)
        seen.append(schedule.before_step(5))
    decay = [0.99**n for n in range(1, 7)]
    halved = [1, 1, 1, 1, 0.5, 0.5]  # the third epoch in a row that was no better
    assert seen == pytest.approx([a * b for a, b in zip(decay, halved, strict=True)])
    again = Schedule(build_optimiser(model(), made, 10), made, 10)
    again.restore(schedule.state())
    assert again.before_step(5) == seen[-1]


def test_one_cycle_is_torchs() -> None:
    made = config(lr=0.3, schedule="one-cycle", warmup=0.3)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], lr=0.3)
    # torch counts to the last step, not past it: its step k of n is our progress k / (n - 1), and
    # its peak is at step n · pct_start - 1.
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.3, total_steps=11, pct_start=4 / 11)
    want = []
    for _ in range(11):
        want.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step() if len(want) < 11 else None
    got = [0.3 * shape(made, step / 10) for step in range(11)]
    assert got == pytest.approx(want, abs=1e-9)
