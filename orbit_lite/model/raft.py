"""Raft's requests and responses as values (Raft, figure 2), and the commands that a log entry may hold.

Terms and indices are uint64; node ids travel in their text form.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TypeAlias

from orbit_lite.errors import ParseError
from orbit_lite.model.identifiers import NodeId

__all__ = [
    "AppendEntriesRequest",
    "AppendEntriesResponse",
    "CoordinatorAssignment",
    "ElectLeader",
    "HeartBeat",
    "LiteCommand",
    "LiteKind",
    "LogEntry",
    "NodeJoin",
    "NodeLeave",
    "RaftCommand",
    "VoteRequest",
    "VoteResponse",
]

_UINT64_NAMES = {"term", "index", "last_log_index", "last_log_term", "prev_log_index", "prev_log_term", "leader_commit"}
_UINT64_END = 1 << 64


class _Uint64Checked:
    """Checks the range of every term and index of a message."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if field.name in _UINT64_NAMES and not 0 <= (number := getattr(self, field.name)) < _UINT64_END:
                raise ParseError(f"{field.name} {number}: out of range of uint64")


@dataclass(frozen=True, slots=True)
class HeartBeat:
    """An entry without effect."""


@dataclass(frozen=True, slots=True)
class ElectLeader:
    """Orbit-RS: the node was elected."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class CoordinatorAssignment:
    """Orbit-RS: the node coordinates the transaction of this id (the bare UUID text)."""

    transaction_id: str
    coordinator: NodeId


@dataclass(frozen=True, slots=True)
class NodeJoin:
    """Orbit-RS: the node became a member."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class NodeLeave:
    """Orbit-RS: the node is no member any more."""

    node: NodeId


class LiteKind(enum.Enum):
    """What an entry of our own is for."""

    DATA = "data"
    NOOP = "noop"
    CONFIG = "config"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class LiteCommand:
    """An entry of our own: opaque data of a client session; `seq` counts the session's proposals, uint64."""

    kind: LiteKind
    client: str
    seq: int
    data: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.seq < 1 << 64:
            raise ParseError(f"seq {self.seq}: out of range of uint64")


RaftCommand: TypeAlias = HeartBeat | ElectLeader | CoordinatorAssignment | NodeJoin | NodeLeave | LiteCommand


@dataclass(frozen=True, slots=True)
class LogEntry(_Uint64Checked):
    """One entry of the replicated log. timestamp_ms: Unix milliseconds, int64."""

    term: int
    index: int
    command: RaftCommand
    timestamp_ms: int = 0

    def __post_init__(self) -> None:
        # Looked at by name: entries are the only values of which there are thousands a second.
        if not (0 <= self.term < _UINT64_END and 0 <= self.index < _UINT64_END):
            _Uint64Checked.__post_init__(self)
        if not -(1 << 63) <= self.timestamp_ms < 1 << 63:
            raise ParseError(f"timestamp_ms {self.timestamp_ms}: out of range of int64")


@dataclass(frozen=True, slots=True)
class VoteRequest(_Uint64Checked):
    """RequestVote (Raft §5.2, §5.4.1)."""

    term: int
    candidate_id: NodeId
    last_log_index: int
    last_log_term: int


@dataclass(frozen=True, slots=True)
class VoteResponse(_Uint64Checked):
    """The answer to RequestVote."""

    term: int
    vote_granted: bool
    voter_id: NodeId


@dataclass(frozen=True, slots=True)
class AppendEntriesRequest(_Uint64Checked):
    """AppendEntries (Raft §5.3); without entries it is a heartbeat."""

    term: int
    leader_id: NodeId
    prev_log_index: int
    prev_log_term: int
    entries: tuple[LogEntry, ...]
    leader_commit: int


@dataclass(frozen=True, slots=True)
class AppendEntriesResponse(_Uint64Checked):
    """The answer to AppendEntries; last_log_index: where the follower's log ends."""

    term: int
    success: bool
    follower_id: NodeId
    last_log_index: int
