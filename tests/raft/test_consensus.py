"""RaftConsensus on a network in memory: what a user of one node, and an operator of several, can rely on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from orbit_lite.errors import ConfigurationError, Executed, InternalError, NetworkError, OrbitError
from orbit_lite.model import AppendEntriesRequest, AppendEntriesResponse, NodeId, RaftCommand, VoteRequest, VoteResponse
from orbit_lite.raft import (
    ChangeRefused,
    ClusterMismatch,
    Configuration,
    HardState,
    NotLeader,
    ProposalLost,
    RaftConfig,
    RaftConsensus,
    Request,
    Response,
    StoreFailed,
    TransferFailed,
    bootstrap_state,
)
from orbit_lite.storage import MemoryLogStore

CONFIG = RaftConfig(
    election_timeout_min=0.1,
    election_timeout_max=0.2,
    heartbeat_interval=0.02,
    snapshot_entries=40,
    snapshot_trailing_entries=5,
)


class Ledger:
    """Remembers what it was told; answers with the number of it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, index: int, data: bytes) -> bytes:
        if data == b"break":
            raise ValueError("cannot")
        self.lines.append(data)
        return b"%d" % len(self.lines)

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


class PlainTransport:
    """Raft's own two RPCs, to nodes in the same process."""

    def __init__(self, nodes: dict[NodeId, RaftConsensus]) -> None:
        self.nodes = nodes

    async def _ask(self, target: NodeId, request: Request, *, transfer: bool = False) -> Response:
        node = self.nodes.get(target)
        if node is None:
            raise NetworkError(f"{target} is down", executed=Executed.NO)
        await asyncio.sleep(0)
        return await node.handle(request, transfer=transfer)

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        return await self._ask(target, request)  # type: ignore[return-value]

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse:
        return await self._ask(target, request)  # type: ignore[return-value]

    async def broadcast_heartbeat(
        self, nodes: Sequence[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        return [await self.send_append_entries(node, request) for node in nodes]


class Transport(PlainTransport):
    """The others as well."""

    async def send_transfer_vote(self, target: NodeId, request: VoteRequest) -> Any:
        return await self._ask(target, request, transfer=True)

    async def forward_proposal(self, target: NodeId, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        node = self.nodes.get(target)
        if node is None:
            raise NetworkError(f"{target} is down", executed=Executed.NO)
        return await node.propose_forwarded(commands)

    async def update_node_address(self, node_id: NodeId, address: str) -> None:
        pass

    async def send_pre_vote(self, target: NodeId, request: Any) -> Any:
        return await self._ask(target, request)

    send_install_snapshot = send_timeout_now = send_read_index = send_pre_vote


class Cluster:
    """Nodes by name; `kill` leaves a node's store as it is."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, RaftConsensus] = {}
        self.stores: dict[NodeId, Any] = {}
        self.ledgers: dict[NodeId, Ledger] = {}
        self.transport: Callable[[dict[NodeId, RaftConsensus]], PlainTransport] = Transport

    async def start(self, count: int = 3, *, config: RaftConfig = CONFIG) -> list[RaftConsensus]:
        names = [NodeId(f"n{number}") for number in range(1, count + 1)]
        return [await self.add(name, names, config=config) for name in names]

    async def add(
        self, name: NodeId, names: Sequence[NodeId], *, join: bool = False, config: RaftConfig = CONFIG
    ) -> RaftConsensus:
        store = self.stores.setdefault(name, MemoryLogStore())
        ledger = self.ledgers[name] = Ledger()
        node = RaftConsensus(name, names, config, store=store, state_machine=ledger, join=join)
        self.nodes[name] = node
        await node.start(self.transport(self.nodes))
        return node

    async def kill(self, node: RaftConsensus) -> None:
        del self.nodes[node.node_id]
        await node.stop()

    async def leader(self) -> RaftConsensus:
        while True:
            for node in self.nodes.values():
                if node.is_leader():
                    return node
            await asyncio.sleep(0.01)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    found = Cluster()
    yield found
    await asyncio.gather(*(node.stop() for node in found.nodes.values()))
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "raft" in repr(task)], "a task was left behind"


async def agreed(cluster: Cluster, *, among: Sequence[RaftConsensus] = ()) -> list[bytes]:
    """The ledger, after every node has read."""
    nodes = among or list(cluster.nodes.values())
    for node in nodes:
        await node.read(10)
    lines = [cluster.ledgers[node.node_id].lines for node in nodes]
    assert all(line == lines[0] for line in lines)
    return lines[0]


async def test_every_node_takes_proposals_and_all_apply_them(cluster: Cluster) -> None:
    nodes = await cluster.start()
    for number, node in enumerate(nodes, 1):
        assert await node.propose(b"from %d" % number) == b"%d" % number
    assert await agreed(cluster) == [b"from 1", b"from 2", b"from 3"]
    leaders = {node.get_leader() for node in nodes}
    assert len(leaders) == 1
    assert leaders.pop() in {node.node_id for node in nodes if node.is_leader()}
    assert {node.get_current_term() for node in nodes} == {nodes[0].get_current_term()}
    assert nodes[0].get_cluster_nodes() == sorted(node.node_id for node in nodes)


async def test_a_single_node_is_a_cluster(cluster: Cluster) -> None:
    [node] = await cluster.start(1)
    assert await node.propose(b"x") == b"1"
    await node.read()
    with pytest.raises(TransferFailed, match="only voter"):
        await node.transfer_leadership()


async def test_a_proposal_made_again_in_its_session_is_applied_once(cluster: Cluster) -> None:
    nodes = await cluster.start()
    first = await nodes[0].propose(b"pay", client="c", seq=1)
    assert [await node.propose(b"pay", client="c", seq=1) for node in nodes] == [first] * 3
    assert await nodes[1].propose(b"pay", client="c", seq=2) == b"2"
    assert await agreed(cluster) == [b"pay", b"pay"]


async def test_the_cluster_goes_on_when_its_leader_is_killed(cluster: Cluster) -> None:
    await cluster.start()
    leader = await cluster.leader()
    await leader.propose(b"before")
    await cluster.kill(leader)
    survivor = next(iter(cluster.nodes.values()))
    assert await survivor.propose(b"after", timeout=10) == b"2"
    back = await cluster.add(leader.node_id, list(cluster.stores))
    await back.read(10)
    assert cluster.ledgers[back.node_id].lines == [b"before", b"after"]


async def test_nothing_is_decided_without_a_majority(cluster: Cluster) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    for node in nodes:
        if node is not leader:
            await cluster.kill(node)
    with pytest.raises((ProposalLost, NotLeader)):
        await leader.propose(b"lost?", timeout=0.5)
    with pytest.raises(NotLeader):
        await leader.read(0.3)


async def test_a_cluster_that_was_stopped_goes_on_from_its_stores(cluster: Cluster) -> None:
    nodes = await cluster.start()
    for number in range(100):
        await nodes[0].propose(b"%d" % number)
    term = nodes[0].get_current_term()
    for node in nodes:
        await cluster.kill(node)
    nodes = await cluster.start()
    assert await agreed(cluster) == [b"%d" % number for number in range(100)]
    assert nodes[0].get_current_term() >= term
    assert any(store.load().snapshot is not None for store in cluster.stores.values())


async def test_a_node_that_joins_catches_up_by_snapshot_and_becomes_a_voter(cluster: Cluster) -> None:
    nodes = await cluster.start()
    for number in range(100):
        await nodes[0].propose(b"%d" % number)
    newcomer = await cluster.add(NodeId("n4"), [], join=True)
    leader = await cluster.leader()
    await leader.add_node(newcomer.node_id, "http://n4:1", timeout=10)
    assert newcomer.node_id in leader.core.configuration.voters
    assert cluster.stores[newcomer.node_id].load().snapshot is not None
    assert len(await agreed(cluster)) == 100
    await leader.remove_node(newcomer.node_id)
    assert newcomer.node_id not in leader.get_cluster_nodes()


async def test_a_leader_that_removes_itself_hands_over(cluster: Cluster) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    await leader.propose(b"x")
    await leader.remove_node(leader.node_id)
    others = [node for node in nodes if node is not leader]
    assert await others[0].propose(b"y", timeout=10) == b"2"
    assert leader.node_id not in others[0].get_cluster_nodes()


async def test_only_the_leader_changes_the_membership(cluster: Cluster) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    other = next(node for node in nodes if node is not leader)
    await other.propose(b"x")
    with pytest.raises(NotLeader) as refused:
        await other.remove_node(leader.node_id)
    assert refused.value.leader == leader.node_id
    with pytest.raises(ChangeRefused, match="no member"):
        await leader.promote(NodeId("stranger"), timeout=0.1)


async def test_leadership_goes_where_it_is_sent(cluster: Cluster) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    await leader.propose(b"x")
    target = next(node for node in nodes if node is not leader)
    assert await leader.transfer_leadership(target.node_id) == target.node_id
    assert target.is_leader()
    assert await leader.propose(b"y") == b"2"
    with pytest.raises(TransferFailed):
        await target.transfer_leadership(NodeId("stranger"))


async def test_reads_after_a_transfer_see_everything(cluster: Cluster) -> None:
    await cluster.start()
    for number in range(10):
        leader = await cluster.leader()
        await leader.propose(b"%d" % number)
        await leader.transfer_leadership()
        new = await cluster.leader()
        await new.read()
        assert cluster.ledgers[new.node_id].lines[-1] == b"%d" % number


async def test_observers_hear_of_leaders_and_terms_in_order(cluster: Cluster) -> None:
    names = [NodeId(f"n{number}") for number in (1, 2, 3)]
    heard: list[tuple[str, object]] = []
    node = RaftConsensus(names[0], names, CONFIG, store=MemoryLogStore(), state_machine=Ledger())

    async def elected(leader: NodeId) -> None:
        await asyncio.sleep(0)
        heard.append(("elected", leader))

    def failing(leader: NodeId) -> None:
        raise ValueError("mine alone")

    node.on_leader_elected(failing)
    node.on_leader_elected(elected)
    node.on_leader_lost(lambda leader: heard.append(("lost", leader)))
    node.on_term_changed(lambda term: heard.append(("term", term)))
    cluster.nodes[names[0]] = node
    await node.start(Transport(cluster.nodes))
    others = [await cluster.add(name, names) for name in names[1:]]
    leader = await cluster.leader()
    await node.propose(b"x")
    await leader.transfer_leadership(next(other.node_id for other in [node, *others] if other is not leader))
    await node.propose(b"y")
    await asyncio.sleep(0.05)
    terms = [value for kind, value in heard if kind == "term"]
    assert terms == sorted(terms)  # type: ignore[type-var]
    leaders = [(kind, value) for kind, value in heard if kind != "term"]
    assert leaders[0] == ("elected", leader.node_id)
    assert ("lost", leader.node_id) in leaders
    assert leaders[-1] == ("elected", node.get_leader())


async def test_raft_s_own_two_rpcs_are_enough_to_elect_and_replicate(cluster: Cluster) -> None:
    cluster.transport = PlainTransport
    nodes = await cluster.start()
    leader = await cluster.leader()
    assert await leader.propose(b"x") == b"1"
    follower = next(node for node in nodes if node is not leader)
    with pytest.raises(NotLeader):
        await follower.propose(b"y", timeout=0.2)


async def test_a_store_that_fails_silences_its_node_and_tells_everybody(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    await leader.propose(b"x")

    def fail(**_: object) -> bool:
        raise StoreFailed("no space left on device")

    cluster.stores[leader.node_id].save = fail
    with caplog.at_level(logging.ERROR), pytest.raises(StoreFailed, match="no space"):
        await leader.propose(b"y", timeout=5)
    assert isinstance(leader.failure, StoreFailed)
    assert not leader.is_leader()
    assert "takes no part in consensus any more" in caplog.text
    with pytest.raises(StoreFailed):
        await leader.handle(VoteRequest(99, NodeId("n9"), 0, 0))
    with pytest.raises(StoreFailed):
        await leader.read()
    other = next(node for node in nodes if node is not leader)
    assert await other.propose(b"z", timeout=10) in {b"2", b"3"}


async def test_a_store_that_fails_behind_its_answer_silences_its_node_too(cluster: Cluster) -> None:
    await cluster.start()
    leader = await cluster.leader()
    failed = asyncio.Event()

    def fail() -> None:
        raise StoreFailed("the mark was not synced")

    leader.on_failed(lambda error: failed.set())
    cluster.stores[leader.node_id].settle = fail
    with suppress(OrbitError):  # it may be decided before
        await leader.propose(b"x", timeout=5)
    await failed.wait()
    assert isinstance(leader.failure, StoreFailed)
    with pytest.raises(StoreFailed, match="mark"):
        await leader.propose(b"y", timeout=5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_state_machine_that_raises_stops_its_node(cluster: Cluster) -> None:
    [node] = await cluster.start(1)
    with pytest.raises(InternalError, match="failed at entry"):
        await node.propose(b"break")
    assert isinstance(node.failure, InternalError)


async def test_a_cancelled_proposal_may_still_be_applied_and_harms_nobody(cluster: Cluster) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    for delay in (0, 0.0005, 0.002):
        work = asyncio.create_task(leader.propose(b"c"))
        await asyncio.sleep(delay)
        work.cancel()
        await asyncio.wait([work])
    read = asyncio.create_task(nodes[0].read())
    await asyncio.sleep(0)
    read.cancel()
    assert await leader.propose(b"d")
    assert (await agreed(cluster))[-1] == b"d"


async def test_stopping_tells_those_who_wait(cluster: Cluster) -> None:
    nodes = await cluster.start()
    leader = await cluster.leader()
    for node in nodes:
        if node is not leader:
            await cluster.kill(node)
    work = asyncio.create_task(leader.propose(b"x", timeout=30))
    await asyncio.sleep(0.01)
    await cluster.kill(leader)
    with pytest.raises(OrbitError):
        await work
    await leader.stop()


async def test_what_cannot_be_is_said_at_the_start(cluster: Cluster) -> None:
    name = NodeId("n1")
    with pytest.raises(ConfigurationError, match="MemoryLogStore"):
        RaftConsensus(name, [name])
    store = MemoryLogStore()
    stored = bootstrap_state(Configuration("another", ()))
    store.save(hard_state=HardState(1), entries=stored.entries)
    node = RaftConsensus(name, [name], CONFIG, store=store, state_machine=Ledger())
    with pytest.raises(ConfigurationError, match="was not started"):
        node.status()
    started = RaftConsensus(name, [name], CONFIG, store=MemoryLogStore(), state_machine=Ledger())
    await started.start(Transport({}))
    with pytest.raises(ConfigurationError, match="starts once"):
        await started.start(Transport({}))
    await started.stop()


async def test_a_store_of_another_cluster_is_refused() -> None:
    name = NodeId("n1")
    store = MemoryLogStore()
    first = RaftConsensus(name, [name], CONFIG, store=store, state_machine=Ledger(), cluster_id="one")
    await first.start(Transport({}))
    await first.stop()
    second = RaftConsensus(name, [name], CONFIG, store=store, state_machine=Ledger(), cluster_id="two")
    with pytest.raises(ClusterMismatch, match="'one'"):
        await second.start(Transport({}))
