"""BertAdam by hand, and what of it half precision loses."""

from __future__ import annotations

import math

import pytest
import torch

from finecut.errors import UsageError
from finecut.learn.encoders.tiny import TINY, tiny_clip
from finecut.learn.methods.clip4clip import CLIP4Clip, Clip4ClipConfig
from finecut.learn.optim import BertAdam, clip_grad_norm, param_groups, warmup_cosine


def test_two_steps_by_hand() -> None:
    w = torch.nn.Parameter(torch.tensor([2.0]))
    optimiser = BertAdam([w], lr=0.1, total_steps=4, warmup=0.5, weight_decay=0.2)
    for grad in (0.5, 0.25):
        w.grad = torch.tensor([grad])
        optimiser.step()
    # Step 0 has learning rate 0; step 1 has 0.1 · (1/4)/0.5 = 0.05.
    m = 0.9 * (0.1 * 0.5) + 0.1 * 0.25
    v = 0.98 * (0.02 * 0.5**2) + 0.02 * 0.25**2
    want = 2.0 - 0.05 * (m / (math.sqrt(v) + 1e-6) + 0.2 * 2.0)
    assert w.item() == pytest.approx(want, rel=1e-6)


def test_each_tensor_is_clipped_on_its_own() -> None:
    big, small = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    big.grad, small.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    BertAdam([big, small], lr=0.1, total_steps=2).step()
    torch.testing.assert_close(big.grad, torch.tensor([0.6, 0.8]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(small.grad, torch.tensor([0.3, 0.4]))


def test_the_schedule_jumps_at_the_end_of_the_warm_up() -> None:
    assert warmup_cosine(0.0) == 0.0
    assert warmup_cosine(0.0999) == pytest.approx(0.999)
    assert warmup_cosine(0.1) == pytest.approx(0.9755, abs=1e-4)


def test_state_survives_saving() -> None:
    def run(steps: int, state: dict | None, w: torch.nn.Parameter) -> dict:
        optimiser = BertAdam([w], lr=0.1, total_steps=10)
        if state:
            optimiser.load_state_dict(state)
        for step in range(steps):
            w.grad = torch.tensor([0.1 * (step + 1)])
            optimiser.step()
        return optimiser.state_dict()

    whole, halves = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    state = run(3, None, halves)
    optimiser_steps = [s["step"] for s in state["state"].values()]
    assert optimiser_steps == [3]
    run(3, None, whole)
    assert torch.equal(whole, halves)
    resumed = BertAdam([halves], lr=0.1, total_steps=10)
    resumed.load_state_dict(state)
    assert resumed.get_lr() == [pytest.approx(0.1 * warmup_cosine(0.3))]


def test_in_half_precision_the_update_is_not_adams() -> None:
    """The published trap: small gradients underflow in v, and the step grows 50-fold or more."""
    moves = {}
    for dtype in (torch.float32, torch.float16):
        generator = torch.Generator().manual_seed(0)
        w = torch.nn.Parameter((0.02 * torch.randn(2000, generator=generator)).to(dtype))
        start = w.detach().clone().float()
        optimiser = BertAdam([w], lr=1e-7, total_steps=100, weight_decay=0.0, max_grad_norm=0.0)
        for _ in range(100):
            w.grad = (1e-4 * torch.randn(2000, generator=generator)).to(dtype)
            optimiser.step()
        moves[dtype] = (w.detach().float() - start).abs().mean().item()
    assert moves[torch.float16] > 20 * moves[torch.float32]


def test_frozen_parameters_are_in_no_group() -> None:
    model = CLIP4Clip(Clip4ClipConfig("seqTransf", TINY, 1), tiny_clip())
    every = sum(len(g["names"]) for g in param_groups(model))
    frozen = model.clip.freeze(0)
    groups = param_groups(model)
    assert sum(len(g["names"]) for g in groups) == every - len(frozen)
    # A capital C keeps the new transformer out of CLIP's small learning rate.
    assert all("clip." in n for g in (groups[0], groups[2]) for n in g["names"])
    assert any(n.startswith("transformerClip.") for n in groups[1]["names"])


def test_global_clipping_returns_the_norm_before() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    assert clip_grad_norm(model, 1.0) == pytest.approx(5.0)
    assert model.weight.grad.norm() == pytest.approx(1.0, abs=1e-5)


def test_impossible_settings_are_refused() -> None:
    w = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(UsageError, match="total_steps must be at least 1, got 0"):
        BertAdam([w], lr=1.0, total_steps=0)
    with pytest.raises(UsageError, match=r"in \[0, 1\), got 1.5"):
        BertAdam([w], lr=1.0, total_steps=1, warmup=1.5)
