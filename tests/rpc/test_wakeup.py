"""What wakes a task at once, and is a future to the task."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from orbit_lite.rpc.wakeup import Wakeup, fire_all

Heard = list[str]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


class Sleeper:
    """A task that waits, and what became of it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.wakeup = Wakeup(loop)
        self.heard: list[object] = []
        self.task = loop.create_task(self._sleep())

    async def _sleep(self) -> None:
        variable.set("inside")
        try:
            await self.wakeup
            self.heard.append((variable.get(), asyncio.current_task() is self.task))
        except asyncio.CancelledError as error:
            self.heard.append(error.args)
            raise


async def outside_of_tasks(work: Callable[[], object]) -> None:
    """Call it as the loop calls a protocol."""
    asyncio.get_running_loop().call_soon(work)
    await asyncio.sleep(0)


async def asleep() -> Sleeper:
    sleeper = Sleeper()
    await asyncio.sleep(0)
    return sleeper


async def test_a_task_goes_on_at_once_as_itself() -> None:
    sleeper = await asleep()
    at_once: list[object] = []

    def fire() -> None:
        sleeper.wakeup.fire()
        at_once.extend(sleeper.heard)

    await outside_of_tasks(fire)
    assert at_once == [("inside", True)]
    await sleeper.task
    assert variable.get() == "outside"


async def test_a_task_goes_on_soon_where_another_one_runs() -> None:
    sleeper = await asleep()
    fire_all([sleeper.wakeup], asyncio.get_running_loop())
    assert sleeper.heard == []
    await sleeper.task
    assert sleeper.heard == [("inside", True)]


async def test_a_wakeup_before_the_wait_is_not_lost() -> None:
    for fire in (Wakeup.fire, Wakeup.fire_soon):
        wakeup = Wakeup(asyncio.get_running_loop())
        fire(wakeup)
        await wakeup
        assert wakeup.done()


async def test_a_second_wakeup_has_no_effect() -> None:
    sleeper = await asleep()

    def fire() -> None:
        sleeper.wakeup.fire()
        sleeper.wakeup.fire()
        sleeper.wakeup.fire_soon()

    await outside_of_tasks(fire)
    await sleeper.task
    assert len(sleeper.heard) == 1


async def test_cancelling_the_task_ends_the_wait() -> None:
    sleeper = await asleep()
    assert sleeper.task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await sleeper.task
    assert sleeper.heard == [("enough",)]


async def test_a_task_that_was_cancelled_first_is_not_woken_as_well() -> None:
    sleeper = await asleep()

    def cancel_and_fire() -> None:
        sleeper.task.cancel()
        sleeper.wakeup.fire()

    await outside_of_tasks(cancel_and_fire)
    await asyncio.wait([sleeper.task])
    assert sleeper.task.cancelled()
    assert sleeper.heard == [()]


async def test_a_task_that_is_woken_first_is_cancelled_where_it_waits_next() -> None:
    sleeper = await asleep()
    sleeper.wakeup.fire_soon()
    sleeper.task.cancel()
    await asyncio.wait([sleeper.task])
    assert sleeper.task.cancelled()


async def test_a_wait_ends_with_its_time_limit() -> None:
    wakeup = Wakeup(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await wakeup
    assert wakeup.done()


async def test_tasks_may_wake_cancel_and_start_each_other() -> None:
    loop = asyncio.get_running_loop()
    first, second, third = Wakeup(loop), Wakeup(loop), Wakeup(loop)
    heard: Heard = []

    async def one() -> None:
        await first
        heard.append("one")
        second.fire_soon()
        tasks[2].cancel()
        tasks.append(loop.create_task(four()))

    async def two() -> None:
        await second
        heard.append("two")

    async def three() -> None:
        try:
            await third
        except asyncio.CancelledError:
            heard.append("three was cancelled")
            raise

    async def four() -> None:
        heard.append("four")

    tasks = [loop.create_task(work()) for work in (one, two, three)]
    await asyncio.sleep(0)
    await outside_of_tasks(lambda: fire_all([first, second, third], loop))
    await asyncio.wait(tasks)
    assert sorted(heard) == ["four", "one", "three was cancelled", "two"]


def test_the_others_are_woken_although_one_ends_the_loop() -> None:
    loop = asyncio.new_event_loop()
    first, second = Wakeup(loop), Wakeup(loop)

    async def leave() -> None:
        await first
        raise SystemExit(3)

    async def go_on() -> str:
        await second
        return "went on"

    leaving, going_on = loop.create_task(leave()), loop.create_task(go_on())
    loop.call_soon(fire_all, [first, second], loop)
    with pytest.raises(SystemExit):
        loop.run_until_complete(leaving)
    assert loop.run_until_complete(asyncio.wait_for(going_on, 5)) == "went on"
    with pytest.raises(SystemExit):
        leaving.result()
    loop.close()
