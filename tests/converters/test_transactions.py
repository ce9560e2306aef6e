"""Two-phase commit on the wire: what decides a transaction's fate is never assumed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from orbit_lite.converters import (
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionOperationConverter,
    TransactionStateConverter,
    TransactionTargetConverter,
    TransactionVoteConverter,
)
from orbit_lite.converters.presence import build
from orbit_lite.errors import ConversionError
from orbit_lite.model import (
    Acknowledge,
    AddressableReference,
    Int64Key,
    KeyKind,
    NodeId,
    Prepare,
    StateType,
    StatusResponse,
    TransactionId,
    TransactionMessage,
    TransactionOperation,
    TransactionState,
    TransactionVote,
    Vote,
    VoteType,
)
from orbit_lite.testing import strategies as orbit
from orbit_proto.orbit.transactions import (
    AbortMessage,
    AckMessage,
    CommitMessage,
    PrepareMessage,
    QueryStatusMessage,
    StatusResponseMessage,
    Target,
    TransactionIdProto,
    TransactionMessageProto,
    TransactionOperationProto,
    TransactionStateProto,
    TransactionStateProtoStateType,
    TransactionVoteProto,
    TransactionVoteProtoVoteType,
    VoteMessage,
)

if TYPE_CHECKING:
    from tests.converters.conftest import Wire

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ID = TransactionId("t", NodeId("a", "n"), EPOCH)
ID_PROTO = TransactionIdProto("t", "(n:a)", 0)
ID_BYTES = b"\x0a\x0a\x0a\x01t\x12\x05(n:a)"
NO = TransactionVoteProto(TransactionVoteProtoVoteType(1), "poor")
UNKNOWN_VOTE = TransactionVoteProtoVoteType.try_value(3)
UNKNOWN_STATE = TransactionStateProtoStateType.try_value(8)
ACTOR = AddressableReference.of("A", "k")


# Orbit-RS's bytes


def test_a_yes_vote_is_present_and_empty(wire: Wire) -> None:
    data = b"\x12\x14" + ID_BYTES + b"\x12\x01A\x1a\x01k" + b"\x22\x00"
    vote = Vote(ID, ACTOR, TransactionVote(VoteType.YES))
    assert wire.encode(TransactionMessageConverter.to_proto(vote)) == data
    assert TransactionMessageConverter.from_proto(wire.decode(TransactionMessageProto, data)) == vote


def test_a_missing_vote_is_not_yes(wire: Wire) -> None:
    data = b"\x12\x12" + ID_BYTES + b"\x12\x01A\x1a\x01k"
    with pytest.raises(ConversionError) as caught:
        TransactionMessageConverter.from_proto(wire.decode(TransactionMessageProto, data))
    assert (caught.value.field, caught.value.problem) == ("vote.vote", "missing")


def test_a_missing_vote_is_not_yes_after_someone_looked_at_it() -> None:
    proto = TransactionMessageProto(vote=VoteMessage(ID_PROTO, "A", "k"))
    assert proto.vote.vote.vote_type == TransactionVoteProtoVoteType.YES
    with pytest.raises(ConversionError, match=r"vote\.vote: missing"):
        TransactionMessageConverter.from_proto(proto)


def test_the_state_preparing_is_present_and_empty(wire: Wire) -> None:
    data = b"\x3a\x0e" + ID_BYTES + b"\x12\x00"
    answer = StatusResponse(ID, TransactionState(StateType.PREPARING))
    assert wire.encode(TransactionMessageConverter.to_proto(answer)) == data
    assert TransactionMessageConverter.from_proto(wire.decode(TransactionMessageProto, data)) == answer


def test_an_empty_error_is_not_no_error(wire: Wire) -> None:
    refused = Acknowledge(ID, ACTOR, False, "")
    proto = TransactionMessageConverter.to_proto(refused)
    data = wire.encode(proto)
    assert data.endswith(b"\x2a\x00")
    assert TransactionMessageConverter.from_proto(wire.decode(TransactionMessageProto, data)) == refused


def test_times_are_milliseconds() -> None:
    created = EPOCH + timedelta(days=1, milliseconds=5)
    proto = TransactionIdConverter.to_proto(TransactionId("t", NodeId("a"), created))
    assert proto.created_at == 86_400_005
    assert TransactionMessageConverter.to_proto(Prepare(ID, (), 2.5)).prepare.timeout_ms == 2500


# Timeouts


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(0, 0), (0.0001, 1), (0.0004, 1), (0.07, 70), (1.2345, 1234), (1e9, 10**12)]
)
def test_timeouts_are_rounded_to_a_millisecond_but_never_to_none(seconds: float, milliseconds: int) -> None:
    assert TransactionMessageConverter.to_proto(Prepare(ID, (), seconds)).prepare.timeout_ms == milliseconds


# Enums


@pytest.mark.parametrize("type_", VoteType)
def test_every_vote_has_the_same_name_on_the_wire(type_: VoteType) -> None:
    assert TransactionVoteConverter.to_proto(TransactionVote(type_)).vote_type.name == type_.name


@pytest.mark.parametrize("type_", StateType)
def test_every_state_has_the_same_name_on_the_wire(type_: StateType) -> None:
    assert TransactionStateConverter.to_proto(TransactionState(type_)).state_type.name == type_.name


# Key kinds


@given(orbit.transaction_messages(actor=orbit.addressable_references(kinds=[KeyKind.INT64])))
def test_the_receiver_says_of_which_kind_keys_are(message: TransactionMessage) -> None:
    proto = TransactionMessageConverter.to_proto(message)
    assert TransactionMessageConverter.from_proto(proto, lambda _: KeyKind.INT64) == message


def test_each_actor_type_has_its_own_kind_of_key() -> None:
    kinds = {"Account": KeyKind.INT64, "Clock": KeyKind.NONE}

    def key_kinds(addressable_type: str) -> KeyKind:
        return kinds.get(addressable_type, KeyKind.STRING)

    keys = [
        TransactionTargetConverter.from_proto(Target(actor_type, actor_key), key_kinds).key
        for actor_type, actor_key in [("Account", "42"), ("Clock", "no-key"), ("Room", "42")]
    ]
    assert [key.kind for key in keys] == [KeyKind.INT64, KeyKind.NONE, KeyKind.STRING]
    assert keys[0] == Int64Key(42)


# Missing and contradictory


def operation(**values: object) -> TransactionOperationProto:
    valid: dict[str, object] = {"target_actor_type": "A", "target_actor_key": "k", "operation_data": "1"}
    return build(TransactionOperationProto, **valid | values)


@pytest.mark.parametrize(
    ("converter", "message", "field"),
    [
        (TransactionIdConverter, TransactionIdProto("", "a"), "id"),
        (TransactionIdConverter, TransactionIdProto("t", ""), "coordinator_node"),
        (TransactionIdConverter, TransactionIdProto("t", "(n:)"), "coordinator_node"),
        (TransactionIdConverter, TransactionIdProto("t", "a", 1 << 62), "created_at"),
        (TransactionTargetConverter, Target("", "k"), "actor_type"),
        (TransactionVoteConverter, TransactionVoteProto(UNKNOWN_VOTE), "vote_type"),
        (TransactionVoteConverter, TransactionVoteProto(reason="poor"), "vote_type"),
        (TransactionStateConverter, TransactionStateProto(UNKNOWN_STATE), "state_type"),
        (TransactionOperationConverter, operation(operation_data=""), "operation_data"),
        (TransactionOperationConverter, operation(operation_data="{"), "operation_data"),
        (TransactionOperationConverter, operation(compensation_data=""), "compensation_data"),
        (TransactionOperationConverter, operation(target_actor_type=""), "target_actor_type"),
        (TransactionMessageConverter, TransactionMessageProto(), "message_type"),
        (TransactionMessageConverter, TransactionMessageProto(prepare=PrepareMessage()), "prepare.transaction_id"),
        (
            TransactionMessageConverter,
            TransactionMessageProto(prepare=PrepareMessage(ID_PROTO, [], -1)),
            "prepare.timeout_ms",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(prepare=PrepareMessage(ID_PROTO, [], 1 << 62)),
            "prepare.timeout_ms",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(prepare=PrepareMessage(ID_PROTO, [operation(), operation(operation_data="x")])),
            "prepare.operations[1].operation_data",
        ),
        (TransactionMessageConverter, TransactionMessageProto(vote=VoteMessage(vote=NO)), "vote.transaction_id"),
        (
            TransactionMessageConverter,
            TransactionMessageProto(vote=VoteMessage(TransactionIdProto("t"), "A")),
            "vote.transaction_id.coordinator_node",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(vote=VoteMessage(ID_PROTO, "", "k", NO)),
            "vote.participant_type",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(vote=VoteMessage(ID_PROTO, "A", "k", TransactionVoteProto(UNKNOWN_VOTE))),
            "vote.vote.vote_type",
        ),
        (TransactionMessageConverter, TransactionMessageProto(commit=CommitMessage()), "commit.transaction_id"),
        (TransactionMessageConverter, TransactionMessageProto(abort=AbortMessage(reason="r")), "abort.transaction_id"),
        (
            TransactionMessageConverter,
            TransactionMessageProto(acknowledge=AckMessage(success=True)),
            "acknowledge.transaction_id",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(acknowledge=AckMessage(ID_PROTO)),
            "acknowledge.participant_type",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(acknowledge=AckMessage(ID_PROTO, "A", "", True, "but")),
            "acknowledge.error",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(query_status=QueryStatusMessage()),
            "query_status.transaction_id",
        ),
        (
            TransactionMessageConverter,
            TransactionMessageProto(status_response=StatusResponseMessage(ID_PROTO)),
            "status_response.state",
        ),
    ],
)
def test_what_is_missing_or_contradictory_is_named(converter: Any, message: object, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter.from_proto(message)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Vote(ID, ACTOR, TransactionVote(VoteType.YES, "but")), "vote.vote.vote_type"),
        (Acknowledge(ID, ACTOR, True, "but"), "acknowledge.error"),
        (
            Prepare(ID, (TransactionOperation("1", ACTOR, "debit", 1, float("nan")),), 1),
            "prepare.operations[0].compensation_data",
        ),
    ],
)
def test_what_a_receiver_would_refuse_is_not_sent(message: TransactionMessage, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        TransactionMessageConverter.to_proto(message)
    assert caught.value.field == field


def test_null_as_compensation_means_none() -> None:
    assert TransactionOperationConverter.from_proto(operation(compensation_data="null")).compensation_data is None
