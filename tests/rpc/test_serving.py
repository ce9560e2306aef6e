"""Calls as their handlers see them, in grpclib's shape."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality
from grpclib.const import Status as GrpclibStatus

from orbit_lite.errors import SerializationError, Status
from orbit_lite.rpc import Aborted, Cancelled, Internal, MetadataError, OutOfRange, RpcError, StatusDetail
from orbit_lite.rpc.stream import BURST

if TYPE_CHECKING:
    from tests.rpc.conftest import Served

Serve = Callable[..., Awaitable["Served"]]
PATH = "/test.Echo/Call"


async def test_metadata_is_sent_before_and_after_the_replies(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.send_initial_metadata(metadata={"before": "1", "before-bin": b"\0"})
        await stream.send_message(StringValue("x"))
        await stream.send_trailing_metadata(metadata=[("after", "1"), ("after", "2")])

    served = await serve(handler)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        await call.recv_initial_metadata()
        assert call.initial_metadata.items() == (("before", "1"), ("before-bin", b"\0"))
        assert await call.recv_message() == StringValue("x")
        await call.recv_trailing_metadata()
    assert call.trailing_metadata.getall("after") == ["1", "2"]


async def test_initial_metadata_arrives_before_the_first_message(serve: Serve) -> None:
    go = asyncio.Event()

    async def handler(stream: Any) -> None:
        await stream.send_initial_metadata()
        await go.wait()
        await stream.send_message(StringValue("x"))

    served = await serve(handler)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        await call.recv_initial_metadata()
        go.set()
        assert await call.recv_message() == StringValue("x")


@pytest.mark.parametrize("status", [Status.OUT_OF_RANGE, GrpclibStatus.OUT_OF_RANGE])
async def test_a_handler_may_end_the_call_itself(serve: Serve, status: Any) -> None:
    ended = asyncio.Event()
    detail = StatusDetail("type.googleapis.com/test.Detail", b"\1")

    async def handler(stream: Any) -> None:
        await stream.send_trailing_metadata(
            status=status, status_message="zu weit", status_details=[detail], metadata={"x": "1"}
        )
        await asyncio.sleep(0)
        ended.set()
        raise RuntimeError("after the end")

    served = await serve(handler)
    with pytest.raises(OutOfRange, match="zu weit") as caught:
        await served.unary()
    assert caught.value.details == (detail,)
    assert caught.value.metadata == (("x", "1"),)
    await ended.wait()


async def collect(stream: Any, *steps: Callable[[], Awaitable[object]]) -> list[str]:
    """Run the steps and note which errors they raise."""
    found = []
    for step in steps:
        try:
            await step()
        except (RpcError, MetadataError, SerializationError) as error:
            found.append(f"{type(error).__name__}: {error.message}")
    return found


async def test_misuse_is_refused_and_leaves_the_call_whole(serve: Serve) -> None:
    errors: list[str] = []

    async def handler(stream: Any) -> None:
        await stream.recv_message()
        errors.extend(
            await collect(
                stream,
                lambda: stream.send_initial_metadata(metadata={"x": "\n"}),
                stream.send_initial_metadata,
                stream.send_initial_metadata,
                lambda: stream.send_trailing_metadata(metadata={"grpc-status": "0"}),
                lambda: stream.send_message("text"),
                lambda: stream.send_message(StringValue("x")),
                lambda: stream.send_message(StringValue("y")),
            )
        )

    served = await serve(handler)
    assert await served.unary() == "x"
    kinds = [error.partition(":")[0] for error in errors]
    assert kinds == ["MetadataError", "Internal", "MetadataError", "EncodeError", "Internal"]
    assert "sent already" in errors[1]
    assert "second reply" in errors[-1]


async def test_after_its_end_a_call_takes_nothing_more(serve: Serve) -> None:
    outcome: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def handler(stream: Any) -> None:
        await stream.send_trailing_metadata(status=Status.ABORTED)
        outcome.set_result(
            await collect(
                stream,
                lambda: stream.send_message(StringValue("x")),
                stream.send_initial_metadata,
                stream.send_trailing_metadata,
                stream.cancel,
            )
        )

    served = await serve(handler)
    with pytest.raises(Aborted):
        await served.unary()
    assert await outcome == ["Cancelled: the call is over: it ended with ABORTED"] * 3


async def test_a_handler_may_reset_its_call(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.cancel()

    served = await serve(handler)
    with pytest.raises(Cancelled, match="reset by the peer: CANCEL"):
        await served.unary()


async def test_a_unary_request_is_given_out_once_and_then_the_stream_is_at_its_end(serve: Serve) -> None:
    received: list[Any] = []

    async def handler(stream: Any) -> None:
        received.extend([await stream.recv_message(), await stream.recv_message()])
        await stream.send_message(StringValue("x"))

    served = await serve(handler)
    await served.unary("q")
    assert received == [StringValue("q"), None]


async def test_a_request_stream_that_breaks_off_raises_in_the_handler(serve: Serve) -> None:
    outcome: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def handler(stream: Any) -> None:
        task = asyncio.create_task(stream.recv_message())
        try:
            await asyncio.wait([task])
        finally:
            await asyncio.wait([task])
            error = task.exception()
            assert error is not None
            outcome.set_result(error)

    served = await serve(handler, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        await call.send_request()
        while not served.server.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await call.cancel()
    error = await outcome
    assert isinstance(error, Cancelled)
    assert "the caller is gone" in str(error)


async def test_two_tasks_of_a_handler_may_send_at_once(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await asyncio.gather(*(stream.send_message(StringValue(letter * 100_000)) for letter in "abc"))

    served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        replies = [reply.value async for reply in call]
    assert sorted(replies) == [letter * 100_000 for letter in "abc"]


async def test_an_error_after_replies_comes_after_them(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        for number in range(3):
            await stream.send_message(StringValue(str(number)))
        raise Internal("broken off")

    served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        assert [(await call.recv_message()).value for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(Internal, match="broken off"):
            await call.recv_message()


async def test_metadata_after_the_reply_is_too_late(serve: Serve) -> None:
    """Also while the reply waits to leave with its status."""
    told: list[str] = []

    async def handler(stream: Any) -> None:
        await stream.send_message(StringValue("x"))
        try:
            await stream.send_initial_metadata(metadata={"late": "1"})
        except Internal as error:
            told.append(error.message)

    served = await serve(handler)
    assert await served.unary("q") == "x"
    assert told == ["initial metadata was sent already"]


async def test_a_call_is_forgotten_though_what_it_called_has_left_timers_and_a_connection(serve: Serve) -> None:
    seen: list[weakref.ref[Any]] = []

    async def answer(stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    inner = await serve(answer)

    async def handler(stream: Any) -> None:
        seen.append(weakref.ref(stream))
        await stream.recv_message()
        await inner.channel.connect()
        await stream.send_message(StringValue(await inner.unary("x", timeout=30.0)))

    outer = await serve(handler)
    assert await outer.unary(timeout=30.0) == "x"
    assert inner.channel.is_connected
    await asyncio.sleep(0)
    gc.collect()
    assert [call() for call in seen] == [None]


async def test_small_replies_of_one_task_stay_out_of_another_tasks_large_ones(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        async def send_large() -> None:
            for letter in "abc":
                await stream.send_message(StringValue(letter * 2_000_000))  # more than a turn's share and the window

        large = asyncio.create_task(send_large())
        while not large.done():
            await stream.send_message(StringValue("s"))
            await asyncio.sleep(0)
        await large

    served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        received = [(len(set(message.value)), len(message.value)) async for message in call]
    assert [size for size in received if size != (1, 1)] == [(1, 2_000_000)] * 3


async def test_a_slow_reader_stops_a_handler_that_sends_small_messages(serve: Serve) -> None:
    """What is made and not taken stays within the windows and the sockets' buffers, however small its pieces are."""
    made = 0

    async def handler(stream: Any) -> None:
        nonlocal made
        for _ in range(200_000):
            await stream.send_message(StringValue("x" * 80))
            made += 1

    served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue("q"))
        await call.recv_message()
        before = -1
        while made != before:
            before = made
            for _ in range(2000):
                await asyncio.sleep(0)
        assert 10_000 < made < 50_000
        await call.cancel()


async def test_a_handler_loop_over_requests_that_are_there_lets_others_run(serve: Serve) -> None:
    turns: list[int] = []

    async def handler(stream: Any) -> None:
        await stream.recv_message()
        counting = asyncio.create_task(count())
        for _ in range(5 * BURST):
            await stream.recv_message()
        counting.cancel()

    async def count() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    served = await serve(handler, Cardinality.STREAM_STREAM)
    async with served.call() as call:
        await call.send_all(StringValue("x") for _ in range(6 * BURST))
        assert await call.recv_message() is None
    assert len(turns) >= 4
