"""What callers hold of an actor, and what an actor holds of its node."""

from __future__ import annotations

from collections.abc import Callable

from orbit_lite.actors.ports import ActorCaller
from orbit_lite.errors import quote
from orbit_lite.model import AddressableReference, Json, Key, NodeId

__all__ = ["ActorContext", "ActorRef"]


class ActorRef:
    """An actor, wherever it lives. Making one neither calls nor activates it."""

    __slots__ = ("_caller", "reference")

    def __init__(self, caller: ActorCaller, reference: AddressableReference) -> None:
        self._caller = caller
        self.reference = reference

    async def invoke(self, method: str, *args: Json, timeout: float | None = None) -> Json:
        """Call a method and wait for its result. timeout: seconds; None = the default of node or client.

        Raises OrbitError: InvocationFailed when the method raised or turned the call away, TimeoutError and
        NetworkError with `executed` saying whether it may have run.
        """
        return await self._caller.invoke(self.reference, method, args, timeout=timeout)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorRef):
            return NotImplemented
        return self.reference == other.reference and self._caller is other._caller

    def __hash__(self) -> int:
        return hash(self.reference)

    def __repr__(self) -> str:
        return f"<ActorRef {quote(str(self.reference))}>"


class ActorContext:
    """An actor's own name and its way to others; its attribute `context`.

    epoch: grows with every new home of the actor, where the cluster agrees on homes; else None. What the actor writes
    elsewhere can carry it, so that a store refuses whoever comes with a smaller one than it has seen.
    """

    __slots__ = ("_caller", "_retire", "epoch", "node_id", "reference")

    def __init__(
        self,
        reference: AddressableReference,
        node_id: NodeId,
        caller: ActorCaller,
        retire: Callable[[], None],
        *,
        epoch: int | None = None,
    ) -> None:
        self.reference = reference
        self.node_id = node_id
        self.epoch = epoch
        self._caller = caller
        self._retire = retire

    @property
    def key(self) -> Key:
        """The actor's key; `key.value` is the plain string or integer."""
        return self.reference.key

    def actor(self, addressable_type: str, key: Key | str | int | None = None) -> ActorRef:
        """A reference to another actor, see `Key.of` for plain keys."""
        return ActorRef(self._caller, AddressableReference.of(addressable_type, key))

    def deactivate(self) -> None:
        """Deactivate this actor once the calls in its mailbox have run; the next call activates it anew."""
        self._retire()

    def __repr__(self) -> str:
        return f"<ActorContext {quote(str(self.reference))} on {self.node_id}>"
