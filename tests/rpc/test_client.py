"""Calls as their callers see them, against a server that may send anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from betterproto import ServiceStub
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbit_lite import codec
from orbit_lite.errors import ConnectionLost, Executed, InternalError, NetworkError, SerializationError
from orbit_lite.rpc import (
    Cancelled,
    Channel,
    Deadline,
    DeadlineExceeded,
    Internal,
    NotFound,
    ResourceExhausted,
    RpcError,
    TransportConfig,
    Unavailable,
    Unimplemented,
    UnknownError,
)
from orbit_lite.rpc.client import RESENDS
from orbit_lite.rpc.stream import BURST

if TYPE_CHECKING:
    from tests.rpc.conftest import RawPeer, Served

Serve = Callable[..., Awaitable["Served"]]
Script = Callable[["RawPeer"], Awaitable[None]]
RawServer = Callable[..., Awaitable[Channel]]

PATH = "/test.Echo/Call"
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
MESSAGE = b"\0\0\0\0\3\x0a\x01x"


def call_of(channel: Channel, cardinality: Cardinality = Cardinality.UNARY_UNARY, **options: Any) -> Any:
    return channel.request(PATH, cardinality, StringValue, StringValue, **options)


async def ask(call: Any, *, replies: int = 1) -> list[Any]:
    """Send one message in an open call and receive some replies."""
    await call.send_message(StringValue("q"))
    return [await call.recv_message() for _ in range(replies)]


async def unary(channel: Channel, **options: Any) -> Any:
    async with call_of(channel, **options) as call:
        await call.send_message(StringValue("q"), end=True)
        return await call.recv_message()


def answer(*steps: Any, wait: bool = True) -> Script:
    """A server that reads a whole request and then does `steps`: header lists (a tuple ends the stream), bytes, codes
    of RST_STREAM."""

    async def script(peer: RawPeer) -> None:
        if wait:
            while "END_STREAM" not in (await peer.next(DataFrame)).flags:
                pass
        for step in steps:
            if isinstance(step, bytes):
                peer.data(1, step)
            elif isinstance(step, int):
                peer.reset(1, step)
            else:
                peer.headers(1, list(step), end=isinstance(step, tuple))
        await peer.closed()

    return script


# ---------------------------------------------------------------- what servers answer


async def test_a_good_answer_gives_message_and_metadata(raw_server: RawServer) -> None:
    script = answer([*HEAD, ("x", "1")], MESSAGE, (*OK, ("y-bin", "AQ==")))
    channel = await raw_server(script)
    async with call_of(channel) as call:
        await call.send_message(StringValue("q"))
        assert await call.recv_message() == StringValue("x")
        assert await call.recv_message() is None
    assert call.initial_metadata.items() == (("x", "1"),)
    assert call.trailing_metadata.items() == (("y-bin", b"\1"),)


@pytest.mark.parametrize(
    ("steps", "kind", "text"),
    [
        ([(*HEAD, ("grpc-status", "5"), ("grpc-message", "nicht %E2%98%BA"))], NotFound, "nicht ☺"),
        ([HEAD, (("grpc-status", "5"),)], NotFound, ""),
        ([HEAD, MESSAGE, (("grpc-status", "5"),)], NotFound, ""),
        ([HEAD, MESSAGE[:-1], (("grpc-status", "5"),)], NotFound, ""),
        ([(*HEAD, ("grpc-status", "zwölf"), ("grpc-message", "100%"))], UnknownError, "is none: 100%"),
        ([HEAD, MESSAGE, (("x", "1"),)], UnknownError, "without grpc-status"),
        ([((":status", "503"),)], Unavailable, "HTTP status 503"),
        ([[(":status", "503"), ("content-type", "text/html")], b"<html>"], Unavailable, "HTTP status 503"),
        ([((":status", "404"),)], Unimplemented, "HTTP status 404"),
        ([[(":status", "200"), ("content-type", "text/html")], b"<html>"], UnknownError, "text/html"),
        ([[*HEAD, ("grpc-encoding", "br")]], Internal, "not offered"),
        ([HEAD, (*OK,)], Internal, "without its reply"),
        ([(*HEAD, *OK)], Internal, "without its reply"),
        ([HEAD, MESSAGE[:-1], (*OK,)], Internal, "inside a message"),
        ([HEAD, b"\1" + MESSAGE[1:]], Internal, "compressed"),
        ([HEAD, b"\0\0\0\0\2\x0a\xff", (*OK,)], Internal, "cannot be decoded"),
        ([HEAD, b"\0\xff\xff\xff\xff"], ResourceExhausted, "4294967295 bytes"),
        ([HEAD, MESSAGE, 0], Internal, "NO_ERROR"),
        ([[(":status", "103")], [(":status", "103")], (*HEAD, ("grpc-status", "5"))], NotFound, ""),
    ],
)
async def test_every_bad_answer_is_an_error_that_names_peer_and_method(
    raw_server: RawServer, steps: list[Any], kind: type[RpcError], text: str
) -> None:
    channel = await raw_server(answer(*steps))
    with pytest.raises(kind) as caught:
        await unary(channel)
    assert text in str(caught.value)
    assert caught.value.peer == channel.endpoint.url
    assert caught.value.method == PATH


async def test_data_without_a_head_is_no_answer(raw_server: RawServer) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.next(DataFrame)
        peer.data(1, MESSAGE, end=True)
        await peer.closed()

    channel = await raw_server(script)
    with pytest.raises((Internal, ConnectionLost)):
        await unary(channel)


async def test_a_second_reply_to_a_unary_call_is_an_error(raw_server: RawServer) -> None:
    channel = await raw_server(answer(HEAD, MESSAGE, MESSAGE, (*OK,)))
    async with call_of(channel) as call:
        with pytest.raises(Internal, match="more than one reply"):
            await ask(call, replies=2)


@pytest.mark.parametrize(
    ("code", "kind", "executed"),
    [
        (0x0, Internal, Executed.MAYBE),
        (0x1, Internal, Executed.MAYBE),
        (0x7, Unavailable, Executed.NO),
        (0x8, Cancelled, Executed.MAYBE),
        (0xB, ResourceExhausted, Executed.MAYBE),
        (0xFF, UnknownError, Executed.MAYBE),
    ],
)
async def test_a_reset_is_the_status_of_its_code(
    raw_server: RawServer, code: int, kind: type[RpcError], executed: Executed
) -> None:
    async def script(peer: RawPeer) -> None:
        with suppress(EOFError):
            while True:
                peer.reset((await peer.next(HeadersFrame)).stream_id, code)

    channel = await raw_server(script)
    with pytest.raises(kind) as caught:
        await unary(channel)
    assert caught.value.executed is executed


async def test_a_refused_request_is_sent_once_more(raw_server: RawServer) -> None:
    """Nobody has looked at it (RFC 9113 §8.7)."""
    asked: list[int] = []

    async def script(peer: RawPeer) -> None:
        for stream_id in (1, 3):
            await peer.next(DataFrame, stream_id)
            asked.append(stream_id)
            if stream_id == 1:
                peer.reset(1, 0x7)
        peer.headers(3, list(HEAD))
        peer.data(3, MESSAGE)
        peer.headers(3, list(OK), end=True)
        await peer.closed()

    await unary(await raw_server(script))
    assert asked == [1, 3]


async def test_a_lost_connection_leaves_open_whether_the_call_ran(raw_server: RawServer) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.next(DataFrame)

    channel = await raw_server(script)
    with pytest.raises(ConnectionLost) as caught:
        await unary(channel)
    assert caught.value.executed is Executed.MAYBE
    assert isinstance(caught.value, NetworkError)
    assert not channel.is_connected


async def test_streams_beyond_a_goaway_were_not_executed(raw_server: RawServer) -> None:
    connections = 0

    async def script(peer: RawPeer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.next(HeadersFrame, 3)
            peer.goaway(1)
        else:
            await peer.next(HeadersFrame, 1)
            peer.goaway(0)
        await peer.closed()

    channel = await raw_server(script)
    async with call_of(channel) as first, call_of(channel) as second:
        await first.send_message(StringValue("q"))
        await second.send_message(StringValue("q"))
        with pytest.raises(ConnectionLost, match="GOAWAY") as caught:
            await second.recv_message()
        assert caught.value.executed is Executed.NO
        assert connections == 1 + RESENDS, "it was sent again, to no avail"
        await first.cancel()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 5 * len(MESSAGE)), end=st.sampled_from(["reset", "lost", "status"]))
async def test_messages_before_the_end_are_received_before_it(raw_server: RawServer, cut: int, end: str) -> None:
    steps = {"reset": 2, "lost": None, "status": (("grpc-status", "13"),)}[end]
    script = answer(HEAD, (MESSAGE * 5)[:cut], *([] if steps is None else [steps]))

    async def run(peer: RawPeer) -> None:
        if end != "lost":
            await script(peer)
        else:
            await peer.next(DataFrame)
            peer.headers(1, HEAD)
            peer.data(1, (MESSAGE * 5)[:cut])

    channel = await raw_server(run)
    async with call_of(channel, Cardinality.UNARY_STREAM) as call:
        await ask(call, replies=cut // len(MESSAGE))
        with pytest.raises((Internal, ConnectionLost)):
            await call.recv_message()
    channel.close()
    await channel.wait_closed()


# ---------------------------------------------------------------- deadlines


@pytest.mark.parametrize("kind", ["silent", "drip", "window"])
async def test_a_deadline_ends_the_call_whatever_the_server_does(raw_server: RawServer, kind: str) -> None:
    reset: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def script(peer: RawPeer) -> None:
        if kind == "window":
            peer.settings(settings={4: 0})
        headers = await peer.next(HeadersFrame)
        assert "grpc-timeout" in dict(headers.fields)
        peer.headers(1, HEAD)
        if kind == "drip":
            peer.data(1, MESSAGE[:3])
        reset.set_result((await peer.next(RstStreamFrame, 1)).error_code)

    channel = await raw_server(script)
    with pytest.raises(DeadlineExceeded) as caught:
        await unary(channel, timeout=0.05)
    assert caught.value.executed is Executed.MAYBE
    assert isinstance(caught.value, TimeoutError)
    assert await reset == 8


async def test_without_time_left_nothing_is_sent(raw_server: RawServer) -> None:
    channel = await raw_server(answer())
    for options in ({"timeout": 0}, {"timeout": -1.0}, {"deadline": Deadline.after(-1.0)}):
        with pytest.raises(DeadlineExceeded) as caught:
            await unary(channel, **options)
        assert caught.value.executed is Executed.NO
    assert not channel.is_connected


async def test_a_deadline_covers_the_dial(raw_server: RawServer) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.reader.read()  # takes the connection and never says anything

    channel = await raw_server(script, preface=False)
    with pytest.raises(DeadlineExceeded) as caught:
        await unary(channel, timeout=0.02)
    assert caught.value.executed is Executed.NO


async def test_tonics_word_for_a_passed_deadline_is_understood(raw_server: RawServer) -> None:
    timeout_expired = (*HEAD, ("grpc-status", "1"), ("grpc-message", "Timeout expired"))
    channel = await raw_server(answer(timeout_expired))
    with pytest.raises(Cancelled):  # it was not ours that expired
        await unary(channel, timeout=60.0)
    channel = await raw_server(answer(timeout_expired))
    async with call_of(channel, timeout=60.0) as call:
        await call.send_message(StringValue("q"))
        call.deadline = Deadline.after(-1.0)  # the timer is late
        with pytest.raises(DeadlineExceeded):
            await call.recv_message()


async def test_a_complete_answer_outlives_the_deadline(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        for _ in range(3):
            await stream.send_message(StringValue("x"))

    served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call(timeout=0.05) as call:
        await call.send_message(StringValue("q"))
        await call.recv_message()
        while not call._stream.receive_ended:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        while not call.deadline.is_over():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert len([message async for message in call]) == 2


# ---------------------------------------------------------------- leaving and cancelling


async def test_leaving_a_stream_of_replies_early_cancels_the_call(serve: Serve) -> None:
    cancelled = asyncio.Event()

    async def handler(stream: Any) -> None:
        try:
            while True:
                await stream.send_message(StringValue("tick"))
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        await call.recv_message()
    await cancelled.wait()
    assert served.channel.open_streams == 0
    assert not next(iter(served.channel._connections)).streams


async def test_a_cancelled_caller_cancels_the_handler_and_leaves_nothing(serve: Serve) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(stream: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    served = await serve(handler)
    calling = asyncio.create_task(served.unary())
    await started.wait()
    assert served.channel.open_streams == 1
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await cancelled.wait()
    assert served.channel.open_streams == 0
    assert not next(iter(served.channel._connections)).streams


async def test_cancel_ends_the_call_for_all_who_wait(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await asyncio.Event().wait()

    served = await serve(handler, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        waiting = asyncio.create_task(call.recv_message())
        await asyncio.sleep(0)
        await call.cancel()
        await call.cancel()
        with pytest.raises(Cancelled):
            await waiting
        for late in (call.recv_message(), call.send_message(StringValue("q")), call.end()):
            with pytest.raises(Cancelled):
                await late


async def test_an_error_in_the_block_is_not_replaced(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await asyncio.Event().wait()

    served = await serve(handler)

    async def fail(*, replies: int) -> None:
        async with served.call() as call:
            if replies:
                await call.send_message(StringValue("q"))
            raise ZeroDivisionError

    for replies in (0, 1):
        with pytest.raises(ZeroDivisionError):
            await fail(replies=replies)


async def test_an_error_status_is_raised_on_leaving_if_it_was_not_met_before(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(StringValue("reply"))
        raise NotFound("after all")

    served = await serve(handler)
    with pytest.raises(NotFound, match="after all"):
        await served.unary()


# ---------------------------------------------------------------- sending


async def test_both_directions_may_run_in_different_tasks(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        async for message in stream:
            await stream.send_message(message)

    served = await serve(handler, Cardinality.STREAM_STREAM)
    async with served.call() as call:

        async def send(name: str) -> None:
            for number in range(20):
                await call.send_message(StringValue(f"{name}{number}" + "." * 50_000))

        async def send_all() -> None:
            await asyncio.gather(send("a"), send("b"))
            await call.end()

        sending = asyncio.create_task(send_all())
        received = [message.value.rstrip(".") async for message in call]
        await sending
    assert sorted(received) == sorted(f"{name}{number}" for name in "ab" for number in range(20))
    assert [text for text in received if text[0] == "a"] == [f"a{number}" for number in range(20)]


async def test_small_messages_of_one_task_stay_out_of_another_tasks_large_ones(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        async for message in stream:
            await stream.send_message(StringValue(f"{len(set(message.value))} {len(message.value)}"))

    served = await serve(handler, Cardinality.STREAM_STREAM)
    async with served.call() as call:

        async def send_large() -> None:
            for letter in "abc":
                await call.send_message(StringValue(letter * 2_000_000))  # more than a turn's share and the window

        async def small() -> AsyncIterator[StringValue]:
            while not large.done():
                yield StringValue("s")
                await asyncio.sleep(0)

        large = asyncio.create_task(send_large())
        small_ones = asyncio.create_task(call.send_all(small()))
        received = [message.value async for message in call]
        await asyncio.gather(large, small_ones)
    assert [size for size in received if size != "1 1"] == ["1 2000000"] * 3


async def chat(stream: Any) -> None:
    """Answers each message, and all of them at the end."""
    received = [message async for message in stream]
    for message in received:
        await stream.send_message(message)


async def test_messages_that_are_there_are_received_without_a_wait(serve: Serve) -> None:
    served = await serve(chat, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        await call.send_all(StringValue(str(number)) for number in range(20))
        assert await call.recv_message() == StringValue("0")
        for number in range(1, 20):
            with pytest.raises(StopIteration) as caught:
                call.recv_message().send(None)  # ends in its first step
            assert caught.value.value == StringValue(str(number))
        assert await call.recv_message() is None


async def test_a_loop_over_messages_that_are_there_lets_others_run(serve: Serve) -> None:
    served = await serve(chat, Cardinality.STREAM_STREAM)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with served.call() as call:
        await call.send_all(StringValue("x") for _ in range(BURST * 6))
        await call.recv_message()
        counting = asyncio.create_task(count())
        for _ in range(BURST * 5):
            await call.recv_message()
        counting.cancel()
        assert turns >= 5
        await call.cancel()


async def test_after_a_cancel_not_even_messages_that_are_there_are_received(serve: Serve) -> None:
    served = await serve(chat, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        await call.send_all(StringValue("x") for _ in range(5))
        await call.recv_message()
        await call.cancel()
        for _ in range(2):
            with pytest.raises(Cancelled):
                await call.recv_message()


async def test_messages_before_an_error_status_are_received_before_it(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await chat(stream)
        raise NotFound("no more")

    served = await serve(handler, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        await call.send_all(StringValue(str(number)) for number in range(5))
        assert [(await call.recv_message()).value for _ in range(5)] == list("01234")
        with pytest.raises(NotFound, match="no more"):
            await call.recv_message()


async def test_a_message_that_cannot_be_read_ends_the_call_after_those_before_it(raw_server: RawServer) -> None:
    good, bad = b"\0\0\0\0\3\n\1x", b"\0\0\0\0\3\n\1\xff"
    channel = await raw_server(answer(HEAD, good + good + bad + good))
    async with call_of(channel, Cardinality.STREAM_STREAM) as call:
        await call.send_message(StringValue("q"), end=True)
        assert [(await call.recv_message()).value for _ in range(2)] == ["x", "x"]
        for _ in range(2):
            with pytest.raises(Internal, match="cannot be decoded"):
                await call.recv_message()


@pytest.mark.parametrize("kind", ["a list", "an async generator"])
async def test_send_all_sends_what_any_iterable_gives_and_ends(serve: Serve, kind: str) -> None:
    async def generated() -> AsyncIterator[StringValue]:
        for text in texts:
            yield StringValue(text)

    served = await serve(chat, Cardinality.STREAM_STREAM)
    texts = [str(number) for number in range(BURST * 3)]
    async with served.call() as call:
        await call.send_all([StringValue(text) for text in texts] if kind == "a list" else generated())
        assert [message.value async for message in call] == texts
        with pytest.raises(InternalError, match="after the end"):
            await call.send_all([StringValue("more")])


async def test_what_send_all_cannot_send_is_raised_where_it_was_given(serve: Serve) -> None:
    served = await serve(chat, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        with pytest.raises(SerializationError, match="must be StringValue") as caught:
            await call.send_all([StringValue("one"), "text", StringValue("never")])
        assert caught.value.executed is Executed.MAYBE
        await call.end()
        assert [message.value async for message in call] == ["one"]


async def test_send_all_sends_one_message_of_a_unary_request(serve: Serve) -> None:
    served = await serve(chat, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_request()
        with pytest.raises(InternalError, match="after the end"):
            await call.send_all([StringValue("one"), StringValue("two")])
        assert [message.value async for message in call] == ["one"]


async def test_our_stubs_tell_a_call_of_an_iterator_that_fails_before_its_first_message(serve: Serve) -> None:
    """betterproto's own would leave the call to its deadline."""

    class Stub(codec.ServiceStub):
        def call(self, requests: AsyncIterator[StringValue]) -> AsyncGenerator[StringValue, None]:
            return self._stream_stream(PATH, requests, StringValue, StringValue)

    async def requests() -> AsyncIterator[StringValue]:
        for number in (0,):
            yield StringValue(str(1 // number))

    served = await serve(chat, Cardinality.STREAM_STREAM)
    with pytest.raises(Cancelled, match="ZeroDivisionError"):
        await anext(Stub(served.channel).call(requests()))


async def test_what_cannot_be_sent_fails_alone_and_the_call_goes_on(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        async for message in stream:
            await stream.send_message(message)

    served = await serve(handler, Cardinality.STREAM_STREAM, config=TransportConfig(max_message_size=1000))
    async with served.call() as call:
        with pytest.raises(ResourceExhausted, match="for sending") as caught:
            await call.send_message(StringValue("x" * 2000))
        assert caught.value.executed is Executed.NO
        assert not caught.value.retryable
        await call.send_message(StringValue("fits"))
        with pytest.raises(SerializationError, match="must be StringValue") as other:
            await call.send_message("text")
        assert other.value.executed is Executed.MAYBE
        await call.end()
        await call.end()
        assert [message.value async for message in call] == ["fits"]


async def test_misuse_is_reported_as_such(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    served = await serve(handler)
    async with served.call() as call:
        with pytest.raises(InternalError, match="before the request was sent"):
            await call.recv_message()
        with pytest.raises(InternalError, match="without a message"):
            await call.end()
        await call.send_message(StringValue("q"))
        with pytest.raises(InternalError, match="after the end"):
            await call.send_message(StringValue("q"))
        await call.end()
        assert await call.recv_message() == StringValue("q")


async def test_an_empty_request_stream_is_a_call(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        count = len([message async for message in stream])
        await stream.send_message(StringValue(str(count)))

    served = await serve(handler, Cardinality.STREAM_UNARY)
    for open_first in (True, False):
        async with served.call() as call:
            if open_first:
                await call.send_request(end=True)
            await call.end()
            assert await call.recv_message() == StringValue("0")


async def test_messages_that_the_server_no_longer_wants_are_dropped(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(StringValue("enough"))

    served = await serve(handler, Cardinality.STREAM_UNARY)
    async with served.call() as call:
        for _ in range(200):
            await call.send_message(StringValue("x" * 50_000))
        await call.end()
        assert await call.recv_message() == StringValue("enough")


async def test_a_server_that_refuses_in_the_middle_is_heard_by_the_sender(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.recv_message()
        raise ResourceExhausted("no more")

    served = await serve(handler, Cardinality.STREAM_UNARY)

    async def send_much(call: Any) -> None:
        for _ in range(200):
            await call.send_message(StringValue("x" * 50_000))

    async with served.call() as call:
        with pytest.raises(ResourceExhausted, match="no more"):
            await send_much(call)


class EchoStub(ServiceStub):
    """What betterproto generates for a bidirectional method."""

    async def call(self, requests: AsyncIterator[StringValue]) -> AsyncIterator[StringValue]:
        async for reply in self._stream_stream(PATH, requests, StringValue, StringValue):
            yield reply


async def test_a_request_iterator_that_fails_ends_betterprotos_call(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        async for message in stream:
            await stream.send_message(message)

    async def requests() -> AsyncIterator[StringValue]:
        yield StringValue("first")
        await received.wait()
        raise ZeroDivisionError("in the iterator")

    served = await serve(handler, Cardinality.STREAM_STREAM)
    received = asyncio.Event()
    replies = EchoStub(served.channel).call(requests())  # type: ignore[arg-type]  # grpclib's shape
    assert await anext(replies) == StringValue("first")
    received.set()
    with pytest.raises(Cancelled, match="ZeroDivisionError") as caught:
        await anext(replies)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("is_async", [False, True], ids=["iterable", "async iterable"])
async def test_all_messages_of_an_iterator_are_sent_and_then_the_end(serve: Serve, is_async: bool) -> None:
    sizes = [1, 0, 70_000, 3, 200_000, *range(100)]  # some wait for room, most do not

    async def handler(stream: Any) -> None:
        received = [len(message.value) async for message in stream]
        await stream.send_message(StringValue(repr(received)))

    async def one_by_one() -> AsyncIterator[StringValue]:
        for size in sizes:
            yield StringValue("x" * size)

    served = await serve(handler, Cardinality.STREAM_UNARY)
    async with call_of(served.channel, Cardinality.STREAM_UNARY) as call:
        await call.send_all(one_by_one() if is_async else [StringValue("x" * size) for size in sizes])
        assert await call.recv_message() == StringValue(repr(sizes))


async def test_an_endless_request_iterator_stops_when_the_server_has_enough(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(stream: Any) -> None:
        for _ in range(3):
            await stream.send_message(await stream.recv_message())

    stopped = asyncio.Event()

    async def requests() -> AsyncGenerator[StringValue, None]:
        try:
            while True:
                yield StringValue("more")
        finally:
            stopped.set()

    served = await serve(handler, Cardinality.STREAM_STREAM)
    source = requests()
    with caplog.at_level(logging.ERROR):
        replies = [reply async for reply in EchoStub(served.channel).call(source)]  # type: ignore[arg-type]
        if sending := [task for task in asyncio.all_tasks() if "_send_messages" in repr(task)]:
            await asyncio.wait(sending)
    assert len(replies) == 3
    await source.aclose()
    assert stopped.is_set()
    assert caplog.text == ""
