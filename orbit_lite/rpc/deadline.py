"""Deadlines: points in monotonic time, their text in the grpc-timeout header, and their way from call to call.

A deadline covers a whole call, all its attempts included. A handler that makes calls of its own passes the rest of its
time on: the server sets `current_deadline()` around each handler, and a channel never lets a call outlive it.

Source of the text form: grpc/doc/PROTOCOL-HTTP2.md, `Timeout`.
"""

from __future__ import annotations

import contextvars
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orbit_lite.errors import ParseError, quote

__all__ = ["Deadline", "current_deadline", "deadline_scope", "decode_timeout", "encode_timeout"]

#: Longest time that a received timeout means, in seconds: ten years. Larger ones are as good as none.
LONGEST = 10 * 365 * 86_400.0

_PER_SECOND = {"n": 1_000_000_000, "u": 1_000_000, "m": 1_000, "S": 1}
_SECONDS = {"M": 60, "H": 3600}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_MOST_DIGITS = 99_999_999


def encode_timeout(seconds: float) -> str:
    """Text of a remaining time, rounded up, in the finest unit that holds it in eight digits.

    Raises ValueError for zero and less: such a call has failed already and is not sent.
    """
    if not seconds > 0:
        raise ValueError(f"timeout of {seconds} s: nothing is left to wait for")
    seconds = min(seconds, LONGEST)
    for unit, per_second in _PER_SECOND.items():
        count = math.ceil(seconds * per_second)
        if count / per_second < seconds:  # the product was rounded down to a whole number
            count += 1
        if count <= _MOST_DIGITS:
            return f"{count}{unit}"
    return f"{math.ceil(seconds / 60)}M"


def decode_timeout(text: str) -> float:
    """Seconds of a grpc-timeout header, at most ten years.

    Takes ASCII digits only, one to eight of them, and one unit letter; ParseError for all else.
    """
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise ParseError(f"grpc-timeout {quote(text)!r}: must be one to eight digits and a unit of H, M, S, m, u, n")
    count, unit = int(match[1]), match[2]
    seconds = count * _SECONDS[unit] if unit in _SECONDS else count / _PER_SECOND[unit]
    return min(float(seconds), LONGEST)


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A point in time, in seconds of `time.monotonic()`. The earlier of two is the smaller."""

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


@contextmanager
def deadline_scope(deadline: Deadline | None) -> Iterator[Deadline | None]:
    """Within the block, every call ends by `deadline`, or by the enclosing block's where that is earlier.

    Yields the deadline in force.
    """
    effective = Deadline.min(deadline, _current.get())
    token = _current.set(effective)
    try:
        yield effective
    finally:
        _current.reset(token)
