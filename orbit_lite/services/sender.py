"""GrpcTransactionMessageSender: carries transaction messages to the nodes that host their targets.

A message is repeated where the answer to the first one is missing (receivers recognise duplicates, so transaction
messages count as idempotent). A broadcast resolves its targets concurrently and sends one request to each node; what
happens at one node neither ends nor hides what happens at another.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from orbit_lite.converters import NodeIdConverter, TransactionMessageConverter, TransactionTargetConverter
from orbit_lite.converters.keys import ReferenceTextConverter
from orbit_lite.errors import Executed, OrbitError, TimeoutError, from_description
from orbit_lite.model import AddressableReference, NodeId, NodeResolver, TransactionMessage
from orbit_lite.rpc import (
    ConnectionPool,
    Deadline,
    PooledChannel,
    PoolStats,
    RetryConfig,
    TransportConfig,
    current_deadline,
    deadline_scope,
)
from orbit_proto.orbit.transactions import (
    BroadcastMessageRequest,
    BroadcastMessageResponse,
    TransactionMessageRequest,
    TransactionServiceStub,
)

__all__ = ["BroadcastResult", "Delivery", "GrpcTransactionMessageSender"]

log = logging.getLogger("orbit_lite.services")

SEND = "/orbit.transactions.TransactionService/SendTransactionMessage"
BROADCAST = "/orbit.transactions.TransactionService/BroadcastTransactionMessage"

#: Targets that are resolved at once.
RESOLVE_AT_ONCE = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What happened to a broadcast's message for one target. error None: accepted. node None: not resolved."""

    target: AddressableReference
    node: NodeId | None
    error: OrbitError | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the target's node accepted the message."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class BroadcastResult:
    """One Delivery per target, in the order of the targets."""

    deliveries: tuple[Delivery, ...] = field(default_factory=tuple)

    @property
    def delivered(self) -> tuple[Delivery, ...]:
        """Those that were accepted."""
        return tuple(delivery for delivery in self.deliveries if delivery.is_delivered)

    @property
    def failed(self) -> tuple[Delivery, ...]:
        """Those that were not, or not for sure; `error.executed` tells."""
        return tuple(delivery for delivery in self.deliveries if not delivery.is_delivered)

    @property
    def is_complete(self) -> bool:
        """Whether every target's node accepted the message."""
        return not self.failed

    def raise_for_failures(self) -> None:
        """Raises the first failed delivery's error, if there is one."""
        for delivery in self.failed:
            if delivery.error is not None:
                raise delivery.error


class GrpcTransactionMessageSender:
    """Sends as node `node_id` to wherever `node_resolver` says.

    pool: shared with others, and then theirs to close; None = one of its own, made from `config` and `retry`.
    """

    def __init__(
        self,
        node_id: NodeId,
        node_resolver: NodeResolver,
        config: TransportConfig | None = None,
        *,
        pool: ConnectionPool | None = None,
        retry: RetryConfig | None = None,
    ) -> None:
        self.node_id = node_id
        self.config = config or TransportConfig()
        self._resolver = node_resolver
        self._pool = pool or ConnectionPool(self.config, retry=retry)
        self._owns_pool = pool is None

    async def send_message(
        self, target: AddressableReference, message: TransactionMessage, *, timeout: float | None = None
    ) -> None:
        """Deliver to one actor. timeout: seconds for everything, all attempts included; None = request_timeout.

        Raises NodeNotFound and AddressableNotFound for targets that cannot be resolved, what the target's node answered
        ("Transaction message failed: …"), or NetworkError and TimeoutError with `executed` honest.
        """
        limit = self.config.request_timeout if timeout is None else timeout
        with deadline_scope(Deadline.after(limit)):
            node = await _in_time(self._resolver.resolve_addressable(target), target)
            endpoint = await _in_time(self._resolver.resolve_node(node), node)
            actor_type, actor_key = ReferenceTextConverter.to_text(target)
            proto = TransactionMessageConverter.to_proto(message)

            async def attempt(channel: PooledChannel) -> None:
                request = TransactionMessageRequest(
                    NodeIdConverter.to_text(self.node_id), actor_type, actor_key, proto, _remaining_ms()
                )
                stub = TransactionServiceStub(channel)
                answer = await stub.send_transaction_message(request)
                if not answer.success:
                    raise _refusal(answer.error_message, endpoint, SEND)
                log.debug("> %s to %s (%d ms)", message.kind, target, answer.processing_time_ms)

            await self._pool.call(endpoint, attempt, method=SEND, timeout=limit, idempotent=True)

    async def broadcast_message(
        self, targets: Sequence[AddressableReference], message: TransactionMessage, *, timeout: float | None = None
    ) -> BroadcastResult:
        """Deliver to many actors, one request per node. Failures are in the result; nothing is raised for them."""
        limit = self.config.request_timeout if timeout is None else timeout
        deliveries: dict[AddressableReference, Delivery] = {}
        with deadline_scope(Deadline.after(limit)):
            nodes: dict[NodeId, list[AddressableReference]] = {}
            for delivery in await self._resolve(list(dict.fromkeys(targets))):
                deliveries[delivery.target] = delivery
                if delivery.node is not None and delivery.error is None:
                    nodes.setdefault(delivery.node, []).append(delivery.target)
            async with asyncio.TaskGroup() as group:
                sends = [
                    group.create_task(self._send_to(node, group_, message, limit)) for node, group_ in nodes.items()
                ]
        for send in sends:
            deliveries.update((delivery.target, delivery) for delivery in send.result())
        result = BroadcastResult(tuple(deliveries[target] for target in targets))
        log.info("broadcast of %s: %d of %d delivered", message.kind, len(result.delivered), len(targets))
        return result

    async def _resolve(self, targets: Sequence[AddressableReference]) -> list[Delivery]:
        places = asyncio.Semaphore(RESOLVE_AT_ONCE)

        async def one(target: AddressableReference) -> Delivery:
            async with places:
                try:
                    return Delivery(target, await _in_time(self._resolver.resolve_addressable(target), target))
                except OrbitError as error:
                    return Delivery(target, None, error)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(target)) for target in targets]
        return [task.result() for task in tasks]

    async def _send_to(
        self, node: NodeId, targets: Sequence[AddressableReference], message: TransactionMessage, timeout: float
    ) -> list[Delivery]:
        """One request for all targets of one node."""
        try:
            endpoint = await _in_time(self._resolver.resolve_node(node), node)
            proto = TransactionMessageConverter.to_proto(message)

            async def attempt(channel: PooledChannel) -> BroadcastMessageResponse:
                request = BroadcastMessageRequest(
                    NodeIdConverter.to_text(self.node_id),
                    [TransactionTargetConverter.to_proto(target) for target in targets],
                    proto,
                    _remaining_ms(),
                )
                stub = TransactionServiceStub(channel)
                return await stub.broadcast_transaction_message(request)

            answer = await self._pool.call(endpoint, attempt, method=BROADCAST, timeout=timeout, idempotent=True)
        except OrbitError as error:
            return [Delivery(target, node, error) for target in targets]
        return _attribute(node, targets, answer, endpoint)

    async def start_background_tasks(self) -> None:
        """Clean up idle connections from time to time, until `close`."""
        self._pool.start_background_tasks()

    async def get_stats(self) -> PoolStats:
        """Where the connections stand."""
        return await self._pool.get_stats()

    async def close(self) -> None:
        """Close the connections, unless the pool is shared. Again has no effect."""
        if self._owns_pool:
            await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.start_background_tasks()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<GrpcTransactionMessageSender {self.node_id}, {self._pool!r}>"


async def _in_time(answer: Awaitable[T], asked: object) -> T:
    """The resolver's answer. It may ask others who are silent, and knows nothing of our time limit."""
    deadline = current_deadline()
    try:
        async with asyncio.timeout(None if deadline is None else deadline.remaining()):
            return await answer
    except OrbitError:
        raise
    except builtins.TimeoutError as error:
        raise TimeoutError(f"{asked} was not resolved in time", executed=Executed.NO) from error


def _remaining_ms() -> int:
    """What is left for this attempt, as the message's own limit; 0 would mean "none"."""
    deadline = current_deadline()
    return 0 if deadline is None else max(1, round(deadline.remaining() * 1000))


def _refusal(text: str, endpoint: str, method: str) -> OrbitError:
    """The peer's handler said no. The kind is kept: an overloaded node is asked again, a wrong message is not."""
    error = from_description(text, peer=endpoint, method=method)
    error.message = f"Transaction message failed: {error.message or 'no reason given'}"
    error.args = (error.message,)
    return error


def _attribute(
    node: NodeId, targets: Sequence[AddressableReference], answer: BroadcastMessageResponse, endpoint: str
) -> list[Delivery]:
    """Tell which targets failed. The wire has counts and lines of text; orbit-lite's lines begin with `Type:key: `.

    Where the lines do not account for all failures (Orbit-RS writes them freely), the targets without a line may or may
    not have been served; nor is it known which failed of several that look the same as text (`A:b` + `c`, `A` + `b:c`).
    """
    named: dict[str, list[AddressableReference]] = {}
    for target in targets:
        named.setdefault(str(target), []).append(target)
    reasons = _reasons({name: len(same) for name, same in named.items()}, answer.errors)
    failed = sum(map(len, reasons.values()))
    counts_agree = answer.failed_sends == failed and answer.successful_sends == len(targets) - failed
    doubt = f"{answer.failed_sends} of {len(targets)} messages failed, which ones was not said"
    errors: dict[AddressableReference, OrbitError] = {}
    for name, same in named.items():
        if len(reasons[name]) == len(same):
            errors.update(
                (target, _refusal(reason, endpoint, BROADCAST))
                for target, reason in zip(same, reasons[name], strict=True)
            )
        elif reasons[name] or not counts_agree:
            errors.update(
                (target, OrbitError(doubt, executed=Executed.MAYBE, peer=endpoint, method=BROADCAST)) for target in same
            )
    return [Delivery(target, node, errors.get(target)) for target in targets]


def _reasons(names: Mapping[str, int], lines: Sequence[str]) -> dict[str, list[str]]:
    """What lines `name: reason` say of each name, which takes at most the given number of them.

    Of the names that fit a line it is the longest that has not had its lines: one key may begin with another.
    """
    longest = max(map(len, names), default=0)
    reasons: dict[str, list[str]] = {name: [] for name in names}
    for line in lines:
        end = line.rfind(": ", 0, longest + 2)
        while end >= 0 and len(reasons.get(line[:end], ())) >= names.get(line[:end], 0):
            end = line.rfind(": ", 0, end)
        if end >= 0:
            reasons[line[:end]].append(line[end + 2 :])
    return reasons
