"""orbit-lite through its public interface: Server, Channel, ConnectionPool, generated stubs and service bases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from benchmarks import works
from benchmarks.contender import HOST, BenchClient, BenchServer
from orbit_lite.rpc import Channel, ConnectionPool, PoolConfig, Server, ServerConfig, TransportConfig
from orbit_proto.orbit.shared import ConnectionServiceBase, ConnectionServiceStub, HealthServiceBase, HealthServiceStub
from orbit_proto.orbit.transactions import TransactionServiceBase, TransactionServiceStub

SCHEMA = works.generated()


class Health(HealthServiceBase):
    async def check(self, health_check_request: Any) -> Any:
        return works.answer_tiny(SCHEMA, health_check_request)


class Transactions(TransactionServiceBase):
    async def send_transaction_message(self, transaction_message_request: Any) -> Any:
        return works.answer_typical(SCHEMA, transaction_message_request)

    async def broadcast_transaction_message(self, broadcast_message_request: Any) -> Any:
        return works.answer_payload(SCHEMA, broadcast_message_request)


class Connections(ConnectionServiceBase):
    async def open_stream(self, message_proto_iterator: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in message_proto_iterator:
            yield works.answer_message(SCHEMA, message)


class OrbitServer(BenchServer):
    async def start(self, streams: int | None) -> int:
        config = ServerConfig() if streams is None else ServerConfig(max_concurrent_streams=streams)
        self.server = Server([Health(), Transactions(), Connections()], config=config)
        await self.server.start(HOST, 0)
        port = self.server.port
        if port is None:
            raise RuntimeError("the server has no port")
        return port

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()


class OrbitClient(BenchClient):
    schema = SCHEMA

    def __init__(self) -> None:
        self.channels: list[Any] = []
        self.owners: list[Channel | ConnectionPool] = []

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        if pool is None:
            channels = [Channel(HOST, port) for _ in range(connections)]
            for channel in channels:
                await channel.connect()
            self.channels, self.owners = list(channels), list(channels)
            return
        # With its default of 100 calls a connection the pool would not open all of them at this load.
        spread = PoolConfig(soft_stream_limit=max(1, pool // connections))
        owner = ConnectionPool(TransportConfig(max_connections_per_endpoint=connections), pool=spread)
        self.owners = [owner]
        self.channels = [await owner.get_connection(f"http://{HOST}:{port}")]

    def methods(self) -> list[Any]:
        found = []
        for channel in self.channels:
            transactions = TransactionServiceStub(channel)
            found.append((
                HealthServiceStub(channel).check,
                transactions.send_transaction_message,
                transactions.broadcast_transaction_message,
            ))  # fmt: skip
        return found

    def open_stream(self, connection: int, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return ConnectionServiceStub(self.channels[connection]).open_stream(messages)

    async def close(self) -> None:
        for owner in self.owners:
            await owner.__aexit__(None, None, None)
