"""The thread in which a node's store is used."""

from __future__ import annotations

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
        """failed: called in the thread when settling fails."""
        super().__init__(1, thread_name_prefix=name)
        self._store = store
        self._failed = failed

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        job = super().submit(fn, *args, **kwargs)
        super().submit(self._settle)
        return job

    def _settle(self) -> None:
        try:
            self._store.settle()
        except Exception as error:  # noqa: BLE001  (nobody waits for it: it is told instead)
            self._failed(error)
