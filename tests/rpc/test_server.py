"""The server: what it refuses, what becomes of handlers that fail, hang or are no longer wanted, and its own end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame, WindowUpdateFrame

from orbit_lite.errors import AddressableNotFound, ConfigurationError, Executed, IoError, OrbitError, Status
from orbit_lite.rpc import (
    Aborted,
    Cancelled,
    Channel,
    Deadline,
    DeadlineExceeded,
    Internal,
    NotFound,
    ResourceExhausted,
    RpcError,
    Server,
    ServerConfig,
    StatusDetail,
    Unavailable,
    UnknownError,
    current_call,
    current_deadline,
    deadline_scope,
)

if TYPE_CHECKING:
    from tests.rpc.conftest import RawPeer, Served

Serve = Callable[..., Awaitable["Served"]]
RawClient = Callable[..., Awaitable["RawPeer"]]

PATH = "/test.Echo/Call"
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
MESSAGE = b"\0\0\0\0\3\x0a\x01x"  # StringValue("x") with its prefix


def changed(name: str, value: str) -> list[tuple[str, str]]:
    return [(key, value if key == name else text) for key, text in REQUEST]


async def echo(stream: Any) -> None:
    async for message in stream:
        await stream.send_message(message)


async def echo_one(stream: Any) -> None:
    await stream.send_message(await stream.recv_message())


async def hang(stream: Any) -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that no event tells."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def alive(served: Served) -> None:
    """The server still serves others."""
    assert await served.unary("still here") == "still here"


# ---------------------------------------------------------------- serving


@pytest.mark.parametrize("cardinality", list(Cardinality))
async def test_all_four_kinds_of_calls(serve: Serve, cardinality: Cardinality) -> None:
    async def handler(stream: Any) -> None:
        texts = [message.value async for message in stream]
        for text in texts if cardinality.server_streaming else [" ".join(texts)]:
            await stream.send_message(StringValue(text))

    served = await serve(handler, cardinality)
    async with served.call() as call:
        for text in ["a", "b"] if cardinality.client_streaming else ["a b"]:
            await call.send_message(StringValue(text))
        await call.end()
        replies = [reply.value async for reply in call]
    expected = ["a", "b"] if cardinality is Cardinality.STREAM_STREAM else ["a b"]
    assert replies == expected
    assert call.trailing_metadata is not None


async def test_a_handler_knows_its_call(serve: Serve) -> None:
    seen: list[Any] = []

    async def handler(stream: Any) -> None:
        seen.extend([current_call(), current_deadline(), stream])
        await echo_one(stream)

    served = await serve(handler)
    await served.unary("x", timeout=60.0, metadata={"tenant": "t", "key-bin": b"\0\xff"})
    call, deadline, stream = seen
    assert call.method == PATH
    assert call.peer.is_local
    assert call.user_agent.startswith("grpc-python-orbit-lite/")
    assert call.metadata.items() == (("tenant", "t"), ("key-bin", b"\0\xff"))
    assert 59.0 < call.deadline.remaining() <= 60.0
    assert deadline == call.deadline == stream.deadline
    assert (stream.metadata, stream.peer, stream.user_agent) == (call.metadata, call.peer, call.user_agent)
    assert current_call() is None


async def test_a_large_message_passes_both_ways(serve: Serve) -> None:
    served = await serve(echo_one)
    text = "x" * (5 << 20)
    assert await served.unary(text) == text


async def test_calls_are_counted(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        message = await stream.recv_message()
        if message.value == "bad":
            raise NotFound("bad")
        await stream.send_message(message)

    served = await serve(handler)
    await served.unary("good")
    with pytest.raises(NotFound):
        await served.unary("bad")
    stats = served.server.stats.methods[PATH]
    assert (stats.calls, stats.errors) == (2, 1)
    assert 0 < stats.p50 <= stats.largest
    assert served.server.in_flight == 0
    assert repr(served.server) == f"<Server 127.0.0.1:{served.server.port} serving, 1 connections, 0 calls>"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("headers", "status"),
    [(changed(":method", "GET"), "405"), (changed("content-type", "text/html"), "415")],
)
async def test_what_is_no_grpc_request_gets_an_http_status(
    serve: Serve, raw_client: RawClient, headers: list[tuple[str, str]], status: str
) -> None:
    served = await serve(hang)
    peer = await raw_client(served.server)
    peer.headers(1, headers)
    answer = await peer.next(HeadersFrame)
    assert dict(answer.fields)[":status"] == status
    assert "END_STREAM" in answer.flags
    assert served.server.in_flight == 0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            changed(":path", "/test.Echo/Nothing"),
            {"grpc-status": "12", "grpc-message": "unknown method /test.Echo/Nothing"},
        ),
        (changed(":path", "/unknown.Service/Call"), {"grpc-status": "12"}),
        ([*REQUEST, ("grpc-encoding", "br")], {"grpc-status": "12", "grpc-accept-encoding": "identity,gzip"}),
        ([*REQUEST, ("grpc-timeout", "1x")], {"grpc-status": "13"}),
        ([*REQUEST, ("grpc-timeout", "0S")], {"grpc-status": "4"}),
        ([*REQUEST, ("x", "y" * 17_000)], {"grpc-status": "8"}),
    ],
)
async def test_a_refused_call_is_answered_with_trailers_only_and_a_content_type(
    serve: Serve, raw_client: RawClient, headers: list[tuple[str, str]], expected: dict[str, str]
) -> None:
    served = await serve(hang)
    peer = await raw_client(served.server)
    peer.headers(1, headers)
    answer = await peer.next(HeadersFrame)
    fields = dict(answer.fields)
    assert "END_STREAM" in answer.flags
    assert fields[":status"] == "200"
    assert fields["content-type"] == "application/grpc"
    assert expected.items() <= fields.items()
    assert served.server.in_flight == 0
    reset = await peer.next(RstStreamFrame, 1)
    assert reset.error_code == 0


@pytest.mark.parametrize(
    "headers",
    [
        changed(":path", "test.Echo/Call"),
        [*REQUEST, ("Upper", "1")],
        [*REQUEST, ("x", "a\r\nb")],
        [("x", "1"), *REQUEST],
    ],
)
async def test_a_malformed_request_resets_its_stream_and_nothing_else(
    serve: Serve, raw_client: RawClient, headers: list[tuple[str, str]]
) -> None:
    served = await serve(echo_one)
    peer = await raw_client(served.server)
    peer.headers(1, headers)
    assert (await peer.next(RstStreamFrame, 1)).error_code == 1
    peer.headers(3, REQUEST)
    peer.data(3, MESSAGE, end=True)
    assert (await peer.next(DataFrame, 3)).data == MESSAGE


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", "13", "no message"),
        (MESSAGE * 2, "13", "more than one message"),
        (MESSAGE[:-1], "13", "inside a message"),
        (MESSAGE[:3], "13", "inside a message"),
        (b"\1" + MESSAGE[1:], "13", "compressed"),
        (b"\2" + MESSAGE[1:], "13", "flag"),
        (b"\0\0\0\0\2\x0a\xff", "13", "decoded"),
        (b"\0\xff\xff\xff\xff", "8", "larger than the limit"),
    ],
)
async def test_a_broken_unary_request_is_answered_with_its_error(
    serve: Serve, raw_client: RawClient, body: bytes, status: str, text: str
) -> None:
    served = await serve(echo_one)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    peer.data(1, body, end=True)
    fields = dict((await peer.next(HeadersFrame, 1)).fields)
    assert fields["grpc-status"] == status
    assert text in fields["grpc-message"]
    await alive(served)


async def test_without_time_the_handler_is_not_even_started(serve: Serve, raw_client: RawClient) -> None:
    served = await serve(hang)
    peer = await raw_client(served.server)
    peer.headers(1, [*REQUEST, ("grpc-timeout", "0n")])
    assert dict((await peer.next(HeadersFrame, 1)).fields)["grpc-message"] == "no time was given"
    assert PATH not in served.server.stats.methods


async def test_small_messages_in_a_loop_let_others_run(serve: Serve) -> None:
    """A sender whose messages all fit the window must not keep the loop to itself."""

    async def handler(stream: Any) -> None:
        async for _ in stream:
            pass

    served = await serve(handler, Cardinality.STREAM_STREAM)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with served.call() as call:
        await call.send_message(StringValue("open"))
        counting = asyncio.create_task(count())
        for _ in range(320):
            await call.send_message(StringValue("x"))
        counting.cancel()
        assert turns >= 5
        await call.cancel()


async def test_an_oversized_message_is_refused_before_it_is_sent(serve: Serve, raw_client: RawClient) -> None:
    served = await serve(echo_one)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    peer.data(1, b"\0\xff\xff\xff\xff")  # and nothing more
    assert dict((await peer.next(HeadersFrame, 1)).fields)["grpc-status"] == "8"
    assert (await peer.next(RstStreamFrame, 1)).error_code == 0


async def test_a_message_split_byte_by_byte_is_one_message(serve: Serve, raw_client: RawClient) -> None:
    served = await serve(echo_one)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    for byte in MESSAGE:
        peer.data(1, bytes([byte]))
        peer.data(1, b"")
    peer.data(1, b"", end=True)
    assert (await peer.next(DataFrame, 1)).data == MESSAGE
    trailers = await peer.next(HeadersFrame, 1)
    assert dict(trailers.fields) == {"grpc-status": "0"}
    assert "END_STREAM" in trailers.flags


async def test_calls_over_the_limit_are_refused_and_may_be_retried(serve: Serve, raw_client: RawClient) -> None:
    served = await serve(hang, server_config=ServerConfig(max_concurrent_streams=2))
    peer = await raw_client(served.server)
    for stream_id in (1, 3, 5):
        peer.headers(stream_id, REQUEST)
    assert (await peer.next(RstStreamFrame, 5)).error_code == 7
    assert served.server.in_flight == 2


async def test_opening_and_resetting_streams_starts_no_crowd_of_handlers(serve: Serve, raw_client: RawClient) -> None:
    started = 0

    async def handler(stream: Any) -> None:
        nonlocal started
        started += 1
        await asyncio.Event().wait()

    served = await serve(handler, server_config=ServerConfig(max_concurrent_streams=8))
    peer = await raw_client(served.server)
    for number in range(1000):
        peer.headers(2 * number + 1, REQUEST)
        peer.reset(2 * number + 1, 8)
        assert served.server.in_flight <= 8
    assert (await peer.next(GoAwayFrame)).error_code == 11  # ENHANCE_YOUR_CALM
    await until(lambda: served.server.in_flight == 0)
    assert started <= 8


# ---------------------------------------------------------------- handlers that fail


async def test_an_error_raised_for_the_caller_travels_whole(serve: Serve) -> None:
    detail = StatusDetail("type.googleapis.com/test.Detail", b"\1")

    async def handler(stream: Any) -> None:
        raise Aborted("gegen ☺\nverloren", details=[detail], metadata={"hint": "1", "hint-bin": b"\0"})

    served = await serve(handler)
    with pytest.raises(Aborted) as caught:
        await served.unary()
    error = caught.value
    assert error.message == "gegen ☺\nverloren"
    assert error.details == (detail,)
    assert error.metadata == (("hint", "1"), ("hint-bin", b"\0"))
    assert error.peer == f"http://127.0.0.1:{served.server.port}"
    assert error.method == PATH


async def test_an_error_of_the_domain_travels_with_its_code_and_text(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        raise AddressableNotFound("BankAccount:a")

    served = await serve(handler)
    with pytest.raises(NotFound, match="Addressable not found: BankAccount:a"):
        await served.unary()


async def test_details_and_metadata_that_cannot_be_sent_do_not_keep_the_error_back(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        wrong: Any = [(b"x", "1"), ("y", 2), ("z", "3")]
        raise Aborted("why", details=[object()], metadata=wrong)

    served = await serve(handler)
    with pytest.raises(Aborted, match="why") as caught:
        await served.unary()
    assert caught.value.metadata == (("z", "3"),)


class Unusual(BaseException):
    """Neither an Exception nor an end of the program."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("secret"), UnknownError),
        (RecursionError("secret"), UnknownError),
        (MemoryError("secret"), UnknownError),
        (Unusual("secret"), UnknownError),
        (TimeoutError("secret"), UnknownError),
        (StopAsyncIteration("secret"), UnknownError),
        (asyncio.CancelledError("secret"), Cancelled),
    ],
)
async def test_any_other_error_tells_no_secrets_and_the_server_goes_on(
    serve: Serve, error: BaseException, kind: type[RpcError]
) -> None:
    async def handler(stream: Any) -> None:
        message = await stream.recv_message()
        if message.value == "fail":
            raise error
        await stream.send_message(message)

    served = await serve(handler)
    with pytest.raises(kind) as caught:
        await served.unary("fail")
    assert "secret" not in str(caught.value)
    await alive(served)


async def test_a_unary_handler_must_reply_and_only_once(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        message = await stream.recv_message()
        for _ in range(int(message.value)):
            await stream.send_message(message)

    served = await serve(handler)
    with pytest.raises(Internal, match="without a reply"):
        await served.unary("0")
    with pytest.raises(Internal, match="second reply"):
        await served.unary("2")
    assert await served.unary("1") == "1"


async def test_a_reply_over_the_limit_is_not_sent(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.send_message(StringValue("x" * 2000))

    served = await serve(handler, server_config=ServerConfig(max_message_size=1000))
    with pytest.raises(ResourceExhausted, match="limit of 1000 bytes for sending"):
        await served.unary()


# ---------------------------------------------------------------- handlers that are no longer wanted


async def test_a_deadline_cancels_the_handler_and_answers_at_once(serve: Serve, raw_client: RawClient) -> None:
    ended = asyncio.Event()

    async def handler(stream: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    served = await serve(handler)
    peer = await raw_client(served.server)
    peer.headers(1, [*REQUEST, ("grpc-timeout", "10m")])
    assert dict((await peer.next(HeadersFrame, 1)).fields)["grpc-status"] == "4"
    await ended.wait()


async def test_a_handler_that_ignores_its_deadline_keeps_neither_caller_nor_server(
    serve: Serve, raw_client: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def handler(stream: Any) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    served = await serve(handler, server_config=ServerConfig(cancel_grace=0.01))
    peer = await raw_client(served.server)
    peer.headers(1, [*REQUEST, ("grpc-timeout", "1m")])
    assert dict((await peer.next(HeadersFrame, 1)).fields)["grpc-status"] == "4"
    assert served.server.in_flight == 1
    served.server.close()
    await served.server.wait_closed()
    assert f"handler of {PATH} did not end when cancelled" in caplog.text
    release.set()
    await asyncio.sleep(0)


async def test_what_a_handler_does_after_its_deadline_reaches_nobody(serve: Serve, raw_client: RawClient) -> None:
    outcome: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def handler(stream: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await stream.send_message(StringValue("late"))
            except Exception as error:
                outcome.set_result(error)
                raise

    served = await serve(handler)
    peer = await raw_client(served.server)
    peer.headers(1, [*REQUEST, ("grpc-timeout", "1m")])
    peer.data(1, MESSAGE, end=True)
    assert dict((await peer.next(HeadersFrame, 1)).fields)["grpc-status"] == "4"
    error = await outcome
    assert isinstance(error, Cancelled)
    assert "DEADLINE_EXCEEDED" in str(error)


@pytest.mark.parametrize("way", ["reset", "vanish"])
async def test_a_caller_that_is_gone_cancels_its_handler(serve: Serve, raw_client: RawClient, way: str) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def handler(stream: Any) -> None:
        started.set()
        try:
            async for _ in stream:
                pass
        finally:
            ended.set()

    served = await serve(handler, Cardinality.STREAM_STREAM)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    peer.data(1, MESSAGE + b"\0\0\0")
    await started.wait()
    if way == "reset":
        peer.reset(1, 8)
    else:
        peer.writer.transport.abort()
    await ended.wait()
    await until(lambda: served.server.in_flight == 0)
    assert served.server.stats.methods[PATH].errors == 1


async def test_a_stream_that_the_server_ends_early_is_stopped(serve: Serve, raw_client: RawClient) -> None:
    async def handler(stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    served = await serve(handler, Cardinality.STREAM_STREAM)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    peer.data(1, MESSAGE)
    head, trailers = [await peer.next(HeadersFrame, 1) for _ in range(2)]
    assert "END_STREAM" not in head.flags
    assert dict(trailers.fields) == {"grpc-status": "0"}
    assert (await peer.next(RstStreamFrame, 1)).error_code == 0


async def test_a_slow_reader_holds_its_own_handler_only(serve: Serve, raw_client: RawClient) -> None:
    async def handler(stream: Any) -> None:
        message = await stream.recv_message()
        for _ in range(100 if message.value == "x" else 1):
            await stream.send_message(StringValue("y" * 10_000))

    served = await serve(handler, Cardinality.UNARY_STREAM)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    peer.data(1, MESSAGE, end=True)  # a megabyte of replies into a window of 64 KiB that is never opened
    async with served.call() as call:
        await call.send_message(StringValue("one"), end=True)
        assert len([reply async for reply in call]) == 1
    assert served.server.in_flight == 1


# ---------------------------------------------------------------- the end


async def test_a_drain_lets_calls_finish_and_refuses_new_ones(serve: Serve, raw_client: RawClient) -> None:
    finish = asyncio.Event()

    async def handler(stream: Any) -> None:
        message = await stream.recv_message()
        await finish.wait()
        await stream.send_message(message)

    served = await serve(handler)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    peer.data(1, MESSAGE, end=True)
    await until(lambda: served.server.in_flight)
    draining = asyncio.create_task(served.server.drain(60.0))
    warning = await peer.next(GoAwayFrame)
    assert (warning.last_stream_id, warning.error_code) == (2**31 - 1, 0)
    peer.headers(3, REQUEST, end=True)
    refusal = dict((await peer.next(HeadersFrame, 3)).fields)
    assert (refusal["grpc-status"], refusal["grpc-message"], refusal["orbit-executed"]) == ("14", "draining", "no")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", served.channel.endpoint.port)
    finish.set()
    assert (await peer.next(DataFrame, 1)).data == MESSAGE
    result = await draining
    assert (result.finished, result.cancelled) == (1, 0)
    assert (await peer.next(GoAwayFrame)).last_stream_id == 3


async def test_a_call_refused_by_a_drain_is_known_not_to_have_run(serve: Serve) -> None:
    served = await serve(echo_one)
    await served.unary()
    served.server._draining = True
    with pytest.raises(Unavailable, match="draining") as caught:
        await served.unary()
    assert caught.value.executed is Executed.NO


async def test_a_drain_ends_calls_that_outlast_its_grace(serve: Serve) -> None:
    served = await serve(hang)
    calling = asyncio.create_task(served.unary())
    await until(lambda: served.server.in_flight)
    result = await served.server.drain(0.01)
    assert (result.finished, result.cancelled) == (0, 1)
    with pytest.raises(Unavailable, match="shutting down"):
        await calling
    assert served.server.in_flight == 0


async def test_who_connects_while_the_server_closes_is_told() -> None:
    """asyncio makes a transport of what it has accepted in the next turn, not at all once the listener is closed."""
    loop = asyncio.get_running_loop()
    server = Server([])
    await server.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as late:
        loop.call_soon(loop.call_soon, server.close)  # in the turn in which it is accepted
        await server.wait_closed()
        late.setblocking(False)
        while await asyncio.wait_for(loop.sock_recv(late, 1024), 5):
            pass


async def test_a_drain_without_calls_is_done_at_once(serve: Serve) -> None:
    served = await serve(echo_one)
    result = await served.server.drain(60.0)
    assert (result.finished, result.cancelled) == (0, 0)


async def test_closing_ends_calls_with_unavailable_and_their_handlers_clean_up(serve: Serve) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def handler(stream: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    served = await serve(handler)
    calling = asyncio.create_task(served.unary())
    await started.wait()
    served.server.close()
    served.server.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await calling
    await served.server.wait_closed()
    assert ended.is_set()
    assert (served.server.in_flight, served.server.connections) == (0, 0)


async def test_a_peer_that_reads_nothing_cannot_hold_the_server_open(serve: Serve, raw_client: RawClient) -> None:
    async def handler(stream: Any) -> None:
        while True:
            await stream.send_message(StringValue("x" * 100_000))

    served = await serve(handler, Cardinality.UNARY_STREAM)
    peer = await raw_client(served.server)
    peer.settings(settings={4: 2**31 - 1})  # no flow control on the stream …
    peer.send(WindowUpdateFrame(0, window_increment=2**31 - 1 - 65_535))  # … nor on the connection
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]  # and the socket fills up
    peer.headers(1, REQUEST, end=True)
    (connection,) = served.server._connections
    await until(lambda: connection.is_paused)
    served.server.close()
    await served.server.wait_closed()
    assert served.server.connections == 0


async def test_serving_for_ever_ends_with_close(serve: Serve) -> None:
    served = await serve(echo_one)
    serving = asyncio.create_task(served.server.serve_forever())
    await alive(served)
    served.server.close()
    await serving


async def test_cancelling_serve_forever_closes_the_server(serve: Serve) -> None:
    served = await serve(echo_one)
    serving = asyncio.create_task(served.server.serve_forever())
    await alive(served)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert served.server.connections == 0


# ---------------------------------------------------------------- addresses


async def test_a_server_listens_on_several_addresses(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "orbit.sock")
    served = await serve(echo_one)
    bound = socket.create_server(("127.0.0.1", 0))
    await served.server.start(sock=bound)
    await served.server.start(path=path)
    port = bound.getsockname()[1]
    assert served.server.addresses == (f"127.0.0.1:{served.server.port}", f"127.0.0.1:{port}", f"unix:{path}")
    for channel in (Channel("127.0.0.1", port), Channel(path=path), Channel.from_url(f"unix:{path}")):
        async with channel, channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue) as call:
            await call.send_message(StringValue("x"))
            assert await call.recv_message() == StringValue("x")
    served.server.close()
    await served.server.wait_closed()
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    with pytest.raises(ConfigurationError, match="was closed"):
        await served.server.start("127.0.0.1", 0)


async def test_an_address_that_cannot_be_had_is_named(serve: Serve, tmp_path: Path) -> None:
    served = await serve(echo_one)
    with pytest.raises(IoError, match=f"cannot listen on 127.0.0.1:{served.server.port}: "):
        await served.server.start("127.0.0.1", served.server.port)
    with pytest.raises(IoError, match=r"cannot listen on .*nowhere"):
        await served.server.start(path=str(tmp_path / "nowhere" / "socket"))


def test_a_method_is_served_by_one_handler() -> None:
    class Service:
        def __mapping__(self) -> dict[str, Any]:
            return {PATH: Handler(echo_one, Cardinality.UNARY_UNARY, StringValue, StringValue)}

    with pytest.raises(ConfigurationError, match="two handlers"):
        Server([Service(), Service()])
    assert Server([Service()]).methods == (PATH,)
    assert Server([]).port is None


async def test_a_deadline_passes_on_to_the_calls_of_a_handler(serve: Serve) -> None:
    inner = await serve(hang)

    async def handler(stream: Any) -> None:
        try:
            await inner.unary()  # with a limit of 30 s of its own
        except DeadlineExceeded as error:
            seen.set_result(error)
            raise

    seen: asyncio.Future[DeadlineExceeded] = asyncio.get_running_loop().create_future()
    outer = await serve(handler)
    with pytest.raises(DeadlineExceeded) as caught:
        await outer.unary(timeout=0.05)
    assert caught.value.code is Status.DEADLINE_EXCEEDED
    await until(lambda: inner.server.in_flight == outer.server.in_flight == 0)


async def test_the_context_in_which_a_server_was_started_does_not_bind_its_handlers(serve: Serve) -> None:
    async def handler(stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(StringValue(str(current_deadline())))

    with deadline_scope(Deadline.after(-1.0)):
        served = await serve(handler, Cardinality.UNARY_STREAM)
    async with served.call() as call:
        await call.send_message(StringValue(""))
        assert await call.recv_message() == StringValue("None")


async def test_a_request_that_is_reset_before_its_refusal_leaves_the_connection_alone(
    serve: Serve, raw_client: RawClient
) -> None:
    """Both frames come in the same read; other calls are on the connection."""
    served = await serve(echo_one)
    peer = await raw_client(served.server)
    peer.headers(1, changed(":path", "/test.Echo/Nothing"))
    peer.reset(1, 8)
    peer.headers(3, changed(":path", "/test.Echo/Nothing"))
    assert dict((await peer.next(HeadersFrame, 3)).fields)["grpc-status"] == "12"
    assert served.server.connections == 1


async def test_trailers_of_a_request_that_was_refused_are_no_request(serve: Serve, raw_client: RawClient) -> None:
    """They come in the same read, when nobody owns the stream any more."""
    served = await serve(echo_one)
    peer = await raw_client(served.server)
    for stream_id in range(1, 9, 2):  # repeated, so that the blocks are remembered too
        peer.headers(stream_id, changed(":path", "/test.Echo/Nothing"))
        peer.data(stream_id, b"\0\0\0\0\0")
        peer.headers(stream_id, [("x-checksum", "1")], end=True)
        answer = await peer.next(HeadersFrame, stream_id)
        assert dict(answer.fields)["grpc-status"] == "12"
    assert await served.unary("still there") == "still there"
    assert served.server.connections == 2


@pytest.mark.parametrize("waits", [False, True], ids=["and returns", "and goes on"])
async def test_a_handler_may_close_its_own_server(serve: Serve, waits: bool) -> None:
    """In its first step, which is taken while the request is being read."""
    calls = 0
    cleaned_up = False

    async def handler(stream: Any) -> None:
        nonlocal calls, cleaned_up
        await stream.recv_message()
        calls += 1
        if calls < 5:  # the first ones have a task each, until one is parked and their headers are remembered
            await stream.send_message(StringValue("later"))
            return
        served.server.close()
        try:
            if waits:
                await asyncio.sleep(3600)
        finally:
            cleaned_up = True

    served = await serve(handler)
    for _ in range(4):
        await served.unary()
    with pytest.raises(OrbitError):
        await served.unary()
    async with asyncio.timeout(5):
        await served.server.wait_closed()
    assert cleaned_up
