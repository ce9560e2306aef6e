"""The base of generated message classes: betterproto's in what it does, a plain object's in what it costs.

betterproto's own base pays for its defaults on every construction (50 µs and more) and every attribute read (1 µs).
Here a field that is not set is not in the instance's `__dict__`, and the class answers for it:

- a scalar, a Timestamp, an `optional` field: with the default, a class attribute;
- a list, map or sub-message: with an empty one, made on the first read and kept, so that changing it is not lost;
- a member of a oneof: with AttributeError, as betterproto does.

`__init__` is compiled once per class and writes the `__dict__` directly. Assigning goes through a hook, since it has to
clear the other members of a oneof.

Presence: a message that was constructed, decoded or assigned to, or into which something was put, is there, empty or
not, and is sent. One that a read has made is not there until it is assigned or changed. (`_serialized_on_wire`, which
betterproto.serialized_on_wire shows, is False for exactly these.) betterproto loses `Vote(yes=Yes())` on the wire.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import betterproto

from orbit_lite.codec.binary import decode, decode_into, encode
from orbit_lite.codec.compile import constructor_of
from orbit_lite.codec.plan import (
    READ_DURATION,
    READ_TIMESTAMP,
    UNSET,
    FieldPlan,
    Label,
    MessagePlan,
    plan_of,
    raw_state,
)
from orbit_lite.codec.scalars import SCALARS

__all__ = ["Message"]

M = TypeVar("M", bound="Message")


class _MadeOnRead:
    """Class attribute of a list, map or sub-message. The instance's `__dict__` comes first, once it has the value."""

    __slots__ = ("_make", "_name")

    def __init__(self, name: str, make: Callable[[], object]) -> None:
        self._name = name
        self._make = make

    def __get__(self, message: object, owner: type[Any]) -> object:
        if message is None:
            return UNSET
        value = raw_state(message)[self._name] = self._make()
        return value


class _Member:
    """Class attribute of a oneof's member."""

    __slots__ = ("_name", "_oneof")

    def __init__(self, name: str, oneof: str) -> None:
        self._name = name
        self._oneof = oneof

    def __get__(self, message: Any, owner: type[Any]) -> object:
        if message is None:
            return UNSET
        chosen = message._group_current[self._oneof]
        problem = f"{self._oneof!r} is set to {chosen!r}, not {self._name!r}"
        raise AttributeError(problem, name=self._name, obj=message)


# Without annotations: betterproto evaluates those of all bases in the namespace of the class's own module.
class Message(betterproto.Message):
    """A betterproto message whose fields are stored plainly. Subclasses are dataclasses, as betterproto's are."""

    # What the `__dict__` says otherwise where it is otherwise.
    _serialized_on_wire = True
    _unknown_fields = b""
    _group_current = {}  # noqa: RUF012  # of classes without a oneof; never written to
    _orbit_oneofs = {}  # type: ignore[var-annotated]  # noqa: RUF012  # member → (its oneof, the other members)

    # No hook: CPython then reads attributes without a call.
    __getattribute__ = object.__getattribute__

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if "__init__" not in vars(cls):  # dataclass keeps one that is there
            cls.__init__ = _first_init(cls)  # type: ignore[method-assign]

    @classmethod
    def _orbit_prepare(cls, plan: MessagePlan) -> None:
        """Called with the class's plan, once, before anything is done with an instance."""
        for field in plan.fields:
            setattr(cls, field.name, _attribute(field))
        cls._orbit_oneofs = {
            field.name: (field.oneof, [name for name in _members(plan, field.oneof) if name != field.name])
            for field in plan.fields
            if field.oneof is not None
        }
        if getattr(vars(cls).get("__init__"), "_orbit_first", False):
            cls.__init__ = constructor_of(cls, plan, hook=cls.__post_init__ is not Message.__post_init__)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """For subclasses that extend it, as betterproto's plugin writes it for deprecated fields."""

    def __setattr__(self, name: str, value: Any) -> None:
        state = raw_state(self)
        if name in self._orbit_oneofs:
            oneof, others = self._orbit_oneofs[name]
            for other in others:
                state.pop(other, None)
            state["_group_current"][oneof] = None if value is UNSET else name
        if name != "_serialized_on_wire":
            state.pop("_serialized_on_wire", None)
            if isinstance(value, betterproto.Message) and not value._serialized_on_wire:
                value._serialized_on_wire = True
        if value is UNSET:
            state.pop(name, None)
        else:
            state[name] = value

    def __raw_get(self, name: str) -> Any:
        # By its mangled name this is the one method by which betterproto's ==, bool, repr and is_set look at a field.
        return raw_state(self).get(name, plan_of(type(self)).unset[name])

    def _get_field_default(self, field_name: str) -> Any:
        # For betterproto's methods, which show a sub-message that is there even when it is empty.
        default = super()._get_field_default(field_name)
        if isinstance(default, betterproto.Message):
            raw_state(default)["_serialized_on_wire"] = False
        return default

    def __eq__(self, other: object) -> bool:
        if type(self) is type(other) and raw_state(self) == raw_state(other):
            return True
        return super().__eq__(other)  # defaults, NaN and unknown fields

    __hash__ = None  # type: ignore[assignment]  # as betterproto's

    def __copy__(self: M, _: object = None) -> M:
        return _with_state(self, dict(raw_state(self)))

    def __deepcopy__(self: M, memo: dict[int, Any] | None = None) -> M:
        return _with_state(self, copy.deepcopy(raw_state(self), memo))

    def __bytes__(self) -> bytes:
        return encode(self)

    def __len__(self) -> int:
        return len(encode(self))

    def parse(self: M, data: bytes) -> M:
        """Merge what the bytes encode into this message. Raises DecodeError."""
        decode_into(self, data)
        return self

    @classmethod
    def FromString(cls: type[M], data: bytes) -> M:  # noqa: N802  # google.protobuf's name, and betterproto's
        """The message that the bytes encode. Raises DecodeError."""
        return decode(cls, data)

    def dump(self, stream: Any, delimit: bool = False) -> None:
        data = encode(self)
        if delimit:  # betterproto.SIZE_DELIMITED or True
            betterproto.dump_varint(len(data), stream)
        stream.write(data)

    def load(self: M, stream: Any, size: int | None = None) -> M:
        if size == betterproto.SIZE_DELIMITED:
            size, _ = betterproto.load_varint(stream)
        data = stream.read() if size is None else stream.read(size)
        if size is not None and len(data) < size:
            raise ValueError(f"expected a message of {size} bytes, and the stream had {len(data)}")
        return self.parse(data)


def _with_state(message: M, state: dict[str, Any]) -> M:
    made: M = object.__new__(type(message))
    if "_group_current" in state:
        state["_group_current"] = dict(state["_group_current"])
    raw_state(made).update(state)
    return made


def _members(plan: MessagePlan, oneof: str) -> list[str]:
    return [field.name for field in plan.fields if field.oneof == oneof]


def _attribute(field: FieldPlan) -> object:
    """What the class has for a field that is not set."""
    if field.oneof is not None:
        return _Member(field.name, field.oneof)
    if field.label is Label.REPEATED:
        return _MadeOnRead(field.name, list)
    if field.label is Label.MAP:
        return _MadeOnRead(field.name, dict)
    if field.label is Label.EXPLICIT or field.kind == "wrapper":
        return None
    if field.kind == "message":
        cls: Any = field.cls
        return _MadeOnRead(field.name, lambda: _unset_message(cls))
    if field.kind == "enum":
        return field.cls.try_value(0)  # type: ignore[union-attr]  # an enum field has a class
    times = {"timestamp": READ_TIMESTAMP, "duration": READ_DURATION}
    return times[field.kind] if field.kind in times else SCALARS[field.kind].default


def _unset_message(cls: type[betterproto.Message]) -> object:
    """Not by the constructor, which warns of deprecated classes."""
    message, state = plan_of(cls).new()
    state["_serialized_on_wire"] = False
    return message


def _first_init(cls: type[Message]) -> Callable[..., None]:
    """`__init__` of a class until its first use: only then all that its annotations name is sure to be there."""

    def __init__(self: Message, /, *values: object, **named: object) -> None:  # noqa: N807
        plan_of(cls)
        cls.__init__(self, *values, **named)

    __init__._orbit_first = True  # type: ignore[attr-defined]
    return __init__
