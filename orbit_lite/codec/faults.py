"""Where in a message something went wrong: found out afterwards, so that the fast path carries no bookkeeping."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import betterproto

from orbit_lite.codec.encoder import wrapper_writer
from orbit_lite.codec.errors import EncodeError
from orbit_lite.codec.plan import UNSET, FieldPlan, Label, field_states, plan_of
from orbit_lite.codec.scalars import SCALARS
from orbit_lite.codec.values import write_duration, write_timestamp
from orbit_lite.codec.wire import Fault

__all__ = ["READ_ERRORS", "WRITE_ERRORS", "explain", "locate"]

#: What broken bytes make the reading functions raise.
READ_ERRORS = (Fault, IndexError, UnicodeDecodeError, struct.error)

#: What a value of the wrong type or range makes the writing functions raise. KeyError: an instance without its fields.
WRITE_ERRORS = (TypeError, ValueError, AttributeError, OverflowError, KeyError, struct.error)


def locate(error: Exception, labels: Mapping[int, str], state: Mapping[str, object], tag: int, pos: int) -> Fault:
    """The error as seen from one message further out.

    labels: tag → field name. state: what was read so far. tag: the last tag read; pos: where reading stood.
    """
    if isinstance(error, Fault):
        fault = error
    elif isinstance(error, UnicodeDecodeError):
        fault = Fault(f"not UTF-8: {error.reason}", pos + error.start)
    else:
        fault = Fault("cut off", pos)
    if fault.between:
        fault.between = False
    elif (name := labels.get(tag)) is not None:
        value = state.get(name)
        fault.path.insert(0, f"{name}[{len(value)}]" if isinstance(value, list) else name)
    return fault


def explain(message: betterproto.Message, error: Exception) -> EncodeError:
    """The error that tells which value of the message cannot be written; `error` is what writing it raised."""
    path, reason = (None if isinstance(error, RecursionError) else _culprit(message)) or ("", error)
    name = type(message).__name__
    return EncodeError(f"{name}.{path}" if path else name, _sentence(reason))


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply to be written, or within itself"
    if isinstance(error, KeyError):
        return f"no field {error}: the instance was not initialised"
    return str(error)


def _culprit(message: betterproto.Message) -> tuple[str, Exception] | None:
    """Path and error of the first value that cannot be written."""
    try:
        state, fields = field_states(message), plan_of(type(message)).fields
    except WRITE_ERRORS as error:
        return "", error
    for field in fields:
        try:
            for suffix, value in _values(field, state[field.name]):
                if found := _check(field, value):
                    return f"{field.name}{suffix}{found[0]}", found[1]
        except WRITE_ERRORS as error:
            return field.name, error
    return None


def _values(field: FieldPlan, value: Any) -> Iterator[tuple[str, object]]:
    """Each single value of a field, with what its place adds to the path."""
    if value is UNSET or value is None:
        return
    if field.label is Label.REPEATED:
        if isinstance(value, str | bytes | bytearray | memoryview):
            raise TypeError(f"expected a list, found {type(value).__name__}")
        for position, item in enumerate(value):
            yield f"[{position}]", item
    elif field.label is Label.MAP:
        for key, item in value.items():
            SCALARS[field.key or ""].write(key)
            yield f"[{key!r}]", item
    else:
        yield "", value


def _check(field: FieldPlan, value: Any) -> tuple[str, Exception] | None:
    """What is wrong with a single value: the path inside it, and the error."""
    try:
        if field.kind != "message":
            _writer(field)(value)
            return None
        if field.cls is None or not isinstance(value, field.cls):
            return "", TypeError(f"expected {getattr(field.cls, '__name__', None)}, found {type(value).__name__}")
    except WRITE_ERRORS as error:
        return "", error
    found = _culprit(value)
    return found and (f".{found[0]}" if found[0] else "", found[1])


def _writer(field: FieldPlan) -> Callable[[Any], bytes]:
    if field.kind == "wrapper":
        return wrapper_writer(field.wrapped)
    if field.kind in SCALARS:
        return SCALARS[field.kind].write
    return write_timestamp if field.kind == "timestamp" else write_duration
