"""Two-phase commit: identifiers, operations, votes, states and the seven messages (orbit.transactions).

Node ids and actors travel as text; the kind of an actor's key is lost on the way, so what reads references takes
`key_kinds`, the receiver's own knowledge of its actor types (`orbit_lite.converters.keys`).

What decides the fate of a transaction is never assumed: a missing vote, state or transaction id is an error. So is a
success that carries an error, and a YES that carries a reason: YES is proto3's zero value, so that is how a NO looks
whose type was left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime

from orbit_lite.converters.json_text import dump_json, load_json
from orbit_lite.converters.keys import KeyKinds, ReferenceTextConverter, always_string
from orbit_lite.converters.nodes import NodeIdConverter
from orbit_lite.converters.presence import (
    Fields,
    build,
    domain,
    each,
    enum_number,
    fields,
    flag,
    inside,
    int64,
    one_of,
    optional_text,
    required,
    text,
)
from orbit_lite.converters.timestamps import TimestampConverter
from orbit_lite.errors import ConversionError
from orbit_lite.model import (
    Abort,
    Acknowledge,
    AddressableReference,
    Commit,
    Prepare,
    QueryStatus,
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

__all__ = [
    "TransactionIdConverter",
    "TransactionMessageConverter",
    "TransactionOperationConverter",
    "TransactionStateConverter",
    "TransactionTargetConverter",
    "TransactionVoteConverter",
]


class TransactionIdConverter:
    """TransactionId ⇄ TransactionIdProto; created_at in Unix milliseconds, where 0 is the epoch and not "unset"."""

    @staticmethod
    def to_proto(value: TransactionId) -> TransactionIdProto:
        return build(
            TransactionIdProto,
            id=value.id,
            coordinator_node=NodeIdConverter.to_text(value.coordinator),
            created_at=inside("created_at", TimestampConverter.to_unix_ms, value.created_at),
        )

    @staticmethod
    def from_proto(proto: TransactionIdProto) -> TransactionId:
        state = fields(proto)
        coordinator = NodeIdConverter.from_text(text(state, "coordinator_node"), "coordinator_node")
        created_at: datetime = inside("created_at", TimestampConverter.from_unix_ms, int64(state, "created_at"))
        return domain("id", TransactionId, text(state, "id"), coordinator, created_at)


class TransactionTargetConverter:
    """AddressableReference ⇄ Target, one addressee of a broadcast."""

    @staticmethod
    def to_proto(value: AddressableReference) -> Target:
        actor_type, actor_key = ReferenceTextConverter.to_text(value)
        return build(Target, actor_type=actor_type, actor_key=actor_key)

    @staticmethod
    def from_proto(proto: Target, key_kinds: KeyKinds = always_string) -> AddressableReference:
        return _reference(fields(proto), "actor", key_kinds)


def _reference(state: Fields, prefix: str, key_kinds: KeyKinds) -> AddressableReference:
    """Read the pair of fields `{prefix}_type`, `{prefix}_key`."""
    type_field, key_field = f"{prefix}_type", f"{prefix}_key"
    return ReferenceTextConverter.from_text(
        text(state, type_field), text(state, key_field), key_kinds, type_field=type_field, key_field=key_field
    )


class TransactionOperationConverter:
    """TransactionOperation ⇄ TransactionOperationProto.

    The data fields hold JSON text. Orbit-RS sends "" for data that it could not write: an error here, not null.
    """

    @staticmethod
    def to_proto(value: TransactionOperation) -> TransactionOperationProto:
        actor_type, actor_key = ReferenceTextConverter.to_text(value.target_actor)
        undo = value.compensation_data
        return build(
            TransactionOperationProto,
            operation_id=value.operation_id,
            target_actor_type=actor_type,
            target_actor_key=actor_key,
            operation_type=value.operation_type,
            operation_data=dump_json("operation_data", value.operation_data),
            compensation_data=None if undo is None else dump_json("compensation_data", undo),
        )

    @staticmethod
    def from_proto(proto: TransactionOperationProto, key_kinds: KeyKinds = always_string) -> TransactionOperation:
        state = fields(proto)
        undo = optional_text(state, "compensation_data")
        return TransactionOperation(
            text(state, "operation_id"),
            _reference(state, "target_actor", key_kinds),
            text(state, "operation_type"),
            load_json("operation_data", text(state, "operation_data")),
            None if undo is None else load_json("compensation_data", undo),
        )


_VOTE_TYPES = {vote_type.value: vote_type for vote_type in VoteType}
_STATE_TYPES = {state_type.value: state_type for state_type in StateType}


class TransactionVoteConverter:
    """TransactionVote ⇄ TransactionVoteProto."""

    @staticmethod
    def to_proto(value: TransactionVote) -> TransactionVoteProto:
        _check_vote(value)
        vote_type = TransactionVoteProtoVoteType(value.type.value)
        return build(TransactionVoteProto, vote_type=vote_type, reason=value.reason)

    @staticmethod
    def from_proto(proto: TransactionVoteProto) -> TransactionVote:
        state = fields(proto)
        vote = TransactionVote(enum_number(state, "vote_type", _VOTE_TYPES), optional_text(state, "reason"))
        _check_vote(vote)
        return vote


def _check_vote(vote: TransactionVote) -> None:
    if vote.type is VoteType.YES and vote.reason:
        raise ConversionError("vote_type", "contradictory: YES with a reason, or a NO whose type was left out")


class TransactionStateConverter:
    """TransactionState ⇄ TransactionStateProto."""

    @staticmethod
    def to_proto(value: TransactionState) -> TransactionStateProto:
        state_type = TransactionStateProtoStateType(value.type.value)
        return build(TransactionStateProto, state_type=state_type, details=value.details)

    @staticmethod
    def from_proto(proto: TransactionStateProto) -> TransactionState:
        state = fields(proto)
        return TransactionState(enum_number(state, "state_type", _STATE_TYPES), optional_text(state, "details"))


class TransactionMessageConverter:
    """TransactionMessage ⇄ TransactionMessageProto. An unset oneof is an error."""

    @staticmethod
    def to_proto(value: TransactionMessage) -> TransactionMessageProto:
        return build(TransactionMessageProto, **{value.kind: inside(value.kind, _to_proto, value)})

    @staticmethod
    def from_proto(proto: TransactionMessageProto, key_kinds: KeyKinds = always_string) -> TransactionMessage:
        return one_of(
            fields(proto),
            "message_type",
            {name: functools.partial(read, key_kinds=key_kinds) for name, read in _READERS.items()},
        )


def _to_proto(value: TransactionMessage) -> object:
    """The message in the oneof's member; its name is the domain value's `kind`."""
    transaction_id = inside("transaction_id", TransactionIdConverter.to_proto, value.transaction_id)
    match value:
        case Prepare(_, operations, timeout):
            return build(
                PrepareMessage,
                transaction_id=transaction_id,
                operations=[
                    inside(f"operations[{position}]", TransactionOperationConverter.to_proto, operation)
                    for position, operation in enumerate(operations)
                ],
                timeout_ms=_milliseconds(timeout),
            )
        case Vote(_, participant, vote):
            actor_type, actor_key = ReferenceTextConverter.to_text(participant)
            return build(
                VoteMessage,
                transaction_id=transaction_id,
                participant_type=actor_type,
                participant_key=actor_key,
                vote=inside("vote", TransactionVoteConverter.to_proto, vote),
            )
        case Commit():
            return build(CommitMessage, transaction_id=transaction_id)
        case Abort(_, reason):
            return build(AbortMessage, transaction_id=transaction_id, reason=reason)
        case Acknowledge(_, participant, success, error):
            _check_acknowledgement(success, error)
            actor_type, actor_key = ReferenceTextConverter.to_text(participant)
            return build(
                AckMessage,
                transaction_id=transaction_id,
                participant_type=actor_type,
                participant_key=actor_key,
                success=success,
                error=error,
            )
        case QueryStatus():
            return build(QueryStatusMessage, transaction_id=transaction_id)
        case StatusResponse(_, state):
            wire_state = TransactionStateConverter.to_proto(state)
            return build(StatusResponseMessage, transaction_id=transaction_id, state=wire_state)


def _milliseconds(timeout: float) -> int:
    # A limit below half a millisecond stays a limit: 0 on the wire means that there is none.
    return max(1, round(timeout * 1000)) if timeout else 0


def _check_acknowledgement(success: bool, error: str | None) -> None:
    if success and error:
        raise ConversionError("error", "contradictory: an error in an acknowledgement of success")


def _transaction_id(state: Fields) -> TransactionId:
    return required(state, "transaction_id", TransactionIdConverter.from_proto)


def _prepare(proto: PrepareMessage, key_kinds: KeyKinds) -> Prepare:
    state = fields(proto)
    read = functools.partial(TransactionOperationConverter.from_proto, key_kinds=key_kinds)
    seconds = int64(state, "timeout_ms") / 1000
    return domain("timeout_ms", Prepare, _transaction_id(state), each(state, "operations", read), seconds)


def _vote(proto: VoteMessage, key_kinds: KeyKinds) -> Vote:
    state = fields(proto)
    return Vote(
        _transaction_id(state),
        _reference(state, "participant", key_kinds),
        required(state, "vote", TransactionVoteConverter.from_proto),
    )


def _commit(proto: CommitMessage, key_kinds: KeyKinds) -> Commit:
    return Commit(_transaction_id(fields(proto)))


def _abort(proto: AbortMessage, key_kinds: KeyKinds) -> Abort:
    state = fields(proto)
    return Abort(_transaction_id(state), text(state, "reason"))


def _acknowledge(proto: AckMessage, key_kinds: KeyKinds) -> Acknowledge:
    state = fields(proto)
    transaction_id, participant = _transaction_id(state), _reference(state, "participant", key_kinds)
    success, error = flag(state, "success"), optional_text(state, "error")
    _check_acknowledgement(success, error)
    return Acknowledge(transaction_id, participant, success, error)


def _query_status(proto: QueryStatusMessage, key_kinds: KeyKinds) -> QueryStatus:
    return QueryStatus(_transaction_id(fields(proto)))


def _status_response(proto: StatusResponseMessage, key_kinds: KeyKinds) -> StatusResponse:
    state = fields(proto)
    return StatusResponse(_transaction_id(state), required(state, "state", TransactionStateConverter.from_proto))


_READERS: dict[str, Callable[..., TransactionMessage]] = {
    "prepare": _prepare,
    "vote": _vote,
    "commit": _commit,
    "abort": _abort,
    "acknowledge": _acknowledge,
    "query_status": _query_status,
    "status_response": _status_response,
}
