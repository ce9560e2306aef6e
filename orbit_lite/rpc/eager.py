"""Coroutines that take their first step at once, where they are started, instead of in the event loop's next turn.

Most handlers answer without waiting for anything. Such a one needs no task and no turn of the loop, only a task's
identity, since `asyncio.timeout` and others ask for the current task. It runs under that of a task which is parked: one
that waits to be given something to do. If the coroutine ends in its first step the task stays parked for the next one;
if it waits for something, the task wakes up and carries on with it, and is its own from then on.

Tasks with `eager_start` do the same from Python 3.12 on, at the price of a task for each coroutine.
"""

from __future__ import annotations

import asyncio
import types
from asyncio import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import Any

__all__ = ["ParkedTask"]


class ParkedTask:
    """A task that is there to be lent. It begins to wait in the loop's next turn, see `enter`."""

    __slots__ = ("_context", "_coroutine", "_gate", "_is_parked", "_loop", "_waits_for", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gate: asyncio.Future[None] = loop.create_future()
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._context: Context | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._is_parked = False
        self.task = loop.create_task(self._carry_on(), context=Context())

    def enter(self) -> bool:
        """Become the running task, to `run` a coroutine next.

        False if that cannot be: the task does not wait yet, it was cancelled, or another task is running.
        """
        if not self._is_parked or self._gate.done():
            return False
        try:
            _enter_task(self._loop, self.task)
        except RuntimeError:  # another task is running
            return False
        return True

    def run(self, coroutine: Coroutine[Any, Any, None]) -> bool:
        """Let the coroutine take its first step; True if that was its last one, and this may be used again.

        Only after `enter`. The coroutine must not raise, except to end the process.
        """
        context = copy_context()
        try:
            self._waits_for = context.run(coroutine.send, None)
        except StopIteration:
            return True
        finally:
            _leave_task(self._loop, self.task)
        self._coroutine, self._context = coroutine, context
        if not self._gate.done():  # else the task was cancelled during the step
            self._gate.set_result(None)
        return False

    async def _carry_on(self) -> None:
        self._is_parked = True
        cancelled = None
        try:
            await self._gate
        except asyncio.CancelledError as error:
            if self._coroutine is None:
                raise
            cancelled = error
        coroutine, context = self._coroutine, self._context
        if coroutine is not None and context is not None:
            await _rest(coroutine, context, self._waits_for, cancelled)


@types.coroutine
def _rest(
    coroutine: Coroutine[Any, Any, None],
    context: Context,
    waits_for: asyncio.Future[Any] | None,
    cancelled: asyncio.CancelledError | None,
) -> Generator[Any, Any, None]:
    """All steps but the first, as a task takes them. cancelled: its task was, before it came to wait for anything."""
    step: Callable[[], Any]
    while True:
        if cancelled is not None and (waits_for is None or not waits_for.cancel()):
            step = partial(coroutine.throw, cancelled)
        else:
            try:
                step = partial(coroutine.send, (yield waits_for))
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is the coroutine's
                step = partial(coroutine.throw, error)
        cancelled = None
        try:
            waits_for = context.run(step)
        except StopIteration:
            return
