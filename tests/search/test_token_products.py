"""Integer products against float64 ones, over odd sizes, threads and hostile values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finecut.search import token_products
from finecut.search.token_products import patch_products


def parts_of(rng: np.random.Generator, lengths: list[int], dim: int) -> list[np.ndarray]:
    return [rng.integers(-127, 128, (length, dim), np.int8) for length in lengths]


def plain(parts: list[np.ndarray], text: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.float64) @ text.astype(np.float64)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=13),
    st.integers(1, 70),
    st.sampled_from([1e-20, 1e-3, 1.0, 1e6]),
    st.sampled_from([1, 2, 3, None]),
    st.integers(0, 2**32 - 1),
)
def test_products_are_those_of_floats(lengths, dim, size, threads, seed):
    rng = np.random.default_rng(seed)
    parts = parts_of(rng, lengths, dim)
    text = (size * rng.normal(size=dim)).astype(np.float32)
    found = patch_products(parts, text, threads=threads)
    assert found.dtype == np.float32 and found.shape == (sum(lengths),)
    longest = 127 * float(np.abs(text).sum())
    np.testing.assert_allclose(found, plain(parts, text), atol=1e-6 * longest)


@pytest.mark.parametrize("dim", [12, 255, 256, 512, 1024])
def test_unit_tokens_are_within_a_hundred_thousandth(dim):
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2000, dim)) / np.sqrt(dim)
    scale = np.abs(tokens).max(axis=1) / 127
    stored = np.rint(tokens / scale[:, None]).astype(np.int8)
    text = (rng.normal(size=dim) / np.sqrt(dim)).astype(np.float32)
    found = patch_products([stored], text) * scale
    np.testing.assert_allclose(found, plain([stored], text) * scale, atol=1e-5)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_change_no_bit(monkeypatch, threads):
    monkeypatch.setattr(token_products, "_WORTH_A_THREAD", 1)
    rng = np.random.default_rng(0)
    parts = parts_of(rng, [3, 0, 7, 1, 5, 9, 2, 2, 8, 4, 6, 1, 3], 64)
    text = rng.normal(size=64).astype(np.float32)
    alone = patch_products(parts, text, threads=1)
    assert np.array_equal(patch_products(parts, text, threads=threads), alone)


def test_the_largest_values_do_not_overflow():
    """All bytes at their ends, on one side: the largest sums there are."""
    text = np.full(4096, -1.0, np.float32)
    text[::2] = 1.0
    worst = np.where(text > 0, 127, -127).astype(np.int8)[None]
    for tokens in (worst, -worst):
        np.testing.assert_allclose(patch_products([tokens], text), plain([tokens], text), rtol=1e-6)


def test_a_text_of_zeros_and_no_clips_at_all():
    parts = parts_of(np.random.default_rng(0), [4], 8)
    assert patch_products(parts, np.zeros(8, np.float32)).tolist() == [0.0] * 4
    assert patch_products([], np.ones(8, np.float32)).shape == (0,)
