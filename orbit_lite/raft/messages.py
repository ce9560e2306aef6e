"""What nodes say to each other, and what the core asks of its driver.

Raft's two RPCs of the paper (figure 2) are values of `orbit_lite.model`; the others are here. Every request names its
sender. A response is handed to the core together with the request that it answers, so it need not repeat what was
asked, and the messages stay those of the paper.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from orbit_lite.errors import ParseError
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LogEntry,
    NodeId,
    VoteRequest,
    VoteResponse,
)

__all__ = [
    "Answer",
    "Configuration",
    "HardState",
    "InstallSnapshotRequest",
    "InstallSnapshotResponse",
    "Member",
    "Outgoing",
    "PreVoteRequest",
    "PreVoteResponse",
    "ReadIndexRequest",
    "ReadIndexResponse",
    "ReadState",
    "Ready",
    "Request",
    "Response",
    "Role",
    "SnapshotChunk",
    "SnapshotMeta",
    "Stored",
    "TimeoutNowRequest",
    "TimeoutNowResponse",
]


class Role(enum.Enum):
    """What a node is now (Raft §5.1; pre-candidate: thesis 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


# ---------------------------------------------------------------- who is in the cluster


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One node of a configuration.

    address: endpoint URL, empty where the transport knows it otherwise. voter: False for a learner, which receives
    the log and does not count (thesis 4.2.1).
    """

    node_id: NodeId
    address: str = ""
    voter: bool = True


@dataclass(frozen=True, slots=True)
class Configuration:
    """The members of a cluster. Each change of it adds, removes, promotes or demotes one node (thesis 4.1)."""

    cluster_id: str
    members: tuple[Member, ...] = ()
    voters: frozenset[NodeId] = field(init=False, repr=False, compare=False)
    learners: frozenset[NodeId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = tuple(sorted(self.members))
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "voters", frozenset(member.node_id for member in members if member.voter))
        object.__setattr__(self, "learners", frozenset(member.node_id for member in members if not member.voter))
        if len(self.voters) + len(self.learners) != len(members):
            raise ParseError("configuration: a node is listed twice")

    def member(self, node_id: NodeId) -> Member | None:
        """The node's entry; None when it is not of the cluster."""
        return next((member for member in self.members if member.node_id == node_id), None)


# ---------------------------------------------------------------- what is stored


@dataclass(frozen=True, slots=True)
class HardState:
    """What a node must never forget (Raft, figure 2: persistent state).

    commit: a hint that spares a restarted node the wait for a leader; it never goes back and may be behind.
    """

    term: int = 0
    vote: NodeId | None = None
    commit: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot covers: all entries up to index (Raft §7).

    configuration: the one in force at index. size: bytes, at least 1. checksum: blake2b (32 bytes) over them, in
    hexadecimal.
    """

    index: int
    term: int
    configuration: Configuration
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """A piece of a snapshot that a leader sends; offset in bytes."""

    meta: SnapshotMeta
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds when it is opened.

    entries: those behind the snapshot, contiguous; the first may be at or below snapshot.index, because some of what a
    snapshot covers is kept for followers that are only a little behind. incoming: the snapshot that was being received,
    and how many bytes of it are there.
    """

    hard_state: HardState = HardState()
    snapshot: SnapshotMeta | None = None
    entries: tuple[LogEntry, ...] = ()
    incoming: tuple[SnapshotMeta, int] | None = None


# ---------------------------------------------------------------- our own RPCs


@dataclass(frozen=True, slots=True)
class PreVoteRequest:
    """Would you vote for me in `term`? Nobody's term changes (thesis 9.6). term: the candidate's current one plus 1."""

    term: int
    candidate_id: NodeId
    last_log_index: int
    last_log_term: int


@dataclass(frozen=True, slots=True)
class PreVoteResponse:
    """term: of the request when granted, else the voter's."""

    term: int
    vote_granted: bool
    voter_id: NodeId


@dataclass(frozen=True, slots=True)
class InstallSnapshotRequest:
    """A chunk of the leader's snapshot (Raft §7, figure 13). The core leaves `data` empty: the driver reads up to
    `snapshot_chunk_bytes` from the store at `offset` and puts it in."""

    term: int
    leader_id: NodeId
    meta: SnapshotMeta
    offset: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class InstallSnapshotResponse:
    """next_offset: how much of this snapshot the follower has durably; meta.size when it is installed."""

    term: int
    follower_id: NodeId
    next_offset: int


@dataclass(frozen=True, slots=True)
class TimeoutNowRequest:
    """Start an election at once: the leadership is handed over (thesis 3.10)."""

    term: int
    leader_id: NodeId


@dataclass(frozen=True, slots=True)
class TimeoutNowResponse:
    term: int
    follower_id: NodeId


@dataclass(frozen=True, slots=True)
class ReadIndexRequest:
    """A follower asks the leader how far a linearizable read must have applied (thesis 6.4)."""

    term: int
    follower_id: NodeId


@dataclass(frozen=True, slots=True)
class ReadIndexResponse:
    """index: None when the node is not the leader, or ceased to be it; leader: whom it takes for the leader."""

    term: int
    index: int | None
    leader: NodeId | None


Request: TypeAlias = (
    VoteRequest | PreVoteRequest | AppendEntriesRequest | InstallSnapshotRequest | TimeoutNowRequest | ReadIndexRequest
)
Response: TypeAlias = (
    VoteResponse
    | PreVoteResponse
    | AppendEntriesResponse
    | InstallSnapshotResponse
    | TimeoutNowResponse
    | ReadIndexResponse
)


# ---------------------------------------------------------------- duties


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to send to a node.

    round: the leader's heartbeat round in which it was made. It does not travel; an answer to it proves that its
    receiver took us for the leader after the round began (thesis 6.4). transfer: a VoteRequest that the leader asked
    for with TimeoutNow; who gets it may grant it although it hears the leader (thesis 4.2.3). It travels beside the
    request.
    """

    to: NodeId
    request: Request
    round: int = 0
    transfer: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request that came in; token: what was given with the request."""

    token: object
    response: Response


@dataclass(frozen=True, slots=True)
class ReadState:
    """A read may be answered as soon as everything up to index is applied.

    index: None when this node ceased to be the leader before it could be sure: the read must be asked anew.
    """

    token: object
    index: int | None


@dataclass(frozen=True, slots=True)
class Ready:
    """What the driver owes the core, to be done from top to bottom (Raft, figure 2).

    restore, committed and reads do not depend on the write above them: what is committed here is durable already. A
    driver may go on with them while it writes, as long as it takes those of one Ready after those of the one before.
    """

    at_once: tuple[Outgoing, ...] = ()  # may leave before anything below is durable (thesis 10.2.1)
    hard_state: HardState | None = None  # durable in one transaction …
    entries: tuple[LogEntry, ...] = ()  # … with these, which replace all at and behind entries[0].index …
    chunk: SnapshotChunk | None = None  # … and this piece of an incoming snapshot …
    install: SnapshotMeta | None = None  # … which is now complete, checked, and takes the place of the log
    requests: tuple[Outgoing, ...] = ()  # after `RaftCore.persisted`: sent; losing and reordering is allowed
    answers: tuple[Answer, ...] = ()  # sent, too
    restore: SnapshotMeta | None = None  # then the state machine is set to this snapshot
    committed: tuple[LogEntry, ...] = ()  # then these are applied, in index order, each once
    reads: tuple[ReadState, ...] = ()  # then answered, when their index is applied

    @property
    def must_persist(self) -> bool:
        """Whether the store has to be written before what follows."""
        return bool(self.hard_state or self.entries or self.chunk or self.install)
