"""What descriptors declare, read without betterproto's hooks and checked against protobuf's rules.

Descriptors come from peers. What has passed `declared` has names of letters, digits and underscores, distinct names and
numbers, known types, and maps whose entries are entries; types that it mentions may still be missing.

Source: https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import betterproto.lib.google.protobuf as pb

from orbit_lite.codec.plan import UNSET, raw_state
from orbit_lite.codec.wire import MAX_FIELD_NUMBER
from orbit_lite.errors import SerializationError, Status, quote

__all__ = [
    "DescriptorError",
    "Rules",
    "SymbolNotFound",
    "declared",
    "features_of",
    "get",
    "given",
    "is_group",
    "is_map_entry",
    "is_repeated",
    "kind_of",
    "rules_of",
]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_KINDS: Final = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    6: "fixed64",
    7: "fixed32",
    8: "bool",
    9: "string",
    10: "group",
    11: "message",
    12: "bytes",
    13: "uint32",
    14: "enum",
    15: "sfixed32",
    16: "sfixed64",
    17: "sint32",
    18: "sint64",
}

#: Feature → what it decides, and the number for which that is false.
_FEATURES: Final = {
    "field_presence": ("explicit", 2),
    "repeated_field_encoding": ("packed", 2),
    "message_encoding": ("delimited", 1),
}

#: Types that a map's keys cannot have.
_NO_KEYS = frozenset({"float", "double", "bytes", "enum", "message", "group"})

#: protoc itself stops at 32.
_MAX_NESTING = 32


class DescriptorError(SerializationError):
    """A descriptor that contradicts itself, another one, or protobuf's rules."""

    orb_code = "ORB-1505"


class SymbolNotFound(DescriptorError):
    """No file of the pool declares the name; the message proposes similar ones."""

    code = Status.NOT_FOUND
    orb_code = "ORB-1506"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file's syntax or edition says of fields that do not say it themselves."""

    explicit: bool  # singular scalars have presence
    packed: bool
    delimited: bool = False  # sub-messages are written as groups

    def of(self, features: Any) -> Rules:
        """The same with a FeatureSet on top, None for none."""
        if features is None:
            return self
        changes = {}
        for name in given(features) & _FEATURES.keys():
            attribute, off = _FEATURES[name]
            changes[attribute] = get(features, name, 0) != off
        return dataclasses.replace(self, **changes)


def rules_of(file: pb.FileDescriptorProto) -> Rules:
    """The rules of a file's syntax, or of its edition."""
    syntax = get(file, "syntax", "") or "proto2"
    return Rules(explicit=syntax != "proto3", packed=syntax != "proto2").of(features_of(file))


def get(message: Any, name: str, default: Any) -> Any:
    """A field's value without betterproto's hooks, which put defaults into the message and take 10 µs for it."""
    value = raw_state(message)[name]
    return default if value is UNSET or value is None else value


def given(message: Any) -> set[str]:
    """Names of the fields that were on the wire, defaults included."""
    return {name for name, value in raw_state(message).items() if value is not UNSET and value is not None}


def features_of(descriptor: Any) -> Any:
    """The FeatureSet in a descriptor's options; None where there is none."""
    options = get(descriptor, "options", None)
    return None if options is None else get(options, "features", None)


def kind_of(field: pb.FieldDescriptorProto) -> str:
    """The type as in a .proto file; `enum`, `message` or `group` for those."""
    return _KINDS[int(get(field, "type", 0))]


def is_repeated(field: pb.FieldDescriptorProto) -> bool:
    """Whether the field is repeated; map fields are."""
    return bool(get(field, "label", 1) == 3)


def is_group(rules: Rules, field: pb.FieldDescriptorProto) -> bool:
    """Whether the field's messages stand between group tags; these stay unknown fields."""
    return kind_of(field) == "group" or (kind_of(field) == "message" and rules.of(features_of(field)).delimited)


def is_map_entry(message: pb.DescriptorProto) -> bool:
    """Whether the message stands for the entries of a map field."""
    options = get(message, "options", None)
    return options is not None and bool(get(options, "map_entry", False))


def declared(file: pb.FileDescriptorProto) -> Iterator[tuple[str, Any]]:
    """(full name, descriptor) of each message, enum, service and method. Raises DescriptorError."""
    package = get(file, "package", "")
    if package and not all(_IDENTIFIER.fullmatch(part) for part in package.split(".")):
        raise DescriptorError(f"{quote(package)!r} is no package name")
    scope = f"{package}." if package else ""
    for message in get(file, "message_type", ()):
        yield from _declared_in(scope, message, depth=0)
    for enum in get(file, "enum_type", ()):
        yield _checked_enum(scope, enum)
    for service in get(file, "service", ()):
        name = scope + _checked(service)
        yield name, service
        for method in get(service, "method", ()):
            yield f"{name}.{_checked(method)}", method


def _declared_in(scope: str, message: pb.DescriptorProto, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_NESTING:
        raise DescriptorError(f"{scope} messages are declared more than {_MAX_NESTING} levels inside each other")
    name = scope + _checked(message)
    _check_fields(name, message)
    yield name, message
    for nested in get(message, "nested_type", ()):
        yield from _declared_in(f"{name}.", nested, depth + 1)
    for enum in get(message, "enum_type", ()):
        yield _checked_enum(f"{name}.", enum)


def _checked(descriptor: Any) -> str:
    """The descriptor's name, when it is one."""
    name = get(descriptor, "name", "")
    if not _IDENTIFIER.fullmatch(name):
        raise DescriptorError(f"{quote(name)!r} is no name in protobuf")
    return str(name)


def _checked_enum(scope: str, enum: pb.EnumDescriptorProto) -> tuple[str, pb.EnumDescriptorProto]:
    for value in get(enum, "value", ()):
        _checked(value)
    return scope + _checked(enum), enum


def _check_fields(name: str, message: pb.DescriptorProto) -> None:
    """Raises DescriptorError unless names and numbers are distinct and allowed, and types are known ones."""
    oneofs = [_checked(oneof) for oneof in get(message, "oneof_decl", ())]
    names, numbers = set(), set()
    for field in get(message, "field", ()):
        field_name, number = _checked(field), get(field, "number", 0)
        if field_name in names or number in numbers:
            raise DescriptorError(f"{name}.{field_name}: the name or the number {number} is used twice")
        if not 1 <= number <= MAX_FIELD_NUMBER:
            raise DescriptorError(f"{name}.{field_name}: {number} is no field number")
        if int(get(field, "type", 0)) not in _KINDS:
            raise DescriptorError(f"{name}.{field_name}: no such type")
        if not 0 <= get(field, "oneof_index", 0) < max(len(oneofs), 1):
            raise DescriptorError(f"{name}.{field_name}: no such oneof")
        names.add(field_name)
        numbers.add(number)
    if is_map_entry(message):
        _check_map_entry(name, message)


def _check_map_entry(name: str, message: pb.DescriptorProto) -> None:
    fields = get(message, "field", ())
    if [get(field, "number", 0) for field in fields] != [1, 2] or kind_of(fields[0]) in _NO_KEYS:
        raise DescriptorError(f"{name}: no entry of a map")
