"""The floor: an asyncio protocol that sends back what it receives, a length before each message, nothing else."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import load, works
from benchmarks.contender import HOST, BenchClient, BenchServer

LENGTH = struct.Struct(">I")


class Framed(asyncio.Protocol):
    """Splits what arrives into messages."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        at, have = 0, len(buffer)
        while have - at >= 4:
            end = at + 4 + LENGTH.unpack_from(buffer, at)[0]
            if end > have:
                break
            self.message_received(bytes(buffer[at + 4 : end]))
            at = end
        if at:
            del buffer[:at]

    def message_received(self, message: bytes) -> None:
        raise NotImplementedError

    def send(self, message: bytes) -> None:
        self.transport.write(LENGTH.pack(len(message)) + message)


class Echo(Framed):
    def message_received(self, message: bytes) -> None:
        self.send(message)


class Caller(Framed):
    """Replies come in the order of the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[asyncio.Future[bytes]] = deque()
        self.loop = asyncio.get_running_loop()

    def message_received(self, message: bytes) -> None:
        waiter = self.waiting.popleft()
        if not waiter.done():
            waiter.set_result(message)

    def call(self, message: bytes) -> asyncio.Future[bytes]:
        waiter = self.loop.create_future()
        self.waiting.append(waiter)
        self.send(message)
        return waiter


class EchoServer(BenchServer):
    async def start(self, streams: int | None) -> int:
        self.server = await asyncio.get_running_loop().create_server(Echo, HOST, 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self.server.close()


class EchoClient(BenchClient):
    schema = None

    def __init__(self) -> None:
        self.connections: list[Caller] = []

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        for _ in range(connections):
            _, caller = await asyncio.get_running_loop().create_connection(Caller, HOST, port)
            self.connections.append(caller)

    def methods(self) -> list[Any]:
        return [caller.call for caller in self.connections]

    def _caller(self, methods: Any, work: str, size: int) -> Callable[[], Any]:
        message = bytes(works.SIZES[work] + size)

        async def one(call: Callable[[bytes], asyncio.Future[bytes]]) -> None:
            works.check(len(await call(message)) == len(message))

        return partial(one, methods)

    async def chat(self, seconds: float) -> dict[str, float]:
        return await load.closed_loop(self.callers("stream", 0), load.WINDOW, seconds)

    async def close(self) -> None:
        for caller in self.connections:
            caller.transport.close()
