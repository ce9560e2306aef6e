"""Message class → its functions, compiled when first needed and kept on the class.

This holds the one `exec` of the package. What it runs is made of generated identifiers and integers alone: names from a
schema, which a peer may have sent by reflection, are values that the functions find in their globals, never source.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import betterproto

from orbit_lite.codec.constructor import constructor_source
from orbit_lite.codec.decoder import decoder_source, tuple_source
from orbit_lite.codec.encoder import encoder_source
from orbit_lite.codec.plan import FieldPlan, Label, MessagePlan, plan_of
from orbit_lite.codec.scalars import SCALARS
from orbit_lite.codec.values import join_duration, join_timestamp, split_duration, split_timestamp
from orbit_lite.errors import InternalError

__all__ = ["Codec", "codec_of", "constructor_of"]

Names = dict[str, Any]
Encoder = Callable[[Any], bytes]
Reader = Callable[..., Any]  # (buffer, pos, end, depth, value so far or None) → value


class Codec:
    """The functions of one class: encode(message) and decode(buffer, pos, end, depth, message so far or None)."""

    __slots__ = ("cls", "decode", "encode")

    def __init__(self, cls: type[betterproto.Message]) -> None:
        plan = plan_of(cls)
        self.cls = cls
        self.encode: Encoder = _compiled(*encoder_source(plan), _bind_encoder)["encode"]
        self.decode: Reader = _compiled(*decoder_source(plan), _bind_reader)["decode"]


def codec_of(cls: type[betterproto.Message]) -> Codec:
    """The codec of a class. Raises TypeError for a class that is no betterproto message."""
    codec: Codec | None = getattr(cls, "_orbit_codec", None)
    if codec is None or codec.cls is not cls:  # a parent's
        codec = Codec(cls)
        cls._orbit_codec = codec  # type: ignore[attr-defined]
    return codec


def constructor_of(cls: type[betterproto.Message], plan: MessagePlan, *, hook: bool) -> Callable[..., None]:
    """The `__init__` of a class with this plan. hook: it calls `__post_init__`."""
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]  # each message class is one
    construct: Callable[..., None] = _compiled(*constructor_source(plan, names, hook=hook), _bind_nothing)["construct"]
    code = construct.__code__
    others = code.co_varnames[1 + len(names) :]
    construct.__code__ = code.replace(co_varnames=("self", *names, *others), co_name="__init__")
    construct.__name__, construct.__qualname__ = "__init__", f"{cls.__qualname__}.__init__"
    return construct


def _bind_nothing(names: Names, name: str, field: FieldPlan) -> None:
    raise InternalError(f"a constructor needs no function for {field.name}")


def _compiled(source: str, values: dict[str, object], bind: Callable[[Names, str, FieldPlan], None]) -> Names:
    # A module's dictionary, for PyPy takes what is in there for constant: it makes the codec nine times as fast.
    names = vars(ModuleType("orbit_lite.codec.compiled"))
    names |= values
    for name, value in list(names.items()):
        if isinstance(value, FieldPlan):
            bind(names, name, value)
    exec(compile(source, "<orbit_lite.codec>", "exec"), names)  # noqa: S102  # see the module's docstring
    return names


def _bind_encoder(names: Names, name: str, field: FieldPlan) -> None:
    """The function that writes a sub-message: a stand-in until it is called, since messages may contain themselves."""
    cls = _class_of(field)

    def first(message: object) -> bytes:
        names[name] = encode = codec_of(cls).encode
        return encode(message)

    names[name] = first


def _bind_reader(names: Names, name: str, field: FieldPlan) -> None:
    """The function that reads a value that is no scalar; for a sub-message a stand-in until its first call."""
    if field.label is Label.MAP:
        names[name] = _entry_reader(field)
    elif field.kind == "timestamp":
        names[name] = _read_timestamp
    elif field.kind == "duration":
        names[name] = _read_duration
    elif field.kind == "wrapper":
        names[name] = _wrapper_reader(field.wrapped or "")
    else:
        cls = _class_of(field)

        def first(*arguments: object) -> object:
            names[name] = decode = codec_of(cls).decode
            return decode(*arguments)

        names[name] = first


def _class_of(field: FieldPlan) -> type[betterproto.Message]:
    if field.cls is None:
        raise InternalError(f"the field {field.name} of kind {field.kind} has no class")
    return field.cls


def _part(name: str, number: int, kind: str, cls: type[Any] | None = None) -> FieldPlan:
    return FieldPlan(name=name, number=number, kind=kind, label=Label.IMPLICIT, cls=cls)


def _entry_reader(field: FieldPlan) -> Reader:
    """Reads map entries. Missing keys and values are defaults; unknown fields of an entry have no place to be kept."""
    parts = _part("key", 1, field.key or ""), _part("value", 2, field.kind, field.cls)
    default = field.cls.try_value(0) if field.kind == "enum" and field.cls else None
    if field.kind in SCALARS and field.kind != "enum":
        default = SCALARS[field.kind].default
    read: Reader = _compiled(*tuple_source(parts, (SCALARS[parts[0].kind].default, default)), _bind_reader)["decode"]
    return lambda buffer, pos, end, depth, _: read(buffer, pos, end, depth)


@functools.cache
def _wrapper_reader(kind: str) -> Reader:
    """Reads wrappers such as google.protobuf.Int32Value."""
    default = SCALARS[kind].default
    read: Reader = _compiled(*tuple_source((_part("value", 1, kind),), (default,)), _bind_reader)["decode"]

    def read_wrapper(buffer: bytes, pos: int, end: int, depth: int, value: object) -> object:
        return read(buffer, pos, end, depth, default if value is None else value)[0]

    return read_wrapper


_read_pair: Reader = _compiled(
    *tuple_source((_part("seconds", 1, "int64"), _part("nanos", 2, "int32")), (0, 0)), _bind_reader
)["decode"]


def _read_timestamp(buffer: bytes, pos: int, end: int, depth: int, value: datetime | None) -> datetime:
    so_far = (0, 0) if value is None else split_timestamp(value)
    seconds, nanos = _read_pair(buffer, pos, end, depth, *so_far)
    return join_timestamp(seconds, nanos, pos)


def _read_duration(buffer: bytes, pos: int, end: int, depth: int, value: timedelta | None) -> timedelta:
    so_far = (0, 0) if value is None else split_duration(value)
    seconds, nanos = _read_pair(buffer, pos, end, depth, *so_far)
    return join_duration(seconds, nanos, pos)
