"""The leaves of protobuf's JSON: numbers, bytes, times and masks, as text and back.

Functions that read raise ValueError with a sentence about the value; whoever knows the place adds it.

Source: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from orbit_lite.codec.scalars import SCALARS
from orbit_lite.errors import quote

__all__ = [
    "duration_text",
    "mask_paths",
    "mask_text",
    "read_duration",
    "read_integer",
    "read_key",
    "read_scalar",
    "read_timestamp",
    "show_key",
    "show_scalar",
    "timestamp_text",
    "unexpected",
]

_WIDE = frozenset({"int64", "uint64", "sint64", "fixed64", "sfixed64"})
_FLOATING = frozenset({"float", "double"})
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,9})?", re.ASCII)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_NAMED_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_MASK_PATH = re.compile(r"([a-z0-9.]|_[a-z])+", re.ASCII)
_MASK_TEXT = re.compile(r"[A-Za-z0-9.]+", re.ASCII)

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # years 1 to 9999
_MAX_DURATION = 315_576_000_000  # seconds; about 10,000 years


# ---------------------------------------------------------------- scalars


def show_scalar(kind: str, value: Any) -> Any:
    """A scalar as a JSON value; not for enums."""
    if kind in _WIDE:
        return str(value)
    if kind in _FLOATING:
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return _shortest(value) if kind == "float" else value
    if kind == "bytes":
        return base64.b64encode(value).decode()
    return value


def _shortest(value: float) -> float:
    """The number with the fewest digits, but no fewer than six, that is the same 32-bit float."""
    for digits in range(6, 9):
        rounded = float(f"{value:.{digits}g}")
        if struct.pack("<f", rounded) == struct.pack("<f", value):
            return rounded
    return float(f"{value:.9g}")


def read_scalar(kind: str, value: Any) -> Any:
    """A scalar from a JSON value; not for enums."""
    read: Callable[[Any], Any] = _READERS.get(kind, read_integer)
    try:
        result = read(value)
    except OverflowError:
        raise _outside(kind, value) from None
    try:
        SCALARS[kind].write(result)  # which knows the ranges
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text") from None
    except (OverflowError, ValueError, struct.error):  # PyPy's struct raises ValueError for negative numbers
        raise _outside(kind, value) from None
    return result


def _outside(kind: str, value: Any) -> ValueError:
    return ValueError(f"{quote(str(value), 50)} is outside the range of {kind}")


def _read_string(value: Any) -> str:
    if not isinstance(value, str):
        raise unexpected("text", value)
    return value


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise unexpected("true or false", value)
    return value


def read_integer(value: Any) -> int:
    """An integer from a number or from text; far beyond 64 bits it is refused, so that it can be shown and computed."""
    number: Any = value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = Decimal(value)
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        raise unexpected("an integer", value)
    if not -(2**65) < number < 2**65:  # NaN included
        raise ValueError("the number is outside the range of all integers")
    if number != int(number):
        raise unexpected("an integer", value)
    return int(number)


def _read_float(value: Any) -> float:
    if isinstance(value, str):
        if value in _NAMED_NUMBERS:
            return _NAMED_NUMBERS[value]
        if not _NUMBER.fullmatch(value):
            raise unexpected("a number", value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise unexpected("a number", value)
    elif not math.isfinite(value):
        raise ValueError(f"{value} has to be written in quotation marks")
    result = float(value)
    if math.isinf(result):
        raise OverflowError
    return result


def _read_bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise unexpected("base64 text", value)
    text = value.replace("-", "+").replace("_", "/")
    if not _BASE64.fullmatch(text):
        raise unexpected("base64 text", value)
    try:
        text = text.rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise unexpected("base64 text", value) from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _read_string,
    "bool": _read_bool,
    "bytes": _read_bytes,
    "float": _read_float,
    "double": _read_float,
}


def show_key(value: Any) -> str:
    """A map's key as the name of a JSON member."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_key(kind: str, name: Any) -> Any:
    """A map's key from the name of a JSON member."""
    if kind == "bool":
        if name not in ("true", "false"):
            raise unexpected('"true" or "false"', name)
        return name == "true"
    if kind != "string" and not (isinstance(name, str) and _WHOLE.fullmatch(name)):
        raise unexpected("an integer", name)
    return read_scalar(kind, name)


def unexpected(expected: str, value: Any) -> ValueError:
    """The error that something else was found; a text is quoted, of a list or an object only that it is one."""
    match value:
        case None | bool():
            found = {None: "null", True: "true", False: "false"}[value]
        case str():
            found = f'"{quote(value, 50)}"'
        case int() | float():
            found = str(value)
        case dict():
            found = "an object"
        case list():
            found = "a list"
        case _:
            found = f"a Python {type(value).__name__}"
    return ValueError(f"expected {expected}, found {found}")


# ---------------------------------------------------------------- well-known types


def timestamp_text(seconds: int, nanos: int) -> str:
    """RFC 3339 in UTC, with 0, 3, 6 or 9 digits of a second."""
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND or not 0 <= nanos <= 999_999_999:
        raise ValueError(f"{seconds} s and {nanos} ns are no Timestamp of the years 1 to 9999")
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001  # only to print it
    return f"{moment.isoformat()}{_fraction(nanos)}Z"


def read_timestamp(value: Any) -> tuple[int, int]:
    """(seconds, nanos) from RFC 3339."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise unexpected("a time such as 2024-05-17T08:30:00Z", value)
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    sign, offset_hours, offset_minutes = match.group(8, 9, 10)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{value}: {error}") from None
    seconds = (moment.toordinal() - _EPOCH_DAY) * 86400 + hour * 3600 + minute * 60 + second
    if sign:
        shift = int(offset_hours) * 3600 + int(offset_minutes) * 60
        seconds += shift if sign == "-" else -shift
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ValueError(f"{value} is outside the years 1 to 9999")
    return seconds, _nanos(match[7])


def duration_text(seconds: int, nanos: int) -> str:
    """Seconds with 0, 3, 6 or 9 digits after the point, and an `s`."""
    if abs(seconds) > _MAX_DURATION or abs(nanos) > 999_999_999 or seconds * nanos < 0:
        raise ValueError(f"{seconds} s and {nanos} ns are no Duration")
    return f"{'-' if seconds < 0 or nanos < 0 else ''}{abs(seconds)}{_fraction(abs(nanos))}s"


def read_duration(value: Any) -> tuple[int, int]:
    """(seconds, nanos) of the same sign."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise unexpected("a duration such as 1.5s", value)
    seconds, nanos = int(match[2]), _nanos(match[3])
    if seconds > _MAX_DURATION:
        raise ValueError(f"{value} is over {_MAX_DURATION}s")
    return (-seconds, -nanos) if match[1] else (seconds, nanos)


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def _nanos(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


def mask_text(paths: list[str]) -> str:
    """A FieldMask: lowerCamelCase paths with commas between them."""
    for path in paths:
        if not _MASK_PATH.fullmatch(path):
            raise ValueError(f'the path "{quote(path, 50)}" would not come back the same from JSON')
    return ",".join(re.sub("_([a-z])", lambda match: match[1].upper(), path) for path in paths)


def mask_paths(value: Any) -> list[str]:
    """The paths of a FieldMask as they are written in .proto files."""
    paths = value.split(",") if isinstance(value, str) and value else [] if value == "" else [""]
    if not all(map(_MASK_TEXT.fullmatch, paths)):
        raise unexpected("lowerCamelCase paths with commas between them", value)
    return [re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", path) for path in paths]
