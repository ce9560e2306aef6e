"""Consensus where things go wrong, in virtual time: cut links, slow disks, suspended hosts, callers who give up."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from orbit_lite.errors import ConfigurationError, Executed, InternalError, OrbitError, OverloadedError, ParseError
from orbit_lite.model import HeartBeat, LiteCommand, LiteKind, NodeId, RaftCommand
from orbit_lite.raft import (
    ChangeRefused,
    Configuration,
    InstallSnapshotRequest,
    Member,
    NotLeader,
    ProposalLost,
    RaftConfig,
    RaftConsensus,
    StoreFailed,
)
from orbit_lite.raft.applier import Applier
from orbit_lite.raft.membership import configuration_command
from orbit_lite.raft.messages import Outgoing, Response
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.clock import VirtualTimeLoop, run
from orbit_lite.testing.network import MemoryNetwork

NAMES = tuple(NodeId(name) for name in "abc")
CONFIG = RaftConfig(snapshot_entries=20, snapshot_trailing_entries=2, snapshot_chunk_bytes=64)
PATIENCE = 2 * CONFIG.election_timeout_max


class Ledger:
    """Remembers what it was told; answers with the number of it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, index: int, data: bytes) -> bytes:
        self.lines.append(data)
        return b"%d" % len(self.lines)

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


class Lab:
    """A cluster on a network that a test may harm."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.stores: dict[NodeId, Any] = {}
        self.ledgers: dict[NodeId, Ledger] = {}

    @property
    def loop(self) -> VirtualTimeLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        return loop

    async def start(self, names: Sequence[NodeId] = NAMES) -> RaftConsensus:
        """Start founders; the one that leads."""
        for name in names:
            await self.add(name, names)
        return await self.leader()

    async def add(self, name: NodeId, names: Sequence[NodeId] = NAMES, **options: Any) -> RaftConsensus:
        store = self.stores.setdefault(name, MemoryLogStore())
        ledger = self.ledgers[name] = Ledger()
        options = {"config": CONFIG, "store": store, "state_machine": ledger} | options
        node = RaftConsensus(name, names, **options)
        await self.network.start(node)
        return node

    async def leader(self, *, but: RaftConsensus | None = None) -> RaftConsensus:
        for _ in range(1_000):
            for node in self.network.nodes.values():
                if node.is_leader() and node is not but:
                    return node
            await asyncio.sleep(0.01)
        raise AssertionError("nobody was elected")

    def followers(self) -> list[RaftConsensus]:
        return [node for node in self.network.nodes.values() if not node.is_leader()]

    async def check(self) -> list[bytes]:
        """The cluster is whole: it decides, and all nodes agree; the ledger."""
        leader = await self.leader()
        await leader.propose(b"last", timeout=30)
        nodes = list(self.network.nodes.values())
        for node in nodes:
            await node.read(30)
            assert node.failure is None
            assert node.pending_proposals == 0
        ledgers = [self.ledgers[node.node_id].lines for node in nodes]
        assert all(ledger == ledgers[0] for ledger in ledgers)
        return ledgers[0]

    async def close(self) -> None:
        for node in list(self.network.nodes.values()):
            await self.network.stop(node)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"


def in_virtual_time(scenario: Callable[[Lab], Awaitable[None]]) -> Callable[[], None]:
    async def told() -> None:
        random.seed(scenario.__name__)
        lab = Lab()
        await scenario(lab)
        await lab.close()

    def test() -> None:
        run(told())

    test.__name__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    return test


# ---------------------------------------------------------------- those who wait


@in_virtual_time
async def test_whoever_reads_is_told_when_the_node_stops(lab: Lab) -> None:
    leader = await lab.start()
    lab.network.isolate(leader.node_id)
    reading = asyncio.create_task(leader.read(None))
    await asyncio.sleep(0.1)
    await lab.network.stop(leader)
    async with asyncio.timeout(1.0):
        with pytest.raises(NotLeader):
            await reading


@in_virtual_time
async def test_whoever_reads_is_told_when_the_store_fails(lab: Lab) -> None:
    leader = await lab.start()
    lab.network.isolate(leader.node_id)
    reading = asyncio.create_task(leader.read(None))
    await asyncio.sleep(0.1)
    leader.store.save = failing  # type: ignore[method-assign]
    with pytest.raises(StoreFailed):
        await leader.propose(b"x")
    async with asyncio.timeout(1.0):
        with pytest.raises(StoreFailed):
            await reading
    lab.network.nodes.pop(leader.node_id)
    await leader.stop()


def failing(**_: object) -> bool:
    raise StoreFailed("the disk is full")


@in_virtual_time
async def test_a_node_that_fails_says_so_once(lab: Lab) -> None:
    told: list[OrbitError] = []
    leader = await lab.start()
    leader.on_failed(told.append)
    leader.store.save = failing  # type: ignore[method-assign]
    with pytest.raises(StoreFailed):
        await leader.propose(b"x")
    other = await lab.leader(but=leader)
    assert told == [leader.failure]
    assert not leader.is_leader()
    assert leader.get_leader() is None
    assert leader.status().term > 0
    with pytest.raises(StoreFailed):
        await leader.propose(b"y")
    await other.propose(b"z")
    lab.network.nodes.pop(leader.node_id)
    await leader.stop()


@in_virtual_time
async def test_a_proposal_that_a_later_term_passed_by_is_made_anew(lab: Lab) -> None:
    """It lies far behind the end of the new leader's log: its proposer must not wait until that has grown."""
    leader = await lab.start()
    lab.network.isolate(leader.node_id)
    proposals = [asyncio.create_task(leader.propose(b"%d" % number)) for number in range(50)]
    await lab.leader(but=leader)
    lab.network.heal()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*proposals)
    assert sorted(await lab.check()) == sorted([*(b"%d" % number for number in range(50)), b"last"])


@in_virtual_time
async def test_a_proposal_that_may_have_been_made_is_not_repeated_without_a_session(lab: Lab) -> None:
    leader = await lab.start()
    follower = lab.followers()[0]
    lab.network.cut.add((leader.node_id, follower.node_id))
    with pytest.raises(ProposalLost) as caught:
        await follower.propose(b"x", timeout=0.9)
    assert caught.value.executed is Executed.MAYBE
    lab.network.heal()
    assert (await lab.check()).count(b"x") == 1


@in_virtual_time
async def test_a_proposal_with_a_session_is_repeated_and_applied_once(lab: Lab) -> None:
    leader = await lab.start()
    follower = lab.followers()[0]
    lab.network.cut.add((leader.node_id, follower.node_id))
    proposing = asyncio.create_task(follower.propose(b"x", client="teller", seq=1))
    await asyncio.sleep(0.5)
    lab.network.heal()
    assert await proposing == b"1"
    assert (await lab.check()).count(b"x") == 1


# ---------------------------------------------------------------- proposals on their way to the leader


@in_virtual_time
async def test_a_proposal_too_large_fails_alone(lab: Lab) -> None:
    await lab.start()
    follower = lab.followers()[0]
    large = bytes(CONFIG.max_entry_bytes + 1)
    results = await asyncio.gather(*(follower.propose(data) for data in (b"1", large, b"2")), return_exceptions=True)
    assert isinstance(results[1], ParseError)
    assert {results[0], results[2]} == {b"1", b"2"}


@in_virtual_time
async def test_proposals_to_the_leader_travel_in_requests_that_a_peer_takes(lab: Lab) -> None:
    """A message of gRPC has a limit, and base64 makes the data a third larger."""
    leader = await lab.start()
    forwarded: list[int] = []
    take = leader.propose_forwarded

    async def taking(commands: Sequence[RaftCommand]) -> tuple[int, int]:
        forwarded.append(sum(len(command.data) for command in commands if isinstance(command, LiteCommand)))
        return await take(commands)

    leader.propose_forwarded = taking  # type: ignore[method-assign]
    await asyncio.gather(*(lab.followers()[0].propose(bytes(700_000)) for _ in range(12)))
    assert sum(forwarded) == 12 * 700_000
    assert max(forwarded) * 4 / 3 < 4 * 1024 * 1024
    assert len(forwarded) < 12


@in_virtual_time
async def test_a_client_whose_name_cannot_be_stored_is_refused_before_it_harms_anyone(lab: Lab) -> None:
    leader = await lab.start()
    for name in ("\ud800", "x" * 10_000):
        with pytest.raises(ParseError, match="client"):
            await leader.propose(b"x", client=name, seq=1)


# ---------------------------------------------------------------- those who give up waiting


async def cancel_at_every_step(lab: Lab, begin: Callable[[], Coroutine[Any, Any, object]], steps: int) -> None:
    """Let `begin` run for one turn of the loop, then two, then three …, and cancel it each time."""
    for step in range(steps):
        task = asyncio.create_task(begin())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OrbitError):
            await task
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("what", ["propose", "forward", "read", "read of a follower", "take_snapshot", "transfer"])
def test_whoever_gives_up_at_any_moment_harms_nobody(what: str) -> None:
    async def scenario() -> None:
        lab = Lab()
        await lab.start()
        numbers = iter(range(10_000))

        async def begin() -> None:
            leader = await lab.leader()
            follower = lab.followers()[0]
            match what:
                case "propose":
                    await leader.propose(b"%d" % next(numbers))
                case "forward":
                    await follower.propose(b"%d" % next(numbers))
                case "read":
                    await leader.read()
                case "read of a follower":
                    await follower.read()
                case "take_snapshot":
                    proposing = leader.propose(b"%d" % next(numbers))
                    await asyncio.gather(proposing, leader.take_snapshot(), leader.take_snapshot())
                case _:
                    await leader.transfer_leadership()

        await cancel_at_every_step(lab, begin, 60)
        lines = await lab.check()
        assert len(lines) == len(set(lines))
        await lab.close()

    random.seed(what)
    run(scenario(), work_time=0.0005)


@in_virtual_time
async def test_a_stop_that_was_given_up_can_be_finished(lab: Lab) -> None:
    await lab.start()
    lab.loop.work_time = 0.01
    for step, node in enumerate(list(lab.network.nodes.values())):
        proposing = asyncio.create_task(node.propose(b"x"))
        await asyncio.sleep(0.005)
        stopping = asyncio.create_task(node.stop())
        for _ in range(1 + 2 * step):
            await asyncio.sleep(0)
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        await node.stop()
        with pytest.raises(OrbitError):
            await proposing
        await lab.network.stop(node)


@in_virtual_time
async def test_all_who_stop_a_node_wait_until_it_has_stopped(lab: Lab) -> None:
    lab.loop.work_time = 0.05
    node = await lab.start(NAMES[:1])
    writes: list[float] = []
    save = node.store.save

    def saving(**what: Any) -> bool:
        writes.append(lab.loop.time())
        return save(**what)

    node.store.save = saving  # type: ignore[method-assign]
    proposing = asyncio.create_task(node.propose(b"x"))
    await asyncio.sleep(0.01)
    await asyncio.gather(node.stop(), node.stop())
    assert writes, "stop returned while the store was being written"
    with pytest.raises(OrbitError):
        await proposing


@in_virtual_time
async def test_a_node_stops_while_it_takes_a_snapshot(lab: Lab) -> None:
    for _ in range(5):
        node = await lab.start(NAMES[:1])
        await node.propose(b"x")
        lab.loop.work_time = 0.02
        taking = asyncio.create_task(node.take_snapshot())
        await asyncio.sleep(0.01)
        await lab.network.stop(node)
        with pytest.raises(OrbitError):
            await taking
        lab.loop.work_time = 0.0
    node = await lab.start(NAMES[:1])
    assert await lab.check() == [*[b"x"] * 5, b"last"]


# ---------------------------------------------------------------- slow disks, suspended hosts


@in_virtual_time
async def test_under_load_many_proposals_share_a_write(lab: Lab) -> None:
    leader = await lab.start()
    lab.loop.work_time = 0.01
    before = leader.writes
    await asyncio.gather(*(leader.propose(b"%d" % number) for number in range(640)))
    assert leader.writes - before < 640 / 50


@in_virtual_time
async def test_slow_disks_cost_no_leader_its_office(lab: Lab) -> None:
    """Heartbeats go on while the store is written."""
    leader = await lab.start()
    term = leader.get_current_term()
    lab.loop.work_time = 0.75 * CONFIG.election_timeout_min
    for number in range(10):
        await leader.propose(b"%d" % number)
    lab.loop.work_time = 0.0
    await lab.check()
    assert leader.is_leader()
    assert leader.get_current_term() == term


@in_virtual_time
async def test_a_request_that_fails_before_it_leaves_does_not_interrupt_what_is_being_done(lab: Lab) -> None:
    leader = await lab.start()
    exchange = leader._exchange
    assert exchange is not None
    send, take_turn = exchange.send, leader._take_turn
    inside, deepest = 0, 0

    def refuse(sent: Outgoing, answered: Callable[[Outgoing, Response | OrbitError], None]) -> None:
        answered(sent, OverloadedError("too much is under way"))

    def counted() -> None:
        nonlocal inside, deepest
        inside += 1
        deepest = max(deepest, inside)
        take_turn()
        inside -= 1

    exchange.send = refuse  # type: ignore[method-assign]
    leader._take_turn = counted  # type: ignore[method-assign]
    proposing = asyncio.create_task(leader.propose(b"x"))
    await asyncio.sleep(0.01)
    assert deepest == 1
    exchange.send = send  # type: ignore[method-assign]
    await proposing


@in_virtual_time
async def test_a_follower_that_is_cut_off_delays_nobody(lab: Lab) -> None:
    leader = await lab.start()
    lab.network.isolate(lab.followers()[0].node_id)
    began = lab.loop.time()
    for number in range(20):
        await leader.propose(b"%d" % number)
    assert lab.loop.time() - began < 1.0
    lab.network.heal()
    await lab.check()


@in_virtual_time
async def test_hosts_that_were_suspended_go_on_with_the_same_leader(lab: Lab) -> None:
    leader = await lab.start()
    await asyncio.sleep(1.0)
    term = leader.get_current_term()
    for pause in (0.5, 5.0, 3_600.0):
        lab.loop.jump(pause)
        await leader.propose(b"x", timeout=5)
        assert leader.get_current_term() == term


# ---------------------------------------------------------------- snapshots


@in_virtual_time
async def test_a_follower_far_behind_gets_a_snapshot_and_restarts_from_it(lab: Lab) -> None:
    leader = await lab.start()
    follower = lab.followers()[0]
    lab.network.isolate(follower.node_id)
    for number in range(100):
        await leader.propose(b"%d" % number)
    lab.network.heal()
    expected = await lab.check()
    await lab.network.stop(follower)
    assert lab.stores[follower.node_id].load().snapshot is not None
    await lab.add(follower.node_id)
    assert await lab.check() == [*expected, b"last"]


@in_virtual_time
async def test_a_leader_that_is_busy_lets_a_follower_finish_its_snapshot(lab: Lab) -> None:
    """Else it would begin anew with each snapshot that the leader takes meanwhile, and never catch up."""
    leader = await lab.start()
    follower = lab.followers()[0]
    lab.network.isolate(follower.node_id)
    for number in range(100):
        await leader.propose(b"%064d" % number)
    lab.network.heal()
    proposals = 0
    while not follower.metrics.snapshots_restored:  # it takes as long as about fifty proposals
        await leader.propose(b"more")
        proposals += 1
        assert proposals < 7 * CONFIG.snapshot_entries
    for _ in range(CONFIG.snapshot_entries):
        await leader.propose(b"and more")
    await lab.check()
    stored = lab.stores[leader.node_id].load().snapshot
    assert stored is not None
    assert stored.index > 100 + CONFIG.snapshot_entries, "it takes none any more"


def snapshot_of(lines: int, term: int = 1) -> tuple[Any, bytes]:
    """A leader's snapshot that covers so many lines."""
    ledger = Ledger()
    ledger.lines = [b"%d" % number for number in range(lines)]
    applier = Applier({LiteKind.DATA: ledger}, max_sessions=10)
    applier.index, applier.term = lines, term
    return applier.snapshot(Configuration("default", tuple(Member(name) for name in NAMES)))


@in_virtual_time
async def test_snapshots_in_a_row_end_with_the_newest(lab: Lab) -> None:
    leader, term = NAMES[1], 2
    follower = await lab.add(NAMES[0])
    for work_time in (0.0, 0.01):
        lab.loop.work_time = work_time
        for lines in (10, 20, 30):
            meta, data = snapshot_of(lines * (1 if work_time else 10), term)
            await follower.handle(InstallSnapshotRequest(term, leader, meta, 0, data))
        term += 1
    await asyncio.sleep(0.1)
    assert follower.failure is None
    assert len(lab.ledgers[NAMES[0]].lines) == 300


@pytest.mark.parametrize("step", range(40))
def test_a_snapshot_of_ones_own_never_takes_the_place_of_a_newer_one(step: int) -> None:
    """Whenever it is asked for while one from the leader is being installed."""

    async def scenario() -> None:
        lab = Lab()
        follower = await lab.add(NAMES[0])
        lab.loop.work_time = 0.01
        meta, data = snapshot_of(50, 2)
        installing = asyncio.create_task(follower.handle(InstallSnapshotRequest(2, NAMES[1], meta, 0, data)))
        await asyncio.sleep(step * 0.001)
        with contextlib.suppress(OrbitError):
            await follower.take_snapshot()
        await installing
        await asyncio.sleep(0.1)
        assert follower.failure is None
        stored = lab.stores[NAMES[0]].load()
        assert stored.snapshot == meta
        assert len(lab.ledgers[NAMES[0]].lines) == 50
        await lab.close()

    run(scenario())


@in_virtual_time
async def test_a_machine_that_gives_no_snapshot_stops_its_node(lab: Lab) -> None:
    node = await lab.start(NAMES[:1])
    await node.propose(b"x")
    lab.ledgers[node.node_id].snapshot = dict[bytes, bytes]().popitem  # type: ignore[method-assign,assignment]
    with pytest.raises(InternalError, match="snapshot"):
        await node.take_snapshot()
    assert isinstance(node.failure, InternalError)


# ---------------------------------------------------------------- membership


@in_virtual_time
async def test_a_node_is_added_promoted_and_removed(lab: Lab) -> None:
    leader = await lab.start()
    d = NodeId("d")
    for number in range(50):
        await leader.propose(b"%d" % number)
    joined = await lab.add(d, [d], join=True)
    await asyncio.sleep(PATIENCE)
    assert joined.get_current_term() == 0
    await leader.add_node(d, "http://d:1", learner=True)
    assert d in leader.core.configuration.learners
    await leader.promote(d)
    await lab.check()
    assert d in joined.core.configuration.voters
    await leader.remove_node(d)
    await lab.network.stop(joined)
    await lab.check()
    assert leader.get_cluster_nodes() == sorted(NAMES)


@in_virtual_time
async def test_a_node_that_cannot_be_reached_stays_a_learner(lab: Lab) -> None:
    leader = await lab.start()
    with pytest.raises(OrbitError):
        await leader.add_node(NodeId("d"), "http://d:1", timeout=5)
    assert NodeId("d") in leader.core.configuration.learners
    await leader.remove_node(NodeId("d"))
    await lab.check()


@in_virtual_time
async def test_adding_goes_on_with_a_learner_that_was_down_before(lab: Lab) -> None:
    leader = await lab.start()
    d = NodeId("d")
    with pytest.raises(OrbitError):
        await leader.add_node(d, "http://d:1", timeout=5)
    await lab.add(d, [d], join=True)
    await leader.add_node(d, "http://d:1", timeout=5)
    assert d in leader.core.configuration.voters
    await lab.check()


@in_virtual_time
async def test_a_voter_that_is_added_again_never_loses_its_vote(lab: Lab) -> None:
    leader = await lab.start()
    before, index = leader.core.configuration, leader.core.last_index
    other = next(name for name in NAMES if name != leader.node_id)
    for learner in (True, False):
        with pytest.raises(ChangeRefused, match="voter already"):
            await leader.add_node(other, "http://elsewhere:1", learner=learner)
    with pytest.raises(ChangeRefused, match="voter already"):
        await leader.promote(other)
    assert (leader.core.configuration, leader.core.last_index) == (before, index)


@in_virtual_time
async def test_only_the_leader_says_who_may_be_promoted(lab: Lab) -> None:
    leader = await lab.start()
    follower = next(node for node in lab.network.nodes.values() if node is not leader)
    await follower.read()
    with pytest.raises(NotLeader) as refused:
        await follower.promote(NodeId("unknown"))
    assert refused.value.leader == leader.node_id


@in_virtual_time
async def test_followers_cannot_have_a_configuration_proposed(lab: Lab) -> None:
    """It would go past all rules about changing it."""
    leader = await lab.start()
    alone = Configuration("default", (Member(NAMES[0]),))
    commands: list[RaftCommand] = [configuration_command(alone), LiteCommand(LiteKind.NOOP, "", 0, b""), HeartBeat()]
    for command in commands:
        with pytest.raises(ParseError, match="takes no"):
            await leader.propose_forwarded([command])
    assert leader.get_cluster_nodes() == sorted(NAMES)


@in_virtual_time
async def test_a_transport_with_a_defect_counts_as_one_that_reaches_nobody(lab: Lab) -> None:
    await lab.start()
    follower = lab.followers()[0]

    async def broken(*_: object) -> Any:
        raise ValueError("a defect")

    lab.network.carry = broken  # type: ignore[method-assign,assignment]
    await asyncio.sleep(PATIENCE)
    del lab.network.carry
    assert follower.failure is None
    await lab.check()


@in_virtual_time
async def test_a_command_for_which_there_is_no_machine_never_gets_into_the_log(lab: Lab) -> None:
    """It would stop every node, at each start anew."""
    leader = await lab.start()
    for node in lab.network.nodes.values():
        with pytest.raises(ConfigurationError, match="no state machine"):
            await node.propose(b"x", kind=LiteKind.DIRECTORY)
    with pytest.raises(ParseError):
        await leader.propose_forwarded([LiteCommand(LiteKind.DIRECTORY, "", 0, b"x")])
    await lab.check()


# ---------------------------------------------------------------- what is counted


def counted(node: RaftConsensus) -> dict[str, float]:
    return {
        sample.name.removeprefix("orbit_raft_"): sample.value if isinstance(sample.value, float) else sample.value.count
        for sample in node.samples()
    }


@in_virtual_time
async def test_a_node_counts_what_it_does(lab: Lab) -> None:
    leader = await lab.start()
    follower = lab.followers()[0]
    for number in range(30):
        await leader.propose(b"%d" % number)
    await lab.check()
    of_leader, of_follower = counted(leader), counted(follower)
    assert (of_leader["is_leader"], of_follower["is_leader"]) == (1, 0)
    assert (of_leader["has_leader"], of_follower["has_leader"]) == (1, 1)
    assert of_leader["proposals_committed_total"] == of_leader["proposals_applied_total"] == leader.applied_index
    assert of_leader["wal_fsync_duration_seconds"] == leader.writes
    assert of_leader["snapshot_save_duration_seconds"] == 1
    assert of_leader["snapshot_index"] >= CONFIG.snapshot_entries
    assert of_leader["peer_round_trip_time_seconds"] > 30
    assert of_leader["leader_changes_seen_total"] >= 1
    lab.network.isolate(leader.node_id)
    with pytest.raises(ProposalLost):
        await leader.propose(b"x", timeout=0.5)
    assert counted(leader)["proposals_failed_total"] == 1
    assert counted(leader)["proposals_pending"] == 0
    assert counted(leader)["heartbeat_send_failures_total"] > 0
    await lab.leader(but=leader)
    assert counted(follower)["leader_changes_seen_total"] > of_follower["leader_changes_seen_total"]


@in_virtual_time
async def test_a_node_that_failed_counts_as_one_without_a_leader(lab: Lab) -> None:
    node = await lab.start(NAMES[:1])
    node.store.save = failing  # type: ignore[method-assign]
    with pytest.raises(StoreFailed):
        await node.propose(b"x")
    assert {name: counted(node)[name] for name in ("is_running", "has_leader", "is_leader")} == {
        "is_running": 0,
        "has_leader": 0,
        "is_leader": 0,
    }


def test_a_node_that_was_not_started_counts_nothing() -> None:
    assert not RaftConsensus(NAMES[0], NAMES, store=MemoryLogStore()).samples()
