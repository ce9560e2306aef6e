"""Nodes with `raft=True`: they elect a leader, replicate their directory, and operators see and change them."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_lite.directory import ReplicatedDirectory
from orbit_lite.errors import ConfigurationError, OrbitError
from orbit_lite.model import NodeId
from orbit_lite.node import NodeConfig, OrbitNode
from orbit_lite.raft import NotLeader, RaftConfig
from orbit_lite.rpc import Channel
from orbit_lite.services import RaftAdminClient, RaftReport


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in taken]
    for listener in taken:
        listener.close()
    return ports


class Ledger:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, index: int, data: bytes) -> bytes:
        self.lines.append(data)
        return b"%d" % len(self.lines)

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip((NodeId(f"n{number}") for number in range(1, 5)), free_ports(4), strict=True))
        self.nodes: dict[NodeId, OrbitNode] = {}
        self.ledgers: dict[NodeId, Ledger] = {}

    def address(self, name: NodeId) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    async def start(self, name: NodeId, *, join: bool = False) -> OrbitNode:
        founders = list(self.ports)[:3]
        self.ledgers[name] = Ledger()
        node = self.nodes[name] = OrbitNode(
            NodeConfig(
                node_id=name,
                bind="127.0.0.1",
                port=self.ports[name],
                seed_nodes={other: self.address(other) for other in founders if other != name},
                data_dir=self.folder / name.key,
                raft=True,
                raft_join=join,
            ),
            state_machine=self.ledgers[name],
        )
        await node.start()
        return node

    async def report(self, name: NodeId) -> RaftReport:
        async with Channel("127.0.0.1", self.ports[name]) as channel:
            return await RaftAdminClient(channel).status()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    found = Cluster(tmp_path)
    await asyncio.gather(*(found.start(name) for name in list(found.ports)[:3]))
    yield found
    await asyncio.gather(*(node.stop() for node in found.nodes.values()))


async def test_three_nodes_replicate_and_know_each_other(cluster: Cluster) -> None:
    nodes = list(cluster.nodes.values())
    for number, node in enumerate(nodes, 1):
        assert await node.consensus.propose(b"x") == b"%d" % number
    for node in nodes:
        directory = node.directory
        assert directory is not None
        for other in nodes:
            assert await directory.resolve_node(other.node_id) == other.url
    report = await cluster.report(nodes[0].node_id)
    assert report.leader == nodes[0].consensus.get_leader()
    assert {member.node_id for member in report.members} == set(cluster.nodes)
    assert all(member.voter for member in report.members)
    assert not report.failure
    assert report.applied >= 3


async def test_operators_transfer_add_snapshot_and_remove(cluster: Cluster) -> None:
    first = next(iter(cluster.nodes.values()))
    await first.consensus.propose(b"x")
    leader = first.consensus.get_leader()
    assert leader is not None
    other = next(name for name in cluster.nodes if name != leader)
    async with Channel("127.0.0.1", cluster.ports[other]) as channel:
        with pytest.raises(NotLeader) as refused:
            await RaftAdminClient(channel).transfer()
        assert refused.value.leader == leader
    newcomer = NodeId("n4")
    await cluster.start(newcomer, join=True)
    async with Channel("127.0.0.1", cluster.ports[leader]) as channel:
        client = RaftAdminClient(channel)
        index, size = await client.snapshot()
        assert index > 1
        assert size > 0
        await client.add(newcomer, cluster.address(newcomer), timeout=30)
        await cluster.nodes[newcomer].consensus.read()
        assert cluster.ledgers[newcomer].lines == [b"x"]
        report = await client.status()
        assert newcomer in {member.node_id for member in report.members if member.voter}
        await client.remove(newcomer)
        assert await client.transfer(other) == other
    assert (await cluster.report(other)).role == "leader"


async def test_a_leader_that_stops_hands_the_leadership_over(cluster: Cluster) -> None:
    first = next(iter(cluster.nodes.values()))
    await first.consensus.propose(b"x")
    before = first.consensus.get_leader()
    assert before is not None
    await cluster.nodes[before].stop()
    leaders = [node for name, node in cluster.nodes.items() if name != before and node.consensus.is_leader()]
    assert len(leaders) == 1


async def test_a_node_goes_on_from_its_store(cluster: Cluster) -> None:
    nodes = list(cluster.nodes.values())
    await nodes[0].consensus.propose(b"before")
    await nodes[0].stop()
    assert await nodes[1].consensus.propose(b"meanwhile", timeout=30) == b"2"
    back = await cluster.start(nodes[0].node_id)
    await back.consensus.read()
    assert cluster.ledgers[back.node_id].lines == [b"before", b"meanwhile"]


async def test_what_consensus_needs_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="data_dir"):
        NodeConfig(raft=True, node_id=NodeId("n"))
    with pytest.raises(ConfigurationError, match="node_id"):
        NodeConfig(raft=True, data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="raft_join"):
        NodeConfig(raft_join=True)
    async with OrbitNode(port=0) as node:
        assert node.directory is None
        with pytest.raises(ConfigurationError, match="raft=True"):
            node.consensus  # noqa: B018


async def test_the_store_is_closed_whatever_goes_wrong_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: ReplicatedDirectory) -> None:
        raise RuntimeError("no farewell")

    config = NodeConfig(node_id=NodeId("n"), bind="127.0.0.1", port=0, data_dir=tmp_path, raft=True)
    node = OrbitNode(config)
    await node.start()
    monkeypatch.setattr(ReplicatedDirectory, "stop", fail)
    with pytest.raises(RuntimeError, match="no farewell"):
        await node.stop()
    monkeypatch.undo()
    await OrbitNode(config).stop()  # a locked store would be refused


async def test_consensus_has_the_timings_of_the_configuration(tmp_path: Path) -> None:
    config = NodeConfig(
        node_id=NodeId("n"), port=0, data_dir=tmp_path, raft=True, raft_profile="orbit-rs", raft_heartbeat_interval=0.02
    )
    async with OrbitNode(config) as node:
        assert node.consensus.config == dataclasses.replace(RaftConfig.orbit_rs(), heartbeat_interval=0.02)


async def test_a_second_process_is_kept_out_of_the_store(tmp_path: Path) -> None:
    config = NodeConfig(node_id=NodeId("n"), bind="127.0.0.1", port=0, data_dir=tmp_path, raft=True)
    first = OrbitNode(config)
    with pytest.raises(OrbitError, match="open in another process"):
        OrbitNode(config)
    await first.stop()
    await OrbitNode(config).stop()
