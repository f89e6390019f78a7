"""A torch module as one ONNX file, and the proof that both compute the same."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finecut.errors import BundleError, MissingDependency

OPSET = 18
Axes = Mapping[str, Mapping[int, str]]  # input -> its free axes by number, with a letter each


def to_onnx(
    module: nn.Module, example: Mapping[str, Tensor], outputs: list[str], axes: Axes
) -> bytes:
    """The module as an ONNX model with free axes, all weights inside.

    Args:
        module: its ``forward`` takes the inputs by the names of ``example``, in that order.
        example: one input of each; free axes longer than 1, or they would be taken as fixed.
        outputs: names of what ``forward`` returns.
        axes: the free axes; an axis that stays out is fixed to the example's size.

    torch's older, tracing exporter is used on purpose: for these graphs it is some ten times
    faster than the newer one, keeps an LSTM whole for any number of frames, and needs no further
    package. What tracing would get wrong (a size taken as a constant) the parity gate sees.
    """
    target = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about sizes taken as constants
        torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            target,
            input_names=list(example),
            output_names=outputs,
            dynamic_axes={name: dict(free) for name, free in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    return target.getvalue()


def session(data: bytes) -> Any:
    """A function that runs the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in loaded.get_outputs()]

    def run(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, loaded.run(None, dict(feeds)), strict=True))

    return run


def largest_difference(
    module: nn.Module, data: bytes, outputs: list[str], samples: Iterable[Mapping[str, Tensor]]
) -> dict[str, float]:
    """How far ONNX is from torch at most, by output, over samples of several sizes.

    A difference is absolute, or relative to the largest value where that is above 1.

    Raises:
        BundleError: an output has another shape, or one of the two is not finite.
    """
    run = session(data)
    worst = dict.fromkeys(outputs, 0.0)
    for sample in samples:
        with torch.no_grad():
            wanted = module(*sample.values())
        got = run({name: value.numpy() for name, value in sample.items()})
        shapes = {name: tuple(value.shape) for name, value in sample.items()}
        for name, want in zip(outputs, wanted, strict=True):
            if got[name].shape != tuple(want.shape):
                raise BundleError(
                    f"{name} has the shape {got[name].shape} in ONNX, {tuple(want.shape)} in "
                    f"torch, for inputs {shapes}."
                )
            scale = max(1.0, float(want.abs().max())) if want.numel() else 1.0
            difference = float(np.abs(got[name] - want.numpy()).max(initial=0.0)) / scale
            if not np.isfinite(difference):
                raise BundleError(f"{name} is not finite for inputs {shapes}.")
            worst[name] = max(worst[name], difference)
    return worst


def quantize_int8(data: bytes) -> bytes:
    """The model with int8 weights, one scale per channel; activations are quantised as they come.

    Per channel, because one scale per tensor costs retrieval quality on real weights.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingDependency("int8 needs the package onnx: pip install onnx.") from error
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(data)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger
        try:
            quantize_dynamic(
                source,
                target,
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm"],
            )
        finally:
            logging.getLogger().setLevel(level)
        return target.read_bytes()
