"""Callbacks: in order, and never in the way of consensus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from orbit_lite.model import NodeId
from orbit_lite.raft.observers import Observers

A, B = NodeId("a"), NodeId("b")


@pytest.fixture
async def observers() -> AsyncIterator[Observers]:
    made = Observers()
    made.start()
    yield made
    await made.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_sync_and_async_callbacks_hear_of_everything_in_order(observers: Observers) -> None:
    heard: list[object] = []

    async def elected(leader: NodeId) -> None:
        await asyncio.sleep(0)
        heard.append(("elected", leader))

    observers.on_leader_elected.append(elected)
    observers.on_leader_lost.append(lambda leader: heard.append(("lost", leader)))
    observers.on_term_changed.append(heard.append)
    observers.term_changed(1)
    observers.leader_elected(A)
    observers.leader_lost(A)
    observers.term_changed(2)
    observers.leader_elected(B)
    await settle()
    assert heard == [1, ("elected", A), ("lost", A), 2, ("elected", B)]


async def test_a_callback_that_fails_is_logged_and_hinders_nobody(
    observers: Observers, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    def fail(term: int) -> None:
        raise ValueError("the user's own")

    observers.on_term_changed += [fail, heard.append]
    observers.term_changed(1)
    observers.term_changed(2)
    await settle()
    assert heard == [1, 2]
    assert "the user's own" in caplog.text


async def test_a_callback_that_waits_for_something_cancelled_hinders_nobody(observers: Observers) -> None:
    heard: list[int] = []

    async def give_up(term: int) -> None:
        raise asyncio.CancelledError

    observers.on_term_changed += [give_up, heard.append]
    observers.term_changed(1)
    observers.term_changed(2)
    await settle()
    assert heard == [1, 2]


async def test_callbacks_that_are_too_slow_miss_the_oldest_events_and_the_log_says_so(
    observers: Observers, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []
    go_on = asyncio.Event()

    async def slow(term: int) -> None:
        await go_on.wait()
        heard.append(term)

    observers.on_term_changed.append(slow)
    observers.term_changed(0)
    await settle()
    with caplog.at_level(logging.WARNING, "orbit_lite.raft"):
        for term in range(1, 1_100):
            observers.term_changed(term)
    go_on.set()
    while len(heard) < 1_025:
        await settle()
    assert heard == [0, *range(1_100 - 1_024, 1_100)]
    assert "an event was dropped" in caplog.text


async def test_nobody_is_called_after_the_end(observers: Observers) -> None:
    heard: list[int] = []
    stuck = asyncio.Event()

    async def wait(term: int) -> None:
        await stuck.wait()
        heard.append(term)

    observers.on_term_changed.append(wait)
    observers.term_changed(1)
    await settle()
    await observers.close()
    stuck.set()
    await settle()
    assert not heard


async def test_events_without_callbacks_take_no_room(observers: Observers) -> None:
    for term in range(5_000):
        observers.term_changed(term)
    heard: list[int] = []
    observers.on_term_changed.append(heard.append)
    await settle()
    assert not heard
