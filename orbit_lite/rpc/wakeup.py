"""Waking a task where the reason for it appears, instead of in the event loop's next turn.

An `asyncio.Future` that is done asks the loop to go on with the task that waits for it. That costs a turn of the loop,
with its system call, before a task hears of a message that has been read: a third of what a call costs when it is the
only one. Where nothing else runs, as at the end of `data_received`, the task may just as well go on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextvars import Context
from typing import Any

__all__ = ["Wakeup", "fire_all"]


class Wakeup:
    """One task's wait for one thing: to be awaited once. To a task it looks like a future (PEP 3156), and cancelling
    the task ends it.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_is_done", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_done = False
        self._asyncio_future_blocking = False  # by this name tasks know what they may wait for
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancelled: asyncio.CancelledError | None = None

    def fire(self) -> None:
        """Let the task go on here and now; nothing happens if it already does. Only where no task runs."""
        if not self._is_done:
            self._is_done = True
            callback, context = self._callback, self._context
            if callback is not None and context is not None:
                context.run(callback, self)

    def fire_soon(self) -> None:
        """Let the task go on in the loop's next turn; nothing happens if it already does."""
        if not self._is_done:
            self._is_done = True
            if self._callback is not None:
                self._loop.call_soon(self._callback, self, context=self._context)

    # ---------------------------------------------------------------- what a task asks of a future

    def __await__(self) -> Generator[Any, None, None]:
        if not self._is_done:
            self._asyncio_future_blocking = True
            yield self
        if self._cancelled is not None:
            raise self._cancelled

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Where the task runs."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """The task's own way to be woken."""
        self._callback, self._context = callback, context
        if self._is_done:
            self._loop.call_soon(callback, self, context=context)

    def done(self) -> bool:
        """Whether the wait is over."""
        return self._is_done

    def result(self) -> None:
        """Nothing. Raises CancelledError when the task was cancelled."""
        if self._cancelled is not None:
            raise self._cancelled

    def cancel(self, msg: object = None) -> bool:
        """The task was cancelled: it hears of it in the loop's next turn. False: too late, it goes on already."""
        if self._is_done:
            return False
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.fire_soon()
        return True


def fire_all(wakeups: Iterable[Wakeup], loop: asyncio.AbstractEventLoop) -> None:
    """Let tasks go on, one after the other; in the next turn if a task runs now."""
    left = iter(wakeups)
    try:
        if asyncio.current_task(loop) is None:
            for wakeup in left:
                wakeup.fire()
    finally:  # also when a task ended the process, by SystemExit say: the others have to clean up
        for wakeup in left:
            wakeup.fire_soon()
