"""A NodeResolver that remembers what another one answered.

Answers are kept for `ttl`, "there is none" for the shorter `negative_ttl`; failures to find out are not kept. Callers
who ask for the same name at the same time share one look-up, which none of them can break off for the others.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from orbit_lite.directory.ttl import TtlCache
from orbit_lite.errors import AddressableNotFound, ClusterError, ConfigurationError, NodeNotFound
from orbit_lite.model import AddressableReference, NodeId, NodeResolver

__all__ = ["CachingNodeResolver"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class CachingNodeResolver:
    """Remembers the answers of `inner`.

    ttl, negative_ttl: seconds; 0 = not at all. max_entries: answers remembered, of nodes and of actors each. clock:
    seconds, monotonic. Call `invalidate` when an answer has proved wrong, and `close` at the end.
    """

    def __init__(
        self,
        inner: NodeResolver,
        *,
        ttl: float = 30.0,
        negative_ttl: float = 1.0,
        max_entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, least in (("ttl", ttl, 0), ("negative_ttl", negative_ttl, 0), ("max_entries", max_entries, 1)):
            if not value >= least:
                raise ConfigurationError(f"{name}={value!r}: must be at least {least}")
        self._nodes = _Lookups[NodeId, str](
            inner.resolve_node,
            NodeNotFound,
            ttl=ttl,
            negative_ttl=negative_ttl,
            max_entries=max_entries,
            clock=clock,
        )
        self._addressables = _Lookups[AddressableReference, NodeId](
            inner.resolve_addressable,
            AddressableNotFound,
            ttl=ttl,
            negative_ttl=negative_ttl,
            max_entries=max_entries,
            clock=clock,
        )

    async def resolve_node(self, node_id: NodeId) -> str:
        """The node's endpoint. Raises NodeNotFound, and whatever the inner resolver raises."""
        return await self._nodes.get(node_id)

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        """The actor's node. Raises AddressableNotFound, and whatever the inner resolver raises."""
        return await self._addressables.get(addressable)

    def invalidate(self, name: NodeId | AddressableReference | None = None) -> None:
        """Forget a node with all actors that were found on it, or one actor, or everything.

        A look-up under way answers those who wait for it, and is not remembered.
        """
        match name:
            case None:
                self._nodes.forget_all()
                self._addressables.forget_all()
            case NodeId():
                self._nodes.forget(name)
                self._addressables.forget_answers(name)
            case AddressableReference():
                self._addressables.forget(name)

    async def close(self) -> None:
        """Break off look-ups under way, and wait until they have ended."""
        await self._nodes.close()
        await self._addressables.close()

    def __repr__(self) -> str:
        return f"<CachingNodeResolver {len(self._nodes.answers)} nodes, {len(self._addressables.answers)} actors>"


class _Flight(Generic[_V]):
    """A look-up under way, and how many wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self) -> None:
        self.task: asyncio.Task[_V] | None = None
        self.waiting = 0


class _Lookups(Generic[_K, _V]):
    """One kind of name. missing: the error that means "there is none"."""

    def __init__(
        self,
        look_up: Callable[[_K], Coroutine[Any, Any, _V]],
        missing: type[ClusterError],
        *,
        ttl: float,
        negative_ttl: float,
        max_entries: int,
        clock: Callable[[], float],
    ) -> None:
        self.answers: TtlCache[_K, _V | ClusterError] = TtlCache(max_entries)
        self._look_up = look_up
        self._missing = missing
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._clock = clock
        self._flights: dict[_K, _Flight[_V]] = {}
        self._tasks: set[asyncio.Task[_V]] = set()

    async def get(self, key: _K) -> _V:
        answer = self.answers.get(key, now=self._clock())
        if isinstance(answer, ClusterError):
            raise self._missing(answer.message)
        if answer is not None:
            return answer
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
        if flight.task is None:
            flight.task = self._start(key, flight)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():  # nobody is left to hear the answer
                self._land(key, flight)
                flight.task.cancel()

    def _start(self, key: _K, flight: _Flight[_V]) -> asyncio.Task[_V]:
        # In an empty context: the look-up serves all who wait, and has not the deadline of the first.
        task = asyncio.get_running_loop().create_task(self._find(key, flight), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[_V]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # those who still wait are told; that none does is no news

    async def _find(self, key: _K, flight: _Flight[_V]) -> _V:
        try:
            value = await self._look_up(key)
        except self._missing as error:
            self._remember(key, flight, self._missing(error.message), self._negative_ttl)
            raise
        else:
            self._remember(key, flight, value, self._ttl)
            return value
        finally:
            self._land(key, flight)

    def _remember(self, key: _K, flight: _Flight[_V], answer: _V | ClusterError, ttl: float) -> None:
        if ttl > 0 and self._flights.get(key) is flight:  # else it was invalidated meanwhile
            self.answers.put(key, answer, expires=self._clock() + ttl)

    def _land(self, key: _K, flight: _Flight[_V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def forget(self, key: _K) -> None:
        self.answers.drop(key)
        self._flights.pop(key, None)

    def forget_answers(self, value: _V) -> None:
        self.answers.drop_where(lambda answer: answer == value)
        self._flights.clear()

    def forget_all(self) -> None:
        self.answers.clear()
        self._flights.clear()

    async def close(self) -> None:
        self.forget_all()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
