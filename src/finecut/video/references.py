"""Which frames of H.264 cannot lean on B frames: said by slice headers, without decoding.

A frame that others refer to must be decoded before them, and half of those are B frames where an
encoder builds pyramids of them. Many encoders let P frames refer to P and I frames only, and each
P frame lists what it may refer to. Where no list on the way to a wanted frame names a B frame,
all B frames before it can be left out, and its pixels are the same to the last bit.

Source: ITU-T H.264 (V14), 7.3.2.1.1, 7.3.2.2, 7.3.3 and 8.2.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.packet import Packet
from av.video.stream import VideoStream

_HEADER_BYTES = 96  # of a slice, enough for any header we can use
_SLICE, _IDR, _SPS, _PPS = 1, 5, 7, 8
_P, _B, _I = 0, 1, 2
_MOST_REFERENCES = 32
# Profiles whose parameter sets say more about colour.
_HIGH = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class _Unknown(Exception):
    """Something this reader does not follow: fields, long-term references, damage."""


class _Bits:
    """Reads bits from the front; past the end is `_Unknown`."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise _Unknown
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """An Exp-Golomb code, ue(v)."""
        rest = self._value & ((1 << self._left) - 1)
        zeros = self._left - rest.bit_length()
        if zeros > 32:
            raise _Unknown
        return self.take(2 * zeros + 1) - 1


@dataclass(frozen=True, slots=True)
class _Sequence:
    frame_bits: int  # of frame_num
    references: int  # frames kept to refer to at most
    frames_only: bool
    order: int  # pic_order_cnt_type
    order_bits: int
    order_zero: bool
    planes: bool  # coded as three separate pictures


@dataclass(frozen=True, slots=True)
class _Picture:
    sequence: int
    bottom_order: bool
    references: int  # of a P slice where it does not say
    redundant: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    kind: int
    number: int
    kept: bool  # other frames may refer to it
    named: frozenset[int] | None  # frame numbers its P slices may refer to; None: perhaps any


class BFrames:
    """Says whether the B frames on the way to some frames may be left out.

    Args:
        stream: of any codec; of other codecs than H.264 nothing is known.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, _Picture] = {}
        self._length_bytes = 0  # before each NAL unit; 0: start codes
        self._known = stream.codec_context.name == "h264"
        if not self._known:
            return
        extra = bytes(stream.codec_context.extradata or b"")
        try:
            if extra[:1] == b"\1" and len(extra) > 6:
                self._length_bytes = (extra[4] & 3) + 1
                units = _configured(extra)
            else:
                units = _split(extra)
            for unit in units:
                self._learn(unit)
        except (_Unknown, IndexError):
            self._known = False

    def unneeded(self, packets: Sequence[Packet], picks: Sequence[int]) -> bool:
        """Whether the frames of some packets come out the same with all B frames left out.

        Args:
            packets: a group from its key frame on, in decoding order.
            picks: indices of the frames that are wanted.
        Returns: False too where there is no B frame to leave out that others may refer to.
        """
        if not self._known:
            return False
        skipped: set[int] = set()  # numbers of B frames that others may refer to
        found = False
        try:
            for i, packet in enumerate(packets[: max(picks) + 1]):
                frame = self._frame(packet)
                if frame.kind == _B:
                    if i in picks:
                        return False
                    if frame.kept:
                        skipped.add(frame.number)
                        found = True
                elif frame.kind == _P:
                    if skipped and (frame.named is None or frame.named & skipped):
                        return False
                    skipped.discard(frame.number)
        except (_Unknown, IndexError):
            return False
        return found

    def _frame(self, packet: Packet) -> _Frame:
        """What the slices of one packet say together."""
        found: _Frame | None = None
        for unit in self._units(packet):
            kind = unit[0] & 31
            if kind in (_SPS, _PPS):
                self._learn(unit)
            elif kind in (2, 3, 4):
                raise _Unknown  # data partitions
            elif kind in (_SLICE, _IDR):
                part = self._slice(unit)
                found = part if found is None else _together(found, part)
        if found is None:
            raise _Unknown
        return found

    def _units(self, packet: Packet) -> Iterator[bytes]:
        data = memoryview(packet)
        if not self._length_bytes:
            yield from _split(bytes(data))
            return
        at, end = 0, len(data)
        while at + self._length_bytes < end:
            length = int.from_bytes(data[at : at + self._length_bytes], "big")
            at += self._length_bytes
            if not 0 < length <= end - at:
                raise _Unknown
            whole = data[at] & 31 in (_SPS, _PPS)
            yield bytes(data[at : at + (length if whole else min(length, _HEADER_BYTES))])
            at += length

    def _learn(self, unit: bytes) -> None:
        kind = unit[0] & 31
        if kind == _SPS:
            number, sequence = _sequence(unit)
            self._sequences[number] = sequence
        elif kind == _PPS:
            number, picture = _picture(unit)
            self._pictures[number] = picture

    def _slice(self, unit: bytes) -> _Frame:
        bits = _Bits(unit[1:_HEADER_BYTES])
        bits.golomb()  # first_mb_in_slice
        kind = bits.golomb() % 5
        picture = self._pictures.get(bits.golomb())
        sequence = self._sequences.get(picture.sequence) if picture else None
        if picture is None or sequence is None or sequence.planes or kind > _I:
            raise _Unknown
        number = bits.take(sequence.frame_bits)
        if not sequence.frames_only and bits.take(1):
            raise _Unknown  # fields
        kept = bool(unit[0] & 0x60)
        if kind != _P:
            return _Frame(kind, number, kept, frozenset())
        if unit[0] & 31 == _IDR:
            bits.golomb()  # idr_pic_id
        if sequence.order == 0:
            bits.take(sequence.order_bits)
            if picture.bottom_order:
                bits.golomb()
        elif sequence.order == 1 and not sequence.order_zero:
            bits.golomb()
            if picture.bottom_order:
                bits.golomb()
        if picture.redundant:
            bits.golomb()
        references = bits.golomb() + 1 if bits.take(1) else picture.references
        return _Frame(kind, number, kept, _named(bits, number, references, sequence))


def _named(bits: _Bits, number: int, references: int, sequence: _Sequence) -> frozenset[int] | None:
    """Frame numbers a P slice may refer to; None where its list is not spelt out in full."""
    if references > _MOST_REFERENCES:
        raise _Unknown
    if not bits.take(1):
        return None  # the default order, which begins with the latest: perhaps a B frame
    named = []
    predicted, span = number, 1 << sequence.frame_bits
    while (how := bits.golomb()) != 3:
        if how > 1:
            raise _Unknown  # long-term references
        step = bits.golomb() + 1
        predicted = (predicted - step if how == 0 else predicted + step) % span
        # Without the B frames' own commands the decoder keeps the latest frames: it must be one.
        if (number - predicted) % span > sequence.references or len(named) > _MOST_REFERENCES:
            raise _Unknown
        named.append(predicted)
    # What is spelt out comes first; the rest of the list, if any, is in the default order.
    return frozenset(named[:references]) if len(named) >= references else None


def _together(one: _Frame, other: _Frame) -> _Frame:
    """A frame of several slices: a P frame where it has I and P slices, a B frame if any is B."""
    if one.number != other.number:
        raise _Unknown
    kinds = {one.kind, other.kind}
    kind = _B if _B in kinds else _P if _P in kinds else _I
    named = None
    if one.named is not None and other.named is not None:
        named = one.named | other.named
    return _Frame(kind, one.number, one.kept, named)


def _configured(extra: bytes) -> Iterator[bytes]:
    """The parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    at = 5
    for mask in (31, 255):
        count = extra[at] & mask
        at += 1
        for _ in range(count):
            length = int.from_bytes(extra[at : at + 2], "big")
            if not length or at + 2 + length > len(extra):
                raise _Unknown
            yield extra[at + 2 : at + 2 + length]
            at += 2 + length


def _split(data: bytes) -> Iterator[bytes]:
    """NAL units between start codes; of slices their beginning only."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        start = at + 3
        at = data.find(b"\0\0\1", start)
        end = len(data) if at < 0 else at
        if start < end:
            whole = data[start] & 31 in (_SPS, _PPS)
            yield data[start : end if whole else min(end, start + _HEADER_BYTES)]


def _sequence(unit: bytes) -> tuple[int, _Sequence]:
    bits = _Bits(unit[1:])
    profile = bits.take(8)
    bits.take(16)
    number = bits.golomb()
    planes = False
    if profile in _HIGH:
        colours = bits.golomb()
        planes = colours == 3 and bool(bits.take(1))
        bits.golomb()
        bits.golomb()
        bits.take(1)
        if bits.take(1):
            raise _Unknown  # scaling matrices of its own: rare, and long to read past
    frame_bits = bits.golomb() + 4
    order = bits.golomb()
    order_bits, order_zero = 0, False
    if order == 0:
        order_bits = bits.golomb() + 4
    elif order == 1:
        order_zero = bool(bits.take(1))
        bits.golomb()
        bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    references = bits.golomb()
    bits.take(1)
    bits.golomb()
    bits.golomb()
    if frame_bits > 16 or order_bits > 16 or order > 2:
        raise _Unknown
    frames_only = bool(bits.take(1))
    return number, _Sequence(
        frame_bits, references, frames_only, order, order_bits, order_zero, planes
    )


def _picture(unit: bytes) -> tuple[int, _Picture]:
    bits = _Bits(unit[1:])
    number, sequence = bits.golomb(), bits.golomb()
    bits.take(1)
    bottom_order = bool(bits.take(1))
    if bits.golomb():
        raise _Unknown  # slice groups
    references = bits.golomb() + 1
    bits.golomb()
    bits.take(3)
    for _ in range(3):
        bits.golomb()  # signed, but as many bits
    bits.take(2)
    return number, _Picture(sequence, bottom_order, references, bool(bits.take(1)))
