"""What a leader knows about one follower (Raft, figure 2: nextIndex, matchIndex), and how it feeds it.

    PROBE      where the logs part is not known: one AppendEntries at a time, until one fits.
    REPLICATE  the logs fit: AppendEntries follow each other without waiting for answers, within a window.
    SNAPSHOT   the follower needs what the log no longer holds: chunks of the snapshot, one at a time.

An answer that does not come is no reason to send again at once. The peer must show first, by answering a heartbeat,
that it is there (`contact`).
"""

from __future__ import annotations

import enum
from collections import deque

from orbit_lite.model import NodeId
from orbit_lite.raft.messages import SnapshotMeta

__all__ = ["Progress", "ProgressState"]


class ProgressState(enum.Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One follower or learner. match_index only grows; next_index > match_index always."""

    __slots__ = (
        "_flights",
        "_is_waiting",
        "_retry_at",
        "commit_sent",
        "inflight_bytes",
        "last_contact",
        "match_index",
        "next_index",
        "node_id",
        "round",
        "snapshot",
        "snapshot_offset",
        "state",
    )

    def __init__(self, node_id: NodeId, next_index: int, now: float) -> None:
        self.node_id = node_id
        self.state = ProgressState.PROBE
        self.match_index = 0
        self.next_index = next_index
        self.round = 0  # the latest heartbeat round that it answered
        self.last_contact = now  # seconds; when it answered anything
        self.commit_sent = 0  # the commit index that it was told last
        self.snapshot: SnapshotMeta | None = None  # that it is being sent
        self.snapshot_offset = 0  # how much of it the follower has, in bytes
        self.inflight_bytes = 0
        self._flights: deque[tuple[int, int, float]] = deque()  # last index, bytes, sent at
        self._is_waiting = False  # PROBE, SNAPSHOT: for the answer to what was sent
        self._retry_at = 0.0  # … and when it will be overdue

    # ------------------------------------------------------------ states

    def _enter(self, state: ProgressState) -> None:
        self.state = state
        self.snapshot = None
        self.snapshot_offset = 0
        self.inflight_bytes = 0
        self._flights.clear()
        self._is_waiting = False

    def become_probe(self, next_index: int) -> None:
        self._enter(ProgressState.PROBE)
        self.next_index = max(next_index, self.match_index + 1)

    def become_replicate(self) -> None:
        self._enter(ProgressState.REPLICATE)
        self.next_index = self.match_index + 1

    def become_snapshot(self, snapshot: SnapshotMeta) -> None:
        self._enter(ProgressState.SNAPSHOT)
        self.snapshot = snapshot

    # ------------------------------------------------------------ what is on the way

    @property
    def inflight_appends(self) -> int:
        return len(self._flights)

    def may_send(self, *, max_appends: int, max_bytes: int) -> bool:
        """Whether an AppendEntries or a chunk may leave now."""
        if self.state is ProgressState.REPLICATE:
            return len(self._flights) < max_appends and self.inflight_bytes < max_bytes
        return not self._is_waiting

    def sent_entries(self, last_index: int, size: int, now: float, retry_at: float) -> None:
        """An AppendEntries with entries up to last_index left."""
        if self.state is ProgressState.REPLICATE:
            self.next_index = last_index + 1
            self._flights.append((last_index, size, now))
            self.inflight_bytes += size
        else:
            self.wait(retry_at)

    def wait(self, retry_at: float) -> None:
        """Send nothing more until there is an answer, or a contact at or after retry_at."""
        self._is_waiting = True
        self._retry_at = retry_at

    def contact(self, now: float, *, patience: float) -> None:
        """The follower answered something: what it owes an answer to for longer than that is taken for lost."""
        self.last_contact = now
        if self._is_waiting and now >= self._retry_at:
            self._is_waiting = False
        elif self._flights and now - self._flights[0][2] > patience:
            self.become_probe(self.match_index + 1)

    def failed(self, last_index: int, now: float) -> None:
        """An AppendEntries with entries up to last_index, or a chunk (0), did not reach it."""
        if self.state is not ProgressState.REPLICATE:
            self.wait(now)
        elif last_index > self.match_index:
            self.become_probe(self.match_index + 1)
            self.wait(now)

    # ------------------------------------------------------------ answers

    def acknowledge(self, index: int) -> bool:
        """It holds our log up to index durably. Answers may come in any order and twice. True when that is news."""
        flights = self._flights
        while flights and flights[0][0] <= index:
            self.inflight_bytes -= flights.popleft()[1]
        if is_news := index > self.match_index:
            self.match_index = index
            self.next_index = max(self.next_index, index + 1)
        if self.state is ProgressState.PROBE and index + 1 >= self.next_index:
            self.become_replicate()
        return is_news

    def reject(self, prev_log_index: int, hint: int) -> None:
        """It does not hold the entry at prev_log_index; hint: the largest index at which the logs can still agree."""
        is_probes = self.state is ProgressState.PROBE and prev_log_index == self.next_index - 1
        if prev_log_index > self.match_index and (is_probes or self.state is ProgressState.REPLICATE):
            self.become_probe(hint + 1)
