"""OpenVINO instead of onnxruntime for one graph: bf16 where the processor multiplies it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = 'pip install "finecut[openvino]"'

_importing = threading.Lock()

# OpenVINO's names of element types -> those onnxruntime answers with
_TYPES = {
    "f32": "tensor(float)",
    "u8": "tensor(uint8)",
    "i64": "tensor(int64)",
    "boolean": "tensor(bool)",
}


class Facts(NamedTuple):
    """An input or output, described as onnxruntime does: a free size is None."""

    name: str
    type: str
    shape: list[int | None]


def installed() -> bool:
    """Whether the package is here; it is not imported for that."""
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def quietly() -> Any:
    """The package openvino, imported without its telemetry.

    Imported plainly it tells Google Analytics so, and leaves an identifier in the user's home;
    it does without where the package openvino_telemetry cannot be imported.
    """
    with _importing:
        if "openvino" not in sys.modules:
            hidden = "openvino_telemetry"
            before = sys.modules.get(hidden)
            sys.modules[hidden] = None  # type: ignore[assignment]
            try:
                import openvino  # pyright: ignore[reportMissingImports]
            finally:
                del sys.modules[hidden]
                if before is not None:
                    sys.modules[hidden] = before
        import openvino  # pyright: ignore[reportMissingImports]
    return openvino


def precision() -> str:
    """What OpenVINO computes in on this processor: "bf16" where it has the instructions."""
    openvino = quietly()
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


class OpenVinoSession:
    """A graph compiled by OpenVINO, with the three methods of onnxruntime's session we use.

    Safe to use from many threads: each has a request of its own, and there are as many streams
    as runs of ``threads`` that fit on the cores.

    Args:
        data: the serialised ONNX model.
        threads: for one run; None for all cores.
    """

    def __init__(self, data: bytes, *, threads: int | None) -> None:
        openvino = quietly()
        self.precision = precision()
        cores = os.cpu_count() or 1
        core = openvino.Core()
        model = core.read_model(data)
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self.precision,
                "NUM_STREAMS": max(1, cores // (threads or cores)),
                "INFERENCE_NUM_THREADS": cores,
                # Pinned threads would wait for the decoder that has their core.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._own = threading.local()

    def get_inputs(self) -> list[Facts]:
        return [_facts(port) for port in self._compiled.inputs]

    def get_outputs(self) -> list[Facts]:
        return [_facts(port) for port in self._compiled.outputs]

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of these names. They are copies: a request's own are written over."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        request.infer(dict(feeds))
        return [np.array(request.get_tensor(name).data) for name in names]


def _facts(port: Any) -> Facts:
    kind = port.get_element_type().get_type_name()
    shape = [axis.get_length() if axis.is_static else None for axis in port.get_partial_shape()]
    return Facts(port.get_any_name(), _TYPES.get(kind, str(kind)), shape)
