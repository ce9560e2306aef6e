"""The two lines of a connection: nobody overtakes, nobody who leaves takes a place with him, nobody is forgotten."""

from __future__ import annotations

import asyncio

from orbit_lite.rpc.waiting import Backlog, Places, Watchers


class Seats:
    """Places that calls take and give back, and the order in which they were taken."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.taken: list[str] = []
        self.places = Places(asyncio.get_running_loop(), lambda: self.free)

    async def take(self, name: str) -> None:
        await self.places.take()
        self.free -= 1
        self.taken.append(name)

    def give_back(self) -> None:
        self.free += 1
        self.places.offer()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_taken_in_the_order_of_asking() -> None:
    seats = Seats(1)
    tasks = [asyncio.create_task(seats.take(name)) for name in "abc"]
    await settle()
    assert seats.taken == ["a"]
    assert seats.places.is_contended
    seats.give_back()
    late = asyncio.create_task(seats.take("late"))
    await settle()
    assert seats.taken == ["a", "b"], "who comes now waits behind the others"
    seats.give_back()
    seats.give_back()
    await asyncio.gather(*tasks, late)
    assert seats.taken == ["a", "b", "c", "late"]
    assert not seats.places.is_contended


async def test_who_is_cancelled_with_a_place_in_hand_passes_it_on() -> None:
    seats = Seats(0)
    first, second = [asyncio.create_task(seats.take(name)) for name in ("first", "second")]
    await settle()
    seats.give_back()
    first.cancel()  # it was offered the place and has not run since
    await settle()
    assert seats.taken == ["second"]
    await second


async def test_who_is_cancelled_in_the_line_is_not_offered_anything() -> None:
    seats = Seats(0)
    first, second = [asyncio.create_task(seats.take(name)) for name in ("first", "second")]
    await settle()
    first.cancel()
    await settle()
    seats.give_back()
    await second
    assert seats.taken == ["second"]


async def test_a_full_backlog_lets_all_look_again_when_it_has_room() -> None:
    backlog = Backlog(10)
    made: list[int] = []

    async def make(number: int) -> None:
        while backlog.is_full:
            await backlog.wait()
        backlog.add(10)
        made.append(number)

    backlog.add(10)
    tasks = [asyncio.create_task(make(number)) for number in range(3)]
    await settle()
    assert made == []
    for done in range(1, 4):
        backlog.add(-10)
        await settle()
        assert made == list(range(done)), "one more each time: those behind it look again and wait"
    await asyncio.gather(*tasks)


async def test_a_cancelled_maker_is_forgotten() -> None:
    backlog = Backlog(1)
    backlog.add(1)
    waiting = asyncio.create_task(backlog.wait())
    await settle()
    waiting.cancel()
    await settle()
    backlog.add(-1)
    assert waiting.cancelled()
    assert not backlog.is_full


async def test_all_who_watch_look_again_and_who_left_is_forgotten() -> None:
    watchers = Watchers()
    first, second, gone = [asyncio.create_task(watchers.wait()) for _ in range(3)]
    await settle()
    gone.cancel()
    await settle()
    assert not first.done()
    watchers.wake()
    await asyncio.gather(first, second)
    assert gone.cancelled()
    watchers.wake()
