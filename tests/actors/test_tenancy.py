"""Actors whose homes a cluster agrees on: when this node may run them, and under which epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from orbit_lite.actors import ActorConfig, ActorContext, ActorSystem, actor
from orbit_lite.actors.tenancy import Tenancy
from orbit_lite.errors import AddressableNotFound, ClusterError, Executed, LeaseExpired, OrbitError, TimeoutError
from orbit_lite.model import AddressableReference, InvocationRequest, Json, NodeId

ME, OTHER = NodeId("node-1"), NodeId("node-2")
ALICE = AddressableReference.of("Guest", "alice")

Host = Callable[..., ActorSystem]


class Agreement:
    """Homes, decided by one who never errs; answers come when the test lets them."""

    def __init__(self) -> None:
        self.homes: dict[AddressableReference, tuple[NodeId, int]] = {}
        self.next_home = ME
        self.has_lease = True
        self.index = 0
        self.refreshed = 0
        self.hidden: tuple[NodeId, int] | None = None  # what a refresh will bring
        self.answers = asyncio.Event()
        self.answers.set()
        self.release_fails: OrbitError | None = None

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        await self.answers.wait()
        if addressable not in self.homes:
            self.index += 1
            self.homes[addressable] = self.next_home, self.index
        return self.homes[addressable][0]

    async def refresh(self) -> None:
        self.refreshed += 1
        if self.hidden is not None:
            self.homes[ALICE] = self.hidden

    def epoch_of(self, reference: AddressableReference) -> int | None:
        home, epoch = self.homes.get(reference, (None, 0))
        return epoch if home == ME and self.has_lease else None

    async def release(self, reference: AddressableReference, epoch: int) -> None:
        await self.answers.wait()
        if self.release_fails is not None:
            raise self.release_fails
        if self.homes.get(reference, (None, 0))[1] == epoch:
            del self.homes[reference]

    def hosts_of(self, addressable_type: str) -> Sequence[NodeId]:
        return (ME, OTHER)


class Elsewhere:
    """The other node."""

    def __init__(self) -> None:
        self.calls: list[tuple[NodeId, int]] = []

    async def invoke(
        self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        self.calls.append((node_id, attempts))
        return "elsewhere"


@actor("Guest")
class Guest:
    context: ActorContext
    farewells: list[int | None] = []  # noqa: RUF012  (of all guests; the fixture empties it)
    gate = asyncio.Event()
    resume = asyncio.Event()

    async def epoch(self) -> int | None:
        return self.context.epoch

    async def pause(self) -> int | None:
        await Guest.resume.wait()
        return self.context.epoch

    async def stay(self) -> None:
        await asyncio.Event().wait()

    async def go(self) -> None:
        self.context.deactivate()

    async def on_deactivate(self) -> None:
        Guest.farewells.append(self.context.epoch)
        await Guest.gate.wait()


@pytest.fixture(autouse=True)
def open_gate() -> None:
    Guest.farewells = []
    Guest.gate, Guest.resume = asyncio.Event(), asyncio.Event()
    Guest.gate.set()


@pytest.fixture
def agreement() -> Agreement:
    return Agreement()


@pytest.fixture
def system(host: Host, agreement: Agreement) -> ActorSystem:
    return host(Guest, hosts=agreement, homes=agreement, invoker=Elsewhere(), config=ActorConfig(sweep_interval=1000.0))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_actor_knows_the_epoch_of_its_home(system: ActorSystem) -> None:
    assert await system.ref("Guest", "alice").invoke("epoch") == 1
    assert await system.ref("Guest", "bob").invoke("epoch") == 2


async def test_a_call_goes_where_the_cluster_says(system: ActorSystem, agreement: Agreement) -> None:
    agreement.next_home = OTHER
    assert await system.ref("Guest", "alice").invoke("epoch") == "elsewhere"
    assert not system.snapshot()


async def test_a_home_here_without_a_lease_runs_nothing(system: ActorSystem, agreement: Agreement) -> None:
    agreement.homes[ALICE] = ME, 7
    agreement.has_lease = False
    with pytest.raises(LeaseExpired, match="may not run Guest:alice") as refused:
        await system.ref("Guest", "alice").invoke("epoch")
    assert refused.value.executed is Executed.NO
    assert refused.value.retryable
    assert not system.snapshot()


async def test_a_call_that_was_passed_on_to_a_node_that_is_behind_waits_until_it_is_not(
    system: ActorSystem, agreement: Agreement
) -> None:
    agreement.homes[ALICE] = OTHER, 3
    agreement.hidden = ME, 4
    assert await system.handle(InvocationRequest(ALICE, "epoch", "[]"), source=OTHER, attempts=1) == 4
    assert agreement.refreshed == 1


async def test_an_actor_under_an_epoch_that_is_over_ends_before_its_next_life(
    system: ActorSystem, agreement: Agreement
) -> None:
    """Without its hook: others may have run it meanwhile."""
    assert await system.ref("Guest", "alice").invoke("epoch") == 1
    running = asyncio.create_task(system.ref("Guest", "alice").invoke("pause"))
    await settled()
    agreement.homes[ALICE] = ME, 9
    fresh = asyncio.create_task(system.ref("Guest", "alice").invoke("epoch"))
    await settled()
    assert not fresh.done()
    Guest.resume.set()
    assert await running == 1
    assert await fresh == 9
    assert Guest.farewells == []


async def test_a_call_to_an_actor_that_is_being_put_away_does_not_disturb_that(
    system: ActorSystem, agreement: Agreement
) -> None:
    await system.ref("Guest", "alice").invoke("epoch")
    Guest.gate.clear()
    agreement.has_lease = False
    leaving = asyncio.create_task(system.give_way(5.0))
    await settled()
    with pytest.raises(LeaseExpired):
        await system.ref("Guest", "alice").invoke("epoch")
    assert not leaving.done()
    Guest.gate.set()
    assert await leaving == 1
    assert Guest.farewells == [1]


async def test_an_idle_actor_gives_its_home_back(system: ActorSystem, agreement: Agreement) -> None:
    await system.ref("Guest", "alice").invoke("epoch")
    await system.deactivate_idle(now=asyncio.get_running_loop().time() + 1000)
    await settled()
    assert ALICE not in agreement.homes
    assert await system.ref("Guest", "alice").invoke("epoch") == 2


async def test_an_epoch_whose_release_is_under_way_is_used_no_more(system: ActorSystem, agreement: Agreement) -> None:
    """Else the release would take effect while the actor runs, and another node would run it, too."""
    await system.ref("Guest", "alice").invoke("epoch")
    agreement.answers.clear()
    await system.ref("Guest", "alice").invoke("go")
    await settled()
    again = asyncio.create_task(system.ref("Guest", "alice").invoke("epoch"))
    await settled()
    assert not again.done()
    agreement.answers.set()
    assert await again == 2


async def test_a_release_that_failed_may_have_happened(system: ActorSystem, agreement: Agreement) -> None:
    await system.ref("Guest", "alice").invoke("epoch")
    agreement.release_fails = ClusterError("nobody leads")
    await system.ref("Guest", "alice").invoke("go")
    await settled()
    with pytest.raises(ClusterError, match="nobody leads") as failed:
        await system.ref("Guest", "alice").invoke("epoch")
    assert failed.value.executed is Executed.NO
    agreement.release_fails = None
    assert await system.ref("Guest", "alice").invoke("epoch") == 2


async def test_what_is_no_longer_ours_is_not_given_back(agreement: Agreement) -> None:
    tenancy = Tenancy(ME, agreement)
    await tenancy.home_of(ALICE, was_forwarded=False)
    agreement.has_lease = False
    assert not tenancy.give_up(ALICE, 1)
    agreement.has_lease = True
    assert tenancy.epoch_of(ALICE) == 1
    assert tenancy.give_up(ALICE, 1)
    assert tenancy.epoch_of(ALICE) is None
    assert list(tenancy.given_up) == [ALICE]
    await tenancy.release(ALICE)
    assert not tenancy.given_up


async def test_a_search_for_a_home_ends_with_the_calls_time(system: ActorSystem, agreement: Agreement) -> None:
    agreement.answers.clear()
    with pytest.raises(TimeoutError, match="while a home was sought") as late:
        await system.ref("Guest", "alice").invoke("epoch", timeout=0.01)
    assert late.value.executed is Executed.NO


async def test_a_type_that_is_not_here_has_no_home_here(system: ActorSystem, agreement: Agreement) -> None:
    with pytest.raises(AddressableNotFound):
        await system.ref("Stranger", "x").invoke("epoch")


async def test_a_lost_lease_ends_calls_and_actors_and_leaves_the_hook_its_time(
    system: ActorSystem, agreement: Agreement
) -> None:
    running = asyncio.create_task(system.ref("Guest", "alice").invoke("stay"))
    await settled()
    waiting = asyncio.create_task(system.ref("Guest", "alice").invoke("epoch"))
    await system.ref("Guest", "bob").invoke("epoch")
    agreement.has_lease = False
    assert await system.give_way(5.0) == 2
    with pytest.raises(LeaseExpired) as cut:
        await running
    assert cut.value.executed is Executed.MAYBE
    with pytest.raises(LeaseExpired) as refused:
        await waiting
    assert refused.value.executed is Executed.NO
    assert sorted(map(str, Guest.farewells)) == ["1", "2"]
    assert not system.snapshot()
    agreement.has_lease = True
    assert await system.ref("Guest", "alice").invoke("epoch") == 1  # nobody else had it


async def test_actors_that_live_elsewhere_already_end_without_their_hook(
    system: ActorSystem, agreement: Agreement
) -> None:
    running = asyncio.create_task(system.ref("Guest", "alice").invoke("stay"))
    await system.ref("Guest", "bob").invoke("epoch")
    await system.ref("Guest", "carol").invoke("epoch")
    await settled()
    del agreement.homes[ALICE], agreement.homes[AddressableReference.of("Guest", "bob")]
    assert await system.give_way() == 2
    with pytest.raises(LeaseExpired):
        await running
    assert Guest.farewells == []
    assert [view.reference.key.value for view in system.snapshot()] == ["carol"]


async def test_a_hook_that_is_cut_off_before_its_first_step_leaves_nothing_behind(
    system: ActorSystem, agreement: Agreement
) -> None:
    """asyncio does not enter a coroutine whose task is cancelled before it began, nor its `finally`."""
    await system.ref("Guest", "alice").invoke("epoch")
    cell = system._cells[ALICE]
    assert cell.retire() is not None
    cell.drop()
    await settled()
    assert not system.snapshot()
    assert Guest.farewells == []
    assert await system.ref("Guest", "alice").invoke("epoch") == 2


async def test_a_hook_that_takes_longer_than_others_will_wait_is_cut_off(
    system: ActorSystem, agreement: Agreement
) -> None:
    await system.ref("Guest", "alice").invoke("epoch")
    Guest.gate.clear()
    agreement.has_lease = False
    assert await system.give_way(0.01) == 1
    await settled()
    assert Guest.farewells == [1]
    assert not system.snapshot()
