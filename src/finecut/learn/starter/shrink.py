"""Make a graph small: big matrices in 8 bits, the rest in half precision, computing in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # inputs that share a scale; halving it moves dev R@1 by less than 0.1
_WORTH = 4096  # numbers; smaller tensors stay as they are


def eight_bit_matmuls(data: bytes, accuracy_level: int = 4) -> bytes:
    """Products with constant matrices as MatMulNBits: 8-bit blocks of weights with a scale each.

    Args:
        data: a serialised graph.
        accuracy_level: of onnxruntime's operator: 4 computes in 8 bits too, each row of the
            other factor with scales of its own, so a batch is its parts; 1 computes in float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(data)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        matrix = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if matrix is None or len(matrix.dims) != 2 or matrix.dims[0] % BLOCK:
            nodes.append(node)
            continue
        packed, scales = pack_blocks(numpy_helper.to_array(matrix))
        name = matrix.name
        for suffix, array in (("_q", packed), ("_s", scales)):
            if name + suffix not in weights:
                tensor = numpy_helper.from_array(array, name + suffix)
                weights[name + suffix] = tensor
                model.graph.initializer.append(tensor)
        nodes.append(
            helper.make_node(
                "MatMulNBits",
                [node.input[0], name + "_q", name + "_s"],
                list(node.output),
                name=node.name,
                domain="com.microsoft",
                K=matrix.dims[0],
                N=matrix.dims[1],
                bits=8,
                block_size=BLOCK,
                accuracy_level=accuracy_level,
            )
        )
    _replace_nodes(model, nodes)
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return _without_unused(model).SerializeToString()


def pack_blocks(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """[K, N] -> uint8 [N, K / BLOCK, BLOCK] around 128, and the blocks' scales [N * K / BLOCK].

    >>> packed, scales = pack_blocks(np.full((BLOCK, 1), 2.0, np.float32))
    >>> int(packed[0, 0, 0]), float(scales[0] * 127)
    (255, 2.0)
    """
    blocks = matrix.T.reshape(matrix.shape[1], -1, BLOCK)  # [N, K / BLOCK, BLOCK]
    scales = np.maximum(np.abs(blocks).max(-1), 1e-12) / 127.0
    packed = np.clip(np.rint(blocks / scales[..., None]), -127, 127) + 128
    return packed.astype(np.uint8), scales.astype(np.float32).reshape(-1)


def eight_bit_tables(data: bytes) -> bytes:
    """Tables that rows are gathered from as int8, with one scale a row (word embeddings)."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(data)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or np.prod(table.dims) < _WORTH * 16:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(table)
        scales = np.maximum(np.abs(values).max(1, keepdims=True), 1e-12) / 127.0  # [rows, 1]
        coded = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
        name = table.name
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(coded, name + "_q"),
                numpy_helper.from_array(scales.astype(np.float32), name + "_s"),
            ]
        )
        out = node.output[0]
        nodes += [
            helper.make_node("Gather", [name + "_q", node.input[1]], [out + "_q"], axis=0),
            helper.make_node("Cast", [out + "_q"], [out + "_f"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [name + "_s", node.input[1]], [out + "_s"], axis=0),
            helper.make_node("Mul", [out + "_f", out + "_s"], [out]),
        ]
    _replace_nodes(model, nodes)
    return _without_unused(model).SerializeToString()


def half_weights(data: bytes) -> bytes:
    """Other big float32 weights stored as float16 and cast back once, when the graph is loaded."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(data)
    casts, kept = [], []
    for tensor in model.graph.initializer:
        big = tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= _WORTH
        if not big:
            kept.append(tensor)
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        kept.append(numpy_helper.from_array(values, tensor.name + "_h"))
        casts.append(
            helper.make_node("Cast", [tensor.name + "_h"], [tensor.name], to=onnx.TensorProto.FLOAT)
        )
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    _replace_nodes(model, casts + list(model.graph.node))
    return model.SerializeToString()


def _replace_nodes(model: Any, nodes: list[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _without_unused(model: Any) -> Any:
    used = {name for node in model.graph.node for name in node.input}
    used |= {output.name for output in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model
