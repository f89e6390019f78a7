"""What finecut must know of an ONNX file before a runtime sees it, read without the onnx package.

A walk over the protobuf wire format: operators used, their domains, and whether any tensor lies in
another file. Field numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto, …).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from finecut.errors import BundleError

_MAX_DEPTH = 32  # graphs inside attributes inside graphs; real models stay under 5
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(slots=True)
class OnnxFacts:
    """``operators`` holds "domain:type" for each kind of node ("" is the standard domain)."""

    operators: set[str] = field(default_factory=set)
    external: bool = False  # some tensor's values lie in another file

    @property
    def dynamic_quantised(self) -> bool:
        """Activations are quantised by the whole batch's range: a batch is not its parts."""
        return any("DynamicQuantize" in name for name in self.operators)


def onnx_facts(data: bytes, where: str) -> OnnxFacts:
    """Walk a serialised ModelProto.

    Raises:
        BundleError: the bytes are not a protobuf message.
    """
    facts = OnnxFacts()
    try:
        _model(memoryview(data), facts)
    except (ValueError, IndexError) as error:
        raise BundleError(
            f"{where} is not an ONNX model ({error}); the bundle is damaged: get it again."
        ) from error
    return facts


def _model(view: memoryview, facts: OnnxFacts) -> None:
    for number, value in _fields(view):
        if number == 7:  # graph
            _graph(value, facts, 0)
        elif number == 25:  # functions: nodes in field 7
            for inner, node in _fields(value):
                if inner == 7:
                    _node(node, facts, 0)


def _graph(view: memoryview, facts: OnnxFacts, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"graphs nest deeper than {_MAX_DEPTH}")
    for number, value in _fields(view):
        if number == 1:
            _node(value, facts, depth)
        elif number == 5:
            _tensor(value, facts)
        elif number == 15:  # sparse_initializer: values 1, indices 2
            _sparse(value, facts)


def _node(view: memoryview, facts: OnnxFacts, depth: int) -> None:
    kind = domain = ""
    for number, value in _fields(view):
        if number == 4:
            kind = str(value, "utf-8", "replace")
        elif number == 7:
            domain = str(value, "utf-8", "replace")
        elif number == 5:  # attribute
            for inner, item in _fields(value):
                if inner in (5, 10):  # t, tensors
                    _tensor(item, facts)
                elif inner in (6, 11):  # g, graphs
                    _graph(item, facts, depth + 1)
                elif inner in (22, 23):  # sparse_tensor(s)
                    _sparse(item, facts)
    facts.operators.add(f"{'' if domain == 'ai.onnx' else domain}:{kind}")


def _sparse(view: memoryview, facts: OnnxFacts) -> None:
    for number, value in _fields(view):
        if number in (1, 2):
            _tensor(value, facts)


def _tensor(view: memoryview, facts: OnnxFacts) -> None:
    for number, value in _fields(view):
        if number == 13 or (number == 14 and value != b"\x00"):  # external_data, data_location
            facts.external = True


def _fields(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, value) of each field; a varint comes as its one-byte 0 or as anything else."""
    place, size = 0, len(view)
    if not isinstance(view, memoryview):
        raise ValueError("a message is expected")
    while place < size:
        key, place = _varint(view, place)
        kind, number = key & 7, key >> 3
        if kind == _BYTES:
            length, place = _varint(view, place)
            end = place + length
        elif kind == _VARINT:
            _, end = _varint(view, place)
        elif kind == _FIXED64:
            end = place + 8
        elif kind == _FIXED32:
            end = place + 4
        else:
            raise ValueError(f"wire type {kind} at byte {place}")
        if end > size or number == 0:
            raise ValueError(f"field {number} ends at byte {end} of {size}")
        yield number, view[place:end]
        place = end


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError(f"a number longer than 64 bits at byte {place}")
