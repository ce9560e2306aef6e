"""The thread in which a store is used: one job after the other, and who hears of what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orbit_lite.raft.store_thread import StoreThread
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing import clock


class Notes(MemoryLogStore):
    """A store that only notes where it settles."""

    def __init__(self, log: list[tuple[str, bool]]) -> None:
        super().__init__()
        self._log = log

    def settle(self) -> None:
        self._log.append(("settled", is_main()))


def is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def in_real_time(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


@pytest.mark.parametrize("run", [in_real_time, lambda scenario: clock.run(scenario())], ids=["real", "virtual"])
def test_what_work_returns_is_called_in_the_loop_and_the_store_settles(run: Callable[[Any], None]) -> None:
    log: list[tuple[str, bool]] = []

    async def scenario() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        with StoreThread("store", Notes(log), print) as thread:

            def work() -> Callable[[], None]:
                log.append(("worked", is_main()))
                return then

            def then() -> None:
                log.append(("told", is_main()))
                told.set()

            thread.begin(loop, work)
            await told.wait()

    run(scenario)
    is_virtual = log[0][1]
    assert sorted(log) == [("settled", is_virtual), ("told", True), ("worked", is_virtual)]
    assert is_virtual == (run is not in_real_time)


async def test_work_that_fails_is_told_and_the_next_is_done() -> None:
    log: list[tuple[str, bool]] = []
    failures: list[BaseException] = []
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def fail() -> Callable[[], None]:
        raise OSError("no room")

    with StoreThread("store", Notes(log), failures.append) as thread:
        thread.begin(loop, fail)
        thread.begin(loop, lambda: told.set)
        await told.wait()
    assert [str(failure) for failure in failures] == ["no room"]
    assert log == [("settled", False)] * 2


async def test_a_store_that_does_not_settle_is_told() -> None:
    class Broken(MemoryLogStore):
        def settle(self) -> None:
            raise OSError("gone")

    failures: list[BaseException] = []
    with StoreThread("store", Broken(), failures.append) as thread:
        assert await asyncio.get_running_loop().run_in_executor(thread, lambda: 7) == 7
    assert [str(failure) for failure in failures] == ["gone"]
