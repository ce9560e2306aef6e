"""What is particular to grpc-js: its streams step by step, compression, windows, GOAWAY, PINGs, health, reflection.

The calls that all implementations share are in test_echo.py. Between the two ends stands a relay that sees the frames.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler
from hyperframe.frame import Frame, GoAwayFrame, PingFrame, RstStreamFrame

from orbit_lite.http2.config import Http2Config
from orbit_lite.rpc import (
    Channel,
    ClientCall,
    ResourceExhausted,
    Server,
    ServerCall,
    ServerConfig,
)
from orbit_lite.services import (
    GrpcHealthService,
    HealthClient,
    HealthState,
    ReflectionClient,
    ServingStatus,
    reflection_services,
)

if TYPE_CHECKING:
    from tests.interop.js import peer as js
else:  # the folders of tests are no packages
    _spec = importlib.util.spec_from_file_location("orbit_test_js_peer", Path(__file__).parent / "peer.py")
    js = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(js)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(js.missing() is not None, reason=str(js.missing())),
]

MIB = 1 << 20
PREFACE = 24  # bytes
FAILURE = {"code": 9, "message": "", "details": ""}
KINDS = {
    "Unary": Cardinality.UNARY_UNARY,
    "Expand": Cardinality.UNARY_STREAM,
    "Collect": Cardinality.STREAM_UNARY,
    "Chat": Cardinality.STREAM_STREAM,
}


class Echo:
    """Chat answers each message, Expand sends `count` messages of `size` bytes for `count size`."""

    def __init__(self) -> None:
        self.sent = 0

    def __mapping__(self) -> dict[str, Any]:
        handlers = {"Unary": self.unary, "Expand": self.expand, "Chat": self.chat}
        return {
            f"/test.Echo/{name}": Handler(handler, KINDS[name], StringValue, StringValue)
            for name, handler in handlers.items()
        }

    async def unary(self, call: ServerCall[StringValue, StringValue]) -> None:
        message = await call.recv_message()
        assert message is not None
        await call.send_message(message)

    async def expand(self, call: ServerCall[StringValue, StringValue]) -> None:
        message = await call.recv_message()
        assert message is not None
        count, size = map(int, message.value.split())
        for _ in range(count):
            await call.send_message(StringValue("x" * size))
            self.sent += 1

    async def chat(self, call: ServerCall[StringValue, StringValue]) -> None:
        async for message in call:
            await call.send_message(message)


@dataclass
class Relay:
    """Hands bytes on between a client and a server, and reads the frames in them."""

    port: int = 0
    bytes_of: Counter[str] = field(default_factory=Counter)  # by the side that sent them
    frames: dict[str, list[Frame]] = field(default_factory=lambda: {"client": [], "server": []})
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, side: str, kind: type[Frame], count: int = 1) -> list[Any]:
        """Wait until the side has sent so many frames of the kind."""

        def found() -> list[Frame]:
            return [frame for frame in self.frames[side] if isinstance(frame, kind)]

        async with self.changed:
            await self.changed.wait_for(lambda: len(found()) >= count)
        return found()

    async def hand_on(self, side: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if side == "client":
                writer.write(await reader.readexactly(PREFACE))
            while True:
                head = await reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(head))
                body = await reader.readexactly(length)
                frame.parse_body(memoryview(body))
                writer.write(head + body)
                await writer.drain()
                async with self.changed:
                    self.bytes_of[side] += len(head) + length
                    self.frames[side].append(frame)
                    self.changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # that side has ended
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def relay_to(port: int) -> AsyncIterator[Relay]:
    relay = Relay()
    tasks = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        tasks.add(asyncio.create_task(relay.hand_on("client", reader, other_writer)))
        tasks.add(asyncio.create_task(relay.hand_on("server", other_reader, writer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class JsServer:
    """grpc-js serves, our channel calls."""

    peer: js.Peer
    port: int
    relay: Relay
    channel: Channel

    def request(self, method: str, channel: Channel | None = None) -> ClientCall[StringValue, StringValue]:
        return (channel or self.channel).request(f"/test.Echo/{method}", KINDS[method], StringValue, StringValue)


@pytest.fixture
async def js_server() -> AsyncIterator[JsServer]:
    async with js.running() as peer:
        port = (await peer.ask("serve", failure=FAILURE, options={}))["port"]
        async with relay_to(port) as relay, Channel("127.0.0.1", relay.port) as channel:
            yield JsServer(peer, port, relay, channel)


@dataclass
class JsClient:
    """We serve, grpc-js calls."""

    peer: js.Peer
    server: Server
    echo: Echo
    relay: Relay
    health: HealthState

    async def unary(self, text: str) -> dict[str, Any]:
        return await self.peer.ask("call", method="Unary", texts=[text])

    async def chat(self) -> int:
        """The number of a Chat that is open at both ends."""
        call: int = (await self.peer.ask("open", method="Chat"))["id"]
        assert await self.said(call, "first") == "first"
        return call

    async def said(self, call: int, text: str) -> str:
        await self.peer.ask("write", call=call, text=text)
        reply: str = (await self.peer.ask("read", call=call))["reply"]
        return reply


@asynccontextmanager
async def js_client(config: ServerConfig | None = None, **options: object) -> AsyncIterator[JsClient]:
    """options: grpc-js's channel options, with underscores for points."""
    echo, health = Echo(), HealthState(["a.Service"])
    services: list[Any] = [echo, GrpcHealthService(health)]
    async with Server([*services, *reflection_services(["grpc.health.v1.Health"])], config=config) as server:
        await server.start("127.0.0.1", 0)
        assert server.port is not None
        async with relay_to(server.port) as relay, js.running() as peer:
            named = {name.replace("grpc_", "grpc.", 1): value for name, value in options.items()}
            await peer.ask("connect", port=relay.port, options=named)
            yield JsClient(peer, server, echo, relay, health)


async def say(call: ClientCall[StringValue, StringValue], text: str) -> str | None:
    await call.send_message(StringValue(text))
    reply = await call.recv_message()
    return None if reply is None else reply.value


# ---------------------------------------------------------------- streams


async def test_both_directions_of_a_stream_are_interleaved_with_a_js_server(js_server: JsServer) -> None:
    async with js_server.request("Chat") as one, js_server.request("Chat") as two:
        assert [await say(one, "a"), await say(two, "b"), await say(one, "c"), await say(two, "d")] == list("abcd")
        await one.end()
        assert await one.recv_message() is None
        assert await say(two, "e") == "e"
        await two.end()
        assert await two.recv_message() is None


async def test_both_directions_of_a_stream_are_interleaved_with_a_js_client() -> None:
    async with js_client() as js_side:
        one, two = await js_side.chat(), await js_side.chat()
        assert [await js_side.said(call, text) for call, text in ((one, "a"), (two, "b"), (one, "c"))] == list("abc")
        await js_side.peer.ask("end", call=one)
        assert (await js_side.peer.ask("read", call=one))["reply"] is None
        assert (await js_side.peer.ask("outcome", call=one))["status"] == 0
        assert await js_side.said(two, "d") == "d"
        await js_side.peer.ask("cancel", call=two)
        assert [frame.error_code for frame in await js_side.relay.until("client", RstStreamFrame)] == [8]  # CANCEL


async def test_a_js_client_that_does_not_read_holds_our_handler_back() -> None:
    async with js_client() as js_side:
        messages = 40
        call = (await js_side.peer.ask("open", method="Expand", texts=[f"{messages} {MIB}"]))["id"]
        first = (await js_side.peer.ask("read", call=call))["reply"]
        assert len(first) == MIB
        assert (await js_side.unary("others go on"))["replies"] == ["others go on"]
        assert js_side.echo.sent < messages
        for _ in range(messages - 1):
            assert (await js_side.peer.ask("read", call=call))["reply"] == first
        assert (await js_side.peer.ask("read", call=call))["reply"] is None
        assert js_side.echo.sent == messages


# ---------------------------------------------------------------- compression and size


async def test_a_js_server_takes_our_compressed_requests(js_server: JsServer) -> None:
    """It does not compress its replies."""
    async with Channel("127.0.0.1", js_server.relay.port, compression="gzip") as channel:
        async with js_server.request("Collect", channel) as call:
            for _ in range(2):
                await call.send_message(StringValue("x" * MIB))
            await call.end()
            reply = await call.recv_message()
        assert reply == StringValue("x" * MIB + "," + "x" * MIB)
    assert js_server.relay.bytes_of["client"] < MIB / 10 < 2 * MIB < js_server.relay.bytes_of["server"]


async def test_a_js_client_compresses_and_takes_our_compressed_replies() -> None:
    async with js_client(ServerConfig(compression="gzip"), grpc_default_compression_algorithm=2) as js_side:
        assert (await js_side.unary("x" * MIB))["replies"] == ["x" * MIB]
        assert js_side.relay.bytes_of["client"] < MIB / 10
        assert js_side.relay.bytes_of["server"] < MIB / 10


async def test_a_js_servers_limit_is_told_to_our_caller(js_server: JsServer) -> None:
    async with js_server.request("Unary") as call:
        with pytest.raises(ResourceExhausted, match="larger than max"):
            await say(call, "x" * (5 * MIB))  # grpc-js takes four
    async with js_server.request("Unary") as call:
        assert await say(call, "still here") == "still here"


# ---------------------------------------------------------------- GOAWAY and PING


async def test_a_call_outlives_the_goaway_of_a_js_server_and_new_ones_go_elsewhere(js_server: JsServer) -> None:
    async with Channel("127.0.0.1", js_server.port) as channel, js_server.request("Chat", channel) as old:
        assert await say(old, "before") == "before"
        await js_server.peer.ask("drain", port=js_server.port)
        assert await say(old, "after") == "after"
        async with js_server.request("Unary", channel) as new:
            assert await say(new, "elsewhere") == "elsewhere"
        await old.end()
        assert await old.recv_message() is None


async def test_a_call_of_a_js_client_outlives_our_goaway_and_new_ones_are_unavailable() -> None:
    async with js_client() as js_side:
        call = await js_side.chat()
        draining = asyncio.create_task(js_side.server.drain(30.0))
        goaway = (await js_side.relay.until("server", GoAwayFrame))[0]
        assert (goaway.last_stream_id, goaway.error_code) == ((1 << 31) - 1, 0)
        assert await js_side.said(call, "after") == "after"
        assert (await js_side.unary("new"))["status"] == 14
        await js_side.peer.ask("end", call=call)
        assert (await js_side.peer.ask("outcome", call=call))["status"] == 0
        assert (await draining).finished == 1


async def test_a_js_client_loses_no_call_when_its_connections_grow_old() -> None:
    async with js_client(ServerConfig(max_connection_age=0.1)) as js_side:
        calls = 0
        while len([frame for frame in js_side.relay.frames["server"] if isinstance(frame, GoAwayFrame)]) < 6:
            outcomes = await asyncio.gather(*(js_side.unary(f"{calls + number}") for number in range(20)))
            assert [outcome["replies"] for outcome in outcomes] == [[f"{calls + number}"] for number in range(20)]
            calls += 20


async def test_a_js_client_that_pings_as_often_as_allowed_is_left_alone() -> None:
    config = ServerConfig(http2=Http2Config(ping_interval_with_streams=0.01))
    async with js_client(config, grpc_keepalive_time_ms=50) as js_side:
        call = await js_side.chat()
        await js_side.relay.until("client", PingFrame, 8)
        assert await js_side.said(call, "still here") == "still here"
        assert not [frame for frame in js_side.relay.frames["server"] if isinstance(frame, GoAwayFrame)]


async def test_a_js_client_that_pings_too_often_is_told_so() -> None:
    async with js_client(grpc_keepalive_time_ms=50) as js_side:
        call = await js_side.chat()
        goaway = (await js_side.relay.until("server", GoAwayFrame))[-1]
        assert (goaway.error_code, goaway.additional_data) == (11, b"too_many_pings")  # ENHANCE_YOUR_CALM
        assert (await js_side.peer.ask("outcome", call=call))["status"] == 8  # PROTOCOL-HTTP2.md, error mapping


async def test_our_pings_are_answered_by_a_js_server(js_server: JsServer) -> None:
    """Those that measure the bandwidth: keep-alive waits ten seconds at least."""
    async with js_server.request("Expand") as call:
        await call.send_message(StringValue(f"size {MIB}"), end=True)
        assert [len(reply.value) async for reply in call] == [MIB] * 3
    pings = await js_server.relay.until("client", PingFrame)
    answers = await js_server.relay.until("server", PingFrame, len(pings))
    assert all("ACK" in answer.flags for answer in answers)
    assert not [frame for frame in js_server.relay.frames["server"] if isinstance(frame, GoAwayFrame)]


# ---------------------------------------------------------------- health and reflection


async def test_our_client_asks_a_js_server_for_its_health(js_server: JsServer) -> None:
    health = HealthClient(js_server.channel)
    assert await health.check() is ServingStatus.SERVING
    assert await health.check("unknown") is ServingStatus.SERVICE_UNKNOWN
    watch = health.watch()
    assert await anext(watch) is ServingStatus.SERVING
    await js_server.peer.ask("setHealth", service="", status="NOT_SERVING")
    assert await anext(watch) is ServingStatus.NOT_SERVING
    await watch.aclose()


async def test_a_js_client_asks_us_for_our_health() -> None:
    async with js_client() as js_side:
        assert (await js_side.peer.ask("check", service="a.Service"))["reply"] == {"status": "SERVING"}
        js_side.health.set("a.Service", ServingStatus.NOT_SERVING)
        assert (await js_side.peer.ask("check", service="a.Service"))["reply"] == {"status": "NOT_SERVING"}
        assert (await js_side.peer.ask("check", service="unknown"))["status"] == 5


async def test_our_client_reads_the_descriptors_of_a_js_server(js_server: JsServer) -> None:
    reflection = ReflectionClient(js_server.channel)
    assert "test.Echo" in await reflection.list_services()
    pool = await reflection.pool_for("test.Echo/Chat")
    assert "test.Echo" in pool.services()


async def test_a_js_client_lists_our_services() -> None:
    async with js_client() as js_side:
        services = (await js_side.peer.ask("listServices"))["services"]
    assert {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(services)
