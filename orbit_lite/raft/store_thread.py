"""The thread in which a node's store is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from orbit_lite.raft.ports import LogStore

__all__ = ["StoreThread"]

P = ParamSpec("P")
T = TypeVar("T")


class StoreThread(ThreadPoolExecutor):
    """One job after the other; behind each the store settles, and whoever waits for the job does not wait for that."""

    def __init__(self, name: str, store: LogStore, failed: Callable[[BaseException], object]) -> None:
        """failed: called in the thread when settling fails, or what `begin` began."""
        super().__init__(1, thread_name_prefix=name)
        self._store = store
        self._failed = failed

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        job = super().submit(fn, *args, **kwargs)
        super().submit(self._settle)
        return job

    def begin(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Callable[[], object]]) -> None:
        """Do the work; what it returns is called in the loop.

        `run_in_executor` is for work that somebody awaits. It wakes the loop for a future, and each time that costs a
        thread that has more to do its turn with the interpreter.
        """

        def job() -> None:
            try:
                then = work()
            except BaseException as error:  # noqa: BLE001  (nobody waits for it: it is told instead)
                self._failed(error)
            else:
                loop.call_soon_threadsafe(then)
            finally:
                self._settle()

        if type(loop).run_in_executor is asyncio.BaseEventLoop.run_in_executor:
            super().submit(job)
        else:  # the loop has its own mind of where work is done: in virtual time, say
            loop.run_in_executor(self, job)

    def _settle(self) -> None:
        try:
            self._store.settle()
        except Exception as error:  # noqa: BLE001  (nobody waits for it: it is told instead)
            self._failed(error)
