"""Makes permissions count even for root, so that tests of them run everywhere on Linux."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import pytest

_VERSION_3 = 0x20080522
_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextlib.contextmanager
def permissions_count() -> Iterator[None]:
    """Within it this thread is held to file permissions, as anybody but root is."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    have = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    if libc.capget(header, have) != 0:
        pytest.skip("root, and its rights cannot be laid down here")
    less = (ctypes.c_uint32 * 6)(*have)
    less[0] &= ~_OVERRIDES
    if libc.capset(header, less) != 0:
        pytest.skip("root, and its rights cannot be laid down here")
    try:
        yield
    finally:
        libc.capset(header, have)
