"""Two lines in which calls of one connection wait: for a stream that they may open, and for their messages' turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Backlog", "Places"]


class Places:
    """First come, first served: an offered place is taken at once or passed on. free: how many there are now."""

    __slots__ = ("_free", "_loop", "_offers", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, free: Callable[[], int]) -> None:
        self._loop = loop
        self._free = free
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._offers = 0  # places that were offered and not taken yet

    @property
    def is_contended(self) -> bool:
        """Whether a newcomer has to wait its turn."""
        return bool(self._waiters or self._offers)

    async def take(self) -> None:
        """Wait until there is a place; it has to be used, or offered again, before anything else is awaited."""
        was_offered = False
        while self._free() - self._offers <= 0 or (self._waiters and not was_offered):
            await self._wait()
            was_offered = True

    async def _wait(self) -> None:
        place = self._loop.create_future()
        self._waiters.append(place)
        try:
            await place
        except BaseException:  # cancelled, or closed as a coroutine
            if place.done() and not place.cancelled():
                self._offers -= 1
                self.offer()
            elif place in self._waiters:
                self._waiters.remove(place)
            raise
        self._offers -= 1

    def offer(self) -> None:
        """Wake as many as there are places for."""
        if not self._waiters:
            return
        free = self._free() - self._offers
        while self._waiters and free > 0:
            place = self._waiters.popleft()
            if not place.done():
                place.set_result(None)
                self._offers += 1
                free -= 1


class Backlog:
    """Bytes of messages that wait for a peer that takes nothing. From `limit` on, no further ones should be made."""

    __slots__ = ("_bytes", "_limit", "_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._bytes = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def is_full(self) -> bool:
        """Whether to `wait` before a message is made."""
        return self._bytes >= self._limit

    def add(self, size: int) -> None:
        """`size` more bytes wait; negative: fewer."""
        self._bytes += size
        if self._waiters and not self.is_full:
            self.wake()

    async def wait(self) -> None:
        """Until it may have become less. Look again then: those before may have made their messages."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:  # cancelled
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def wake(self) -> None:
        """Let all who wait look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
