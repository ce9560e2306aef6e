"""Floods of frames that cost the sender nothing (CVE-2019-9511 to 9518): the connection ends, other peers notice
nothing. And what looks like a flood and is none, which has to be served."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Attacked

Serve = Callable[..., Awaitable["Attacked"]]

SETTINGS_FRAMES = 200_000
PINGS = 300_000
EMPTY_FRAMES = 100_000
ONE_BYTE_FRAMES = 60_000
ONE_BYTE_PACKETS = 1000
UPDATES = 200_000
PRIORITIES = 200_000
EMPTY_MESSAGES = 12_000
SMALL_MESSAGES = 20_000
TINY_REQUESTS = 10_000
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x2, 0x3, 0x4, 0x6, 0x7, 0x8
ACK = END_STREAM = 0x1
END_HEADERS, PADDED = 0x4, 0x8
PROTOCOL, CALM = 0x1, 0xB
BLOCK = 1000  # frames that are written at once


def repeated(data: bytes, count: int) -> list[bytes]:
    """The frame so many times, in larger pieces."""
    return [data * BLOCK] * (count // BLOCK)


# ---------------------------------------------------------------- SETTINGS and PING


async def test_settings_flood_without_reading(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.flood(repeated(peer.settings(), SETTINGS_FRAMES))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_settings")
    assert len([got for got in peer.seen if got.kind == SETTINGS and got.flags & ACK]) <= 100


async def test_settings_of_ten_thousand_entries(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.settings([(0xFF, 0)] * 10_000))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_settings")


@pytest.mark.parametrize("with_stream", [False, True])
async def test_ping_flood_without_reading(serve: Serve, with_stream: bool) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    if with_stream:
        await peer.send(peer.headers(1, peer.request("/test.Target/Hang")))
    await peer.flood(repeated(peer.frame(PING, 0, 0, b"12345678"), PINGS))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_pings")
    assert len([got for got in peer.seen if got.kind == PING and got.flags & ACK]) <= 100


async def test_ping_flood_with_reading(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    answered = 0
    try:
        while answered < 100:
            await peer.send(peer.frame(PING, 0, 0, b"12345678"))
            got = await peer.next(PING, GOAWAY)
            if got.kind == GOAWAY:
                break
            answered += 1
    except EOFError:
        pass
    assert answered <= 4
    assert [(got.code, got.debug) for got in peer.seen if got.kind == GOAWAY] == [(CALM, b"too_many_pings")]


async def test_a_ping_for_each_piece_of_data_measures_the_path_and_is_no_flood(serve: Serve) -> None:
    """As clients do that estimate the bandwidth-delay product (gRFC A8 allows it)."""
    attacked = await serve()
    peer = await attacked.connect()
    fields = peer.request("/test.Target/Pour")
    await peer.send(peer.headers(1, fields) + peer.data(1, peer.message(), end=True))
    for _ in range(200):
        got = await peer.next(DATA)
        count = len(got.payload)
        await peer.send(peer.frame(PING, 0, 0, b"measured") + peer.window(0, count) + peer.window(1, count))
        assert (await peer.next(PING)).payload == b"measured"
    assert not [got for got in peer.seen if got.kind == GOAWAY]


async def test_acknowledgements_of_pings_that_nobody_sent_end_somewhere(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.flood(repeated(peer.frame(PING, ACK, 0, b"12345678"), 1_000_000))
    assert (await peer.goaway()).code == CALM


# ---------------------------------------------------------------- frames without content


@pytest.mark.parametrize(
    ("flags", "payload"), [(0, b""), (PADDED, b"\x00"), (PADDED, b"\xff" + bytes(255))], ids=["empty", "1", "256"]
)
@pytest.mark.parametrize("path", ["/test.Target/Hang", "/test.Target/Sink"])
async def test_data_without_content(serve: Serve, path: str, flags: int, payload: bytes) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request(path)))
    await peer.flood(repeated(peer.frame(DATA, flags, 1, payload), EMPTY_FRAMES))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_data_frames")


async def test_padding_is_given_back_to_flow_control(serve: Serve) -> None:
    """A stream may carry more padding than its window holds."""
    attacked = await serve(http2={"stream_window": 65_535, "connection_window": 65_535, "adaptive_window": False})
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Sink")))
    for _ in range(600):
        await peer.send(
            peer.frame(DATA, PADDED, 1, b"\xff" + bytes(255)) + peer.frame(DATA, 0, 1, peer.message(b"\x0a\x02ab"))
        )
    await peer.send(peer.data(1, b"", end=True))
    assert (await peer.end_of(1))["grpc-status"] == "0"
    assert attacked.target.messages == 600


async def test_empty_header_blocks_in_the_place_of_trailers(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.flood(
        peer.headers(stream_id, peer.request("/test.Target/Hang")) + peer.frame(HEADERS, END_HEADERS, stream_id)
        for stream_id in range(1, 4000, 2)
    )
    assert (await peer.goaway()).code == CALM


async def test_one_byte_frames_that_nobody_reads(serve: Serve) -> None:
    """Each in a packet of its own: they wait, and take no more than their bytes."""
    attacked = await serve(http2={"connection_window": 65_535, "stream_window": 65_535, "adaptive_window": False})
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Hang")))
    for _ in range(ONE_BYTE_PACKETS):
        await peer.send(peer.data(1, b"x"))
        for _ in range(3):
            await asyncio.sleep(0)
    await peer.send(peer.frame(PING, 0, 0, b"all read"))
    assert (await peer.next(PING)).payload == b"all read"
    (stream,) = [stream for one in attacked.server._connections for stream in one.streams.values() if stream.id == 1]
    assert [(len(data), size) for data, size in stream._data] == [(ONE_BYTE_PACKETS, ONE_BYTE_PACKETS)]


async def test_one_byte_frames_that_come_together_are_bounded_by_their_window(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Hang")))
    await peer.flood(repeated(peer.data(1, b"x"), ONE_BYTE_FRAMES))
    await peer.send(peer.frame(PING, 0, 0, b"all read"))
    await peer.next(PING)
    (stream,) = [stream for one in attacked.server._connections for stream in one.streams.values() if stream.id == 1]
    assert sum(len(data) for data, _ in stream._data) == ONE_BYTE_FRAMES
    assert len(stream._data) < ONE_BYTE_FRAMES / 100


async def test_empty_messages_are_served(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Sink")))
    await peer.flood(repeated(peer.data(1, peer.message()), EMPTY_MESSAGES))
    await peer.send(peer.data(1, b"", end=True))
    assert (await peer.end_of(1)).get("grpc-status") == "0"
    assert attacked.target.messages == EMPTY_MESSAGES


async def test_small_messages_that_are_read_are_served(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Sink")))
    await peer.flood(repeated(peer.data(1, peer.message(b"\x0a\x03abc")), SMALL_MESSAGES))
    await peer.send(peer.data(1, b"", end=True))
    assert (await peer.end_of(1)).get("grpc-status") == "0"
    assert attacked.target.messages == SMALL_MESSAGES


# ---------------------------------------------------------------- WINDOW_UPDATE, PRIORITY, unknown frames


@pytest.mark.parametrize("stream_id", [0, 1])
async def test_window_update_flood(serve: Serve, stream_id: int) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Hang")))
    await peer.flood(repeated(peer.window(stream_id, 1), UPDATES))
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_updates")


async def test_window_updates_of_a_reader_of_much_data_are_no_flood(serve: Serve) -> None:
    """Two for each piece of data, however many."""
    attacked = await serve()
    peer = await attacked.connect()
    fields = peer.request("/test.Target/Pour")
    await peer.send(peer.headers(1, fields) + peer.data(1, peer.message(), end=True))
    for _ in range(3000):
        count = len((await peer.next(DATA)).payload)
        await peer.send(peer.window(0, count) + peer.window(1, count))
    assert not [got for got in peer.seen if got.kind == GOAWAY]


async def test_priority_churn_on_idle_streams(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    depends = (0).to_bytes(4, "big") + b"\x10"
    await peer.flood(
        b"".join(peer.frame(PRIORITY, 0, stream_id, depends) for stream_id in range(start, start + 2 * BLOCK, 2))
        for start in range(1, 2 * PRIORITIES, 2 * BLOCK)
    )
    assert (await peer.goaway()).code == CALM


async def test_frames_of_unknown_types_are_ignored_up_to_a_point(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.flood([peer.frame(0x42, 0xFF, 1, bytes(16_384))] * 2000)
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_bytes")


async def test_what_is_unknown_is_ignored(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect(settings=[(0xFACE, 7)])
    await peer.send(
        peer.frame(0x42, 0xFF, 0, b"?")
        + peer.frame(0xA, 0, 0, b"\0\0")  # ALTSVC
        + peer.frame(0xC, 0, 0, b"\0\0")  # ORIGIN
        + peer.frame(PING, 0xFE, 0, b"12345678")
        + peer.headers(1, peer.request())
        + peer.frame(0x42, 0xFF, 1, b"?")
        + peer.frame(DATA, 0xF6, 1, peer.message())  # flags that mean nothing here
        + peer.frame(DATA, END_STREAM, 1)
    )
    assert (await peer.end_of(1))["grpc-status"] == "0"


async def test_a_mixture_below_each_limit_meets_the_last_one(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    await peer.send(peer.headers(1, peer.request("/test.Target/Hang")))
    piece = b"".join(
        [
            peer.frame(0x42, 0, 0, bytes(8000)),
            peer.frame(PING, ACK, 0, b"12345678"),
            peer.frame(0xA, 0, 0, bytes(8000)),
            peer.frame(0xC, 0, 1, bytes(100)),
        ]
    )
    await peer.flood([piece, peer.window(1, 1)] * 900)
    goaway = await peer.goaway()
    assert (goaway.code, goaway.debug) == (CALM, b"too_many_bytes")


# ---------------------------------------------------------------- fairness


async def test_one_connection_takes_a_few_requests_a_turn(serve: Serve) -> None:
    attacked = await serve()
    peer = await attacked.connect()
    head = peer.request("/test.Target/Counted")
    most = last = 0
    done = False

    async def watch() -> None:
        nonlocal most, last
        while not done:
            most = max(most, attacked.target.started - last)
            last = attacked.target.started
            await asyncio.sleep(0)

    async def send() -> None:
        requests = (peer.headers(stream_id, head, end=True) for stream_id in range(1, 2 * TINY_REQUESTS, 2))
        await peer.send(b"".join(requests))

    async def read() -> None:
        ended = 0
        while ended < TINY_REQUESTS:
            got = await peer.next(HEADERS, RST_STREAM)
            ended += bool(got.kind == RST_STREAM or got.flags & END_STREAM)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(send(), read())
    done = True
    await watcher
    assert most <= 2 * 32
    assert attacked.target.started == TINY_REQUESTS
