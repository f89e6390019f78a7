"""Inner products of a text with stored patch tokens, in whole numbers: the re-rank kernel.

NumPy has no product of bytes: it would blow every token up to floats first, which takes several
times as long as reading it. simsimd multiplies the stored bytes where they lie, in a mapped file,
say, at about the speed memory is read. The text is written as two or three digits of a byte each,
so that products of unit vectors are those of float32 to 1e-5.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST = 127  # of the first digit
_BASE = 254  # what is left is at most half a step, which the next digit divides by as many
_MANY = 256  # dimensions from which two digits do: errors are many, small, and cancel
_WORTH_A_THREAD = 4 << 20  # bytes of tokens from which waking another thread pays
_GROUP = 5  # clips that a thread takes at a time
_MOST_THREADS = 4  # reading memory is the limit, and a few cores reach it


def patch_products(
    parts: Sequence[NDArray[np.int8]], text: NDArray[np.float32], *, threads: int | None = None
) -> NDArray[np.float32]:
    """Inner products of a text with the tokens of several clips, all on end.

    Args:
        parts: K x int8 [T_k, D]; views of mapped files are best.
        text: [D] finite.
        threads: at most so many; None for all cores.

    Returns: [T_0 + T_1 + …] float32: ``part @ text``, before any token's scale.

    >>> patch_products([np.array([[2, -2]], np.int8)], np.array([0.5, 0.25], np.float32)).round(4)
    array([0.5], dtype=float32)
    """
    digits, unit = _digits(text)
    size = sum(part.nbytes for part in parts)
    helpers = min(threads or _cores(), _MOST_THREADS, size // _WORTH_A_THREAD) - 1
    groups = [parts[start : start + _GROUP] for start in range(0, len(parts), _GROUP)]
    sums = [np.zeros((0, len(digits)), np.float32)] * (len(groups) + 1)
    todo = iter(range(len(groups)))

    def work() -> None:
        for place in todo:  # each is taken once, by whoever is first
            sums[place] = _sums(groups[place], digits)

    # Where the other cores are busy this thread does it all rather than wait for them.
    others = [_pool().submit(work) for _ in range(helpers)]
    work()
    for other in others:
        if not other.cancel():
            other.result()
    weights = unit * float(_BASE) ** -np.arange(len(digits))
    return np.concatenate(sums) @ weights.astype(np.float32)


def _digits(text: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """[N, D] digits and a unit: the text is ``unit * sum(digit * 254 ** -place)``."""
    unit = float(np.abs(text).max(initial=0.0)) / _LARGEST or 1.0
    rest = text.astype(np.float64) / unit
    digits = np.empty((2 if len(text) >= _MANY else 3, len(text)), np.int8)
    for place in range(len(digits)):
        whole = np.rint(rest)
        digits[place] = whole
        rest = (rest - whole) * _BASE
    return digits, unit


def _sums(parts: Sequence[NDArray[np.int8]], digits: NDArray[np.int8]) -> NDArray[np.float32]:
    """Products [T, N] of all tokens with all digits: whole numbers, summed as such."""
    import simsimd

    # An empty part has none, and simsimd refuses it.
    made = [simsimd.cdist(part, digits, "dot", out_dtype="float32") for part in parts if len(part)]
    return np.concatenate([np.zeros((0, len(digits)), np.float32), *map(np.asarray, made)])


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS, "finecut-products")


@cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
