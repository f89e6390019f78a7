"""A torch module as one ONNX file, and the proof that both compute the same."""

from __future__ import annotations

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

    Raises:
        MissingDependency: onnx and onnxscript are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it and fails late without it)
    except ImportError as error:
        raise MissingDependency(
            f"Export needs the package {error.name}: pip install 'finecut[learn]'."
        ) from error
    free = {
        name: {axis: torch.export.Dim.DYNAMIC for axis in axes.get(name, {})} for name in example
    }
    with warnings.catch_warnings(), torch.no_grad(), _Quiet():
        warnings.simplefilter("ignore")  # about torch's own internals
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=outputs,
            dynamic_shapes=free,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        program.save(str(path), external_data=False)  # type: ignore[union-attr]
        model = onnx.load(path)
    _name_axes(model, axes)
    return model.SerializeToString()


class _Quiet:
    """Keeps torch's exporter from announcing which optional packages it did not find."""

    def __enter__(self) -> None:
        self._log = logging.getLogger("torch.onnx")
        self._level = self._log.level
        self._log.setLevel(logging.ERROR)

    def __exit__(self, *_: Any) -> None:
        self._log.setLevel(self._level)


def _name_axes(model: Any, axes: Axes) -> None:
    """Put letters where the exporter put s41: readers see [N, F, 32, 32, 3]."""
    letters: dict[str, str] = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, letter in axes.get(value.name, {}).items():
            letters[dims[axis].dim_param] = letter
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in letters:
                dim.dim_param = letters[dim.dim_param]
    del model.graph.value_info[:]  # its shapes use the old names; the runtime infers its own


def run_onnx(data: bytes, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """One run on the CPU; outputs by name."""
    return session(data)(feeds)


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


class OnnxLstm(nn.Module):
    """``nn.LSTM`` (one layer, batch first) as ONNX's own operator, for any number of steps.

    torch's exporter would unroll it to the length of the example.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.torch_form = lstm  # what the ONNX form is compared with
        self.hidden = lstm.hidden_size
        weights = {name: _onnx_gates(p.detach()) for name, p in lstm.named_parameters()}
        self.w = nn.Parameter(weights["weight_ih_l0"][None])
        self.r = nn.Parameter(weights["weight_hh_l0"][None])
        self.b = nn.Parameter(torch.cat([weights["bias_ih_l0"], weights["bias_hh_l0"]])[None])

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        if not torch.compiler.is_exporting():
            return self.torch_form(x)[0], None
        batch, steps = x.shape[:2]
        out = torch.onnx.ops.symbolic(
            "LSTM",
            (x.transpose(0, 1), self.w, self.r, self.b),
            {"hidden_size": self.hidden},
            dtype=x.dtype,
            shape=[steps, 1, batch, self.hidden],
        )
        return out[:, 0].transpose(0, 1), None


def _onnx_gates(weight: Tensor) -> Tensor:
    """torch orders the gates input, forget, cell, output; ONNX input, output, forget, cell."""
    i, f, g, o = weight.chunk(4, dim=0)
    return torch.cat([i, o, f, g], dim=0)
