"""A message is handled once: who repeats it gets the first answer, or waits for it; nobody who leaves harms others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import InvocationFailed, OverloadedError
from orbit_lite.services import deduplication
from orbit_lite.services.deduplication import DeduplicationWindow

AGE = 10.0


class Work:
    """Counts its runs, ends when it may, and then does what the test says."""

    def __init__(self, *errors: Exception | None, gate: asyncio.Event | None = None) -> None:
        self.runs = 0
        self.cancelled = 0
        self._errors = list(errors)
        self._gate = gate

    async def __call__(self) -> None:
        self.runs += 1
        try:
            if self._gate is not None:
                await self._gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def window(clock: Clock) -> DeduplicationWindow:
    return DeduplicationWindow(size=3, age=AGE, clock=clock)


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    yield
    await turns()
    assert not deduplication._waiters
    assert asyncio.all_tasks() <= {asyncio.current_task()}


async def turns(count: int = 5) -> None:
    """Let everybody run who can."""
    for _ in range(count):
        await asyncio.sleep(0)


def start(window: DeduplicationWindow, handle: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    return asyncio.create_task(window.once("key", handle))


async def test_a_repeated_key_gets_the_first_answer_without_a_second_run(window: DeduplicationWindow) -> None:
    work = Work()
    for _ in range(3):
        await window.once("key", work)
    assert (work.runs, window.duplicates) == (1, 2)
    await window.once("other", work)
    assert (work.runs, window.duplicates) == (2, 2)


async def test_a_repeated_key_joins_the_run_that_is_still_going_on(window: DeduplicationWindow) -> None:
    gate = asyncio.Event()
    work = Work(gate=gate)
    callers = [start(window, work) for _ in range(3)]
    await turns()
    assert not any(caller.done() for caller in callers)
    gate.set()
    await asyncio.gather(*callers)
    assert (work.runs, window.duplicates) == (1, 2)


async def test_everybody_who_joined_hears_of_the_failure(window: DeduplicationWindow) -> None:
    gate = asyncio.Event()
    work = Work(InvocationFailed("locked"), gate=gate)
    callers = [start(window, work) for _ in range(3)]
    await turns()
    gate.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(error) for error in errors] == ["locked"] * 3
    assert work.runs == 1


async def test_a_failure_that_may_pass_is_forgotten(window: DeduplicationWindow) -> None:
    work = Work(OverloadedError("busy"))
    with pytest.raises(OverloadedError):
        await window.once("key", work)
    await window.once("key", work)
    assert (work.runs, window.duplicates) == (2, 0)


async def test_any_other_failure_is_an_answer(window: DeduplicationWindow) -> None:
    work = Work(InvocationFailed("locked"))
    for _ in range(3):
        with pytest.raises(InvocationFailed, match="locked"):
            await window.once("key", work)
    assert (work.runs, window.duplicates) == (1, 2)


async def test_what_is_no_error_of_ours_passes_through_and_is_not_an_answer(window: DeduplicationWindow) -> None:
    work = Work(ValueError("defect"))
    with pytest.raises(ValueError, match="defect"):
        await window.once("key", work)
    await window.once("key", work)
    assert work.runs == 2


async def test_an_answer_is_kept_for_its_age_and_no_longer(window: DeduplicationWindow, clock: Clock) -> None:
    work = Work()
    await window.once("key", work)
    clock.now = AGE - 0.001
    await window.once("key", work)
    assert work.runs == 1
    clock.now = AGE  # counted from the first answer: being asked for does not make it younger
    await window.once("key", work)
    assert work.runs == 2


async def test_the_age_of_an_answer_is_counted_from_the_end_of_its_run(
    window: DeduplicationWindow, clock: Clock
) -> None:
    gate = asyncio.Event()
    work = Work(gate=gate)
    caller = start(window, work)
    await turns()
    clock.now = 3 * AGE
    joined = start(window, work)  # what runs is never too old
    await turns()
    gate.set()
    await asyncio.gather(caller, joined)
    clock.now = 4 * AGE - 0.001
    await window.once("key", work)
    assert work.runs == 1


async def test_runs_do_not_count_for_the_windows_size() -> None:
    window = DeduplicationWindow(size=0, age=AGE, clock=Clock())
    gate = asyncio.Event()
    work = Work(gate=gate)
    callers = [start(window, work), start(window, work)]
    await turns()
    gate.set()
    await asyncio.gather(*callers)
    assert work.runs == 1
    await window.once("key", work)
    assert work.runs == 2


@given(keys=st.lists(st.integers(0, 5), max_size=30), size=st.integers(0, 4))
def test_exactly_the_latest_answers_are_kept(keys: list[int], size: int) -> None:
    async def scenario() -> None:
        window, kept = DeduplicationWindow(size=size, age=AGE, clock=Clock()), list[int]()
        for key in keys:
            work = Work()
            await window.once(key, work)
            assert work.runs == (key not in kept)
            if key not in kept:
                kept = [*kept, key][-size:] if size else []

    asyncio.run(scenario())


async def test_the_run_outlives_its_first_caller_as_long_as_another_waits(window: DeduplicationWindow) -> None:
    gate = asyncio.Event()
    work = Work(gate=gate)
    first, second = start(window, work), start(window, work)
    await turns()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()
    await second
    await window.once("key", work)
    assert (work.runs, work.cancelled) == (1, 0)


async def test_the_last_one_who_leaves_ends_the_run(window: DeduplicationWindow) -> None:
    work = Work(gate=asyncio.Event())
    callers = [start(window, work) for _ in range(3)]
    await turns()
    for caller in callers:
        assert work.cancelled == 0
        caller.cancel()
        await turns()
    assert work.cancelled == 1
    assert all(caller.cancelled() for caller in callers)


async def test_what_was_abandoned_is_run_again(window: DeduplicationWindow) -> None:
    gate = asyncio.Event()
    work = Work(gate=gate)
    first = start(window, work)
    await turns()
    first.cancel()
    await turns()
    gate.set()
    await window.once("key", work)
    assert (work.runs, window.duplicates) == (2, 0)


async def test_a_caller_who_leaves_at_once_leaves_nothing_behind(window: DeduplicationWindow) -> None:
    work = Work(gate=asyncio.Event())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await window.once("key", work)
    await turns()
    assert work.runs == work.cancelled
    await window.once("key", Work())


async def test_who_comes_while_an_abandoned_run_cleans_up_is_not_cancelled_with_it(
    window: DeduplicationWindow,
) -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def slow_to_end() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()

    first = start(window, slow_to_end)
    await started.wait()
    first.cancel()
    await turns()
    work = Work()
    later = [start(window, work) for _ in range(2)]
    await turns()
    assert work.runs == 0  # never two at once
    cleaned.set()
    await asyncio.gather(*later)
    assert work.runs == 1


async def test_who_comes_while_an_abandoned_run_still_finishes_gets_its_answer(window: DeduplicationWindow) -> None:
    started, finished = asyncio.Event(), asyncio.Event()

    async def past_the_point_of_return() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await finished.wait()

    first = start(window, past_the_point_of_return)
    await started.wait()
    first.cancel()
    await turns()
    work = Work()
    second = start(window, work)
    await turns()
    finished.set()
    await second
    assert (work.runs, window.duplicates) == (0, 1)
