"""`orbit.lite.RaftAdmin`: what operators see of a node's consensus, and what they ask of its leader."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orbit_lite.errors import OrbitError
from orbit_lite.model import NodeId
from orbit_lite.raft import NotLeader, RaftConsensus, Sample
from orbit_lite.rpc import PermissionDenied, Unimplemented, current_call
from orbit_lite.services.streaming import ClosingService
from orbit_proto.orbit import lite

__all__ = ["RaftAdminClient", "RaftAdminService", "RaftMemberReport", "RaftReport"]

T = TypeVar("T")

#: Trailing metadata of NotLeader: whom the node takes for the leader.
LEADER = "orbit-raft-leader"


@dataclass(frozen=True, slots=True)
class RaftMemberReport:
    """A member. state, match_index, silence (seconds): what the leader knows of it; empty and zero on other nodes."""

    node_id: NodeId
    address: str
    voter: bool
    state: str = ""
    match_index: int = 0
    silence: float = 0.0


@dataclass(frozen=True, slots=True)
class RaftReport:
    """A node's consensus at one moment. failure: why it takes no part any more; fault: what a peer did wrong.

    metrics: what it counted since its start: time series, named as Prometheus writes them.
    """

    node_id: NodeId
    cluster_id: str
    role: str
    term: int
    leader: NodeId | None
    commit: int
    applied: int
    first_index: int
    last_index: int
    snapshot_index: int
    failure: str
    fault: str
    members: tuple[RaftMemberReport, ...]
    pending_proposals: int
    metrics: Mapping[str, float] = field(default_factory=dict)


class RaftAdminService(ClosingService, lite.RaftAdminBase):
    """Serves one node's consensus.

    allow_remote: let other machines than this one change anything, or copy all that there is. backup: the bytes of a
    backup file, in pieces of at most 1 MiB; None = there are none to be had.
    """

    def __init__(
        self,
        consensus: RaftConsensus,
        *,
        allow_remote: bool = False,
        backup: Callable[[], AsyncGenerator[bytes, None]] | None = None,
    ) -> None:
        self._consensus = consensus
        self._allow_remote = allow_remote
        self._backup = backup

    async def get_raft_status(self, get_raft_status_request: lite.GetRaftStatusRequest) -> lite.GetRaftStatusResponse:
        consensus = self._consensus
        status = consensus.status()
        followers = {follower.node_id: follower for follower in status.followers}
        members = []
        for member in status.configuration.members:
            answer = lite.RaftMember(node_id=str(member.node_id), address=member.address, voter=member.voter)
            if (follower := followers.get(member.node_id)) is not None:
                answer.state = follower.state.value
                answer.match_index = follower.match_index
                answer.silence_seconds = follower.silence
            members.append(answer)
        return lite.GetRaftStatusResponse(
            node_id=str(status.node_id),
            cluster_id=consensus.cluster_id,
            role="failed" if consensus.failure is not None else status.role.value,
            term=status.term,
            leader_id=None if status.leader is None else str(status.leader),
            commit=status.commit,
            applied=consensus.applied_index,
            first_index=status.first_index,
            last_index=status.last_index,
            snapshot_index=status.snapshot.index if status.snapshot is not None else 0,
            failure="" if consensus.failure is None else str(consensus.failure),
            fault=status.fault or "",
            members=members,
            pending_proposals=consensus.pending_proposals,
            samples=[series for sample in consensus.samples() for series in _series(sample)],
        )

    async def transfer_leadership(
        self, transfer_leadership_request: lite.TransferLeadershipRequest
    ) -> lite.TransferLeadershipResponse:
        wanted = transfer_leadership_request.target
        target = NodeId.parse(wanted) if wanted else None
        leader = await self._as_leader(self._consensus.transfer_leadership(target))
        return lite.TransferLeadershipResponse(leader_id=str(leader))

    async def add_node(self, add_node_request: lite.AddNodeRequest) -> lite.AddNodeResponse:
        node_id = NodeId.parse(add_node_request.node_id)
        learner = add_node_request.learner
        await self._as_leader(self._consensus.add_node(node_id, add_node_request.address, learner=learner))
        return lite.AddNodeResponse()

    async def promote_node(self, promote_node_request: lite.PromoteNodeRequest) -> lite.PromoteNodeResponse:
        await self._as_leader(self._consensus.promote(NodeId.parse(promote_node_request.node_id)))
        return lite.PromoteNodeResponse()

    async def remove_node(self, remove_node_request: lite.RemoveNodeRequest) -> lite.RemoveNodeResponse:
        await self._as_leader(self._consensus.remove_node(NodeId.parse(remove_node_request.node_id)))
        return lite.RemoveNodeResponse()

    async def take_snapshot(self, take_snapshot_request: lite.TakeSnapshotRequest) -> lite.TakeSnapshotResponse:
        meta = await self._as_leader(self._consensus.take_snapshot())
        return lite.TakeSnapshotResponse(index=meta.index, size=meta.size) if meta else lite.TakeSnapshotResponse()

    async def backup(self, backup_request: lite.BackupRequest) -> AsyncGenerator[lite.BackupChunk, None]:
        self._check_caller("copy what it stores")
        if self._backup is None:
            raise Unimplemented("this node makes no backups")
        async with aclosing(self._backup()) as pieces:
            async for piece in pieces:
                yield lite.BackupChunk(data=piece)

    def _check_caller(self, what: str) -> None:
        call = current_call()
        if not self._allow_remote and (call is None or not call.peer.is_local):
            raise PermissionDenied(f"only callers on the node's own machine may {what}")

    async def _as_leader(self, work: Awaitable[T]) -> T:
        try:
            self._check_caller("change its cluster")
        except PermissionDenied:
            if hasattr(work, "close"):
                work.close()
            raise
        try:
            return await work
        except NotLeader as error:
            if error.leader is None:
                raise
            raise NotLeader(error.message, leader=error.leader, metadata={LEADER: str(error.leader)}) from error


class RaftAdminClient:
    """Asks the node behind `channel`. All methods raise OrbitError; NotLeader names the leader where it is known."""

    def __init__(self, channel: Any) -> None:
        self._stub = lite.RaftAdminStub(channel)

    async def status(self, *, timeout: float | None = None) -> RaftReport:
        """The node's consensus now."""
        answer = await self._stub.get_raft_status(lite.GetRaftStatusRequest(), timeout=timeout)
        return RaftReport(
            node_id=NodeId.parse(answer.node_id),
            cluster_id=answer.cluster_id,
            role=answer.role,
            term=answer.term,
            leader=None if not answer.leader_id else NodeId.parse(answer.leader_id),
            commit=answer.commit,
            applied=answer.applied,
            first_index=answer.first_index,
            last_index=answer.last_index,
            snapshot_index=answer.snapshot_index,
            failure=answer.failure,
            fault=answer.fault,
            members=tuple(
                RaftMemberReport(
                    NodeId.parse(member.node_id),
                    member.address,
                    member.voter,
                    member.state,
                    member.match_index,
                    member.silence_seconds,
                )
                for member in answer.members
            ),
            pending_proposals=answer.pending_proposals,
            metrics={_series_name(series): series.value for series in answer.samples},
        )

    async def transfer(self, target: NodeId | None = None, *, timeout: float | None = None) -> NodeId:
        """Hand the leadership over; the new leader."""
        request = lite.TransferLeadershipRequest(target=None if target is None else str(target))
        answer = await _named(self._stub.transfer_leadership(request, timeout=timeout))
        return NodeId.parse(answer.leader_id)

    async def add(self, node_id: NodeId, address: str, *, learner: bool = False, timeout: float | None = None) -> None:
        """Add a node; it becomes a voter when it has caught up, unless it is to stay a learner."""
        request = lite.AddNodeRequest(node_id=str(node_id), address=address, learner=learner)
        await _named(self._stub.add_node(request, timeout=timeout))

    async def promote(self, node_id: NodeId, *, timeout: float | None = None) -> None:
        """Make a learner a voter, as soon as it has caught up."""
        await _named(self._stub.promote_node(lite.PromoteNodeRequest(node_id=str(node_id)), timeout=timeout))

    async def remove(self, node_id: NodeId, *, timeout: float | None = None) -> None:
        """Remove a member."""
        await _named(self._stub.remove_node(lite.RemoveNodeRequest(node_id=str(node_id)), timeout=timeout))

    async def snapshot(self, *, timeout: float | None = None) -> tuple[int, int]:
        """Let the node write a snapshot: its index and size in bytes."""
        answer = await self._stub.take_snapshot(lite.TakeSnapshotRequest(), timeout=timeout)
        return answer.index, answer.size

    async def backup(self, *, timeout: float | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a backup file, in pieces; it is whole when its checksum is right. timeout: seconds for all."""
        chunks: Any = self._stub.backup(lite.BackupRequest(), timeout=timeout)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk.data


def _series(sample: Sample) -> Iterator[lite.RaftSample]:
    """A sample as time series of plain numbers."""
    name, value, labels = sample.name, sample.value, dict(sample.labels)
    if isinstance(value, float):
        yield lite.RaftSample(name=name, labels=labels, value=value)
        return
    for percent in (50, 99):
        quantile = {**labels, "quantile": str(percent / 100)}
        yield lite.RaftSample(name=name, labels=quantile, value=value.percentile(percent))
    yield lite.RaftSample(name=f"{name}_sum", labels=labels, value=value.total)
    yield lite.RaftSample(name=f"{name}_count", labels=labels, value=float(value.count))


def _series_name(series: lite.RaftSample) -> str:
    labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(series.labels.items()))
    return f"{series.name}{{{labels}}}" if labels else series.name


async def _named(work: Awaitable[T]) -> T:
    try:
        return await work
    except OrbitError as error:
        leader = dict(error.metadata).get(LEADER)
        if not isinstance(leader, str):
            raise
        message = f"the node does not lead; {leader} does"
        raise NotLeader(message, leader=NodeId.parse(leader), peer=error.peer, method=error.method) from error
