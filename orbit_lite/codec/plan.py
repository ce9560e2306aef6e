"""What the codec knows of a message class: one FieldPlan per field, from betterproto's dataclass metadata.

betterproto says the rest by the type annotation: list and dict, datetime for Timestamp, timedelta for Duration,
Optional for a wrapper. A plan says all of it outright, so that nothing else needs to look at annotations.

Where betterproto's metadata has no place for something that a .proto file says (`[packed = false]`, the name in JSON),
`DescribedField` carries it; classes that are built at run time from descriptors use that.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import betterproto

from orbit_lite.codec.scalars import SCALARS
from orbit_lite.codec.wire import LEN

__all__ = [
    "READ_DURATION",
    "READ_TIMESTAMP",
    "UNSET",
    "DescribedField",
    "FieldPlan",
    "Label",
    "MessagePlan",
    "field_states",
    "plan_of",
    "raw_state",
]

#: In an instance's `__dict__`: this field is not set.
UNSET = betterproto.PLACEHOLDER

#: The instance's `__dict__`, past betterproto's `__getattribute__`, and at half the price of object.__getattribute__.
raw_state: Callable[[Any], dict[str, Any]] = betterproto.Message.__dict__["__dict__"].__get__


class _ReadDuration(timedelta):
    """Told from timedelta(0), which is always the same object from Python 3.13 on."""


#: What reading an unset Timestamp or Duration field gives. betterproto leaves on a read the default in place of UNSET;
#: as that is always this very object, it is not taken for a value that somebody set (compare with `is`).
READ_TIMESTAMP = datetime(1970, 1, 1, tzinfo=UTC)
READ_DURATION = _ReadDuration(0)

_PACKABLE = frozenset(kind for kind, scalar in SCALARS.items() if scalar.wire_type != LEN)


class Label(enum.Enum):
    """How often a field may occur, and what it means that it does not."""

    IMPLICIT = "implicit"  # absent means default; for messages: absent
    EXPLICIT = "explicit"  # `optional`: None when absent
    ONEOF = "oneof"
    REPEATED = "repeated"
    MAP = "map"


@dataclass(frozen=True)
class DescribedField(betterproto.FieldMetadata):
    """betterproto's metadata, and what it leaves out."""

    packed: bool = True
    proto_name: str | None = None
    json_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPlan:
    """One field.

    kind: the scalar kind as in a .proto file, or `enum`, `message`, `timestamp`, `duration`, `wrapper`; of a map, that
    of its values. key: scalar kind of a map's keys. wrapped: scalar kind in a wrapper. cls: the message or enum class.
    """

    name: str
    number: int
    kind: str
    label: Label
    cls: type[Any] | None = None
    key: str | None = None
    wrapped: str | None = None
    oneof: str | None = None
    packed: bool = False
    proto_name: str = ""
    json_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePlan:
    """One message class. fields: by number. oneofs: their names. blank: the `__dict__` of a message without content.

    lean: the class derives from codec.Message, so that a field which is not set is not in the `__dict__`.
    unset: what `field_states` gives for each field that is not set.
    """

    cls: type[betterproto.Message]
    fields: tuple[FieldPlan, ...]
    oneofs: tuple[str, ...]
    blank: Mapping[str, object]
    lean: bool
    unset: Mapping[str, object]

    def new(self) -> tuple[Any, dict[str, Any]]:
        """A message without content, and its `__dict__`: what betterproto's constructor makes, in a 20th of its time.

        It counts as present inside another one, as if it had been received.
        """
        message = object.__new__(self.cls)
        state = raw_state(message)
        state |= self.blank
        if self.oneofs or not self.lean:
            state["_group_current"] = dict.fromkeys(self.oneofs)
        return message, state


def plan_of(cls: type[betterproto.Message]) -> MessagePlan:
    """The plan of a class. Raises TypeError for what is no betterproto message, or is more than betterproto can say."""
    # Kept on the class, so that it lives as long as the class and a subclass does not take its parent's.
    plan: MessagePlan | None = vars(cls).get("_orbit_plan")
    if plan is None:
        plan = _plan(cls)
        if plan.lean:
            cls._orbit_prepare(plan)  # type: ignore[attr-defined]
        cls._orbit_plan = plan  # type: ignore[attr-defined]
    return plan


def field_states(message: betterproto.Message) -> Mapping[str, Any]:
    """Each field's value, UNSET or None where it is not set, and betterproto's own entries. Not to be written to.

    Raises TypeError for what is no betterproto message.
    """
    plan = plan_of(type(message))
    return {**plan.unset, **raw_state(message)} if plan.lean else raw_state(message)


def _plan(cls: type[betterproto.Message]) -> MessagePlan:
    metadata = getattr(cls, "_betterproto", None)
    if not isinstance(metadata, betterproto.ProtoClassMetadata):
        raise TypeError(f"{cls!r} is no betterproto message class")
    if metadata.meta_by_field_name.keys() != {item.name for item in fields(cls)}:  # type: ignore[arg-type]  # a dataclass
        # A subclass with fields of its own, for which betterproto takes its parent's metadata.
        cls._betterproto_meta = metadata = betterproto.ProtoClassMetadata(cls)
    planned = tuple(
        sorted((_field(cls, metadata, name, meta) for name, meta in metadata.meta_by_field_name.items()), key=_number)
    )
    oneofs = tuple(dict.fromkeys(field.oneof for field in planned if field.oneof is not None))
    unset: dict[str, object] = {
        item.name: None if metadata.meta_by_field_name[item.name].optional else UNSET
        for item in fields(cls)  # type: ignore[arg-type]  # each message class is a dataclass
    }
    common = {"_serialized_on_wire": True, "_unknown_fields": b"", "_group_current": dict.fromkeys(oneofs)}
    _mark_read_defaults(metadata, planned)
    lean = hasattr(cls, "_orbit_prepare")
    blank = {} if lean else unset | common
    return MessagePlan(cls=cls, fields=planned, oneofs=oneofs, blank=blank, lean=lean, unset=unset | common)


def _mark_read_defaults(metadata: betterproto.ProtoClassMetadata, planned: tuple[FieldPlan, ...]) -> None:
    """Have attribute reads of unset Timestamps and Durations give READ_TIMESTAMP and READ_DURATION."""
    for field in planned:
        if field.label is Label.IMPLICIT and field.kind == "timestamp":
            metadata.default_gen[field.name] = lambda: READ_TIMESTAMP
        elif field.label is Label.IMPLICIT and field.kind == "duration":
            metadata.default_gen[field.name] = lambda: READ_DURATION


def _number(field: FieldPlan) -> int:
    return field.number


def _field(
    cls: type[betterproto.Message],
    metadata: betterproto.ProtoClassMetadata,
    name: str,
    meta: betterproto.FieldMetadata,
) -> FieldPlan:
    kind, key, item, label = meta.proto_type, None, metadata.cls_by_field[name], Label.IMPLICIT
    if kind == "map":
        if meta.map_types is None:
            raise TypeError(f"{cls.__name__}.{name}: a map without the types of its keys and values")
        (key, kind), item, label = meta.map_types, metadata.cls_by_field[f"{name}.value"], Label.MAP
    elif metadata.default_gen[name] is list:
        label = Label.REPEATED
    elif meta.group and (not meta.optional or len(metadata.oneof_field_by_group[meta.group]) > 1):
        label = Label.ONEOF
    elif meta.optional:
        label = Label.EXPLICIT  # a oneof of its own in older output of betterproto's plugin
    if kind == "message":
        kind = _kind_of_message(cls, name, meta, item)
    return FieldPlan(
        name=name,
        number=meta.number,
        kind=kind,
        label=label,
        cls=item if kind in ("enum", "message") else None,
        key=key,
        wrapped=meta.wraps,
        oneof=meta.group if label is Label.ONEOF else None,
        packed=label is Label.REPEATED and kind in _PACKABLE and getattr(meta, "packed", True),
        proto_name=getattr(meta, "proto_name", None) or name.removesuffix("_"),
        json_name=getattr(meta, "json_name", None) or json_name(name.removesuffix("_")),
    )


def _kind_of_message(cls: type[betterproto.Message], name: str, meta: betterproto.FieldMetadata, item: object) -> str:
    if meta.wraps:
        return "wrapper"
    if item is datetime:
        return "timestamp"
    if item is timedelta:
        return "duration"
    if isinstance(item, type) and issubclass(item, betterproto.Message):
        return "message"
    # betterproto writes Dict[str, Optional[int]] for map<string, google.protobuf.Int32Value> and for Int64Value alike.
    raise TypeError(f"{cls.__name__}.{name}: betterproto does not say which message {item!r} stands for")


def json_name(proto_name: str) -> str:
    """The name of a field in JSON: lowerCamelCase, as protoc derives it."""
    head, *rest = proto_name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
