"""Integer products against float64 ones, over odd sizes, threads and hostile values."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from finecut.search import token_products
from finecut.search.token_products import CLIPS_PER_RUN, GRAPH, patch_products


def graph() -> onnx.ModelProto:
    """The graph of the product: clips of any length by one text of three digits."""
    names = [f"clip{i}" for i in range(CLIPS_PER_RUN)]
    values = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMulInteger", [n, "text", "zero"], [f"{n}_sums"]) for n in names]
    nodes.append(helper.make_node("Concat", [f"{name}_sums" for name in names], ["sums"], axis=0))
    inputs = [values("text", TensorProto.INT8, ["D", 3]), values("zero", TensorProto.UINT8, [])]
    inputs += [values(name, TensorProto.UINT8, [f"T{i}", "D"]) for i, name in enumerate(names)]
    outputs = [values("sums", TensorProto.INT32, ["T", 3])]
    made = helper.make_graph(nodes, "token_products", inputs, outputs)
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name=""
    )


def test_the_graph_is_what_these_lines_make():
    assert onnx.load(GRAPH) == graph()  # else: GRAPH.write_bytes(graph().SerializeToString())


def parts_of(rng: np.random.Generator, lengths: list[int], dim: int) -> list[np.ndarray]:
    return [rng.integers(1, 256, (length, dim), np.uint8) for length in lengths]


def plain(parts: list[np.ndarray], text: np.ndarray) -> np.ndarray:
    tokens = np.concatenate(parts).astype(np.float64) - 128
    return tokens @ text.astype(np.float64)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=13),
    st.integers(1, 70),
    st.sampled_from([1e-20, 1e-3, 1.0, 1e6]),
    st.sampled_from([1, 2, 3, None]),
    st.integers(0, 2**32 - 1),
)
def test_sums_are_those_of_floats(lengths, dim, size, threads, seed):
    rng = np.random.default_rng(seed)
    parts = parts_of(rng, lengths, dim)
    text = (size * rng.normal(size=dim)).astype(np.float32)
    found = patch_products(parts, text, threads=threads)
    assert found.dtype == np.float32 and found.shape == (sum(lengths),)
    longest = 127 * float(np.abs(text).sum())
    np.testing.assert_allclose(found, plain(parts, text), atol=1e-6 * longest)


@pytest.mark.parametrize("threads", [1, 2, 4])
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
    worst = np.where(text > 0, 255, 1).astype(np.uint8)[None]
    for tokens in (worst, 256 - worst.astype(int)):
        parts = [np.asarray(tokens, np.uint8)]
        np.testing.assert_allclose(patch_products(parts, text), plain(parts, text), rtol=1e-6)


def test_a_text_of_zeros_and_no_clips_at_all():
    parts = parts_of(np.random.default_rng(0), [4], 8)
    assert patch_products(parts, np.zeros(8, np.float32)).tolist() == [0.0] * 4
    assert patch_products([], np.ones(8, np.float32)).shape == (0,)
