"""Torch modules to the files of a bundle: ONNX graphs, checked against torch, then made small."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finecut.errors import BundleError

OPSET = 17


def to_onnx(
    module: nn.Module, example: Mapping[str, Tensor], outputs: Mapping[str, str], axes: Mapping[str, str]
) -> bytes:
    """The serialised graph.

    Args:
        example: input name -> tensor; sizes of free axes only serve tracing.
        outputs: name -> its axes as letters, "N F D".
        axes: input name -> its axes as letters; letters among them are free, numbers fixed.
    """
    dynamic = {
        name: {i: letter for i, letter in enumerate(shape.split()) if letter in _FREE}
        for name, shape in {**axes, **outputs}.items()
    }
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about constants that are meant
        torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            target,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    return target.getvalue()


_FREE = frozenset("NFQWK")


def run_onnx(data: bytes, feeds: Mapping[str, Tensor], threads: int = 1) -> list[np.ndarray]:
    """All outputs of a serialised graph on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in feeds.items()})


def check_parity(
    name: str, module: nn.Module, data: bytes, batches: Sequence[Mapping[str, Tensor]], tolerance: float
) -> float:
    """The largest absolute difference between torch and the graph over ``batches``.

    Raises:
        BundleError: it is beyond ``tolerance``: such a bundle is not written.
    """
    worst = 0.0
    for feeds in batches:
        with torch.inference_mode():
            expected: Any = module(*feeds.values())
        for want, got in zip(expected, run_onnx(data, feeds), strict=True):
            worst = max(worst, float(np.abs(want.numpy() - got).max()))
    if not worst <= tolerance:
        raise BundleError(
            f"{name} differs from torch by {worst:.2e}, allowed {tolerance:.0e}; not written."
        )
    return worst
