"""Clients of a cluster of processes, who write down what they saw.

Each has one operation under way. It is tried at one node after the other until it is answered; a write keeps its number
in its session, so it takes effect once. A write that was given up may have taken effect, or still do so: it stands in
the history without an end. A read that was given up is left out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from random import Random
from typing import Self

from betterproto.lib.google.protobuf import BytesValue

from orbit_lite.errors import OrbitError
from orbit_lite.rpc import Channel
from orbit_lite.testing.processes.service import CLIENT, PROPOSE, READ, SEQ
from orbit_lite.testing.simulation import Call, KeyValueOperation, KeyValueWorkload, Verdict, check_linearizability

__all__ = ["Load", "RecordingClient", "WindowedWorkload", "verdict_of"]

ATTEMPT = 1.0  # seconds until another node is asked
PATIENCE = 30.0  # seconds until an operation is given up
BACK_OFF = 0.05  # seconds between two attempts, at most
REST = 0.01  # seconds between two operations, at most
FOLLOWER_READS = 0.4  # of the reads, part that goes to any node

History = list[Call[KeyValueOperation]]


class RecordingClient:
    """calls: its history, times by `time.monotonic()`. given_up: operations without an outcome."""

    def __init__(self, name: str, addresses: Sequence[str], random: Random, *, patience: float = PATIENCE) -> None:
        self.name = name
        self.calls: History = []
        self.given_up = 0
        self._patience = patience
        self._random = random
        self._channels = [Channel.from_url(address) for address in addresses]
        self._target = random.randrange(len(addresses))
        self._seq = 0

    async def do(self, operation: KeyValueOperation) -> bytes | None:
        """The result; None when it was given up."""
        command = KeyValueWorkload().command(operation)
        if command is None and self._random.random() < FOLLOWER_READS:
            self._target = self._random.randrange(len(self._channels))
        self._seq += command is not None
        started = time.monotonic()
        try:
            result = await self._until_answered(operation, command, started + self._patience)
        except BaseException:
            self._note(operation, command, started, None)
            raise
        self._note(operation, command, started, result)
        return result

    def _note(self, operation: KeyValueOperation, command: bytes | None, started: float, result: bytes | None) -> None:
        if result is not None:
            self.calls.append(Call(self.name, operation, started, time.monotonic(), result))
            return
        self.given_up += 1
        if command is not None:
            self.calls.append(Call(self.name, operation, started))

    async def _until_answered(self, operation: KeyValueOperation, command: bytes | None, end: float) -> bytes | None:
        while time.monotonic() < end:
            try:
                return await self._ask(self._channels[self._target], operation, command)
            except (OrbitError, TimeoutError):
                self._target = self._random.randrange(len(self._channels))
                await asyncio.sleep(self._random.random() * BACK_OFF)
        return None

    async def _ask(self, channel: Channel, operation: KeyValueOperation, command: bytes | None) -> bytes:
        async with asyncio.timeout(ATTEMPT):
            if not channel.is_connected:
                await channel.connect()  # at once: of itself the channel waits longer and longer
            if command is None:
                reply = await channel.unary_unary(READ, BytesValue(operation.key.encode()), BytesValue, timeout=ATTEMPT)
            else:
                session = {CLIENT: self.name, SEQ: str(self._seq)}
                request = BytesValue(command)
                reply = await channel.unary_unary(PROPOSE, request, BytesValue, timeout=ATTEMPT, metadata=session)
        return bytes(reply.value)

    async def close(self) -> None:
        for channel in self._channels:
            channel.close()
        for channel in self._channels:
            await channel.wait_closed()


class WindowedWorkload:
    """Operations of all clients on a few keys, then on the next ones.

    So a history of any length falls into parts of a bounded size, which share no state and are checked one by one.
    """

    def __init__(self, size: int = 300, keys: int = 1) -> None:
        """size: operations of a window. keys: of a window; at most some eight clients for each can be checked."""
        self._size = size * keys
        self._keys = keys
        self._drawn = 0
        self._window = KeyValueWorkload(keys)

    def draw(self, client: str, number: int, random: Random) -> KeyValueOperation:
        if self._drawn and self._drawn % self._size == 0:
            self._window = KeyValueWorkload(self._keys)
        operation = self._window.draw(client, number, random)
        key = f"w{self._drawn // self._size}.{operation.key}"
        self._drawn += 1
        return dataclasses.replace(operation, key=key)


class Load:
    """`async with Load(addresses, seed=7) as load`: clients are at work until the block ends."""

    def __init__(
        self, addresses: Sequence[str], *, seed: int, clients: int = 6, rest: float = REST, patience: float = PATIENCE
    ) -> None:
        """rest: seconds between two operations of a client, at most."""
        self._workload = WindowedWorkload(keys=max(1, clients // 6))
        self._random = Random(seed)
        self._clients = [
            RecordingClient(f"c{number + 1}", addresses, Random(self._random.random()), patience=patience)
            for number in range(clients)
        ]
        self._rest = rest
        #: Writes that were acknowledged, in that order.
        self.acknowledged: History = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.get_running_loop().create_task(self._work(client)) for client in self._clients]
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.finish()

    async def finish(self) -> None:
        """Let every client end the operation that is under way; again has no effect."""
        self._is_over = True
        await asyncio.gather(*(task for task in self._tasks if not task.cancelled()))

    async def _work(self, client: RecordingClient) -> None:
        number = 0
        try:
            while not self._is_over:
                number += 1
                operation = self._workload.draw(client.name, number, self._random)
                result = await client.do(operation)
                if result is not None and operation.kind != "get":
                    self.acknowledged.append(client.calls[-1])
                await asyncio.sleep(self._random.random() * self._rest)
        finally:
            await client.close()

    @property
    def history(self) -> History:
        return [call for client in self._clients for call in client.calls]

    @property
    def given_up(self) -> int:
        return sum(client.given_up for client in self._clients)

    async def progress(self, writes: int = 20) -> None:
        """Return when so many more writes have been acknowledged; a task that failed raises here."""
        wanted = len(self.acknowledged) + writes
        while len(self.acknowledged) < wanted:
            self.check()
            await asyncio.sleep(REST)

    def check(self) -> None:
        """Raises what a client's task has failed with."""
        for task in self._tasks:
            if task.done():
                task.result()


async def verdict_of(history: History, addresses: Sequence[str]) -> Verdict:
    """Of a history whose clients have ended, and one more read of everything that was written.

    A write that was acknowledged and is gone has no place in any order before that read.
    """
    reader = RecordingClient("reader", addresses, Random(0))
    try:
        for key in dict.fromkeys(call.operation.key for call in history):
            await reader.do(KeyValueOperation("get", key))
    finally:
        await reader.close()
    return check_linearizability([*history, *reader.calls], KeyValueWorkload())
