"""The protobuf wire format: varints, tags and lengths, and the skipping of what nobody knows.

Functions that read take the buffer and a position and return the position after what they read. None of them looks
where the enclosing message ends, only where the buffer does: the caller compares afterwards, once per field. On a
broken encoding they raise Fault; where the buffer ends too early, IndexError.

Source: https://protobuf.dev/programming-guides/encoding/, with the limits of Google's C++ runtime and of upb: a tag or
a length has at most five bytes, a varint ten, and bits above the 64th are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "FIXED32",
    "FIXED64",
    "GROUP_END",
    "GROUP_START",
    "LEN",
    "MAX_FIELD_NUMBER",
    "VARINT",
    "Fault",
    "head_table",
    "overrun",
    "read_int32",
    "read_int64",
    "read_length",
    "read_tag",
    "read_uint32",
    "read_uint64",
    "skip",
    "tag_of",
    "varint",
]

VARINT, FIXED64, LEN, GROUP_START, GROUP_END, FIXED32 = range(6)

MAX_FIELD_NUMBER = 2**29 - 1
_MAX_LENGTH = 2**31 - 1

_SHORT_SHIFTS = tuple(range(7, 35, 7))
_HIGH_SHIFTS = tuple(range(0, 42, 7))


class Fault(Exception):
    """Broken bytes, on the way out of nested messages: each level that it passes puts its field's name before `path`.

    between: the fault lies in a tag, so it belongs to the message as a whole and not to the field read before.
    """

    def __init__(self, problem: str, offset: int, *, between: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.offset = offset
        self.between = between
        self.path: list[str] = []


def overrun(pos: int, end: int) -> Fault:
    """The error for a value that ends at `pos`, past the `end` of the message around it."""
    return Fault(f"cut off: it ends {pos - end} bytes past the message around it", end)


# ---------------------------------------------------------------- reading
# `value` is the first byte, already read and found to be 128 or more; `pos` is the position after it. A continuation
# bit not yet removed from one byte is taken back with the next one: (byte - 1) << shift.


def read_uint64(buffer: bytes, pos: int, value: int) -> tuple[int, int]:
    """The rest of a varint of 64 bits."""
    byte = buffer[pos]
    value += byte - 1 << 7
    if byte < 128:
        return value, pos + 1
    byte = buffer[pos + 1]
    value += byte - 1 << 14
    if byte < 128:
        return value, pos + 2
    byte = buffer[pos + 2]
    value += byte - 1 << 21
    if byte < 128:
        return value, pos + 3
    pos += 3
    high = 0  # what is above 28 bits: small numbers are quicker to add
    for shift in _HIGH_SHIFTS:
        byte = buffer[pos]
        pos += 1
        high += byte - 1 << shift
        if byte < 128:
            return value + (high << 28) & 0xFFFF_FFFF_FFFF_FFFF, pos
    raise Fault("a varint of more than 10 bytes", pos)


def read_int64(buffer: bytes, pos: int, value: int) -> tuple[int, int]:
    """The rest of a varint of 64 bits, as two's complement."""
    value, pos = read_uint64(buffer, pos, value)
    return value - (1 << 64) if value > 0x7FFF_FFFF_FFFF_FFFF else value, pos


def read_uint32(buffer: bytes, pos: int, value: int) -> tuple[int, int]:
    """The rest of a varint, of which the lower 32 bits count."""
    value, pos = read_uint64(buffer, pos, value)
    return value & 0xFFFF_FFFF, pos


def read_int32(buffer: bytes, pos: int, value: int) -> tuple[int, int]:
    """The rest of a varint, of which the lower 32 bits count, as two's complement."""
    value, pos = read_uint64(buffer, pos, value)
    value &= 0xFFFF_FFFF
    return value - (value >> 31 << 32), pos


def read_length(buffer: bytes, pos: int, value: int) -> tuple[int, int]:
    """The rest of a length."""
    for shift in _SHORT_SHIFTS:
        byte = buffer[pos]
        pos += 1
        value += byte - 1 << shift
        if byte < 128:
            if value > _MAX_LENGTH:
                raise Fault(f"a length of {value} bytes, over 2 GiB", pos)
            return value, pos
    raise Fault("a length of more than 5 bytes", pos)


def read_tag(buffer: bytes, pos: int, value: int) -> tuple[int, int]:
    """The rest of a tag. It may name a wire type or a field that does not exist: `skip` finds that."""
    start = pos - 1
    try:
        for shift in _SHORT_SHIFTS:
            byte = buffer[pos]
            pos += 1
            value += byte - 1 << shift
            if byte < 128:
                if value > 0xFFFF_FFFF:
                    raise Fault("a tag of more than 32 bits", start, between=True)
                return value, pos
    except IndexError:
        raise Fault("cut off within a tag", start, between=True) from None
    raise Fault("a tag of more than 5 bytes", start, between=True)


def skip(buffer: bytes, pos: int, end: int, tag: int, depth: int) -> int:
    """The position after the value of an unknown field, groups included.

    depth: how many levels of groups may still be opened.
    """
    wire_type = tag & 7
    if tag < 8:
        raise Fault("field number 0", pos, between=True)
    if wire_type == VARINT:
        stop = pos + 10
        while buffer[pos] > 127:
            pos += 1
            if pos == stop:
                raise Fault("a varint of more than 10 bytes", pos, between=True)
        pos += 1
    elif wire_type == LEN:
        length = buffer[pos]
        pos += 1
        if length > 127:
            length, pos = read_length(buffer, pos, length)
        pos += length
    elif wire_type == FIXED64:
        pos += 8
    elif wire_type == FIXED32:
        pos += 4
    elif wire_type == GROUP_START:
        pos = _skip_group(buffer, pos, end, tag, depth - 1)
    elif wire_type == GROUP_END:
        raise Fault(f"the end of group {tag >> 3}, which was not opened", pos, between=True)
    else:
        raise Fault(f"wire type {wire_type}, which does not exist, for field {tag >> 3}", pos, between=True)
    if pos > end:
        raise Fault(f"unknown field {tag >> 3} is cut off", end, between=True)
    return pos


def _skip_group(buffer: bytes, pos: int, end: int, opening: int, depth: int) -> int:
    if depth < 0:
        raise Fault("nested deeper than the limit", pos, between=True)
    while pos < end:
        tag = buffer[pos]
        pos += 1
        if tag > 127:
            tag, pos = read_tag(buffer, pos, tag)
        if tag == opening + 1:  # GROUP_END of the same field
            return pos
        pos = skip(buffer, pos, end, tag, depth)
    raise Fault(f"group {opening >> 3} is not closed", end, between=True)


# ---------------------------------------------------------------- writing


_ONE_BYTE = tuple(bytes((value,)) for value in range(128))
_INNER = tuple(bytes((value | 128,)) for value in range(128))  # more bytes follow
_PAIRS = tuple(low + high for high in _INNER for low in _INNER)  # 0.7 MB, made in 1 ms; halves the time of varint()


def varint(value: int) -> bytes:
    """A varint of 0 ≤ value < 2**64."""
    if value < 128:
        return _ONE_BYTE[value]
    if value < 1 << 14:
        return _INNER[value & 127] + _ONE_BYTE[value >> 7]
    if value < 1 << 21:
        return _PAIRS[value & 0x3FFF] + _ONE_BYTE[value >> 14]
    low, high = value & 0xFFF_FFFF, value >> 28
    if 0 < high < 1 << 14:  # milliseconds since 1970, until the year 2109
        return _PAIRS[low & 0x3FFF] + _PAIRS[low >> 14] + varint(high)
    return _PAIRS[low & 0x3FFF] + varint(value >> 14)


def tag_of(number: int, wire_type: int) -> int:
    """The number that stands before each value: which field, and how its end is found."""
    return number << 3 | wire_type


_HEADS: dict[int, Sequence[bytes]] = {}


def head_table(tag: int) -> Sequence[bytes]:
    """The encoded tag with each possible following byte below 128: a short length, or a small number.

    Made once per tag, however many messages use it; about 5 KB.
    """
    if tag not in _HEADS:
        encoded = varint(tag)
        _HEADS[tag] = tuple(encoded + byte for byte in _ONE_BYTE)
    return _HEADS[tag]
