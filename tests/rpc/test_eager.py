"""A first step at once, and everything else as if an ordinary task had done it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from orbit_lite.rpc.eager import ParkedTask

marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="")


@pytest.fixture
async def parked() -> AsyncIterator[ParkedTask]:
    task = ParkedTask(asyncio.get_running_loop())
    await asyncio.sleep(0)
    yield task
    task.task.cancel()
    await asyncio.wait([task.task])


async def lend(parked: ParkedTask, coroutine: Coroutine[Any, Any, None]) -> bool:
    """Run it from a callback of the loop, where no task runs."""
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def call() -> None:
        assert parked.enter()
        done.set_result(parked.run(coroutine))

    asyncio.get_running_loop().call_soon(call)
    return await done


async def test_a_coroutine_that_waits_for_nothing_is_over_at_once(parked: ParkedTask) -> None:
    seen = []

    async def work() -> None:
        seen.append(asyncio.current_task())

    assert await lend(parked, work())
    assert await lend(parked, work()), "the task can be lent again"
    assert seen == [parked.task, parked.task]
    assert not parked.task.done()


async def test_a_coroutine_that_waits_goes_on_in_the_task(parked: ParkedTask) -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        seen.append(await gate)
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    assert not await lend(parked, work())
    assert not parked.enter()
    gate.set_result("went on")
    await parked.task
    assert seen == [parked.task, "went on", parked.task]


async def test_it_is_not_ready_before_it_waits_nor_inside_another_task() -> None:
    parked = ParkedTask(asyncio.get_running_loop())
    assert not parked.enter()
    await asyncio.sleep(0)
    assert not parked.enter(), "this test is a task itself"
    parked.task.cancel()
    await asyncio.wait([parked.task])
    assert not parked.enter()


async def test_each_coroutine_has_a_context_of_its_own_in_all_its_steps(parked: ParkedTask) -> None:
    seen = []

    async def work(name: str, wait: bool) -> None:
        seen.append(marker.get())
        marker.set(name)
        if wait:
            await asyncio.sleep(0)
        seen.append(marker.get())

    assert await lend(parked, work("first", False))
    assert not await lend(parked, work("second", True))
    await parked.task
    assert seen == ["", "first", "", "second"]
    assert not marker.get()


async def test_a_timeout_inside_it_ends_its_waiting(parked: ParkedTask) -> None:
    ended = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append("timeout")

    assert not await lend(parked, work())
    await parked.task
    assert ended == ["timeout"]
    assert parked.task.cancelling() == 0


@pytest.mark.parametrize("turns", [0, 1, 2, 3], ids="after {} turns".format)
@pytest.mark.parametrize("kind", ["future", "sleep", "task"])
async def test_cancelling_it_cancels_what_it_waits_for(parked: ParkedTask, turns: int, kind: str) -> None:
    loop = asyncio.get_running_loop()
    inner: asyncio.Future[None] = loop.create_future()
    seen = []

    async def wait() -> None:
        await inner

    waits: dict[str, Callable[[], Any]] = {
        "future": lambda: inner,
        "task": lambda: loop.create_task(wait()),
        "sleep": lambda: asyncio.sleep(3600),
    }

    async def work() -> None:
        try:
            await waits[kind]()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    done = loop.create_future()

    def call() -> None:
        assert parked.enter()
        assert not parked.run(work())
        if not turns:
            parked.task.cancel()
        done.set_result(None)

    loop.call_soon(call)
    await done
    for _ in range(turns - 1):
        await asyncio.sleep(0)
    if turns:
        parked.task.cancel()
    await asyncio.wait([parked.task])
    assert seen == ["cancelled", "cleaned up"]
    assert parked.task.cancelled()
    assert inner.cancelled() or kind == "sleep"


async def test_being_cancelled_in_the_first_step_shows_at_the_first_wait(parked: ParkedTask) -> None:
    seen = []

    async def work() -> None:
        parked.task.cancel()
        seen.append("goes on")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    assert not await lend(parked, work())
    await asyncio.wait([parked.task])
    assert seen == ["goes on", "cancelled"]


async def test_being_cancelled_in_an_only_step_leaves_a_task_that_cannot_be_lent(parked: ParkedTask) -> None:
    async def work() -> None:
        parked.task.cancel()

    assert await lend(parked, work())
    await asyncio.wait([parked.task])
    assert parked.task.cancelled()


async def test_a_task_that_is_dropped_closes_its_coroutine() -> None:
    closed = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except GeneratorExit:
            closed.append(True)
            raise

    def lend_and_drop() -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)  # which is told of the task that was dropped
        parked = ParkedTask(loop)
        loop.call_soon(loop.call_soon, lambda: parked.enter() and parked.run(work()))
        for _ in range(5):
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.close()

    await asyncio.to_thread(lend_and_drop)
    for _ in range(3):  # PyPy finalizes step by step
        gc.collect()
    assert closed == [True]


async def test_what_its_waits_raise_reaches_it(parked: ParkedTask) -> None:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen = []

    async def work() -> None:
        try:
            await failing
        except ValueError as error:
            seen.append(str(error))

    assert not await lend(parked, work())
    failing.set_exception(ValueError("no"))
    await parked.task
    assert seen == ["no"]
