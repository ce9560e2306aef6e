"""Health: one state, two protocols, and watchers that may be slow, many or gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import OverloadedError
from orbit_lite.rpc import NotFound, ResourceExhausted
from orbit_lite.services import GrpcHealthService, HealthState, HealthWatch, OrbitHealthService, ServingStatus
from orbit_proto.grpc.health import v1
from orbit_proto.orbit import shared

SERVING, NOT_SERVING = ServingStatus.SERVING, ServingStatus.NOT_SERVING
SERVICE_UNKNOWN = ServingStatus.SERVICE_UNKNOWN


async def is_silent(waiting: asyncio.Task[Any]) -> bool:
    """Nothing comes, however often the loop turns."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not waiting.done()


def next_of(iterator: AsyncIterator[Any]) -> asyncio.Task[Any]:
    async def step() -> Any:
        return await anext(iterator)

    return asyncio.create_task(step())


# ---------------------------------------------------------------- the state


def test_the_process_and_the_named_services_serve_from_the_start() -> None:
    state = HealthState(["orbit.shared.ConnectionService"])
    assert state.statuses == {"": SERVING, "orbit.shared.ConnectionService": SERVING}
    assert state.get("other") is None
    assert repr(state) == "<HealthState 2 of 2 serving, 0 watches>"


def test_while_draining_nothing_becomes_serving_again() -> None:
    state = HealthState(["a"])
    state.drain()
    state.set("a", SERVING)
    state.set("late", SERVING)
    assert set(state.statuses.values()) == {NOT_SERVING}
    assert repr(state) == "<HealthState 0 of 3 serving, 0 watches, draining>"


async def test_a_watch_tells_the_present_status_and_then_each_change() -> None:
    state = HealthState()
    with state.subscribe("") as watch:
        assert await anext(watch) is SERVING
        state.set("", NOT_SERVING)
        state.set("", SERVING)
        assert [await anext(watch), await anext(watch)] == [NOT_SERVING, SERVING]


async def test_setting_the_same_status_again_and_other_services_tell_a_watcher_nothing() -> None:
    state = HealthState()
    with state.subscribe("") as watch:
        await anext(watch)
        state.set("", SERVING)
        state.set("other", NOT_SERVING)
        waiting = next_of(watch)
        assert await is_silent(waiting)
        state.set("", NOT_SERVING)
        assert await waiting is NOT_SERVING


async def test_a_slow_watcher_is_told_the_latest_status_instead_of_a_long_queue() -> None:
    state = HealthState()
    with state.subscribe("") as watch:
        await anext(watch)
        for _ in range(HealthWatch.BACKLOG):
            state.set("", NOT_SERVING)
            state.set("", SERVING)
        state.set("", NOT_SERVING)
        state.close()
        told = [status async for status in watch]
    assert len(told) <= HealthWatch.BACKLOG
    assert told[-1] is NOT_SERVING


@given(st.lists(st.sampled_from(list(ServingStatus)), max_size=60))
def test_however_fast_the_changes_come_the_last_word_is_the_state(changes: list[ServingStatus]) -> None:
    async def run() -> list[ServingStatus]:
        state = HealthState()
        with state.subscribe("") as watch:
            first = await anext(watch)
            for status in changes:
                state.set("", status)
            state.close()
            return [first] + [status async for status in watch]

    told = asyncio.run(run())
    assert told[-1] is (changes[-1] if changes else SERVING)
    assert all(one is not other for one, other in itertools.pairwise(told))
    if len(changes) < HealthWatch.BACKLOG:  # nothing was skipped
        assert told == [status for status, _ in itertools.groupby([SERVING, *changes])]


async def test_a_slow_watcher_is_not_told_again_what_it_knows() -> None:
    state = HealthState()
    with state.subscribe("") as watch:
        assert await anext(watch) is SERVING
        for _ in range(HealthWatch.BACKLOG // 2 - 1):
            state.set("", NOT_SERVING)
            state.set("", SERVING)
        for status in (NOT_SERVING, ServingStatus.UNKNOWN, SERVING):  # the last one drops the backlog
            state.set("", status)
        state.close()
        assert [status async for status in watch] == []


async def test_closing_ends_watches_after_their_last_change_and_lets_no_new_one_wait() -> None:
    state = HealthState()
    with state.subscribe("") as watch:
        state.drain()
        state.close()
        assert [status async for status in watch] == [SERVING, NOT_SERVING]
    with state.subscribe("") as late:
        assert [status async for status in late] == [NOT_SERVING]


def test_watches_are_bounded_in_all_and_per_connection_and_closing_one_makes_room() -> None:
    state = HealthState(max_watches=3, max_watches_per_connection=2)
    first, _second = (state.subscribe("", connection="a") for _ in range(2))
    with pytest.raises(OverloadedError, match="on this connection"):
        state.subscribe("", connection="a")
    state.subscribe("", connection="b")
    with pytest.raises(OverloadedError, match="no more are taken"):
        state.subscribe("", connection="c")
    first.close()
    first.close()
    state.subscribe("", connection="a")
    assert repr(state) == "<HealthState 1 of 1 serving, 3 watches>"


# ---------------------------------------------------------------- orbit.shared


async def test_orbit_check_answers_the_status_and_service_unknown_for_names_never_set() -> None:
    service = OrbitHealthService(HealthState(["a"]))
    service.set_serving_status(NOT_SERVING)
    answers = [(await service.check(shared.HealthCheckRequest(name))).status for name in ("", "a", "b")]
    assert answers == [NOT_SERVING, SERVING, SERVICE_UNKNOWN]


async def test_orbit_watch_stays_open_and_sends_each_change() -> None:
    service = OrbitHealthService()
    async with aclosing(service.watch(shared.HealthCheckRequest())) as answers:
        assert (await anext(answers)).status == SERVING
        waiting = next_of(answers)
        assert await is_silent(waiting)
        service.set_serving_status(NOT_SERVING)
        assert (await waiting).status == NOT_SERVING


# ---------------------------------------------------------------- grpc.health.v1


async def test_grpc_check_fails_for_names_never_set() -> None:
    service = GrpcHealthService(HealthState(["a"]))
    assert (await service.check(v1.HealthCheckRequest("a"))).status == SERVING
    with pytest.raises(NotFound, match="unknown service 'b"):
        await service.check(v1.HealthCheckRequest("b\n"))


async def test_grpc_watch_of_an_unknown_service_waits_until_it_appears() -> None:
    service = GrpcHealthService()
    async with aclosing(service.watch(v1.HealthCheckRequest("later"))) as answers:
        assert (await anext(answers)).status == SERVICE_UNKNOWN
        service.state.set("later", SERVING)
        assert (await anext(answers)).status == SERVING


async def test_list_answers_all_statuses_unless_they_are_too_many() -> None:
    service = GrpcHealthService(HealthState(["a"]))
    service.state.set("a", NOT_SERVING)
    answer = await service.list(v1.HealthListRequest())
    assert {name: response.status for name, response in answer.statuses.items()} == {"": SERVING, "a": NOT_SERVING}
    for number in range(100):
        service.state.set(f"s{number}", SERVING)
    with pytest.raises(ResourceExhausted, match="102 services"):
        await service.list(v1.HealthListRequest())


# ---------------------------------------------------------------- callers that go away


class DeafStream:
    """A client whose window is full: the first answer never leaves."""

    def __init__(self) -> None:
        self.is_sending = asyncio.Event()

    async def recv_message(self) -> v1.HealthCheckRequest:
        return v1.HealthCheckRequest()

    async def send_message(self, message: object) -> None:
        self.is_sending.set()
        await asyncio.Event().wait()


async def test_a_watcher_that_is_cancelled_while_it_does_not_read_leaves_nothing_behind() -> None:
    service = GrpcHealthService()
    stream = DeafStream()
    handler: Any = service.__mapping__()["/grpc.health.v1.Health/Watch"].func
    call = asyncio.create_task(handler(stream))
    await stream.is_sending.wait()
    assert repr(service.state) == "<HealthState 1 of 1 serving, 1 watches>"
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert repr(service.state) == "<HealthState 1 of 1 serving, 0 watches>"
