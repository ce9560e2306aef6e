"""ActorSystem: the actors of one node, and the way to all others.

A call is routed (`routing`, `placement`), then runs in a `Cell` here or is handed to the Invoker. This file owns the
cells and every task that they need: activations, deactivations, the sweep for idle actors, and the drain at the end.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import dataclasses
import logging
from collections.abc import Coroutine, Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

from orbit_lite.actors.arguments import json_copy, parse_arguments, render_arguments
from orbit_lite.actors.cell import ActorCall, Cell, current_actor_call
from orbit_lite.actors.config import ActorConfig
from orbit_lite.actors.placement import Placement
from orbit_lite.actors.ports import Homes, Hosts
from orbit_lite.actors.reference import ActorRef
from orbit_lite.actors.registry import ActorRegistry, ActorType, refusal
from orbit_lite.actors.routing import Forward, route
from orbit_lite.actors.tenancy import Tenancy
from orbit_lite.actors.views import ActorsDrained, ActorView
from orbit_lite.errors import (
    AddressableNotFound,
    DrainingError,
    Executed,
    LeaseExpired,
    OrbitError,
    OverloadedError,
    Status,
    TimeoutError,
    quote,
)
from orbit_lite.model import AddressableReference, InvocationReason, InvocationRequest, Invoker, Json, Key, NodeId

__all__ = ["ActorSystem"]

_log = logging.getLogger("orbit_lite.actors")

#: Hooks that run at a time while many actors are deactivated.
_HOOKS_AT_ONCE = 64
#: Seconds that cancelled methods have to end where others may run their actors already.
_CUT_GRACE = 0.1
#: Times that actors may be activated anew by the hooks of others while all are deactivated.
_LAST_ROUNDS = 10


class ActorSystem:
    """Runs the actors of one node; implements InvocationHandler for peers and ActorCaller for the node's own program.

    registry: types hosted here; more may be registered at any time. invoker: the way to other nodes. hosts: who hosts
    which types. homes: where each actor lives, where the cluster agrees on that; None: each chooses by `placement`.
    `start` begins the sweep for idle actors, `drain` and `close` end the system; or use `async with`.
    """

    def __init__(
        self,
        node_id: NodeId,
        *,
        registry: ActorRegistry,
        invoker: Invoker,
        hosts: Hosts,
        placement: Placement | None = None,
        homes: Homes | None = None,
        config: ActorConfig | None = None,
    ) -> None:
        self.node_id = node_id
        self.registry = registry
        self.config = config or ActorConfig()
        self._invoker = invoker
        self._hosts = hosts
        self._placement = placement or Placement()
        self._tenancy = None if homes is None else Tenancy(node_id, homes)
        self._cells: dict[AddressableReference, Cell] = {}
        self._calls: set[ActorCall] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._is_draining = False
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._finished = 0

    # ------------------------------------------------------------ calling

    def ref(self, addressable_type: str, key: Key | str | int | None = None) -> ActorRef:
        """A reference to any actor of the cluster, see `Key.of` for plain keys."""
        return ActorRef(self, AddressableReference.of(addressable_type, key))

    async def invoke(
        self, reference: AddressableReference, method: str, args: Sequence[Json], *, timeout: float | None = None
    ) -> Json:
        """Call an actor, here or on another node; ActorCaller."""
        began = asyncio.get_running_loop().time()
        reference, forward = await self._route(reference, method, 0, timeout)
        timeout = _rest(timeout, began)
        if forward is None:
            copies = [json_copy(arg, f"argument {position}") for position, arg in enumerate(args, 1)]
            return await self._run(reference, method, copies, timeout)
        request = InvocationRequest(reference, method, render_arguments(args, wrapped=self.config.wrap_arguments))
        return await self._invoker.invoke(
            forward.node_id, request, attempts=0, timeout=self._remaining(reference, method, timeout)
        )

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        """Serve a peer's or client's call: run it, or pass it on; InvocationHandler."""
        if self._is_draining:
            raise self._draining()
        began = asyncio.get_running_loop().time()
        reference, forward = await self._route(request.reference, request.method, attempts, timeout)
        timeout = _rest(timeout, began)
        if forward is None:
            return await self._run(reference, request.method, parse_arguments(request.arguments), timeout)
        _log.debug(
            "> %s passed on to %s, %s forwards",
            quote(str(reference)),
            forward.node_id,
            forward.attempts,
            extra={"peer": str(source) if source else None, "node": str(forward.node_id)},
        )
        rerouted = dataclasses.replace(request, reason=InvocationReason.REROUTED)
        remaining = self._remaining(reference, request.method, timeout)
        return await self._invoker.invoke(forward.node_id, rerouted, attempts=forward.attempts, timeout=remaining)

    async def _route(
        self, reference: AddressableReference, method: str, attempts: int, timeout: float | None
    ) -> tuple[AddressableReference, Forward | None]:
        """The reference as its type knows it, and where the call goes on to; None = it runs here."""
        actor_type = self.registry.get(reference.addressable_type)
        if actor_type is not None:
            reference = actor_type.canonical(reference, method)
        if self._tenancy is not None:
            return reference, await self._route_to_home(self._tenancy, reference, method, attempts, timeout)
        hosts = self._hosts.hosts_of(reference.addressable_type)
        cell = self._cells.get(reference)
        if cell is not None and cell.hosts == hosts:
            return reference, None
        home = self._placement.place(reference, hosts)
        if home is None and actor_type is not None and self._is_draining:
            home = self.node_id  # nobody else can take it: what runs here may still call it
        forward = route(reference, home, self_id=self.node_id, is_hosted=actor_type is not None, attempts=attempts)
        if cell is not None:
            if forward is None:
                cell.hosts = tuple(hosts)
            else:
                await self._hand_over(cell, method)
        return reference, forward

    async def _route_to_home(
        self, tenancy: Tenancy, reference: AddressableReference, method: str, attempts: int, timeout: float | None
    ) -> Forward | None:
        """Where the cluster agrees on homes. None only if this node may run the actor at this moment."""
        while True:
            epoch = tenancy.epoch_of(reference)
            cell = self._cells.get(reference)
            if epoch is not None and (cell is None or cell.epoch == epoch):
                return None
            if cell is not None and epoch is not None:
                cell.drop()  # since the epoch under which it lived others may have run the actor
                await self._hand_over(cell, method)
                continue
            home = await self._find_home(tenancy, reference, method, attempts, timeout)
            is_hosted = self.registry.get(reference.addressable_type) is not None
            forward = route(reference, home, self_id=self.node_id, is_hosted=is_hosted, attempts=attempts)
            if forward is not None:
                return forward
            if tenancy.epoch_of(reference) is None:
                raise self._not_ours(reference)

    async def _find_home(
        self, tenancy: Tenancy, reference: AddressableReference, method: str, attempts: int, timeout: float | None
    ) -> NodeId:
        try:
            async with asyncio.timeout_at(self._deadline(reference, method, timeout)) as limit:
                return await tenancy.home_of(reference, was_forwarded=attempts > 0)
        except OrbitError as error:
            error.executed = Executed.NO  # whatever became of the question, the call did not run
            raise
        except builtins.TimeoutError as error:
            if not limit.expired():
                raise
            what = f"{quote(method)} on {quote(str(reference))}"
            raise TimeoutError(f"{what} ran out of time while a home was sought", executed=Executed.NO) from error

    def _not_ours(self, reference: AddressableReference) -> LeaseExpired:
        name = quote(str(reference))
        return LeaseExpired(f"node {self.node_id} may not run {name}: the cluster has no word from it", retryable=True)

    async def _hand_over(self, cell: Cell, method: str) -> None:
        """The actor is to begin another life, here or elsewhere: end its present one first."""
        deadline = self._deadline(cell.reference, method, cell.actor_type.invocation_timeout(self.config))
        self._refuse_circle(ActorCall(self, cell.reference, method, current_actor_call(), deadline))
        _log.debug("= %s is to end here", quote(str(cell.reference)))
        try:
            async with asyncio.timeout_at(deadline):
                await cell.leave()
        except builtins.TimeoutError as error:
            what = f"{quote(method)} on {quote(str(cell.reference))}"
            raise TimeoutError(f"{what} waited in vain for the actor to move", executed=Executed.NO) from error

    async def _run(
        self, reference: AddressableReference, name: str, args: Sequence[Json], timeout: float | None
    ) -> Json:
        actor_type = self.registry.get(reference.addressable_type)
        if actor_type is None:
            raise AddressableNotFound(str(reference))
        method = actor_type.method(name)
        method.check(actor_type.name, args)
        parent = current_actor_call()
        if self._is_draining and parent is None:
            raise self._draining()
        limit = actor_type.invocation_timeout(self.config) if timeout is None else timeout
        call = ActorCall(self, reference, name, parent, self._deadline(reference, name, limit))
        self._refuse_circle(call)
        cell = self._cells.get(reference) or self._open(actor_type, call)
        self._calls.add(call)
        self._quiet.clear()
        try:
            return await cell.run(call, method, args)
        finally:
            self._calls.discard(call)
            self._finished += 1
            if not self._calls:
                self._quiet.set()

    def _refuse_circle(self, call: ActorCall) -> None:
        if call.parent is not None and (circle := call.circle()):
            path = " → ".join(str(step) for step in circle)
            reason = f"the actor would wait for itself: {path}"
            raise refusal(call.method, call.reference.addressable_type, reason, Status.FAILED_PRECONDITION)

    def _deadline(self, reference: AddressableReference, method: str, limit: float | None) -> float | None:
        """In loop time: the limit's, or that of the call that makes this one where that is earlier."""
        parent = current_actor_call()
        inherited = parent.deadline if parent is not None else None
        if limit is None and inherited is None:
            return None
        now = asyncio.get_running_loop().time()
        deadline = min(end for end in (inherited, None if limit is None else now + limit) if end is not None)
        if deadline <= now:
            raise TimeoutError(f"{quote(method)} on {quote(str(reference))}: no time was left", executed=Executed.NO)
        return deadline

    def _remaining(self, reference: AddressableReference, method: str, timeout: float | None) -> float | None:
        deadline = self._deadline(reference, method, timeout)
        return None if deadline is None else deadline - asyncio.get_running_loop().time()

    def _draining(self) -> DrainingError:
        return DrainingError(f"node {self.node_id} is shutting down and takes no new calls")

    # ------------------------------------------------------------ cells

    def _open(self, actor_type: ActorType, opener: ActorCall) -> Cell:
        epoch = None
        if self._tenancy is not None and (epoch := self._tenancy.epoch_of(opener.reference)) is None:
            raise self._not_ours(opener.reference)
        if len(self._cells) >= self.config.max_addressables:
            raise OverloadedError(f"node {self.node_id} hosts its limit of {self.config.max_addressables} actors")
        cell = Cell(
            actor_type,
            opener.reference,
            node_id=self.node_id,
            caller=self,
            config=self.config,
            spawn=self._spawn,
            on_gone=self._forget,
            epoch=epoch,
        )
        self._cells[opener.reference] = cell
        return cell

    def _forget(self, cell: Cell) -> None:
        del self._cells[cell.reference]
        if self._tenancy is None or cell.epoch is None or self._is_draining:
            return  # a node that drains gives all its homes back together
        if self._tenancy.give_up(cell.reference, cell.epoch):
            self._spawn(self._release(self._tenancy, cell.reference), f"release {cell.reference}")

    async def _release(self, tenancy: Tenancy, reference: AddressableReference) -> None:
        try:
            await tenancy.release(reference)
        except OrbitError as error:
            _log.debug("= %s is to be released later: %s", quote(str(reference)), error)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # In an empty context: a hook is no part of the call that happened to cause it, and has not its deadline.
        task = asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)

    # ------------------------------------------------------------ idle actors

    async def start(self) -> None:
        """Begin to look for idle actors."""
        if self._sweeper is None and not self._is_draining:
            self._sweeper = asyncio.create_task(self._sweep(), name=f"sweep actors of {self.node_id}")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.config.sweep_interval)
            try:
                await self.deactivate_idle()
                if self._tenancy is not None:
                    for reference in self._tenancy.given_up:
                        await self._release(self._tenancy, reference)
            except Exception:  # noqa: BLE001  (a defect of ours: said aloud, and the next sweep is as good as any)
                _log.exception("the sweep for idle actors failed; the next one follows")

    async def deactivate_idle(self, *, now: float | None = None) -> int:
        """Deactivate actors that had no call for their idle timeout, and those whose place is elsewhere now.

        now: loop time to measure idleness by. Returns how many were deactivated or have begun to be.
        """
        moment = asyncio.get_running_loop().time() if now is None else now
        return await self._retire(cell for cell in list(self._cells.values()) if self._is_due(cell, moment))

    def _is_due(self, cell: Cell, now: float) -> bool:
        if not cell.mailbox.is_idle:
            return False
        limit = cell.actor_type.idle_timeout(self.config)
        if limit is not None and now - cell.last_used >= limit:
            return True
        if self._tenancy is not None:
            return False
        hosts = self._hosts.hosts_of(cell.reference.addressable_type)
        return bool(hosts) and cell.hosts != hosts and self._placement.place(cell.reference, hosts) != self.node_id

    async def _retire(self, cells: Iterable[Cell]) -> int:
        """Deactivate idle cells, a bounded number of hooks at a time, and wait for them."""
        retired = 0
        remaining = iter(cells)
        while batch := list(islice(remaining, _HOOKS_AT_ONCE)):
            retired += sum(cell.mailbox.is_idle for cell in batch)
            hooks = [task for cell in batch if (task := cell.retire()) is not None]
            if hooks:
                await asyncio.wait(hooks)
        return retired

    # ------------------------------------------------------------ actors that may live elsewhere

    async def give_way(self, limit: float = 0.0) -> int:
        """End the actors that this node may not run any more: cut off their calls, deactivate them.

        limit: seconds until others may run them; `on_deactivate` has no more. 0: they may already, so what it would
        save is out of date, and it is left out. Returns how many there were.
        """
        if self._tenancy is None:
            return 0
        lost = {
            reference: cell
            for reference, cell in self._cells.items()
            if cell.epoch is None or cell.epoch != self._tenancy.epoch_of(reference)
        }
        if not lost:
            return 0
        for call in list(self._calls):
            if call.reference in lost:
                call.cut(f"node {self.node_id} may not run the actor any more", LeaseExpired)
        if not limit:
            for cell in lost.values():
                cell.drop()
        leaving = [asyncio.create_task(cell.leave()) for cell in lost.values()]
        _, late = await asyncio.wait(leaving, timeout=max(limit, _CUT_GRACE))
        for cell in lost.values():
            cell.drop()  # no effect on those that are gone
        for task in late:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        for cell in lost.values():
            if self._cells.get(cell.reference) is cell and cell.mailbox.current is not None:
                _log.error("%s was cut off and does not end, while its actor may run elsewhere", cell.mailbox.current)
        return len(lost)

    # ------------------------------------------------------------ the end

    async def drain(self, timeout: float) -> ActorsDrained:
        """Refuse new calls, let those that run and wait finish for `timeout` seconds, cut off the rest, deactivate all.

        New calls fail with DrainingError; what a running method calls is still served. `on_deactivate` has its own time
        limit in addition.
        """
        self._is_draining = True
        await self._stop_sweeping()
        before = self._finished
        await self._calm(timeout)
        cut = sum(call.cut("the node is shutting down") for call in list(self._calls))
        if cut:
            _log.warning("%d actor calls cut off after a drain of %g s", cut, timeout)
            await self._calm(self.config.deactivation_timeout)
        deactivated = await self._retire_all()
        for stuck in self._calls:
            _log.error("%s was cut off and does not end", stuck)
        return ActorsDrained(max(0, self._finished - before + len(self._calls) - cut), cut, deactivated)

    async def close(self) -> None:
        """End at once: cut off what runs, deactivate all, wait for every task."""
        await self.drain(0.0)

    async def _stop_sweeping(self) -> None:
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.wait([sweeper])

    async def _calm(self, timeout: float) -> None:
        """Wait until no call runs or waits here, `timeout` seconds at most."""
        try:
            async with asyncio.timeout(timeout):
                await self._quiet.wait()
        except builtins.TimeoutError:
            return

    async def _retire_all(self) -> int:
        """Deactivate until no actor is left: hooks may call other actors, which activates them."""
        deactivated = 0
        for _ in range(_LAST_ROUNDS):
            for cell in list(self._cells.values()):
                cell.give_up_activation()
            deactivated += await self._retire(list(self._cells.values()))
            if self._tasks:
                await asyncio.wait(list(self._tasks))  # each is bounded by its hook's time limit
            elif not any(cell.mailbox.is_idle for cell in self._cells.values()):
                return deactivated
        _log.error("actors keep activating each other: %d are left", len(self._cells))
        return deactivated

    # ------------------------------------------------------------ looking

    @property
    def types(self) -> tuple[str, ...]:
        """Actor types hosted here."""
        return self.registry.types

    @property
    def in_flight(self) -> int:
        """Calls that run or wait here."""
        return len(self._calls)

    def count(self, addressable_type: str | None = None) -> int:
        """Actors active here, of one type or of all."""
        if addressable_type is None:
            return len(self._cells)
        return sum(reference.addressable_type == addressable_type for reference in self._cells)

    def snapshot(self, addressable_type: str | None = None, limit: int = 100) -> list[ActorView]:
        """At most `limit` of the actors active here, in the order of their activation."""
        now = asyncio.get_running_loop().time()
        cells = (cell for cell in self._cells.values() if addressable_type in (None, cell.reference.addressable_type))
        return [
            ActorView(
                cell.reference,
                cell.mailbox.state.value,
                cell.mailbox.depth,
                cell.calls,
                now - cell.last_used if cell.mailbox.is_idle else 0.0,
            )
            for cell in islice(cells, limit)
        ]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "draining" if self._is_draining else "active"
        return f"<ActorSystem {self.node_id} {state}, {len(self._cells)} actors, {len(self._calls)} calls in flight>"


def _rest(timeout: float | None, began: float) -> float | None:
    """What is left of a time limit that began then, in loop time."""
    return None if timeout is None else max(0.0, timeout - (asyncio.get_running_loop().time() - began))
