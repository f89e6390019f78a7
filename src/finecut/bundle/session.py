"""onnxruntime sessions for the graphs of a bundle, with every input and output checked by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finecut.bundle.onnx_facts import OnnxFacts, onnx_facts
from finecut.errors import BundleError, ShapeError, UsageError
from finecut.types import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In order of preference; the CPU is always last and always there.
ACCELERATORS = ("CUDAExecutionProvider", "CoreMLExecutionProvider")
CPU = "CPUExecutionProvider"
OPENVINO = "openvino"  # the package, which is not one of onnxruntime's

_DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(bool)": np.dtype(np.bool_),
}

# name -> (dtype, shape); letters are free sizes, "H" style letters with a size given are fixed
Io = Mapping[str, tuple[str, str]]


def choose_providers(asked: Sequence[str] | None, *, accelerate: bool) -> list[str]:
    """Names of execution providers to try, best first, ending with the CPU.

    Args:
        asked: names ("cuda", "coreml", "openvino", "cpu", or onnxruntime's own), None for what
            is installed. "openvino" is that package, not onnxruntime's provider, and is never
            chosen unasked: bf16 changes stored tokens a little.
        accelerate: whether an accelerator may be chosen by None, and OpenVINO at all: yes for
            videos, no for one sentence.

    Raises:
        UsageError: a provider was asked for that this onnxruntime does not have, or OpenVINO
            where it is not installed.
    """
    import onnxruntime

    have = onnxruntime.get_available_providers()
    if asked is None:
        return [name for name in ACCELERATORS if accelerate and name in have] + [CPU]
    by_short = {name.removesuffix("ExecutionProvider").lower(): name for name in have}
    chosen = []
    for name in asked:
        if name.lower() == OPENVINO:
            from finecut.bundle import openvino_session

            if not openvino_session.installed():
                raise UsageError(f"OpenVINO is not installed; {openvino_session.INSTALL}")
            chosen += [OPENVINO] if accelerate else []
            continue
        full = name if name in have else by_short.get(name.lower())
        if full is None:
            raise UsageError(
                f"The provider {name!r} is not in the installed onnxruntime; it has "
                f"{', '.join(sorted(by_short))}."
            )
        chosen.append(full)
    return [name for name in dict.fromkeys(chosen) if name != CPU] + [CPU]


class Graph:
    """One ONNX graph, loaded and found to have exactly the inputs and outputs it must have.

    Args:
        data: the serialised model.
        where: what to call it in messages: "BUNDLE: video.onnx".
        inputs: name -> (dtype, shape), the shape as letters and numbers: "N F 32 32 3".
        outputs: likewise.
        threads: for one run; None leaves it to onnxruntime (all cores).
        providers: names from `choose_providers`. Where OpenVINO comes first and cannot run the
            graph, or would be slower, a warning says why and onnxruntime runs it.

    Raises:
        BundleError: no ONNX, tensors in other files, operators the runtime does not have, or
            other inputs and outputs.
    """

    def __init__(
        self,
        data: bytes,
        where: str,
        inputs: Io,
        outputs: Io,
        *,
        threads: int | None,
        providers: Sequence[str],
    ) -> None:
        self.where = where
        self.facts: OnnxFacts = onnx_facts(data, where)
        if self.facts.external:
            raise BundleError(
                f"{where} keeps tensors in other files; a bundle's graph holds all of its weights: "
                "export it as one file."
            )
        self._session: Any = None
        self.runs_by = ""  # "OpenVINO bf16", "CPU", "CUDA"
        if OPENVINO in providers:
            self._session = self._by_openvino(data, threads)
            providers = [name for name in providers if name != OPENVINO]
        if self._session is None:
            self._session = self._by_onnxruntime(data, threads, providers)
        self._outputs = outputs
        self._check_io("input", self._session.get_inputs(), inputs)
        self._check_io("output", self._session.get_outputs(), outputs)
        self._names = list(outputs)

    def _by_onnxruntime(self, data: bytes, threads: int | None, providers: Sequence[str]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions; stderr is the program's
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Spinning threads would steal the cores from the decoders between two runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(data, options, providers=list(providers))
        except Exception as error:  # onnxruntime raises classes of its own with no common base
            raise BundleError(f"{self.where} cannot be loaded: {_first_line(error)}") from error
        self.runs_by = session.get_providers()[0].removesuffix("ExecutionProvider")
        return session

    def _by_openvino(self, data: bytes, threads: int | None) -> Any:
        """None, and a warning, where onnxruntime must run it or is faster."""
        import logging  # not for nothing: milliseconds of a search's start

        from finecut.bundle.openvino_session import OpenVinoSession

        log = logging.getLogger(__name__)  # nobody listening, Python writes warnings to stderr
        if self.facts.dynamic_quantised:
            # It undoes the quantisation: a third of onnxruntime's frames, see docs/speed.md.
            log.warning(
                "%s is quantised: onnxruntime runs it, OpenVINO would be slower", self.where
            )
            return None
        try:
            session = OpenVinoSession(data, threads=threads)
        except Exception as error:  # as above
            why = _first_line(error)
            log.warning("%s cannot be run by OpenVINO, onnxruntime runs it: %s", self.where, why)
            return None
        self.runs_by = f"OpenVINO {session.precision}"
        return session

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """The outputs by name, float32, checked for shape and finite.

        Raises:
            BundleError: the graph fails, or answers with another shape, NaN or infinity.
        """
        try:
            values = self._session.run(self._names, dict(feeds))
        except Exception as error:  # as above
            raise BundleError(f"{self.where} fails when run: {_first_line(error)}") from error
        return {name: np.asarray(v) for name, v in zip(self._names, values, strict=True)}

    def check(self, values: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
        """Refuse outputs of another shape than declared, and NaN or infinity.

        Raises:
            BundleError: names the output, its shape and the expected one.
        """
        try:
            check_shape(dict(sizes), **{n: (values[n], self._outputs[n][1]) for n in values})
        except ShapeError as error:
            raise BundleError(f"{self.where} answers with a wrong shape: {error}") from error
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise BundleError(
                    f"{self.where} answers with NaN or infinity in {name}; the bundle is broken: "
                    "run `finecut bundle verify` on it."
                )

    def _check_io(self, what: str, got: Sequence[Any], expected: Io) -> None:
        names = {item.name for item in got}
        if names != set(expected):
            raise BundleError(
                f"{self.where} has the {what}s {sorted(names)}, expected {sorted(expected)}."
            )
        for item in got:
            dtype, shape = expected[item.name]
            if _DTYPES.get(item.type) != np.dtype(dtype):
                raise BundleError(
                    f"{self.where}: {what} {item.name} is {item.type}, expected {dtype}."
                )
            letters = shape.split()
            axes = list(item.shape)
            if not axes and what == "output":
                continue  # rank not declared; each run is checked
            fits = len(axes) == len(letters) and all(
                _axis_fits(axis, letter, what) for axis, letter in zip(axes, letters, strict=True)
            )
            if not fits:
                raise BundleError(
                    f"{self.where}: {what} {item.name} has the shape {axes}, "
                    f"expected [{', '.join(letters)}] (letters are free sizes)."
                )


def _axis_fits(axis: int | str | None, letter: str, what: str) -> bool:
    if letter.isdigit():
        return not isinstance(axis, int) or axis == int(letter)
    # A free size must be free where we feed it; where it comes out each run is checked.
    return what == "output" or not isinstance(axis, int)


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "…"
