"""What a contender is: a server and a client, as side.py drives them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks import load, works

HOST = "127.0.0.1"


class BenchServer(ABC):
    """Answers tiny, typical and payload calls and streams."""

    @abstractmethod
    async def start(self, streams: int | None) -> int:
        """Listen on a free port, which is returned. streams: calls to allow at once on a connection; None = default."""

    @abstractmethod
    async def stop(self) -> None: ...


class BenchClient(ABC):
    """Calls of one contender's client over its connections."""

    schema: Any
    """The message classes, see works.py."""

    @abstractmethod
    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        """pool: let the library's own pool spread so many calls in flight; None = the connections are used in turn."""

    @abstractmethod
    def methods(self) -> list[Any]:
        """For each connection its three unary methods, `(check, send, broadcast)`: functions of a request."""

    @abstractmethod
    async def close(self) -> None: ...

    def callers(self, work: str, size: int) -> list[Callable[[], Any]]:
        """For each connection a coroutine function that makes one call of that work, message included."""
        return [self._caller(methods, work, size) for methods in self.methods()]

    def _caller(self, methods: Any, work: str, size: int) -> Callable[[], Any]:
        schema = self.schema
        check, send, broadcast = methods

        async def tiny() -> None:
            works.read_tiny(await check(works.make_tiny(schema), timeout=works.TIMEOUT))

        async def typical() -> None:
            works.read_typical(await send(works.make_typical(schema), timeout=works.TIMEOUT))

        text = "x" * size

        async def payload() -> None:
            works.read_payload(await broadcast(works.make_payload(schema, text), timeout=works.TIMEOUT), text)

        return {"tiny": tiny, "typical": typical, "payload": payload}[work]

    async def once(self) -> None:
        """One tiny call on each connection."""
        for call in self.callers("tiny", 0):
            await call()

    async def run(self, work: str, in_flight: int, seconds: float, size: int) -> dict[str, float]:
        return await load.closed_loop(self.callers(work, size), in_flight, seconds)

    def open_stream(self, connection: int, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        raise NotImplementedError

    def pacer(self, seconds: float) -> load.Pacer:
        schema = self.schema
        return load.Pacer(lambda number: works.make_message(schema, number), works.read_message, seconds)

    async def chat(self, seconds: float) -> dict[str, float]:
        """One stream for that long."""
        return await load.chat(lambda messages: self.open_stream(0, messages), self.pacer(seconds))

    async def hold(self, count: int) -> Held:
        """Open so many streams on the first connection, each used once, and keep them open."""
        held = Held()
        for _ in range(count):
            await held.add(self)
        return held


class Held:
    """Streams that are open and silent."""

    def __init__(self) -> None:
        self._over = asyncio.Event()
        self._replies: list[AsyncIterator[Any]] = []

    async def add(self, client: BenchClient) -> None:
        async def messages() -> AsyncIterator[Any]:
            yield works.make_message(client.schema, 1)
            await self._over.wait()

        replies = client.open_stream(0, messages())
        works.read_message(await anext(aiter(replies)), 1)
        self._replies.append(replies)

    async def release(self) -> None:
        self._over.set()
        for replies in self._replies:
            async for _ in replies:
                pass
        self._replies.clear()
