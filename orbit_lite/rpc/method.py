"""From message types to bytes and back, so that rpc itself knows no particular message.

A betterproto class goes through the library's codec; any other class says how itself, by `SerializeToString` and
`FromString`, as google.protobuf's do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import betterproto
from grpclib.const import Cardinality as GrpclibCardinality

from orbit_lite import codec
from orbit_lite.errors import SerializationError

__all__ = ["UNARY", "Cardinality", "Method", "wrapped_method"]


class Cardinality(Hashable, Protocol):
    """Which sides of a call are streams; grpclib's enumeration fits, and so does any object with the two flags."""

    @property
    def client_streaming(self) -> bool: ...
    @property
    def server_streaming(self) -> bool: ...


UNARY: Cardinality = GrpclibCardinality.UNARY_UNARY


@dataclass(frozen=True, slots=True)
class Method:
    """A method's name, shape and messages. path: `/package.Service/Method`, compared byte by byte."""

    path: str
    client_streaming: bool
    server_streaming: bool
    request_type: type
    reply_type: type

    is_unary: bool = field(init=False)
    """One request, one reply."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_unary", not (self.client_streaming or self.server_streaming))

    @classmethod
    def of(cls, path: str, cardinality: Cardinality, request_type: type, reply_type: type) -> Method:
        """From the arguments that grpclib's and betterproto's stubs and services give."""
        return method_of(path, cardinality, request_type, reply_type)

    def encode_request(self, message: object) -> bytes:
        """Raises SerializationError for another type's message, or one that cannot be written."""
        return encoder(self.request_type)(message)

    def encode_reply(self, message: object) -> bytes:
        """Like `encode_request`."""
        return encoder(self.reply_type)(message)


@lru_cache(maxsize=4096)
def _remembered(path: str, cardinality: Cardinality, request_type: type, reply_type: type) -> Method:
    return Method(path, cardinality.client_streaming, cardinality.server_streaming, request_type, reply_type)


#: As `Method.of`.
method_of: Callable[[str, Cardinality, type, type], Method] = _remembered


def wrapped_method(handler: Callable[..., object]) -> Callable[[Any], Awaitable[Any]] | None:
    """Of the unary handler that betterproto makes around a service's method: the method itself, else None.

    Such a handler `__rpc_name` receives the request, awaits `self.name(request)` and sends what it gives, and the names
    that it refers to prove that it does nothing else. A server that does the same itself saves three coroutines a call.
    """
    name = getattr(handler, "__name__", "")
    code = getattr(handler, "__code__", None)
    service = getattr(handler, "__self__", None)
    method = name.removeprefix("__rpc_")
    if code is None or method == name or code.co_names != ("recv_message", method, "send_message"):
        return None
    found: Callable[[Any], Awaitable[Any]] | None = getattr(service, method, None)
    return found


def encode(message: object, message_type: type) -> bytes:
    """The message's bytes. Raises SerializationError."""
    return encoder(message_type)(message)


@lru_cache(maxsize=4096)
def encoder(message_type: type) -> Callable[[object], bytes]:
    """A function that writes one message type. It raises SerializationError for what it cannot write."""
    if issubclass(message_type, betterproto.Message):
        return codec.encoder_of(message_type)
    wrong = f"message must be {message_type.__name__}, not "

    def serialize(message: object) -> bytes:
        if not isinstance(message, message_type):
            raise SerializationError(wrong + type(message).__name__)
        try:
            data: bytes = message.SerializeToString()  # type: ignore[attr-defined]  # or the error below
        except Exception as error:  # whatever a foreign class raises, it is this message that cannot be written
            raise SerializationError(f"{message_type.__name__} cannot be written: {error}") from error
        return data

    return serialize


@lru_cache(maxsize=4096)
def decoder(message_type: type) -> Callable[[bytes], object]:
    """A function that reads one message type. It raises SerializationError for bytes that are no such message."""
    if issubclass(message_type, betterproto.Message):
        return codec.decoder_of(message_type)
    name, from_string = message_type.__name__, message_type.FromString  # type: ignore[attr-defined]

    def read(data: bytes) -> object:
        try:
            message: object = from_string(data)
        except Exception as error:  # each library has its own
            raise SerializationError(f"{name} cannot be read: {error}") from error
        return message

    return read
