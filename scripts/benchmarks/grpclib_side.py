"""grpclib on h2 with betterproto's own runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpclib.client import Channel
from grpclib.server import Server

from benchmarks import plain, works
from benchmarks.contender import HOST, BenchClient, BenchServer

SCHEMA = works.plain()


class Service(plain.Base):
    async def check(self, request: Any) -> Any:
        return works.answer_tiny(SCHEMA, request)

    async def send_transaction_message(self, request: Any) -> Any:
        return works.answer_typical(SCHEMA, request)

    async def broadcast_transaction_message(self, request: Any) -> Any:
        return works.answer_payload(SCHEMA, request)

    async def open_stream(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in messages:
            yield works.answer_message(SCHEMA, message)


class GrpclibServer(BenchServer):
    """`streams` cannot be raised: h2 allows 100."""

    async def start(self, streams: int | None) -> int:
        self.server = Server([Service()])
        await self.server.start(HOST, 0)
        listener: Any = self.server._server
        port: int = listener.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()


class GrpclibClient(BenchClient):
    schema = SCHEMA

    def __init__(self) -> None:
        self.channels: list[Channel] = []

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        self.channels = [Channel(HOST, port) for _ in range(connections)]
        for channel in self.channels:
            await channel.__connect__()

    def methods(self) -> list[Any]:
        stubs = [plain.Stub(channel) for channel in self.channels]
        return [(stub.check, stub.send_transaction_message, stub.broadcast_transaction_message) for stub in stubs]

    def open_stream(self, connection: int, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return plain.Stub(self.channels[connection]).open_stream(messages)

    async def close(self) -> None:
        for channel in self.channels:
            channel.close()
