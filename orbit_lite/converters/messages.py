"""What travels on an actor stream (orbit.shared.MessageProto)."""

from __future__ import annotations

from collections.abc import Callable

from orbit_lite.converters.keys import AddressableReferenceConverter
from orbit_lite.converters.nodes import NodeIdConverter
from orbit_lite.converters.presence import build, each, fields, int32, int64, one_of, optional, required, text
from orbit_lite.errors import ConversionError
from orbit_lite.model import (
    Content,
    ErrorContent,
    InfoRequest,
    InfoResponse,
    InvocationError,
    InvocationReason,
    InvocationRequest,
    InvocationResponse,
    Message,
    RoutedUnicast,
    Target,
    Unicast,
)
from orbit_proto.orbit.shared import (
    ConnectionInfoRequestProto,
    ConnectionInfoResponseProto,
    ErrorProto,
    InvocationReasonProto,
    InvocationRequestProto,
    InvocationResponseErrorProto,
    InvocationResponseProto,
    MessageContentProto,
    MessageProto,
    MessageTargetProto,
    MessageTargetProtoRoutedUnicast,
    MessageTargetProtoUnicast,
)

__all__ = [
    "ConnectionInfoResponseConverter",
    "InvocationReasonConverter",
    "InvocationRequestConverter",
    "MessageContentConverter",
    "MessageConverter",
    "MessageTargetConverter",
]


class InvocationReasonConverter:
    """InvocationReason ⇄ InvocationReasonProto.

    The one enum whose unknown numbers are no error: Orbit-RS reads them as INVOCATION, and so do we. Nothing is at
    stake: the hops of a re-routed message are counted in `attempts`.
    """

    @staticmethod
    def to_proto(value: InvocationReason) -> InvocationReasonProto:
        return InvocationReasonProto(value.value)

    @staticmethod
    def from_proto(proto: InvocationReasonProto | int) -> InvocationReason:
        return InvocationReason.REROUTED if proto == InvocationReason.REROUTED.value else InvocationReason.INVOCATION


class MessageTargetConverter:
    """Target ⇄ MessageTargetProto. A path without a node has no goal and is an error."""

    @staticmethod
    def to_proto(value: Target) -> MessageTargetProto:
        match value:
            case Unicast(target):
                node = None if target is None else NodeIdConverter.to_proto(target)
                return build(MessageTargetProto, unicast_target=build(MessageTargetProtoUnicast, target=node))
            case RoutedUnicast(path):
                _check_path(path)
                routed = build(
                    MessageTargetProtoRoutedUnicast, target=[NodeIdConverter.to_proto(node) for node in path]
                )
                return build(MessageTargetProto, routed_unicast_target=routed)

    @staticmethod
    def from_proto(proto: MessageTargetProto) -> Target:
        return one_of(fields(proto), "target", _TARGETS)


def _unicast(proto: MessageTargetProtoUnicast) -> Unicast:
    # Without a node it answers a peer that did not say who it is; Orbit-RS sends it so.
    return Unicast(optional(fields(proto), "target", NodeIdConverter.from_proto))


def _routed_unicast(proto: MessageTargetProtoRoutedUnicast) -> RoutedUnicast:
    path = each(fields(proto), "target", NodeIdConverter.from_proto)
    _check_path(path)
    return RoutedUnicast(path)


def _check_path(path: tuple[object, ...]) -> None:
    if not path:
        raise ConversionError("target", "missing: a path without a node has no goal")


_TARGETS: dict[str, Callable[..., Target]] = {"unicast_target": _unicast, "routed_unicast_target": _routed_unicast}


class InvocationRequestConverter:
    """InvocationRequest ⇄ InvocationRequestProto. The arguments stay text: whoever calls the actor reads them."""

    @staticmethod
    def to_proto(value: InvocationRequest) -> InvocationRequestProto:
        return build(
            InvocationRequestProto,
            reference=AddressableReferenceConverter.to_proto(value.reference),
            method=value.method,
            arguments=value.arguments,
            reason=InvocationReasonConverter.to_proto(value.reason),
        )

    @staticmethod
    def from_proto(proto: InvocationRequestProto) -> InvocationRequest:
        state = fields(proto)
        return InvocationRequest(
            required(state, "reference", AddressableReferenceConverter.from_proto),
            text(state, "method"),
            text(state, "arguments"),
            InvocationReasonConverter.from_proto(int32(state, "reason")),
        )


class ConnectionInfoResponseConverter:
    """InfoResponse ⇄ ConnectionInfoResponseProto, which is also the answer of GetConnectionInfo."""

    @staticmethod
    def to_proto(value: InfoResponse) -> ConnectionInfoResponseProto:
        return build(ConnectionInfoResponseProto, node_id=NodeIdConverter.to_proto(value.node_id))

    @staticmethod
    def from_proto(proto: ConnectionInfoResponseProto) -> InfoResponse:
        return InfoResponse(required(fields(proto), "node_id", NodeIdConverter.from_proto))


class MessageContentConverter:
    """Content ⇄ MessageContentProto. An unset oneof is an error."""

    @staticmethod
    def to_proto(value: Content) -> MessageContentProto:
        match value:
            case InvocationRequest():
                return build(MessageContentProto, invocation_request=InvocationRequestConverter.to_proto(value))
            case InvocationResponse(result):
                return build(MessageContentProto, invocation_response=build(InvocationResponseProto, value=result))
            case InvocationError(description, platform):
                error = build(InvocationResponseErrorProto, description=description, platform=platform)
                return build(MessageContentProto, invocation_response_error=error)
            case ErrorContent(description):
                return build(MessageContentProto, error=build(ErrorProto, description=description))
            case InfoRequest():
                return build(MessageContentProto, info_request=build(ConnectionInfoRequestProto))
            case InfoResponse():
                return build(MessageContentProto, info_response=ConnectionInfoResponseConverter.to_proto(value))

    @staticmethod
    def from_proto(proto: MessageContentProto) -> Content:
        return one_of(fields(proto), "content", _CONTENTS)


def _error(proto: ErrorProto) -> ErrorContent:
    return ErrorContent(text(fields(proto), "description"))


def _info_request(proto: ConnectionInfoRequestProto) -> InfoRequest:
    fields(proto)
    return InfoRequest()


def _invocation_response(proto: InvocationResponseProto) -> InvocationResponse:
    return InvocationResponse(text(fields(proto), "value"))


def _invocation_error(proto: InvocationResponseErrorProto) -> InvocationError:
    state = fields(proto)
    return InvocationError(text(state, "description"), text(state, "platform"))


_CONTENTS: dict[str, Callable[..., Content]] = {
    "error": _error,
    "info_request": _info_request,
    "info_response": ConnectionInfoResponseConverter.from_proto,
    "invocation_request": InvocationRequestConverter.from_proto,
    "invocation_response": _invocation_response,
    "invocation_response_error": _invocation_error,
}


class MessageConverter:
    """Message ⇄ MessageProto. Source and target may be left out, the content may not."""

    @staticmethod
    def to_proto(value: Message) -> MessageProto:
        return build(
            MessageProto,
            message_id=value.message_id,
            source=None if value.source is None else NodeIdConverter.to_proto(value.source),
            target=None if value.target is None else MessageTargetConverter.to_proto(value.target),
            content=MessageContentConverter.to_proto(value.content),
            attempts=value.attempts,
        )

    @staticmethod
    def from_proto(proto: MessageProto) -> Message:
        state = fields(proto)
        return Message(
            int64(state, "message_id"),
            required(state, "content", MessageContentConverter.from_proto),
            optional(state, "source", NodeIdConverter.from_proto),
            optional(state, "target", MessageTargetConverter.from_proto),
            int64(state, "attempts"),
        )
