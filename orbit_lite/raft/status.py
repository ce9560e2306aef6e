"""What an operator wants to know about a node."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.model import NodeId
from orbit_lite.raft.messages import Configuration, Role, SnapshotMeta
from orbit_lite.raft.progress import ProgressState

__all__ = ["FollowerStatus", "RaftStatus"]


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """What the leader knows about one other node.

    silence: seconds since it answered anything. snapshot_offset: bytes of the snapshot that it has, in state SNAPSHOT.
    """

    node_id: NodeId
    is_voter: bool
    state: ProgressState
    match_index: int
    next_index: int
    silence: float
    inflight_appends: int
    inflight_bytes: int
    snapshot_offset: int


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """A node at one moment. followers: only the leader's. transfer: to whom it hands over.

    fault: the last time that a peer broke a rule on which safety rests; None is what an operator wants to see.
    """

    node_id: NodeId
    role: Role
    term: int
    vote: NodeId | None
    leader: NodeId | None
    commit: int
    applied: int
    durable: int
    first_index: int
    last_index: int
    last_term: int
    snapshot: SnapshotMeta | None
    configuration: Configuration
    configuration_index: int
    transfer: NodeId | None
    followers: tuple[FollowerStatus, ...]
    fault: str | None
