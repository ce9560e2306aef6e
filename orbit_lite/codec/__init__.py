"""Protobuf bytes ⇄ betterproto messages, for any message class."""

from __future__ import annotations

import struct
from typing import TypeVar

import betterproto

from orbit_lite.codec.errors import CodecLimits, DecodeError, EncodeError

__all__ = ["CodecLimits", "DecodeError", "EncodeError", "decode", "encode"]

M = TypeVar("M", bound=betterproto.Message)

_DEFAULT_LIMITS = CodecLimits()


def encode(message: betterproto.Message) -> bytes:
    """Serialize a message. Raises EncodeError when a field holds what its type cannot carry."""
    try:
        return bytes(message)
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise EncodeError(type(message).__name__, str(error)) from error


def decode(cls: type[M], buffer: bytes | bytearray | memoryview, *, limits: CodecLimits = _DEFAULT_LIMITS) -> M:
    """Read a message of class `cls`. Raises DecodeError, and nothing else, on any bytes that are not one."""
    if len(buffer) > limits.max_size:
        raise DecodeError(cls.__name__, 0, f"{len(buffer)} bytes are over the limit of {limits.max_size}")
    try:
        return cls().parse(bytes(buffer))
    except (ValueError, TypeError, AttributeError, OverflowError, EOFError, struct.error, RecursionError) as error:
        raise DecodeError(cls.__name__, 0, str(error)) from error
