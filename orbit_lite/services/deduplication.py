"""A window of messages that were handled, so that a repeated one gets the first one's answer. Pure but for the futures.

A message that is still being handled is joined: whoever repeats it waits for the same end. What failed in a way that
may pass (`retryable`) is forgotten at once, since repeating it is what the sender should do; any other failure is an
answer and is remembered like a success. The window is bounded in entries and in age; what runs is never dropped.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from orbit_lite.errors import OrbitError

__all__ = ["DeduplicationWindow"]


class DeduplicationWindow:
    """size: answers kept. age: seconds for which they are kept. clock: monotonic seconds."""

    def __init__(self, *, size: int, age: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._age = age
        self._clock = clock
        self._answers: OrderedDict[Hashable, tuple[float, OrbitError | None]] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        #: Messages that got the answer of an earlier one.
        self.duplicates = 0

    async def once(self, key: Hashable, handle: Callable[[], Awaitable[None]]) -> None:
        """Run `handle` unless this key was handled within the window; raises what the first run raised.

        When the caller that started it is cancelled, the run goes on as long as another one waits for it.
        """
        while (task := self._running.get(key)) is not None and task.cancelling():
            await asyncio.wait([task])  # everybody had left it: not to be joined, and not to be overtaken
        self._forget_old()
        if key in self._answers:
            self.duplicates += 1
            error = self._answers[key][1]
            if error is not None:
                raise error.with_traceback(None)
            return
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._run(key, handle))
            task.add_done_callback(_retrieve)
        else:
            self.duplicates += 1
        await _join(task)

    async def _run(self, key: Hashable, handle: Callable[[], Awaitable[None]]) -> None:
        try:
            await handle()
        except OrbitError as error:
            if not error.retryable:
                self._remember(key, error)
            raise
        else:
            self._remember(key, None)
        finally:
            del self._running[key]

    def _remember(self, key: Hashable, answer: OrbitError | None) -> None:
        self._answers[key] = self._clock(), answer
        while len(self._answers) > self._size:
            self._answers.popitem(last=False)

    def _forget_old(self) -> None:
        limit = self._clock() - self._age
        while self._answers:
            oldest = next(iter(self._answers))
            if self._answers[oldest][0] > limit:
                return
            del self._answers[oldest]


_waiters: dict[asyncio.Task[None], int] = {}


async def _join(task: asyncio.Task[None]) -> None:
    """Wait for a task that others wait for too; the last one that is cancelled takes the task with it."""
    _waiters[task] = _waiters.get(task, 0) + 1
    try:
        await asyncio.shield(task)
    finally:
        _waiters[task] -= 1
        if not _waiters[task]:
            del _waiters[task]
            task.cancel()  # without effect when it is done


def _retrieve(task: asyncio.Task[None]) -> None:
    """The waiters were told; nobody needs to hear "exception was never retrieved" as well."""
    if not task.cancelled():
        task.exception()
