"""Messages to bytes and back: the two calls, and the errors that say where."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import betterproto

from orbit_lite.codec.compile import codec_of
from orbit_lite.codec.errors import CodecLimits, DecodeError, EncodeError
from orbit_lite.codec.faults import WRITE_ERRORS, explain
from orbit_lite.codec.wire import Fault

__all__ = ["decode", "decode_into", "decoder_of", "encode", "encoder_of"]

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
    try:
        return codec_of(cls).decode(buffer, 0, len(buffer), limits.max_depth)  # type: ignore[no-any-return]  # an M
    except (Fault, RecursionError) as error:
        raise _located(cls, error) from (None if isinstance(error, Fault) else error)


def encoder_of(cls: type[M]) -> Callable[[object], bytes]:
    """`encode` for one class, without the search for it. Raises EncodeError for what is not of the class."""
    write = codec_of(cls).encode

    def encode_one(message: object) -> bytes:
        if type(message) is not cls:
            if isinstance(message, cls):
                return encode(message)
            raise EncodeError(cls.__name__, f"message must be {cls.__name__}, not {type(message).__name__}")
        try:
            return write(message)
        except (*WRITE_ERRORS, RecursionError) as error:
            raise explain(message, error) from error

    return encode_one


def decoder_of(cls: type[M]) -> Callable[[bytes], M]:
    """`decode` for one class, without the search for it, and with the default limits."""
    read, depth = codec_of(cls).decode, _DEFAULT_LIMITS.max_depth

    def decode_one(data: bytes) -> M:
        try:
            return read(data, 0, len(data), depth)  # type: ignore[no-any-return]  # an M
        except (Fault, RecursionError) as error:
            raise _located(cls, error) from (None if isinstance(error, Fault) else error)

    return decode_one


def decode_into(message: betterproto.Message, buffer: bytes | bytearray | memoryview) -> None:
    """Merge what the bytes encode into the message, as protobuf's specification says it.

    Raises DecodeError; the message then holds what came before the broken place.
    """
    data, cls = bytes(buffer), type(message)
    try:
        codec_of(cls).decode(data, 0, len(data), _DEFAULT_LIMITS.max_depth, message)
    except (Fault, RecursionError) as error:
        raise _located(cls, error) from (None if isinstance(error, Fault) else error)


def _located(cls: type[betterproto.Message], error: Fault | RecursionError) -> DecodeError:
    if isinstance(error, Fault):
        return DecodeError(".".join((cls.__name__, *error.path)), error.offset, error.problem)
    return DecodeError(cls.__name__, 0, "nested too deeply for what is left of the stack")
