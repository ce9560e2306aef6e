"""Many deadlines on one timer of the event loop.

Nearly every call has a deadline and nearly none reaches it, so setting one and taking it back has to cost next to
nothing: an entry in a dictionary instead of two operations on the loop's heap.

The loop's own timers run in empty contexts: else the one that happens to be armed inside a handler would keep that
handler's context variables, its call among them, until it fires, long after the call is over.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Protocol

__all__ = ["Expiry", "Timer", "Timers"]

#: Seconds that a callback may come late; never early.
TICK = 0.01
#: A timer of the loop that is due sooner than this is left to fire for nothing; later ones are cancelled.
_SOON = 60.0


class Timer:
    """One deadline."""

    __slots__ = ("_bucket", "_callback", "_key", "_timers")

    def __init__(self, timers: Timers, key: int, bucket: set[Timer], callback: Callable[[], object]) -> None:
        self._timers = timers
        self._key = key
        self._bucket = bucket
        self._callback = callback

    def cancel(self) -> None:
        """Call nobody. Nothing happens when it has fired."""
        bucket = self._bucket
        self._callback = _nothing  # it may be about to fire; and whoever is called mostly refers to this timer
        if self in bucket:
            bucket.remove(self)
            if not bucket:
                self._timers.forget(self._key)

    def fire(self) -> None:
        """Call whom it is for."""
        self._callback()


class Timers:
    """The deadlines of one event loop's users."""

    __slots__ = ("_buckets", "_handle", "_next", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._buckets: dict[int, set[Timer]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._next = 0

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def start(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once, at `when` in the loop's time or up to TICK later."""
        key = int(when / TICK) + 1
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            if self._handle is None or key < self._next:
                self._arm(key)
        timer = Timer(self, key, bucket, callback)
        bucket.add(timer)
        return timer

    def forget(self, key: int) -> None:
        """For timers: the last one of a bucket is gone."""
        del self._buckets[key]
        handle = self._handle
        if not self._buckets and handle is not None and handle.when() > self.loop.time() + _SOON:
            handle.cancel()
            self._handle = None

    def _arm(self, key: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next = key
        self._handle = self.loop.call_at(key * TICK, self._fire, context=Context())

    def _fire(self) -> None:
        self._handle = None
        now = self.loop.time() / TICK
        due = sorted(key for key in self._buckets if key <= now)
        for key in due:
            bucket = self._buckets.pop(key)
            for timer in bucket:
                self.loop.call_soon(timer.fire)
            bucket.clear()
        if self._buckets:
            self._arm(min(self._buckets))


class Expiring(Protocol):
    """What has a deadline: `expires`, in the loop's time, None = never; `expire` is called when it has passed."""

    expires: float | None

    def expire(self) -> None: ...


class Expiry:
    """Deadlines that are not even written down here: all that are open are looked at when the first may be due.

    For what is short-lived, numerous and hardly ever late. open: gives those, and forgets them when they are done with.
    """

    __slots__ = ("_handle", "_loop", "_next", "_open")

    def __init__(self, loop: asyncio.AbstractEventLoop, open_now: Callable[[], Iterable[Expiring]]) -> None:
        self._loop = loop
        self._open = open_now
        self._next = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def add(self, one: Expiring, when: float) -> None:
        """From now on `one` has a deadline. It is called at `when` or up to TICK later."""
        one.expires = when
        if when < self._next:
            self.stop()
            self._next = when
            self._handle = self._loop.call_at(when + TICK, self._look, context=Context())

    def stop(self) -> None:
        """Nothing expires any more."""
        self._next = math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self.stop()
        now = self._loop.time()
        for one in list(self._open()):
            when = one.expires
            if when is None:
                continue
            if when <= now:
                one.expires = None
                one.expire()
            else:
                self.add(one, when)


def _nothing() -> None:
    pass
