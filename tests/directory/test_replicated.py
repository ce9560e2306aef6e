"""A node's own end of the replicated directory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from orbit_lite.actors import Placement
from orbit_lite.directory import (
    DirectoryMachine,
    NodeSuperseded,
    PlacementChange,
    PlacementUnavailable,
    ReplicatedDirectory,
    Resync,
    Watch,
)
from orbit_lite.directory.commands import (
    LONGEST_TICK_MS,
    Command,
    Place,
    Register,
    Tick,
    decode_command,
    encode_command,
)
from orbit_lite.errors import (
    AddressableNotFound,
    ConfigurationError,
    DrainingError,
    Executed,
    NodeNotFound,
    OrbitError,
    OverloadedError,
)
from orbit_lite.model import AddressableReference, LiteKind, NodeCapabilities, NodeId, NodeInfo, NodeStatus
from orbit_lite.raft import NotLeader, ProposalLost
from orbit_lite.testing.clock import VirtualTimeLoop, run

A, B = NodeId("a"), NodeId("b")
ALICE, BOB = AddressableReference.of("Account", "alice"), AddressableReference.of("Account", "bob")
ACTORS = tuple(AddressableReference.of("Account", number) for number in range(8))
LEASE = 15.0
ROUND_TRIP = 0.01


class Cluster:
    """A log without Raft: what is proposed is applied on all nodes, in one order, unless a node is cut off."""

    def __init__(self) -> None:
        self.leader: NodeId | None = A
        self.term = 1
        self.index = 0
        self.cut_off: set[NodeId] = set()
        self.slow: set[NodeId] = set()  # nodes that apply only when they must
        self.commands: list[Command] = []
        self.logs: dict[NodeId, Log] = {}
        self.loses: OrbitError | None = None  # what the next proposer is told although its command is taken

    def apply(self, data: bytes, proposer: NodeId) -> bytes:
        self.index += 1
        self.commands.append(decode_command(data))
        for log in self.logs.values():
            log.behind.append((self.index, data))
            if log.node_id not in self.slow:
                log.catch_up()
        return self.logs[proposer].catch_up()

    def join(self, node_id: NodeId) -> Log:
        log = self.logs[node_id] = Log(self, node_id)
        if node_id != A:
            log.machine.restore(self.logs[A].machine.snapshot())
        return log

    def count(self, kind: type) -> int:
        return sum(isinstance(command, kind) for command in self.commands)


class Log:
    """ReplicatedLog of one node."""

    def __init__(self, cluster: Cluster, node_id: NodeId) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.machine = DirectoryMachine()
        self.behind: list[tuple[int, bytes]] = []
        self.result = b""

    def catch_up(self) -> bytes:
        behind, self.behind = self.behind, []
        for index, data in behind:
            self.result = self.machine.apply(index, data)
        return self.result

    async def propose(self, data: bytes, *, timeout: float | None = 30.0, kind: LiteKind = LiteKind.DATA) -> bytes:
        assert kind is LiteKind.DIRECTORY
        await self._reach(timeout)
        result = self.cluster.apply(data, self.node_id)
        lost, self.cluster.loses = self.cluster.loses, None
        if lost is not None:
            raise lost
        return result

    async def read(self, timeout: float | None = 30.0) -> None:
        await self._reach(timeout)
        self.catch_up()

    async def _reach(self, timeout: float | None) -> None:
        await asyncio.sleep(ROUND_TRIP)
        if self.node_id in self.cluster.cut_off or self.cluster.leader is None:
            await asyncio.sleep(timeout or 0.0)
            raise NotLeader("nobody leads")

    def is_leader(self) -> bool:
        return self.cluster.leader == self.node_id and self.node_id not in self.cluster.cut_off

    def get_current_term(self) -> int:
        return self.cluster.term


def info(node_id: NodeId = A, *types: str, limit: int | None = None) -> NodeInfo:
    return NodeInfo(node_id, f"http://{node_id.key}:1", 1, NodeCapabilities(types or ("Account",), limit))


class World:
    """Directories of a cluster; all are stopped in the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.cluster = Cluster()
        self._stack = stack

    async def add(self, node_id: NodeId = A, what: NodeInfo | None = None, **options: Any) -> ReplicatedDirectory:
        log = self.cluster.join(node_id)
        options = {"lease_duration": LEASE, "incarnation": 1} | options
        directory = ReplicatedDirectory(log, log.machine, what or info(node_id), **options)
        await self._stack.enter_async_context(directory)
        await asyncio.sleep(4 * ROUND_TRIP)
        return directory


def log_of(what: NodeInfo) -> bytes:
    return encode_command(Register(what, 1, 1, 60_000))


async def is_believed(directory: ReplicatedDirectory) -> bool:
    return directory.has_lease


def in_virtual_time(scenario: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    async def told() -> None:
        async with AsyncExitStack() as stack:
            await scenario(World(stack))

    def test() -> None:
        run(told())

    test.__name__ = scenario.__name__
    return test


# ---------------------------------------------------------------- being registered


@in_virtual_time
async def test_a_node_is_registered_and_stays_so(world: World) -> None:
    directory = await world.add()
    assert directory.hosts_of("Account") == (A,)
    assert await directory.resolve_node(A) == "http://a:1"
    for _ in range(100):
        await asyncio.sleep(LEASE)
        assert directory.has_lease
        assert directory.hosts_of("Account") == (A,)


@in_virtual_time
async def test_a_node_that_went_is_forgotten_when_its_lease_is_over(world: World) -> None:
    directory = await world.add(A)
    await world.add(B)
    world.cluster.cut_off.add(B)
    await asyncio.sleep(LEASE * 2 / 3)
    assert directory.hosts_of("Account") == (A, B)
    await asyncio.sleep(LEASE / 3 + 2 * LONGEST_TICK_MS / 1000)
    assert directory.hosts_of("Account") == (A,)
    with pytest.raises(NodeNotFound):
        await directory.resolve_node(B)


@in_virtual_time
async def test_nobody_loses_a_lease_while_nobody_leads(world: World) -> None:
    directory = await world.add(A)
    world.cluster.leader = None
    await asyncio.sleep(10 * LEASE)
    world.cluster.leader, world.cluster.term = A, 2
    await asyncio.sleep(LEASE)
    assert A in directory.machine.nodes
    assert directory.has_lease


@in_virtual_time
async def test_a_node_gives_up_before_the_cluster_gives_it_up(world: World) -> None:
    """Whatever the order of things: while a node holds its lease, no other may be given its actors."""
    told: list[float] = []
    loop = asyncio.get_running_loop()
    await world.add(A)
    holder = await world.add(B, on_lease_lost=lambda left: told.append(loop.time()))
    world.cluster.cut_off.add(B)
    async with Watch(world.cluster.logs[A].machine) as watch:
        while B in world.cluster.logs[A].machine.nodes:
            await anext(watch)
    assert not holder.has_lease
    assert len(told) == 1
    assert told[0] < loop.time()


@in_virtual_time
async def test_a_node_gets_its_grace_between_the_end_of_its_work_and_that_of_its_lease(world: World) -> None:
    told: list[tuple[float, float]] = []
    loop = asyncio.get_running_loop()
    await world.add(A)
    holder = await world.add(B, grace=2.0, on_lease_lost=lambda left: told.append((loop.time(), left)))
    world.cluster.cut_off.add(B)
    async with Watch(world.cluster.logs[A].machine) as watch:
        while B in world.cluster.logs[A].machine.nodes:
            await anext(watch)
    assert not holder.has_lease
    [(when, left)] = told
    assert left == pytest.approx(2.0)
    assert when + left < loop.time()


@in_virtual_time
async def test_a_node_that_leaves_hosts_nothing_and_is_still_known(world: World) -> None:
    leaving, staying = await world.add(A), await world.add(B)
    homes = {actor: await leaving.resolve_addressable(actor) for actor in ACTORS}
    assert set(homes.values()) == {A, B}
    await leaving.leave()
    assert staying.hosts_of("Account") == (B,)
    assert await staying.resolve_node(A) == "http://a:1"
    assert {await staying.resolve_addressable(actor) for actor in ACTORS} == {B}
    assert not leaving.has_lease


@in_virtual_time
async def test_a_node_that_comes_back_is_registered_anew(world: World) -> None:
    await world.add(A)
    returning = await world.add(B)
    world.cluster.cut_off.add(B)
    await asyncio.sleep(3 * LEASE)
    assert not await is_believed(returning)
    world.cluster.cut_off.clear()
    await asyncio.sleep(LEASE)
    assert await is_believed(returning)
    assert returning.hosts_of("Account") == (A, B)


@in_virtual_time
async def test_a_machine_that_stood_still_has_no_lease_when_it_wakes(world: World) -> None:
    told: list[str] = []
    directory = await world.add(A, on_lease_lost=lambda left: told.append("lost"))
    await directory.resolve_addressable(ALICE)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.jump(10 * LEASE)
    assert not directory.has_lease
    assert directory.epoch_of(ALICE) is None
    await asyncio.sleep(1.0)
    assert told == ["lost"]
    assert directory.has_lease


@in_virtual_time
async def test_a_callback_that_fails_does_not_end_the_registration(world: World) -> None:
    def fail(left: float) -> None:
        raise ValueError("the user's own")

    directory = await world.add(A, on_lease_lost=fail)
    world.cluster.leader = None
    await asyncio.sleep(2 * LEASE)
    world.cluster.leader = A
    await asyncio.sleep(LEASE)
    assert directory.has_lease


@in_virtual_time
async def test_another_process_with_the_same_id_ends_the_older_one(world: World) -> None:
    told: list[str] = []
    older = await world.add(A, on_lease_lost=lambda left: told.append("lost"))
    log = world.cluster.logs[A]
    async with ReplicatedDirectory(log, log.machine, info(A), incarnation=2, lease_duration=LEASE) as newer:
        await asyncio.sleep(LEASE)
        assert newer.has_lease
        assert not older.has_lease
        assert isinstance(older.failure, NodeSuperseded)
        assert told == ["lost"]
        with pytest.raises(NodeSuperseded):
            await older.set_self(info(A, "Order"))


@in_virtual_time
async def test_a_node_whose_clock_was_set_back_between_its_starts_is_the_later_one(world: World) -> None:
    told: list[str] = []
    older = await world.add(A, incarnation=1_000, on_lease_lost=lambda left: told.append("lost"))
    log = world.cluster.logs[A]
    async with ReplicatedDirectory(log, log.machine, info(A), incarnation=900, lease_duration=LEASE) as newer:
        await asyncio.sleep(2 * LEASE)
        assert newer.has_lease
        assert newer.failure is None
        assert isinstance(older.failure, NodeSuperseded)
        assert told == ["lost"]


@in_virtual_time
async def test_what_a_node_says_anew_is_known_at_once(world: World) -> None:
    directory = await world.add()
    await directory.set_self(info(A, "Account", "Order"))
    assert directory.hosts_of("Order") == (A,)
    with pytest.raises(ConfigurationError, match="cannot speak for"):
        await directory.set_self(info(B))


@in_virtual_time
async def test_a_stopped_node_hosts_nothing_from_then_on(world: World) -> None:
    other = await world.add(A)
    leaving = await world.add(B)
    await leaving.stop()
    await leaving.stop()
    assert other.hosts_of("Account") == (A,)
    assert other.machine.nodes[B].info.status is NodeStatus.STOPPED
    assert not leaving.has_lease


@in_virtual_time
async def test_a_node_that_cannot_say_goodbye_stops_in_time(world: World) -> None:
    directory = await world.add()
    world.cluster.leader = None
    began = asyncio.get_running_loop().time()
    await directory.stop(timeout=2.0)
    assert asyncio.get_running_loop().time() - began <= 2.0


@in_virtual_time
async def test_only_the_leader_measures_time(world: World) -> None:
    await world.add(A)
    await world.add(B)
    await asyncio.sleep(100)
    ticks = [command for command in world.cluster.commands if isinstance(command, Tick)]
    assert 95 <= len(ticks) <= 100
    assert 95_000 <= world.cluster.logs[B].machine.now_ms <= 100_000


# ---------------------------------------------------------------- giving actors a home


@in_virtual_time
async def test_all_nodes_find_an_actor_at_the_same_place(world: World) -> None:
    one, other = await world.add(A), await world.add(B)
    found = await asyncio.gather(*(directory.resolve_addressable(ALICE) for directory in (one, other) for _ in "abc"))
    assert len(set(found)) == 1
    assert world.cluster.count(Place) <= 2
    assert {one.epoch_of(ALICE) is not None, other.epoch_of(ALICE) is not None} == {True, False}


@in_virtual_time
async def test_an_actor_that_is_known_is_found_without_a_message(world: World) -> None:
    directory = await world.add()
    assert await directory.resolve_addressable(ALICE) == A
    world.cluster.leader = None
    assert await directory.resolve_addressable(ALICE) == A
    assert await directory.resolve_node(A) == "http://a:1"


@in_virtual_time
async def test_a_node_that_is_behind_looks_again_before_it_says_that_there_is_none(world: World) -> None:
    await world.add(A, info(A, "Order"))
    log = world.cluster.join(B)
    asker = ReplicatedDirectory(log, log.machine)
    world.cluster.slow.add(B)
    await world.cluster.logs[A].propose(log_of(info(NodeId("c"), "Account")), kind=LiteKind.DIRECTORY)
    assert await asker.resolve_node(NodeId("c")) == "http://c:1"
    await world.cluster.logs[A].propose(log_of(info(NodeId("d"), "Invoice")), kind=LiteKind.DIRECTORY)
    assert await asker.resolve_addressable(AddressableReference.of("Invoice", 1)) == NodeId("d")


@in_virtual_time
async def test_an_actor_that_was_released_gets_a_home_with_a_later_epoch(world: World) -> None:
    directory = await world.add()
    await directory.resolve_addressable(ALICE)
    first = directory.epoch_of(ALICE)
    assert first is not None
    await directory.release(ALICE, first)
    assert directory.epoch_of(ALICE) is None
    await directory.resolve_addressable(ALICE)
    second = directory.epoch_of(ALICE)
    assert second is not None
    assert second > first


@in_virtual_time
async def test_actors_of_a_node_that_went_get_another_home(world: World) -> None:
    staying = await world.add(A, placement=Placement({"Account": B}))
    leaving = await world.add(B)
    assert await staying.resolve_addressable(ALICE) == B
    await leaving.stop()
    anywhere = ReplicatedDirectory(world.cluster.logs[A], staying.machine, request_timeout=1.0)
    assert await anywhere.resolve_addressable(ALICE) == A


@in_virtual_time
async def test_an_actor_whose_type_nobody_hosts_is_not_found(world: World) -> None:
    directory = await world.add()
    with pytest.raises(AddressableNotFound, match="Order:7"):
        await directory.resolve_addressable(AddressableReference.of("Order", 7))


@in_virtual_time
async def test_a_full_node_is_passed_over(world: World) -> None:
    directory = await world.add(A, info(A, limit=0))
    await world.add(B)
    for number in range(20):
        assert await directory.resolve_addressable(AddressableReference.of("Account", number)) == B


@in_virtual_time
async def test_when_all_are_full_that_is_said(world: World) -> None:
    directory = await world.add(A, info(A, limit=1))
    await directory.resolve_addressable(ALICE)
    with pytest.raises(OverloadedError, match="limit of 1"):
        await directory.resolve_addressable(BOB)


@in_virtual_time
async def test_an_actor_pinned_to_a_node_that_does_not_register_is_found_there(world: World) -> None:
    rust = NodeId("rust")
    directory = await world.add(placement=Placement({"Legacy": rust}), seeds={rust: "http://rust:1"})
    assert await directory.resolve_addressable(AddressableReference.of("Legacy", 1)) == rust
    assert await directory.resolve_node(rust) == "http://rust:1"
    assert world.cluster.count(Place) == 0


@in_virtual_time
async def test_a_question_of_which_nobody_knows_what_became_is_asked_again(world: World) -> None:
    directory = await world.add()
    world.cluster.loses = ProposalLost("the leader changed")
    assert await directory.resolve_addressable(ALICE) == A
    assert world.cluster.count(Place) == 2
    assert len(directory.machine.actors) == 1


@in_virtual_time
async def test_without_a_majority_an_actor_gets_no_home(world: World) -> None:
    directory = await world.add()
    world.cluster.leader = None
    with pytest.raises(PlacementUnavailable) as caught:
        await directory.resolve_addressable(ALICE)
    assert caught.value.executed is Executed.NO
    assert caught.value.retryable
    world.cluster.leader = A
    assert await directory.resolve_addressable(ALICE) == A


@in_virtual_time
async def test_what_is_announced_is_told_the_cluster_without_waiting(world: World) -> None:
    directory = await world.add()
    directory.announce(info(A, "Account", "Order"))
    assert directory.hosts_of("Order") == ()
    await asyncio.sleep(4 * ROUND_TRIP)
    assert directory.hosts_of("Order") == (A,)


@in_virtual_time
async def test_a_tick_of_which_nobody_knows_what_became_is_not_repeated(world: World) -> None:
    directory = await world.add()
    await asyncio.sleep(2.0)
    ticks, before = world.cluster.count(Tick), directory.machine.now_ms
    world.cluster.loses = ProposalLost("the leader changed")
    await asyncio.sleep(1.5)
    assert world.cluster.count(Tick) <= ticks + 2
    assert directory.machine.now_ms - before <= 2_000


@in_virtual_time
async def test_whoever_gives_up_waiting_leaves_nothing_behind(world: World) -> None:
    directory = await world.add()
    world.cluster.leader = None
    waiting = asyncio.create_task(directory.resolve_addressable(ALICE))
    await asyncio.sleep(1.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    forgotten = asyncio.create_task(directory.resolve_addressable(ALICE))
    await asyncio.sleep(1.0)
    await directory.stop()
    assert forgotten.done()
    with pytest.raises(DrainingError):
        await forgotten
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_a_watch_tells_what_happens(world: World) -> None:
    directory = await world.add()
    async with directory.watch() as watch:
        assert isinstance(await anext(watch), Resync)
        await directory.resolve_addressable(ALICE)
        expected = PlacementChange(world.cluster.index, ALICE, directory.machine.actors[ALICE])
        assert await anext(watch) == expected


@in_virtual_time
async def test_whoever_only_asks_is_not_registered(world: World) -> None:
    await world.add(A)
    log = world.cluster.join(B)
    async with ReplicatedDirectory(log, log.machine) as asker:
        await asyncio.sleep(LEASE)
        await asker.refresh()
        assert await asker.resolve_addressable(ALICE) == A
        assert asker.epoch_of(ALICE) is None
        assert all(command.info.id == A for command in world.cluster.commands if isinstance(command, Register))


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("option", "value"), [("lease_duration", 0.5), ("lease_duration", 3_601.0), ("tick_interval", 0.0), ("grace", 13.5)]
)
def test_a_wrong_setting_is_named(option: str, value: float) -> None:
    log = Cluster().join(A)
    with pytest.raises(ConfigurationError, match=f"{option}={value}"):
        ReplicatedDirectory(log, log.machine, **{option: value})  # type: ignore[arg-type]  # one option at a time
