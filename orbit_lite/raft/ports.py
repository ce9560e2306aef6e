"""What consensus asks of the outside: a store, a transport, a state machine. Implementations live in adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LogEntry,
    NodeId,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft.messages import (
    HardState,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotMeta,
    Stored,
    TimeoutNowRequest,
    TimeoutNowResponse,
)

__all__ = ["BoundTransport", "LiteRaftTransport", "LogStore", "RaftTransport", "StateMachine"]


class StateMachine(Protocol):
    """What the cluster replicates. Deterministic: equal commands in equal order give equal states and results."""

    def apply(self, index: int, data: bytes) -> bytes:
        """Apply one committed command; the result goes to its proposer and is remembered for its repetition.

        A command that makes no sense must give a result that says so; an exception stops the node, because replicas
        that fail differently have different states.
        """
        ...

    def snapshot(self) -> bytes | Callable[[], bytes]:
        """The whole state (Raft §7).

        When that is large: a function that writes down the state of this moment. It is called in another thread, while
        entries are applied, so it needs a copy (of a dict's references, say), not the state itself.
        """
        ...

    def restore(self, data: bytes) -> None:
        """Replace the whole state by what `snapshot` returned, here or on another node."""
        ...


class LogStore(Protocol):
    """Where a node keeps what it must not forget. Blocking; the driver calls it from one thread at a time.

    Every method that writes returns when the data is durable, and either all of one call is or nothing. After an error
    (StoreFailed) the store refuses every further write: what a failed fsync left behind cannot be known.
    """

    @property
    def store_id(self) -> str:
        """Drawn when the store is created: by it peers notice that a node lost its store."""
        ...

    def load(self) -> Stored:
        """All that is there. Raises StoreCorrupt."""
        ...

    def save(
        self,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        chunk: SnapshotChunk | None = None,
        install: SnapshotMeta | None = None,
    ) -> bool:
        """Write what one `Ready` holds, in one transaction.

        entries replace all at and behind entries[0].index and must join what is stored. chunk must continue the
        incoming snapshot of its meta, or start one at offset 0, which drops any other. install: the incoming snapshot
        is complete and takes the place of the old one and of the whole log; before that its size and checksum are
        checked, and False is returned when they are wrong: the snapshot is dropped, the rest is written.
        """
        ...

    def settle(self) -> None:
        """Do what belongs to the latest `save`, but need not be waited for before its promises are made.

        Called after each of them, in the same thread; a store that still has something to do does it before the next
        write and before it closes.
        """
        ...

    def write_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes], *, first_index: int) -> None:
        """Keep a snapshot of the own state machine in place of the older one, and drop the log before first_index."""
        ...

    def read_snapshot(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        """At most `size` bytes of the stored snapshot. Raises StoreCorrupt; LookupError when it was replaced."""
        ...

    def peers(self) -> Mapping[NodeId, str]:
        """The store ids under which peers were seen."""
        ...

    def remember_peer(self, node_id: NodeId, store_id: str | None) -> None:
        """Note a peer's store id; None forgets the peer, because it was removed from the cluster."""
        ...

    def close(self) -> None:
        """Release the files and the lock. Again has no effect."""
        ...


@runtime_checkable
class RaftTransport(Protocol):
    """Carries Raft's own RPCs to other nodes. Every method raises OrbitError when there is no answer."""

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse: ...

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse: ...

    async def broadcast_heartbeat(
        self, nodes: Sequence[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        """Ask all at the same time; the answers of those that gave one, in the order of `nodes`."""
        ...


@runtime_checkable
class BoundTransport(Protocol):
    """A transport that says in whose name it speaks, and so wants to know."""

    def bind(self, node: Any) -> None:
        """node: has node_id, cluster_id and store. Called once, before the first request."""
        ...


@runtime_checkable
class LiteRaftTransport(RaftTransport, Protocol):
    """Carries what the paper's two RPCs do not: spoken among nodes of this library only.

    A peer that does not know an RPC answers UNIMPLEMENTED (OrbitError.code). A consensus on a plain RaftTransport does
    without pre-vote, snapshots, transfer and forwarding.
    """

    async def send_pre_vote(self, target: NodeId, request: PreVoteRequest) -> PreVoteResponse: ...

    async def send_install_snapshot(
        self, target: NodeId, request: InstallSnapshotRequest
    ) -> InstallSnapshotResponse: ...

    async def send_transfer_vote(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        """RequestVote of a candidate that the leader chose: its receiver grants it although it hears the leader."""
        ...

    async def send_timeout_now(self, target: NodeId, request: TimeoutNowRequest) -> TimeoutNowResponse: ...

    async def send_read_index(self, target: NodeId, request: ReadIndexRequest) -> ReadIndexResponse: ...

    async def forward_proposal(self, target: NodeId, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        """Let the leader append; (term, index of the first). Raises NotLeader, ProposalDropped as the leader does."""
        ...

    async def update_node_address(self, node_id: NodeId, address: str) -> None:
        """From now on the node is at this endpoint URL; empty = forget the node."""
        ...
