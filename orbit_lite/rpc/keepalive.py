"""When to test a silent connection with a PING, and when to give it up (gRFC A8, A9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["KeepAlive"]


class KeepAlive:
    """Watches one connection. interval, timeout: seconds.

    ping: sends one; is_wanted: whether the connection is worth a test now; give_up: is told why.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        interval: float,
        timeout: float,
        ping: Callable[[], None],
        is_wanted: Callable[[], bool],
        give_up: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._ping = ping
        self._is_wanted = is_wanted
        self._give_up = give_up
        self._last = loop.time()
        self._is_stopped = False
        self._answer: asyncio.TimerHandle | None = None
        self._next = loop.call_later(interval, self._look)

    def heard(self, now: float) -> None:
        """Bytes came: any sign of life will do."""
        self._last = now
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

    def stop(self) -> None:
        """The connection is over."""
        self._is_stopped = True
        self._next.cancel()
        if self._answer is not None:
            self._answer.cancel()

    def _look(self) -> None:
        wait = self._interval - (self._loop.time() - self._last)
        if wait <= 0:
            wait = self._interval
            if self._answer is None and self._is_wanted():
                self._answer = self._loop.call_later(self._timeout, self._silence)
                self._ping()
        if not self._is_stopped:
            self._next = self._loop.call_later(wait, self._look)

    def _silence(self) -> None:
        self._give_up(f"the peer did not answer a PING within {self._timeout:g} s")
