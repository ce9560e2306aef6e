"""Who is who: nodes, actors and transactions, with the text forms that Orbit-RS gives them.

Text forms are part of the wire: Raft and transaction messages carry node ids and actor keys as strings.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar

from orbit_lite.errors import ParseError, quote

__all__ = [
    "DEFAULT_NAMESPACE",
    "AddressableReference",
    "Int32Key",
    "Int64Key",
    "Key",
    "KeyKind",
    "NamespacedAddressableReference",
    "NoKey",
    "NodeId",
    "StringKey",
    "TransactionId",
]

DEFAULT_NAMESPACE = "default"
NO_KEY_TEXT = "no-key"


def _check_text(what: str, text: object) -> None:
    """Refuse what has no UTF-8 form, and so no place on the wire."""
    if not isinstance(text, str):
        raise ParseError(f"{what}: expected str, got {type(text).__name__}")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ParseError(f"{what} {quote(text)!r}: surrogates have no UTF-8 form")


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A cluster member: a key that is unique within a namespace.

    Text form (Orbit-RS Display): `(namespace:key)`. The key may hold ':', the namespace may not. So that the text form
    can be read back after peers have wrapped it in parentheses again, a namespace does not begin with '(' and a key
    does not end with ')'.
    """

    key: str
    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        _check_text("node id: key", self.key)
        _check_text("node id: namespace", self.namespace)
        if not self.key:
            raise ParseError("node id: the key is empty")
        if ":" in self.namespace or self.namespace.startswith("("):
            raise ParseError(f"node id: namespace {quote(self.namespace)!r} may not hold ':' nor begin with '('")
        if self.key.endswith(")"):
            raise ParseError(f"node id: key {quote(self.key)!r} may not end with ')'")

    @classmethod
    def new(cls, key: str, namespace: str = DEFAULT_NAMESPACE) -> NodeId:
        """The specification's constructor, arguments in its order."""
        return cls(key, namespace)

    @classmethod
    def normalized(cls, key: str, namespace: str) -> NodeId:
        """Build from parts that came through an Orbit-RS node, which may leave Display's parentheses in them."""
        return cls(key.rstrip(")"), namespace.lstrip("("))

    @classmethod
    def parse(cls, text: str) -> NodeId:
        """Read `(namespace:key)`, `namespace:key` or `key`, in any number of parentheses, balanced or not.

        The first ':' separates; without one the namespace is "default". Raises ParseError for an empty key.
        """
        return _parsed_once(text) if len(text) <= _REMEMBERED_TEXT else _parsed(text)

    def __str__(self) -> str:
        return f"({self.namespace}:{self.key})"


#: The same few nodes are named in every message of a cluster; of longer names nothing is remembered, lest a peer fills
#: our memory with them.
_REMEMBERED_NODES = 1024
_REMEMBERED_TEXT = 200


def _parsed(text: str) -> NodeId:
    namespace, colon, key = text.lstrip("(").rstrip(")").partition(":")
    if not colon:
        return NodeId(namespace)
    if not key:
        raise ParseError(f"node id {quote(text)!r}: no key behind the ':'; write KEY or NAMESPACE:KEY")
    return NodeId(key, namespace)


_parsed_once = lru_cache(_REMEMBERED_NODES)(_parsed)


class KeyKind(enum.Enum):
    """The kinds of actor keys, in the order of their field numbers."""

    STRING = 1
    INT32 = 2
    INT64 = 3
    NONE = 4


class Key:
    """Key of an actor within its type: `StringKey`, `Int32Key`, `Int64Key` or `NoKey`.

    Kinds never equal each other, and sort in the order of `KeyKind`. `str(key)` is the text form of the transaction
    wire, in which the kind is lost; `Key.parse(text, kind)` reads it back.
    """

    __slots__ = ()

    kind: ClassVar[KeyKind]

    @property
    def value(self) -> str | int | None:
        """The bare value; None for NoKey."""
        raise NotImplementedError

    @staticmethod
    def of(value: Key | str | int | None) -> Key:
        """The key for a plain Python value: str → StringKey, int → Int64Key, None → NoKey; a Key is kept."""
        match value:
            case Key():
                return value
            case str():
                return StringKey(value)
            case int() if not isinstance(value, bool):
                return Int64Key(value)
            case None:
                return NoKey()
        raise ParseError(f"key {quote(repr(value))}: {type(value).__name__} is not a key; write a string or an integer")

    @staticmethod
    def parse(text: str, kind: KeyKind = KeyKind.STRING) -> Key:
        """Read a text form as the given kind; raises ParseError when it is none."""
        match kind:
            case KeyKind.STRING:
                return StringKey(text)
            case KeyKind.NONE:
                if text != NO_KEY_TEXT:
                    raise ParseError(f"key {quote(text)!r}: expected {NO_KEY_TEXT!r}")
                return NoKey()
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
            raise ParseError(f"key {quote(text)!r}: expected a decimal integer ({kind.name.lower()})")
        return Int32Key(int(text)) if kind is KeyKind.INT32 else Int64Key(int(text))

    def _order(self) -> tuple[int, Any]:
        return self.kind.value, self.value if self.value is not None else 0

    def __lt__(self, other: object) -> bool:
        return self._order() < other._order() if isinstance(other, Key) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self._order() <= other._order() if isinstance(other, Key) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self._order() > other._order() if isinstance(other, Key) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self._order() >= other._order() if isinstance(other, Key) else NotImplemented

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class StringKey(Key):
    """A key of Unicode text; surrogates have no UTF-8 form and are refused."""

    key: str
    kind: ClassVar[KeyKind] = KeyKind.STRING

    def __post_init__(self) -> None:
        _check_text("string key", self.key)

    @property
    def value(self) -> str:
        return self.key

    __str__ = Key.__str__


def _check_range(key: object, bits: int) -> None:
    if not isinstance(key, int) or isinstance(key, bool):
        raise ParseError(f"int{bits} key: expected int, got {type(key).__name__}")
    if not -(1 << bits - 1) <= key < 1 << bits - 1:
        raise ParseError(f"int{bits} key {key}: out of range")


@dataclass(frozen=True, slots=True)
class Int32Key(Key):
    """A key in -2**31 .. 2**31-1."""

    key: int
    kind: ClassVar[KeyKind] = KeyKind.INT32

    def __post_init__(self) -> None:
        _check_range(self.key, 32)

    @property
    def value(self) -> int:
        return self.key

    __str__ = Key.__str__


@dataclass(frozen=True, slots=True)
class Int64Key(Key):
    """A key in -2**63 .. 2**63-1."""

    key: int
    kind: ClassVar[KeyKind] = KeyKind.INT64

    def __post_init__(self) -> None:
        _check_range(self.key, 64)

    @property
    def value(self) -> int:
        return self.key

    __str__ = Key.__str__


@dataclass(frozen=True, slots=True)
class NoKey(Key):
    """The key of a type that has a single actor; text form `no-key`."""

    kind: ClassVar[KeyKind] = KeyKind.NONE

    @property
    def value(self) -> None:
        return None

    def __str__(self) -> str:
        return NO_KEY_TEXT


@dataclass(frozen=True, slots=True, order=True)
class AddressableReference:
    """An actor: its type and its key. Text form: `type:key`."""

    addressable_type: str
    key: Key

    def __post_init__(self) -> None:
        _check_text("addressable type", self.addressable_type)
        if not self.addressable_type:
            raise ParseError("addressable reference: the type is empty")
        if not isinstance(self.key, Key):
            raise ParseError(f"addressable reference: key {self.key!r} is no Key; write AddressableReference.of(…)")

    @classmethod
    def of(cls, addressable_type: str, key: Key | str | int | None = None) -> AddressableReference:
        """Build from a plain key value, see `Key.of`."""
        return cls(addressable_type, Key.of(key))

    @classmethod
    def parse(cls, text: str, kind: KeyKind = KeyKind.STRING) -> AddressableReference:
        """Read `type:key`; the first ':' separates. Raises ParseError."""
        addressable_type, colon, key = text.partition(":")
        if not colon or not addressable_type:
            raise ParseError(f"addressable reference {quote(text)!r}: expected TYPE:KEY")
        return cls(addressable_type, Key.parse(key, kind))

    def __str__(self) -> str:
        return f"{self.addressable_type}:{self.key}"


@dataclass(frozen=True, slots=True, order=True)
class NamespacedAddressableReference:
    """An actor within a namespace."""

    namespace: str
    reference: AddressableReference

    def __str__(self) -> str:
        return f"{self.namespace}/{self.reference}"


@dataclass(frozen=True, slots=True, order=True)
class TransactionId:
    """A distributed transaction. Text form: `id@(namespace:key)`.

    id: UUID v4 in hyphenated lower case (any non-empty text is accepted from peers).
    created_at: aware UTC datetime in whole milliseconds, as precise as the wire.
    """

    id: str
    coordinator: NodeId
    created_at: datetime

    def __post_init__(self) -> None:
        _check_text("transaction id", self.id)
        if not self.id:
            raise ParseError("transaction id: the id is empty")
        if self.created_at.tzinfo is None:
            raise ParseError("transaction id: created_at must be an aware datetime")
        if self.created_at.microsecond % 1000:
            raise ParseError(f"transaction id: created_at {self.created_at} is finer than a millisecond")

    @classmethod
    def new(cls, coordinator: NodeId, *, id: uuid.UUID | str, created_at: datetime) -> TransactionId:
        """Build for a coordinator; what is below a millisecond in `created_at` is cut.

        Nothing is drawn here: the caller brings the random id and the time.
        """
        if created_at.tzinfo is None:
            raise ParseError("transaction id: created_at must be an aware datetime")
        whole = created_at.astimezone(UTC)
        return cls(str(id), coordinator, whole.replace(microsecond=whole.microsecond // 1000 * 1000))

    def __str__(self) -> str:
        return f"{self.id}@{self.coordinator}"
