"""Where calls of one connection wait: for a stream that they may open, for their messages' turn, for a change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Backlog", "Places", "Watchers"]


class Places:
    """First come, first served: an offered place is taken at once or passed on. free: how many there are now."""

    __slots__ = ("_free", "_loop", "_offers", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, free: Callable[[], int]) -> None:
        self._loop = loop
        self._free = free
        #: Who waits. Without anybody there is no need to `offer`.
        self.waiters: deque[asyncio.Future[None]] | tuple[()] = ()  # most connections never need one
        self._offers = 0  # places that were offered and not taken yet

    @property
    def is_contended(self) -> bool:
        """Whether a newcomer has to wait its turn."""
        return bool(self.waiters or self._offers)

    async def take(self) -> None:
        """Wait until there is a place; it has to be used, or offered again, before anything else is awaited."""
        was_offered = False
        while self._free() - self._offers <= 0 or (self.waiters and not was_offered):
            await self._wait()
            was_offered = True

    async def _wait(self) -> None:
        place = self._loop.create_future()
        waiters = self.waiters = self.waiters or deque()
        waiters.append(place)
        try:
            await place
        except BaseException:  # cancelled, or closed as a coroutine
            if place.done() and not place.cancelled():
                self._offers -= 1
                self.offer()
            elif place in waiters:
                waiters.remove(place)
            raise
        self._offers -= 1

    def offer(self) -> None:
        """Wake as many as there are places for."""
        if not self.waiters:
            return
        free = self._free() - self._offers
        while self.waiters and free > 0:
            place = self.waiters.popleft()
            if not place.done():
                place.set_result(None)
                self._offers += 1
                free -= 1


class Watchers:
    """Who waits for something to change, and looks again then."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] | None = None

    async def wait(self) -> None:
        """Until it may have changed."""
        waiter = asyncio.get_running_loop().create_future()
        futures = self._futures = self._futures or []
        futures.append(waiter)
        try:
            await waiter
        except BaseException:  # cancelled
            if waiter in futures:
                futures.remove(waiter)
            raise

    def wake(self) -> None:
        """Let all who wait look again."""
        futures, self._futures = self._futures, None
        for waiter in futures or ():
            if not waiter.done():
                waiter.set_result(None)


class Backlog(Watchers):
    """Bytes of messages that wait for a peer that takes nothing. From `limit` on, no further ones should be made.

    Those who `wait` look again then: others before them may have made their messages.
    """

    __slots__ = ("_bytes", "_limit", "is_full")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._bytes = 0
        #: Whether to `wait` before a message is made.
        self.is_full = False

    def add(self, size: int) -> None:
        """`size` more bytes wait; negative: fewer."""
        self._bytes += size
        self.is_full = self._bytes >= self._limit
        if self._futures is not None and not self.is_full:
            self.wake()
