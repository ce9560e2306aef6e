"""Raft over real sockets: the wire of orbit.consensus, who counts, and who delays nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orbit_lite.converters import RaftCommandConverter
from orbit_lite.converters import raft_lite as convert
from orbit_lite.errors import ConfigurationError, NodeNotFound, OrbitError, Status
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    HeartBeat,
    LiteCommand,
    LiteKind,
    LogEntry,
    NodeId,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    ClusterMismatch,
    Configuration,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    LogStore,
    Member,
    NotLeader,
    PreVoteRequest,
    PreVoteResponse,
    ProposalDropped,
    RaftConfig,
    RaftConsensus,
    RaftMetrics,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotMeta,
    TimeoutNowRequest,
    TimeoutNowResponse,
    WipedNode,
)
from orbit_lite.raft.exchange import Exchange
from orbit_lite.rpc import Channel, Server
from orbit_lite.services import GrpcRaftTransport, RaftServer, start_raft_server
from orbit_lite.storage import MemoryLogStore, SqliteLogStore
from orbit_proto.orbit import lite
from orbit_proto.orbit.consensus import (
    AppendEntriesRequestProto,
    LogEntryProto,
    RaftConsensusBase,
    RaftConsensusStub,
    VoteRequestProto,
    VoteResponseProto,
)

ME, OTHER = NodeId("me"), NodeId("other")
META = SnapshotMeta(7, 2, Configuration("default", (Member(ME, "http://h:1"), Member(OTHER, voter=False))), 3, "ab")


class Double:
    """A node that answers as it is told, and remembers what it was asked."""

    def __init__(self, node_id: NodeId = OTHER, cluster_id: str = "default", store_id: str = "other-store") -> None:
        self.node_id = node_id
        self.cluster_id = cluster_id
        self.store: LogStore = MemoryLogStore(store_id)
        self.asked: list[Any] = []
        self.answers: dict[type, Any] = {}
        self.position: tuple[int, int] | Exception = (3, 8)

    async def handle(self, request: Any, *, transfer: bool = False) -> Any:
        self.asked.append((request, transfer))
        return self.answers[type(request)]

    async def propose_forwarded(self, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        self.asked.append(tuple(commands))
        if isinstance(self.position, Exception):
            raise self.position
        return self.position

    async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
        self.store.remember_peer(node_id, store_id)


class Pair:
    """`other` served on a socket, and a transport of `me` that leads there."""

    def __init__(self, other: Double, server: RaftServer, transport: GrpcRaftTransport, me: Double) -> None:
        self.other, self.server, self.transport, self.me = other, server, transport, me


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    other, me = Double(), Double(ME, store_id="my-store")
    async with await start_raft_server(other, "127.0.0.1:0") as server:
        transport = GrpcRaftTransport(ME, {OTHER: server.address}, 2.0, 2.0)
        transport.bind(me)
        yield Pair(other, server, transport, me)
        await transport.close()


CHUNK = InstallSnapshotRequest(2, ME, META, 0, b"abc")
APPEND = AppendEntriesRequest(2, ME, 4, 1, (LogEntry(2, 5, LiteCommand(LiteKind.DATA, "c", 1, b"\x00"), 9),), 4)
APPENDED = AppendEntriesResponse(2, True, OTHER, 5)


async def test_each_request_arrives_as_it_was_and_so_does_its_answer(pair: Pair) -> None:
    transport = pair.transport
    vote, pre_vote = VoteRequest(2**64 - 1, ME, 5, 1), PreVoteRequest(3, ME, 5, 1)
    chunk = InstallSnapshotRequest(2, ME, META, 1, b"\x00\xff")
    timeout, read = TimeoutNowRequest(2, ME), ReadIndexRequest(2, ME)
    exchanges: list[tuple[Any, Any, Any, bool]] = [
        (transport.send_append_entries, APPEND, APPENDED, False),
        (transport.send_vote_request, vote, VoteResponse(2**64 - 1, True, OTHER), False),
        (transport.send_transfer_vote, vote, VoteResponse(2, False, OTHER), True),
        (transport.send_pre_vote, pre_vote, PreVoteResponse(3, True, OTHER), False),
        (transport.send_install_snapshot, chunk, InstallSnapshotResponse(2, OTHER, 3), False),
        (transport.send_timeout_now, timeout, TimeoutNowResponse(2, OTHER), False),
        (transport.send_read_index, read, ReadIndexResponse(2, None, None), False),
        (transport.send_read_index, read, ReadIndexResponse(2, 0, ME), False),
    ]
    for send, request, answer, transfer in exchanges:
        pair.other.answers[type(request)] = answer
        assert await send(OTHER, request) == answer
        assert pair.other.asked[-1] == (request, transfer)


async def test_proposals_are_forwarded_and_refusals_come_back_as_they_are(pair: Pair) -> None:
    commands = (LiteCommand(LiteKind.DATA, "c", 1, b"x"), HeartBeat())
    assert await pair.transport.forward_proposal(OTHER, commands) == (3, 8)
    assert pair.other.asked[-1] == commands
    pair.other.position = NotLeader("not me", leader=ME)
    with pytest.raises(NotLeader) as refused:
        await pair.transport.forward_proposal(OTHER, commands)
    assert refused.value.leader == ME
    pair.other.position = ProposalDropped("too much")
    with pytest.raises(ProposalDropped, match="too much"):
        await pair.transport.forward_proposal(OTHER, commands)


async def test_a_heartbeat_goes_to_all_and_dead_nodes_are_left_out(pair: Pair) -> None:
    pair.other.answers[AppendEntriesRequest] = APPENDED
    await pair.transport.update_node_address(NodeId("dead"), "127.0.0.1:1")
    nodes = [NodeId("dead"), OTHER, NodeId("unknown")]
    assert await pair.transport.broadcast_heartbeat(nodes, APPEND) == [APPENDED]


async def test_a_silent_peer_delays_no_other(pair: Pair) -> None:
    pair.other.answers[AppendEntriesRequest] = APPENDED
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        await pair.transport.update_node_address(NodeId("silent"), address)
        waiting = asyncio.create_task(pair.transport.send_append_entries(NodeId("silent"), APPEND))
        for _ in range(20):
            assert await pair.transport.send_append_entries(OTHER, APPEND) == APPENDED
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_an_address_can_change_and_be_forgotten(pair: Pair) -> None:
    pair.other.answers[AppendEntriesRequest] = APPENDED
    await pair.transport.send_append_entries(OTHER, APPEND)
    await pair.server.close()
    with pytest.raises(OrbitError):
        await pair.transport.send_append_entries(OTHER, APPEND)
    async with await start_raft_server(pair.other, "127.0.0.1:0") as again:
        await pair.transport.update_node_address(OTHER, again.address)
        assert await pair.transport.send_append_entries(OTHER, APPEND) == APPENDED
        assert pair.transport.addresses() == {OTHER: again.address}
        await pair.transport.update_node_address(OTHER, "")
        with pytest.raises(NodeNotFound):
            await pair.transport.send_append_entries(OTHER, APPEND)


async def test_a_peer_that_comes_back_is_found_at_once(pair: Pair) -> None:
    pair.other.answers[AppendEntriesRequest] = APPENDED
    await pair.transport.send_append_entries(OTHER, APPEND)
    await pair.server.close()
    for _ in range(5):
        with pytest.raises(OrbitError):
            await pair.transport.send_append_entries(OTHER, APPEND)
    async with await start_raft_server(pair.other, pair.server.address):
        assert await pair.transport.send_append_entries(OTHER, APPEND) == APPENDED


# ---------------------------------------------------------------- who counts


async def test_stores_are_remembered_on_both_sides(pair: Pair) -> None:
    pair.other.answers[AppendEntriesRequest] = APPENDED
    await pair.transport.send_append_entries(OTHER, APPEND)
    assert pair.me.store.peers() == {OTHER: "other-store"}
    assert pair.other.store.peers() == {ME: "my-store"}


async def test_a_peer_that_lost_its_store_is_not_asked(pair: Pair) -> None:
    pair.me.store.remember_peer(OTHER, "an older store")
    with pytest.raises(WipedNode) as refused:
        await pair.transport.send_append_entries(OTHER, APPEND)
    assert not refused.value.is_us
    assert not pair.other.asked


async def test_a_node_that_lost_its_store_is_told_so(pair: Pair) -> None:
    pair.other.store.remember_peer(ME, "an older store")
    with pytest.raises(WipedNode, match="has lost its data") as refused:
        await pair.transport.send_vote_request(OTHER, VoteRequest(2, ME, 0, 0))
    assert refused.value.is_us
    assert not pair.other.asked


async def test_nodes_of_another_cluster_and_other_nodes_at_the_address_do_not_count(pair: Pair) -> None:
    pair.other.cluster_id = "another"
    with pytest.raises(ClusterMismatch, match="'another'"):
        await pair.transport.send_append_entries(OTHER, APPEND)
    pair.other.cluster_id, pair.other.node_id = "default", NodeId("third")
    with pytest.raises(ClusterMismatch, match="third"):
        await pair.transport.send_append_entries(OTHER, APPEND)
    assert not pair.other.asked


async def test_a_process_that_took_the_address_over_refuses_what_is_not_meant_for_it(pair: Pair) -> None:
    pair.other.answers[AppendEntriesRequest] = APPENDED
    await pair.transport.send_append_entries(OTHER, APPEND)
    pair.other.node_id = NodeId("third")
    with pytest.raises(OrbitError, match=r"not \(default:other\)"):
        await pair.transport.send_append_entries(OTHER, APPEND)
    assert len(pair.other.asked) == 1


async def test_a_peer_without_identity_is_refused(pair: Pair) -> None:
    host, _, port = pair.server.address.rpartition(":")
    async with Channel(host, int(port)) as channel:
        with pytest.raises(OrbitError, match="Orbit-RS nodes cannot take part") as refused:
            await RaftConsensusStub(channel).request_vote(VoteRequestProto(term=1, candidate_id="(default:x)"))
    assert refused.value.code is Status.FAILED_PRECONDITION
    assert not pair.other.asked


async def test_who_does_not_say_who_it_is_learns_only_who_answers(pair: Pair) -> None:
    ballot = lite.BallotRequest(term=2, candidate_id=str(ME))
    async with Channel.from_url(pair.server.address) as channel:
        peer = lite.RaftPeerStub(channel)
        assert (await peer.identify(lite.IdentifyRequest())).node_id == str(OTHER)
        for asked in (
            lambda: peer.pre_vote(ballot),
            lambda: peer.transfer_vote(ballot),
            lambda: peer.install_snapshot(convert.InstallSnapshotRequestConverter.to_proto(CHUNK)),
            lambda: peer.timeout_now(lite.TimeoutNowRequest(term=2, leader_id=str(ME))),
            lambda: peer.read_index(lite.ReadIndexRequest(term=2, follower_id=str(ME))),
            lambda: peer.propose(lite.ProposeRequest(commands=[RaftCommandConverter.to_proto(HeartBeat())])),
        ):
            with pytest.raises(OrbitError, match="does not say") as refused:
                await asked()
            assert refused.value.code is Status.FAILED_PRECONDITION
    assert pair.other.asked == []


async def test_an_orbit_rs_node_never_counts(caplog: pytest.LogCaptureFixture) -> None:
    class Foreign(RaftConsensusBase):
        async def request_vote(self, vote_request_proto: VoteRequestProto) -> VoteResponseProto:
            return VoteResponseProto(term=1, vote_granted=True, voter_id="(default:other)")

    async with Server([Foreign()]) as server:
        await server.start("127.0.0.1", 0)
        transport = GrpcRaftTransport(ME, {OTHER: f"127.0.0.1:{server.port}"}, 2.0, 2.0)
        transport.bind(Double(ME))
        for _ in range(2):
            with pytest.raises(ClusterMismatch, match="never counts"):
                await transport.send_vote_request(OTHER, VoteRequest(1, ME, 0, 0))
        await transport.close()
        plain = GrpcRaftTransport(ME, {OTHER: f"127.0.0.1:{server.port}"}, 2.0, 2.0, require_identity=False)
        assert (await plain.send_vote_request(OTHER, VoteRequest(1, ME, 0, 0))).vote_granted
        with pytest.raises(OrbitError) as unknown:
            await plain.send_pre_vote(OTHER, PreVoteRequest(1, ME, 0, 0))
        assert unknown.value.code is Status.UNIMPLEMENTED
        await plain.close()
    assert caplog.text.count("never counts in consensus") == 1


# ---------------------------------------------------------------- the wire


async def test_both_dialects_of_ids_and_commands_are_read() -> None:
    other = Double()
    other.answers[AppendEntriesRequest] = APPENDED
    async with await start_raft_server(other, "127.0.0.1:0", require_identity=False) as server:
        host, _, port = server.address.rpartition(":")
        async with Channel(host, int(port)) as channel:
            stub = RaftConsensusStub(channel)
            for leader, command in (("me", '{"NodeJoin":"me"}'), ("((default:me))", '{"HeartBeat":null}')):
                entries = [LogEntryProto(term=2, index=5, command=command)]
                reply = await stub.append_entries(AppendEntriesRequestProto(term=2, leader_id=leader, entries=entries))
                assert reply.follower_id == "(default:other)"
                assert other.asked[-1][0].leader_id == ME
            for broken in ("", "Heartbeat", '{"Unknown":1}', '{"Lite":{}}'):
                entries = [LogEntryProto(term=2, index=5, command=broken)]
                with pytest.raises(OrbitError, match=r"entries\[0\].command") as refused:
                    await stub.append_entries(AppendEntriesRequestProto(term=2, leader_id="me", entries=entries))
                assert refused.value.code is Status.INVALID_ARGUMENT
    assert len(other.asked) == 2


async def test_an_append_over_4_mib_never_leaves(pair: Pair) -> None:
    large = LogEntry(2, 5, LiteCommand(LiteKind.DATA, "", 0, bytes(4 * 1024 * 1024)))
    with pytest.raises(OrbitError, match="larger than the limit") as refused:
        await pair.transport.send_append_entries(OTHER, AppendEntriesRequest(2, ME, 4, 1, (large,), 4))
    assert refused.value.code is Status.RESOURCE_EXHAUSTED


async def test_proposals_that_travel_together_fit_in_their_message_whatever_their_clients_are_called(
    pair: Pair,
) -> None:
    async def never(work: Any) -> None:
        raise AssertionError("forwarding needs no thread")

    exchange = Exchange(pair.transport, never, pair.me.store, node_id=ME, chunk_bytes=1, metrics=RaftMetrics())
    commands = [LiteCommand(LiteKind.DATA, "\x01" * 1024, number, bytes(8000)) for number in range(1, 257)]
    await asyncio.gather(*(exchange.forward(OTHER, command) for command in commands))
    await exchange.close()
    arrived = [command for batch in pair.other.asked for command in batch]
    assert sorted(arrived, key=lambda command: command.seq) == commands


async def test_what_is_no_address_is_refused() -> None:
    for address in ("", "host", "host:port", "host:99999"):
        with pytest.raises(ConfigurationError, match="host:port"):
            await start_raft_server(Double(), address)


# ---------------------------------------------------------------- whole nodes


class Ledger:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, index: int, data: bytes) -> bytes:
        self.lines.append(data)
        return data

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


CONFIG = RaftConfig(election_timeout_min=0.2, election_timeout_max=0.4, heartbeat_interval=0.04, snapshot_entries=50)


class Member3:
    """One of three nodes on SQLite and sockets."""

    def __init__(self, name: NodeId, names: Sequence[NodeId], folder: Path) -> None:
        self.store = SqliteLogStore.open(folder)
        self.ledger = Ledger()
        self.node = RaftConsensus(name, names, CONFIG, store=self.store, state_machine=self.ledger)
        self.server: RaftServer | None = None
        self.transport: GrpcRaftTransport | None = None

    async def listen(self, address: str = "127.0.0.1:0") -> str:
        self.server = await start_raft_server(self.node, address)
        return self.server.address

    async def start(self, addresses: dict[NodeId, str]) -> None:
        self.transport = GrpcRaftTransport(self.node.node_id, addresses, 1.0, 2.0)
        await self.node.start(self.transport)

    async def stop(self) -> None:
        await self.node.stop()
        if self.transport is not None:
            await self.transport.close()
        if self.server is not None:
            await self.server.close()
        self.store.close()


async def test_three_nodes_elect_replicate_survive_a_loss_and_refuse_a_wiped_one(tmp_path: Path) -> None:
    names = [NodeId(f"n{number}") for number in range(3)]
    members = {name: Member3(name, names, tmp_path / name.key) for name in names}
    addresses = {name: await member.listen() for name, member in members.items()}
    for member in members.values():
        await member.start(addresses)
    try:
        for number in range(60):
            line = b"%d" % number
            assert await members[names[number % 3]].node.propose(line) == line
        leader = members[names[0]].node.get_leader()
        assert leader is not None
        lost = members.pop(leader)
        await lost.stop()
        survivor = next(iter(members.values()))
        assert await survivor.node.propose(b"after", timeout=20) == b"after"
        back = members[leader] = Member3(leader, names, tmp_path / leader.key)
        await back.listen(addresses[leader])
        await back.start(addresses)
        await back.node.read(20)
        assert back.ledger.lines == survivor.ledger.lines
        assert len(back.ledger.lines) == 61
        await back.stop()
        wiped = members[leader] = Member3(leader, names, tmp_path / "empty")
        await wiped.listen(addresses[leader])
        await wiped.start(addresses)
        with pytest.raises(OrbitError):
            await wiped.node.read(5)
        assert isinstance(wiped.node.failure, WipedNode)
        assert await survivor.node.propose(b"still", timeout=20) == b"still"
    finally:
        for member in members.values():
            await member.stop()
