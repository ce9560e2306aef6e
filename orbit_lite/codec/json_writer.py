"""Messages → JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import betterproto
import betterproto.lib.google.protobuf as pb

from orbit_lite.codec import CodecLimits, DecodeError, decode
from orbit_lite.codec import json_values as leaves
from orbit_lite.codec.json_common import MAX_DEPTH, WRAPPERS, Json, JsonError, Types, class_of_url, member, too_deep
from orbit_lite.codec.plan import UNSET, FieldPlan, Label, field_states, plan_of
from orbit_lite.codec.scalars import SCALARS
from orbit_lite.codec.values import split_duration, split_timestamp

__all__ = ["Writer"]

#: What MAX_DEPTH of JSON can need in bytes, where the entry of a map is a message too.
_OWN = CodecLimits(max_depth=2 * MAX_DEPTH)


class Writer:
    """Messages → JSON. depth: how many levels may still come, this one included."""

    def __init__(self, defaults: bool, types: Types) -> None:
        self._defaults = defaults
        self._types = types
        self._special: dict[type[Any], Callable[[Mapping[str, Any], str, int], Json]] = {
            pb.Any: self._any,
            pb.Duration: lambda state, *_: leaves.duration_text(_or(state, "seconds", 0), _or(state, "nanos", 0)),
            pb.FieldMask: lambda state, *_: leaves.mask_text(_or(state, "paths", [])),
            pb.ListValue: self._list,
            pb.Struct: self._struct,
            pb.Timestamp: lambda state, *_: leaves.timestamp_text(_or(state, "seconds", 0), _or(state, "nanos", 0)),
            pb.Value: self._value,
            **{cls: partial(_show_wrapper, kind) for cls, kind in WRAPPERS.items()},
        }

    def read(self, cls: type[Any], body: bytes, path: str) -> betterproto.Message:
        try:
            message: betterproto.Message = decode(cls, body, limits=_OWN)
        except DecodeError as error:
            raise JsonError(path, f"broken inside: {error.message}") from error
        return message

    def message(self, message: betterproto.Message, path: str, depth: int) -> Json:
        if depth <= 0:
            raise too_deep(path)
        state = field_states(message)
        if special := self._special.get(type(message)):
            try:
                return special(state, path, depth)
            except ValueError as error:
                raise JsonError(path, str(error)) from None
        shown = {}
        for field in plan_of(type(message)).fields:
            value = state[field.name]
            place = f"{path}.{field.json_name}"
            if value is not UNSET and value is not None:
                shown[field.json_name] = self._field(field, value, place, depth)
            elif self._defaults and field.label in (Label.REPEATED, Label.MAP):
                shown[field.json_name] = [] if field.label is Label.REPEATED else {}
            elif self._defaults and field.label is Label.IMPLICIT and field.kind in SCALARS:
                shown[field.json_name] = self._single(field, _default(field), place, depth)
        return shown

    def _field(self, field: FieldPlan, value: Any, path: str, depth: int) -> Json:
        if field.label is Label.REPEATED:
            return [self._single(field, item, f"{path}[{index}]", depth) for index, item in enumerate(value)]
        if field.label is Label.MAP:
            named = ((leaves.show_key(key), item) for key, item in value.items())
            return {name: self._single(field, item, member(path, name), depth) for name, item in named}
        return self._single(field, value, path, depth)

    def _single(self, field: FieldPlan, value: Any, path: str, depth: int) -> Json:
        if field.kind == "message":
            return self.message(value, path, depth - 1)
        if field.kind == "enum":
            if field.cls is pb.NullValue:
                return None
            return int(value) if value.name is None else value.name
        try:
            if field.kind == "timestamp":
                return leaves.timestamp_text(*split_timestamp(value))
            if field.kind == "duration":
                return leaves.duration_text(*split_duration(value))
        except ValueError as error:
            raise JsonError(path, str(error)) from None
        return leaves.show_scalar(field.wrapped or field.kind, value)

    def _list(self, state: Mapping[str, Any], path: str, depth: int) -> Json:
        values = enumerate(_or(state, "values", []))
        return [self.message(item, f"{path}[{index}]", depth - 1) for index, item in values]

    def _struct(self, state: Mapping[str, Any], path: str, depth: int) -> Json:
        members = _or(state, "fields", {}).items()
        return {name: self.message(item, member(path, name), depth - 1) for name, item in members}

    def _value(self, state: Mapping[str, Any], path: str, depth: int) -> Json:
        chosen = state["_group_current"]["kind"]
        if chosen is None or chosen == "null_value":  # an empty Value means nothing at all; null is the nearest
            return None
        value = state[chosen]
        if isinstance(value, betterproto.Message):
            return self.message(value, path, depth - 1)
        shown = leaves.show_scalar("double", value) if chosen == "number_value" else value
        if chosen == "number_value" and isinstance(shown, str):
            raise ValueError(f"a Value cannot be {shown} in JSON, where it would be text")
        return shown

    def _any(self, state: Mapping[str, Any], path: str, depth: int) -> Json:
        url, body = _or(state, "type_url", ""), _or(state, "value", b"")
        if not url and not body:
            return {}
        cls = class_of_url(url, self._types, path)
        shown = self.message(self.read(cls, body, path), path, depth - 1)
        return {"@type": url, "value": shown} if cls in self._special else {"@type": url, **shown}


def _or(state: Mapping[str, Any], name: str, default: Any) -> Any:
    """What is set, else the default."""
    value = state[name]
    return default if value is UNSET else value


def _show_wrapper(kind: str, state: Mapping[str, Any], *_: object) -> Json:
    return leaves.show_scalar(kind, _or(state, "value", SCALARS[kind].default))


def _default(field: FieldPlan) -> Any:
    cls: Any = field.cls
    return cls.try_value(0) if field.kind == "enum" else SCALARS[field.kind].default
