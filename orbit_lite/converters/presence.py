"""Build and read betterproto messages by what is present in them.

An attribute read answers with a default for what is not set, and leaves an empty list, map or sub-message behind. So
nothing here reads attributes: `fields` gives the raw state, with PLACEHOLDER for what is not set, the readers below
look at it without changing it, and `build` makes messages in which None is a field that is not set.

Presence, in one place:

- a sub-message is present unless it is PLACEHOLDER, None, or what an attribute read left behind: empty, and never
  received, built here, given an argument or assigned to;
- a Timestamp is present unless it is PLACEHOLDER or None;
- of a oneof exactly one member may hold anything but PLACEHOLDER;
- scalars without `optional` have no presence in proto3: their zero is a value like any other.

Readers raise ConversionError with the field's name; whoever converts the enclosing message puts its own name before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import betterproto

from orbit_lite.codec.plan import field_states, plan_of
from orbit_lite.errors import ConversionError, ParseError

__all__ = [
    "Fields",
    "build",
    "domain",
    "each",
    "enum_number",
    "fields",
    "flag",
    "inside",
    "int32",
    "int64",
    "is_present",
    "octets",
    "one_of",
    "optional",
    "optional_text",
    "optional_uint32",
    "pairs",
    "required",
    "text",
    "texts",
    "timestamp",
    "uint32",
    "uint64",
]

_M = TypeVar("_M", bound=betterproto.Message)
_T = TypeVar("_T")

#: Raw state of a message: field name → value or PLACEHOLDER.
Fields: TypeAlias = Mapping[str, object]

_PLACEHOLDER = betterproto.PLACEHOLDER


def fields(message: betterproto.Message) -> Fields:
    """The raw state of a message. Reading it changes nothing; it must not be written to."""
    # Not isinstance: Message is an ABC, and that test costs more than all the rest.
    try:
        return field_states(message)
    except TypeError:  # betterproto's parser puts a number for a wrong wire type
        raise _mismatch("", "a message", message) from None


def build(cls: type[_M], /, **values: object) -> _M:
    """A message with these fields; None leaves a field unset.

    The result counts as present even without any field, which is what a YES vote is on the wire.
    """
    oneof_of = _oneof_of(cls)
    message, state = plan_of(cls).new()
    for name, value in values.items():
        if name not in oneof_of:
            raise TypeError(f"{cls.__name__} has no field {name!r}")
        if value is not None:
            state[name] = value
            if (oneof := oneof_of[name]) is not None:
                state["_group_current"][oneof] = name
    return message  # type: ignore[no-any-return]  # an _M


@functools.cache
def _oneof_of(cls: type[betterproto.Message]) -> dict[str, str | None]:
    """Field name → the oneof it is a member of."""
    return {field.name: field.oneof for field in plan_of(cls).fields}


def is_present(message: betterproto.Message, name: str) -> bool:
    """Whether the field holds anything: see the rules above. Does not disturb the message."""
    value = fields(message)[name]
    if _oneof_of(type(message))[name] is not None:
        return value is not _PLACEHOLDER
    return not _is_absent(value)


def _is_absent(value: object) -> bool:
    """Whether a sub-message outside a oneof is unset."""
    if value is _PLACEHOLDER or value is None:
        return True
    # `a` is not marked in `a.b.c = 1`, hence the look at what is inside.
    return getattr(value, "_serialized_on_wire", True) is False and not value


def _mismatch(name: str, expected: str, value: object) -> ConversionError:
    return ConversionError(name, f"expected {expected}, found {type(value).__name__}")


def text(state: Fields, name: str) -> str:
    """A string field."""
    value = state[name]
    if value is _PLACEHOLDER:
        return ""
    if not isinstance(value, str):
        raise _mismatch(name, "text", value)
    return value


def optional_text(state: Fields, name: str) -> str | None:
    """A string field with explicit presence."""
    return None if state[name] is None else text(state, name)


def octets(state: Fields, name: str) -> bytes:
    """A bytes field."""
    value = state[name]
    if value is _PLACEHOLDER:
        return b""
    if not isinstance(value, bytes):
        raise _mismatch(name, "bytes", value)
    return value


def number(state: Fields, name: str, low: int, high: int) -> int:
    """An integer field, low..high inclusive."""
    value = state[name]
    if value is _PLACEHOLDER:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(name, "an integer", value)
    if not low <= value <= high:
        raise ConversionError(name, f"{int(value)} is out of range")
    return value


def int32(state: Fields, name: str) -> int:
    """An int32 or enum field."""
    return number(state, name, -(1 << 31), (1 << 31) - 1)


def int64(state: Fields, name: str) -> int:
    """An int64 field."""
    return number(state, name, -(1 << 63), (1 << 63) - 1)


def uint32(state: Fields, name: str) -> int:
    """A uint32 field."""
    return number(state, name, 0, (1 << 32) - 1)


def uint64(state: Fields, name: str) -> int:
    """A uint64 field."""
    return number(state, name, 0, (1 << 64) - 1)


def optional_uint32(state: Fields, name: str) -> int | None:
    """A uint32 field with explicit presence."""
    return None if state[name] is None else uint32(state, name)


def flag(state: Fields, name: str) -> bool:
    """A bool field."""
    value = state[name]
    if value is _PLACEHOLDER:
        return False
    if not isinstance(value, bool):
        raise _mismatch(name, "a bool", value)
    return value


def texts(state: Fields, name: str) -> tuple[str, ...]:
    """A repeated string field."""
    value = state[name]
    if value is _PLACEHOLDER:
        return ()
    if not isinstance(value, list):
        raise _mismatch(name, "a list", value)
    for position, item in enumerate(value):
        if not isinstance(item, str):
            raise _mismatch(f"{name}[{position}]", "text", item)
    return tuple(value)


def pairs(state: Fields, name: str) -> dict[str, str]:
    """A map<string, string> field."""
    value = state[name]
    if value is _PLACEHOLDER:
        return {}
    if not isinstance(value, dict):
        raise _mismatch(name, "a map", value)
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise ConversionError(name, "expected text for text")
    return dict(value)


def enum_number(state: Fields, name: str, members: Mapping[int, _T]) -> _T:
    """An enum field; a number without a member is an error."""
    value = int32(state, name)
    try:
        return members[value]
    except KeyError:
        raise ConversionError(name, f"unknown enum number {int(value)}") from None


def timestamp(state: Fields, name: str) -> datetime:
    """A google.protobuf.Timestamp field that has to be there."""
    value = state[name]
    if value is _PLACEHOLDER or value is None:
        raise ConversionError(name, "missing")
    if not isinstance(value, datetime):
        raise _mismatch(name, "a Timestamp", value)
    return value


def required(state: Fields, name: str, convert: Callable[[Any], _T]) -> _T:
    """A sub-message that has to be there, converted."""
    value = state[name]
    if _is_absent(value):
        raise ConversionError(name, "missing")
    return inside(name, convert, value)


def optional(state: Fields, name: str, convert: Callable[[Any], _T]) -> _T | None:
    """A sub-message that may be left out, converted."""
    value = state[name]
    return None if _is_absent(value) else inside(name, convert, value)


def each(state: Fields, name: str, convert: Callable[[Any], _T]) -> tuple[_T, ...]:
    """A repeated sub-message, converted."""
    value = state[name]
    if value is _PLACEHOLDER:
        return ()
    if not isinstance(value, list):
        raise _mismatch(name, "a list", value)
    return tuple(inside(f"{name}[{position}]", convert, item) for position, item in enumerate(value))


def one_of(state: Fields, group: str, members: Mapping[str, Callable[[Any], _T]]) -> _T:
    """The one member of a oneof that is set, converted. None and several are errors, named by the oneof."""
    chosen = [name for name in members if state[name] is not _PLACEHOLDER]
    if len(chosen) != 1:
        names = ", ".join(chosen or members)
        problem = f"contradictory: {names} are all set" if chosen else f"missing: one of {names}"
        raise ConversionError(group, problem)
    return inside(chosen[0], members[chosen[0]], state[chosen[0]])


def inside(name: str, convert: Callable[[Any], _T], value: object) -> _T:
    """Convert the value of the field `name`: errors get its name before theirs."""
    try:
        return convert(value)
    except ConversionError as error:
        raise error.inside(name) from error.__cause__


def domain(name: str, make: Callable[..., _T], *values: object) -> _T:
    """Call a domain constructor; what it refuses is the fault of the field `name`."""
    try:
        return make(*values)
    except ParseError as error:
        raise ConversionError(name, error.message) from error
