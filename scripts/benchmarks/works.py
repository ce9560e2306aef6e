"""The messages that are sent, in three runtimes: orbit-lite's, betterproto's own, google.protobuf's.

Constructors and attributes are the same in all of them, so one expression builds and one function reads for all; every
call builds its request afresh, and the handler reads every field of it.
"""

from __future__ import annotations

import importlib
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

SHARED = "orbit.shared"
TRANSACTIONS = "orbit.transactions"
MESSAGES = {
    SHARED: (
        "AddressableReferenceProto",
        "HealthCheckRequest",
        "HealthCheckResponse",
        "InvocationRequestProto",
        "InvocationResponseProto",
        "KeyProto",
        "MessageContentProto",
        "MessageProto",
        "NodeIdProto",
    ),
    TRANSACTIONS: (
        "BroadcastMessageRequest",
        "BroadcastMessageResponse",
        "PrepareMessage",
        "TransactionIdProto",
        "TransactionMessageProto",
        "TransactionMessageRequest",
        "TransactionMessageResponse",
        "TransactionOperationProto",
    ),
}
CHECK = "/orbit.shared.HealthService/Check"
OPEN_STREAM = "/orbit.shared.ConnectionService/OpenStream"
SEND = "/orbit.transactions.TransactionService/SendTransactionMessage"
BROADCAST = "/orbit.transactions.TransactionService/BroadcastTransactionMessage"

SERVING = 1
TIMEOUT = 30.0  # seconds: the deadline of every unary call
DATA = '{"amount":125,"currency":"EUR","from":"alice","reference":"order 4711"}'
UNDO = '{"amount":-125,"reason":"rolled back"}'


class WrongMessage(Exception):
    """A peer received something else than what was sent: what was measured is worth nothing."""


def check(ok: object) -> None:
    if not ok:
        raise WrongMessage("a message arrived with other fields than it was sent with")


def generated() -> Any:
    """The classes that orbit-lite ships."""
    return _from_modules("orbit_proto.orbit.shared", "orbit_proto.orbit.transactions")


def plain() -> Any:
    """The same messages on betterproto's own runtime."""
    return _from_modules("benchmarks.plain", "benchmarks.plain")


def _from_modules(shared: str, transactions: str) -> Any:
    found: dict[str, Any] = {}
    for package, module in ((SHARED, shared), (TRANSACTIONS, transactions)):
        found |= {name: getattr(importlib.import_module(module), name) for name in MESSAGES[package]}
    return SimpleNamespace(**found)


def google() -> Any:
    """google.protobuf's, built from the shipped descriptors; upb unless the environment asks for pure Python."""
    descriptor_pb2 = importlib.import_module("google.protobuf.descriptor_pb2")
    pool = importlib.import_module("google.protobuf.descriptor_pool").DescriptorPool()
    factory = importlib.import_module("google.protobuf.message_factory")
    content = files("orbit_proto").joinpath("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        pool.Add(file)
    return SimpleNamespace(**{
        name: factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for package, names in MESSAGES.items()
        for name in names
    })  # fmt: skip


# ---------------------------------------------------------------- tiny: one short string


def make_tiny(schema: Any) -> Any:
    return schema.HealthCheckRequest(service="orbit")


def answer_tiny(schema: Any, request: Any) -> Any:
    check(request.service)
    return schema.HealthCheckResponse(status=SERVING)


def read_tiny(reply: Any) -> None:
    check(reply.status == SERVING)


# ---------------------------------------------------------------- typical: five nested messages, 261 bytes


def make_typical(schema: Any) -> Any:
    return schema.TransactionMessageRequest(
        sender_node_id="(default:node-1)",
        target_actor_type="Account",
        target_actor_key="alice",
        message=schema.TransactionMessageProto(
            prepare=schema.PrepareMessage(
                transaction_id=schema.TransactionIdProto(
                    id="7d9c2c1e-5b1f-4e0a-9f0e-2f6f0f6f5a11",
                    coordinator_node="(default:node-1)",
                    created_at=1_767_225_600_000,
                ),
                operations=[
                    schema.TransactionOperationProto(
                        operation_id="op-1",
                        target_actor_type="Account",
                        target_actor_key="alice",
                        operation_type="withdraw",
                        operation_data=DATA,
                        compensation_data=UNDO,
                    )
                ],
                timeout_ms=30_000,
            )
        ),
        timeout_ms=30_000,
    )


def read_request(request: Any) -> bool:
    """Every field of a typical request."""
    prepare = request.message.prepare
    transaction = prepare.transaction_id
    complete = bool(
        request.sender_node_id
        and request.target_actor_type
        and request.target_actor_key
        and request.timeout_ms
        and prepare.timeout_ms
        and transaction.id
        and transaction.coordinator_node
        and transaction.created_at
    )
    for operation in prepare.operations:
        complete = complete and bool(
            operation.operation_id
            and operation.target_actor_type
            and operation.target_actor_key
            and operation.operation_type
            and operation.operation_data
            and operation.compensation_data
        )
    return complete


def answer_typical(schema: Any, request: Any) -> Any:
    return schema.TransactionMessageResponse(success=read_request(request), processing_time_ms=1)


def read_typical(reply: Any) -> None:
    check(reply.success and reply.processing_time_ms == 1)


# ---------------------------------------------------------------- payload: one string of any length, both ways


def make_payload(schema: Any, text: str) -> Any:
    return schema.BroadcastMessageRequest(sender_node_id=text)


def answer_payload(schema: Any, request: Any) -> Any:
    return schema.BroadcastMessageResponse(errors=[request.sender_node_id])


def read_payload(reply: Any, text: str) -> None:
    check(len(reply.errors[0]) == len(text))


# ---------------------------------------------------------------- stream: 81 bytes


def make_message(schema: Any, number: int) -> Any:
    return schema.MessageProto(
        message_id=number,
        source=schema.NodeIdProto(key="node-1", namespace="default"),
        content=schema.MessageContentProto(
            invocation_request=schema.InvocationRequestProto(
                reference=schema.AddressableReferenceProto(
                    addressable_type="Account", key=schema.KeyProto(string_key="alice")
                ),
                method="deposit",
                arguments='[125,"EUR","order 4711"]',
            )
        ),
    )


def answer_message(schema: Any, message: Any) -> Any:
    request = message.content.invocation_request
    reference = request.reference
    check(
        message.source.key
        and message.source.namespace
        and request.method
        and request.arguments
        and reference.addressable_type
        and reference.key.string_key
    )
    return schema.MessageProto(
        message_id=message.message_id,
        content=schema.MessageContentProto(
            invocation_response=schema.InvocationResponseProto(value='{"balance":1250,"currency":"EUR","version":17}')
        ),
    )


def read_message(reply: Any, number: int) -> None:
    check(reply.message_id == number and reply.content.invocation_response.value)


#: Bytes of each work's request as the raw echo sends them; without a payload's own.
SIZES = {"tiny": 7, "typical": 261, "payload": 0, "stream": 81}
