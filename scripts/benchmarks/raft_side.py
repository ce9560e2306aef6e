"""Both ends of the scenario `raft`: etcd's KV.Put, served by a RaftConsensus, and a client for whoever serves it.

    python -m benchmarks.raft_side --help       a node, as orbit_lite.testing.processes starts it

Clients of orbit-lite and of etcd are the same code that sends the same bytes, so its cost is the same for both.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import betterproto
from grpclib.const import Cardinality, Handler

import orbit_lite.codec
from benchmarks import load, works
from benchmarks.contender import HOST, BenchClient
from orbit_lite.raft import RaftConsensus
from orbit_lite.rpc import Channel, ServerCall
from orbit_lite.testing.processes import node

PUT = "/etcdserverpb.KV/Put"
KEYS = 10_000
KEY_LENGTH = struct.Struct(">H")
REVISION = struct.Struct(">Q")


@dataclass(eq=False, repr=False)
class PutRequest(orbit_lite.codec.Message):
    """etcd's api/etcdserverpb/rpc.proto, as far as it is used."""

    key: bytes = betterproto.bytes_field(1)
    value: bytes = betterproto.bytes_field(2)


@dataclass(eq=False, repr=False)
class ResponseHeader(orbit_lite.codec.Message):
    cluster_id: int = betterproto.uint64_field(1)
    member_id: int = betterproto.uint64_field(2)
    revision: int = betterproto.int64_field(3)
    raft_term: int = betterproto.uint64_field(4)


@dataclass(eq=False, repr=False)
class PutResponse(orbit_lite.codec.Message):
    header: ResponseHeader = betterproto.message_field(1)


class PutMachine:
    """Keys and values of bytes, and how often it was written to."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.revision = 0

    def apply(self, index: int, data: bytes) -> bytes:
        at = KEY_LENGTH.size + KEY_LENGTH.unpack_from(data)[0]
        self.values[data[KEY_LENGTH.size : at]] = data[at:]
        self.revision += 1
        return REVISION.pack(self.revision)

    def snapshot(self) -> bytes:
        pairs = (
            KEY_LENGTH.pack(len(key)) + key + REVISION.pack(len(value)) + value for key, value in self.values.items()
        )
        return REVISION.pack(self.revision) + b"".join(pairs)

    def restore(self, data: bytes) -> None:
        (self.revision,), at = REVISION.unpack_from(data), REVISION.size
        self.values.clear()
        while at < len(data):
            key_at = at + KEY_LENGTH.size
            size_at = key_at + KEY_LENGTH.unpack_from(data, at)[0]
            value_at = size_at + REVISION.size
            at = value_at + REVISION.unpack_from(data, size_at)[0]
            self.values[data[key_at:size_at]] = data[value_at:at]


class PutService:
    def __init__(self, consensus: RaftConsensus) -> None:
        self._consensus = consensus

    def __mapping__(self) -> dict[str, Handler]:
        return {PUT: Handler(self._serve, Cardinality.UNARY_UNARY, PutRequest, PutResponse)}

    async def _serve(self, call: ServerCall[PutRequest, PutResponse]) -> None:
        await call.answer_with(self._put)

    async def _put(self, request: PutRequest) -> PutResponse:
        data = KEY_LENGTH.pack(len(request.key)) + request.key + request.value
        (revision,) = REVISION.unpack(await self._consensus.propose(data))
        return PutResponse(header=ResponseHeader(revision=revision, raft_term=self._consensus.get_current_term()))


class PutClient(BenchClient):
    """Puts over one connection to the leader. The only work is `put`, its size that of the value."""

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        self._channels = [Channel(HOST, port) for _ in range(connections)]
        for channel in self._channels:
            await channel.connect()
        self._numbers = itertools.count()

    async def once(self) -> None:
        for call in self.callers("put", 0):
            await call()

    def callers(self, work: str, size: int) -> list[Callable[[], Any]]:
        return [self._putter(channel, b"v" * size) for channel in self._channels]

    def _putter(self, channel: Channel, value: bytes) -> Callable[[], Any]:
        async def put() -> None:
            request = PutRequest(key=b"key%d" % (next(self._numbers) % KEYS), value=value)
            reply = await channel.unary_unary(PUT, request, PutResponse, timeout=works.TIMEOUT)
            works.check(reply.header.revision)

        return put

    def methods(self) -> list[Any]:
        raise NotImplementedError

    async def run(self, work: str, in_flight: int, seconds: float, size: int) -> dict[str, float]:
        return await load.closed_loop(self.callers(work, size), in_flight, seconds)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.__aexit__(None, None, None)


def main() -> None:
    machine = PutMachine()
    asyncio.run(node.run(node.parser().parse_args(), machine, lambda consensus: [PutService(consensus)]))


if __name__ == "__main__":
    main()
