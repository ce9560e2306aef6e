"""Keys and references, as messages and as text."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given

from orbit_lite.converters import (
    AddressableReferenceConverter,
    KeyConverter,
    NamespacedAddressableReferenceConverter,
    ReferenceTextConverter,
)
from orbit_lite.errors import ConversionError
from orbit_lite.model import AddressableReference, Int32Key, Int64Key, Key, KeyKind, NoKey, StringKey
from orbit_lite.testing import strategies as orbit
from orbit_proto.orbit.shared import (
    AddressableReferenceProto,
    KeyProto,
    NamespacedAddressableReferenceProto,
    NoKeyProto,
)


@pytest.mark.parametrize(
    ("key", "wire"),
    [
        (StringKey("a"), "0a0161"),
        (StringKey(""), "0a00"),
        (Int32Key(0), "1000"),
        (Int32Key(-1), "10ffffffffffffffffff01"),
        (Int64Key(1 << 62), "188080808080808080 40".replace(" ", "")),
        (NoKey(), "2200"),
    ],
)
def test_every_kind_of_key_is_on_the_wire_with_its_zero_too(key: Key, wire: str) -> None:
    assert bytes(KeyConverter.to_proto(key)).hex() == wire
    assert KeyConverter.from_proto(KeyProto.FromString(bytes.fromhex(wire))) == key


@pytest.mark.parametrize(
    ("converter", "message", "field"),
    [
        (KeyConverter, KeyProto(), "key"),
        (KeyConverter, KeyProto(string_key="a", no_key=NoKeyProto()), "key"),
        (KeyConverter, KeyProto(int32_key=1 << 31), "int32_key"),
        (KeyConverter, KeyProto(no_key=cast("Any", 1)), "no_key"),
        (KeyConverter, KeyProto(int64_key=1 << 63), "int64_key"),
        (KeyConverter, KeyProto(string_key="\ud800"), "string_key"),
        (AddressableReferenceConverter, AddressableReferenceProto(addressable_type="A"), "key"),
        (AddressableReferenceConverter, AddressableReferenceProto("A", KeyProto()), "key.key"),
        (AddressableReferenceConverter, AddressableReferenceProto.FromString(b"\x0a\x01A\x12\x00"), "key.key"),
        (AddressableReferenceConverter, AddressableReferenceProto("", KeyProto(int32_key=1)), "addressable_type"),
        (NamespacedAddressableReferenceConverter, NamespacedAddressableReferenceProto("n"), "addressable_reference"),
        (
            NamespacedAddressableReferenceConverter,
            NamespacedAddressableReferenceProto("n", AddressableReferenceProto("A")),
            "addressable_reference.key",
        ),
    ],
)
def test_what_is_missing_or_contradictory_is_named(converter: Any, message: object, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter.from_proto(message)
    assert caught.value.field == field


def test_a_stranger_to_the_four_kinds_has_no_message() -> None:
    with pytest.raises(ConversionError, match="key: expected a Key, found str"):
        KeyConverter.to_proto("a")  # type: ignore[arg-type]


@given(orbit.addressable_references())
def test_text_comes_back_when_the_receiver_knows_the_kind(reference: AddressableReference) -> None:
    type_text, key_text = ReferenceTextConverter.to_text(reference)
    assert ReferenceTextConverter.from_text(type_text, key_text, lambda _: reference.key.kind) == reference


def test_without_knowledge_every_key_text_is_a_string_key() -> None:
    assert ReferenceTextConverter.from_text("A", "42") == AddressableReference("A", StringKey("42"))
    assert ReferenceTextConverter.from_text("A", "no-key") == AddressableReference("A", StringKey("no-key"))


@pytest.mark.parametrize(
    ("type_text", "key_text", "kind", "field"),
    [
        ("", "no number", KeyKind.INT32, "participant_type"),
        ("A", "", KeyKind.INT32, "participant_key"),
        ("A", "4x", KeyKind.INT32, "participant_key"),
        ("A", str(1 << 31), KeyKind.INT32, "participant_key"),
        ("A", str(1 << 63), KeyKind.INT64, "participant_key"),
        ("A", "a", KeyKind.NONE, "participant_key"),
    ],
)
def test_text_that_is_no_key_of_its_kind_is_named(type_text: str, key_text: str, kind: KeyKind, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        ReferenceTextConverter.from_text(
            type_text, key_text, lambda _: kind, type_field="participant_type", key_field="participant_key"
        )
    assert caught.value.field == field
