"""Snapshots of a state that takes long to write down, and of one that takes long to send."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from orbit_lite.model import LiteKind, NodeId
from orbit_lite.raft import Configuration, InstallSnapshotRequest, Member, RaftConfig, RaftConsensus
from orbit_lite.raft.applier import Applier
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.network import MemoryNetwork

ME, LEADER = NodeId("me"), NodeId("leader")


class Slow:
    """A ledger whose state is written down when the test says so."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.asked = threading.Event()
        self.allowed = threading.Event()
        self.thread = ""

    def apply(self, index: int, data: bytes) -> bytes:
        self.lines.append(data)
        return data

    def snapshot(self) -> Callable[[], bytes]:
        lines = list(self.lines)

        def write_down() -> bytes:
            self.thread = threading.current_thread().name
            self.asked.set()
            assert self.allowed.wait(30)
            return b"\n".join(lines)

        return write_down

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    machine = Slow()
    yield machine
    machine.allowed.set()


async def started(names: list[NodeId], machine: Slow, store: MemoryLogStore) -> RaftConsensus:
    node = RaftConsensus(ME, names, RaftConfig(), store=store, state_machine=machine)
    await MemoryNetwork().start(node)
    return node


async def test_entries_are_applied_while_the_state_of_before_is_written_down(slow: Slow) -> None:
    store = MemoryLogStore()
    node = await started([ME], slow, store)
    await node.propose(b"before")
    snapshot = asyncio.create_task(node.take_snapshot())
    assert await asyncio.to_thread(slow.asked.wait, 30)
    assert await node.propose(b"behind") == b"behind"
    assert not snapshot.done()
    slow.allowed.set()
    meta = await snapshot
    assert meta is not None
    assert slow.thread != threading.current_thread().name
    await node.stop()

    again = Slow()
    node = await started([ME], again, store)
    await node.read()
    assert again.lines == [b"before", b"behind"]
    assert node.metrics.snapshots_restored == 1
    await node.stop()


async def test_a_leaders_snapshot_overtakes_one_that_is_still_written_down(slow: Slow) -> None:
    store = MemoryLogStore()
    node = await started([ME, LEADER], slow, store)
    writing = asyncio.create_task(node.take_snapshot())
    assert await asyncio.to_thread(slow.asked.wait, 30)

    class Ledger(Slow):
        def snapshot(self) -> Callable[[], bytes]:
            return lambda: b"\n".join(self.lines)

    theirs = Ledger()
    theirs.lines = [b"%d" % number for number in range(50)]
    applier = Applier({LiteKind.DATA: theirs}, max_sessions=node.config.max_sessions)
    applier.index, applier.term = 50, 2
    meta, data = applier.snapshot(Configuration("default", (Member(ME), Member(LEADER))))
    await node.handle(InstallSnapshotRequest(2, LEADER, meta, 0, data))
    while node.applied_index < 50:  # noqa: ASYNC110
        await asyncio.sleep(0)
    slow.allowed.set()
    await writing
    assert node.failure is None
    assert store.load().snapshot == meta
    assert slow.lines == theirs.lines
    await node.stop()
