"""The scalar kinds of protobuf: how each is written, read when packed, and what its default is.

A kind is named as in a .proto file. `write` functions give what follows the tag, for strings and bytes with the length,
and raise TypeError, ValueError or struct.error for a value that the kind cannot carry. Fast paths for the common cases
are generated into each message's functions (encoder.py, decoder.py); what stands here is complete by itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orbit_lite.codec.wire import (
    FIXED32,
    FIXED64,
    LEN,
    VARINT,
    Fault,
    overrun,
    read_int32,
    read_int64,
    read_uint32,
    read_uint64,
    varint,
)

__all__ = ["SCALARS", "Scalar", "is_negative_zero", "unzigzag"]

Reader = Callable[[bytes, int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One kind. Exactly one of `reader` (varints) and `layout` (fixed width) is set; neither for strings and bytes."""

    wire_type: int
    default: object
    write: Callable[[Any], bytes]
    reader: Reader | None = None
    layout: struct.Struct | None = None
    zigzag: bool = False

    def pack(self, values: Sequence[Any]) -> bytes:
        """The body of a packed field."""
        if self.layout is not None:
            return struct.pack(f"<{len(values)}{self.layout.format[1:]}", *values)
        if self.default is not False and not self.zigzag:
            try:
                body = bytes(values)
            except (ValueError, TypeError):
                pass
            else:
                if body.isascii():  # numbers below 128 are their own encoding
                    return body
        return b"".join(map(self.write, values))

    def unpack(self, buffer: bytes, pos: int, end: int) -> Iterable[Any]:
        """Read the body of a packed field; zigzag numbers, bools and enums are still plain numbers."""
        body = buffer[pos:end]
        if self.layout is not None:
            if len(body) % self.layout.size:
                raise Fault(f"{len(body)} bytes of packed values of {self.layout.size} bytes each", pos)
            return struct.unpack(f"<{len(body) // self.layout.size}{self.layout.format[1:]}", body)
        # Numbers below 128 are their own encoding.
        return body if body.isascii() else self._unpack_varints(buffer, pos, end)

    def _unpack_varints(self, buffer: bytes, pos: int, end: int) -> list[int]:
        values = []
        while pos < end:
            value = buffer[pos]
            pos += 1
            if value > 127:
                value, pos = self.reader(buffer, pos, value)  # type: ignore[misc]  # set, for there is no layout
            values.append(value)
        if pos > end:
            raise overrun(pos, end)
        return values


def is_negative_zero(value: float) -> bool:
    """Whether it is -0.0, which protobuf does not take for the default."""
    return value == 0 and math.copysign(1, value) < 0


def unzigzag(value: int) -> int:
    """0, 1, 2, 3 … → 0, -1, 1, -2 …"""
    return value >> 1 ^ -(value & 1)


def _integer(kind: str, low: int, high: int) -> Callable[[Any], bytes]:
    def write(value: int) -> bytes:
        if not low <= value <= high:
            raise ValueError(f"{value} is outside the range of {kind}")
        return varint(value & 0xFFFF_FFFF_FFFF_FFFF)

    return write


def _zigzag(kind: str, bits: int) -> Callable[[Any], bytes]:
    limit = 1 << bits - 1

    def write(value: int) -> bytes:
        if not -limit <= value < limit:
            raise ValueError(f"{value} is outside the range of {kind}")
        return varint(value << 1 if value >= 0 else ~(value << 1))

    return write


def _bool(value: int) -> bytes:
    if not isinstance(value, int):
        raise TypeError(f"expected a bool, found {type(value).__name__}")
    return b"\1" if value else b"\0"


def _string(value: str) -> bytes:
    body = value.encode()
    return varint(len(body)) + body


def _bytes(value: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"expected bytes, found {type(value).__name__}")
    body = bytes(value)
    return varint(len(body)) + body


def _fixed(code: str, default: object) -> Scalar:
    layout = struct.Struct("<" + code)
    return Scalar(wire_type=FIXED32 if layout.size == 4 else FIXED64, default=default, write=layout.pack, layout=layout)


_INT32 = _integer("int32", -(2**31), 2**31 - 1)

SCALARS: Final[dict[str, Scalar]] = {
    "int32": Scalar(wire_type=VARINT, default=0, write=_INT32, reader=read_int32),
    "int64": Scalar(wire_type=VARINT, default=0, write=_integer("int64", -(2**63), 2**63 - 1), reader=read_int64),
    "uint32": Scalar(wire_type=VARINT, default=0, write=_integer("uint32", 0, 2**32 - 1), reader=read_uint32),
    "uint64": Scalar(wire_type=VARINT, default=0, write=_integer("uint64", 0, 2**64 - 1), reader=read_uint64),
    "sint32": Scalar(wire_type=VARINT, default=0, write=_zigzag("sint32", 32), reader=read_uint32, zigzag=True),
    "sint64": Scalar(wire_type=VARINT, default=0, write=_zigzag("sint64", 64), reader=read_uint64, zigzag=True),
    "bool": Scalar(wire_type=VARINT, default=False, write=_bool, reader=read_uint64),
    "enum": Scalar(wire_type=VARINT, default=0, write=_INT32, reader=read_int32),
    "fixed32": _fixed("I", 0),
    "fixed64": _fixed("Q", 0),
    "sfixed32": _fixed("i", 0),
    "sfixed64": _fixed("q", 0),
    "float": _fixed("f", 0.0),
    "double": _fixed("d", 0.0),
    "string": Scalar(wire_type=LEN, default="", write=_string),
    "bytes": Scalar(wire_type=LEN, default=b"", write=_bytes),
}
