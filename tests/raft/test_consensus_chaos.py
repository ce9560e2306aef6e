"""The real driver under faults drawn from a seed, in virtual time: what was acknowledged is there, once, everywhere.

The simulator of `orbit_lite.testing` searches the core far wider; here the event loop's part is what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from itertools import permutations
from typing import Any

import pytest

from orbit_lite.errors import Executed, OrbitError
from orbit_lite.model import NodeId
from orbit_lite.raft import RaftConfig, RaftConsensus
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.clock import VirtualTimeLoop, run
from orbit_lite.testing.network import MemoryNetwork

NAMES = tuple(NodeId(name) for name in "abc")
CONFIG = RaftConfig(snapshot_entries=25, snapshot_trailing_entries=3, snapshot_chunk_bytes=50)


class Ledger:
    """Remembers what it was told; answers with how much that was."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, index: int, data: bytes) -> bytes:
        self.lines.append(data)
        return b"%d" % len(self.lines)

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


class Storm:
    """A cluster, clients, and whatever hits them."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.network = MemoryNetwork()
        self.stores = {name: MemoryLogStore() for name in NAMES}
        self.ledgers: dict[NodeId, Ledger] = {}
        self.acknowledged: dict[bytes, int] = {}  # with the place in the ledger that the client was told
        self.refused: set[bytes] = set()

    async def start(self, name: NodeId) -> None:
        ledger = self.ledgers[name] = Ledger()
        node = RaftConsensus(name, NAMES, CONFIG, store=self.stores[name], state_machine=ledger)
        await self.network.start(node)

    def any_node(self) -> RaftConsensus:
        return self.draw.choice(list(self.network.nodes.values()))

    async def client(self, name: str) -> None:
        """Propose, in a session or without, and give up now and then; read what was acknowledged."""
        for seq in range(1, 10_000):
            line = f"{name}-{seq}".encode()
            session = {"client": name, "seq": seq} if self.draw.random() < 0.7 else {}
            node = self.any_node()
            try:
                async with asyncio.timeout(self.draw.choice([0.01, 0.1, 20.0])):
                    self.acknowledged[line] = int(await node.propose(line, timeout=10.0, **session))  # type: ignore[arg-type]
            except OrbitError as error:
                if error.executed is Executed.NO:
                    self.refused.add(line)
            except TimeoutError:
                pass
            done = len(self.acknowledged)
            reader = self.any_node()
            with contextlib.suppress(OrbitError, TimeoutError):
                async with asyncio.timeout(self.draw.choice([0.01, 20.0])):
                    await reader.read(5.0)
                    if reader.is_running:
                        assert len(self.ledgers[reader.node_id].lines) >= done, "a read missed what was acknowledged"
            await asyncio.sleep(self.draw.uniform(0.0, 0.2))

    async def weather(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        while True:
            await asyncio.sleep(self.draw.uniform(0.1, 3.0))
            node = self.any_node()
            match self.draw.choice(
                ["isolate", "one way", "heal", "heal", "restart", "disk", "jump", "transfer", "snapshot"]
            ):
                case "isolate":
                    self.network.isolate(node.node_id)
                case "one way":
                    self.network.cut.add(self.draw.choice(list(permutations(NAMES, 2))))
                case "heal":
                    self.network.heal()
                case "restart":
                    await self.network.stop(node)
                    await asyncio.sleep(self.draw.uniform(0.0, 2.0))
                    await self.start(node.node_id)
                case "disk":
                    loop.work_time = self.draw.choice([0.0, 0.001, 0.05, 0.5])
                case "jump":
                    loop.jump(self.draw.uniform(0.0, 10.0))
                case "transfer":
                    with contextlib.suppress(OrbitError):
                        await node.transfer_leadership()
                case "snapshot":
                    with contextlib.suppress(OrbitError):
                        await node.take_snapshot()

    async def calm(self) -> None:
        """Everything works again: all nodes must agree, soon."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.work_time = 0.0
        self.network.heal()
        for name in NAMES:
            if name not in self.network.nodes:
                await self.start(name)
        async with asyncio.timeout(10 * CONFIG.election_timeout_max):
            await self.any_node().propose(b"last", client="end", seq=1)
            for node in self.network.nodes.values():
                await node.read()

    def check(self) -> None:
        ledger = self.ledgers[NAMES[0]].lines
        assert all(other.lines == ledger for other in self.ledgers.values())
        assert len(ledger) == len(set(ledger)), "applied twice"
        assert not self.refused & set(ledger), "what was refused was applied"
        for line, place in self.acknowledged.items():
            assert ledger[place - 1] == line, "acknowledged, and not there"
        for node in self.network.nodes.values():
            assert node.failure is None
            assert node.pending_proposals == 0


@pytest.mark.parametrize("seed", range(8))
def test_what_was_acknowledged_is_there_once_and_everywhere(seed: int) -> None:
    async def scenario() -> Storm:
        storm = Storm(seed)
        unseen: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        for name in NAMES:
            await storm.start(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.gather(storm.weather(), *(storm.client(f"client {number}") for number in range(4)))
        await storm.calm()
        storm.check()
        for node in list(storm.network.nodes.values()):
            await storm.network.stop(node)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
        gc.collect()
        assert not unseen, "errors that nobody saw"
        return storm

    random.seed(seed)  # election timeouts
    assert len(run(scenario()).acknowledged) > 20
