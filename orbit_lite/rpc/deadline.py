"""Deadlines: points in monotonic time, and their way from call to call.

A deadline covers a whole call, all its attempts included. A handler that makes calls of its own passes the rest of its
time on: the server sets `current_deadline()` around each handler, and a channel never lets a call outlive it.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Deadline", "current_deadline", "deadline_scope", "set_deadline"]


@dataclass(slots=True, order=True, unsafe_hash=True)  # not frozen, which would treble the time to make one
class Deadline:
    """A point in time, in seconds of `time.monotonic()`. The earlier of two is the smaller. Never changed."""

    at: float

    @classmethod
    def after(cls, timeout: float, *, now: float | None = None) -> Deadline:
        """The deadline `timeout` seconds from now."""
        return cls((time.monotonic() if now is None else now) + timeout)

    @classmethod
    def of(cls, value: object) -> Deadline:
        """Take a deadline as other libraries represent it: anything with `time_remaining()`, such as grpclib's."""
        if isinstance(value, Deadline):
            return value
        remaining = getattr(value, "time_remaining", None)
        if not callable(remaining):
            raise TypeError(f"deadline={value!r}: must be a Deadline")
        return cls.after(remaining())

    @classmethod
    def for_call(cls, timeout: float | None, deadline: object | None) -> Deadline | None:
        """The deadline of a call: the earliest of its own and the one of the work that makes it."""
        effective = _current.get()
        if timeout is not None:
            at = time.monotonic() + timeout
            if effective is None or at < effective.at:
                effective = cls(at)
        if deadline is not None:
            other = cls.of(deadline)
            if effective is None or other.at < effective.at:
                effective = other
        return effective

    @staticmethod
    def min(*deadlines: Deadline | None) -> Deadline | None:
        """The earliest; None stands for no deadline."""
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def remaining(self, now: float | None = None) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - (time.monotonic() if now is None else now))

    def time_remaining(self) -> float:
        """`remaining()` under grpclib's name, for handlers written against it."""
        return self.remaining()

    def is_over(self, now: float | None = None) -> bool:
        """Whether no time is left."""
        return self.remaining(now) <= 0.0


_current: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar("orbit_lite.deadline", default=None)


def current_deadline() -> Deadline | None:
    """The deadline of the work that runs now, None where there is none."""
    return _current.get()


def set_deadline(deadline: Deadline | None) -> None:
    """For the server: the running task has this deadline, to its end."""
    _current.set(deadline)


@contextmanager
def deadline_scope(deadline: Deadline | None, *, inherit: bool = True) -> Iterator[Deadline | None]:
    """Within the block, every call ends by `deadline`, or by the enclosing block's where that is earlier.

    inherit=False: the enclosing block does not count. A server's handlers run in a copy of the context in which it was
    started, whose deadline is not theirs. Yields the deadline in force.
    """
    effective = Deadline.min(deadline, _current.get()) if inherit else deadline
    token = _current.set(effective)
    try:
        yield effective
    finally:
        _current.reset(token)
