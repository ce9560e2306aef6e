"""The way into the cluster: every call enters at the next node in turn, wherever the account lives that it is for.

What each entrance saw is kept: how many calls, how many of them were passed on to another node, how many failed, and
how long they took, as their caller measures it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from orbit_lite.errors import ConnectError, OrbitError
from orbit_lite.model import AddressableReference, Json, NodeId
from orbit_lite.node.client import OrbitClient
from orbit_lite.telemetry import MethodStats

__all__ = ["Entrance", "Entrances"]


class Node(Protocol):
    """A node process."""

    @property
    def node_id(self) -> NodeId: ...
    @property
    def url(self) -> str: ...
    @property
    def has_ended(self) -> bool: ...


@dataclass(slots=True)
class Entrance:
    """One node as a way in. forwarded: calls whose answer says that another node ran them."""

    node: Node
    client: OrbitClient
    stats: MethodStats = field(default_factory=MethodStats)
    forwarded: int = 0

    def note(self, seconds: float, answer: Json, *, error: bool = False) -> None:
        """Count a call that has ended."""
        self.stats.calls += 1
        self.stats.errors += error
        self.stats.latency.record(seconds)
        if isinstance(answer, dict) and answer.get("node", here := str(self.node.node_id)) != here:
            self.forwarded += 1


class Entrances:
    """Calls actors through all nodes in turn that run. Use as an async context manager.

    nodes: at least one. timeout: seconds for one call.
    """

    def __init__(self, nodes: Sequence[Node], *, timeout: float) -> None:
        self.all = [Entrance(node, OrbitClient((node.url,), request_timeout=timeout)) for node in nodes]
        self._timeout = timeout
        self._turn = 0

    def _next(self) -> Entrance:
        for _ in self.all:
            entrance = self.all[self._turn]
            self._turn = (self._turn + 1) % len(self.all)
            if not entrance.node.has_ended:
                return entrance
        raise ConnectError("every node has ended")

    async def invoke(self, reference: AddressableReference, method: str, arguments: Sequence[Json]) -> Json:
        """Call a method of an actor. Raises OrbitError with `executed` honest."""
        entrance = self._next()
        began = time.perf_counter()
        try:
            answer = await entrance.client.invoke(reference, method, arguments, timeout=self._timeout)
        except OrbitError:
            entrance.note(time.perf_counter() - began, None, error=True)
            raise
        entrance.note(time.perf_counter() - began, answer)
        return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(entrance.client.close() for entrance in self.all))
