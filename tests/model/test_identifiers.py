from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import Executed, ParseError
from orbit_lite.model import (
    DEFAULT_NAMESPACE,
    AddressableReference,
    Int32Key,
    Int64Key,
    Key,
    KeyKind,
    NamespacedAddressableReference,
    NodeId,
    NoKey,
    StringKey,
    TransactionId,
)
from orbit_lite.testing.strategies import addressable_references, keys, node_ids, transaction_ids

NODE = NodeId("node-1")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

# ---------------------------------------------------------------- NodeId


@pytest.mark.parametrize(
    ("text", "namespace", "key"),
    [
        ("(ns:key)", "ns", "key"),
        ("ns:key", "ns", "key"),
        ("key", "default", "key"),
        ("(key)", "default", "key"),
        ("((ns:key))", "ns", "key"),
        ("(((ns:key)", "ns", "key"),
        ("(ns:key", "ns", "key"),
        ("ns:key)", "ns", "key"),
        ("(ns:node:50051)", "ns", "node:50051"),
        (":key", "", "key"),
        ("(:key)", "", "key"),
        ("a b:c d", "a b", "c d"),
        ("Zürich:Ærø", "Zürich", "Ærø"),
    ],
)
def test_a_node_id_is_read_in_every_form_that_peers_write(text: str, namespace: str, key: str) -> None:
    node_id = NodeId.parse(text)
    assert (node_id.namespace, node_id.key) == (namespace, key)


@pytest.mark.parametrize("text", ["", "()", "ns:", "(ns:)", ":", "(((", ")"])
def test_a_node_id_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(ParseError) as raised:
        NodeId.parse(text)
    assert raised.value.executed is Executed.NO


@given(node_ids())
def test_the_text_form_of_a_node_id_reads_back(node_id: NodeId) -> None:
    assert str(node_id) == f"({node_id.namespace}:{node_id.key})"
    assert NodeId.parse(str(node_id)) == node_id


@given(node_ids(), st.integers(0, 3), st.integers(0, 3))
def test_parentheses_that_peers_add_or_lose_change_nothing(node_id: NodeId, opening: int, closing: int) -> None:
    """Orbit-RS keeps Display's parentheses inside namespace and key, and writes them again."""
    assert NodeId.parse("(" * opening + f"{node_id.namespace}:{node_id.key}" + ")" * closing) == node_id
    assert NodeId.normalized(node_id.key + ")" * closing, "(" * opening + node_id.namespace) == node_id


@given(st.text())
def test_any_text_is_a_node_id_that_reads_back_or_a_parse_error(text: str) -> None:
    try:
        node_id = NodeId.parse(text)
    except ParseError:
        return
    assert NodeId.parse(str(node_id)) == node_id


@pytest.mark.parametrize(
    ("key", "namespace"),
    [("", "ns"), ("key)", "ns"), ("key", "n:s"), ("key", "(ns"), ("\ud800", "ns"), ("k", "\udc00")],
)
def test_parts_that_could_not_be_read_back_are_refused(key: str, namespace: str) -> None:
    with pytest.raises(ParseError, match=r"^node id"):
        NodeId(key, namespace)


@pytest.mark.parametrize(("key", "namespace"), [(5, "ns"), (None, "ns"), ("key", None)])
def test_parts_of_another_type_are_refused(key: Any, namespace: Any) -> None:
    with pytest.raises(ParseError, match="expected str"):
        NodeId(key, namespace)


def test_the_namespace_is_default_unless_it_is_said() -> None:
    assert NodeId("a") == NodeId.new("a") == NodeId("a", DEFAULT_NAMESPACE)


def test_node_ids_sort_and_serve_as_keys() -> None:
    assert sorted([NodeId("b"), NodeId("a", "z"), NodeId("a", "x")]) == [
        NodeId("a", "x"),
        NodeId("a", "z"),
        NodeId("b"),
    ]
    assert {NodeId("a"): 1}[NodeId("a")] == 1


# ---------------------------------------------------------------- Key


@pytest.mark.parametrize(
    ("value", "key"),
    [("a", StringKey("a")), ("", StringKey("")), (5, Int64Key(5)), (None, NoKey()), (Int32Key(5), Int32Key(5))],
)
def test_a_key_is_made_of_a_plain_value(value: Key | str | int | None, key: Key) -> None:
    assert Key.of(value) == key


@pytest.mark.parametrize("value", [True, 1.5, b"a", ["a"]])
def test_other_plain_values_are_no_keys(value: Any) -> None:
    with pytest.raises(ParseError, match=r"^key .* is not a key"):
        Key.of(value)


@given(keys())
def test_the_text_form_of_a_key_reads_back_with_its_kind(key: Key) -> None:
    assert Key.parse(str(key), key.kind) == key


@given(keys())
def test_a_plain_value_keeps_what_the_key_says(key: Key) -> None:
    assert str(key) == ("no-key" if key.value is None else str(key.value))


def test_the_text_form_loses_the_kind() -> None:
    assert str(StringKey("42")) == str(Int32Key(42)) == str(Int64Key(42))
    assert str(StringKey("no-key")) == str(NoKey())


@pytest.mark.parametrize("kind", [KeyKind.INT32, KeyKind.INT64])
@pytest.mark.parametrize("text", ["", "-", "+1", "1.0", " 1", "1_0", "٣", "0x1", "no-key", "9" * 30, "--1"])
def test_text_that_is_no_integer_is_no_integer_key(kind: KeyKind, text: str) -> None:
    with pytest.raises(ParseError):
        Key.parse(text, kind)


def test_text_of_the_single_actor_is_no_key_and_nothing_else() -> None:
    assert Key.parse("no-key", KeyKind.NONE) == NoKey()
    with pytest.raises(ParseError, match="expected 'no-key'"):
        Key.parse("", KeyKind.NONE)


@pytest.mark.parametrize(("cls", "bits"), [(Int32Key, 32), (Int64Key, 64)])
def test_integer_keys_keep_their_range(cls: type[Int32Key] | type[Int64Key], bits: int) -> None:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    assert (cls(low).value, cls(high).value) == (low, high)
    for beyond in (low - 1, high + 1):
        with pytest.raises(ParseError, match="out of range"):
            cls(beyond)
        with pytest.raises(ParseError):
            Key.parse(str(beyond), cls.kind)


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_integer_keys_are_integers(value: Any) -> None:
    for cls in (Int32Key, Int64Key):
        with pytest.raises(ParseError, match="expected int"):
            cls(value)


@pytest.mark.parametrize("value", [1, None, "\ud800"])
def test_string_keys_are_text_with_a_utf8_form(value: Any) -> None:
    with pytest.raises(ParseError, match=r"^string key"):
        StringKey(value)


def test_keys_of_different_kinds_are_different_keys() -> None:
    assert len({StringKey("1"), Int32Key(1), Int64Key(1), StringKey("no-key"), NoKey()}) == 5


@given(st.lists(keys(), max_size=6))
def test_keys_sort_by_kind_and_then_by_value(some: list[Key]) -> None:
    ordered = sorted(some)
    assert [key.kind.value for key in ordered] == sorted(key.kind.value for key in some)
    for first, second in itertools.pairwise(ordered):
        assert first <= second
        assert second >= first
        assert (first < second) == (second > first) == (first != second)


def test_keys_do_not_compare_with_anything_else() -> None:
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(StringKey("a"), compare)("a") is NotImplemented


# ---------------------------------------------------------------- AddressableReference


@given(addressable_references())
def test_the_text_form_of_a_reference_reads_back_where_its_type_has_no_colon(reference: AddressableReference) -> None:
    assert str(reference) == f"{reference.addressable_type}:{reference.key}"
    if ":" not in reference.addressable_type:
        assert AddressableReference.parse(str(reference), reference.key.kind) == reference


def test_the_first_colon_separates_type_and_key() -> None:
    assert AddressableReference.parse("Account:a:b") == AddressableReference.of("Account", "a:b")
    assert AddressableReference.parse("Account:") == AddressableReference.of("Account", "")


@pytest.mark.parametrize("text", ["", ":", ":key", "Account"])
def test_text_without_a_type_or_colon_is_no_reference(text: str) -> None:
    with pytest.raises(ParseError, match="expected TYPE:KEY"):
        AddressableReference.parse(text)


@pytest.mark.parametrize("name", ["", None, "\ud800"])
def test_a_reference_needs_a_type(name: Any) -> None:
    with pytest.raises(ParseError):
        AddressableReference(name, NoKey())


@pytest.mark.parametrize("key", ["alice", 5, None])
def test_a_bare_value_is_no_key_of_a_reference(key: Any) -> None:
    with pytest.raises(ParseError, match=r"AddressableReference\.of"):
        AddressableReference("Account", key)


def test_references_sort_and_serve_as_keys() -> None:
    first, second = AddressableReference.of("A", 2), AddressableReference.of("B", 1)
    assert sorted([second, first]) == [first, second]
    assert {first: 1, second: 2}[AddressableReference.of("A", 2)] == 1
    assert AddressableReference("A", Int32Key(2)) != first


def test_a_namespaced_reference_shows_both() -> None:
    assert str(NamespacedAddressableReference("ns", AddressableReference.of("A", 1))) == "ns/A:1"


# ---------------------------------------------------------------- TransactionId


@given(transaction_ids())
def test_a_transaction_id_shows_its_coordinator(transaction_id: TransactionId) -> None:
    assert str(transaction_id) == f"{transaction_id.id}@{transaction_id.coordinator}"


def test_a_new_transaction_id_is_as_precise_as_the_wire_and_in_utc() -> None:
    moment = datetime(2026, 1, 1, 13, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=1)))
    drawn = uuid.UUID("12345678-1234-4123-8123-123456789ABC")
    made = TransactionId.new(NODE, id=drawn, created_at=moment)
    assert made.id == "12345678-1234-4123-8123-123456789abc"
    assert made.created_at == datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    assert made.created_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", NOON),
        ("\ud800", NOON),
        ("id", NOON.replace(tzinfo=None)),
        ("id", NOON.replace(microsecond=1)),
    ],
)
def test_a_transaction_id_that_the_wire_cannot_carry_is_refused(text: str, moment: datetime) -> None:
    with pytest.raises(ParseError, match=r"^transaction id"):
        TransactionId(text, NODE, moment)


def test_a_new_transaction_id_needs_an_aware_time() -> None:
    with pytest.raises(ParseError, match="aware"):
        TransactionId.new(NODE, id="x", created_at=NOON.replace(tzinfo=None))


def test_transaction_ids_sort_and_serve_as_keys() -> None:
    first, second = (TransactionId(name, NODE, NOON) for name in "ab")
    assert sorted([second, first]) == [first, second]
    assert {first: 1, second: 2}[TransactionId("a", NODE, NOON)] == 1


@pytest.mark.parametrize(
    "value", [NODE, StringKey("a"), NoKey(), AddressableReference.of("A"), TransactionId("a", NODE, NOON)]
)
def test_identifiers_never_change_and_carry_nothing_else(value: object) -> None:
    assert not hasattr(value, "__dict__")
    with pytest.raises((AttributeError, TypeError)):
        value.key = "other"  # type: ignore[attr-defined]
