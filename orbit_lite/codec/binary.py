"""Messages to bytes and back: the two calls, and the errors that say where."""

from __future__ import annotations

from typing import Any, TypeVar

import betterproto

from orbit_lite.codec.compile import codec_of
from orbit_lite.codec.errors import CodecLimits, DecodeError
from orbit_lite.codec.faults import WRITE_ERRORS, explain
from orbit_lite.codec.wire import Fault

__all__ = ["decode", "decode_into", "encode"]

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
    return _decode(cls, buffer, limits, None)  # type: ignore[no-any-return]  # an M


def decode_into(message: betterproto.Message, buffer: bytes | bytearray | memoryview) -> None:
    """Merge what the bytes encode into the message, as protobuf's specification says it.

    Raises DecodeError; the message then holds what came before the broken place.
    """
    _decode(type(message), buffer, _DEFAULT_LIMITS, message)


def _decode(cls: type[Any], buffer: bytes | bytearray | memoryview, limits: CodecLimits, message: Any) -> Any:
    if type(buffer) is not bytes:
        buffer = bytes(buffer)
    if len(buffer) > limits.max_size:
        raise DecodeError(cls.__name__, 0, f"{len(buffer)} bytes are over the limit of {limits.max_size}")
    codec = codec_of(cls)
    try:
        return codec.decode(buffer, 0, len(buffer), limits.max_depth, message)
    except Fault as fault:
        raise DecodeError(".".join((cls.__name__, *fault.path)), fault.offset, fault.problem) from None
    except RecursionError as error:
        raise DecodeError(cls.__name__, 0, "nested too deeply for what is left of the stack") from error
