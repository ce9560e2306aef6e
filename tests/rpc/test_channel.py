"""Channels: dialling once for many, again after a loss, TLS, limits of time, and nothing left after closing."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler
from grpclib.metadata import Deadline as GrpclibDeadline
from hyperframe.frame import DataFrame, HeadersFrame

from orbit_lite.errors import ConnectError, Executed, NetworkError, ParseError
from orbit_lite.http2 import LAST_STREAM_ID
from orbit_lite.rpc import (
    Cancelled,
    Channel,
    Deadline,
    MetadataError,
    NotFound,
    Server,
    TransportConfig,
    deadline_scope,
)
from orbit_lite.rpc.metadata import NOTHING

if TYPE_CHECKING:
    from tests.rpc.conftest import RawPeer, Served

Serve = Callable[..., Awaitable["Served"]]
RawServer = Callable[..., Awaitable[Channel]]

PATH = "/test.Echo/Call"
CERTIFICATE = Path(__file__).parent / "localhost.pem"


async def echo(stream: Any) -> None:
    await stream.send_message(await stream.recv_message())


async def hang(stream: Any) -> None:
    await asyncio.Event().wait()


async def unary(channel: Channel, text: str = "q", **options: Any) -> str:
    async with channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue, **options) as call:
        await call.send_message(StringValue(text))
        reply = await call.recv_message()
    assert reply is not None
    return reply.value


async def silent(peer: RawPeer) -> None:
    """Takes connections and says nothing."""
    await peer.reader.read()
    await peer.reader.read()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
    return port


# ---------------------------------------------------------------- connecting


async def test_a_refused_connection_is_an_error_before_anything_was_sent() -> None:
    async with Channel("127.0.0.1", free_port()) as channel:
        with pytest.raises(ConnectError, match="cannot connect") as caught:
            await unary(channel)
        assert caught.value.executed is Executed.NO
        assert caught.value.retryable
        assert (caught.value.peer, caught.value.method) == (channel.endpoint.url, PATH)
        assert isinstance(caught.value.__cause__, NetworkError | OSError)
        with pytest.raises(ConnectError):
            await channel.connect()
        assert not channel.is_connected


async def test_a_name_that_does_not_resolve_is_an_error() -> None:
    async with Channel.from_url("http://no-such-host.invalid:1") as channel:
        with pytest.raises(ConnectError, match="cannot connect"):
            await channel.connect()


async def test_a_missing_unix_socket_is_an_error(tmp_path: Path) -> None:
    async with Channel(path=str(tmp_path / "none")) as channel:
        with pytest.raises(ConnectError, match="No such file"):
            await channel.connect()


async def test_a_server_that_says_nothing_is_given_up_after_connect_timeout(raw_server: RawServer) -> None:
    channel = await raw_server(silent, config=TransportConfig(connect_timeout=0.02), preface=False)
    with pytest.raises(ConnectError, match=r"no answer within 0.02 s"):
        await channel.connect()
    assert not channel._connections


async def test_a_server_of_another_protocol_is_named(raw_server: RawServer) -> None:
    async def script(peer: RawPeer) -> None:
        peer.writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n" + b" " * 2**16)
        await peer.writer.drain()
        await peer.closed()

    channel = await raw_server(script, preface=False)
    with pytest.raises(ConnectError, match=r"HTTP/1.1, not HTTP/2"):
        await channel.connect()


async def test_many_first_callers_share_one_dial(serve: Serve) -> None:
    served = await serve(echo)
    replies = await asyncio.gather(*(served.unary(str(number)) for number in range(20)))
    assert replies == [str(number) for number in range(20)]
    assert served.server.connections == 1


async def test_a_failed_dial_tells_each_waiter_its_own_error() -> None:
    async with Channel("127.0.0.1", free_port()) as channel:
        outcomes = await asyncio.gather(*(unary(channel) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, ConnectError) for outcome in outcomes)
    assert len(set(map(id, outcomes))) == 3


async def test_a_caller_that_gives_up_leaves_the_dial_to_the_others(serve: Serve) -> None:
    served = await serve(echo)
    first = asyncio.create_task(served.unary("first"))
    second = asyncio.create_task(served.unary("second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "second"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_connecting_beforehand_spares_the_first_call_the_dial(serve: Serve) -> None:
    served = await serve(echo)
    limits = [served.channel.stream_limit]
    for _ in range(2):
        await served.channel.connect()
        assert served.channel.is_connected
        limits.append(served.channel.stream_limit)
    assert limits == [None, 256, 256]
    assert served.server.connections == 1
    assert repr(served.channel) == f"<Channel http://127.0.0.1:{served.server.port} connected, 0 calls>"


async def test_a_lost_connection_is_noticed_at_once_and_dialled_again(serve: Serve) -> None:
    served = await serve(echo)
    await served.unary()
    (connection,) = served.server._connections
    connection.abort()
    await connection.wait_closed()
    while served.channel.is_connected:  # noqa: ASYNC110  # the operating system tells the other end
        await asyncio.sleep(0.001)
    assert await served.unary("again") == "again"


async def test_after_a_goaway_new_calls_go_to_a_new_connection_and_old_ones_finish(raw_server: RawServer) -> None:
    connections = 0

    async def script(peer: RawPeer) -> None:
        nonlocal connections
        connections += 1
        mine = connections
        await peer.next(DataFrame)
        if mine == 1:
            peer.goaway(LAST_STREAM_ID)
            await second_answered.wait()
        peer.headers(1, [(":status", "200"), ("content-type", "application/grpc")])
        peer.data(1, b"\0\0\0\0\3\x0a\x01" + str(mine).encode())
        peer.headers(1, [("grpc-status", "0")], end=True)
        await peer.closed()

    second_answered = asyncio.Event()
    channel = await raw_server(script)
    first = asyncio.create_task(unary(channel))
    while not channel._connections or next(iter(channel._connections)).goaway is None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert not channel.is_connected
    assert await unary(channel) == "2"
    second_answered.set()
    assert await first == "1"


async def test_told_of_too_many_pings_the_channel_pings_half_as_often(
    raw_server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: RawPeer) -> None:
        peer.goaway(0, 11, b"too_many_pings")
        await peer.closed()

    channel = await raw_server(script, config=TransportConfig(keep_alive_interval=30.0))
    with caplog.at_level(logging.WARNING), pytest.raises(NetworkError):
        await unary(channel)
    while channel._connections:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert channel._make().settings.keep_alive_interval == 60.0
    assert "asks for fewer PINGs: interval is now 60 s" in caplog.text


# ---------------------------------------------------------------- limits of time


@pytest.mark.parametrize(
    ("cardinality", "options", "scope", "expected"),
    [
        (Cardinality.UNARY_UNARY, {}, None, 20.0),
        (Cardinality.UNARY_UNARY, {"timeout": 50.0}, None, 50.0),
        (Cardinality.UNARY_UNARY, {"timeout": 50.0}, 5.0, 5.0),
        (Cardinality.UNARY_UNARY, {"deadline": lambda: Deadline.after(40.0)}, None, 40.0),
        (Cardinality.UNARY_UNARY, {"deadline": lambda: Deadline.after(40.0), "timeout": 10.0}, None, 10.0),
        (Cardinality.UNARY_UNARY, {"deadline": lambda: GrpclibDeadline.from_timeout(40.0)}, None, 40.0),
        (Cardinality.UNARY_UNARY, {}, 50.0, 20.0),
        (Cardinality.UNARY_STREAM, {}, None, None),
        (Cardinality.STREAM_STREAM, {}, 5.0, 5.0),
        (Cardinality.STREAM_UNARY, {"timeout": 3.0}, None, 3.0),
    ],
)
def test_the_earliest_limit_counts_and_unary_calls_always_have_one(
    cardinality: Cardinality, options: dict[str, Any], scope: float | None, expected: float | None
) -> None:
    channel = Channel("127.0.0.1", 1, config=TransportConfig(request_timeout=20.0))
    if "deadline" in options:
        options = options | {"deadline": options["deadline"]()}
    with deadline_scope(None if scope is None else Deadline.after(scope)):
        call = channel.request(PATH, cardinality, StringValue, StringValue, **options)
    if expected is None:
        assert call.deadline is None
    else:
        assert call.deadline is not None
        assert expected - 5.0 < call.deadline.remaining() <= expected


# ---------------------------------------------------------------- what is asked wrongly


@pytest.mark.parametrize("metadata", [{"a\r\nb": "1"}, {"x": "a\nb"}, {"grpc-foo": "1"}, {"x-bin": "text"}])
def test_metadata_that_cannot_be_sent_is_refused_before_anything_is(metadata: Any) -> None:
    channel = Channel("127.0.0.1", 1)
    with pytest.raises(ValueError, match="metadata") as caught:
        channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue, metadata=metadata)
    assert isinstance(caught.value, MetadataError)


def test_an_address_is_one_of_both_kinds() -> None:
    with pytest.raises(ValueError, match="either a path or a host"):
        Channel("127.0.0.1", 1, path="/socket")
    with pytest.raises(ParseError):
        Channel.from_url("ftp://x:1")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a:1", ("http", "a:1")),
        ("grpc://a:1", ("http", "a:1")),
        ("https://a", ("https", "a:443")),
        ("grpcs://[::1]:1", ("https", "[::1]:1")),
        ("unix:/s", ("http", "localhost")),
        ("a:1", ("http", "a:1")),
    ],
)
def test_a_url_says_where_and_how(url: str, expected: tuple[str, str]) -> None:
    channel = Channel.from_url(url)
    head = dict(channel.request_headers("/s/M", None, NOTHING))
    assert (head[":scheme"], head[":authority"]) == expected


def test_without_address_a_channel_is_for_this_machine() -> None:
    assert Channel().endpoint.url == "http://127.0.0.1:50051"


# ---------------------------------------------------------------- the end


async def test_closing_ends_the_calls_that_run_and_refuses_later_ones(serve: Serve) -> None:
    served = await serve(hang)
    calling = asyncio.create_task(served.unary())
    while not served.server.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    served.channel.close()
    with pytest.raises(Cancelled, match="channel was closed"):
        await calling
    with pytest.raises(ConnectError, match="channel is closed") as caught:
        await served.unary()
    assert not caught.value.retryable
    await served.channel.wait_closed()
    await served.channel.wait_closed()
    assert "closed" in repr(served.channel)


async def test_closing_ends_a_dial(raw_server: RawServer) -> None:
    channel = await raw_server(silent, preface=False)
    calling = asyncio.create_task(unary(channel))
    await asyncio.sleep(0.01)
    channel.close()
    with pytest.raises(ConnectError, match="channel is closed"):
        await calling
    await channel.wait_closed()


async def test_closing_does_not_wait_for_a_peer_that_reads_nothing(raw_server: RawServer) -> None:
    async def script(peer: RawPeer) -> None:
        peer.settings(settings={4: 2**31 - 1})
        peer.writer.write(b"\0\0\4\x08\0\0\0\0\0" + (2**31 - 1 - 65_535).to_bytes(4))
        await peer.next(HeadersFrame)
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    channel = await raw_server(script)
    async with channel.request(PATH, Cardinality.STREAM_STREAM, StringValue, StringValue) as call:
        await call.send_request()

        async def fill() -> None:
            while True:
                await call.send_message(StringValue("x" * 100_000))

        filling = asyncio.create_task(fill())
        (connection,) = channel._connections
        while not connection.is_paused:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        channel.close()
        with pytest.raises(Cancelled):
            await filling
        await channel.wait_closed()
    assert not channel._connections


async def test_a_forgotten_channel_complains(serve: Serve) -> None:
    served = await serve(echo)
    channel = Channel("127.0.0.1", served.server.port)
    await channel.connect()
    (connection,) = channel._connections
    with pytest.warns(ResourceWarning, match="was not closed"):
        channel.__del__()
    channel.close()
    await channel.wait_closed()
    assert connection.has_closed
    gc.collect()


# ---------------------------------------------------------------- TLS


class Service:
    def __mapping__(self) -> dict[str, Handler]:
        return {PATH: Handler(self.call, Cardinality.UNARY_UNARY, StringValue, StringValue)}

    async def call(self, stream: Any) -> None:
        message = await stream.recv_message()
        if message.value == "bad":
            raise NotFound("bad")
        await stream.send_message(StringValue(str(stream.peer.cert())))


@pytest.fixture
async def tls_server() -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with Server([Service()]) as server:
        await server.start("127.0.0.1", 0, ssl=context)
        yield server


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def test_calls_run_over_tls(tls_server: Server) -> None:
    async with Channel.from_url(f"https://localhost:{tls_server.port}", ssl=trusting()) as channel:
        assert await unary(channel) == "None"
        with pytest.raises(NotFound):
            await unary(channel, "bad")


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: Server) -> None:
    async with Channel.from_url(f"https://localhost:{tls_server.port}") as channel:
        with pytest.raises(ConnectError, match=r"(?i)certificate verify failed"):
            await channel.connect()
        assert not channel._connections


async def test_a_certificate_of_another_name_is_refused(tls_server: Server) -> None:
    other = trusting()
    async with Channel("127.0.0.2", tls_server.port, ssl=other) as channel:
        with pytest.raises(ConnectError):
            await channel.connect()


async def test_plain_text_to_a_tls_server_and_the_other_way_fail_cleanly(tls_server: Server, serve: Serve) -> None:
    async with Channel("127.0.0.1", tls_server.port, config=TransportConfig(connect_timeout=1.0)) as channel:
        with pytest.raises(ConnectError):
            await channel.connect()
    served = await serve(echo)
    async with Channel("localhost", served.server.port, ssl=trusting()) as channel:
        with pytest.raises(ConnectError):
            await channel.connect()
    assert await served.unary("still here") == "still here"


async def test_a_peer_that_does_not_choose_h2_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=context)
    async with Channel("localhost", server.sockets[0].getsockname()[1], ssl=trusting()) as channel:
        with pytest.raises(ConnectError, match="ALPN"):
            await channel.connect()
    server.close()
    await server.wait_closed()


async def test_a_client_that_does_not_choose_h2_is_dropped(tls_server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", tls_server.port, ssl=trusting())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("adaptive", [True, False])
async def test_windows_adapt_if_they_may(serve: Any, adaptive: bool) -> None:
    async def swallow(stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    served = await serve(swallow, config=TransportConfig(http2_adaptive_window=adaptive))
    await served.unary("x")
    connection = served.channel._connection
    assert connection is not None
    assert connection.settings.http2.adaptive_window is adaptive
