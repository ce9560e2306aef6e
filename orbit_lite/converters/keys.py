"""Keys of actors and references to them, as messages and as the text of the transaction wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from orbit_lite.converters.presence import build, domain, fields, one_of, required, text
from orbit_lite.errors import ConversionError
from orbit_lite.model import (
    AddressableReference,
    Int32Key,
    Int64Key,
    Key,
    KeyKind,
    NamespacedAddressableReference,
    NoKey,
    StringKey,
)
from orbit_proto.orbit.shared import (
    AddressableReferenceProto,
    KeyProto,
    NamespacedAddressableReferenceProto,
    NoKeyProto,
)

__all__ = [
    "AddressableReferenceConverter",
    "KeyConverter",
    "KeyKinds",
    "NamespacedAddressableReferenceConverter",
    "ReferenceTextConverter",
    "always_string",
]

#: Actor type → the kind of its keys. The transaction wire sends keys as text and loses the kind.
KeyKinds: TypeAlias = Callable[[str], KeyKind]


def always_string(addressable_type: str) -> KeyKind:
    """The KeyKinds of a receiver that knows nothing of its actors' types."""
    return KeyKind.STRING


class KeyConverter:
    """Key ⇄ KeyProto. An unset oneof is an error, not NoKey."""

    @staticmethod
    def to_proto(value: Key) -> KeyProto:
        match value:
            case StringKey():
                return build(KeyProto, string_key=value.key)
            case Int32Key():
                return build(KeyProto, int32_key=value.key)
            case Int64Key():
                return build(KeyProto, int64_key=value.key)
            case NoKey():
                return build(KeyProto, no_key=build(NoKeyProto))
        raise ConversionError("key", f"expected a Key, found {type(value).__name__}")

    @staticmethod
    def from_proto(proto: KeyProto) -> Key:
        return one_of(fields(proto), "key", _KEYS)


def _no_key(proto: NoKeyProto) -> NoKey:
    fields(proto)
    return NoKey()


_KEYS: dict[str, Callable[..., Key]] = {
    "string_key": lambda value: domain("", StringKey, value),
    "int32_key": lambda value: domain("", Int32Key, value),
    "int64_key": lambda value: domain("", Int64Key, value),
    "no_key": _no_key,
}


class AddressableReferenceConverter:
    """AddressableReference ⇄ AddressableReferenceProto."""

    @staticmethod
    def to_proto(value: AddressableReference) -> AddressableReferenceProto:
        return build(
            AddressableReferenceProto,
            addressable_type=value.addressable_type,
            key=KeyConverter.to_proto(value.key),
        )

    @staticmethod
    def from_proto(proto: AddressableReferenceProto) -> AddressableReference:
        state = fields(proto)
        key = required(state, "key", KeyConverter.from_proto)
        return domain("addressable_type", AddressableReference, text(state, "addressable_type"), key)


class NamespacedAddressableReferenceConverter:
    """NamespacedAddressableReference ⇄ NamespacedAddressableReferenceProto."""

    @staticmethod
    def to_proto(value: NamespacedAddressableReference) -> NamespacedAddressableReferenceProto:
        return build(
            NamespacedAddressableReferenceProto,
            namespace=value.namespace,
            addressable_reference=AddressableReferenceConverter.to_proto(value.reference),
        )

    @staticmethod
    def from_proto(proto: NamespacedAddressableReferenceProto) -> NamespacedAddressableReference:
        state = fields(proto)
        reference = required(state, "addressable_reference", AddressableReferenceConverter.from_proto)
        return NamespacedAddressableReference(text(state, "namespace"), reference)


class ReferenceTextConverter:
    """AddressableReference ⇄ the pair of texts (type, key) that transaction messages carry in two fields.

    The text form loses the key's kind: StringKey("42"), Int32Key(42) and Int64Key(42) look the same, as do
    StringKey("no-key") and NoKey. The receiver's `key_kinds` says which is meant.
    """

    @staticmethod
    def to_text(value: AddressableReference) -> tuple[str, str]:
        return value.addressable_type, str(value.key)

    @staticmethod
    def from_text(
        type_text: str,
        key_text: str,
        key_kinds: KeyKinds = always_string,
        *,
        type_field: str = "actor_type",
        key_field: str = "actor_key",
    ) -> AddressableReference:
        """type_field, key_field: the names under which errors report the two texts."""
        if not type_text:
            raise ConversionError(type_field, "missing")
        key = domain(key_field, Key.parse, key_text, key_kinds(type_text))
        return domain(type_field, AddressableReference, type_text, key)
