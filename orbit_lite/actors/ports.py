"""What actors ask of the outside, and what references to them are bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orbit_lite.model import AddressableReference, Json, NodeId

__all__ = ["ActorCaller", "Homes", "Hosts"]


class Hosts(Protocol):
    """Which nodes may host actors of a type."""

    def hosts_of(self, addressable_type: str) -> Sequence[NodeId]:
        """The ACTIVE nodes that announce the type, this one included if it does; asked on every call.

        A tuple that stays the same object while nothing changes is answered fastest.
        """
        ...


class Homes(Protocol):
    """Where each actor lives, where the cluster agrees on it: a node runs an actor under an epoch, or not at all."""

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        """The actor's node; one that lives nowhere is given a home. Raises OrbitError when there is none."""
        ...

    async def refresh(self) -> None:
        """Return once this node knows all that the cluster had decided before."""
        ...

    def epoch_of(self, reference: AddressableReference) -> int | None:
        """The epoch under which this node may run the actor at this moment; None: it may not."""
        ...

    async def release(self, reference: AddressableReference, epoch: int) -> None:
        """The actor does not live here any more; another node may be its home."""
        ...


class ActorCaller(Protocol):
    """Calls actors wherever they are: an ActorSystem from inside a node, an OrbitClient from outside."""

    async def invoke(
        self, reference: AddressableReference, method: str, args: Sequence[Json], *, timeout: float | None = None
    ) -> Json:
        """The method's result. timeout: seconds; None = the caller's default. Raises OrbitError."""
        ...
