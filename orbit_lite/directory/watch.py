"""Following the replicated directory: its changes one by one, or word that too many were missed."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from orbit_lite.directory.machine import Change, DirectoryMachine, Resync
from orbit_lite.errors import ConfigurationError

__all__ = ["Watch"]


class Watch:
    """Changes as they are applied on this node, in order: `async for change in watch`.

    The first is a `Resync`, and so is what takes the place of changes that did not fit: whoever gets one looks at the
    whole directory, and then follows. max_waiting: changes that wait for a slow reader. `close` ends the iteration; or
    use `async with`.
    """

    def __init__(self, machine: DirectoryMachine, *, max_waiting: int = 1_024) -> None:
        if max_waiting < 1:
            raise ConfigurationError(f"max_waiting={max_waiting}: must be at least 1")
        self._max_waiting = max_waiting
        self._changes: deque[Change] = deque([Resync(machine.index)])
        self._news = asyncio.Event()
        self._is_closed = False
        self._forget = machine.listen(self._take)

    def _take(self, change: Change) -> None:
        if isinstance(change, Resync) or len(self._changes) >= self._max_waiting:
            self._changes.clear()
            change = Resync(change.index)
        self._changes.append(change)
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._changes:
            if self._is_closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._changes.popleft()

    def close(self) -> None:
        """Follow no longer; what waits can still be read. Again has no effect."""
        if not self._is_closed:
            self._is_closed = True
            self._forget()
            self._news.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
