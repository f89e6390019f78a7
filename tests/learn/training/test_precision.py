"""Half precision: what it changes, and the official trap."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from finecut.errors import UsageError
from finecut.learn.checkpoint import load_checkpoint
from finecut.learn.optim import BertAdam
from finecut.learn.recipe import TrainConfig
from finecut.learn.training.loop import train
from finecut.learn.training.precision import Precision
from finecut.learn.training.watch import GIVE_UP_SKIPS, TrainingError

from .tiny_pairs import opener, recipe

CPU = torch.device("cpu")


def test_official_fp16_trains_and_stores_half_precision_weights(tmp_path: Path) -> None:
    made = recipe(optimiser="bertadam", precision="official-fp16", epochs=1)
    train(made, tmp_path / "run", data=opener())
    model = load_checkpoint(tmp_path / "run")
    kinds = {name: p.dtype for name, p in model.named_parameters()}
    assert kinds["clip.visual.proj"] == kinds["clip.text_projection"] == torch.float16
    assert kinds["clip.logit_scale"] == kinds["clip.ln_final.weight"] == torch.float32


def moved(dtype: torch.dtype, deviation: float) -> tuple[float, float]:
    """Mean move of weights in 1,000 steps of BertAdam at CLIP's rate, and the share that moved."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2_000, generator=generator) * 0.02
    weight = torch.nn.Parameter(start.to(dtype))
    before = weight.detach().clone()
    optimiser = BertAdam([weight], 1e-7, 1000, weight_decay=0.0)
    for _ in range(1000):
        grad = torch.randn(2_000, generator=generator) * deviation
        weight.grad = grad.to(dtype)
        optimiser.step()
    move = (weight.detach() - before).float().abs()
    return move.mean().item(), (move > 0).float().mean().item()


def test_the_official_fp16_trap() -> None:
    # The table of docs/training.md. Gradients of 3e-4 underflow in the second moment, so half
    # precision moves weights by momentum / 1e-6, far more than Adam would ...
    single, share = moved(torch.float32, 3e-4)
    half, _ = moved(torch.float16, 3e-4)
    assert share > 0.99 and half > 30 * single
    # ... with larger ones, updates under half a unit in the last place vanish.
    half, share = moved(torch.float16, 1e-3)
    assert share < 0.2 and half < moved(torch.float32, 1e-3)[0] / 10


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_amp_computes_the_encoders_in_half_precision_and_the_loss_in_full(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finecut.learn.methods.clip4clip import CLIP4Clip

    seen: list[torch.dtype] = []
    whole = CLIP4Clip.token_loss

    def noting(self, text, video, video_ids=None):
        seen.append(text.recall.dtype)
        assert not torch.is_autocast_enabled("cpu")
        return whole(self, text, video, video_ids)

    monkeypatch.setattr(CLIP4Clip, "token_loss", noting)
    made = recipe(precision="amp", amp_dtype=kind, epochs=1)
    report = train(made, tmp_path / "amp", data=opener())
    plain = train(recipe(epochs=1), tmp_path / "plain", data=opener())
    assert set(seen) == {torch.float32}
    assert report.loss != plain.loss and report.loss == pytest.approx(plain.loss, abs=0.05)
    weights = load_checkpoint(tmp_path / "amp").state_dict().values()
    assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}


def test_a_loss_scale_skips_overflows_but_not_for_ever() -> None:
    precision = Precision(TrainConfig(precision="amp", amp_dtype="float16"), CPU)
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.SGD([weight], lr=0.1)

    def step(grad: float) -> bool:
        optimiser.zero_grad()
        precision.scale(weight.sum() * grad).backward()
        precision.unscale(optimiser)
        error = precision.is_error(weight.grad.norm(), 0)
        precision.step(optimiser)
        return error

    assert step(1.0) is False and weight[0].item() == pytest.approx(0.9)
    scale = precision.scaler.get_scale()
    assert step(math.inf) is False
    assert weight[0].item() == pytest.approx(0.9) and precision.scaler.get_scale() == scale / 2
    state = precision.state()
    other = Precision(TrainConfig(precision="amp", amp_dtype="float16"), CPU)
    other.scale(torch.ones(()))  # the scaler makes its tensor at the first use
    other.restore(state)
    assert other.skipped == 1 and other.scaler.get_scale() == scale / 2
    with pytest.raises(TrainingError, match="float16 overflowed in 51 steps in a row"):
        for _ in range(GIVE_UP_SKIPS):
            step(math.inf)


def test_without_a_scale_a_norm_that_is_none_is_an_error() -> None:
    precision = Precision(TrainConfig(), CPU)
    assert precision.is_error(torch.tensor(math.nan), 0)
    assert not precision.is_error(torch.tensor(1.0), 0)


def test_official_fp16_needs_a_clip() -> None:
    precision = Precision(TrainConfig(precision="official-fp16"), CPU)
    with pytest.raises(UsageError, match="this model has none"):
        precision.prepare(torch.nn.Linear(2, 2))
