"""One stream: what arrived before a failure comes before it, windows are given back by reading, senders never hang."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.status import ErrorCode
from orbit_lite.rpc.stream import BURST, ConnectionEnded, Stream, StreamReset

if TYPE_CHECKING:
    from tests.rpc.conftest import Pair

REQUEST: Headers = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/s/M"),
)
HEAD: Headers = ((":status", "200"),)
TRAILERS: Headers = (("grpc-status", "0"),)
WINDOW = 1 << 20

MakePair = Callable[..., Awaitable["Pair"]]


async def opened(pair: MakePair) -> tuple[Pair, Stream, Stream]:
    """A pair with one stream open, its client's and its server's end."""
    joined = await pair()
    ours = await joined.client.open_stream(lambda: REQUEST)
    await joined.settle()
    return joined, ours, joined.accepted[-1]


async def test_a_request_and_its_response_arrive_in_order(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    assert theirs.headers == REQUEST
    await ours.send_data(b"one")
    assert await theirs.read() == b"one"
    await ours.send_data(b"two", end=True)
    assert [await theirs.read(), await theirs.read()] == [b"two", b""]
    theirs.send_headers(HEAD)
    await theirs.send_data(b"three")
    theirs.send_headers(TRAILERS, end=True)
    await joined.settle()
    assert await ours.wait_headers() == HEAD
    assert [await ours.read(), await ours.read()] == [b"three", b""]
    assert ours.trailers == TRAILERS
    assert not ours.is_head_only


async def test_a_head_alone_is_told_from_a_head_with_an_empty_body(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    theirs.send_headers((*HEAD, *TRAILERS), end=True)
    await joined.settle()
    assert ours.is_head_only
    assert await ours.read() == b""


async def test_any_number_of_small_pieces_may_wait_as_long_as_the_windows_allow(pair: MakePair) -> None:
    """A slow handler is no reason to end the connection, nor to store a hundred bytes for each one that came."""
    joined, ours, theirs = await opened(pair)
    message = b"\0\0\0\0\1x"
    for _ in range(20_000):
        await ours.send_data(message)
        joined.client.flush()
        await asyncio.sleep(0)  # each is read alone
    await ours.send_data(b"", end=True)
    await joined.settle()
    assert joined.server.ended is None
    assert len(theirs._data) < 40
    assert theirs.h2.unreturned == 0
    pieces = []
    while piece := await theirs.read():
        pieces.append(piece)
    assert b"".join(pieces) == message * 20_000


async def test_large_pieces_are_never_copied_together(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    for piece in (b"a" * 10, b"b" * 1000, b"c" * 5000, b"d" * 10, b"e" * 10):
        await ours.send_data(piece)
        await joined.settle()
    assert [len(data) for data, _ in theirs._data] == [10, 1000, 5000, 20]


async def test_what_arrived_before_a_reset_is_read_before_it(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    theirs.send_headers(HEAD)
    await theirs.send_data(b"kept")
    theirs.reset(ErrorCode.INTERNAL_ERROR)
    await joined.settle()
    assert await ours.wait_headers() == HEAD
    assert await ours.read() == b"kept"
    with pytest.raises(StreamReset) as caught:
        await ours.read()
    assert (caught.value.code, caught.value.by_peer) == (ErrorCode.INTERNAL_ERROR, True)


async def test_a_reset_by_us_is_felt_at_once_and_drops_what_was_not_read(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    theirs.send_headers(HEAD)
    await theirs.send_data(b"dropped")
    theirs.send_headers(TRAILERS, end=True)
    await joined.settle()
    failure = RuntimeError("decided here")
    ours.reset(ErrorCode.CANCEL, failure)
    for wait in (ours.read, ours.wait_headers):
        with pytest.raises(RuntimeError):
            await wait()


async def test_every_waiter_is_woken_by_a_failure(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    await ours.send_data(b"x" * WINDOW)
    waiters = [
        asyncio.create_task(ours.wait_headers()),
        asyncio.create_task(ours.wait_headers()),
        asyncio.create_task(ours.send_data(b"more")),
    ]
    await joined.settle()
    assert not any(waiter.done() for waiter in waiters)
    theirs.reset(ErrorCode.CANCEL)
    await joined.settle()
    for waiter in waiters:
        with pytest.raises(StreamReset):
            await waiter


async def test_a_sender_waits_for_the_reader_and_then_goes_on(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    sending = asyncio.create_task(ours.send_data(b"x" * (3 * WINDOW), end=True))
    for _ in range(50):
        await joined.settle()
    assert not sending.done()
    received = 0
    while data := await theirs.read():
        received += len(data)
    assert received == 3 * WINDOW
    await sending


async def test_what_has_come_is_read_in_one_piece_if_it_is_not_too_much(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    for size in (30_000, 30_000, 30_000, 300, 1):
        await ours.send_data(b"x" * size)
        joined.client.flush()
        await joined.settle()
    assert [len(await theirs.read()) for _ in range(2)] == [60_000, 30_301]
    assert theirs.h2.unreturned == 90_301


async def test_a_row_of_messages_is_sent_in_ever_larger_batches_until_the_turn_ends(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    written = [len(joined.to_server.written)]
    for _ in range(40):
        assert ours.send_now(b"x" * 100)
        if len(joined.to_server.written) > written[-1]:
            written.append(len(joined.to_server.written))
    await joined.settle()
    written.append(len(joined.to_server.written))
    batches = [(after - before) // 100 for before, after in pairwise(written)]
    assert batches == [8, 16, 16]
    assert await theirs.read() == b"x" * 4000
    assert theirs.h2.owner is theirs


async def test_large_messages_do_not_pile_up_until_the_turn_ends(pair: MakePair) -> None:
    joined, ours, _ = await opened(pair)
    for _ in range(BURST):
        assert ours.send_now(b"x" * 16_000)
        assert joined.client.h2.output_size < 64 * 1024


async def test_nothing_is_sent_at_once_where_something_would_have_to_wait(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    joined.client.pause_writing()
    assert not ours.send_now(b"x")
    joined.client.resume_writing()
    while ours.send_now(b"x"):  # until it is the others' turn
        pass
    assert ours.turns == 0
    await ours.share()
    assert ours.send_now(b"x")
    theirs.reset(ErrorCode.CANCEL)
    await joined.settle()
    assert not ours.send_now(b"x")


async def test_messages_that_need_no_wait_still_let_others_run(pair: MakePair) -> None:
    _, ours, _ = await opened(pair)
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    for _ in range(100):
        await ours.share()
    assert ran.is_set()


async def test_one_unread_stream_does_not_stop_the_others(pair: MakePair) -> None:
    joined, ours, _ = await opened(pair)
    await ours.send_data(b"x" * WINDOW)
    other = await joined.client.open_stream(lambda: REQUEST)
    await other.send_data(b"x" * WINDOW, end=True)
    await joined.settle()
    received = 0
    while data := await joined.accepted[-1].read():
        received += len(data)
    assert received == WINDOW


async def test_unread_data_of_a_released_stream_is_given_back_to_the_connection(pair: MakePair) -> None:
    joined, _, _ = await opened(pair)
    for _ in range(8):  # twice the connection's window
        ours = await joined.client.open_stream(lambda: REQUEST)
        await ours.send_data(b"x" * WINDOW, end=True)
        await joined.settle()
        joined.accepted[-1].release()
        await joined.settle()


async def test_cancelling_a_sender_in_the_middle_resets_the_stream(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    sending = asyncio.create_task(ours.send_data(b"x" * (2 * WINDOW)))
    for _ in range(50):
        await joined.settle()
    sending.cancel()
    await joined.settle()
    assert isinstance(theirs.failure, StreamReset)
    assert theirs.failure.code == ErrorCode.CANCEL


async def test_cancelling_a_sender_before_its_first_byte_leaves_the_stream_whole(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    await ours.send_data(b"x" * WINDOW)
    sending = asyncio.create_task(ours.send_data(b"late"))
    await joined.settle()
    sending.cancel()
    await joined.settle()
    assert theirs.failure is None
    received = 0
    while received < WINDOW:
        received += len(await theirs.read())
    await joined.settle()
    await ours.send_data(b"", end=True)
    await joined.settle()
    assert await theirs.read() == b""


async def test_a_reset_after_a_complete_response_only_says_send_no_more(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    theirs.send_headers((*HEAD, *TRAILERS), end=True)
    theirs.reset(ErrorCode.NO_ERROR)
    await joined.settle()
    assert ours.failure is None
    assert await ours.read() == b""
    with pytest.raises(StreamReset):
        await ours.send_data(b"nobody wants this")


async def test_a_reset_after_a_complete_request_cancels_it(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    told: list[str] = []
    theirs.on_failure = lambda: told.append("gone")
    await ours.send_data(b"", end=True)
    ours.reset(ErrorCode.CANCEL)
    await joined.settle()
    assert told == ["gone"]
    with pytest.raises(StreamReset):
        theirs.send_headers(HEAD)


async def test_the_end_of_the_connection_is_the_end_of_the_stream(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    reading = asyncio.create_task(theirs.read())
    await joined.settle()
    joined.client.close("done")
    await joined.settle()
    with pytest.raises(ConnectionEnded):
        await reading
    with pytest.raises(ConnectionEnded, match="done") as caught:
        await ours.send_data(b"late")
    assert caught.value.by_us


async def test_after_release_nobody_is_told_of_a_failure(pair: MakePair) -> None:
    joined, ours, theirs = await opened(pair)
    told: list[str] = []
    theirs.on_failure = lambda: told.append("gone")
    theirs.release()
    ours.reset(ErrorCode.CANCEL)
    await joined.settle()
    assert told == []
