"""What the domain asks of the outside. Implementations live in adapters; a test double is a class of ten lines."""

from __future__ import annotations

from typing import Protocol

from orbit_lite.model.identifiers import AddressableReference, NodeId
from orbit_lite.model.messages import InvocationRequest, Json
from orbit_lite.model.transactions import TransactionMessage, TransactionState

__all__ = ["InvocationHandler", "Invoker", "NodeResolver", "TransactionHandler", "TransactionSender"]


class NodeResolver(Protocol):
    """Where nodes and actors are."""

    async def resolve_node(self, node_id: NodeId) -> str:
        """The node's endpoint URL, such as `http://host:50051`. Raises NodeNotFound."""
        ...

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        """The node that hosts the actor. Raises AddressableNotFound."""
        ...


class Invoker(Protocol):
    """Sends one invocation to another node and waits for its answer."""

    async def invoke(
        self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        """The method's result.

        attempts: how often the request was passed on before. timeout: seconds; None = the implementation's default.
        Raises OrbitError: what the actor or the node answered, or NetworkError / TimeoutError with `executed` honest.
        """
        ...


class InvocationHandler(Protocol):
    """Serves invocations that arrive from other nodes and clients."""

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        """Run the invocation here or pass it on; the result is a JSON value. Raises OrbitError."""
        ...


class TransactionHandler(Protocol):
    """A participant or coordinator that transaction messages are dispatched to."""

    async def handle(self, target: AddressableReference, message: TransactionMessage, *, sender: NodeId) -> None:
        """Take one message for one actor. Returning means accepted; raising OrbitError means refused, and says why."""
        ...

    async def status(self, transaction_id: str) -> tuple[TransactionState, tuple[AddressableReference, ...]] | None:
        """State and participants of a transaction by its bare id; None when it is not known here."""
        ...


class TransactionSender(Protocol):
    """Carries transaction messages to the nodes that host their targets."""

    async def send_message(self, target: AddressableReference, message: TransactionMessage) -> None:
        """Deliver to one actor. Raises OrbitError when it was not accepted."""
        ...
