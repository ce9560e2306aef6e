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
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orbit_lite.rpc.context import CallContext

__all__ = ["Deadline", "Scope", "current_deadline", "current_scope", "deadline_scope"]


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
        effective = current_deadline()
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


class Scope(Protocol):
    """What code runs in: a call that is served, or a `deadline_scope`. Either may be asked for when it is needed."""

    @property
    def deadline(self) -> Deadline | None: ...
    @property
    def context(self) -> CallContext | None: ...


@dataclass(frozen=True, slots=True)
class _Limited:
    """A `deadline_scope` inside another scope."""

    deadline: Deadline | None
    around: Scope | None

    @property
    def context(self) -> CallContext | None:
        return None if self.around is None else self.around.context


#: The innermost scope. One variable for the deadline and the call: setting two would cost every call twice as much.
current_scope: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("orbit_lite.scope", default=None)


def current_deadline() -> Deadline | None:
    """The deadline of the work that runs now, None where there is none."""
    scope = current_scope.get()
    return None if scope is None else scope.deadline


@contextmanager
def deadline_scope(deadline: Deadline | None, *, inherit: bool = True) -> Iterator[Deadline | None]:
    """Within the block, every call ends by `deadline`, or by the enclosing block's where that is earlier.

    inherit=False: the enclosing block does not count. A server's handlers run in a copy of the context in which it was
    started, whose deadline is not theirs. Yields the deadline in force.
    """
    around = current_scope.get()
    effective = Deadline.min(deadline, around.deadline) if inherit and around is not None else deadline
    token = current_scope.set(_Limited(effective, around))
    try:
        yield effective
    finally:
        current_scope.reset(token)
