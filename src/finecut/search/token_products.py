"""Inner products of a text with stored patch tokens, in whole numbers: the re-rank kernel.

NumPy has no product of bytes: it would blow every token up to floats first, which takes longer than
to read it. onnxruntime has one (MatMulInteger), made for the weights of networks. The text is
written as three digits of seven bits, so that the sums are those of float32 to 1e-7 of the longest:
the product works on sixteen columns at once, and three cost what one does. Seven bits, because
processors without VNNI add pairs of 16-bit products that must not overflow.

The graph (`token_products.onnx`, 564 bytes) takes several clips at once, each where it lies: a map
of a file, say. `tests/search/test_token_products.py` has the lines that make it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAPH = Path(__file__).with_name("token_products.onnx")
CLIPS_PER_RUN = 5  # clips the graph takes
_BASE = 128  # of the digits, each -64 to 64
_DIGITS = 3
_ZERO = np.array(128, np.uint8)  # what a stored 0 is
_WORTH_A_THREAD = 1 << 20  # bytes of tokens from which waking another thread pays
_MOST_THREADS = 4  # reading memory is the limit, and a few cores reach it


def patch_products(
    parts: Sequence[NDArray[np.uint8]], text: NDArray[np.float32], *, threads: int | None = None
) -> NDArray[np.float32]:
    """Inner products of a text with the tokens of several clips, all on end.

    Args:
        parts: K x uint8 [T_k, D], stored integers plus 128; views of mapped files are best.
        text: [D] finite.
        threads: at most so many; None for all cores.

    Returns: [T_0 + T_1 + …] float32: ``(part - 128) @ text``, before any token's scale.

    >>> patch_products([np.array([[129, 126]], np.uint8)], np.array([0.5, 0.25], np.float32))
    array([0.], dtype=float32)
    """
    digits, unit = _digits(text)
    size = sum(part.nbytes for part in parts)
    wanted = min(threads or _cores(), _MOST_THREADS, 1 + size // _WORTH_A_THREAD)
    step = max(1, min(CLIPS_PER_RUN, -(-len(parts) // wanted)))
    groups = [parts[i : i + step] for i in range(0, len(parts), step)]
    if wanted > 1 and len(groups) > 1:
        rest = [_pool().submit(_run_all, groups[i::wanted], digits) for i in range(1, wanted)]
        shares = [_run_all(groups[::wanted], digits), *(share.result() for share in rest)]
        sums = [shares[i % wanted][i // wanted] for i in range(len(groups))]
    else:
        sums = _run_all(groups, digits)
    if not sums:
        return np.zeros(0, np.float32)
    weights = unit * float(_BASE) ** -np.arange(_DIGITS)
    return np.concatenate(sums).astype(np.float32) @ weights.astype(np.float32)


def _digits(text: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """[D, 3] int8 digits and a unit, such that ``unit * sum(digits * 128 ** -place)`` is the
    text."""
    largest = float(np.abs(text).max(initial=0.0))
    unit = largest / (_BASE // 2) or 1.0
    rest = text.astype(np.float64) / unit
    digits = np.empty((len(text), _DIGITS), np.int8)
    for place in range(_DIGITS):
        whole = np.rint(rest)
        digits[:, place] = whole
        rest = (rest - whole) * _BASE
    return digits, unit


def _run_all(
    groups: Sequence[Sequence[NDArray[np.uint8]]], digits: NDArray[np.int8]
) -> list[NDArray[np.int32]]:
    """Sums [T, 3] of each group of at most `CLIPS_PER_RUN` clips."""
    session, none = _session(), np.zeros((0, len(digits)), np.uint8)
    made = []
    for group in groups:
        feeds: dict[str, Any] = {f"clip{i}": none for i in range(len(group), CLIPS_PER_RUN)}
        feeds |= {f"clip{i}": part for i, part in enumerate(group)}
        made.append(session.run(None, {"text": digits, "zero": _ZERO, **feeds})[0])
    return made


@cache
def _session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # clips are shared out between threads here
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        GRAPH.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS, "finecut-products")


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
