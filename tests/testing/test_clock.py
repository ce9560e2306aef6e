"""The event loop in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from orbit_lite.testing.clock import Deadlock, VirtualTimeLoop, run


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


def test_a_day_passes_without_waiting() -> None:
    async def scenario() -> float:
        await asyncio.sleep(86_400)
        return loop().time()

    assert run(scenario()) == 86_400  # or this test's own time limit ends it


def test_timers_fire_in_their_order_at_their_time() -> None:
    async def scenario() -> list[tuple[str, float]]:
        fired: list[tuple[str, float]] = []

        def fire(name: str) -> None:
            fired.append((name, loop().time()))

        for name, delay in (("late", 2.5), ("early", 0.5), ("middle", 1.0)):
            loop().call_later(delay, fire, name)
        await asyncio.sleep(3)
        return fired

    assert run(scenario()) == [("early", 0.5), ("middle", 1.0), ("late", 2.5)]


def test_jobs_of_an_executor_take_their_time_one_after_the_other() -> None:
    async def scenario() -> list[float]:
        return list(await asyncio.gather(*(loop().run_in_executor(None, loop().time) for _ in range(3))))

    assert run(scenario(), work_time=2.0) == [2.0, 4.0, 6.0]


def test_a_job_is_done_even_if_whoever_asked_for_it_has_gone() -> None:
    async def scenario() -> list[str]:
        done: list[str] = []
        loop().run_in_executor(None, done.append, "job").cancel()
        await asyncio.sleep(1)
        return done

    assert run(scenario()) == ["job"]


def test_the_error_of_a_job_reaches_whoever_waits() -> None:
    async def scenario() -> None:
        await loop().run_in_executor(None, [].pop)

    with pytest.raises(IndexError):
        run(scenario())


def test_when_nothing_can_happen_any_more_it_is_said() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(scenario())


def test_timers_that_became_due_while_time_jumped_fire_afterwards() -> None:
    async def scenario() -> float:
        waiting = asyncio.create_task(asyncio.sleep(1.0, loop().time))
        await asyncio.sleep(0)
        loop().jump(60.0)
        return (await waiting)() - 60.0

    assert run(scenario()) == 0.0
