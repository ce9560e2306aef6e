"""What a node counts of its part in consensus, under the names of etcd's metrics where they mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orbit_lite.model import NodeId
from orbit_lite.raft.messages import Role
from orbit_lite.raft.status import RaftStatus
from orbit_lite.telemetry.metrics import Histogram

__all__ = ["RaftMetrics", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value in Prometheus's terms: a counter's or gauge's number, or a histogram."""

    name: str
    value: float | Histogram
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RaftMetrics:
    """Counted since the start of the node; durations in seconds.

    heartbeat_send_failures: AppendEntries that failed or stayed unanswered. proposals_failed: those made on this node.
    round_trips: of requests that were answered, by peer.
    """

    leader_changes_seen: int = 0
    heartbeat_send_failures: int = 0
    proposals_failed: int = 0
    snapshots_restored: int = 0
    wal_fsync: Histogram = field(default_factory=Histogram)
    snapshot_save: Histogram = field(default_factory=Histogram)
    round_trips: dict[NodeId, Histogram] = field(default_factory=dict)

    def round_trip(self, peer: NodeId, seconds: float) -> None:
        """A peer answered after so long."""
        histogram = self.round_trips.get(peer)
        if histogram is None:
            histogram = self.round_trips[peer] = Histogram()
        histogram.record(seconds)

    def samples(self, status: RaftStatus, *, is_running: bool, applied: int, pending: int) -> Iterator[Sample]:
        """All of it. status: the node's, with what is counted elsewhere. Peers that left the cluster are forgotten."""
        has_leader = is_running and status.leader is not None
        numbers = {
            "has_leader": has_leader,
            "is_leader": has_leader and status.role is Role.LEADER,
            "is_learner": status.node_id in status.configuration.learners,
            "is_running": is_running,
            "term": status.term,
            "leader_changes_seen_total": self.leader_changes_seen,
            "heartbeat_send_failures_total": self.heartbeat_send_failures,
            "proposals_committed_total": status.commit,
            "proposals_applied_total": applied,
            "proposals_pending": pending,
            "proposals_failed_total": self.proposals_failed,
            "snapshot_index": status.snapshot.index if status.snapshot is not None else 0,
            "snapshot_size_bytes": status.snapshot.size if status.snapshot is not None else 0,
            "snapshot_restores_total": self.snapshots_restored,
        }
        for name, number in numbers.items():
            yield Sample(f"orbit_raft_{name}", float(number))
        yield Sample("orbit_raft_wal_fsync_duration_seconds", self.wal_fsync)
        yield Sample("orbit_raft_snapshot_save_duration_seconds", self.snapshot_save)
        members = {member.node_id for member in status.configuration.members}
        for peer in self.round_trips.keys() - members:
            del self.round_trips[peer]
        for peer, histogram in sorted(self.round_trips.items()):
            yield Sample("orbit_raft_peer_round_trip_time_seconds", histogram, {"to": str(peer)})
