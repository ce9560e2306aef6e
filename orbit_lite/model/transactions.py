"""The words of two-phase commit: operations, votes, states, and the seven messages."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from orbit_lite.errors import ParseError
from orbit_lite.model.identifiers import AddressableReference, TransactionId
from orbit_lite.model.messages import Json

__all__ = [
    "Abort",
    "Acknowledge",
    "Commit",
    "Prepare",
    "QueryStatus",
    "StateType",
    "StatusResponse",
    "TransactionMessage",
    "TransactionOperation",
    "TransactionState",
    "TransactionVote",
    "Vote",
    "VoteType",
]


@dataclass(frozen=True, slots=True)
class TransactionOperation:
    """One step of a transaction on one actor.

    operation_data, compensation_data: JSON values; None as compensation means that there is none (JSON null on the wire
    means the same).
    """

    operation_id: str
    target_actor: AddressableReference
    operation_type: str
    operation_data: Json
    compensation_data: Json = None


class VoteType(enum.Enum):
    """A participant's answer to Prepare."""

    YES = 0
    NO = 1
    UNCERTAIN = 2


@dataclass(frozen=True, slots=True)
class TransactionVote:
    """A vote, with the reason where it has one."""

    type: VoteType
    reason: str | None = None


class StateType(enum.Enum):
    """States of a transaction."""

    PREPARING = 0
    PREPARED = 1
    COMMITTING = 2
    COMMITTED = 3
    ABORTING = 4
    ABORTED = 5
    TIMED_OUT = 6
    FAILED = 7


@dataclass(frozen=True, slots=True)
class TransactionState:
    """A state, with details where it has some."""

    type: StateType
    details: str | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """Coordinator → participant: can you commit these operations?

    timeout: seconds, not negative, kept to a millisecond.
    """

    kind: ClassVar[str] = "prepare"
    transaction_id: TransactionId
    operations: tuple[TransactionOperation, ...]
    timeout: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.timeout) and 0 <= self.timeout < 2**53 / 1000):
            raise ParseError(f"timeout {self.timeout}: must be seconds, finite and not negative")


@dataclass(frozen=True, slots=True)
class Vote:
    """Participant → coordinator: the answer to Prepare."""

    kind: ClassVar[str] = "vote"
    transaction_id: TransactionId
    participant: AddressableReference
    vote: TransactionVote


@dataclass(frozen=True, slots=True)
class Commit:
    """Coordinator → participant: make it so."""

    kind: ClassVar[str] = "commit"
    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class Abort:
    """Coordinator → participant: undo it."""

    kind: ClassVar[str] = "abort"
    transaction_id: TransactionId
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Participant → coordinator: the decision has been carried out, or why it could not be."""

    kind: ClassVar[str] = "acknowledge"
    transaction_id: TransactionId
    participant: AddressableReference
    success: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """Anyone → anyone: what became of this transaction?"""

    kind: ClassVar[str] = "query_status"
    transaction_id: TransactionId


@dataclass(frozen=True, slots=True)
class StatusResponse:
    """The answer to QueryStatus."""

    kind: ClassVar[str] = "status_response"
    transaction_id: TransactionId
    state: TransactionState


TransactionMessage: TypeAlias = Prepare | Vote | Commit | Abort | Acknowledge | QueryStatus | StatusResponse
