"""A node's actors without a node: every type is hosted here, and there are no others to call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from orbit_lite.actors import ActorRegistry, ActorSystem
from orbit_lite.errors import NodeNotFound
from orbit_lite.model import InvocationRequest, Json, NodeId

ME = NodeId("node-1")


class EverythingHere:
    def hosts_of(self, addressable_type: str) -> Sequence[NodeId]:
        return (ME,)


class NobodyElse:
    async def invoke(
        self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        raise NodeNotFound(str(node_id))


@pytest.fixture
async def host() -> AsyncIterator[Callable[..., ActorSystem]]:
    """Makes systems that host the given classes; keyword arguments go to ActorSystem."""
    systems: list[ActorSystem] = []

    def make(*classes: type, **options: Any) -> ActorSystem:
        registry = ActorRegistry()
        for cls in classes:
            registry.register(cls)
        ports: dict[str, Any] = {"invoker": NobodyElse(), "hosts": EverythingHere()}
        system = ActorSystem(ME, registry=registry, **(ports | options))
        systems.append(system)
        return system

    yield make
    for system in systems:
        await system.close()
