"""A grpcio client calls Orbit's services, with google.protobuf's messages built from the shipped descriptors."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest

from orbit_lite.errors import InvocationFailed
from orbit_lite.model import InvocationRequest, Json, NodeId
from orbit_lite.rpc import Server
from orbit_lite.services import (
    GrpcHealthService,
    HealthState,
    OrbitConnectionService,
    OrbitHealthService,
    ServingStatus,
    reflection_services,
)

pytest.importorskip("grpc", reason="grpcio has no wheel for this Python")
pytestmark = pytest.mark.interop

NODE = NodeId("interop")


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
async def server(health: HealthState) -> AsyncIterator[Server]:
    served = ["orbit.shared.ConnectionService", "orbit.shared.HealthService", "grpc.health.v1.Health"]
    services: list[Any] = [
        OrbitConnectionService(NODE, Handler()),
        OrbitHealthService(health),
        GrpcHealthService(health),
        *reflection_services(served),
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
