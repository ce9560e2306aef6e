"""JSON → messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import betterproto.lib.google.protobuf as pb

from orbit_lite.codec import encode
from orbit_lite.codec import json_values as leaves
from orbit_lite.codec.json_common import (
    WRAPPERS,
    Json,
    JsonError,
    Types,
    class_of_url,
    hint,
    member,
    name_of,
    shown,
    too_deep,
)
from orbit_lite.codec.plan import UNSET, FieldPlan, Label, plan_of
from orbit_lite.codec.scalars import SCALARS
from orbit_lite.codec.values import join_duration, join_timestamp
from orbit_lite.errors import quote

__all__ = ["Reader"]

#: Members of google.protobuf.Value.
_VALUES = ("null_value", "number_value", "string_value", "bool_value", "struct_value", "list_value")


class Reader:
    """JSON → messages. depth: how many levels may still come, this one included."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._names: dict[type[Any], dict[str, FieldPlan]] = {}
        self._special: dict[type[Any], Callable[[Json, str, int], dict[str, Any]]] = {
            pb.Any: self._any,
            pb.Duration: lambda value, *_: _pair(leaves.read_duration(value)),
            pb.FieldMask: lambda value, *_: {"paths": leaves.mask_paths(value)},
            pb.ListValue: self._list,
            pb.Struct: self._struct,
            pb.Timestamp: lambda value, *_: _pair(leaves.read_timestamp(value)),
            pb.Value: self._value,
            **{cls: partial(_read_wrapper, kind) for cls, kind in WRAPPERS.items()},
        }

    def message(self, cls: type[Any], value: Json, path: str, depth: int) -> Any:
        if depth <= 0:
            raise too_deep(path)
        message, state = plan_of(cls).new()
        if special := self._special.get(cls):
            try:
                state |= special(value, path, depth)
            except ValueError as error:
                raise JsonError(path, str(error)) from None
            if cls is pb.Value:
                [state["_group_current"]["kind"]] = (name for name in _VALUES if state[name] is not UNSET)
        elif isinstance(value, dict):
            self._fields(cls, state, value, path, depth)
        else:
            raise JsonError(path, str(leaves.unexpected(f"an object ({name_of(cls)})", value)))
        return message

    def _fields(self, cls: type[Any], state: dict[str, Any], value: dict[Any, Json], path: str, depth: int) -> None:
        given: dict[str, str] = {}  # field or oneof → the name in JSON that set it
        known = self._names_of(cls)
        for name, item in value.items():
            place = f"{path}.{shown(name)}"
            field = known.get(name)
            if field is None:
                raise JsonError(place, f"{name_of(cls)} has no such field{hint(name, known)}")
            if (other := given.setdefault(field.name, name)) != name:
                raise JsonError(place, f"the same field is given as {shown(other)} too")
            if item is None and not _takes_null(field):
                continue
            if field.oneof is not None:
                # Names of oneofs and fields share one scope in a .proto file, but not once they are Python's.
                if (other := given.setdefault(f"oneof {field.oneof}", name)) != name:
                    raise JsonError(place, f"{shown(other)} is given too, and only one of {field.oneof} may be")
                state["_group_current"][field.oneof] = field.name
            state[field.name] = self._field(field, item, place, depth)

    def _names_of(self, cls: type[Any]) -> dict[str, FieldPlan]:
        names = self._names.get(cls)
        if names is None:
            fields = plan_of(cls).fields
            names = {field.proto_name: field for field in fields} | {field.json_name: field for field in fields}
            self._names[cls] = names
        return names

    def _field(self, field: FieldPlan, value: Json, path: str, depth: int) -> Any:
        if field.label is Label.REPEATED:
            if not isinstance(value, list):
                raise JsonError(path, str(leaves.unexpected("a list", value)))
            return [self._single(field, item, f"{path}[{index}]", depth) for index, item in enumerate(value)]
        if field.label is not Label.MAP:
            return self._single(field, value, path, depth)
        if not isinstance(value, dict):
            raise JsonError(path, str(leaves.unexpected("an object (a map)", value)))
        entries: dict[Any, Any] = {}
        for name, item in value.items():
            place = member(path, name)
            try:
                key = leaves.read_key(field.key or "", name)
            except ValueError as error:
                raise JsonError(place, f"the key: {error}") from None
            if key in entries:
                raise JsonError(place, f"the key {key} is given twice")
            entries[key] = self._single(field, item, place, depth)
        return entries

    def _single(self, field: FieldPlan, value: Json, path: str, depth: int) -> Any:
        if field.kind == "message":
            if value is None and field.cls is not pb.Value:
                raise JsonError(path, "null cannot be in a list or map")
            return self.message(field.cls or object, value, path, depth - 1)
        try:
            if field.kind == "enum":
                return _read_enum(field.cls, value)
            # What a datetime or timedelta cannot hold, below the microsecond, is cut off as it is from bytes.
            if field.kind == "timestamp":
                return join_timestamp(*leaves.read_timestamp(value), 0)
            if field.kind == "duration":
                return join_duration(*leaves.read_duration(value), 0)
            return leaves.read_scalar(field.wrapped or field.kind, value)
        except ValueError as error:
            raise JsonError(path, str(error)) from None

    def _list(self, value: Json, path: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, list):
            raise leaves.unexpected("a list", value)
        items = enumerate(value)
        return {"values": [self.message(pb.Value, item, f"{path}[{index}]", depth - 1) for index, item in items]}

    def _struct(self, value: Json, path: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise leaves.unexpected("an object", value)
        fields = {}
        for name, item in value.items():
            place = member(path, name)
            try:
                key = leaves.read_key("string", name)
            except ValueError as error:
                raise JsonError(place, f"the key: {error}") from None
            fields[key] = self.message(pb.Value, item, place, depth - 1)
        return {"fields": fields}

    def _value(self, value: Json, path: str, depth: int) -> dict[str, Any]:
        match value:
            case None:
                return {"null_value": pb.NullValue(0)}
            case bool():
                return {"bool_value": value}
            case str():
                return {"string_value": leaves.read_scalar("string", value)}
            case int() | float():
                return {"number_value": leaves.read_scalar("double", value)}
            case dict():
                return {"struct_value": self.message(pb.Struct, value, path, depth - 1)}
            case list():
                return {"list_value": self.message(pb.ListValue, value, path, depth - 1)}
        raise leaves.unexpected("a JSON value", value)

    def _any(self, value: Json, path: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise leaves.unexpected('an object with "@type"', value)
        if not value:
            return {}
        if "@type" not in value:
            raise ValueError('"@type" is missing, which says what the Any holds')
        url = value["@type"]
        try:
            leaves.read_scalar("string", url)
        except ValueError as error:
            raise JsonError(f"{path}.@type", str(error)) from None
        cls = class_of_url(url, self._types, f"{path}.@type")
        content = {name: item for name, item in value.items() if name != "@type"}
        if cls in self._special or (cls is pb.Empty and content):
            if content.keys() != {"value"}:
                raise ValueError(f'{name_of(cls)} goes into an Any as "@type" and "value", and nothing else')
            inside = self.message(cls, content["value"], f"{path}.value", depth - 1)
        else:
            inside = self.message(cls, content, path, depth - 1)
        return {"type_url": url, "value": encode(inside)}


def _pair(parts: tuple[int, int]) -> dict[str, Any]:
    return {"seconds": parts[0], "nanos": parts[1]}


def _read_wrapper(kind: str, value: Json, *_: object) -> dict[str, Any]:
    return {"value": leaves.read_scalar(kind, value)}


def _takes_null(field: FieldPlan) -> bool:
    """Whether null is a value of the field; for all others it means that the field is not set."""
    return field.cls in (pb.Value, pb.NullValue) and field.label not in (Label.REPEATED, Label.MAP)


def _read_enum(cls: Any, value: Json) -> Any:
    """A member by name or number. Numbers without a name are kept, as protobuf's open enums do."""
    if cls is pb.NullValue and value in (None, "NULL_VALUE"):
        return cls.try_value(0)
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise leaves.unexpected(f"a name or number of {name_of(cls)}", value)
        number = leaves.read_integer(value)
        SCALARS["enum"].write(number)  # which knows the range
        return cls.try_value(number)
    names: dict[str, Any] = cls._member_map_
    member = names.get(value)
    if member is None and not hasattr(cls, "_full_name"):
        # Generated, so betterproto has taken the enum's name off the front of its members' names.
        member = names.get(value.removeprefix(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper() + "_"))
    if member is None:
        raise ValueError(f'{name_of(cls)} has no "{quote(value, 50)}"{hint(value, names)}')
    return member
