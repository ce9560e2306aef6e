"""What operators see of a node's consensus, and what they ask of its leader, over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, Protocol

import pytest

from orbit_lite.model import NodeId
from orbit_lite.raft import NotLeader, RaftConfig, RaftConsensus
from orbit_lite.rpc import (
    CallContext,
    FailedPrecondition,
    InvalidArgument,
    Metadata,
    Peer,
    PermissionDenied,
    Unimplemented,
)
from orbit_lite.rpc.context import call_scope
from orbit_lite.services import RaftAdminClient, RaftAdminService
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.network import MemoryNetwork
from orbit_proto.orbit import lite

A, B, NEW = NodeId("a"), NodeId("b"), NodeId("new")
ADDRESS = "http://new:1"
CONFIG = RaftConfig(election_timeout_min=0.2, election_timeout_max=0.4, heartbeat_interval=0.03)


class Nothing:
    """A state machine without a state."""

    def apply(self, index: int, data: bytes) -> bytes:
        return data

    def snapshot(self) -> bytes:
        return b"state"

    def restore(self, data: bytes) -> None:
        pass


class Connect(Protocol):
    async def __call__(self, *services: Any) -> Any: ...


class Until(Protocol):
    async def __call__(self, condition: Callable[[], object], /) -> None: ...


class Cluster:
    """a leads b; new waits to be added. A client for each."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self.network = MemoryNetwork()
        self.clients: dict[NodeId, RaftAdminClient] = {}

    @property
    def leader(self) -> RaftConsensus:
        return self.network.nodes[A]

    async def start(self, node_id: NodeId, *, join: bool = False) -> None:
        node = RaftConsensus(
            node_id, (A, B), CONFIG, store=MemoryLogStore(f"store of {node_id}"), state_machine=Nothing(), join=join
        )
        await self.network.start(node)
        self.clients[node_id] = RaftAdminClient(await self._connect(RaftAdminService(node)))

    async def stop(self) -> None:
        await asyncio.gather(*(self.network.stop(node) for node in list(self.network.nodes.values())))


@pytest.fixture
async def cluster(connect: Connect, stack: AsyncExitStack) -> Cluster:
    found = Cluster(connect)
    stack.push_async_callback(found.stop)
    await asyncio.gather(found.start(A), found.start(B))
    await found.leader.propose(b"first")
    if not found.leader.is_leader():
        await found.network.nodes[B].transfer_leadership(A)
    await found.start(NEW, join=True)
    await found.leader.read()
    return found


async def test_the_leader_tells_about_its_followers_and_a_follower_about_itself(cluster: Cluster) -> None:
    mine, theirs = await cluster.clients[A].status(), await cluster.clients[B].status()
    assert (mine.role, mine.leader, mine.cluster_id, mine.failure) == ("leader", A, "default", "")
    assert (theirs.role, theirs.leader, theirs.term) == ("follower", A, mine.term)
    follower = next(member for member in mine.members if member.node_id == B)
    assert follower.voter
    assert follower.match_index > 0
    assert all((member.state, member.match_index) == ("", 0) for member in theirs.members)


async def test_what_a_node_counted_is_told_as_time_series(cluster: Cluster) -> None:
    metrics = (await cluster.clients[A].status()).metrics
    assert metrics["orbit_raft_is_leader"] == 1
    assert metrics["orbit_raft_wal_fsync_duration_seconds_count"] == cluster.leader.metrics.wal_fsync.count > 0
    assert metrics["orbit_raft_wal_fsync_duration_seconds_sum"] > 0
    assert metrics['orbit_raft_peer_round_trip_time_seconds{quantile="0.5",to="(default:b)"}'] > 0


async def test_a_backup_is_what_the_node_gives_piece_by_piece(connect: Connect, cluster: Cluster, until: Until) -> None:
    ended = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            for piece in (b"a", b"b" * 100_000, b"c"):
                yield piece
        finally:
            ended.append(True)

    client = RaftAdminClient(await connect(RaftAdminService(cluster.leader, backup=pieces)))
    assert [piece async for piece in client.backup(timeout=10)] == [b"a", b"b" * 100_000, b"c"]
    async with aclosing(client.backup()) as abandoned:
        assert await anext(abandoned) == b"a"
    await until(lambda: ended == [True, True])
    with pytest.raises(Unimplemented):
        await anext(cluster.clients[A].backup())


async def test_a_learner_stays_one_until_it_is_promoted(cluster: Cluster) -> None:
    client = cluster.clients[A]
    await client.add(NEW, ADDRESS, learner=True)
    [learner] = [member for member in (await client.status()).members if member.node_id == NEW]
    assert (learner.voter, learner.address) == (False, ADDRESS)
    await client.promote(NEW)
    [voter] = [member for member in (await client.status()).members if member.node_id == NEW]
    assert (voter.voter, voter.address) == (True, ADDRESS)


async def test_adding_goes_on_where_an_earlier_attempt_left_a_learner(cluster: Cluster) -> None:
    client = cluster.clients[A]
    await client.add(NEW, ADDRESS, learner=True)
    await client.add(NEW, ADDRESS)
    assert NEW in cluster.leader.core.configuration.voters


async def test_a_voter_that_is_added_again_keeps_its_vote_meanwhile_and_its_address(cluster: Cluster) -> None:
    before = cluster.leader.core.configuration
    for learner in (True, False):
        with pytest.raises(FailedPrecondition, match="voter already"):
            await cluster.clients[A].add(B, "http://elsewhere:1", learner=learner)
    with pytest.raises(FailedPrecondition, match="voter already"):
        await cluster.clients[A].promote(B)
    assert cluster.leader.core.configuration == before


async def test_who_is_no_member_cannot_be_promoted_or_removed(cluster: Cluster) -> None:
    for change in (cluster.clients[A].promote, cluster.clients[A].remove):
        with pytest.raises(FailedPrecondition, match="no member"):
            await change(NEW)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.transfer(),
        lambda client: client.transfer(B),
        lambda client: client.add(NEW, ADDRESS),
        lambda client: client.promote(NEW),
        lambda client: client.remove(A),
    ],
    ids=["transfer", "transfer to", "add", "promote", "remove"],
)
async def test_another_node_names_the_leader(
    cluster: Cluster, ask: Callable[[RaftAdminClient], Awaitable[object]]
) -> None:
    with pytest.raises(NotLeader) as refused:
        await ask(cluster.clients[B])
    assert refused.value.leader == A


async def test_the_leadership_goes_to_whom_it_was_meant_for(cluster: Cluster) -> None:
    assert await cluster.clients[A].transfer(B) == B
    assert (await cluster.clients[B].status()).role == "leader"


async def test_any_node_takes_a_snapshot_of_its_own(cluster: Cluster) -> None:
    for client in (cluster.clients[A], cluster.clients[B]):
        index, size = await client.snapshot()
        assert size > 0
        assert (await client.status()).snapshot_index == index > 0


@pytest.mark.parametrize("name", ["", "("])
async def test_a_name_that_cannot_be_read_changes_nothing(connect: Connect, cluster: Cluster, name: str) -> None:
    stub = lite.RaftAdminStub(await connect(RaftAdminService(cluster.leader)))
    before = cluster.leader.core.configuration
    with pytest.raises(InvalidArgument):
        await stub.add_node(lite.AddNodeRequest(node_id=name))
    with pytest.raises(InvalidArgument):
        await stub.promote_node(lite.PromoteNodeRequest(node_id=name))
    with pytest.raises(InvalidArgument):
        await stub.remove_node(lite.RemoveNodeRequest(node_id=name))
    assert cluster.leader.core.configuration == before


async def test_other_machines_see_everything_and_change_nothing(cluster: Cluster) -> None:
    service = RaftAdminService(cluster.leader)
    with call_scope(CallContext("/m", Peer("192.0.2.1", 1), Metadata())):
        assert (await service.get_raft_status(lite.GetRaftStatusRequest())).role == "leader"
        with pytest.raises(PermissionDenied):
            await service.remove_node(lite.RemoveNodeRequest(node_id=str(B)))
        with pytest.raises(PermissionDenied):
            await service.take_snapshot(lite.TakeSnapshotRequest())
        with pytest.raises(PermissionDenied):
            await anext(service.backup(lite.BackupRequest()))
        await RaftAdminService(cluster.leader, allow_remote=True).take_snapshot(lite.TakeSnapshotRequest())
    assert cluster.leader.get_cluster_nodes() == [A, B]


async def test_a_change_from_who_knows_where_is_refused(cluster: Cluster) -> None:
    with pytest.raises(PermissionDenied):
        await RaftAdminService(cluster.leader).remove_node(lite.RemoveNodeRequest(node_id=str(B)))
