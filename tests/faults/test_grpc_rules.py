"""Rules of gRPC over HTTP/2 that only show on the wire, seen from a peer of bare frames."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality

from orbit_lite.errors import OrbitError, Status
from orbit_lite.rpc import Channel, ConnectionPool, PoolConfig, PooledChannel, RetryConfig

if TYPE_CHECKING:
    from tests.faults.conftest import Attacked, Peer

Serve = Callable[..., Awaitable["Attacked"]]
Hostile = Callable[..., Awaitable[Channel]]

PATH = "/test.Echo/Call"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
END_STREAM = 0x1
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
MESSAGE = b"\x0a\x02ok"
SEQUENCES = 300
CALLS = 300


async def outcome(channel: Channel) -> Status:
    """How a unary call ends."""
    try:
        async with channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue, timeout=5.0) as call:
            await call.send_message(StringValue("q"), end=True)
            await call.recv_message()
    except OrbitError as error:
        return error.code
    return Status.OK


# ---------------------------------------------------------------- what we send


async def test_a_request_ends_on_data(hostile: Hostile) -> None:
    seen: list[tuple[int, int, int]] = []

    async def script(peer: Peer) -> None:
        while True:
            got = await peer.next(HEADERS, DATA)
            seen.append((got.kind, got.flags & END_STREAM, len(got.payload) if got.kind == DATA else -1))
            if got.flags & END_STREAM:
                head, tail = (
                    peer.headers(got.stream_id, HEAD),
                    peer.headers(got.stream_id, [("grpc-status", "0")], end=True),
                )
                await peer.send(head + peer.data(got.stream_id, peer.message(MESSAGE)) + tail)

    channel = await hostile(script)
    assert await outcome(channel) is Status.OK
    assert seen == [(HEADERS, 0, -1), (DATA, END_STREAM, 8)]
    seen.clear()
    async with channel.request(PATH, Cardinality.STREAM_UNARY, StringValue, StringValue, timeout=5.0) as call:
        await call.send_message(StringValue("q"))
        await call.end()
        await call.recv_message()
    assert seen == [(HEADERS, 0, -1), (DATA, END_STREAM, 8)]


async def test_trailers_say_ok_too(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request()) + peer.data(1, peer.message(MESSAGE), end=True))
    head = await peer.next(HEADERS)
    assert not head.flags & END_STREAM
    data = await peer.next(DATA)
    assert (data.payload, data.flags & END_STREAM) == (peer.message(MESSAGE), 0)
    tail = await peer.next(HEADERS)
    assert tail.flags & END_STREAM
    assert [str(value) for name, value in peer.decoder.decode(head.payload) if str(name) == ":status"] == ["200"]
    assert [(str(name), str(value)) for name, value in peer.decoder.decode(tail.payload)] == [("grpc-status", "0")]


@pytest.mark.parametrize("data", [bytes(8), b"\xff" * 8, b"12345678"])
async def test_a_ping_is_answered_exactly(serve: Serve, data: bytes) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.frame(PING, 0, 0, data))
    got = await peer.next(PING)
    assert (got.flags, got.stream_id, got.payload) == (1, 0, data)


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("path", ["/test.Target/Echo", "/test.Target/Sink"])
@pytest.mark.parametrize(
    ("body", "changes", "status"),
    [
        (b"\1\0\0\0\0", {}, "13"),
        (b"\2\0\0\0\0", {}, "13"),
        (b"\xff\0\0\0\0", {}, "13"),
        (b"\0\0\0\0\5abc", {}, "13"),
        (b"\0\0\0", {}, "13"),
        (b"\0\xff\xff\xff\xff", {}, "8"),
        (b"\0\0\0\0\0", {"grpc_encoding": "br"}, "12"),
        (b"\0\0\0\0\2\x0a\xff", {}, "13"),
    ],
    ids=["flag 1", "flag 2", "flag 255", "cut off", "half a prefix", "huge", "encoding", "no protobuf"],
)
async def test_a_broken_request_ends_with_its_status(
    serve: Serve, path: str, body: bytes, changes: dict[str, str], status: str
) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request(path, **changes)) + peer.data(1, body, end=True))
    end = await peer.end_of(1)
    assert end["grpc-status"] == status
    assert (status == "12") <= ("grpc-accept-encoding" in end)


async def test_a_huge_length_is_refused_before_its_message(serve: Serve) -> None:
    """And the client is told to send no more of it."""
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Sink")) + peer.data(1, b"\0\xff\xff\xff\xff"))
    assert (await peer.end_of(1))["grpc-status"] == "8"
    assert (await peer.next(RST_STREAM)).code == 0


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\0\0\0\0\0\0"], ids=["no message", "two messages"])
async def test_a_unary_request_is_one_message(serve: Serve, body: bytes) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request()) + peer.data(1, body, end=True))
    assert (await peer.end_of(1))["grpc-status"] == "13"


async def test_metadata_that_http_allows_is_no_error(serve: Serve) -> None:
    """Bytes above ASCII, and spaces in the middle."""
    attacked = await serve()
    peer = await attacked.connect()
    fields: list[tuple[bytes, bytes, bool]] = [(name.encode(), value.encode(), True) for name, value in peer.request()]
    fields += [(b"x-text", b"caf\xe9  au lait", True), (b"x-bin", b"AAEC,Aw", True), (b"x-text", b"again", True)]
    block = peer.encoder.encode(fields)
    await peer.send(peer.frame(HEADERS, 0x4, 1, block) + peer.data(1, peer.message(), end=True))
    assert (await peer.end_of(1))["grpc-status"] == "0"


async def test_a_server_ends_the_calls_of_a_peer_that_answers_no_ping(serve: Serve) -> None:
    attacked = await serve(keep_alive_timeout=0.1)
    object.__setattr__(attacked.server.config, "keep_alive_interval", 0.1)  # below what may be configured
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Hang")))
    while not attacked.target.alive:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await peer.until_closed()
    async with asyncio.timeout(5):
        while attacked.target.alive:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# ---------------------------------------------------------------- responses


RESETS = {
    **dict.fromkeys((0x0, 0x1, 0x2, 0x3, 0x4, 0x6, 0x9, 0xA), Status.INTERNAL),
    0x5: Status.UNKNOWN,
    0x7: Status.UNAVAILABLE,
    0x8: Status.CANCELLED,
    0xB: Status.RESOURCE_EXHAUSTED,
    0xC: Status.PERMISSION_DENIED,
    0xD: Status.UNKNOWN,
    0xE: Status.UNKNOWN,
    0xFF: Status.UNKNOWN,
}


async def test_every_reset_has_its_status(hostile: Hostile) -> None:
    async def script(peer: Peer) -> None:
        for code in RESETS:
            for _ in range(2 if code == 0x7 else 1):  # a refused request is sent once more
                await peer.send(peer.reset((await peer.next(HEADERS)).stream_id, code))
        await peer.until_closed()

    channel = await hostile(script)
    assert {code: await outcome(channel) for code in RESETS} == RESETS


HTTP = {
    200: Status.UNKNOWN,
    302: Status.UNKNOWN,
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    418: Status.UNKNOWN,
    429: Status.UNAVAILABLE,
    431: Status.INTERNAL,
    500: Status.UNKNOWN,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
    999: Status.UNKNOWN,
}


async def test_every_http_status_has_its_status(hostile: Hostile) -> None:
    async def script(peer: Peer) -> None:
        for number, code in enumerate(HTTP):
            stream_id = (await peer.next(HEADERS)).stream_id
            fields = [(":status", str(code)), ("content-type", "text/html")]
            await peer.send(peer.headers(stream_id, [(":status", "103")]))
            await peer.send(peer.headers(stream_id, fields, end=number % 2 == 0))
            if number % 2:
                await peer.send(peer.data(stream_id, b"<html>", end=True))
        await peer.until_closed()

    channel = await hostile(script)
    assert {code: await outcome(channel) for code in HTTP} == HTTP


@pytest.mark.parametrize("seed", range(4))
async def test_a_call_ends_once_whatever_the_order_of_frames(hostile: Hostile, seed: int) -> None:
    """Messages, then one outcome, and nothing after it; other calls of the connection go on or it is lost."""
    draw = random.Random(seed)
    steps = ["head", "message", "piece", "trailers", "error", "reset", "interim", "empty", "end", "large", "window"]

    async def script(peer: Peer) -> None:
        while True:
            stream_id = (await peer.next(HEADERS)).stream_id
            for step in draw.choices(steps, k=draw.randrange(1, 8)):
                await peer.send(
                    {
                        "head": peer.headers(stream_id, HEAD),
                        "message": peer.data(stream_id, peer.message(MESSAGE)),
                        "piece": peer.data(stream_id, b"\0\0"),
                        "trailers": peer.headers(stream_id, [("grpc-status", "0")], end=True),
                        "error": peer.headers(stream_id, [("grpc-status", "5")], end=True),
                        "reset": peer.reset(stream_id, draw.choice([0, 7, 8, 11])),
                        "interim": peer.headers(stream_id, [(":status", "100")]),
                        "empty": peer.data(stream_id, b""),
                        "end": peer.data(stream_id, b"", end=True),
                        "large": peer.data(stream_id, b"\0\xff\xff\xff\xff"),
                        "window": peer.window(stream_id, 1),
                    }[step]
                )
            await peer.send(peer.reset(stream_id, 2))

    channel = await hostile(script)
    for _ in range(SEQUENCES // 4):
        ends = messages = 0
        try:
            async with channel.request(PATH, Cardinality.STREAM_STREAM, StringValue, StringValue, timeout=5.0) as call:
                await call.send_message(StringValue("q"))
                while (reply := await call.recv_message()) is not None:
                    assert isinstance(reply, StringValue)
                    assert reply.value == "ok"
                    messages += 1
                ends += 1
                assert await call.recv_message() is None  # the end stays the end
        except OrbitError:
            ends += 1
        assert ends in {1, 2}
        assert messages <= 7
    assert channel.open_streams == 0


async def test_no_call_is_lost_when_a_server_sends_its_clients_away(serve: Serve) -> None:
    """GOAWAY in the middle of everything, again and again: calls finish, later ones take a new connection."""
    attacked = await serve()
    done = 0

    async def one(text: str) -> None:
        nonlocal done

        async def attempt(channel: PooledChannel) -> None:
            async with channel.request(
                "/test.Target/Echo", Cardinality.UNARY_UNARY, StringValue, StringValue, timeout=5.0
            ) as call:
                await call.send_message(StringValue(text), end=True)
                reply = await call.recv_message()
            assert isinstance(reply, StringValue)
            assert reply.value == text

        await pool.call(url, attempt, method="/test.Target/Echo")
        done += 1

    async def send_away() -> None:
        while done < CALLS:
            for connection in list(attacked.server._connections):
                if connection.streams:
                    connection.go_away(final=False)
                    await asyncio.sleep(0)
                    connection.go_away(final=True)
            await asyncio.sleep(0.005)

    url = f"http://127.0.0.1:{attacked.server.port}"
    async with ConnectionPool(retry=RetryConfig(budget_tokens=0)) as pool:
        sender = asyncio.create_task(send_away())
        for start in range(0, CALLS, 50):
            await asyncio.gather(*(one(f"{start + number}") for number in range(50)))
        await sender
    assert done == CALLS


async def test_trying_again_what_was_not_processed_costs_no_budget(hostile: Hostile) -> None:
    """Streams beyond a GOAWAY's last id are tried again transparently (gRFC A6)."""
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        stream_id = (await peer.next(HEADERS)).stream_id
        if connections % 2:
            await peer.send(peer.frame(GOAWAY, 0, 0, bytes(8)))
        else:
            head, tail = peer.headers(stream_id, HEAD), peer.headers(stream_id, [("grpc-status", "0")], end=True)
            await peer.send(
                head + peer.data(stream_id, peer.message(MESSAGE)) + tail + peer.frame(GOAWAY, 0, 0, bytes(8))
            )
        await peer.until_closed()

    async def attempt(channel: PooledChannel) -> None:
        async with channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue, timeout=5.0) as call:
            await call.send_message(StringValue("q"), end=True)
            await call.recv_message()

    url = (await hostile(script)).endpoint.url
    async with ConnectionPool(pool=PoolConfig(redial_initial=0.0)) as pool:
        for _ in range(15):
            await pool.call(url, attempt, method=PATH)
