"""Deadlines: never early, at most a tick late, and nothing left of those that were taken back."""

from __future__ import annotations

import asyncio
from functools import partial

from orbit_lite.rpc.timers import TICK, Timers


async def test_they_fire_in_order_never_early_and_once() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    fired: list[tuple[float, float]] = []
    start = loop.time()

    def fire(delay: float) -> None:
        fired.append((delay, loop.time() - start))

    for delay in (0.05, 0.0, 0.02):
        timers.start(start + delay, partial(fire, delay))
    await asyncio.sleep(0.1)
    assert [delay for delay, _ in fired] == [0.0, 0.02, 0.05]
    assert all(at >= delay for delay, at in fired)
    assert len(timers) == 0


async def test_what_was_cancelled_is_not_called_also_when_it_is_due() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    fired: list[str] = []

    def second_fires() -> None:
        fired.append("second")
        first.cancel()
        third.cancel()

    first = timers.start(loop.time() + 0.01, lambda: fired.append("first"))
    second = timers.start(loop.time() + 0.01, second_fires)
    third = timers.start(loop.time() + 0.05, lambda: fired.append("third"))
    first.cancel()
    first.cancel()
    await asyncio.sleep(0.01 + 10 * TICK)
    assert fired == ["second"]
    second.cancel()


async def test_an_earlier_one_is_not_kept_waiting_by_a_later_one() -> None:
    loop = asyncio.get_running_loop()
    timers, fired = Timers(loop), asyncio.Event()
    late = timers.start(loop.time() + 1000, lambda: None)
    timers.start(loop.time() + 0.01, fired.set)
    await asyncio.wait_for(fired.wait(), 5)
    late.cancel()


async def test_far_ones_leave_nothing_in_the_loop() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    for _ in range(1000):
        timers.start(loop.time() + 3e8, lambda: None).cancel()
    assert len(timers) == 0
    scheduled = getattr(loop, "_scheduled", [])  # asyncio's own list; other loops have none to look at
    assert not [handle for handle in scheduled if not handle.cancelled() and handle.when() > loop.time() + 1000]
