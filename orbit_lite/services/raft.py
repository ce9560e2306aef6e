"""Raft over gRPC, the server's side: orbit.consensus as Orbit-RS defines it, and orbit.lite.RaftPeer beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orbit_lite.converters import (
    AppendEntriesRequestConverter,
    AppendEntriesResponseConverter,
    VoteRequestConverter,
    VoteResponseConverter,
)
from orbit_lite.converters import raft_lite as convert
from orbit_lite.errors import ConfigurationError, InternalError, OrbitError, ParseError
from orbit_lite.model import AppendEntriesRequest, NodeId, RaftCommand, VoteRequest
from orbit_lite.raft import (
    ClusterMismatch,
    InstallSnapshotRequest,
    LogStore,
    NotLeader,
    PreVoteRequest,
    ProposalDropped,
    ReadIndexRequest,
    Request,
    Response,
    TimeoutNowRequest,
    WipedNode,
)
from orbit_lite.raft.identity import check_receiver, check_sender
from orbit_lite.rpc import Server, ServerConfig, current_call
from orbit_proto.orbit import consensus, lite

__all__ = ["MAX_RAFT_MESSAGE", "RaftNode", "RaftServer", "raft_services", "start_raft_server"]

#: What a tonic server receives at most; AppendEntries and chunks of snapshots keep below it.
MAX_RAFT_MESSAGE = 4 * 1024 * 1024
#: Hosts whose refused requests are named in the log.
MOST_LOGGED = 100

_log = logging.getLogger("orbit_lite.services")


class RaftNode(Protocol):
    """What is served: RaftConsensus, or a test's double."""

    node_id: NodeId
    cluster_id: str
    store: LogStore

    async def handle(self, request: Request, *, transfer: bool = False) -> Response:
        """Answer a peer, once what the answer promises is durable."""
        ...

    async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
        """Note durably under which store id a peer was seen, unless one is known."""
        ...

    async def propose_forwarded(self, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        """Append for a follower: (term, index of the first). Raises NotLeader, ProposalDropped."""
        ...


def raft_services(node: RaftNode, *, require_identity: bool = True) -> list[Any]:
    """The services for a Server.

    require_identity: refuse peers that do not say who they are. Without it any gRPC client may play a node, and one
    that lost its store is not noticed: for tests.
    """
    gate = _Gate(node, require_identity=require_identity)
    return [_ConsensusService(gate), _PeerService(gate)]


class _Gate:
    """Lets requests through to the node whose senders are who they should be."""

    def __init__(self, node: RaftNode, *, require_identity: bool) -> None:
        self.node = node
        self._require_identity = require_identity
        self._refused: set[tuple[type[OrbitError], str | None]] = set()

    async def ask(self, request: Request, *, transfer: bool = False) -> Any:
        """The node's answer. Raises ClusterMismatch and WipedNode; otherwise what the node raises."""
        await self.check(_sender_of(request))
        return await self.node.handle(request, transfer=transfer)

    async def check(self, claimed: NodeId | None) -> None:
        """Let the call that is being served pass, or raise. claimed: whom its message names as sender."""
        if not self._require_identity:
            return
        call = current_call()
        if call is None:
            raise InternalError("no call is being served")
        metadata: Mapping[str, str | bytes] = dict(call.metadata.items())
        try:
            sender, store_id = self._check(metadata, claimed)
            if sender not in self.node.store.peers():  # durable before anything that it says counts
                await self.node.remember_peer(sender, store_id)
                self._check(metadata, claimed)  # another store may have come first under this name
        except (ClusterMismatch, WipedNode) as error:
            self._log_once(error, call.peer.host)
            raise

    def _check(self, metadata: Mapping[str, str | bytes], claimed: NodeId | None) -> tuple[NodeId, str]:
        store = self.node.store
        sender = check_sender(metadata, self.node.cluster_id, store.peers(), claimed)
        check_receiver(metadata, self.node.node_id, store.store_id)
        return sender

    def _log_once(self, error: OrbitError, host: str | None) -> None:
        """Raft asks again and again."""
        what = type(error), host
        if what not in self._refused and len(self._refused) < MOST_LOGGED:
            self._refused.add(what)
            _log.error("%s refuses Raft requests from %s: %s", self.node.node_id, host, error)


def _sender_of(request: Request) -> NodeId:
    match request:
        case VoteRequest(candidate_id=sender) | PreVoteRequest(candidate_id=sender):
            return sender
        case AppendEntriesRequest(leader_id=sender) | InstallSnapshotRequest(leader_id=sender):
            return sender
        case TimeoutNowRequest(leader_id=sender) | ReadIndexRequest(follower_id=sender):
            return sender


class _ConsensusService(consensus.RaftConsensusBase):
    def __init__(self, gate: _Gate) -> None:
        self._gate = gate

    async def request_vote(self, vote_request_proto: consensus.VoteRequestProto) -> consensus.VoteResponseProto:
        request = VoteRequestConverter.from_proto(vote_request_proto)
        return VoteResponseConverter.to_proto(await self._gate.ask(request))

    async def append_entries(
        self, append_entries_request_proto: consensus.AppendEntriesRequestProto
    ) -> consensus.AppendEntriesResponseProto:
        request = AppendEntriesRequestConverter.from_proto(append_entries_request_proto)
        return AppendEntriesResponseConverter.to_proto(await self._gate.ask(request))


class _PeerService(lite.RaftPeerBase):
    def __init__(self, gate: _Gate) -> None:
        self._gate = gate

    async def identify(self, identify_request: lite.IdentifyRequest) -> lite.IdentifyResponse:
        node = self._gate.node
        return lite.IdentifyResponse(
            node_id=str(node.node_id), cluster_id=node.cluster_id, store_id=node.store.store_id
        )

    async def pre_vote(self, ballot_request: lite.BallotRequest) -> lite.BallotResponse:
        request = convert.PreVoteRequestConverter.from_proto(ballot_request)
        return convert.PreVoteResponseConverter.to_proto(await self._gate.ask(request))

    async def transfer_vote(self, ballot_request: lite.BallotRequest) -> lite.BallotResponse:
        request = convert.TransferVoteRequestConverter.from_proto(ballot_request)
        return convert.TransferVoteResponseConverter.to_proto(await self._gate.ask(request, transfer=True))

    async def install_snapshot(
        self, install_snapshot_request: lite.InstallSnapshotRequest
    ) -> lite.InstallSnapshotResponse:
        request = convert.InstallSnapshotRequestConverter.from_proto(install_snapshot_request)
        return convert.InstallSnapshotResponseConverter.to_proto(await self._gate.ask(request))

    async def timeout_now(self, timeout_now_request: lite.TimeoutNowRequest) -> lite.TimeoutNowResponse:
        request = convert.TimeoutNowRequestConverter.from_proto(timeout_now_request)
        return convert.TimeoutNowResponseConverter.to_proto(await self._gate.ask(request))

    async def read_index(self, read_index_request: lite.ReadIndexRequest) -> lite.ReadIndexResponse:
        request = convert.ReadIndexRequestConverter.from_proto(read_index_request)
        return convert.ReadIndexResponseConverter.to_proto(await self._gate.ask(request))

    async def propose(self, propose_request: lite.ProposeRequest) -> lite.ProposeResponse:
        commands = convert.CommandsConverter.from_proto(propose_request)
        await self._gate.check(None)
        try:
            term, index = await self._gate.node.propose_forwarded(commands)
        except NotLeader as error:
            leader = None if error.leader is None else str(error.leader)
            return lite.ProposeResponse(not_leader=True, leader_id=leader, reason=error.message)
        except ProposalDropped as error:
            return lite.ProposeResponse(dropped=True, reason=error.message)
        return lite.ProposeResponse(term=term, index=index)


class RaftServer:
    """Serves one node on one address. `async with`, or `close`."""

    def __init__(self, server: Server, address: str) -> None:
        self._server = server
        #: `host:port`, with the port that was bound.
        self.address = address

    async def close(self) -> None:
        """Stop serving; again has no effect."""
        self._server.close()
        await self._server.wait_closed()

    async def run(self) -> None:
        """Serve until this is cancelled or `close` is called; for a task of its own."""
        try:
            await self._server.wait_closed()
        finally:
            await self.close()

    async def __aenter__(self) -> RaftServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def start_raft_server(
    consensus: RaftNode, address: str, *, require_identity: bool = True, services: Sequence[Any] = ()
) -> RaftServer:
    """Serve a node's Raft at `host:port`; port 0: a free one. Returns when it listens.

    To serve until cancelled, as Orbit-RS's function of this name does, go on with `await server.run()`. services:
    others to serve beside it. Raises IoError, and ConfigurationError for what is no address.
    """
    host, colon, port = address.rpartition(":")
    try:
        if not colon or not 0 <= (number := int(port)) < 1 << 16:
            raise ParseError(f"{address!r}: expected host:port")
    except (ValueError, ParseError) as error:
        raise ConfigurationError(f"address={address!r}: must be host:port") from error
    server = Server(
        [*raft_services(consensus, require_identity=require_identity), *services],
        config=ServerConfig(max_message_size=MAX_RAFT_MESSAGE),
    )
    name = host.strip("[]")
    await server.start(name, number)
    return RaftServer(server, f"{host}:{server.port}")
