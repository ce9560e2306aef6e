"""Points in time: aware UTC datetimes in the domain; google.protobuf.Timestamp or Unix milliseconds on the wire.

betterproto maps a Timestamp to a datetime, so what a datetime cannot say is decided before it gets here: nanoseconds
below a microsecond are cut by the decoder, and years outside 1..9999 are refused by it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orbit_lite.errors import ConversionError

__all__ = ["TimestampConverter"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class TimestampConverter:
    """datetime ⇄ datetime as betterproto maps google.protobuf.Timestamp, and ⇄ Unix milliseconds (int64).

    Errors name no field; the converter of the enclosing message does.
    """

    @staticmethod
    def to_proto(value: datetime) -> datetime:
        """The same moment in UTC. Raises ConversionError for a naive datetime and outside the years 1..9999."""
        if value.tzinfo is UTC:
            return value
        if value.utcoffset() is None:
            raise ConversionError("", f"{value} has no time zone")
        try:
            return value.astimezone(UTC)
        except OverflowError as error:
            raise ConversionError("", f"{value} is outside the years 1..9999 in UTC") from error

    @staticmethod
    def from_proto(proto: datetime) -> datetime:
        """The moment in UTC. Raises ConversionError for a naive datetime, which no decoder makes."""
        return TimestampConverter.to_proto(proto)

    @staticmethod
    def to_unix_ms(value: datetime) -> int:
        """Milliseconds since 1970, rounded down; negative before. Raises ConversionError as `to_proto` does."""
        return (TimestampConverter.to_proto(value) - _EPOCH) // _MILLISECOND

    @staticmethod
    def from_unix_ms(milliseconds: int) -> datetime:
        """The moment in UTC. Raises ConversionError outside the years 1..9999."""
        try:
            return _EPOCH + timedelta(milliseconds=milliseconds)
        except OverflowError as error:
            raise ConversionError("", f"{milliseconds} ms since 1970 is outside the years 1..9999") from error
