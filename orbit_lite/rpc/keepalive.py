"""When to test a silent connection with a PING, and when to give it up (gRFC A8, A9).

One timer serves any number of connections: all of them are looked at when the first may be due. So a connection only
writes down when something came, and an idle one costs nothing.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import Protocol

__all__ = ["KeepAlive"]

#: Part of the shorter of interval and timeout by which a look may come late, so that many connections share one.
_SLACK = 0.05


class Watched(Protocol):
    """A connection. Times are those of the event loop."""

    last_received: float
    """When something came last: any sign of life will do."""
    pinged_at: float | None
    """When it was tested, until something comes; written here."""

    @property
    def is_worth_a_ping(self) -> bool: ...
    def ping(self) -> None: ...
    def give_up(self, reason: str) -> None: ...


class KeepAlive:
    """Watches connections. interval, timeout: seconds of silence before the PING, and after it."""

    __slots__ = ("_handle", "_interval", "_loop", "_next", "_slack", "_timeout", "_watched")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, interval: float, timeout: float) -> None:
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._slack = _SLACK * min(interval, timeout)
        self._watched: set[Watched] = set()
        self._next = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, connection: Watched) -> None:
        """From now on."""
        self._watched.add(connection)
        self._look_at(self._loop.time() + self._interval)

    def forget(self, connection: Watched) -> None:
        """The connection is over."""
        self._watched.discard(connection)
        if not self._watched and self._handle is not None:
            self._handle.cancel()
            self._handle, self._next = None, math.inf

    def _look_at(self, when: float) -> None:
        if when + self._slack < self._next:
            if self._handle is not None:
                self._handle.cancel()
            self._next = when + self._slack
            self._handle = self._loop.call_at(self._next, self._look, context=Context())

    def _look(self) -> None:
        self._handle, self._next = None, math.inf
        now = self._loop.time()
        first = min((self._due(connection, now) for connection in list(self._watched)), default=math.inf)
        if self._watched and first < math.inf:
            self._look_at(first)

    def _due(self, connection: Watched, now: float) -> float:
        """Test a connection, or give it up, if it is time; when it is time again."""
        asked = connection.pinged_at
        if asked is not None and connection.last_received <= asked:
            if asked + self._timeout > now:
                return asked + self._timeout
            connection.give_up(f"the peer did not answer a PING within {self._timeout:g} s")
            return math.inf
        connection.pinged_at = None
        due = connection.last_received + self._interval
        if due > now:
            return due
        if not connection.is_worth_a_ping:
            return now + self._interval
        connection.pinged_at = now
        connection.ping()
        return now + self._timeout
