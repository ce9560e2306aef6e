"""The messages and methods that are measured, as betterproto's compiler writes them, on betterproto's own runtime.

gen/orbit_proto may have a faster base than `betterproto.Message`; what is compared with it must not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import List, Optional

import betterproto
from betterproto.grpc.grpclib_server import ServiceBase
from grpclib.const import Cardinality, Handler

from benchmarks.works import BROADCAST, CHECK, OPEN_STREAM, SEND

__all__ = ["List", "Optional"]


class ServingStatus(betterproto.Enum):
    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class InvocationReasonProto(betterproto.Enum):
    INVOCATION = 0
    REROUTED = 1


@dataclass(eq=False, repr=False)
class HealthCheckRequest(betterproto.Message):
    service: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class HealthCheckResponse(betterproto.Message):
    status: "ServingStatus" = betterproto.enum_field(1)


@dataclass(eq=False, repr=False)
class NodeIdProto(betterproto.Message):
    key: str = betterproto.string_field(1)
    namespace: str = betterproto.string_field(2)


@dataclass(eq=False, repr=False)
class NoKeyProto(betterproto.Message):
    pass


@dataclass(eq=False, repr=False)
class KeyProto(betterproto.Message):
    string_key: str = betterproto.string_field(1, group="key")
    int32_key: int = betterproto.int32_field(2, group="key")
    int64_key: int = betterproto.int64_field(3, group="key")
    no_key: "NoKeyProto" = betterproto.message_field(4, group="key")


@dataclass(eq=False, repr=False)
class AddressableReferenceProto(betterproto.Message):
    addressable_type: str = betterproto.string_field(1)
    key: "KeyProto" = betterproto.message_field(2)


@dataclass(eq=False, repr=False)
class InvocationRequestProto(betterproto.Message):
    reference: "AddressableReferenceProto" = betterproto.message_field(1)
    method: str = betterproto.string_field(2)
    arguments: str = betterproto.string_field(3)
    reason: "InvocationReasonProto" = betterproto.enum_field(4)


@dataclass(eq=False, repr=False)
class InvocationResponseProto(betterproto.Message):
    value: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class MessageContentProto(betterproto.Message):
    invocation_request: "InvocationRequestProto" = betterproto.message_field(4, group="content")
    invocation_response: "InvocationResponseProto" = betterproto.message_field(5, group="content")


@dataclass(eq=False, repr=False)
class MessageProto(betterproto.Message):
    message_id: int = betterproto.int64_field(1)
    source: "NodeIdProto" = betterproto.message_field(2)
    content: "MessageContentProto" = betterproto.message_field(4)
    attempts: int = betterproto.int64_field(5)


@dataclass(eq=False, repr=False)
class TransactionIdProto(betterproto.Message):
    id: str = betterproto.string_field(1)
    coordinator_node: str = betterproto.string_field(2)
    created_at: int = betterproto.int64_field(3)


@dataclass(eq=False, repr=False)
class TransactionOperationProto(betterproto.Message):
    operation_id: str = betterproto.string_field(1)
    target_actor_type: str = betterproto.string_field(2)
    target_actor_key: str = betterproto.string_field(3)
    operation_type: str = betterproto.string_field(4)
    operation_data: str = betterproto.string_field(5)
    compensation_data: Optional[str] = betterproto.string_field(6, optional=True)


@dataclass(eq=False, repr=False)
class PrepareMessage(betterproto.Message):
    transaction_id: "TransactionIdProto" = betterproto.message_field(1)
    operations: List["TransactionOperationProto"] = betterproto.message_field(2)
    timeout_ms: int = betterproto.int64_field(3)


@dataclass(eq=False, repr=False)
class TransactionMessageProto(betterproto.Message):
    prepare: "PrepareMessage" = betterproto.message_field(1, group="message_type")


@dataclass(eq=False, repr=False)
class TransactionMessageRequest(betterproto.Message):
    sender_node_id: str = betterproto.string_field(1)
    target_actor_type: str = betterproto.string_field(2)
    target_actor_key: str = betterproto.string_field(3)
    message: "TransactionMessageProto" = betterproto.message_field(4)
    timeout_ms: int = betterproto.int64_field(5)


@dataclass(eq=False, repr=False)
class TransactionMessageResponse(betterproto.Message):
    success: bool = betterproto.bool_field(1)
    error_message: str = betterproto.string_field(2)
    processing_time_ms: int = betterproto.int64_field(3)


@dataclass(eq=False, repr=False)
class BroadcastMessageRequest(betterproto.Message):
    sender_node_id: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class BroadcastMessageResponse(betterproto.Message):
    successful_sends: int = betterproto.int32_field(1)
    failed_sends: int = betterproto.int32_field(2)
    errors: List[str] = betterproto.string_field(3)


class Stub(betterproto.ServiceStub):
    """The methods of three services."""

    async def check(self, request: HealthCheckRequest, *, timeout: float) -> HealthCheckResponse:
        return await self._unary_unary(CHECK, request, HealthCheckResponse, timeout=timeout)

    async def send_transaction_message(
        self, request: TransactionMessageRequest, *, timeout: float
    ) -> TransactionMessageResponse:
        return await self._unary_unary(SEND, request, TransactionMessageResponse, timeout=timeout)

    async def broadcast_transaction_message(
        self, request: BroadcastMessageRequest, *, timeout: float
    ) -> BroadcastMessageResponse:
        return await self._unary_unary(BROADCAST, request, BroadcastMessageResponse, timeout=timeout)

    async def open_stream(self, messages: AsyncIterator[MessageProto]) -> AsyncIterator[MessageProto]:
        async for reply in self._stream_stream(OPEN_STREAM, messages, MessageProto, MessageProto):
            yield reply


class Base(ServiceBase):
    """Their server side; the subclass answers."""

    async def check(self, request: HealthCheckRequest) -> HealthCheckResponse:
        raise NotImplementedError

    async def send_transaction_message(self, request: TransactionMessageRequest) -> TransactionMessageResponse:
        raise NotImplementedError

    async def broadcast_transaction_message(self, request: BroadcastMessageRequest) -> BroadcastMessageResponse:
        raise NotImplementedError

    def open_stream(self, messages: AsyncIterator[MessageProto]) -> AsyncIterator[MessageProto]:
        raise NotImplementedError

    def __mapping__(self) -> dict[str, Handler]:
        unary, kinds = Cardinality.UNARY_UNARY, Cardinality.STREAM_STREAM
        return {
            CHECK: Handler(self._check, unary, HealthCheckRequest, HealthCheckResponse),
            SEND: Handler(self._send, unary, TransactionMessageRequest, TransactionMessageResponse),
            BROADCAST: Handler(self._broadcast, unary, BroadcastMessageRequest, BroadcastMessageResponse),
            OPEN_STREAM: Handler(self._open_stream, kinds, MessageProto, MessageProto),
        }

    async def _check(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.send_message(await self.check(await stream.recv_message()))

    async def _send(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.send_message(await self.send_transaction_message(await stream.recv_message()))

    async def _broadcast(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.send_message(await self.broadcast_transaction_message(await stream.recv_message()))

    async def _open_stream(self, stream) -> None:  # type: ignore[no-untyped-def]
        await self._call_rpc_handler_server_stream(self.open_stream, stream, stream.__aiter__())
