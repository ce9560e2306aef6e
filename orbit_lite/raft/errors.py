"""What can go wrong with a proposal, a read, a change of the membership, or a store."""

from __future__ import annotations

from orbit_lite.errors import ClusterError, Executed, OverloadedError, Status, StorageError
from orbit_lite.model import NodeId

__all__ = [
    "ChangeRefused",
    "ClusterMismatch",
    "NotLeader",
    "ProposalDropped",
    "ProposalLost",
    "SessionForgotten",
    "StoreCorrupt",
    "StoreFailed",
    "StoreLocked",
    "TransferFailed",
    "WipedNode",
]


class NotLeader(ClusterError):
    """Only the leader can do this; nothing was done. leader: who it is, as far as this node knows."""

    code = Status.UNAVAILABLE
    orb_code = "ORB-3001"
    executed = Executed.NO
    retryable = True

    def __init__(self, message: str, *, leader: NodeId | None = None, **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]  # the same keywords as OrbitError's
        self.leader = leader


class ProposalDropped(OverloadedError):
    """The leader has as much uncommitted as it may hold; nothing was appended. Try again when some is committed."""

    orb_code = "ORB-3002"
    executed = Executed.NO


class ProposalLost(ClusterError):
    """The leader changed before the proposal was committed: it may or may not be in the log.

    With a client session (client and sequence number) the same proposal can be made again without effect twice.
    """

    code = Status.ABORTED
    orb_code = "ORB-3003"
    executed = Executed.MAYBE
    retryable = True


class SessionForgotten(ClusterError):
    """The client has made so many later proposals that nobody knows what became of this one: it was applied before, or
    never will be."""

    code = Status.OUT_OF_RANGE
    orb_code = "ORB-3011"
    executed = Executed.MAYBE


class ChangeRefused(ClusterError):
    """The membership cannot change like this, or not now; nothing was done."""

    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-3004"
    executed = Executed.NO


class TransferFailed(ClusterError):
    """The leadership did not go to the node that it was meant for; the message says who leads now."""

    code = Status.ABORTED
    orb_code = "ORB-3005"


class ClusterMismatch(ClusterError):
    """The peer is of another cluster, or is no member of this one; nothing that it says counts."""

    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-3006"
    executed = Executed.NO


class WipedNode(ClusterError):
    """A node came back under an id that had a store, without that store: its old votes and entries are forgotten.

    It must not vote: remove it from the cluster, then add it again as a learner. is_us: a peer says it of this node.
    """

    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-3007"
    executed = Executed.NO

    def __init__(self, message: str, *, is_us: bool = False, **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]  # the same keywords as OrbitError's
        self.is_us = is_us


class StoreCorrupt(StorageError):
    """The store does not hold what was written to it; the message says what is wrong and what to do."""

    orb_code = "ORB-3008"


class StoreFailed(StorageError):
    """A write did not become durable (disk full, I/O error). The node neither votes nor acknowledges any more."""

    code = Status.UNAVAILABLE
    orb_code = "ORB-3009"


class StoreLocked(StorageError):
    """Another process has the store open."""

    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-3010"
    executed = Executed.NO
