"""How a node takes part in consensus. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from orbit_lite.errors import ConfigurationError

__all__ = ["RaftConfig"]

_MIB = 1024 * 1024

#: A peer receives at most 4 MiB a message; the rest of it and its framing need some room.
_APPEND_LIMIT = 4 * _MIB - 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Timings and limits. The defaults suit a Python event loop; `orbit_rs()` has the timings of Orbit-RS."""

    election_timeout_min: float = 1.0  # a follower waits at least this long for its leader; etcd: 1 s
    election_timeout_max: float = 2.0  # drawn anew, between both, at each wait and each campaign (Raft §5.2)
    heartbeat_interval: float = 0.15  # between AppendEntries without entries
    pre_vote: bool = True  # ask before a term is raised, so that a cut-off node disturbs nobody (thesis 9.6)
    check_quorum: bool = True  # a leader that hears no majority for an election timeout steps down (thesis 6.2)
    lease_reads: bool = False  # answer reads from the leader's lease: no round trip, but trusts clocks (thesis 6.4.1)
    max_clock_drift: float = 0.1  # share by which two clocks' speed may differ; shortens the lease
    max_append_bytes: int = 1 * _MIB  # payload of one AppendEntries; an entry above it travels alone
    max_append_entries: int = 1024  # entries of one AppendEntries
    max_inflight_appends: int = 64  # AppendEntries on the way to one follower
    max_inflight_bytes: int = 8 * _MIB  # their payload
    max_entry_bytes: int = 3 * _MIB // 2  # a proposal's data; base64 and JSON make it a third larger on the wire
    max_uncommitted_bytes: int = 64 * _MIB  # of the leader's log; then proposals are dropped
    max_uncommitted_entries: int = 100_000
    snapshot_entries: int = 10_000  # applied entries between two snapshots
    snapshot_trailing_entries: int = 1_000  # kept in the log behind a snapshot, for followers a little behind
    snapshot_chunk_bytes: int = 256 * 1024
    max_sessions: int = 10_000  # client sessions remembered; the one idle for longest (in log order) is forgotten

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_interval < self.election_timeout_min:
            raise ConfigurationError(
                f"heartbeat_interval={self.heartbeat_interval}: must be above 0 and below "
                f"election_timeout_min={self.election_timeout_min} s"
            )
        if self.election_timeout_max < self.election_timeout_min:
            raise ConfigurationError(
                f"election_timeout_max={self.election_timeout_max}: must be at least "
                f"election_timeout_min={self.election_timeout_min} s"
            )
        if not 0 <= self.max_clock_drift < 1:
            raise ConfigurationError(f"max_clock_drift={self.max_clock_drift}: must be in [0, 1)")
        if self.lease_reads and not self.check_quorum:
            raise ConfigurationError("lease_reads=True: needs check_quorum=True, or a deposed leader keeps its lease")
        if self.max_entry_bytes * 4 // 3 > _APPEND_LIMIT:
            raise ConfigurationError(f"max_entry_bytes={self.max_entry_bytes}: an AppendEntries must stay below 4 MiB")
        if self.max_append_bytes * 4 // 3 > _APPEND_LIMIT:
            raise ConfigurationError(f"max_append_bytes={self.max_append_bytes}: must stay below 4 MiB on the wire")
        if self.snapshot_chunk_bytes > _APPEND_LIMIT:
            raise ConfigurationError(
                f"snapshot_chunk_bytes={self.snapshot_chunk_bytes}: an InstallSnapshot must stay below 4 MiB"
            )
        for name in (
            "max_append_bytes",
            "max_append_entries",
            "max_inflight_appends",
            "max_inflight_bytes",
            "max_entry_bytes",
            "max_uncommitted_bytes",
            "max_uncommitted_entries",
            "snapshot_entries",
            "snapshot_chunk_bytes",
            "max_sessions",
        ):
            if (number := getattr(self, name)) < 1:
                raise ConfigurationError(f"{name}={number}: must be at least 1")
        if self.snapshot_trailing_entries < 0:
            raise ConfigurationError(
                f"snapshot_trailing_entries={self.snapshot_trailing_entries}: must not be negative"
            )

    @classmethod
    def orbit_rs(cls) -> Self:
        """Orbit-RS's timings: elections after 150 to 300 ms, a heartbeat every 50 ms. Tight for a busy event loop."""
        return cls(election_timeout_min=0.15, election_timeout_max=0.3, heartbeat_interval=0.05)
