"""Messages between the indexing process and its decoders: a JSON header, then plain arrays.

A decoder reads files nobody vouches for, so nothing it says is unpickled, and sizes are bounded.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAY_BYTES = 2 << 30


class BrokenMessage(Exception):
    """The other side ended, or sent what is no message."""


def send(
    stream: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write one message; ``arrays`` arrive as they are, by name."""
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": shapes}).encode("ascii")
    stream.write(_LENGTH.pack(len(text)) + text)
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any]:
    """Read one message: the header's entries and the arrays among them.

    Raises:
        BrokenMessage: the stream ended, or what comes is no message.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise BrokenMessage(f"a header of {length} bytes")
    try:
        message = json.loads(_exactly(stream, length))
        shapes = [
            (str(name), np.dtype(kind), tuple(shape)) for name, kind, shape in message["arrays"]
        ]
        message = dict(message)
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenMessage(str(error)) from error
    for name, dtype, shape in shapes:
        size = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
        if dtype.kind not in "iuf" or min(shape, default=0) < 0 or size > MAX_ARRAY_BYTES:
            raise BrokenMessage(f"an array of {dtype} {shape}")
        array = np.empty(shape, dtype)
        view = array.reshape(-1).view(np.uint8).data
        filled = 0
        while filled < len(view):
            count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                raise BrokenMessage("the stream ended")
            filled += count
        message[name] = array
    return message


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise BrokenMessage("the stream ended")
        data += more
    return data
