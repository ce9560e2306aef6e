"""Messages on their way between an event loop and a thread that blocks: two bounded queues, one for each direction.

Whichever side is faster waits for the other. Neither side ever waits for ever: `close` wakes both up.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PATIENCE", "Inbox", "Outbox"]

T = TypeVar("T")

#: Messages that wait in one direction, each up to the message size limit.
CAPACITY = 8
#: Seconds after which a thread that waits looks up. Only Windows needs it, where Ctrl-C does not end a wait for a lock.
PATIENCE = 0.2 if os.name == "nt" else None


class Outbox(Generic[T]):
    """From the loop to a thread: `await put(…)` there, `get()` here. `finish` and `close` may be called anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        # An RLock inside, since `close` may come from a finalizer that interrupts one of the other methods.
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._failure: BaseException | None = None
        self.is_finished = False

    async def put(self, item: T) -> None:
        """Hand an item over, then wait while there is no room for another."""
        with self._changed:
            if self.is_finished:
                return
            self._items.append(item)
            is_full = len(self._items) >= CAPACITY
            if is_full:
                self._room.clear()
            self._changed.notify()
        if is_full:
            await self._room.wait()

    def get(self) -> T:
        """The next item. After the last one raises the failure, or StopIteration, now and ever after."""
        with self._changed:
            while not self._items and not self.is_finished:
                self._changed.wait(PATIENCE)
            if not self._items:
                raise StopIteration if self._failure is None else self._failure
            item = self._items.popleft()
            has_room = len(self._items) == CAPACITY // 2 and not self.is_finished
        if has_room:
            _tell(self._loop, self._room.set)
        return item

    def finish(self, failure: BaseException | None = None) -> None:
        """Nothing follows what has been handed over, but for the failure. Only the first word counts."""
        with self._changed:
            if not self.is_finished:
                self.is_finished = True
                self._failure = failure
                self._changed.notify_all()

    def close(self) -> None:
        """Drop what has not been taken."""
        with self._changed:
            self._items.clear()
            self.finish()


class Inbox(Generic[T]):
    """From a thread to the loop: `put(…)` here, `async for` there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ready = asyncio.Event()
        self._has_ended = False
        self._is_closed = False

    def put(self, item: T) -> bool:
        """Hand an item over, waiting while there is no room. False: nobody wants any more."""
        with self._changed:
            while len(self._items) >= CAPACITY and not self._is_closed:
                self._changed.wait(PATIENCE)
            if self._is_closed:
                return False
            self._items.append(item)
            if len(self._items) == 1:
                _tell(self._loop, self._ready.set)
        return True

    def end(self) -> None:
        """Nothing follows."""
        with self._changed:
            self._has_ended = True
            _tell(self._loop, self._ready.set)

    def close(self) -> None:
        """Nobody wants any more: wakes up both sides."""
        with self._changed:
            if not self._is_closed:
                self._is_closed = True
                self._changed.notify_all()
                _tell(self._loop, self._ready.set)

    def __aiter__(self) -> Inbox[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            with self._changed:
                if self._is_closed:
                    # Who still reads is the task in which betterproto sends, and which it does not end with the call.
                    raise asyncio.CancelledError
                if self._items:
                    self._changed.notify()
                    return self._items.popleft()
                if self._has_ended:
                    raise StopAsyncIteration
                self._ready.clear()
            await self._ready.wait()


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Run a callback on the loop, unless that is over: then nobody waits there."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
