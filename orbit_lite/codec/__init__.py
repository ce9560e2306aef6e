"""Protobuf bytes ⇄ betterproto messages, for any message class, exact to protobuf's specification.

betterproto gives the dataclasses; its own runtime is not used, for it takes broken bytes for messages and is slow. A
class is looked at once (plan.py) and gets two straight-line functions of its own (encoder.py, decoder.py, compile.py).

    data = encode(message)
    message = decode(NodeInfoProto, data)

`orbit_lite.codec.json` gives the canonical JSON of the same messages, `orbit_lite.codec.descriptors` makes message
classes from descriptors. Nothing here knows any particular message, and nothing here does input or output.
"""

from __future__ import annotations

from typing import TypeVar

import betterproto

from orbit_lite.codec.compile import codec_of
from orbit_lite.codec.errors import CodecLimits, DecodeError, EncodeError
from orbit_lite.codec.faults import WRITE_ERRORS, explain
from orbit_lite.codec.wire import Fault

__all__ = ["CodecLimits", "DecodeError", "EncodeError", "decode", "encode"]

M = TypeVar("M", bound=betterproto.Message)

_DEFAULT_LIMITS = CodecLimits()


def encode(message: betterproto.Message) -> bytes:
    """The message's bytes: known fields by number, then the unknown ones it was decoded with.

    The message is not changed, not even by reading. encoder.py says which fields count as present.
    Raises EncodeError when a field holds what its type cannot carry, TypeError for what is no betterproto message.
    """
    codec = codec_of(type(message))
    try:
        return codec.encode(message)
    except (*WRITE_ERRORS, RecursionError) as error:
        raise explain(message, error) from error


def decode(cls: type[M], buffer: bytes | bytearray | memoryview, *, limits: CodecLimits = _DEFAULT_LIMITS) -> M:
    """The message of class `cls` that the bytes encode.

    Raises DecodeError, and nothing else, on any bytes that are not one; TypeError for a class that is no message's.
    """
    if type(buffer) is not bytes:
        buffer = bytes(buffer)
    if len(buffer) > limits.max_size:
        raise DecodeError(cls.__name__, 0, f"{len(buffer)} bytes are over the limit of {limits.max_size}")
    codec = codec_of(cls)
    try:
        return codec.decode(buffer, 0, len(buffer), limits.max_depth)  # type: ignore[no-any-return]  # an M
    except Fault as fault:
        raise DecodeError(".".join((cls.__name__, *fault.path)), fault.offset, fault.problem) from None
    except RecursionError as error:
        raise DecodeError(cls.__name__, 0, "nested too deeply for what is left of the stack") from error
