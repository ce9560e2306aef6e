"""Messages of an actor stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orbit_lite.converters import (
    ConnectionInfoResponseConverter,
    InvocationReasonConverter,
    InvocationRequestConverter,
    MessageContentConverter,
    MessageConverter,
    MessageTargetConverter,
)
from orbit_lite.converters.presence import build
from orbit_lite.errors import ConversionError
from orbit_lite.model import (
    AddressableReference,
    ErrorContent,
    InfoRequest,
    InvocationReason,
    InvocationRequest,
    InvocationResponse,
    Message,
    NodeId,
    RoutedUnicast,
    Unicast,
)
from orbit_proto.orbit.shared import (
    AddressableReferenceProto,
    ConnectionInfoResponseProto,
    ErrorProto,
    InvocationReasonProto,
    InvocationRequestProto,
    InvocationResponseProto,
    KeyProto,
    MessageContentProto,
    MessageProto,
    MessageTargetProto,
    MessageTargetProtoRoutedUnicast,
    MessageTargetProtoUnicast,
    NodeIdProto,
)

if TYPE_CHECKING:
    from tests.converters.conftest import Wire

ERROR = MessageContentProto(error=ErrorProto("x"))
NAMELESS = NodeIdProto(namespace="default")


# Orbit-RS's bytes

FIRST_CALL = (
    b"\x08\x01"  # message_id; no source
    b"\x1a\x15\x0a\x13\x0a\x11\x0a\x06server\x12\x07default"  # target: unicast to default:server
    b"\x22\x13\x22\x11"  # content: invocation_request
    b"\x0a\x08\x0a\x01A\x12\x03\x0a\x01k\x12\x01m\x1a\x02[]"  # A:k, m, []; reason INVOCATION is zero
)


def test_the_first_call_of_an_orbit_rs_client(wire: Wire) -> None:
    message = Message(
        1, InvocationRequest(AddressableReference.of("A", "k"), "m"), target=Unicast(NodeId("server", "default"))
    )
    assert MessageConverter.from_proto(wire.decode(MessageProto, FIRST_CALL)) == message
    assert wire.encode(MessageConverter.to_proto(message)) == FIRST_CALL


def test_an_answer_to_a_peer_without_a_name_has_an_empty_target(wire: Wire) -> None:
    answer = Message(7, InvocationResponse("1"), source=NodeId("a", ""), target=Unicast())
    data = b"\x08\x07\x12\x03\x0a\x01a\x1a\x02\x0a\x00\x22\x05\x2a\x03\x0a\x011"
    assert wire.encode(MessageConverter.to_proto(answer)) == data
    assert MessageConverter.from_proto(wire.decode(MessageProto, data)) == answer


def test_contents_without_fields_are_sent(wire: Wire) -> None:
    assert wire.encode(MessageContentConverter.to_proto(InfoRequest())) == b"\x12\x00"
    assert wire.encode(MessageContentConverter.to_proto(ErrorContent(""))) == b"\x0a\x00"
    assert MessageContentConverter.from_proto(wire.decode(MessageContentProto, b"\x12\x00")) == InfoRequest()
    assert MessageContentConverter.from_proto(wire.decode(MessageContentProto, b"\x0a\x00")) == ErrorContent("")


# Reasons


@pytest.mark.parametrize("reason", InvocationReason)
def test_every_reason_comes_back(reason: InvocationReason) -> None:
    proto = InvocationReasonConverter.to_proto(reason)
    assert proto.name == reason.name
    assert InvocationReasonConverter.from_proto(proto) is reason


@pytest.mark.parametrize("number", [2, -1, (1 << 31) - 1])
def test_an_unknown_reason_is_an_invocation_as_in_orbit_rs(number: int) -> None:
    assert InvocationReasonConverter.from_proto(number) is InvocationReason.INVOCATION
    reason = InvocationReasonProto.try_value(number)
    request = build(InvocationRequestProto, reference=reference(), reason=reason)
    assert InvocationRequestConverter.from_proto(request).reason is InvocationReason.INVOCATION


def reference() -> AddressableReferenceProto:
    return AddressableReferenceProto("A", KeyProto(string_key="k"))


# Missing and contradictory


@pytest.mark.parametrize(
    ("converter", "message", "field"),
    [
        (MessageConverter, MessageProto(1), "content"),
        (MessageConverter, MessageProto(1, content=build(MessageContentProto)), "content.content"),
        (MessageConverter, MessageProto(1 << 63, content=ERROR), "message_id"),
        (MessageConverter, MessageProto(1, source=NAMELESS, content=ERROR), "source.key"),
        (MessageConverter, MessageProto(1, target=build(MessageTargetProto), content=ERROR), "target.target"),
        (MessageTargetConverter, MessageTargetProto(), "target"),
        (
            MessageTargetConverter,
            MessageTargetProto(unicast_target=MessageTargetProtoUnicast(NAMELESS)),
            "unicast_target.target.key",
        ),
        (
            MessageTargetConverter,
            MessageTargetProto(routed_unicast_target=MessageTargetProtoRoutedUnicast()),
            "routed_unicast_target.target",
        ),
        (
            MessageTargetConverter,
            MessageTargetProto(routed_unicast_target=MessageTargetProtoRoutedUnicast([NodeIdProto("a"), NAMELESS])),
            "routed_unicast_target.target[1].key",
        ),
        (
            MessageContentConverter,
            MessageContentProto(error=ErrorProto("x"), invocation_response=InvocationResponseProto("1")),
            "content",
        ),
        (MessageContentConverter, build(MessageContentProto, info_request=1), "info_request"),
        (
            MessageContentConverter,
            MessageContentProto(info_response=ConnectionInfoResponseProto()),
            "info_response.node_id",
        ),
        (
            MessageContentConverter,
            MessageContentProto(invocation_request=InvocationRequestProto()),
            "invocation_request.reference",
        ),
        (InvocationRequestConverter, InvocationRequestProto(method="m"), "reference"),
        (InvocationRequestConverter, InvocationRequestProto(AddressableReferenceProto("A")), "reference.key"),
        (ConnectionInfoResponseConverter, ConnectionInfoResponseProto(), "node_id"),
    ],
)
def test_what_is_missing_or_contradictory_is_named(converter: Any, message: object, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter.from_proto(message)
    assert caught.value.field == field


def test_a_path_without_a_goal_is_not_sent() -> None:
    with pytest.raises(ConversionError, match="target: missing"):
        MessageTargetConverter.to_proto(RoutedUnicast(()))


def test_a_message_may_leave_out_source_and_target() -> None:
    message = MessageConverter.from_proto(MessageProto(content=ERROR))
    assert (message.source, message.target, message.message_id, message.attempts) == (None, None, 0, 0)


def test_looking_at_source_and_target_does_not_make_them_present() -> None:
    proto = MessageProto(1, content=ERROR)
    assert (proto.source.key, proto.target.unicast_target if proto.target.is_set("unicast_target") else "") == ("", "")
    message = MessageConverter.from_proto(proto)
    assert (message.source, message.target) == (None, None)
