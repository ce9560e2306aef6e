"""Raft over gRPC, the client's side.

Each peer has connections of its own, apart from those of actor messages: one for votes, heartbeats and entries, one for
chunks of snapshots, so that nothing large stands before a heartbeat. Nothing is repeated here; Raft does that itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from orbit_lite.converters import (
    AppendEntriesRequestConverter,
    AppendEntriesResponseConverter,
    VoteRequestConverter,
    VoteResponseConverter,
)
from orbit_lite.converters import raft_lite as convert
from orbit_lite.errors import NodeNotFound, OrbitError, Status
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    NodeId,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    ClusterMismatch,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    NotLeader,
    PreVoteRequest,
    PreVoteResponse,
    ProposalDropped,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNowRequest,
    TimeoutNowResponse,
    WipedNode,
)
from orbit_lite.raft.identity import WIPED, introduce
from orbit_lite.rpc import Channel, Metadata, TransportConfig
from orbit_lite.services.raft import MAX_RAFT_MESSAGE, RaftNode
from orbit_proto.orbit import consensus, lite

__all__ = ["GrpcRaftTransport"]

_log = logging.getLogger("orbit_lite.services")

R = TypeVar("R")

_CONSENSUS = "/orbit.consensus.RaftConsensus/"
_PEER = "/orbit.lite.RaftPeer/"


class _Link:
    """One peer: its address, its connections, and whether it has said who it is."""

    def __init__(self, node_id: NodeId, address: str, config: TransportConfig) -> None:
        self.node_id = node_id
        self.address = address
        self._config = config
        self._channels: dict[bool, Channel] = {}
        self.metadata: Metadata | None = None
        self.is_foreign = False
        self.identifying = asyncio.Lock()

    def channel(self, *, bulk: bool = False) -> Channel:
        """For votes, heartbeats and entries; bulk: for chunks of snapshots."""
        channel = self._channels.get(bulk)
        if channel is None:
            channel = self._channels[bulk] = Channel.from_url(self.address, config=self._config)
        return channel

    def drop(self) -> list[Channel]:
        """Begin anew with the next request: at once, and not when a backing-off channel would dial again."""
        channels, self._channels = list(self._channels.values()), {}
        self.metadata = None
        return channels


class GrpcRaftTransport:
    """Sends Raft's requests to peers. Give it to `RaftConsensus.start`, which binds it; `close` it afterwards.

    node_addresses: URLs or host:port by node. connect_timeout, request_timeout: seconds. require_identity: see
    `raft_services`.
    """

    def __init__(
        self,
        node_id: NodeId,
        node_addresses: Mapping[NodeId, str],
        connect_timeout: float = 5.0,
        request_timeout: float = 10.0,
        *,
        require_identity: bool = True,
    ) -> None:
        self.node_id = node_id
        self._config = TransportConfig(
            connect_timeout=connect_timeout,
            request_timeout=request_timeout,
            max_message_size=MAX_RAFT_MESSAGE,
            retry_attempts=0,
        )
        self._timeout = request_timeout
        self._require_identity = require_identity
        self._links = {
            node: _Link(node, address, self._config) for node, address in node_addresses.items() if node != node_id
        }
        self._node: RaftNode | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def bind(self, node: RaftNode) -> None:
        """In whose name requests are made; RaftConsensus does this at its start."""
        self._node = node

    async def close(self) -> None:
        """Close all connections."""
        for link in self._links.values():
            self._discard(link)
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def update_node_address(self, node_id: NodeId, address: str) -> None:
        """From now on the node is at this address; empty: forget the node."""
        link = self._links.get(node_id)
        if node_id == self.node_id or (link is not None and link.address == address):
            return
        if link is not None:
            self._discard(link)
            del self._links[node_id]
        if address:
            self._links[node_id] = _Link(node_id, address, self._config)

    def addresses(self) -> dict[NodeId, str]:
        """Where the peers are."""
        return {node_id: link.address for node_id, link in self._links.items()}

    def _discard(self, link: _Link) -> None:
        for channel in link.drop():
            channel.close()
            task = asyncio.get_running_loop().create_task(channel.wait_closed())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    # ------------------------------------------------------------ one request

    async def _call(self, target: NodeId, path: str, request: Any, reply_type: type[R], *, bulk: bool = False) -> R:
        link = self._links.get(target)
        if link is None:
            raise NodeNotFound(f"{target}")
        try:
            metadata = link.metadata or await self._introduce(link)
            channel = link.channel(bulk=bulk)
            return await channel.unary_unary(path, request, reply_type, timeout=self._timeout, metadata=metadata)
        except OrbitError as error:
            if error.code is Status.UNAVAILABLE:
                self._discard(link)  # whoever answers next has to say who it is
            raise self._explained(error, target) from error

    def _explained(self, error: OrbitError, target: NodeId) -> OrbitError:
        wiped = dict(error.metadata).get(WIPED)
        if wiped is None:
            return error
        return WipedNode(error.message, is_us=wiped == "sender", peer=str(target))

    async def _introduce(self, link: _Link) -> Metadata:
        """Find out who answers there, before anything that it says counts."""
        node = self._node
        if node is None or not self._require_identity:
            link.metadata = Metadata()
            return link.metadata
        async with link.identifying:
            if link.metadata is None:
                link.metadata = await self._identified(link, node)
        return link.metadata

    async def _identified(self, link: _Link, node: RaftNode) -> Metadata:
        try:
            theirs = await link.channel().unary_unary(
                _PEER + "Identify", lite.IdentifyRequest(), lite.IdentifyResponse, timeout=self._timeout
            )
        except OrbitError as error:
            if error.code is Status.UNIMPLEMENTED:
                if not link.is_foreign:
                    link.is_foreign = True
                    _log.error(
                        "%s at %s is no orbit-lite node: it never counts in consensus", link.node_id, link.address
                    )
                raise ClusterMismatch(
                    f"{link.node_id} at {link.address} cannot say who it is: an Orbit-RS node acknowledges entries "
                    "without storing them, and never counts",
                    peer=str(link.node_id),
                ) from error
            raise
        if theirs.cluster_id != node.cluster_id:
            raise ClusterMismatch(f"{link.address} is of cluster {theirs.cluster_id!r}, this is {node.cluster_id!r}")
        if NodeId.parse(theirs.node_id) != link.node_id:
            raise ClusterMismatch(f"{theirs.node_id} answers at {link.address}, {link.node_id} was expected")
        known = node.store.peers().get(link.node_id)
        if known is not None and known != theirs.store_id:
            raise WipedNode(f"{link.node_id} has lost its store; remove it from the cluster, then add it again")
        if known is None:
            await node.remember_peer(link.node_id, theirs.store_id)
        said = introduce(node.cluster_id, self.node_id, node.store.store_id, link.node_id, theirs.store_id)
        return Metadata(said)

    # ------------------------------------------------------------ orbit.consensus

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        proto = VoteRequestConverter.to_proto(request)
        reply = await self._call(target, _CONSENSUS + "RequestVote", proto, consensus.VoteResponseProto)
        return VoteResponseConverter.from_proto(reply)

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse:
        proto = AppendEntriesRequestConverter.to_proto(request)
        reply = await self._call(target, _CONSENSUS + "AppendEntries", proto, consensus.AppendEntriesResponseProto)
        return AppendEntriesResponseConverter.from_proto(reply)

    async def broadcast_heartbeat(
        self, nodes: Sequence[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        """Ask all at the same time; the answers of those that gave one, in the order of `nodes`."""
        work = (self.send_append_entries(node, request) for node in nodes)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, OrbitError):
                raise outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    # ------------------------------------------------------------ orbit.lite.RaftPeer

    async def send_pre_vote(self, target: NodeId, request: PreVoteRequest) -> PreVoteResponse:
        proto = convert.PreVoteRequestConverter.to_proto(request)
        return convert.PreVoteResponseConverter.from_proto(
            await self._call(target, _PEER + "PreVote", proto, lite.BallotResponse)
        )

    async def send_transfer_vote(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        proto = convert.TransferVoteRequestConverter.to_proto(request)
        return convert.TransferVoteResponseConverter.from_proto(
            await self._call(target, _PEER + "TransferVote", proto, lite.BallotResponse)
        )

    async def send_install_snapshot(self, target: NodeId, request: InstallSnapshotRequest) -> InstallSnapshotResponse:
        proto = convert.InstallSnapshotRequestConverter.to_proto(request)
        return convert.InstallSnapshotResponseConverter.from_proto(
            await self._call(target, _PEER + "InstallSnapshot", proto, lite.InstallSnapshotResponse, bulk=True)
        )

    async def send_timeout_now(self, target: NodeId, request: TimeoutNowRequest) -> TimeoutNowResponse:
        proto = convert.TimeoutNowRequestConverter.to_proto(request)
        return convert.TimeoutNowResponseConverter.from_proto(
            await self._call(target, _PEER + "TimeoutNow", proto, lite.TimeoutNowResponse)
        )

    async def send_read_index(self, target: NodeId, request: ReadIndexRequest) -> ReadIndexResponse:
        proto = convert.ReadIndexRequestConverter.to_proto(request)
        return convert.ReadIndexResponseConverter.from_proto(
            await self._call(target, _PEER + "ReadIndex", proto, lite.ReadIndexResponse)
        )

    async def forward_proposal(self, target: NodeId, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        """Let the leader append; (term, index of the first). Raises NotLeader, ProposalDropped as the leader does."""
        proto = convert.CommandsConverter.to_proto(tuple(commands))
        reply = await self._call(target, _PEER + "Propose", proto, lite.ProposeResponse)
        if reply.not_leader:
            leader = None if not reply.leader_id else NodeId.parse(reply.leader_id)
            raise NotLeader(reply.reason, leader=leader, peer=str(target))
        if reply.dropped:
            raise ProposalDropped(reply.reason, peer=str(target))
        return reply.term, reply.index
