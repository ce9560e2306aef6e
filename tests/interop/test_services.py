"""A grpcio client calls Orbit's services, with google.protobuf's messages built from the shipped descriptors."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from typing import Any

import pytest

from orbit_lite.errors import InvocationFailed
from orbit_lite.model import (
    AddressableReference,
    InvocationRequest,
    Json,
    NodeCapabilities,
    NodeId,
    NodeInfo,
    NodeStatus,
    TransactionMessage,
    TransactionState,
)
from orbit_lite.rpc import Server
from orbit_lite.services import (
    ActorListing,
    Announcement,
    DrainSummary,
    GrpcHealthService,
    HealthState,
    NodeAdminService,
    NodeReport,
    NodeView,
    OrbitConnectionService,
    OrbitHealthService,
    OrbitTransactionService,
    ServingStatus,
    reflection_services,
)

pytest.importorskip("grpc", reason="grpcio has no wheel for this Python")
pytestmark = pytest.mark.interop

NODE = NodeId("interop")
INFO = NodeInfo(NODE, "http://127.0.0.1:1", 1, NodeCapabilities(("Echo",)), NodeStatus.ACTIVE)


class Handler:
    """Serves invocations by echoing them; `wait` answers after `go`, `fail` fails."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        if request.method == "wait":
            await self.go.wait()
        if request.method == "go":
            self.go.set()
        if request.method == "fail":
            raise InvocationFailed.of(request.method, request.reference.addressable_type, "läuft nicht ☺")
        return [request.method, json.loads(request.arguments)]


class Participant:
    """Takes every transaction message and keeps it."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def handle(self, target: AddressableReference, message: TransactionMessage, *, sender: NodeId) -> None:
        self.received.append(f"{type(message).__name__} to {target} from {sender}")

    async def status(self, transaction_id: str) -> tuple[TransactionState, tuple[AddressableReference, ...]] | None:
        return None


class Administration:
    """A node as its administration sees it."""

    async def status(self) -> NodeReport:
        return NodeReport(node=INFO, cluster_id="c", version="1", python="3", uptime=1.5)

    async def nodes(self) -> Sequence[NodeView]:
        return (NodeView(node=INFO, reachable=True, is_self=True),)

    async def actors(self, addressable_type: str | None, limit: int | None) -> ActorListing:
        return ActorListing((), 0)

    async def drain(self, timeout: float | None, *, stop: bool) -> DrainSummary:
        return DrainSummary(3, 1)

    async def announce(self, announcement: Announcement) -> Announcement:
        return Announcement(INFO, "c", 7)


class Messages:
    """google.protobuf classes by full name."""

    def __init__(self) -> None:
        descriptor_pool = importlib.import_module("google.protobuf.descriptor_pool")
        descriptor_pb2 = importlib.import_module("google.protobuf.descriptor_pb2")
        self.factory = importlib.import_module("google.protobuf.message_factory")
        self.pool = descriptor_pool.DescriptorPool()
        data = files("orbit_proto").joinpath("descriptors.binpb").read_bytes()
        for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
            self.pool.Add(file)

    def __call__(self, name: str) -> Any:
        return self.factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def method(self, channel: Any, path: str) -> Any:
        """A grpcio callable of `package.Service/Method`."""
        service, _, name = path.partition("/")
        descriptor = self.pool.FindServiceByName(service).FindMethodByName(name)
        ends = [
            "stream" if streaming else "unary"
            for streaming in (descriptor.client_streaming, descriptor.server_streaming)
        ]
        return getattr(channel, "_".join(ends))(
            f"/{path}",
            request_serializer=self.factory.GetMessageClass(descriptor.input_type).SerializeToString,
            response_deserializer=self.factory.GetMessageClass(descriptor.output_type).FromString,
        )


@pytest.fixture(scope="module")
def messages() -> Messages:
    return Messages()


@pytest.fixture
def health() -> HealthState:
    return HealthState()


@pytest.fixture
def participant() -> Participant:
    return Participant()


@pytest.fixture
async def server(health: HealthState, participant: Participant) -> AsyncIterator[Server]:
    transactions = OrbitTransactionService(NODE)
    transactions.set_default_handler(participant)
    services: list[Any] = [
        OrbitConnectionService(NODE, Handler()),
        OrbitHealthService(health),
        GrpcHealthService(health),
        transactions,
        NodeAdminService(Administration()),
        *reflection_services(["orbit.shared.ConnectionService"]),
    ]
    async with Server(services) as server:
        await server.start("127.0.0.1", 0)
        yield server


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[Any]:
    aio = importlib.import_module("grpc.aio")
    async with aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


async def test_the_standard_health_service_answers_its_own_client(channel: Any, health: HealthState) -> None:
    health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2", reason="grpcio-health-checking is not installed")
    health_pb2_grpc = importlib.import_module("grpc_health.v1.health_pb2_grpc")
    grpc = importlib.import_module("grpc")
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="unknown"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    health.set("", ServingStatus.NOT_SERVING)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()


async def test_orbits_health_service_answers(channel: Any, messages: Messages) -> None:
    check = messages.method(channel, "orbit.shared.HealthService/Check")
    answer = await check(messages("orbit.shared.HealthCheckRequest")())
    assert answer.status == 1


async def test_a_node_tells_who_it_is(channel: Any, messages: Messages) -> None:
    method = messages.method(channel, "orbit.shared.ConnectionService/GetConnectionInfo")
    answer = await method(messages("orbit.shared.ConnectionInfoRequestProto")())
    assert (answer.node_id.key, answer.node_id.namespace) == ("interop", "default")


async def test_invocations_on_a_stream_are_answered_in_any_order(channel: Any, messages: Messages) -> None:
    def request(message_id: int, method: str, arguments: Json) -> Any:
        message = messages("orbit.shared.MessageProto")(message_id=message_id)
        message.target.unicast_target.target.key = "server"
        message.target.unicast_target.target.namespace = "default"
        content = message.content.invocation_request
        content.reference.addressable_type = "Echo"
        content.reference.key.string_key = "ä"
        content.method = method
        content.arguments = json.dumps(arguments)
        return message

    call = messages.method(channel, "orbit.shared.ConnectionService/OpenStream")()
    await call.write(request(1, "wait", []))
    await call.write(request(2, "echo", ["☺", 7]))
    second = await call.read()
    assert second.message_id == 2
    assert json.loads(second.content.invocation_response.value) == ["echo", ["☺", 7]]
    assert second.source.key == "interop"
    await call.write(request(3, "fail", []))
    third = await call.read()
    assert third.content.invocation_response_error.description == "Invocation failed: fail on Echo - läuft nicht ☺"
    await call.write(request(4, "go", []))
    last = [await call.read() for _ in range(2)]
    assert {reply.message_id for reply in last} == {1, 4}
    await call.done_writing()
    grpc = importlib.import_module("grpc")
    assert await call.code() is grpc.StatusCode.OK


async def test_transaction_messages_reach_their_participant_once(
    channel: Any, messages: Messages, participant: Participant
) -> None:
    send = messages.method(channel, "orbit.transactions.TransactionService/SendTransactionMessage")
    request = messages("orbit.transactions.TransactionMessageRequest")(
        sender_node_id="(default:coordinator)", target_actor_type="Account", target_actor_key="ä"
    )
    identity = request.message.commit.transaction_id
    identity.id, identity.coordinator_node, identity.created_at = "t-1", "(default:coordinator)", 1_700_000_000_000
    for _ in range(2):
        assert (await send(request)).success
    assert participant.received == ["Commit to Account:ä from (default:coordinator)"]

    broadcast = messages.method(channel, "orbit.transactions.TransactionService/BroadcastTransactionMessage")
    to_all = messages("orbit.transactions.BroadcastMessageRequest")(
        sender_node_id="coordinator", message=request.message
    )
    for key in "bc":
        to_all.targets.add(actor_type="Account", actor_key=key)
    answer = await broadcast(to_all)
    assert (answer.successful_sends, answer.failed_sends, list(answer.errors)) == (2, 0, [])

    check = messages.method(channel, "orbit.transactions.TransactionService/TransactionHealthCheck")
    assert (await check(messages("orbit.transactions.HealthCheckRequest")(node_id="x"))).status == 1
    status = messages.method(channel, "orbit.transactions.TransactionService/GetTransactionStatus")
    asked = messages("orbit.transactions.TransactionStatusRequest")()
    asked.transaction_id.CopyFrom(identity)
    assert not (await status(asked)).found


async def test_a_node_is_administered(channel: Any, messages: Messages) -> None:
    def method(name: str) -> Any:
        return messages.method(channel, f"orbit.lite.NodeAdmin/{name}")

    report = await method("GetStatus")(messages("orbit.lite.GetStatusRequest")())
    assert (report.node.id.key, report.cluster_id, report.uptime_ms) == ("interop", "c", 1500)
    nodes = await method("ListNodes")(messages("orbit.lite.ListNodesRequest")())
    assert [view.node.id.key for view in nodes.nodes] == ["interop"]
    await method("ListActors")(messages("orbit.lite.ListActorsRequest")())
    drained = await method("Drain")(messages("orbit.lite.DrainRequest")())  # loopback may
    assert str(drained)
    announcement = messages("orbit.lite.AnnounceRequest")(node=report.node, cluster_id="c", incarnation=1)
    assert (await method("Announce")(announcement)).incarnation == 7


async def test_every_method_understands_an_empty_request(server: Server, channel: Any, messages: Messages) -> None:
    """Nothing crashes, nothing hangs: an answer, or a status that says what is missing."""
    grpc = importlib.import_module("grpc")
    allowed = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "DEADLINE_EXCEEDED"}
    for path in server.methods:
        service, _, name = path[1:].partition("/")
        descriptor = messages.pool.FindServiceByName(service).FindMethodByName(name)
        request = messages.factory.GetMessageClass(descriptor.input_type)()
        method = messages.method(channel, path[1:])
        call = method(iter([request]) if descriptor.client_streaming else request, timeout=0.2)
        try:
            if descriptor.server_streaming:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.RpcError:
            pass
        assert (await call.code()).name in allowed, path


async def test_the_services_reflect_themselves_to_grpcios_client(server: Server) -> None:
    database_module = pytest.importorskip(
        "grpc_reflection.v1alpha.proto_reflection_descriptor_database", reason="grpcio-reflection is not installed"
    )
    grpc = importlib.import_module("grpc")

    def ask() -> tuple[set[str], list[str]]:
        descriptor_pool = importlib.import_module("google.protobuf.descriptor_pool")
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            database = database_module.ProtoReflectionDescriptorDatabase(channel)
            pool = descriptor_pool.DescriptorPool(database)
            service = pool.FindServiceByName("orbit.shared.ConnectionService")
            return set(database.get_services()), [method.name for method in service.methods]

    services, methods = await asyncio.to_thread(ask)
    assert {"orbit.shared.ConnectionService", "grpc.reflection.v1.ServerReflection"} <= services
    assert methods == ["OpenStream", "GetConnectionInfo"]


async def test_an_unknown_service_is_unimplemented_with_a_text(channel: Any) -> None:
    grpc = importlib.import_module("grpc")
    with pytest.raises(grpc.RpcError) as caught:
        await channel.unary_unary("/unknown.Service/Method")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "unknown method /unknown.Service/Method"
