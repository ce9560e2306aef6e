"""Three nodes with `raft=True` on loopback: an actor is active on one of them, whatever becomes of the others.

The rules are tested in virtual time beside this (`test_homes.py`); here is whether whole nodes keep them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orbit_lite.actors import ActorContext, actor
from orbit_lite.errors import ClusterError, ConfigurationError, Executed, LeaseExpired, OrbitError, TimeoutError
from orbit_lite.model import Json, NodeId
from orbit_lite.node import NodeConfig, OrbitClient, OrbitNode

LEASE = 2.0
KEYS = [f"k{number}" for number in range(12)]

ACTIVE: dict[Json, list[str]] = {}


@actor("Lodger")
class Lodger:
    """Says where it is; notes where it is active."""

    context: ActorContext

    async def on_activate(self) -> None:
        ACTIVE.setdefault(self.context.key.value, []).append(self.context.node_id.key)

    async def on_deactivate(self) -> None:
        ACTIVE[self.context.key.value].remove(self.context.node_id.key)

    async def where(self) -> str:
        assert self.context.epoch is not None
        assert ACTIVE[self.context.key.value] == [self.context.node_id.key]
        return self.context.node_id.key


class Cluster:
    def __init__(self, folder: Path) -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()
        self.folder = folder
        self.ports = {NodeId(f"n{number}"): port for number, port in enumerate(ports, 1)}
        self.nodes: dict[str, OrbitNode] = {}

    async def start(self, name: NodeId) -> OrbitNode:
        seeds = {other: f"http://127.0.0.1:{port}" for other, port in self.ports.items() if other != name}
        node = self.nodes[name.key] = OrbitNode(
            NodeConfig(
                node_id=name,
                port=self.ports[name],
                seed_nodes=seeds,
                data_dir=self.folder / name.key,
                raft=True,
                announce_interval=0.5,
                lease_duration=LEASE,
            )
        )
        node.register(Lodger)
        await node.start()
        return node

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))

    async def kill(self, name: str) -> OrbitNode:
        """Let the node fall silent in the midst of all; its actors are gone with its memory."""
        node = self.nodes.pop(name)
        await node.consensus.stop()
        if node.server is not None:
            node.server.close()
        for places in ACTIVE.values():
            places[:] = [place for place in places if place != name]
        return node

    async def where(self, key: str, *through: OrbitNode, patience: float = 20.0) -> str:
        """The node where the actor answers, asked through each of these nodes or all."""
        found = set()
        for node in through or tuple(self.nodes.values()):
            async with asyncio.timeout(patience):
                while True:
                    try:
                        found.add(await node.actor("Lodger", key).invoke("where", timeout=5.0))
                        break
                    except OrbitError as error:
                        if error.executed is Executed.YES:
                            raise
                        await asyncio.sleep(0.1)
        assert len(found) == 1, f"{key} lives on {found}"
        return str(found.pop())


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    ACTIVE.clear()
    for attempt in range(3):  # another program may take a port before the node does
        found = Cluster(tmp_path / str(attempt))
        started = await asyncio.gather(*(found.start(name) for name in found.ports), return_exceptions=True)
        problems = [problem for problem in started if isinstance(problem, BaseException)]
        if not problems:
            break
        await found.stop()
    else:
        raise problems[0]
    yield found
    await found.stop()


async def test_nodes_and_clients_find_an_actor_in_the_one_place_that_was_agreed_on(cluster: Cluster) -> None:
    places = {key: await cluster.where(key) for key in KEYS}
    assert set(places.values()) == {"n1", "n2", "n3"}
    async with OrbitClient([node.url for node in cluster.nodes.values()]) as client:
        for key, place in places.items():
            assert await client.actor("Lodger", key).invoke("where") == place
    assert {key: [place] for key, place in places.items()} == ACTIVE


async def test_a_node_that_stops_puts_its_actors_away_and_others_take_them_at_once(cluster: Cluster) -> None:
    """Also the leader: it is no longer believed when it has ceased to listen."""
    places = {key: await cluster.where(key) for key in KEYS}
    leader = next(name for name, node in cluster.nodes.items() if node.consensus.is_leader())
    leaving = cluster.nodes.pop(leader)
    await leaving.drain(5.0)
    assert leader not in {place for active in ACTIVE.values() for place in active}
    for node in cluster.nodes.values():
        assert node.directory is not None
        await node.directory.refresh()
        assert {host.key for host in node.directory.hosts_of("Lodger")} == set(cluster.nodes)
    for key in KEYS:
        place = await cluster.where(key, patience=3.0)
        assert place == places[key] if places[key] != leader else place in cluster.nodes
    await leaving.stop()


async def test_actors_of_a_node_that_died_come_up_elsewhere_once_its_lease_is_over(cluster: Cluster) -> None:
    places = {key: await cluster.where(key) for key in KEYS}
    dead = await cluster.kill("n3")
    survivor = cluster.nodes["n1"]
    assert survivor.directory is not None
    orphan = next(key for key, place in places.items() if place == "n3")
    with pytest.raises(OrbitError):
        await survivor.actor("Lodger", orphan).invoke("where", timeout=0.5)
    assert NodeId("n3") in survivor.directory.machine.nodes  # not before its lease is over
    for key, place in places.items():
        if place == "n3":
            assert await cluster.where(key) in ("n1", "n2")
    assert NodeId("n3") not in survivor.directory.machine.nodes
    await dead.stop()


async def test_without_a_majority_nothing_is_placed_and_what_runs_ends_with_its_lease(cluster: Cluster) -> None:
    places = {key: await cluster.where(key) for key in KEYS}
    mine = next(key for key, place in places.items() if place == "n1")
    alone = cluster.nodes["n1"]
    dead = [await cluster.kill("n2"), await cluster.kill("n3")]
    assert alone.directory is not None
    if alone.directory.has_lease:
        assert await alone.actor("Lodger", mine).invoke("where") == "n1"
    while alone.directory.has_lease or ACTIVE[mine]:  # noqa: ASYNC110  (a lease that ends is no event)
        await asyncio.sleep(0.02)
    with pytest.raises(LeaseExpired) as refused:
        await alone.actor("Lodger", mine).invoke("where")
    assert refused.value.executed is Executed.NO
    with pytest.raises(TimeoutError, match="while a home was sought") as unplaced:
        await alone.actor("Lodger", "new").invoke("where", timeout=0.5)
    assert unplaced.value.executed is Executed.NO
    assert not any(ACTIVE.values())
    await asyncio.gather(*(node.stop() for node in dead))


async def test_a_node_that_cannot_be_made_leaves_its_store_to_others(tmp_path: Path) -> None:
    config = NodeConfig(node_id=NodeId("n"), port=0, data_dir=tmp_path, raft=True)
    with pytest.raises(ConfigurationError, match="lease_duration"):
        OrbitNode(config, announce_interval=0.1, lease_duration=0.5)
    async with OrbitNode(config) as node:
        node.register(Lodger)
        ACTIVE.clear()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await node.actor("Lodger", "x").invoke("where") == "n"
                    break
                except ClusterError:  # it has to elect itself first
                    await asyncio.sleep(0.05)
