"""A server under attack: a target that counts what its handlers do, peers that send any bytes at all, and a victim, a
well-behaved client on a connection of its own, that must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler
from hpack import Decoder, Encoder

import orbit_lite
from orbit_lite.http2 import Http2Config
from orbit_lite.rpc import Channel, Server, ServerConfig, TransportConfig

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4

#: Seconds between two calls of the victim, and for each of them.
VICTIM_PAUSE = 0.005
VICTIM_DEADLINE = 5.0
#: Seconds after which an attacked server that has said nothing fails the test.
PATIENCE = 10.0


# ---------------------------------------------------------------- frames


class Got(NamedTuple):
    """A frame that arrived."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """Error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def last_stream_id(self) -> int:
        """Of GOAWAY."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def debug(self) -> bytes:
        """Of GOAWAY."""
        return self.payload[8:]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame, legal or not."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


class Peer:
    """One end of a connection on a bare socket. What it sends is up to the test; what comes is taken apart."""

    frame = staticmethod(frame)

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        #: Everything that `until_closed` and `next` have read.
        self.seen: list[Got] = []

    # ---------------------------------------------------------------- sending

    async def send(self, data: bytes) -> bool:
        """Whether the other end took all of it; False when it closed meanwhile."""
        try:
            await self.loop.sock_sendall(self.sock, data)
        except ConnectionError:
            return False
        return True

    async def flood(self, pieces: Iterable[bytes]) -> None:
        """Send, without reading, until all is gone or the other end has closed or takes nothing more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for piece in pieces:
                    if not await self.send(piece):
                        return

    @staticmethod
    def settings(values: Iterable[tuple[int, int]] = (), *, ack: bool = False) -> bytes:
        """SETTINGS."""
        body = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values)
        return frame(SETTINGS, ACK if ack else 0, 0, body)

    def headers(self, stream_id: int, fields: Iterable[tuple[str, str]], *, end: bool = False) -> bytes:
        """HEADERS in one frame; nothing is entered into the table, so that blocks may be sent in any order."""
        block = self.encoder.encode([(name, value, True) for name, value in fields], huffman=False)
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block)

    @staticmethod
    def data(stream_id: int, data: bytes, *, end: bool = False) -> bytes:
        """DATA."""
        return frame(DATA, END_STREAM if end else 0, stream_id, data)

    @staticmethod
    def reset(stream_id: int, code: int = 8) -> bytes:
        """RST_STREAM."""
        return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))

    @staticmethod
    def window(stream_id: int, increment: int) -> bytes:
        """WINDOW_UPDATE."""
        return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))

    @staticmethod
    def message(data: bytes = b"", *, flag: int = 0) -> bytes:
        """A gRPC message with its prefix."""
        return bytes((flag,)) + len(data).to_bytes(4, "big") + data

    @staticmethod
    def request(path: str = "/test.Target/Echo", **changes: str) -> list[tuple[str, str]]:
        """Headers of a call."""
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "a", "te": "trailers"}
        fields["content-type"] = "application/grpc"
        fields.update({name.replace("_", "-"): value for name, value in changes.items()})
        return list(fields.items())

    # ---------------------------------------------------------------- receiving

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                data = await self.loop.sock_recv(self.sock, 1 << 16)
            except ConnectionError as error:
                raise EOFError from error
            if not data:
                raise EOFError
            self._buffer += data
        data, self._buffer = bytes(self._buffer[:size]), self._buffer[size:]
        return data

    async def read(self, size: int) -> bytes:
        """Bytes that are no frame, such as the preface. EOFError at the end."""
        async with asyncio.timeout(PATIENCE):
            return await self._read(size)

    async def get(self) -> Got:
        """The next frame. EOFError at the end, TimeoutError when nothing comes for long."""
        async with asyncio.timeout(PATIENCE):
            head = await self._read(9)
            payload = await self._read(int.from_bytes(head[:3], "big"))
        got = Got(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)
        self.seen.append(got)
        return got

    async def next(self, *kinds: int, stream_id: int | None = None, answer: bool = True) -> Got:
        """The next frame of these kinds (and not an acknowledgement). answer: acknowledge SETTINGS meanwhile."""
        while True:
            got = await self.get()
            if got.kind == SETTINGS and not got.flags & ACK and answer:
                await self.send(self.settings(ack=True))
            if got.kind in kinds and stream_id in (None, got.stream_id):
                return got

    async def until_closed(self) -> list[Got]:
        """All frames until the other end closes."""
        frames = []
        try:
            while True:
                frames.append(await self.get())
        except EOFError:
            return frames

    async def goaway(self) -> Got:
        """The GOAWAY after which the other end closes."""
        goaways = [got for got in await self.until_closed() if got.kind == GOAWAY]
        assert goaways, "closed without GOAWAY"
        return goaways[-1]

    async def end_of(self, stream_id: int) -> dict[str, str]:
        """How a call ended: all header fields until END_STREAM, or {"reset": code}."""
        fields: dict[str, str] = {}
        while True:
            got = await self.next(HEADERS, RST_STREAM, DATA, GOAWAY)
            if got.kind == HEADERS:  # of all streams, to keep the table right
                decoded = [(str(name), str(value)) for name, value in self.decoder.decode(got.payload)]
                if got.stream_id == stream_id:
                    fields.update(decoded)
            if got.kind == GOAWAY and got.code:
                return fields | {"goaway": str(got.code)}
            if got.stream_id == stream_id:
                if got.kind == RST_STREAM:
                    return fields | {"reset": str(got.code)}
                if got.kind != GOAWAY and got.flags & END_STREAM:
                    return fields

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


# ---------------------------------------------------------------- the target


class Target:
    """Methods of every kind, and counts of what their handlers do."""

    def __init__(self) -> None:
        self.started = self.alive = self.most_alive = self.finished = 0
        self.messages = 0
        self.release = asyncio.Event()

    def _counted(self, func: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def run(call: Any) -> None:
            self.started += 1
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
            try:
                await func(call)
                self.finished += 1
            finally:
                self.alive -= 1

        return run

    async def echo(self, call: Any) -> None:
        """The request again."""
        await call.send_message(await call.recv_message())

    async def hang(self, call: Any) -> None:
        """Never ends by itself, and does not read."""
        await self.release.wait()

    async def sink(self, call: Any) -> None:
        """Reads everything."""
        async for _ in call:
            self.messages += 1
        await call.send_message(StringValue(str(self.messages)))

    async def big(self, call: Any) -> None:
        """A mebibyte."""
        await call.recv_message()
        await call.send_message(StringValue("x" * (1 << 20)))

    async def pour(self, call: Any) -> None:
        """Replies without end."""
        await call.recv_message()
        while True:
            await call.send_message(StringValue("x" * 1000))

    async def stubborn(self, call: Any) -> None:
        """Takes its time when cancelled."""
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            await self.release.wait()
            raise

    def __mapping__(self) -> dict[str, Handler]:
        kinds = {
            "Echo": (self.echo, Cardinality.UNARY_UNARY),
            "Hang": (self._counted(self.hang), Cardinality.STREAM_STREAM),
            "Sink": (self._counted(self.sink), Cardinality.STREAM_UNARY),
            "Big": (self._counted(self.big), Cardinality.UNARY_UNARY),
            "Pour": (self._counted(self.pour), Cardinality.UNARY_STREAM),
            "Stubborn": (self._counted(self.stubborn), Cardinality.STREAM_STREAM),
            "Counted": (self._counted(self.echo), Cardinality.UNARY_UNARY),
        }
        return {
            f"/test.Target/{name}": Handler(func, cardinality, StringValue, StringValue)
            for name, (func, cardinality) in kinds.items()
        }


@dataclass
class Attacked:
    """A server with its target, the victim's record, and attackers."""

    server: Server
    target: Target
    channel: Channel
    peers: list[Peer] = field(default_factory=list)
    calls: int = 0
    errors: list[BaseException] = field(default_factory=list)

    async def connect(self, *, preface: bool = True, settings: Iterable[tuple[int, int]] = ()) -> Peer:
        """An attacker that is connected; preface: and has sent its preface and SETTINGS, and acknowledged ours."""
        sock = socket.socket()
        sock.setblocking(False)
        peer = Peer(sock)
        self.peers.append(peer)
        assert self.server.port is not None
        await peer.loop.sock_connect(sock, ("127.0.0.1", self.server.port))
        if preface:
            await peer.send(PREFACE + peer.settings(settings) + peer.settings(ack=True))
        return peer

    async def call(self, text: str = "hello") -> None:
        """One call of the victim."""
        async with self.channel.request(
            "/test.Target/Echo", Cardinality.UNARY_UNARY, StringValue, StringValue, timeout=VICTIM_DEADLINE
        ) as call:
            await call.send_message(StringValue(text), end=True)
            reply = await call.recv_message()
        assert isinstance(reply, StringValue)
        assert reply.value == text
        self.calls += 1

    async def run_victim(self) -> None:
        """Call and call again."""
        while True:
            try:
                await self.call()
            except Exception as error:  # noqa: BLE001  # whatever it is, the attack was felt
                self.errors.append(error)
            await asyncio.sleep(VICTIM_PAUSE)

    async def settle(self) -> None:
        """Until no handler runs."""
        async with asyncio.timeout(PATIENCE):
            while self.server.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Attacked]]]:
    """Starts a server and its victim. Afterwards: the victim saw no error, the server serves, and nothing is left."""
    before = asyncio.all_tasks()
    made: list[tuple[Attacked, asyncio.Task[None]]] = []

    async def make(
        *, http2: dict[str, Any] | None = None, guard: Any = None, keep_alive_interval: float = 7200.0, **options: Any
    ) -> Attacked:
        target = Target()
        limits = http2 or {}
        if "preface_timeout" in limits:
            options["handshake_timeout"] = limits["preface_timeout"]
        config = ServerConfig(**{"cancel_grace": 1.0, "http2": Http2Config(**limits), **options})
        object.__setattr__(config, "keep_alive_interval", keep_alive_interval)  # also below what may be configured
        server = Server([target], config=config, guard=guard)
        await server.start("127.0.0.1", 0)
        attacked = Attacked(server, target, Channel("127.0.0.1", server.port))
        await attacked.call()
        made.append((attacked, asyncio.create_task(attacked.run_victim(), name="victim")))
        return attacked

    yield make
    for attacked, victim in made:
        for peer in attacked.peers:
            peer.close()
        done = attacked.calls
        attacked.target.release.set()
        await attacked.call("after the attack, on the old connection")
        victim.cancel()
        await asyncio.wait([victim])
        fresh = Channel("127.0.0.1", attacked.server.port)
        async with asyncio.timeout(PATIENCE):
            while attacked.server.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        attacked.channel.close()
        await attacked.channel.wait_closed()
        attacked.channel = fresh
        await attacked.call("after the attack, on a new connection")
        fresh.close()
        await fresh.wait_closed()
        attacked.server.close()
        await attacked.server.wait_closed()
        assert not attacked.errors, attacked.errors[:3]
        assert done > 1, "the victim made no call"
        assert attacked.target.alive == 0
        assert attacked.server.connections == 0
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
    assert not left, left


# ---------------------------------------------------------------- a server in a process of its own


@dataclass
class Alone:
    """A server whose memory can be seen."""

    process: subprocess.Popen[str]
    port: int

    def resident(self) -> int:
        """Bytes of memory in use."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def connect(self, *, settings: Iterable[tuple[int, int]] = ()) -> Peer:
        """An attacker."""
        sock = socket.socket()
        sock.setblocking(False)
        peer = Peer(sock)
        await peer.loop.sock_connect(sock, ("127.0.0.1", self.port))
        await peer.send(PREFACE + peer.settings(settings) + peer.settings(ack=True))
        return peer


@pytest.fixture
def alone() -> Iterator[Alone]:
    """The target, served by another process."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory of a process is read from /proc")
    root = Path(orbit_lite.__file__).parents[1]
    path = os.pathsep.join([str(root), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("alone.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield Alone(process, int(process.stdout.readline()))
        finally:
            process.stdin.close()  # the server ends then
            try:
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()


# ---------------------------------------------------------------- hostile servers


@pytest.fixture
async def hostile() -> AsyncIterator[Callable[..., Awaitable[Channel]]]:
    """Runs a script against each connection of a client, and gives the client's channel."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    listeners: list[socket.socket] = []
    channels: list[Channel] = []
    tasks: set[asyncio.Task[None]] = set()

    async def run(script: Callable[[Peer], Awaitable[None]], peer: Peer, preface: bool) -> None:
        try:
            if preface:
                assert await peer.read(len(PREFACE)) == PREFACE
                await peer.send(peer.settings())
            await script(peer)
        except EOFError:
            pass  # the client has gone
        finally:
            peer.close()

    async def make(
        script: Callable[[Peer], Awaitable[None]], *, preface: bool = True, config: TransportConfig | None = None
    ) -> Channel:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        listeners.append(listener)

        async def accept() -> None:
            while True:
                sock, _ = await loop.sock_accept(listener)
                task = asyncio.create_task(run(script, Peer(sock), preface))
                tasks.add(task)

        tasks.add(asyncio.create_task(accept()))
        channel = Channel("127.0.0.1", listener.getsockname()[1], config=config)
        channels.append(channel)
        return channel

    yield make
    for channel in channels:
        channel.close()
        await channel.wait_closed()
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for listener in listeners:
        listener.close()
    failures = [one for one in results if isinstance(one, Exception)]
    assert not failures, failures
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
    assert not left, left
    gc.collect(0)
