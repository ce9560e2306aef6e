"""Raft over gRPC, the client's side.

Requests to different peers have nothing in common, so a slow or dead one delays no other. Nothing is repeated here:
Raft does that itself, and bounds what is under way to a peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from orbit_lite.converters import (
    AppendEntriesRequestConverter,
    AppendEntriesResponseConverter,
    VoteRequestConverter,
    VoteResponseConverter,
)
from orbit_lite.converters import raft_lite as convert
from orbit_lite.errors import ConfigurationError, NodeNotFound, OrbitError
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
from orbit_lite.raft.identity import WIPED
from orbit_lite.rpc import FailedPrecondition, TransportConfig
from orbit_lite.services.raft import MAX_RAFT_MESSAGE
from orbit_lite.services.raft_links import Link, Purpose, Self
from orbit_proto.orbit import consensus, lite

__all__ = ["GrpcRaftTransport"]

R = TypeVar("R")

_CONSENSUS = "/orbit.consensus.RaftConsensus/"
_PEER = "/orbit.lite.RaftPeer/"


class GrpcRaftTransport:
    """Sends Raft's requests to peers. Give it to `RaftConsensus.start`, which binds it; `close` it afterwards.

    node_addresses: URLs or host:port by node. connect_timeout, request_timeout: seconds. require_identity: count only
    answers of nodes that say who they are; see `raft_services`.
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
        self._require_identity = require_identity
        self._links = {
            node: Link(node, address, self._config) for node, address in node_addresses.items() if node != node_id
        }
        self._node: Self | None = None
        self._is_closed = False
        self._closing: set[asyncio.Task[None]] = set()

    def bind(self, node: Self) -> None:
        """In whose name requests are made; RaftConsensus does this at its start."""
        self._node = node

    async def close(self) -> None:
        """Close all connections; requests that are under way or come later fail. Again has no effect."""
        self._is_closed = True
        for node_id in list(self._links):
            self._discard(node_id)
        await asyncio.gather(*self._closing)

    async def update_node_address(self, node_id: NodeId, address: str) -> None:
        """From now on the node is at this address; empty: forget the node. Requests under way to the old one fail.

        What is no address makes its node unreachable, and nothing else: it may come from the log.
        """
        link = self._links.get(node_id)
        if node_id == self.node_id or self._is_closed or (link is not None and link.address == address):
            return
        self._discard(node_id)
        if address:
            self._links[node_id] = Link(node_id, address, self._config)

    def addresses(self) -> dict[NodeId, str]:
        """Where the peers are."""
        return {node_id: link.address for node_id, link in self._links.items()}

    def _discard(self, node_id: NodeId) -> None:
        link = self._links.pop(node_id, None)
        if link is not None:
            link.close()
            task = asyncio.get_running_loop().create_task(link.wait_closed())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    # ------------------------------------------------------------ one request

    async def _call(
        self,
        target: NodeId,
        path: str,
        request: Any,
        reply_type: type[R],
        purpose: Purpose = Purpose.CONSENSUS,
    ) -> R:
        if self._require_identity and self._node is None:
            raise ConfigurationError("the transport speaks for nobody: start a RaftConsensus with it, or `bind` it")
        link = self._links.get(target)
        if link is None:
            raise NodeNotFound(f"{target}")
        us = self._node if self._require_identity else None
        try:
            return await link.call(us, path, request, reply_type, purpose)
        except FailedPrecondition as error:
            wiped = dict(error.metadata).get(WIPED)
            if wiped is None:
                raise
            raise WipedNode(error.message, is_us=wiped == "sender", peer=str(target)) from error

    def _check_name(self, target: NodeId, name: NodeId) -> None:
        """An answer that names another node than the one that was asked does not count."""
        if self._require_identity and name != target:
            raise ClusterMismatch(f"{target} answers in the name of {name}", peer=str(target))

    # ------------------------------------------------------------ orbit.consensus

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        proto = VoteRequestConverter.to_proto(request)
        reply = await self._call(target, _CONSENSUS + "RequestVote", proto, consensus.VoteResponseProto)
        response = VoteResponseConverter.from_proto(reply)
        self._check_name(target, response.voter_id)
        return response

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse:
        return await self._append(target, AppendEntriesRequestConverter.to_proto(request))

    async def _append(self, target: NodeId, proto: consensus.AppendEntriesRequestProto) -> AppendEntriesResponse:
        reply = await self._call(target, _CONSENSUS + "AppendEntries", proto, consensus.AppendEntriesResponseProto)
        response = AppendEntriesResponseConverter.from_proto(reply)
        self._check_name(target, response.follower_id)
        return response

    async def broadcast_heartbeat(
        self, nodes: Sequence[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        """Ask all at the same time; the answers of those that gave one, in the order of `nodes`."""
        proto = AppendEntriesRequestConverter.to_proto(request)
        outcomes = await asyncio.gather(*(self._append(node, proto) for node in nodes), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, OrbitError):
                raise outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    # ------------------------------------------------------------ orbit.lite.RaftPeer

    async def send_pre_vote(self, target: NodeId, request: PreVoteRequest) -> PreVoteResponse:
        proto = convert.PreVoteRequestConverter.to_proto(request)
        reply = await self._call(target, _PEER + "PreVote", proto, lite.BallotResponse)
        response = convert.PreVoteResponseConverter.from_proto(reply)
        self._check_name(target, response.voter_id)
        return response

    async def send_transfer_vote(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        proto = convert.TransferVoteRequestConverter.to_proto(request)
        reply = await self._call(target, _PEER + "TransferVote", proto, lite.BallotResponse)
        response = convert.TransferVoteResponseConverter.from_proto(reply)
        self._check_name(target, response.voter_id)
        return response

    async def send_install_snapshot(self, target: NodeId, request: InstallSnapshotRequest) -> InstallSnapshotResponse:
        proto = convert.InstallSnapshotRequestConverter.to_proto(request)
        path = _PEER + "InstallSnapshot"
        reply = await self._call(target, path, proto, lite.InstallSnapshotResponse, Purpose.SNAPSHOTS)
        response = convert.InstallSnapshotResponseConverter.from_proto(reply)
        self._check_name(target, response.follower_id)
        return response

    async def send_timeout_now(self, target: NodeId, request: TimeoutNowRequest) -> TimeoutNowResponse:
        proto = convert.TimeoutNowRequestConverter.to_proto(request)
        reply = await self._call(target, _PEER + "TimeoutNow", proto, lite.TimeoutNowResponse)
        response = convert.TimeoutNowResponseConverter.from_proto(reply)
        self._check_name(target, response.follower_id)
        return response

    async def send_read_index(self, target: NodeId, request: ReadIndexRequest) -> ReadIndexResponse:
        proto = convert.ReadIndexRequestConverter.to_proto(request)
        reply = await self._call(target, _PEER + "ReadIndex", proto, lite.ReadIndexResponse, Purpose.CLIENTS)
        return convert.ReadIndexResponseConverter.from_proto(reply)

    async def forward_proposal(self, target: NodeId, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        """Let the leader append; (term, index of the first). Raises NotLeader, ProposalDropped as the leader does."""
        proto = convert.CommandsConverter.to_proto(tuple(commands))
        reply = await self._call(target, _PEER + "Propose", proto, lite.ProposeResponse, Purpose.CLIENTS)
        if reply.not_leader:
            leader = None if not reply.leader_id else NodeId.parse(reply.leader_id)
            raise NotLeader(reply.reason, leader=leader, peer=str(target))
        if reply.dropped:
            raise ProposalDropped(reply.reason, peer=str(target))
        return reply.term, reply.index
