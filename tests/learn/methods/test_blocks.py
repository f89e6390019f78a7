"""Masked means and softmaxes: defined for empty rows, blind to padding."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.learn.methods.blocks import gate_weights, masked_mean, unit


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    temperature=st.sampled_from([0.01, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_only_real_entries_count(lengths: list[int], temperature: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    sims, values = torch.randn(len(lengths), 5, generator=g), torch.randn(len(lengths), 5, 3)
    mask = torch.arange(5)[None] < torch.tensor(lengths)[:, None]
    weights, mean = gate_weights(sims, temperature, mask), masked_mean(values, mask)
    for row, length in enumerate(lengths):
        assert not weights[row, length:].any()
        if length == 0:
            assert not mean[row].any()
            continue
        torch.testing.assert_close(
            weights[row, :length], (sims[row, :length] / temperature).softmax(0)
        )
        torch.testing.assert_close(mean[row], values[row, :length].mean(0))


def test_an_empty_row_has_a_finite_gradient() -> None:
    sims = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    gate_weights(sims, 0.1, mask).sum().backward()
    assert torch.isfinite(sims.grad).all()


def test_unit_keeps_zero_and_gives_it_no_gradient() -> None:
    x = torch.zeros(2, 3, requires_grad=True)
    unit(x).sum().backward()
    assert torch.isfinite(x.grad).all() and not unit(x).any()


def test_a_high_temperature_is_the_mean_and_a_low_one_the_best() -> None:
    sims = torch.tensor([0.1, 0.9, 0.5])
    torch.testing.assert_close(gate_weights(sims, 1e6), torch.full((3,), 1 / 3), rtol=1e-4, atol=0)
    torch.testing.assert_close(gate_weights(sims, 1e-3), torch.tensor([0.0, 1.0, 0.0]))
