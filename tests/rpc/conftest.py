"""Two ends of a connection: in memory for connections and streams, on loopback for channels and servers, and a peer
that speaks raw frames, for everything that a well-behaved one would never send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from orbit_lite.http2 import Http2Config
from orbit_lite.rpc import Channel, Server, ServerConfig, TransportConfig
from orbit_lite.rpc.connection import Connection, ConnectionSettings
from orbit_lite.rpc.stream import Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATH = "/test.Echo/Call"


# ---------------------------------------------------------------- in memory


def give(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Let a protocol read something, as a transport does."""
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        protocol.buffer_updated(len(piece))


@pytest.fixture(name="give")
def giving() -> Callable[[asyncio.BufferedProtocol, bytes], None]:
    return give


class MemoryTransport(asyncio.Transport):
    """Hands written bytes to the other end at the loop's next turn. `capacity` full: pauses the writer."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.protocol: asyncio.BufferedProtocol | None = None
        self.other: MemoryTransport | None = None
        self.is_held = False
        self.closed = False
        self._queue = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        self._queue += data
        if not self.is_held:
            asyncio.get_running_loop().call_soon(self.deliver)

    def get_write_buffer_size(self) -> int:
        return len(self._queue)

    def deliver(self) -> None:
        """Let the other end receive what is under way."""
        data, self._queue = bytes(self._queue), bytearray()
        if data and self.other is not None and self.other.protocol is not None and not self.other.closed:
            give(self.other.protocol, data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._finish)

    abort = close

    def _finish(self) -> None:
        self.deliver()
        for end in (self, self.other):
            if end is not None and end.protocol is not None:
                end.closed = True
                protocol, end.protocol = end.protocol, None
                protocol.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 7)}.get(name, default)


@dataclass
class Pair:
    """A client's and a server's connection, joined; `accepted` are the streams that the server was told of."""

    client: Connection
    server: Connection
    accepted: list[Stream]

    @property
    def to_server(self) -> MemoryTransport:
        transport = self.client._transport
        assert isinstance(transport, MemoryTransport)
        return transport

    @property
    def to_client(self) -> MemoryTransport:
        transport = self.server._transport
        assert isinstance(transport, MemoryTransport)
        return transport

    async def settle(self) -> None:
        """Until everything under way has arrived."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def pair() -> AsyncIterator[Callable[..., Awaitable[Pair]]]:
    made: list[Pair] = []

    async def make(
        *,
        max_streams: int = 100,
        client_options: dict[str, Any] | None = None,
        server_options: dict[str, Any] | None = None,
    ) -> Pair:
        accepted: list[Stream] = []
        client = Connection(ConnectionSettings(client=True, **(client_options or {})))
        limits = Http2Config(max_concurrent_streams=max_streams, **(server_options or {}))
        server = Connection(ConnectionSettings(client=False, http2=limits), accept=accepted.append)
        ends = MemoryTransport(), MemoryTransport()
        for end, other, protocol in zip(ends, reversed(ends), (client, server), strict=True):
            end.other, end.protocol = other, protocol
        for end, protocol in zip(ends, (client, server), strict=True):
            protocol.connection_made(end)
        joined = Pair(client, server, accepted)
        made.append(joined)
        await client.wait_ready()
        await joined.settle()
        return joined

    yield make
    for joined in made:
        joined.client.close()
        joined.server.close()
        await joined.settle()


# ---------------------------------------------------------------- on loopback


class Service:
    """One method, /test.Echo/Call, of StringValue messages, served by any function in grpclib's shape."""

    def __init__(self, func: Callable[[Any], Awaitable[None]], cardinality: Cardinality) -> None:
        self._handler = Handler(func, cardinality, StringValue, StringValue)

    def __mapping__(self) -> dict[str, Handler]:
        return {PATH: self._handler}


@dataclass
class Served:
    """A server with a handler, and a channel to it."""

    server: Server
    channel: Channel
    cardinality: Cardinality

    def call(self, **options: Any) -> Any:
        return self.channel.request(PATH, self.cardinality, StringValue, StringValue, **options)

    async def unary(self, text: str = "", **options: Any) -> str:
        """Send one message, take one reply."""
        async with self.call(**options) as call:
            await call.send_message(StringValue(text), end=True)
            reply = await call.recv_message()
        assert isinstance(reply, StringValue)
        return reply.value


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    made: list[Served] = []

    async def make(
        func: Callable[[Any], Awaitable[None]],
        cardinality: Cardinality = Cardinality.UNARY_UNARY,
        *,
        config: TransportConfig | None = None,
        server_config: ServerConfig | None = None,
    ) -> Served:
        server = Server([Service(func, cardinality)], config=server_config or ServerConfig(cancel_grace=1.0))
        await server.start("127.0.0.1", 0)
        served = Served(server, Channel("127.0.0.1", server.port, config=config), cardinality)
        made.append(served)
        return served

    yield make
    for served in made:
        served.channel.close()
        served.server.close()
        await served.channel.wait_closed()
        await served.server.wait_closed()


# ---------------------------------------------------------------- raw frames


class RawPeer:
    """One end of a connection that sends and reads frames, legal or not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()
        self.decoder = Decoder()

    def send(self, *frames: Frame) -> None:
        self.writer.write(b"".join(frame.serialize() for frame in frames))

    def settings(self, **options: Any) -> None:
        self.send(SettingsFrame(0, **options))

    def headers(self, stream_id: int, headers: list[tuple[str, str]], *, end: bool = False) -> None:
        frame = HeadersFrame(stream_id, self.encoder.encode(headers))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        self.send(frame)

    def data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        frame = DataFrame(stream_id, data)
        if end:
            frame.flags.add("END_STREAM")
        self.send(frame)

    def reset(self, stream_id: int, code: int) -> None:
        self.send(RstStreamFrame(stream_id, error_code=code))

    def goaway(self, last_stream_id: int, code: int = 0, debug: bytes = b"") -> None:
        self.send(GoAwayFrame(0, last_stream_id=last_stream_id, error_code=code, additional_data=debug))

    async def frame(self) -> Frame:
        """The next frame; of HEADERS `fields` are the decoded headers. EOFError at the end."""
        try:
            head = await self.reader.readexactly(9)
            frame, length = Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error
        if isinstance(frame, HeadersFrame):
            frame.fields = self.decoder.decode(frame.data)  # type: ignore[attr-defined]  # our own addition
        return frame

    async def next(self, kind: type[Frame], stream_id: int | None = None) -> Any:
        """The next frame of a kind, on a stream; others are dropped, SETTINGS acknowledged."""
        while True:
            frame = await self.frame()
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                self.send(SettingsFrame(0, flags=["ACK"]))
            if isinstance(frame, kind) and stream_id in (None, frame.stream_id):
                return frame

    async def closed(self) -> list[Frame]:
        """Everything that comes before the other end closes."""
        frames = []
        try:
            while True:
                frames.append(await self.frame())
        except EOFError:
            return frames


async def close(writer: asyncio.StreamWriter) -> None:
    """Close for good, so that nothing is left for the garbage collector to complain of."""
    writer.close()
    with suppress(ConnectionError, asyncio.CancelledError):
        await writer.wait_closed()


@pytest.fixture
async def raw_client() -> AsyncIterator[Callable[..., Awaitable[RawPeer]]]:
    """Connects to a server with the preface and SETTINGS sent."""
    made: list[RawPeer] = []

    async def make(server: Server, *, preface: bool = True) -> RawPeer:
        peer = RawPeer(*await asyncio.open_connection("127.0.0.1", server.port))
        made.append(peer)
        if preface:
            peer.writer.write(PREFACE)
            peer.settings()
        return peer

    yield make
    for peer in made:
        await close(peer.writer)


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[..., Awaitable[Channel]]]:
    """Runs a script for each connection, and gives a channel to it."""
    servers: list[asyncio.Server] = []
    channels: list[Channel] = []
    tasks: set[asyncio.Task[None]] = set()

    async def make(
        script: Callable[[RawPeer], Awaitable[None]], *, config: TransportConfig | None = None, preface: bool = True
    ) -> Channel:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            peer = RawPeer(reader, writer)
            try:
                if preface:
                    await reader.readexactly(len(PREFACE))
                    peer.settings()
                await script(peer)
                await writer.drain()
            except (EOFError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the test is over
            finally:
                await close(writer)

        server = await asyncio.start_server(run, "127.0.0.1", 0)
        servers.append(server)
        channel = Channel("127.0.0.1", server.sockets[0].getsockname()[1], config=config)
        channels.append(channel)
        return channel

    yield make
    for channel in channels:
        channel.close()
        await channel.wait_closed()
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
