"""A node that begins with a store: what it replays, in which order, and what it keeps in mind meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from orbit_lite.model import AppendEntriesRequest, AppendEntriesResponse, LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import (
    Configuration,
    HardState,
    Member,
    NotLeader,
    RaftConfig,
    RaftConsensus,
    bootstrap_state,
    encode_configuration,
)
from orbit_lite.raft.applier import Applier
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.clock import run
from orbit_lite.testing.network import MemoryNetwork

ME, LEADER, LATER = NodeId("me"), NodeId("leader"), NodeId("later")
FOUNDERS = Configuration("default", (Member(ME), Member(LEADER)))
CONFIG = RaftConfig(snapshot_entries=1_000_000)


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


def data(first: int, count: int) -> list[LogEntry]:
    return [
        LogEntry(1, index, LiteCommand(LiteKind.DATA, "", 0, b"%d" % index)) for index in range(first, first + count)
    ]


def store_of(entries: Sequence[LogEntry], *, with_snapshot: bool) -> MemoryLogStore:
    """A founder's store with these entries committed behind entry 1, which a snapshot covers."""
    store = MemoryLogStore()
    begin = bootstrap_state(FOUNDERS)
    store.save(hard_state=HardState(1, None, entries[-1].index), entries=[*begin.entries, *entries])
    if with_snapshot:
        applier = Applier({LiteKind.DATA: Ledger()}, max_sessions=CONFIG.max_sessions)
        applier.apply(begin.entries[0])
        meta, content = applier.snapshot(FOUNDERS)
        store.write_snapshot(meta, [content], first_index=2)
    return store


async def begun(store: MemoryLogStore, ledger: Ledger) -> RaftConsensus:
    node = RaftConsensus(ME, [ME, LEADER], CONFIG, store=store, state_machine=ledger)
    await MemoryNetwork().start(node)
    return node


def test_what_arrives_while_a_long_log_is_replayed_is_applied_behind_it() -> None:
    """The entries behind a snapshot are applied in several turns; a leader does not wait for that."""
    replayed, more = 50_000, 10

    async def scenario() -> None:
        ledger = Ledger()
        node = await begun(store_of(data(2, replayed), with_snapshot=True), ledger)
        for entry in data(2 + replayed, more):
            request = AppendEntriesRequest(1, LEADER, entry.index - 1, 1, (entry,), entry.index)
            answer = await node.handle(request)
            assert isinstance(answer, AppendEntriesResponse)
            assert answer.success
            assert len(ledger.lines) < replayed, "the replay was over before this came: make it longer"
        while len(ledger.lines) < replayed + more and node.failure is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert node.failure is None
        assert ledger.lines == [b"%d" % index for index in range(2, 2 + replayed + more)]
        await node.stop()

    run(scenario())


async def test_a_replayed_configuration_forgets_no_peer_that_a_later_one_names() -> None:
    """Else a node that lost its store after it had joined would not be recognised any more."""
    joined = Configuration("default", (*FOUNDERS.members, Member(LATER, voter=False)))
    command = LiteCommand(LiteKind.CONFIG, "", 0, encode_configuration(joined))
    store = store_of([LogEntry(1, 2, command)], with_snapshot=False)
    store.remember_peer(LATER, "its store")
    store.remember_peer(NodeId("stranger"), "whatever")
    node = await begun(store, Ledger())
    while NodeId("stranger") in store.peers():  # noqa: ASYNC110
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert dict(store.peers()) == {LATER: "its store"}
    await node.stop()


async def test_a_node_that_is_stopped_while_it_starts_leaves_nothing_behind() -> None:
    node = RaftConsensus(ME, [ME, LEADER], CONFIG, store=MemoryLogStore(), state_machine=Ledger())
    starting = asyncio.create_task(MemoryNetwork().start(node))
    await asyncio.sleep(0)
    await node.stop()
    with pytest.raises(NotLeader, match="stopped"):
        await starting
    assert asyncio.all_tasks() == {asyncio.current_task()}
