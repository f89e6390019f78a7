"""Losses against loops over pairs, and what may not count as a negative."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.errors import ShapeError, UsageError
from finecut.learn import losses

sizes = st.integers(1, 6)
seeds = st.integers(0, 1000)


def matrix(size: int, seed: int, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, size, generator=generator, dtype=torch.float64) * scale


def log_softmax_at(values: list[float], index: int) -> float:
    return values[index] - math.log(sum(math.exp(v) for v in values))


@settings(max_examples=30, deadline=None)
@given(sizes, seeds, st.booleans())
def test_info_nce_is_the_loop(size: int, seed: int, twins: bool) -> None:
    s = matrix(size, seed)
    ids = torch.arange(size) // 2 if twins else None
    total = 0.0
    for i in range(size):
        allowed = [j for j in range(size) if j == i or ids is None or ids[j] != ids[i]]
        at = allowed.index(i)
        total -= log_softmax_at([s[i, j].item() for j in allowed], at)
        total -= log_softmax_at([s[j, i].item() for j in allowed], at)
    assert losses.info_nce(s, ids).item() == pytest.approx(total / (2 * size))


@settings(max_examples=30, deadline=None)
@given(sizes, seeds, st.sampled_from([1.0, 10.0, 1000.0]))
def test_dual_softmax_is_the_loop(size: int, seed: int, temperature: float) -> None:
    s = matrix(size, seed)
    expected = []
    for a in (s, s.T):
        for i in range(size):
            revised = [
                a[i, j].item()
                * math.exp(a[i, j].item() / temperature)
                / sum(math.exp(a[k, j].item() / temperature) for k in range(size))
                * size
                for j in range(size)
            ]
            expected.append(-log_softmax_at(revised, i))
    ours = torch.cat(losses.dual_softmax_parts(s, temperature))
    assert ours.tolist() == pytest.approx(expected)
    total = losses.dual_softmax_loss(s, temperature).item()
    assert total == pytest.approx(sum(expected) / (2 * size))


def test_a_flat_prior_makes_dual_softmax_plain() -> None:
    s = matrix(5, 1)
    flat = losses.dual_softmax_loss(s, 1e9)
    torch.testing.assert_close(flat, losses.info_nce(s), rtol=1e-6, atol=0)


def test_the_article_equals_the_code_but_for_the_batch_factor() -> None:
    cosines, scale = matrix(4, 2, 0.3), 20.0
    article = losses.dual_softmax_article(cosines, scale, 5.0, batch_factor=True)
    code = losses.dual_softmax_parts(scale * cosines, scale / 5.0)
    for ours, theirs in zip(article, code, strict=True):
        torch.testing.assert_close(ours, theirs.mean())


@settings(max_examples=30, deadline=None)
@given(sizes, seeds, st.sampled_from(["t2v", "v2t", "both"]), st.booleans())
def test_triplet_is_the_loop(size: int, seed: int, direction: str, twins: bool) -> None:
    s = matrix(size, seed, 0.5)
    ids = torch.arange(size) // 2 if twins else None
    total = 0.0
    for a in {"t2v": (s,), "v2t": (s.T,), "both": (s, s.T)}[direction]:
        for i in range(size):
            costs = [
                max(0.0, 0.2 + a[i, j].item() - a[i, i].item())
                for j in range(size)
                if j != i and (ids is None or ids[j] != ids[i])
            ]
            total += max(costs, default=0.0)
    ours = losses.hardest_negative_triplet(s, 0.2, ids, direction=direction)  # type: ignore[arg-type]
    assert ours.item() == pytest.approx(total)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(1, 5), seeds)
def test_pearson_of_a_linear_copy(size: int, width: int, seed: int) -> None:
    a = torch.randn(size, width, generator=torch.Generator().manual_seed(seed)).double()
    perfect = losses.pearson_released(a, 3 * a - 1)
    assert perfect.item() == pytest.approx(0.14 * width / size**2)  # c = (B - 1) / B, not 1
    assert losses.pearson_article(a, 3 * a - 1).item() == pytest.approx(0.0, abs=1e-9)
    assert losses.pearson_article(a, -a).item() == pytest.approx(2.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), seeds)
def test_token_scores_ignore_padding_even_below_zero(texts: int, words: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(texts, words, 3, generator=generator)
    x = -torch.rand(2, 4, 3, generator=generator)  # all products negative: 0 would win the max
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    scores = losses.token_scores(y, x, mask)
    expected = torch.einsum("qwd,fd->qwf", y, x[0, :2]).amax(-1)
    torch.testing.assert_close(scores[:, 0], expected)
    assert (scores[:, 0] < 0).all()
    assert (scores[:, 1] == 0).all()  # no real frame


def test_token_loss_weighs_each_word() -> None:
    scores = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.tensor([[0.0, 0.3, 0.7, 0.0], [0.0] * 4, [1.0, 0.0, 0.0, 0.0]]).double()
    expected = sum(
        -weights[i, p].item() * log_softmax_at(scores[i, :, p].tolist(), i)
        for i in range(3)
        for p in range(4)
    )
    assert losses.token_contrastive(scores, weights).item() == pytest.approx(expected)


def test_sampled_loss_reads_nothing_but_its_pairs() -> None:
    logits = matrix(4, 3)
    negatives = torch.zeros(4, 4, dtype=torch.bool)
    negatives[0, 2] = negatives[1, 3] = True
    before = losses.sampled_contrastive(logits, negatives)
    logits[0, 1] = logits[2, 0] = 1e6
    assert losses.sampled_contrastive(logits, negatives) == before


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.info_nce(torch.zeros(2, 3)), ShapeError, r"square.*\(2, 3\)"),
        (lambda: losses.info_nce(torch.zeros(2, 2), torch.zeros(3)), ShapeError, "video_ids"),
        (lambda: losses.pearson_released(torch.zeros(1, 3), torch.zeros(1, 3)), ShapeError, "B >="),
        (
            lambda: losses.hardest_negative_triplet(torch.zeros(2, 2), reduction="max"),  # type: ignore[arg-type]
            UsageError,
            "'max'; expected",
        ),
    ],
)
def test_what_is_refused(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_mil_nce_is_the_sum_over_bags_written_out() -> None:
    generator = torch.Generator().manual_seed(2)
    bags = torch.tensor([3, 1, 3, 7, 1, 3])
    per_video = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    names = [3, 1, 7]
    logits = per_video[:, [names.index(b) for b in bags.tolist()]].requires_grad_()
    parts = []
    for column, name in enumerate(names):
        own = [t for t in range(6) if bags[t] == name]
        right = sum(per_video[t, column].exp() for t in own)
        wrong = sum(per_video[t, column].exp() for t in range(6) if t not in own)
        wrong = wrong + sum(per_video[t, v].exp() for t in own for v in range(3) if v != column)
        parts.append(-(right / (right + wrong)).log())
    got = losses.mil_nce(logits, bags)
    torch.testing.assert_close(got, torch.stack(parts).mean())
    got.backward()
    assert torch.isfinite(logits.grad).all()
    alone = logits.detach()[:2, :2].clone().requires_grad_()
    loss = losses.mil_nce(alone, torch.tensor([4, 4]))  # one bag: nobody is a negative
    loss.backward()
    assert loss.item() == pytest.approx(0.0) and torch.isfinite(alone.grad).all()
    # One text a video: the lower sum has the row and the column, its own pair once.
    single = losses.mil_nce(logits.detach()[:2, :2])
    s = logits.detach()
    want = [
        torch.logsumexp(torch.stack([s[0, 0], s[1, 0], s[0, 1]]), 0) - s[0, 0],
        torch.logsumexp(torch.stack([s[1, 1], s[0, 1], s[1, 0]]), 0) - s[1, 1],
    ]
    torch.testing.assert_close(single, torch.stack(want).mean())
