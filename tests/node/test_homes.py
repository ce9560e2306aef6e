"""Actors placed by the replicated directory, over real consensus and in virtual time: one actor, one node, at most.

What nodes say to each other about actors goes over the same links as their consensus, and is cut with them.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import random
from itertools import combinations
from typing import Any

import pytest

from orbit_lite.actors import ActorConfig, ActorContext, ActorRegistry, ActorSystem, actor
from orbit_lite.directory import DirectoryMachine, PlacementUnavailable, ReplicatedDirectory
from orbit_lite.errors import ConnectError, Executed, LeaseExpired, OrbitError
from orbit_lite.model import (
    AddressableReference,
    InvocationRequest,
    Json,
    NodeCapabilities,
    NodeId,
    NodeInfo,
)
from orbit_lite.node.homes import HomeWatch
from orbit_lite.raft import RaftConfig, RaftConsensus
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.clock import VirtualTimeLoop, run
from orbit_lite.testing.network import MemoryNetwork

NAMES = tuple(NodeId(name) for name in "abc")
KEYS = tuple(f"k{number}" for number in range(6))
LEASE, GRACE = 5.0, 0.5
CONFIG = RaftConfig(snapshot_entries=50, snapshot_trailing_entries=5)


class Record:
    """What the actors of a town did, as nobody in it can know."""

    def __init__(self) -> None:
        self.running: dict[Json, NodeId] = {}
        self.epochs: dict[Json, int] = {}
        self.put_away: list[Json] = []
        self.faults: list[str] = []


RECORD = Record()


@actor("Tenant", idle_timeout=20.0)
class Tenant:
    """Notes where it runs, and under which epoch."""

    context: ActorContext

    async def on_activate(self) -> None:
        with self.noted():
            await asyncio.sleep(0.01)

    async def on_deactivate(self) -> None:
        with self.noted():
            await asyncio.sleep(0.01)
            RECORD.put_away.append(self.context.key.value)

    async def stay(self, seconds: float) -> str:
        with self.noted():
            await asyncio.sleep(seconds)
        return self.context.node_id.key

    @contextlib.contextmanager
    def noted(self) -> Any:
        key, here, epoch = self.context.key.value, self.context.node_id, self.context.epoch
        assert epoch is not None
        if key in RECORD.running:
            RECORD.faults.append(f"{key} runs on {here} and on {RECORD.running[key]}")
        if epoch < RECORD.epochs.get(key, 0):
            RECORD.faults.append(f"{key} runs on {here} under {epoch}, after {RECORD.epochs[key]}")
        RECORD.running[key] = here
        RECORD.epochs[key] = epoch
        try:
            yield
        finally:
            if RECORD.running.get(key) == here:
                del RECORD.running[key]


class Node:
    """One process: consensus, directory, actors."""

    def __init__(self, town: Town, name: NodeId) -> None:
        self.name = name
        self._town = town
        self._machine = DirectoryMachine()
        self.consensus = RaftConsensus(name, NAMES, CONFIG, store=town.stores[name], directory=self._machine)
        self.directory = ReplicatedDirectory(
            self.consensus, self._machine, lease_duration=LEASE, request_timeout=2.0, grace=GRACE
        )
        registry = ActorRegistry()
        registry.register(Tenant)
        config = ActorConfig(sweep_interval=3.0, invocation_timeout=20.0)
        self.actors = ActorSystem(
            name, registry=registry, invoker=self, hosts=self.directory, homes=self.directory, config=config
        )
        self.homes = HomeWatch(self.directory, self.actors, self)  # type: ignore[arg-type]  # it is told of lost peers

    async def start(self, incarnation: int) -> None:
        await self._town.network.start(self.consensus)
        info = NodeInfo(self.name, f"http://{self.name.key}:1", 1, NodeCapabilities(("Tenant",)))
        await self.directory.start(info, incarnation=incarnation)
        await self.actors.start()
        self.homes.start()

    async def stop(self) -> None:
        await self.actors.close()
        await self.homes.close()
        await self.directory.stop(timeout=0.1)
        await self._town.network.stop(self.consensus)

    async def call(self, key: str, seconds: float = 0.0, *, timeout: float | None = None) -> Json:
        return await self.actors.invoke(tenant(key), "stay", [seconds], timeout=timeout)

    async def invoke(
        self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        await asyncio.sleep(0.001)
        there = self._town.nodes.get(node_id)
        if there is None or (self.name, node_id) in self._town.network.cut:
            raise ConnectError(f"{node_id} is out of reach")
        return await there.actors.handle(request, source=self.name, attempts=attempts, timeout=timeout)

    def forget(self, node_id: NodeId) -> None:
        self._town.forgotten.append((self.name, node_id))


class Town:
    def __init__(self) -> None:
        RECORD.__init__()  # type: ignore[misc]  # a town begins with nothing
        self.network = MemoryNetwork()
        self.stores = {name: MemoryLogStore() for name in NAMES}
        self.nodes: dict[NodeId, Node] = {}
        self.forgotten: list[tuple[NodeId, NodeId]] = []
        self.starts = 0

    async def start(self, name: NodeId) -> Node:
        self.starts += 1
        node = self.nodes[name] = Node(self, name)
        await node.start(self.starts)
        return node

    async def kill(self, name: NodeId) -> None:
        """Nothing that it does from now on counts."""
        node = self.nodes.pop(name)
        self.network.cut |= {pair for other in NAMES for pair in ((name, other), (other, name)) if other != name}
        RECORD.running = {key: where for key, where in RECORD.running.items() if where != name}
        for reference in node.actors._calls:
            reference.cut("killed")
        await node.consensus.stop()
        await node.stop()

    async def __aenter__(self) -> Town:
        for name in NAMES:
            await self.start(name)
        await asyncio.sleep(4.0)
        return self

    async def __aexit__(self, *problem: object) -> None:
        for name in list(self.nodes):
            await self.nodes.pop(name).stop()
        assert not RECORD.faults, RECORD.faults

    def actives(self, key: str) -> list[NodeId]:
        """Nodes that keep the actor in memory."""
        here = tenant(key)
        return [name for name, node in self.nodes.items() if any(v.reference == here for v in node.actors.snapshot())]


def tenant(key: str) -> AddressableReference:
    return AddressableReference.of("Tenant", key)


def test_all_nodes_call_the_actor_where_it_was_placed_and_give_its_home_back_when_it_is_idle() -> None:
    async def scenario() -> None:
        async with Town() as town:
            places = {key: {str(await node.call(key)) for node in town.nodes.values()} for key in KEYS}
            assert all(len(where) == 1 for where in places.values())
            assert len(set.union(*places.values())) > 1
            epochs = dict(RECORD.epochs)
            await asyncio.sleep(30.0)
            for node in town.nodes.values():
                assert not node.actors.snapshot()
                assert not node.directory.machine.actors
            assert sorted(map(str, RECORD.put_away)) == sorted(KEYS)
            await town.nodes[NAMES[0]].call(KEYS[0])
            assert RECORD.epochs[KEYS[0]] > epochs[KEYS[0]]

    run(scenario())


def test_actors_of_a_dead_node_come_up_elsewhere_when_its_lease_is_over_and_not_before() -> None:
    async def scenario() -> None:
        async with Town() as town:
            node = next(iter(town.nodes.values()))
            key, home = KEYS[0], NodeId(str(await node.call(KEYS[0])))
            await town.kill(home)
            survivor = next(iter(town.nodes.values()))
            began = asyncio.get_running_loop().time()
            while True:
                with contextlib.suppress(OrbitError):
                    where = NodeId(str(await survivor.call(key)))
                    break
                await asyncio.sleep(0.1)
            assert where != home
            assert asyncio.get_running_loop().time() - began >= LEASE * 0.6
            assert (survivor.name, home) in town.forgotten

    random.seed(1)
    run(scenario())


def test_a_node_without_a_majority_ends_its_actors_before_others_may_run_them() -> None:
    async def scenario() -> None:
        async with Town() as town:
            key = KEYS[0]
            home = NodeId(str(await town.nodes[NAMES[0]].call(key)))
            alone = town.nodes[home]
            town.network.isolate(home)
            assert await alone.call(key) == home.key  # it has its lease yet
            with pytest.raises(PlacementUnavailable) as unplaced:
                await alone.call("new", timeout=10.0)
            assert unplaced.value.executed is Executed.NO
            running = asyncio.create_task(alone.call(key, 15.0))
            with pytest.raises(LeaseExpired, match="may not run the actor any more") as cut:
                await running
            assert cut.value.executed is Executed.MAYBE
            await asyncio.sleep(GRACE)
            assert RECORD.put_away == [key]
            with pytest.raises(LeaseExpired, match="may not run") as refused:
                await alone.call(key)
            assert refused.value.executed is Executed.NO
            other = next(node for node in town.nodes.values() if node is not alone)
            assert home in other.directory.machine.nodes  # the others have not yet given it up
            await asyncio.sleep(2 * LEASE)
            assert NodeId(str(await other.call(key))) != home
            town.network.heal()
            await asyncio.sleep(LEASE)
            assert NodeId(str(await alone.call(key))) != home

    random.seed(2)
    run(scenario())


def test_a_hook_has_no_longer_than_the_lease() -> None:
    async def scenario() -> None:
        async with Town() as town:
            key = KEYS[0]
            home = NodeId(str(await town.nodes[NAMES[0]].call(key)))
            alone = town.nodes[home]
            alone_hook = asyncio.Event()

            async def never(self: Tenant) -> None:
                alone_hook.set()
                with self.noted():
                    await asyncio.sleep(100.0)

            original, Tenant.on_deactivate = Tenant.on_deactivate, never  # type: ignore[method-assign]
            try:
                town.network.isolate(home)
                await alone_hook.wait()
                await asyncio.sleep(GRACE + 0.2)
                assert not alone.actors.snapshot()
                assert key not in RECORD.running
            finally:
                Tenant.on_deactivate = original  # type: ignore[method-assign]

    random.seed(3)
    run(scenario())


def test_a_process_that_takes_the_nodes_name_ends_its_actors_at_once() -> None:
    async def scenario() -> None:
        async with Town() as town:
            key = KEYS[0]
            home = NodeId(str(await town.nodes[NAMES[0]].call(key)))
            node = town.nodes[home]
            twin = ReplicatedDirectory(
                node.consensus, node.directory.machine, lease_duration=LEASE, request_timeout=2.0
            )
            info = NodeInfo(home, "http://twin:1", 1, NodeCapabilities(("Tenant",)))
            await twin.start(info, incarnation=99)
            await asyncio.sleep(0.5)
            assert not node.actors.snapshot()
            assert not RECORD.put_away  # what it would have saved is out of date
            with pytest.raises(LeaseExpired):
                await node.call(key)
            await twin.stop(timeout=0.1)

    random.seed(4)
    run(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_no_actor_ever_runs_on_two_nodes(seed: int) -> None:
    """Nor under an epoch that is older than one under which it ran before."""
    draw = random.Random(seed)
    answered = 0

    def check(town: Town) -> None:
        for key in KEYS:
            active = town.actives(key)
            assert len(active) <= 1, f"seed {seed}: {key} is active on {active}"
        assert not RECORD.faults, f"seed {seed}: {RECORD.faults}"

    async def watch(town: Town) -> None:
        while True:
            check(town)
            await asyncio.sleep(0.05)

    async def ask(town: Town) -> None:
        nonlocal answered
        while True:
            await asyncio.sleep(draw.uniform(0.0, 0.5))
            if town.nodes:
                node = draw.choice(list(town.nodes.values()))
                with contextlib.suppress(OrbitError):
                    await node.call(draw.choice(KEYS), draw.choice([0.0, 0.0, 0.2, 3.0]))
                    answered += 1

    async def harm(town: Town) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        while True:
            await asyncio.sleep(draw.uniform(0.5, 2 * LEASE))
            match draw.choice(["isolate", "one way", "heal", "heal", "jump", "restart", "quiet"]):
                case "isolate":
                    town.network.isolate(draw.choice(NAMES))
                case "one way":
                    town.network.cut.add(draw.choice([*combinations(NAMES, 2), *combinations(NAMES[::-1], 2)]))
                case "heal":
                    town.network.heal()
                case "jump":
                    loop.jump(draw.uniform(0.0, 2 * LEASE))
                case "restart":
                    name = draw.choice(NAMES)
                    await town.kill(name)
                    await asyncio.sleep(draw.uniform(0.0, LEASE))
                    town.network.heal()
                    await town.start(name)
                case "quiet":
                    await asyncio.sleep(25.0)

    async def scenario() -> None:
        async with Town() as town:
            with contextlib.suppress(builtins.TimeoutError):
                async with asyncio.timeout(250):
                    await asyncio.gather(watch(town), *(ask(town) for _ in range(4)), harm(town))
            town.network.heal()

    random.seed(seed)
    run(scenario(), work_time=0.002)
    assert answered > 50
