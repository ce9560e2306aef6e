"""The replicated directory over real consensus, in virtual time, while the network does what it wants."""

from __future__ import annotations

import asyncio
import contextlib
import random
from itertools import combinations

import pytest

from orbit_lite.directory import DirectoryMachine, ReplicatedDirectory
from orbit_lite.errors import OrbitError
from orbit_lite.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo
from orbit_lite.raft import RaftConfig, RaftConsensus
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.clock import VirtualTimeLoop, run
from orbit_lite.testing.network import MemoryNetwork

NAMES = tuple(NodeId(name) for name in "abc")
ACTORS = tuple(AddressableReference.of("Account", number) for number in range(6))
LEASE = 5.0
CONFIG = RaftConfig(snapshot_entries=50, snapshot_trailing_entries=5)


class Town:
    """Nodes that host actors; each may be cut off, stand still, or be started anew."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.stores = {name: MemoryLogStore() for name in NAMES}
        self.consensus: dict[NodeId, RaftConsensus] = {}
        self.directories: dict[NodeId, ReplicatedDirectory] = {}
        self.starts = 0

    async def start(self, name: NodeId) -> None:
        machine = DirectoryMachine()
        node = self.consensus[name] = RaftConsensus(name, NAMES, CONFIG, store=self.stores[name], directory=machine)
        await self.network.start(node)
        self.starts += 1
        info = NodeInfo(name, f"http://{name.key}:1", 1, NodeCapabilities(("Account",)))
        directory = self.directories[name] = ReplicatedDirectory(
            node, machine, info, incarnation=self.starts, lease_duration=LEASE, request_timeout=2.0
        )
        await directory.start()

    async def kill(self, name: NodeId) -> None:
        """Its last words are not heard."""
        others = set(NAMES) - {name}
        self.network.cut |= {(name, other) for other in others} | {(other, name) for other in others}
        await self.directories.pop(name).stop(timeout=0.1)
        await self.network.stop(self.consensus.pop(name))

    def holders(self, actor: AddressableReference) -> list[tuple[NodeId, int]]:
        """Who believes that it may act in the actor's name."""
        found = ((name, directory.epoch_of(actor)) for name, directory in self.directories.items())
        return [(name, epoch) for name, epoch in found if epoch is not None]

    async def stop(self) -> None:
        for name in list(self.directories):
            await self.directories[name].stop(timeout=0.1)
        for node in self.consensus.values():
            await node.stop()


def test_actors_move_away_from_a_node_that_died() -> None:
    async def scenario() -> None:
        town = Town()
        for name in NAMES:
            await town.start(name)
        await asyncio.sleep(5.0)
        homes = {actor: await town.directories[NAMES[0]].resolve_addressable(actor) for actor in ACTORS}
        for directory in town.directories.values():
            await directory.refresh()
            assert {actor: await directory.resolve_addressable(actor) for actor in ACTORS} == homes
        victim = homes[ACTORS[0]]
        await town.kill(victim)
        await asyncio.sleep(2 * LEASE + 5.0)
        survivor = next(iter(town.directories.values()))
        assert victim not in survivor.machine.nodes
        assert await survivor.resolve_addressable(ACTORS[0]) != victim
        await town.stop()

    random.seed(1)
    run(scenario())


@pytest.mark.parametrize("seed", range(6))
def test_no_two_nodes_ever_act_in_the_name_of_one_actor(seed: int) -> None:
    """And an epoch, once it was replaced by a later one, is never held again."""
    draw = random.Random(seed)
    town = Town()
    newest: dict[AddressableReference, int] = {}
    resolved = 0

    def check() -> None:
        for actor in ACTORS:
            holders = town.holders(actor)
            assert len(holders) <= 1, f"seed {seed}: {holders} all hold {actor}"
            for _, epoch in holders:
                assert epoch >= newest.get(actor, 0)
                newest[actor] = epoch

    async def watch() -> None:
        while True:
            check()
            await asyncio.sleep(0.05)

    async def ask() -> None:
        nonlocal resolved
        while True:
            await asyncio.sleep(draw.uniform(0.0, 0.5))
            directory = draw.choice(list(town.directories.values()))
            actor = draw.choice(ACTORS)
            with contextlib.suppress(OrbitError):
                if draw.random() < 0.3 and (epoch := directory.epoch_of(actor)) is not None:
                    await directory.release(actor, epoch)
                else:
                    await directory.resolve_addressable(actor)
                    resolved += 1

    async def harm() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        while True:
            await asyncio.sleep(draw.uniform(0.5, 2 * LEASE))
            match draw.choice(["isolate", "one way", "heal", "heal", "jump", "restart"]):
                case "isolate":
                    town.network.isolate(draw.choice(NAMES))
                case "one way":
                    town.network.cut.add(draw.choice([*combinations(NAMES, 2), *combinations(NAMES[::-1], 2)]))
                case "heal":
                    town.network.heal()
                case "jump":
                    loop.jump(draw.uniform(0.0, 2 * LEASE))
                    check()
                case "restart":
                    name = draw.choice(NAMES)
                    await town.kill(name)
                    await asyncio.sleep(draw.uniform(0.0, LEASE))
                    town.network.heal()
                    await town.start(name)

    async def scenario() -> None:
        for name in NAMES:
            await town.start(name)
        async with asyncio.timeout(200):
            await asyncio.gather(watch(), ask(), ask(), harm())

    async def whole() -> None:
        with contextlib.suppress(TimeoutError):
            await scenario()
        await town.stop()
        assert all(node.failure is None for node in town.consensus.values())

    random.seed(seed)
    run(whole(), work_time=0.002)
    assert resolved > 20
    assert len(newest) == len(ACTORS)
