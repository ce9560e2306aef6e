"""Health over loopback: our client with servers of both dialects, grpcio's client with our server."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from orbit_lite.rpc import Channel, Method, ResourceExhausted, Unimplemented
from orbit_lite.services import (
    GrpcHealthService,
    HealthClient,
    HealthState,
    OrbitHealthService,
    ServingStatus,
)
from orbit_proto.grpc.health import v1
from orbit_proto.orbit import shared

SERVING, NOT_SERVING, UNKNOWN = ServingStatus.SERVING, ServingStatus.NOT_SERVING, ServingStatus.UNKNOWN
SERVICE_UNKNOWN = ServingStatus.SERVICE_UNKNOWN


@pytest.fixture(params=[GrpcHealthService, OrbitHealthService], ids=["grpc", "orbit"])
def service(request: pytest.FixtureRequest) -> Any:
    return request.param(HealthState(["a"]))


async def test_check_speaks_whichever_protocol_the_server_does(connect: Any, service: Any) -> None:
    client = HealthClient(await connect(service))
    service.state.set("a", NOT_SERVING)
    for _ in range(2):
        assert [await client.check(name) for name in ("", "a", "b")] == [SERVING, NOT_SERVING, SERVICE_UNKNOWN]


class Recorder:
    """A channel that keeps the names of its calls."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.names: list[str] = []

    def request(self, name: str, *arguments: Any, **options: Any) -> Any:
        self.names.append(name)
        return self._channel.request(name, *arguments, **options)


async def test_which_protocol_it_is_is_found_out_once(connect: Any) -> None:
    channel = Recorder(await connect(OrbitHealthService()))
    client = HealthClient(channel)
    for _ in range(2):
        assert await client.check() is SERVING
    orbit = "/orbit.shared.HealthService/Check"
    assert channel.names == ["/grpc.health.v1.Health/Check", orbit, orbit]


async def test_a_service_that_the_server_does_not_know_yet_can_be_watched(connect: Any, until: Any) -> None:
    service = GrpcHealthService()
    client = HealthClient(await connect(service))
    async with aclosing(client.watch("later")) as statuses:
        assert await anext(statuses) is SERVICE_UNKNOWN
        change = asyncio.ensure_future(anext(statuses))
        await until(lambda: "1 watches" in repr(service.state))
        service.state.set("later", SERVING)
        assert await change is SERVING


async def test_a_server_with_neither_protocol_is_unimplemented(connect: Any) -> None:
    client = HealthClient(await connect())
    for _ in range(2):
        with pytest.raises(Unimplemented):
            await client.check()


async def test_watch_tells_every_change_in_either_protocol(connect: Any, service: Any, until: Any) -> None:
    client = HealthClient(await connect(service))
    async with aclosing(client.watch("a")) as statuses:
        assert await anext(statuses) is SERVING
        change = asyncio.ensure_future(anext(statuses))
        await until(lambda: "1 watches" in repr(service.state))
        service.state.set("a", NOT_SERVING)
        assert await change is NOT_SERVING
        service.state.set("a", SERVING)
        assert await anext(statuses) is SERVING
    await until(lambda: "0 watches" in repr(service.state))


class OneMessage(shared.HealthServiceBase):
    """Watches as Orbit-RS does: one message, then the end."""

    def __init__(self) -> None:
        self.status: Any = shared.HealthCheckResponseServingStatus.SERVING
        self.watches = 0

    async def check(self, health_check_request: shared.HealthCheckRequest) -> shared.HealthCheckResponse:
        return shared.HealthCheckResponse(self.status)

    async def watch(self, health_check_request: shared.HealthCheckRequest) -> AsyncIterator[shared.HealthCheckResponse]:
        self.watches += 1
        yield shared.HealthCheckResponse(self.status)


async def test_a_watch_that_ends_is_not_opened_again_but_polled(connect: Any, until: Any) -> None:
    service = OneMessage()
    client = HealthClient(await connect(service))
    async with aclosing(client.watch(poll_interval=0.001)) as statuses:
        assert await anext(statuses) is SERVING
        change = asyncio.ensure_future(anext(statuses))
        await until(lambda: service.watches == 1)
        service.status = shared.HealthCheckResponseServingStatus.NOT_SERVING
        assert await change is NOT_SERVING
    assert service.watches == 1


async def test_a_server_without_watch_is_polled(connect: Any) -> None:
    class CheckOnly(v1.HealthBase):
        status: Any = v1.HealthCheckResponseServingStatus.SERVING

        async def check(self, health_check_request: v1.HealthCheckRequest) -> v1.HealthCheckResponse:
            return v1.HealthCheckResponse(self.status)

    service = CheckOnly()
    client = HealthClient(await connect(service))
    async with aclosing(client.watch(poll_interval=0.001)) as statuses:
        assert await anext(statuses) is SERVING
        service.status = v1.HealthCheckResponseServingStatus.try_value(77)
        assert await anext(statuses) is UNKNOWN  # a number without a name does not say SERVING


@asynccontextmanager
async def watching(channel: Any) -> AsyncIterator[int]:
    """A watch that is open; gives the first status. betterproto's stub would leave its end to the garbage collector."""
    request, response = v1.HealthCheckRequest, v1.HealthCheckResponse
    method = Method("/grpc.health.v1.Health/Watch", False, True, request, response)
    async with channel.request(method.path, method, request, response) as call:
        await call.send_message(request(), end=True)
        yield (await call.recv_message()).status


async def test_watches_are_bounded_per_connection_and_one_that_goes_makes_room(serve: Any, until: Any) -> None:
    state = HealthState(max_watches_per_connection=1)
    server = await serve(GrpcHealthService(state))
    async with Channel("127.0.0.1", server.port) as first, Channel("127.0.0.1", server.port) as second:
        async with watching(first), watching(second):
            with pytest.raises(ResourceExhausted, match="on this connection"):
                async with watching(first):
                    pass
        await until(lambda: "0 watches" in repr(state))
        async with watching(first) as status:
            assert status == SERVING


@pytest.mark.interop
async def test_grpcios_health_client_checks_and_watches(serve: Any) -> None:
    reason = "grpcio and its health package are not to be had here"
    grpc = pytest.importorskip("grpc", reason=reason)
    health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2", reason=reason)
    health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc", reason=reason)
    state = HealthState(["a"])
    server = await serve(GrpcHealthService(state))
    loop = asyncio.get_running_loop()

    def probe() -> tuple[int, Any, list[int]]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            status = stub.Check(health_pb2.HealthCheckRequest(service="a")).status
            with pytest.raises(grpc.RpcError) as unknown:
                stub.Check(health_pb2.HealthCheckRequest(service="b"))
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="a"))
            told = [next(watch).status]
            loop.call_soon_threadsafe(state.drain)
            told.append(next(watch).status)
            loop.call_soon_threadsafe(state.close)
            told += [response.status for response in watch]
            return status, unknown.value.code(), told

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        status, unknown, told = await loop.run_in_executor(pool, probe)
    assert (status, told) == (1, [1, 2])
    assert unknown is grpc.StatusCode.NOT_FOUND
