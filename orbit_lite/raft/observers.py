"""Callbacks of the user: in order, one after the other, and never in the way of consensus."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orbit_lite.errors import OrbitError
from orbit_lite.model import NodeId

__all__ = ["Observers"]

_log = logging.getLogger("orbit_lite.raft")

#: Events that wait for slow callbacks; then the oldest are dropped, and the log says so.
_MOST_WAITING = 1024


class Observers:
    """Register callbacks in the lists, sync or async. An exception in one is logged, and goes no further."""

    def __init__(self) -> None:
        self.on_leader_elected: list[Callable[[NodeId], Awaitable[None] | None]] = []
        self.on_leader_lost: list[Callable[[NodeId], Awaitable[None] | None]] = []
        self.on_term_changed: list[Callable[[int], Awaitable[None] | None]] = []
        self.on_failed: list[Callable[[OrbitError], Awaitable[None] | None]] = []
        self._waiting: deque[tuple[Sequence[Callable[[Any], Awaitable[None] | None]], object]] = deque()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to call back, in a task."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="raft observers")

    async def close(self) -> None:
        """Call nobody any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def leader_elected(self, leader: NodeId) -> None:
        self._add(self.on_leader_elected, leader)

    def leader_lost(self, leader: NodeId) -> None:
        self._add(self.on_leader_lost, leader)

    def term_changed(self, term: int) -> None:
        self._add(self.on_term_changed, term)

    def failed(self, failure: OrbitError) -> None:
        self._add(self.on_failed, failure)

    def _add(self, callbacks: Sequence[Callable[[Any], Awaitable[None] | None]], value: object) -> None:
        if not callbacks:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            _log.warning("callbacks are slower than events: an event was dropped")
        self._waiting.append((callbacks, value))
        self._news.set()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                callbacks, value = self._waiting.popleft()
                for callback in tuple(callbacks):
                    try:
                        pending = callback(value)
                        if inspect.isawaitable(pending):
                            await pending
                    except asyncio.CancelledError:
                        if (task := asyncio.current_task()) is not None and task.cancelling():
                            raise
                        _log.warning("callback %r waited for something that was cancelled", callback)
                    except Exception:  # noqa: BLE001  # the user's own
                        _log.exception("callback %r failed", callback)
