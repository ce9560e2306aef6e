"""The well-known types that betterproto shows as Python values: Timestamp, Duration and the wrappers.

datetime and timedelta count microseconds. What lies below one is cut off: towards the past for Timestamps, towards zero
for Durations, as google.protobuf's own conversions do. What they cannot hold at all, years outside 1 to 9999, is
refused, since any value put in its place would be a lie.

Source: https://protobuf.dev/reference/protobuf/google.protobuf/.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orbit_lite.codec.scalars import SCALARS
from orbit_lite.codec.wire import Fault

__all__ = ["join_duration", "join_timestamp", "split_duration", "split_timestamp", "write_duration", "write_timestamp"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLION = 1_000_000

_int64 = SCALARS["int64"].write
_int32 = SCALARS["int32"].write


def join_timestamp(seconds: int, nanos: int, offset: int) -> datetime:
    """A Timestamp's two fields as a datetime in UTC. offset: where it ends, for the error."""
    try:
        return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise Fault(f"{seconds} s since 1970 is outside the years 1 to 9999", offset) from None


def split_timestamp(value: datetime) -> tuple[int, int]:
    """(seconds, nanos) of a datetime, nanos in 0..999999999. Raises TypeError without a time zone."""
    if not isinstance(value, datetime):
        raise TypeError(f"expected a datetime, found {type(value).__name__}")
    if value.tzinfo is None:
        raise ValueError("a datetime without time zone does not say which moment it means")
    seconds, micros = divmod((value - EPOCH) // _MICROSECOND, _MILLION)
    return seconds, micros * 1000


def join_duration(seconds: int, nanos: int, offset: int) -> timedelta:
    """A Duration's two fields as a timedelta. offset: where it ends, for the error."""
    micros = nanos // 1000 if nanos >= 0 else -(-nanos // 1000)
    try:
        return timedelta(seconds=seconds, microseconds=micros)
    except OverflowError:
        raise Fault(f"{seconds} s is outside what a timedelta can hold", offset) from None


def split_duration(value: timedelta) -> tuple[int, int]:
    """(seconds, nanos) of a timedelta, both of the same sign."""
    if not isinstance(value, timedelta):
        raise TypeError(f"expected a timedelta, found {type(value).__name__}")
    micros = value // _MICROSECOND
    if micros >= 0:
        return micros // _MILLION, micros % _MILLION * 1000
    return -(-micros // _MILLION), -(-micros % _MILLION) * 1000


def write_timestamp(value: datetime) -> bytes:
    """The body of a Timestamp message."""
    return _write_pair(*split_timestamp(value))


def write_duration(value: timedelta) -> bytes:
    """The body of a Duration message."""
    return _write_pair(*split_duration(value))


def _write_pair(seconds: int, nanos: int) -> bytes:
    body = b"\x08" + _int64(seconds) if seconds else b""
    return body + b"\x10" + _int32(nanos) if nanos else body
