"""What is present in a message, and messages that count as present."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import betterproto
import pytest

from orbit_lite.converters import presence
from orbit_lite.converters.presence import build, fields, is_present
from orbit_lite.errors import ConversionError, ParseError
from orbit_proto.orbit.consensus import VoteResponseProto
from orbit_proto.orbit.lite import AnnounceRequest
from orbit_proto.orbit.shared import (
    AddressableReferenceProto,
    KeyProto,
    MessageContentProto,
    MessageProto,
    MessageTargetProtoRoutedUnicast,
    NodeCapabilitiesProto,
    NodeIdProto,
    NodeInfoProto,
    NodeLeaseProto,
    NoKeyProto,
)
from orbit_proto.orbit.transactions import TransactionVoteProto, VoteMessage

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def identity(value: object) -> object:
    return value


# build


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (NodeIdProto, {"key": "a", "namespace": "b"}),
        (NodeIdProto, {"key": "a"}),
        (KeyProto, {"int32_key": 0}),
        (NodeCapabilitiesProto, {"max_addressables": 0, "tags": {"a": "b"}}),
        (NodeLeaseProto, {"expires_at": EPOCH, "challenge_token": ""}),
        (MessageContentProto, {"info_request": build(NodeIdProto)}),
    ],
)
def test_build_makes_what_the_constructor_makes(cls: type[betterproto.Message], values: dict[str, object]) -> None:
    assert fields(build(cls, **values)) == fields(cls(**values))


def test_a_built_message_counts_as_present_even_when_it_is_empty() -> None:
    assert bytes(VoteMessage(vote=TransactionVoteProto())) == b"\x22\x00"
    assert bytes(VoteMessage(vote=build(TransactionVoteProto))) == b"\x22\x00"


def test_build_leaves_a_field_unset_for_none() -> None:
    assert fields(build(MessageProto, source=None)) == fields(build(MessageProto))


def test_build_refuses_a_field_that_the_message_has_not() -> None:
    with pytest.raises(TypeError, match="NodeIdProto has no field 'name'"):
        build(NodeIdProto, name="a")


def test_built_messages_share_nothing() -> None:
    first, second = build(KeyProto), build(KeyProto)
    first.int32_key = 1
    assert not is_present(second, "int32_key")
    assert betterproto.which_one_of(second, "key") == ("", None)


# presence


def test_reading_an_attribute_does_not_make_a_sub_message_present() -> None:
    message = VoteMessage()
    assert not is_present(message, "vote")
    assert message.vote.vote_type == 0
    assert not is_present(message, "vote")


@pytest.mark.parametrize(
    "make",
    [
        lambda: VoteMessage(vote=build(TransactionVoteProto)),
        lambda: VoteMessage(vote=TransactionVoteProto(reason="")),
        lambda: VoteMessage.FromString(b"\x22\x00"),
    ],
    ids=["built", "with an argument", "received empty"],
)
def test_a_sub_message_that_was_given_is_present(make: Callable[[], VoteMessage]) -> None:
    assert is_present(make(), "vote")


def test_a_sub_message_assigned_to_in_depth_is_present() -> None:
    message = AnnounceRequest()
    message.node.id.key = "node-1"
    assert is_present(message, "node")


def test_a_timestamp_at_the_epoch_is_present() -> None:
    assert is_present(NodeLeaseProto(expires_at=EPOCH), "expires_at")
    assert not is_present(NodeLeaseProto(expires_at=EPOCH), "renew_at")
    assert is_present(NodeLeaseProto.FromString(b"\x12\x00"), "expires_at")


def test_an_optional_field_is_present_with_any_value() -> None:
    assert is_present(NodeLeaseProto(challenge_token=""), "challenge_token")
    assert not is_present(NodeLeaseProto(), "challenge_token")
    assert not is_present(NodeInfoProto(), "lease")


def test_a_member_of_a_oneof_is_present_even_when_empty() -> None:
    assert is_present(KeyProto(no_key=NoKeyProto()), "no_key")
    assert not is_present(KeyProto(no_key=NoKeyProto()), "string_key")


# readers


@pytest.mark.parametrize(
    ("read", "value", "problem"),
    [
        (presence.text, 1, "expected text, found int"),
        (presence.int32, "1", "expected an integer, found str"),
        (presence.int32, True, "expected an integer, found bool"),
        (presence.int32, 1 << 31, "2147483648 is out of range"),
        (presence.int32, -(1 << 31) - 1, "-2147483649 is out of range"),
        (presence.int64, 1 << 63, "9223372036854775808 is out of range"),
        (presence.int64, -(1 << 63) - 1, "-9223372036854775809 is out of range"),
        (presence.uint32, 1 << 32, "4294967296 is out of range"),
        (presence.uint32, -1, "-1 is out of range"),
        (presence.uint64, 1 << 64, "18446744073709551616 is out of range"),
        (presence.uint64, -1, "-1 is out of range"),
        (presence.flag, 1, "expected a bool, found int"),
        (presence.texts, "ab", "expected a list, found str"),
        (presence.pairs, [], "expected a map, found list"),
        (presence.pairs, {"a": 1}, "expected text for text"),
        (presence.timestamp, 1, "expected a Timestamp, found int"),
        (presence.timestamp, None, "missing"),
        (presence.timestamp, betterproto.PLACEHOLDER, "missing"),
    ],
)
def test_readers_refuse_what_no_decoder_should_have_made(
    read: Callable[[presence.Fields, str], object], value: object, problem: str
) -> None:
    with pytest.raises(ConversionError) as caught:
        read({"field": value}, "field")
    assert (caught.value.field, caught.value.problem) == ("field", problem)


@pytest.mark.parametrize(
    ("read", "unset"),
    [(presence.text, ""), (presence.int32, 0), (presence.flag, False), (presence.texts, ()), (presence.pairs, {})],
)
def test_an_unset_field_without_presence_reads_as_its_zero(
    read: Callable[[presence.Fields, str], object], unset: object
) -> None:
    assert read({"field": betterproto.PLACEHOLDER}, "field") == unset


def test_optional_scalars_tell_unset_from_zero() -> None:
    assert presence.optional_text({"field": None}, "field") is None
    assert presence.optional_text({"field": ""}, "field") == ""
    assert presence.optional_uint32({"field": None}, "field") is None
    assert presence.optional_uint32({"field": 0}, "field") == 0


def test_an_error_deep_inside_names_the_whole_path() -> None:
    path = MessageTargetProtoRoutedUnicast(target=[NodeIdProto(key="a"), NodeIdProto(namespace="b")])

    def key_of(node: NodeIdProto) -> str:
        if "key" not in fields(node) or not is_present(node, "key"):
            raise ConversionError("key", "missing") from ValueError("the cause")
        return node.key

    with pytest.raises(ConversionError) as caught:
        presence.each(fields(path), "target", key_of)
    assert caught.value.field == "target[1].key"
    assert isinstance(caught.value.__cause__, ValueError)


def test_one_message_in_place_of_a_list_is_an_error() -> None:
    with pytest.raises(ConversionError, match="target: expected a list, found NodeIdProto"):
        presence.each({"target": NodeIdProto()}, "target", identity)


def test_a_number_in_place_of_a_message_is_an_error_with_its_field() -> None:
    lenient = MessageProto(source=cast("Any", 5))
    with pytest.raises(ConversionError, match="source: expected a message, found int"):
        presence.required(fields(lenient), "source", fields)


def test_of_a_oneof_exactly_one_member_is_read() -> None:
    members = {"string_key": identity, "int32_key": identity}
    assert presence.one_of(fields(KeyProto(int32_key=0)), "key", members) == 0
    with pytest.raises(ConversionError, match="key: missing: one of string_key, int32_key"):
        presence.one_of(fields(KeyProto()), "key", members)
    with pytest.raises(ConversionError, match="key: contradictory: string_key, int32_key are all set"):
        presence.one_of(fields(KeyProto(string_key="", int32_key=0)), "key", members)


def test_required_and_optional_differ_only_in_what_is_missing() -> None:
    absent, present = fields(AddressableReferenceProto()), fields(build(AddressableReferenceProto, key=build(KeyProto)))
    assert presence.optional(absent, "key", identity) is None
    assert presence.optional(present, "key", fields) == presence.required(present, "key", fields)
    with pytest.raises(ConversionError, match="key: missing"):
        presence.required(absent, "key", identity)


def test_what_the_domain_refuses_is_the_fields_fault() -> None:
    def refuse(value: int) -> int:
        raise ParseError(f"{value} is too much")

    with pytest.raises(ConversionError, match="term: 7 is too much") as caught:
        presence.domain("term", refuse, 7)
    assert isinstance(caught.value.__cause__, ParseError)


def test_unknown_enum_numbers_are_errors() -> None:
    assert presence.enum_number({"field": 1}, "field", {1: "one"}) == "one"
    with pytest.raises(ConversionError, match="field: unknown enum number 2"):
        presence.enum_number({"field": 2}, "field", {1: "one"})


def test_fields_do_not_follow_attribute_reads_of_other_messages() -> None:
    message = VoteResponseProto()
    before = dict(fields(message))
    assert message.voter_id == ""
    assert before["voter_id"] is betterproto.PLACEHOLDER
