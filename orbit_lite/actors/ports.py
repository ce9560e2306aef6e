"""What actors ask of the outside, and what references to them are bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orbit_lite.model import AddressableReference, Json, NodeId

__all__ = ["ActorCaller", "Hosts"]


class Hosts(Protocol):
    """Which nodes may host actors of a type."""

    def hosts_of(self, addressable_type: str) -> Sequence[NodeId]:
        """The ACTIVE nodes that announce the type, this one included if it does; asked on every call.

        A tuple that stays the same object while nothing changes is answered fastest.
        """
        ...


class ActorCaller(Protocol):
    """Calls actors wherever they are: an ActorSystem from inside a node, an OrbitClient from outside."""

    async def invoke(
        self, reference: AddressableReference, method: str, args: Sequence[Json], *, timeout: float | None = None
    ) -> Json:
        """The method's result. timeout: seconds; None = the caller's default. Raises OrbitError."""
        ...
