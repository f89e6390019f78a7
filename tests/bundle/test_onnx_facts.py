"""The protobuf walk against the onnx package, and on bytes that are no model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from color_bundle import cross_graph, late_graph, text_graph, video_graph
from finecut.bundle.onnx_facts import onnx_facts
from finecut.errors import BundleError

GRAPHS = {
    "video": video_graph(),
    "text": text_graph(),
    "late": late_graph(["frame_sims", "frame_mask", "recall_score"]),
    "cross": cross_graph(),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_operators_are_those_onnx_reads(name: str):
    facts = onnx_facts(GRAPHS[name], name)
    nodes = onnx.load_from_string(GRAPHS[name]).graph.node
    assert facts.operators == {f"{node.domain}:{node.op_type}" for node in nodes}
    assert not facts.external and not facts.dynamic_quantised


def branch(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=tensor)],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )


def nested(external: bool) -> bytes:
    """An If whose branch holds a constant; its values in another file or not."""
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "t")
    if external:
        set_external_data(tensor, location="../../outside")
    node = helper.make_node(
        "If", ["c"], ["out"], then_branch=branch(tensor), else_branch=branch(tensor)
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize("external", [True, False])
def test_tensors_inside_branches_are_seen(external: bool):
    facts = onnx_facts(nested(external), "nested")
    assert facts.external == external
    assert facts.operators == {":If", ":Constant"}


def test_a_location_flag_alone_counts():
    made = onnx.load_from_string(GRAPHS["text"])
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert onnx_facts(made.SerializeToString(), "text").external


def test_quantised_activations_are_noticed():
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"])
    graph = helper.make_graph([node], "g", [], [])
    assert onnx_facts(helper.make_model(graph).SerializeToString(), "q").dynamic_quantised


def test_graphs_nested_beyond_reason():
    def field(number: int, data: bytes) -> bytes:
        size, digits = len(data), bytearray()
        while size > 127:
            digits.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *digits, size]) + data

    graph = b""
    for _ in range(40):  # graph.node = 1, node.attribute = 5, attribute.g = 6
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(BundleError, match="graphs nest deeper than 32"):
        onnx_facts(field(7, graph), "deep")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes):
    try:
        onnx_facts(data, "x")
    except BundleError as error:
        assert "x is not an ONNX model" in str(error)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GRAPHS["video"]) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place: int, value: int):
    data = bytearray(GRAPHS["video"])
    data[place] = value
    try:
        onnx_facts(bytes(data), "x")
    except BundleError as error:
        assert "x is not an ONNX model" in str(error)


@pytest.mark.parametrize("keep", [1, 10, 100, 500])
def test_a_model_cut_short_is_refused(keep: int):
    with pytest.raises(BundleError, match="is not an ONNX model"):
        onnx_facts(GRAPHS["video"][: -keep - 3], "x")
