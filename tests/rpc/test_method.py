"""Messages of any library, as bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import betterproto
import pytest
from grpclib.const import Cardinality

from orbit_lite.errors import SerializationError
from orbit_lite.rpc.method import Method, decoder, encode, wrapped_method


@dataclass(eq=False, repr=False)
class Note(betterproto.Message):
    text: str = betterproto.string_field(1)


class Foreign:
    """A message class of another library: it serializes itself."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def SerializeToString(self) -> bytes:  # noqa: N802  # the name that google.protobuf gave it
        if self.data == b"bad":
            raise RuntimeError("cannot")
        return self.data

    @classmethod
    def FromString(cls, data: bytes) -> Foreign:  # noqa: N802
        if data == b"bad":
            raise RuntimeError("cannot")
        return cls(data)


@pytest.mark.parametrize(
    ("cardinality", "unary"),
    [
        (Cardinality.UNARY_UNARY, True),
        (Cardinality.UNARY_STREAM, False),
        (Cardinality.STREAM_UNARY, False),
        (Cardinality.STREAM_STREAM, False),
    ],
)
def test_a_method_knows_its_shape(cardinality: Cardinality, unary: bool) -> None:
    method = Method.of("/s/M", cardinality, Note, Foreign)
    assert method.is_unary is unary
    assert method.client_streaming is cardinality.client_streaming
    assert method.server_streaming is cardinality.server_streaming


def test_betterproto_messages_go_through_the_codec() -> None:
    data = encode(Note(text="zwölf"), Note)
    assert data == b"\x0a\x06zw\xc3\xb6lf"
    message = decoder(Note)(data)
    assert isinstance(message, Note)
    assert message.text == "zwölf"


def test_other_messages_serialize_themselves() -> None:
    assert encode(Foreign(b"x"), Foreign) == b"x"
    message = decoder(Foreign)(b"y")
    assert isinstance(message, Foreign)
    assert message.data == b"y"


def test_bytes_that_are_no_message_raise_a_serialization_error() -> None:
    for kind, data in ((Note, b"\x0a\xff"), (Foreign, b"bad")):
        with pytest.raises(SerializationError):
            decoder(kind)(data)


def test_a_message_that_cannot_be_written_raises_a_serialization_error() -> None:
    with pytest.raises(SerializationError, match="Foreign cannot be written"):
        encode(Foreign(b"bad"), Foreign)


def test_a_message_of_another_type_is_refused_before_anything_is_sent() -> None:
    method = Method.of("/s/M", Cardinality.UNARY_UNARY, Note, Foreign)
    with pytest.raises(SerializationError, match="must be Note, not Foreign"):
        method.encode_request(Foreign(b""))
    with pytest.raises(SerializationError, match="must be Foreign, not Note"):
        method.encode_reply(Note())


class PlainService:
    """As betterproto generates it."""

    async def double(self, request: Note) -> Note:
        return Note(request.text * 2)

    async def __rpc_double(self, stream: Any) -> None:
        request = await stream.recv_message()
        response = await self.double(request)
        await stream.send_message(response)

    async def __rpc_answer(self, stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_trailing_metadata()
        response = await self.double(request)
        await stream.send_message(response)

    def handlers(self) -> tuple[Callable[..., object], Callable[..., object]]:
        return self.__rpc_double, self.__rpc_answer


def test_the_method_inside_a_generated_handler_is_found() -> None:
    service = PlainService()
    generated, _ = service.handlers()
    assert wrapped_method(generated) == service.double


def test_a_subclass_that_overrides_the_method_is_heeded() -> None:
    class Louder(PlainService):
        async def double(self, request: Note) -> Note:
            return Note(request.text.upper())

    service = Louder()
    assert wrapped_method(service.handlers()[0]) == service.double


def test_a_handler_that_does_anything_else_is_left_as_it_is() -> None:
    service = PlainService()
    _, other = service.handlers()
    assert wrapped_method(other) is None
    assert wrapped_method(service.double) is None
    assert wrapped_method(len) is None
