"""Peers that take their time: connections and frames that are begun and not completed, readers that do not read
(CVE-2019-9511, CVE-2019-9517)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.http2 import Http2Config

if TYPE_CHECKING:
    from tests.faults.conftest import Alone, Attacked, Peer

Serve = Callable[..., Awaitable["Attacked"]]

CONNECTIONS = 500
HANDSHAKES = 50
ANSWERS = 200
#: Growth that is allowed while 200 answers of a mebibyte wait.
LARGEST_GROWTH = 64 << 20
SHORT = 0.2
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x9
END_HEADERS = 0x4
UNKNOWN = 0xEE
PROTOCOL, SETTINGS_TIMEOUT, CANCEL, CALM = 0x1, 0x4, 0x8, 0xB
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SHORT_TIMES = {
    "preface_timeout": SHORT,
    "settings_timeout": 5 * SHORT,  # the well-behaved peer beside the attacker has to keep it, too
    "header_timeout": SHORT,
    "frame_timeout": SHORT,
}


async def open_connections(attacked: Attacked, count: int) -> None:
    """Until the server has no more than these."""
    async with asyncio.timeout(10):
        while attacked.server.connections > count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- begun and not completed


async def test_many_connections_that_say_nothing_are_closed_in_time(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    for _ in range(CONNECTIONS):
        await attacked.connect(preface=False)
    await open_connections(attacked, 1)


@pytest.mark.parametrize("count", range(1, 24, 7))
async def test_half_a_preface_is_not_waited_for(serve: Serve, count: int) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect(preface=False)
    await peer.send(PREFACE[:count])
    assert (await peer.goaway()).code == PROTOCOL


async def test_a_preface_without_settings_is_not_waited_for(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect(preface=False)
    await peer.send(PREFACE)
    assert (await peer.goaway()).code in {PROTOCOL, SETTINGS_TIMEOUT}


async def test_settings_that_are_not_acknowledged_end_the_connection(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect(preface=False)
    await peer.send(PREFACE + peer.settings())
    assert (await peer.goaway()).code == SETTINGS_TIMEOUT


async def test_a_header_block_that_stays_open_ends_the_connection(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect()
    await peer.send(peer.frame(HEADERS, 0, 1, b"\x83"))
    assert (await peer.goaway()).code in {CALM, PROTOCOL}


async def test_a_header_block_gains_no_time_by_its_continuations(serve: Serve) -> None:
    attacked = await serve(http2={**SHORT_TIMES, "max_continuations": 1000})
    peer = await attacked.connect()
    await peer.send(peer.frame(HEADERS, 0, 1, b"\x83"))
    for _ in range(900):
        if not await peer.send(peer.frame(CONTINUATION, 0, 1, b"\x86")):
            break
        await asyncio.sleep(SHORT / 20)
    assert (await peer.goaway()).code in {CALM, PROTOCOL}
    assert attacked.target.started == 0


@pytest.mark.parametrize("count", [1, 8, 9, 12])
async def test_half_a_frame_is_not_waited_for(serve: Serve, count: int) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect()
    await peer.send(peer.frame(PING, 0, 0, b"12345678")[:count])
    assert (await peer.goaway()).code == CALM


async def test_a_preface_may_come_byte_by_byte(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect(preface=False)
    for byte in PREFACE + peer.settings():
        await peer.send(bytes((byte,)))
        for _ in range(3):
            await asyncio.sleep(0)
    await peer.send(peer.settings(ack=True) + peer.headers(1, peer.request()) + peer.data(1, peer.message(), end=True))
    assert (await peer.end_of(1))["grpc-status"] == "0"


async def test_a_frame_gains_no_time_by_its_bytes(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect()
    for byte in peer.frame(UNKNOWN, 0, 0, bytes(50)):
        if not await peer.send(bytes((byte,))):
            break
        await asyncio.sleep(SHORT / 5)
    assert (await peer.goaway()).code == CALM


async def test_a_slow_frame_is_read_if_it_comes_in_time(serve: Serve) -> None:
    attacked = await serve(http2={**SHORT_TIMES, "frame_timeout": 2.0})
    peer = await attacked.connect()
    for byte in peer.frame(PING, 0, 0, b"12345678"):
        await peer.send(bytes((byte,)))
        await asyncio.sleep(0.005)
    assert (await peer.next(PING)).payload == b"12345678"


async def test_half_open_connections_of_all_kinds_at_once(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    begun: list[Callable[[Peer], bytes]] = [
        lambda peer: PREFACE[:10],
        lambda peer: PREFACE,
        lambda peer: PREFACE + peer.settings(),
        lambda peer: PREFACE + peer.settings() + peer.settings(ack=True) + peer.frame(HEADERS, 0, 1, b"\x83"),
        lambda peer: PREFACE + peer.settings() + peer.settings(ack=True) + peer.frame(PING, 0, 0, bytes(8))[:9],
    ]
    for number in range(CONNECTIONS // 5):
        peer = await attacked.connect(preface=False)
        await peer.send(begun[number % len(begun)](peer))
    await open_connections(attacked, 1)


async def test_an_idle_connection_is_none_of_these(serve: Serve) -> None:
    attacked = await serve(http2=SHORT_TIMES)
    peer = await attacked.connect()
    await peer.next(SETTINGS)
    await asyncio.sleep(3 * SHORT)
    await peer.send(peer.headers(1, peer.request()) + peer.data(1, peer.message(), end=True))
    assert (await peer.end_of(1))["grpc-status"] == "0"


async def test_tls_handshakes_that_stay_open_are_ended(serve: Serve, request: pytest.FixtureRequest) -> None:
    attacked = await serve(handshake_timeout=SHORT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(request.path.parents[1] / "rpc" / "localhost.pem")
    await attacked.server.start("127.0.0.1", 0, ssl=context)
    port = int(attacked.server.addresses[-1].rpartition(":")[2])
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(HANDSHAKES)]
    for _, writer in ends:
        writer.write(hello[:50])
    for reader, writer in ends:
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


# ---------------------------------------------------------------- no room to send


@pytest.mark.parametrize("path", ["/test.Target/Big", "/test.Target/Pour"])
async def test_a_window_that_stays_shut_ends_the_streams(serve: Serve, path: str) -> None:
    attacked = await serve(stall_timeout=SHORT)
    peer = await attacked.connect(settings=[(0x4, 0)])
    for number in range(20):
        stream_id = 2 * number + 1
        await peer.send(peer.headers(stream_id, peer.request(path)) + peer.data(stream_id, peer.message(), end=True))
    for _ in range(20):
        assert (await peer.next(RST_STREAM)).code == CANCEL
    await attacked.settle()
    assert attacked.target.started == 20


async def test_a_window_that_opens_byte_by_byte_keeps_its_own_handler_only(serve: Serve) -> None:
    attacked = await serve(stall_timeout=SHORT)
    peer = await attacked.connect(settings=[(0x4, 1)])
    await peer.send(peer.headers(1, peer.request("/test.Target/Pour")) + peer.data(1, peer.message(), end=True))
    for _ in range(200):
        assert len((await peer.next(DATA)).payload) <= 1
        await peer.send(peer.window(1, 1))
    assert attacked.target.alive == 1


async def test_a_socket_that_is_not_read_ends_the_streams(serve: Serve) -> None:
    attacked = await serve(stall_timeout=SHORT)
    large = (1 << 31) - 1
    peer = await attacked.connect(settings=[(0x4, large)])
    await peer.send(peer.window(0, large - 65_535))
    for number in range(50):
        stream_id = 2 * number + 1
        fields = peer.request("/test.Target/Pour")
        await peer.send(peer.headers(stream_id, fields) + peer.data(stream_id, peer.message(), end=True))
    while attacked.target.started < 50:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    async with asyncio.timeout(10):
        while attacked.target.alive:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def growth(alone: Alone, settings: list[tuple[int, int]], *, window: int) -> int:
    """Memory that a server takes while a peer asks for much and takes nothing."""
    first = await alone.connect()
    await first.send(first.headers(1, first.request()) + first.data(1, first.message(), end=True))
    assert (await first.end_of(1))["grpc-status"] == "0"
    before = alone.resident()
    peer = await alone.connect(settings=settings)
    if window:
        await peer.send(peer.window(0, window))
    fields = peer.request("/test.Target/Big")
    await peer.flood(
        peer.headers(stream_id, fields) + peer.data(stream_id, peer.message(), end=True)
        for stream_id in range(1, 2 * ANSWERS, 2)
    )
    most = 0
    for number in range(20):
        await first.send(first.headers(2 * number + 3, first.request()))
        await first.send(first.data(2 * number + 3, first.message(), end=True))
        assert (await first.end_of(2 * number + 3))["grpc-status"] == "0"
        most = max(most, alone.resident() - before)
        await asyncio.sleep(0.01)
    peer.close()
    first.close()
    return most


async def test_answers_that_cannot_be_sent_take_bounded_memory(alone: Alone) -> None:
    assert await growth(alone, [(0x4, 0)], window=0) <= LARGEST_GROWTH


async def test_a_socket_that_is_not_read_takes_bounded_memory(alone: Alone) -> None:
    large = (1 << 31) - 1
    assert await growth(alone, [(0x4, large)], window=large - 65_535) <= LARGEST_GROWTH


def test_the_times_of_the_default_configuration_are_finite() -> None:
    config = Http2Config()
    assert 0 < config.preface_timeout <= 10
    assert 0 < config.settings_timeout <= 10
    assert 0 < config.header_timeout <= 10
    assert 0 < config.frame_timeout <= 30
