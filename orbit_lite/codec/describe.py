"""Declarations printed in the language of .proto files, for people who look at a service by reflection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Any

import betterproto.lib.google.protobuf as pb

from orbit_lite.codec.declarations import Rules, features_of, get, given, is_map_entry, is_repeated, kind_of
from orbit_lite.codec.plan import json_name
from orbit_lite.errors import quote

__all__ = ["describe"]


def describe(full_name: str, descriptor: Any, rules: Rules) -> str:
    """The declaration of one message, enum, service or method, with what is declared inside it.

    Types of the same scope or of one around it are written without what both names begin with.
    """
    scope = full_name.rpartition(".")[0]
    if isinstance(descriptor, pb.DescriptorProto):
        return _message(scope, descriptor, rules)
    if isinstance(descriptor, pb.EnumDescriptorProto):
        return _enum(descriptor)
    if isinstance(descriptor, pb.ServiceDescriptorProto):
        return _block("service", descriptor, [_method(scope, method) for method in get(descriptor, "method", ())])
    return _method(scope.rpartition(".")[0], descriptor)


def _block(what: str, descriptor: Any, body: Iterable[str]) -> str:
    inside = "\n".join(body)
    name = get(descriptor, "name", "")
    return f"{what} {name} {{\n{indent(inside, '  ')}\n}}" if inside else f"{what} {name} {{}}"


def _method(scope: str, method: pb.MethodDescriptorProto) -> str:
    request, reply = (_type(scope, get(method, f"{way}_type", "")) for way in ("input", "output"))
    if get(method, "client_streaming", False):
        request = f"stream {request}"
    if get(method, "server_streaming", False):
        reply = f"stream {reply}"
    deprecated = " { option deprecated = true; }" if _is_deprecated(method) else ";"
    return f"rpc {get(method, 'name', '')}({request}) returns ({reply}){deprecated}"


def _enum(enum: pb.EnumDescriptorProto) -> str:
    numbers = [get(value, "number", 0) for value in get(enum, "value", ())]
    alias = ["option allow_alias = true;"] if len(set(numbers)) < len(numbers) else []
    values = [
        f"{get(value, 'name', '')} = {int(get(value, 'number', 0))}{_options(_deprecation(value))};"
        for value in get(enum, "value", ())
    ]
    return _block("enum", enum, [*alias, *values, *_reserved(enum, last=0)])


def _message(scope: str, message: pb.DescriptorProto, rules: Rules) -> str:
    inner = f"{scope}.{get(message, 'name', '')}".removeprefix(".")
    nested = get(message, "nested_type", ())
    entries = {f".{inner}.{get(item, 'name', '')}": item for item in nested if is_map_entry(item)}
    body = [_enum(enum) for enum in get(message, "enum_type", ())]
    body += [_message(inner, item, rules) for item in nested if not is_map_entry(item)]
    body += _fields(inner, message, rules, entries)
    body += _reserved(message, last=1)
    return _block("message", message, body)


def _fields(
    scope: str, message: pb.DescriptorProto, rules: Rules, entries: dict[str, pb.DescriptorProto]
) -> Iterator[str]:
    """One line a field; the members of a oneof stand where its first one does."""
    fields = get(message, "field", ())
    oneofs = get(message, "oneof_decl", ())
    printed = set()
    for field in fields:
        if not _is_member(field):
            yield _field(scope, field, rules, entries)
        elif (index := get(field, "oneof_index", 0)) not in printed:
            printed.add(index)
            members = [item for item in fields if _is_member(item) and get(item, "oneof_index", 0) == index]
            yield _block("oneof", oneofs[index], [_field(scope, item, rules, entries) for item in members])


def _is_member(field: pb.FieldDescriptorProto) -> bool:
    return "oneof_index" in given(field) and not get(field, "proto3_optional", False)


def _field(scope: str, field: pb.FieldDescriptorProto, rules: Rules, entries: dict[str, pb.DescriptorProto]) -> str:
    kind, options = kind_of(field), get(field, "options", None)
    type_name = _type(scope, get(field, "type_name", "")) if kind in ("enum", "message", "group") else kind
    label = ""
    if entry := entries.get(get(field, "type_name", "")):
        key, value = get(entry, "field", ())
        value_type = get(value, "type_name", "")
        type_name = f"map<{kind_of(key)}, {_type(scope, value_type) if value_type else kind_of(value)}>"
    elif is_repeated(field):
        label = "repeated "
    elif get(field, "label", 1) == 2:
        label = "required "
    elif get(field, "proto3_optional", False) or (rules.explicit and not _is_member(field)):
        label = "optional "
    notes = []
    if options is not None and "packed" in given(options):
        notes.append(f"packed = {str(get(options, 'packed', False)).lower()}")
    name = get(field, "name", "")
    if get(field, "json_name", json_name(name)) != json_name(name):
        notes.append(f"json_name = {_literal(get(field, 'json_name', ''))}")
    if "default_value" in given(field):
        default = get(field, "default_value", "")
        notes.append(f"default = {_literal(default) if kind in ('string', 'bytes') else quote(default)}")
    notes += _deprecation(field)
    if features := features_of(field):
        notes += [
            f"features.{feature} = {get(features, feature, None)}" for feature in sorted(given(features) & _SHOWN)
        ]
    return f"{label}{type_name} {name} = {get(field, 'number', 0)}{_options(notes)};"


_SHOWN = {"field_presence", "repeated_field_encoding", "message_encoding"}


def _options(notes: list[str]) -> str:
    return f" [{', '.join(notes)}]" if notes else ""


def _is_deprecated(descriptor: Any) -> bool:
    options = get(descriptor, "options", None)
    return options is not None and bool(get(options, "deprecated", False))


def _deprecation(descriptor: Any) -> list[str]:
    return ["deprecated = true"] if _is_deprecated(descriptor) else []


def _reserved(descriptor: Any, *, last: int) -> Iterator[str]:
    """What may not be used again. last: 1 where ranges are stored with the number after their end (messages)."""
    ranges = []
    for reserved in get(descriptor, "reserved_range", ()):
        start, end = get(reserved, "start", 0), get(reserved, "end", 0) - last
        ranges.append(str(start) if start == end else f"{start} to {end}")
    if ranges:
        yield f"reserved {', '.join(ranges)};"
    if names := get(descriptor, "reserved_name", ()):
        yield f"reserved {', '.join(map(_literal, names))};"


def _literal(text: str) -> str:
    """Text that a peer chose as a literal on one line."""
    escaped = quote(text).replace('"', '\\"')
    return f'"{escaped}"'


def _type(scope: str, type_name: str) -> str:
    """A type's name as it may be written within `scope`."""
    name = type_name.removeprefix(".")
    while scope:
        if name.startswith(f"{scope}."):
            return name[len(scope) + 1 :]
        scope = scope.rpartition(".")[0]
    return name
