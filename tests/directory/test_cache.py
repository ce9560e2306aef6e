from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator

import pytest

from orbit_lite.directory import CachingNodeResolver
from orbit_lite.errors import AddressableNotFound, ConfigurationError, NetworkError, NodeNotFound, OrbitError
from orbit_lite.model import AddressableReference, NodeId

ONE, TWO = NodeId("one"), NodeId("two")
ALICE, BOB = AddressableReference.of("Account", "alice"), AddressableReference.of("Account", "bob")

whose = contextvars.ContextVar("whose", default="nobody's")


class Directory:
    """Answers when the test lets it, counts what it is asked."""

    def __init__(self) -> None:
        self.urls = {ONE: "http://one:1"}
        self.places = {ALICE: ONE, BOB: TWO}
        self.failure: OrbitError | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.asked: list[object] = []
        self.cancelled = 0
        self.context = ""

    async def resolve_node(self, node_id: NodeId) -> str:
        await self._answer(node_id)
        if node_id not in self.urls:
            raise NodeNotFound(str(node_id))
        return self.urls[node_id]

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        await self._answer(addressable)
        if addressable not in self.places:
            raise AddressableNotFound(str(addressable))
        return self.places[addressable]

    async def _answer(self, name: object) -> None:
        self.asked.append(name)
        self.context = whose.get()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cache(directory: Directory, clock: Clock) -> AsyncIterator[CachingNodeResolver]:
    cache = CachingNodeResolver(directory, ttl=10.0, negative_ttl=1.0, max_entries=2, clock=clock)
    yield cache
    await cache.close()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_answer_is_remembered_for_its_time(
    cache: CachingNodeResolver, directory: Directory, clock: Clock
) -> None:
    assert await cache.resolve_node(ONE) == await cache.resolve_node(ONE) == "http://one:1"
    assert await cache.resolve_addressable(ALICE) == await cache.resolve_addressable(ALICE) == ONE
    assert directory.asked == [ONE, ALICE]
    clock.now = 10.0
    await cache.resolve_node(ONE)
    assert directory.asked == [ONE, ALICE, ONE]


async def test_that_there_is_none_is_remembered_for_less(
    cache: CachingNodeResolver, directory: Directory, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(NodeNotFound, match="two"):
            await cache.resolve_node(TWO)
    assert directory.asked == [TWO]
    clock.now = 1.0
    directory.urls[TWO] = "http://two:2"
    assert await cache.resolve_node(TWO) == "http://two:2"


async def test_an_actor_that_is_nowhere_is_remembered_too(cache: CachingNodeResolver, directory: Directory) -> None:
    nowhere = AddressableReference.of("Account", "nobody")
    for _ in range(2):
        with pytest.raises(AddressableNotFound, match=r"^Account:nobody$"):
            await cache.resolve_addressable(nowhere)
    assert directory.asked == [nowhere]


async def test_not_being_able_to_find_out_is_not_remembered(cache: CachingNodeResolver, directory: Directory) -> None:
    directory.failure = NetworkError("the directory is away")
    with pytest.raises(NetworkError):
        await cache.resolve_node(ONE)
    directory.failure = None
    assert await cache.resolve_node(ONE) == "http://one:1"


async def test_simultaneous_callers_share_one_look_up(cache: CachingNodeResolver, directory: Directory) -> None:
    directory.go.clear()
    calls = [asyncio.create_task(cache.resolve_node(ONE)) for _ in range(5)]
    await settle()
    directory.go.set()
    assert await asyncio.gather(*calls) == ["http://one:1"] * 5
    assert directory.asked == [ONE]


async def test_a_shared_failure_reaches_all_who_wait(cache: CachingNodeResolver, directory: Directory) -> None:
    directory.go.clear()
    directory.failure = NetworkError("the directory is away")
    calls = [asyncio.create_task(cache.resolve_node(ONE)) for _ in range(3)]
    await settle()
    directory.go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NetworkError] * 3


async def test_a_caller_that_gives_up_does_not_break_off_the_others(
    cache: CachingNodeResolver, directory: Directory
) -> None:
    directory.go.clear()
    first, second = (asyncio.create_task(cache.resolve_node(ONE)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    directory.go.set()
    assert await second == "http://one:1"
    assert directory.cancelled == 0


async def test_a_look_up_that_nobody_waits_for_any_more_is_broken_off(
    cache: CachingNodeResolver, directory: Directory
) -> None:
    directory.go.clear()
    calls = [asyncio.create_task(cache.resolve_node(ONE)) for _ in range(2)]
    await settle()
    for call in calls:
        call.cancel()
    await settle()
    assert directory.cancelled == 1
    directory.go.set()
    assert await cache.resolve_node(ONE) == "http://one:1"


async def test_a_look_up_belongs_to_no_single_caller(cache: CachingNodeResolver, directory: Directory) -> None:
    """Context variables hold deadlines: the first caller's must not end a look-up that others wait for."""
    whose.set("the first caller's")
    await cache.resolve_node(ONE)
    assert directory.context == "nobody's"


async def test_an_invalidated_name_is_asked_for_again(cache: CachingNodeResolver, directory: Directory) -> None:
    await cache.resolve_node(ONE)
    await cache.resolve_addressable(ALICE)
    cache.invalidate(ALICE)
    await cache.resolve_node(ONE)
    await cache.resolve_addressable(ALICE)
    assert directory.asked == [ONE, ALICE, ALICE]


async def test_with_a_node_the_actors_that_were_found_on_it_are_forgotten(
    cache: CachingNodeResolver, directory: Directory
) -> None:
    for actor in (ALICE, BOB):
        await cache.resolve_addressable(actor)
    cache.invalidate(ONE)
    for actor in (ALICE, BOB):
        await cache.resolve_addressable(actor)
    assert directory.asked == [ALICE, BOB, ALICE]


async def test_everything_can_be_invalidated(cache: CachingNodeResolver, directory: Directory) -> None:
    await cache.resolve_node(ONE)
    await cache.resolve_addressable(ALICE)
    assert repr(cache) == "<CachingNodeResolver 1 nodes, 1 actors>"
    cache.invalidate()
    assert repr(cache) == "<CachingNodeResolver 0 nodes, 0 actors>"


async def test_an_answer_that_was_invalidated_under_way_is_given_but_not_remembered(
    cache: CachingNodeResolver, directory: Directory
) -> None:
    directory.go.clear()
    early = asyncio.create_task(cache.resolve_node(ONE))
    await settle()
    cache.invalidate(ONE)
    directory.go.set()
    assert await early == "http://one:1"
    directory.urls[ONE] = "http://moved:1"
    assert await cache.resolve_node(ONE) == "http://moved:1"


async def test_a_name_that_was_invalidated_under_way_is_asked_for_anew_at_once(
    cache: CachingNodeResolver, directory: Directory
) -> None:
    directory.go.clear()
    early = asyncio.create_task(cache.resolve_node(ONE))
    await settle()
    cache.invalidate(ONE)
    late = asyncio.create_task(cache.resolve_node(ONE))
    await settle()
    assert directory.asked == [ONE, ONE]
    directory.go.set()
    assert [await early, await late] == ["http://one:1"] * 2


async def test_memory_is_bounded(cache: CachingNodeResolver, directory: Directory) -> None:
    directory.places |= {AddressableReference.of("Account", str(number)): ONE for number in range(10)}
    for addressable in directory.places:
        await cache.resolve_addressable(addressable)
    assert repr(cache) == "<CachingNodeResolver 0 nodes, 2 actors>"


async def test_nothing_is_remembered_where_that_is_asked_for(directory: Directory) -> None:
    cache = CachingNodeResolver(directory, ttl=0, negative_ttl=0)
    for _ in range(2):
        await cache.resolve_node(ONE)
        with pytest.raises(NodeNotFound):
            await cache.resolve_node(TWO)
    assert directory.asked == [ONE, TWO, ONE, TWO]


async def test_closing_breaks_off_what_is_under_way(cache: CachingNodeResolver, directory: Directory) -> None:
    directory.go.clear()
    call = asyncio.create_task(cache.resolve_node(ONE))
    await settle()
    await cache.close()
    assert directory.cancelled == 1
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("options", [{"ttl": -1.0}, {"negative_ttl": float("nan")}, {"max_entries": 0}])
def test_settings_are_checked(directory: Directory, options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(options))}="):
        CachingNodeResolver(directory, **options)  # type: ignore[arg-type]
