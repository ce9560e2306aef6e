"""`orbit.transactions.TransactionService`: transaction messages for the participants and coordinators of this process.

A message is dispatched to the handler that is registered for its target's actor type. Senders repeat messages when they
do not know whether the first one arrived, so a message is handled once per (transaction, kind, target, sender), a vote
or an acknowledgement once per content; a repeated one gets the first one's answer, also while that is still being
found. Questions and answers about a transaction's status change nothing and are handled every time.

What the handler refuses is an answer (`success` false and the reason), as Orbit-RS has it; so is a target that nobody
here handles. A message that says nothing sensible ends the call with INVALID_ARGUMENT instead.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import sys
import time
from collections.abc import Callable, Sequence

from orbit_lite.converters import (
    NodeIdConverter,
    TransactionIdConverter,
    TransactionMessageConverter,
    TransactionStateConverter,
    TransactionTargetConverter,
)
from orbit_lite.converters.keys import KeyKinds, ReferenceTextConverter, always_string
from orbit_lite.converters.presence import each, fields, required
from orbit_lite.errors import AddressableNotFound, InternalError, OrbitError, TimeoutError
from orbit_lite.model import (
    Acknowledge,
    AddressableReference,
    NodeId,
    QueryStatus,
    StatusResponse,
    TransactionHandler,
    TransactionMessage,
    Vote,
)
from orbit_lite.rpc import Deadline, InvalidArgument, current_deadline, deadline_scope, status_of
from orbit_lite.services.deduplication import DeduplicationWindow
from orbit_proto.orbit.transactions import (
    BroadcastMessageRequest,
    BroadcastMessageResponse,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseStatus,
    TransactionMessageRequest,
    TransactionMessageResponse,
    TransactionServiceBase,
    TransactionStatusRequest,
    TransactionStatusResponse,
)

__all__ = ["OrbitTransactionService"]

log = logging.getLogger("orbit_lite.services")

#: Answers that are remembered, and for how many seconds: longer than any sender goes on repeating a message.
WINDOW_SIZE = 100_000
WINDOW_AGE = 600.0
#: Targets of one broadcast that are handled at once, and the most that one broadcast may have.
BROADCAST_AT_ONCE = 64
MAX_TARGETS = 10_000


class OrbitTransactionService(TransactionServiceBase):
    """Serves all four methods for the handlers registered with it.

    node_id: who we are. key_kinds: actor type → kind of its keys, which the wire does not say. Times are seconds.
    """

    def __init__(
        self,
        node_id: NodeId,
        *,
        key_kinds: KeyKinds = always_string,
        window_size: int = WINDOW_SIZE,
        window_age: float = WINDOW_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node_id = node_id
        self.is_serving = True
        self._key_kinds = key_kinds
        self._clock = clock
        self._started = clock()
        self._handlers: dict[str, TransactionHandler] = {}
        self._default: TransactionHandler | None = None
        self._window = DeduplicationWindow(size=window_size, age=window_age, clock=clock)

    def register(self, addressable_type: str, handler: TransactionHandler) -> None:
        """Dispatch messages for actors of this type to `handler`, instead of the one registered before."""
        self._handlers[addressable_type] = handler

    def set_default_handler(self, handler: TransactionHandler | None) -> None:
        """Dispatch messages for all other types to `handler`; None: nobody takes them."""
        self._default = handler

    @property
    def duplicates(self) -> int:
        """Messages that were repeated and got the first one's answer."""
        return self._window.duplicates

    # ------------------------------------------------------------ the four methods

    async def send_transaction_message(
        self, transaction_message_request: TransactionMessageRequest
    ) -> TransactionMessageResponse:
        """Handle one message for one actor."""
        request = transaction_message_request
        state = fields(request)
        sender = NodeIdConverter.from_text(request.sender_node_id, "sender_node_id")
        target = ReferenceTextConverter.from_text(
            request.target_actor_type,
            request.target_actor_key,
            self._key_kinds,
            type_field="target_actor_type",
            key_field="target_actor_key",
        )
        message = required(state, "message", self._message)
        started = self._clock()
        with deadline_scope(_limit(request.timeout_ms)):
            failure = await self._handle(target, message, sender)
        elapsed = _ms(self._clock() - started)
        return TransactionMessageResponse(failure is None, "" if failure is None else failure.description, elapsed)

    async def broadcast_transaction_message(
        self, broadcast_message_request: BroadcastMessageRequest
    ) -> BroadcastMessageResponse:
        """Handle one message for many actors. `errors` has one line per failed target: `Type:key: reason`."""
        request = broadcast_message_request
        state = fields(request)
        sender = NodeIdConverter.from_text(request.sender_node_id, "sender_node_id")
        targets = each(state, "targets", lambda proto: TransactionTargetConverter.from_proto(proto, self._key_kinds))
        if len(targets) > MAX_TARGETS:
            raise InvalidArgument(f"targets: {len(targets)} of them, at most {MAX_TARGETS} are taken at once")
        message = required(state, "message", self._message)
        with deadline_scope(_limit(request.timeout_ms)):
            failures = await self._handle_all(targets, message, sender)
        errors = [
            f"{target}: {failure.description}" for target, failure in zip(targets, failures, strict=True) if failure
        ]
        return BroadcastMessageResponse(len(targets) - len(errors), len(errors), errors)

    async def transaction_health_check(self, health_check_request: HealthCheckRequest) -> HealthCheckResponse:
        """Whether transaction messages are taken, by which version, and for how long."""
        # betterproto's Enum makes members of plain ints, which type checkers do not see.
        status = HealthCheckResponseStatus(1 if self.is_serving else 2)
        return HealthCheckResponse(status, _version(), _ms(self._clock() - self._started))

    async def get_transaction_status(
        self, transaction_status_request: TransactionStatusRequest
    ) -> TransactionStatusResponse:
        """What a handler here knows of a transaction; `found` is false when none does."""
        bare = required(fields(transaction_status_request), "transaction_id", TransactionIdConverter.from_proto).id
        handlers = [*self._handlers.values(), *([] if self._default is None else [self._default])]
        for handler in {id(handler): handler for handler in handlers}.values():  # once each; not all can be hashed
            known = await handler.status(bare)
            if known is not None:
                reached, participants = known
                return TransactionStatusResponse(
                    True, TransactionStateConverter.to_proto(reached), [str(member) for member in participants]
                )
        return TransactionStatusResponse(False)

    # ------------------------------------------------------------ dispatch

    def _message(self, proto: object) -> TransactionMessage:
        return TransactionMessageConverter.from_proto(proto, self._key_kinds)  # type: ignore[arg-type]  # checked there

    async def _handle_all(
        self, targets: Sequence[AddressableReference], message: TransactionMessage, sender: NodeId
    ) -> list[OrbitError | None]:
        """One outcome per target; none of them hides or ends another."""
        places = asyncio.Semaphore(BROADCAST_AT_ONCE)

        async def one(target: AddressableReference) -> OrbitError | None:
            async with places:
                return await self._handle(target, message, sender)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(target)) for target in targets]
        return [task.result() for task in tasks]

    async def _handle(
        self, target: AddressableReference, message: TransactionMessage, sender: NodeId
    ) -> OrbitError | None:
        """Handle once; None: accepted, else why not."""
        handler = self._handlers.get(target.addressable_type, self._default)
        if handler is None:
            return AddressableNotFound(str(target))
        deadline = current_deadline()

        async def handle() -> None:
            try:
                await handler.handle(target, message, sender=sender)
            except OrbitError:
                raise
            except Exception as error:
                raise InternalError(status_of(error).message) from error

        try:
            async with asyncio.timeout(None if deadline is None else deadline.remaining()):
                if isinstance(message, QueryStatus | StatusResponse):
                    await handle()  # a question that is asked again wants today's answer
                else:
                    await self._window.once(_identity(message, target, sender), handle)
        except OrbitError as error:
            log.debug("%s for %s refused: %s", message.kind, target, error, extra={"tx": str(message.transaction_id)})
            return error
        except builtins.TimeoutError:
            return TimeoutError(f"{message.kind} for {target} was not handled in time")
        return None


def _identity(message: TransactionMessage, target: AddressableReference, sender: NodeId) -> tuple[object, ...]:
    """What makes two messages the same one.

    Answers to the coordinator count by their content: participants on one node answer each for itself, and one that
    could not carry out a commit at first acknowledges it again later.
    """
    if isinstance(message, Vote | Acknowledge):
        return message, target, sender
    return message.transaction_id, message.kind, target, sender


def _version() -> str:
    # Looked up, not imported: the package's top names the node, which is above us.
    return str(sys.modules["orbit_lite"].__version__)


def _limit(timeout_ms: int) -> Deadline | None:
    """The message's own time limit; the call's is in force already."""
    if timeout_ms < 0:
        raise InvalidArgument(f"timeout_ms: {timeout_ms} is negative")
    return Deadline.after(timeout_ms / 1000) if timeout_ms else None


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
