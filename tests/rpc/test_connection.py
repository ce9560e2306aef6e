"""A connection: places for streams, GOAWAY, broken peers, silence. Nothing of it is left when it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.http2 import LAST_STREAM_ID, Http2Config
from orbit_lite.http2.connection import Connection as Http2
from orbit_lite.http2.fields import HeaderMemory
from orbit_lite.rpc.connection import Connection, ConnectionSettings
from orbit_lite.rpc.keepalive import KeepAlive
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.status import ErrorCode
from orbit_lite.rpc.stream import ConnectionEnded, Stream, StreamReset

if TYPE_CHECKING:
    from tests.rpc.conftest import Pair

REQUEST: Headers = ((":method", "POST"), (":scheme", "http"), (":path", "/s/M"))
HEAD: Headers = ((":status", "200"),)

MakePair = Callable[..., Awaitable["Pair"]]
Give = Callable[[asyncio.BufferedProtocol, bytes], None]


def request() -> Headers:
    return REQUEST


async def leave(joined: Pair, stream: Stream) -> None:
    """End a stream at both sides."""
    stream.reset(ErrorCode.CANCEL)
    stream.release()
    await joined.settle()
    joined.accepted[-1].release()
    await joined.settle()


async def test_both_ends_are_open_once_settings_are_exchanged(pair: MakePair) -> None:
    joined = await pair()
    assert joined.client.is_open
    assert joined.server.is_open
    assert str(joined.client.peer) == "192.0.2.1:7"
    assert repr(joined.client) == "<Connection 192.0.2.1:7 open, 0 streams>"


async def test_streams_above_the_peers_limit_wait_in_order(pair: MakePair) -> None:
    joined = await pair(max_streams=1)
    first = await joined.client.open_stream(request)
    opened: list[int] = []

    async def open_one(number: int) -> Stream:
        stream = await joined.client.open_stream(request)
        opened.append(number)
        return stream

    waiting = [asyncio.create_task(open_one(number)) for number in range(3)]
    await joined.settle()
    assert opened == []
    waiting[0].cancel()
    await leave(joined, first)
    await leave(joined, waiting[1].result())
    assert opened == [1, 2]


async def test_a_place_offered_to_a_waiter_that_was_cancelled_goes_to_the_next(pair: MakePair) -> None:
    joined = await pair(max_streams=1)
    first = await joined.client.open_stream(request)
    one, two = (asyncio.create_task(joined.client.open_stream(request)) for _ in range(2))
    await joined.settle()
    first.reset(ErrorCode.CANCEL)
    first.release()
    one.cancel()  # the place is on its way to this one
    await joined.settle()
    assert one.cancelled()
    assert two.done()


async def test_a_place_that_is_not_used_after_all_goes_to_the_next(pair: MakePair) -> None:
    joined = await pair(max_streams=1)
    first = await joined.client.open_stream(request)

    def no_time_left() -> Headers:
        raise TimeoutError

    late = asyncio.create_task(joined.client.open_stream(no_time_left))
    second = asyncio.create_task(joined.client.open_stream(request))
    await joined.settle()
    await leave(joined, first)
    with pytest.raises(TimeoutError):
        await late
    assert second.done()


async def test_nobody_overtakes_those_who_wait(pair: MakePair) -> None:
    joined = await pair(max_streams=1)
    first = await joined.client.open_stream(request)
    waiting = asyncio.create_task(joined.client.open_stream(request))
    await joined.settle()
    first.reset(ErrorCode.CANCEL)
    await joined.settle()
    joined.accepted[0].release()
    first.release()  # the place is on its way to `waiting`
    newcomer = joined.client.open_stream(request)
    newcomer.send(None)  # it waits, else this would raise StopIteration
    await joined.settle()
    assert waiting.done()
    newcomer.close()


async def test_a_peer_that_asks_and_does_not_read_is_dropped(pair: MakePair, give: Give) -> None:
    joined = await pair(server_options={"ping_interval": None})
    joined.to_client.is_held = True
    joined.server.pause_writing()
    ping = b"\0\0\x08\x06\0\0\0\0\0" + b"\0" * 8
    for _ in range(600):
        give(joined.server, ping * 1000)
        if joined.server.ended is not None:
            break
    assert joined.server.ended is not None
    assert "does not read" in joined.server.ended.reason


async def test_a_place_is_held_until_the_handler_has_ended(pair: MakePair) -> None:
    joined = await pair(max_streams=1)
    first = await joined.client.open_stream(request)
    await joined.settle()
    first.reset(ErrorCode.CANCEL)
    first.release()
    second = await joined.client.open_stream(request)
    await joined.settle()
    assert len(joined.accepted) == 1
    assert isinstance(second.failure, StreamReset)
    assert second.failure.code == ErrorCode.REFUSED_STREAM
    joined.accepted[0].release()
    await joined.client.open_stream(request)
    await joined.settle()
    assert len(joined.accepted) == 2


async def test_a_full_transport_stops_new_streams_and_data(pair: MakePair) -> None:
    joined = await pair()
    ours = await joined.client.open_stream(request)
    joined.client.pause_writing()
    opening = asyncio.create_task(joined.client.open_stream(request))
    sending = asyncio.create_task(ours.send_data(b"x"))
    await joined.settle()
    assert not opening.done()
    assert not sending.done()
    joined.client.resume_writing()
    await joined.settle()
    assert opening.done()
    assert sending.done()


async def test_after_a_goaway_old_streams_go_on_and_new_ones_are_refused_here(pair: MakePair) -> None:
    joined = await pair()
    ours = await joined.client.open_stream(request)
    await joined.settle()
    joined.server.go_away(final=False)
    await joined.settle()
    assert not joined.client.is_open
    with pytest.raises(ConnectionEnded, match="GOAWAY NO_ERROR") as caught:
        await joined.client.open_stream(request)
    assert not caught.value.processed
    joined.accepted[0].send_headers(HEAD, end=True)
    await joined.settle()
    assert await ours.wait_headers() == HEAD
    ours.release()
    await joined.settle()
    assert joined.client.has_closed


async def test_streams_that_a_goaway_leaves_out_were_not_processed(pair: MakePair) -> None:
    joined = await pair()
    first, second = [await joined.client.open_stream(request) for _ in range(2)]
    joined.server.h2.go_away(ErrorCode.ENHANCE_YOUR_CALM, first.id, b"too_many_pings")
    joined.server.flush()
    await joined.settle()
    assert first.failure is None
    assert isinstance(second.failure, ConnectionEnded)
    assert not second.failure.processed
    assert "too_many_pings" in second.failure.reason
    assert joined.client.was_too_chatty


async def test_a_waiting_stream_learns_of_a_goaway(pair: MakePair) -> None:
    joined = await pair(max_streams=1)
    await joined.client.open_stream(request)
    waiting = asyncio.create_task(joined.client.open_stream(request))
    await joined.settle()
    joined.server.go_away(final=True)
    with pytest.raises(ConnectionEnded) as caught:
        await waiting
    assert not caught.value.processed


async def test_used_up_stream_ids_end_the_connection_gently(pair: MakePair) -> None:
    joined = await pair()
    joined.client.h2._next_id = LAST_STREAM_ID + 2
    with pytest.raises(ConnectionEnded, match="stream ids") as caught:
        await joined.client.open_stream(request)
    assert not caught.value.processed
    assert not joined.client.is_open


async def test_a_peer_that_breaks_the_protocol_is_told_and_all_streams_end(pair: MakePair, give: Give) -> None:
    joined = await pair()
    ours = await joined.client.open_stream(request)
    await joined.settle()
    give(joined.server, b"\0\0\1\0\0\0\0\0\0x")  # DATA on stream 0 (RFC 9113 §6.1)
    await joined.settle()
    assert isinstance(joined.accepted[0].failure, ConnectionEnded)
    assert "broke the HTTP/2 protocol" in joined.accepted[0].failure.reason
    assert joined.client.goaway is not None
    assert joined.client.goaway.code == ErrorCode.PROTOCOL_ERROR
    assert isinstance(ours.failure, ConnectionEnded)
    assert joined.server.has_closed


async def test_a_defect_of_ours_ends_one_connection_and_is_logged(
    pair: MakePair, caplog: pytest.LogCaptureFixture
) -> None:
    joined = await pair()

    def broken(stream: Stream) -> None:
        raise RuntimeError("defect")

    joined.server._accept = broken
    ours = await joined.client.open_stream(request)
    with caplog.at_level(logging.ERROR, logger="orbit_lite.rpc"):
        await joined.settle()
    assert "defect while reading from 192.0.2.1:7" in caplog.text
    assert isinstance(ours.failure, ConnectionEnded)
    assert joined.server.has_closed


async def test_unknown_frames_settings_and_priorities_are_ignored(pair: MakePair, give: Give) -> None:
    joined = await pair()
    unknown_frame = b"\0\0\3\xfa\0\0\0\0\0abc"
    unknown_setting = b"\0\0\6\4\0\0\0\0\0\xff\xff\0\0\0\1"
    priority = b"\0\0\5\2\0\0\0\0\x09\0\0\0\0\x10"
    give(joined.server, unknown_frame + unknown_setting + priority)
    await joined.client.open_stream(request)
    await joined.settle()
    assert len(joined.accepted) == 1


async def test_an_http_1_server_is_recognised(pair: MakePair, give: Give) -> None:
    joined = await pair()
    fresh = type(joined.client)(joined.client.settings)
    give(fresh, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    fresh.connection_lost(None)
    with pytest.raises(ConnectionEnded):
        await fresh.wait_ready()


async def test_a_silent_peer_is_given_up(pair: MakePair) -> None:
    joined = await pair(client_options={"keep_alive_interval": 0.01, "keep_alive_timeout": 0.01})
    ours = await joined.client.open_stream(request)
    await joined.settle()
    joined.to_client.is_held = True
    await joined.client.wait_closed()
    assert isinstance(ours.failure, ConnectionEnded)
    assert "did not answer a PING" in ours.failure.reason


async def test_a_peer_that_answers_is_kept_and_idle_connections_are_not_pinged(pair: MakePair) -> None:
    joined = await pair(
        client_options={"keep_alive_interval": 0.005, "keep_alive_timeout": 1.0}, server_options={"ping_interval": None}
    )
    ping = b"\0\0\x08\x06\0"
    for _ in range(10):
        await asyncio.sleep(0.005)
    assert ping not in joined.to_server.written
    await joined.client.open_stream(request)
    for _ in range(10):
        await asyncio.sleep(0.005)
    assert ping in joined.to_server.written
    assert joined.client.is_open


async def test_a_client_without_preface_is_dropped(pair: MakePair) -> None:
    joined = await pair()
    settings = type(joined.server.settings)(client=False, http2=Http2Config(preface_timeout=0.01))
    fresh = type(joined.server)(settings)
    transport = type(joined.to_client)()
    transport.protocol = fresh
    fresh.connection_made(transport)
    await fresh.wait_closed()
    assert fresh.ended is not None
    assert "preface" in fresh.ended.reason


async def test_closing_twice_or_late_changes_nothing(pair: MakePair) -> None:
    joined = await pair()
    joined.client.close("first")
    joined.client.close("second")
    joined.client.abort()
    joined.client.go_away(final=True)
    await joined.settle()
    assert joined.client.ended is not None
    assert joined.client.ended.reason == "first"
    assert "ended: first" in repr(joined.client)


class Nowhere(asyncio.Transport):
    """Takes everything and remembers nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    abort = close


async def test_an_idle_connection_of_a_server_takes_little_memory(give: Give) -> None:
    """Beside its transport: 2.8 KB when this was written. Nothing of one peer's tables and timers is its own."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not trace its memory")
    loop = asyncio.get_running_loop()
    settings = ConnectionSettings(client=False)
    memory, keep_alive = HeaderMemory(1 << 14, 128), KeepAlive(loop, interval=7200.0, timeout=20.0)

    def answer(stream: Stream) -> None:
        assert stream.send_reply(HEAD, b"12345", (("grpc-status", "0"),))
        stream.release()

    def connected(transport: Nowhere) -> Connection:
        made = Connection(settings, accept=answer, keep_alive=keep_alive, memory=memory)
        made.connection_made(transport)
        client = Http2(Http2Config(), client=True, now=0.0)
        assert client.open_whole(REQUEST, b"12345") is not None
        give(made, bytes(client.take_output()))
        give(made, bytes.fromhex("000000040100000000"))  # our SETTINGS acknowledged
        return made

    transports = [Nowhere() for _ in range(100)]
    first = connected(Nowhere())
    gc.collect()
    tracemalloc.start()
    try:
        connections = [connected(transport) for transport in transports]
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(connection.is_open and connection.is_idle for connection in connections)
    for connection in (first, *connections):
        connection.abort()
    assert used / len(connections) < 3500
