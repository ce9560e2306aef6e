"""On which terms a node runs actors whose homes the cluster agrees on.

An actor runs here under the epoch of its placement and only while the cluster surely knows it here (`Homes.epoch_of`).
An actor that went idle is released, so that it may live elsewhere next. From the moment when that was asked for, its
epoch is used up: nobody knows when the release takes effect, so the actor is not run under that epoch again, but under
a new one that the cluster gives after the release.
"""

from __future__ import annotations

from orbit_lite.actors.ports import Homes
from orbit_lite.model import AddressableReference, NodeId

__all__ = ["Tenancy"]


class Tenancy:
    """What one node may run. homes: the cluster's agreement."""

    def __init__(self, node_id: NodeId, homes: Homes) -> None:
        self._node_id = node_id
        self._homes = homes
        self._used_up: dict[AddressableReference, int] = {}

    def epoch_of(self, reference: AddressableReference) -> int | None:
        """The epoch under which the actor may run here now; None: it may not."""
        epoch = self._homes.epoch_of(reference)
        return None if epoch == self._used_up.get(reference) else epoch

    async def home_of(self, reference: AddressableReference, *, was_forwarded: bool) -> NodeId:
        """The actor's node; one that lives nowhere is given a home.

        was_forwarded: another node takes this one for its home, so one of the two is behind. Raises OrbitError.
        """
        if (epoch := self._used_up.get(reference)) is not None:
            await self._release(reference, epoch)
        home = await self._homes.resolve_addressable(reference)
        if was_forwarded and home != self._node_id:
            await self._homes.refresh()
            home = await self._homes.resolve_addressable(reference)
        return home

    def give_up(self, reference: AddressableReference, epoch: int) -> bool:
        """The actor runs here no more; True when `release` must follow. No await may be in between."""
        if self._homes.epoch_of(reference) != epoch:
            return False  # it is not ours any more, or may not be: there is nothing that we could give back
        self._used_up[reference] = epoch
        return True

    @property
    def given_up(self) -> tuple[AddressableReference, ...]:
        """Actors whose release is not known to have taken effect."""
        return tuple(self._used_up)

    async def release(self, reference: AddressableReference) -> None:
        """Give the home back that was given up. Raises OrbitError when it is not known whether that took effect."""
        if (epoch := self._used_up.get(reference)) is not None:
            await self._release(reference, epoch)

    async def _release(self, reference: AddressableReference, epoch: int) -> None:
        await self._homes.release(reference, epoch)  # repeated, it has no effect
        if self._used_up.get(reference) == epoch:
            del self._used_up[reference]
