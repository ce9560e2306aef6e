"""Deadlines: never early, at most a tick late, and nothing left of those that were taken back."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from functools import partial

from orbit_lite.rpc.timers import TICK, Expiry, Timers


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


class Something:
    """A call, say."""


_of_a_handler: contextvars.ContextVar[Something | None] = contextvars.ContextVar("of a handler", default=None)


async def test_who_arms_a_timer_is_not_kept_by_it() -> None:
    loop = asyncio.get_running_loop()
    timers, loan = Timers(loop), Loan()
    expiry = Expiry(loop, lambda: [loan])

    async def handler() -> weakref.ref[Something]:
        _of_a_handler.set(Something())
        timers.start(loop.time() + 30.0, lambda: None)
        expiry.add(loan, loop.time() + 30.0)
        kept = _of_a_handler.get()
        assert kept is not None
        return weakref.ref(kept)

    kept = await asyncio.create_task(handler())
    await asyncio.sleep(0)
    gc.collect()
    assert len(timers) == 1
    assert loan.expires is not None
    assert kept() is None
    expiry.stop()


class Loan:
    """Something with a deadline."""

    def __init__(self) -> None:
        self.expires: float | None = None
        self.expired: list[float] = []

    def expire(self) -> None:
        self.expired.append(asyncio.get_running_loop().time())


async def test_what_is_open_expires_once_never_early_in_any_order_of_deadlines() -> None:
    loop = asyncio.get_running_loop()
    loans = [Loan() for _ in range(3)]
    expiry = Expiry(loop, lambda: loans)
    start = loop.time()
    for loan, delay in zip(loans, (0.06, 0.0, 0.03), strict=True):
        expiry.add(loan, start + delay)
    await asyncio.sleep(0.15)
    assert [len(loan.expired) for loan in loans] == [1, 1, 1]
    assert all(loan.expired[0] >= start + delay for loan, delay in zip(loans, (0.06, 0.0, 0.03), strict=True))


async def test_what_is_no_longer_open_or_took_its_deadline_back_does_not_expire() -> None:
    loop = asyncio.get_running_loop()
    gone, free, late = Loan(), Loan(), Loan()
    open_now = [gone, free, late]
    expiry = Expiry(loop, lambda: open_now)
    for loan in (gone, free, late):
        expiry.add(loan, loop.time())
    open_now.remove(gone)
    free.expires = None
    await asyncio.sleep(3 * TICK)
    assert [len(loan.expired) for loan in (gone, free, late)] == [0, 0, 1]


async def test_nothing_expires_after_the_end() -> None:
    loop = asyncio.get_running_loop()
    loan = Loan()
    expiry = Expiry(loop, lambda: [loan])
    expiry.add(loan, loop.time())
    expiry.stop()
    await asyncio.sleep(3 * TICK)
    assert not loan.expired
