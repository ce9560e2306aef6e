"""One actor on this node: its mailbox, its instance while it is active, and its hooks.

A method runs in the task of its caller, once the mailbox gives the call its turn: no task is made for a call, a
cancelled caller cancels its method, and context variables reach the method by themselves. Hooks run in tasks of their
own, since no single caller may take them along when it goes away.

The instance comes and goes with activation; the cell stays as long as calls wait, so none is lost in between.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any

from orbit_lite.actors.arguments import json_copy
from orbit_lite.actors.config import ActorConfig
from orbit_lite.actors.mailbox import Call, Mailbox, MailboxState
from orbit_lite.actors.ports import ActorCaller
from orbit_lite.actors.reference import ActorContext
from orbit_lite.actors.registry import ActorType, Method
from orbit_lite.errors import (
    DrainingError,
    Executed,
    InvocationFailed,
    OrbitError,
    SerializationError,
    TimeoutError,
    quote,
)
from orbit_lite.model import AddressableReference, Json, NodeId

__all__ = ["ActorCall", "Cell", "current_actor_call"]

_log = logging.getLogger("orbit_lite.actors")

_current: contextvars.ContextVar[ActorCall | None] = contextvars.ContextVar("orbit_lite.actor_call", default=None)


def current_actor_call() -> ActorCall | None:
    """The call whose method or hook runs now."""
    return _current.get()


class ActorCall(Call):
    """A call on its way through a cell. deadline: in loop time; None = none."""

    __slots__ = ("cut_as", "cut_by", "deadline", "has_begun", "scope", "turn")

    def __init__(
        self, owner: object, reference: AddressableReference, method: str, parent: Call | None, deadline: float | None
    ) -> None:
        super().__init__(owner, reference, method, parent)
        self.deadline = deadline
        self.turn: asyncio.Future[OrbitError | None] | None = None
        self.scope: asyncio.Timeout | None = None
        self.has_begun = False
        self.cut_by: str | None = None
        self.cut_as: type[OrbitError] = DrainingError

    def take_turn(self, refusal: OrbitError | None = None) -> bool:
        """Tell the waiting caller that it is its turn, or why it will have none. False: it waits no longer."""
        if self.turn is None or self.turn.done():
            return False
        self.turn.set_result(refusal)
        return True

    def cut(self, reason: str, kind: type[OrbitError] = DrainingError) -> bool:
        """End the call now with such an error: a method that runs is cancelled. False: it is ending already."""
        if self.scope is None or self.scope.expired() or self.cut_by is not None:
            return False
        self.cut_by, self.cut_as = reason, kind
        self.scope.reschedule(asyncio.get_running_loop().time())
        return True


class Cell:
    """An actor that the first call activates.

    reference: as the type's `canonical` gives it. spawn: runs a coroutine as a task that its owner looks after.
    on_gone: called once, when the cell is closed and must be forgotten; no call may enter it then. epoch: under which
    the actor lives here, where the cluster agrees on homes.
    """

    __slots__ = (
        "_activation",
        "_caller",
        "_config",
        "_deactivation",
        "_gone",
        "_instance",
        "_is_dropped",
        "_node_id",
        "_on_gone",
        "_retire_requested",
        "_spawn",
        "actor_type",
        "calls",
        "epoch",
        "hosts",
        "last_used",
        "mailbox",
        "reference",
    )

    def __init__(
        self,
        actor_type: ActorType,
        reference: AddressableReference,
        *,
        node_id: NodeId,
        caller: ActorCaller,
        config: ActorConfig,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        on_gone: Callable[[Cell], None],
        epoch: int | None = None,
    ) -> None:
        self.actor_type = actor_type
        self.reference = reference
        self.mailbox: Mailbox[ActorCall] = Mailbox(actor_type.mailbox_size(config))
        self.calls = 0
        self.last_used = asyncio.get_running_loop().time()
        self.hosts: tuple[NodeId, ...] | None = None
        self.epoch = epoch
        self._node_id = node_id
        self._caller = caller
        self._config = config
        self._spawn = spawn
        self._on_gone = on_gone
        self._instance: Any = None
        self._activation: asyncio.Task[None] | None = None
        self._deactivation: asyncio.Task[None] | None = None
        self._retire_requested = False
        self._is_dropped = False
        self._gone: asyncio.Future[None] | None = None

    # ------------------------------------------------------------ calls

    async def run(self, call: ActorCall, method: Method, args: Sequence[Json]) -> Json:
        """Wait for the call's turn, run the method, give the turn to the next."""
        scope = call.scope = asyncio.timeout_at(call.deadline)
        try:
            async with scope:
                if not self.mailbox.admit(call):
                    await self._wait_turn(call)
                call.has_begun = True
                token = _current.set(call)
                try:
                    return await self._execute(call, method, args)
                finally:
                    _current.reset(token)
                    call.is_over = True
                    self.calls += 1
                    self._pass_on()
        except (builtins.TimeoutError, InvocationFailed) as error:
            if scope.expired():
                raise self._cut_short(call) from error
            raise
        finally:
            call.is_over = True

    async def _wait_turn(self, call: ActorCall) -> None:
        turn = call.turn = asyncio.get_running_loop().create_future()
        if self.mailbox.state is MailboxState.NEW:
            self._open(call)
        try:
            refusal = await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.mailbox.withdraw(call)
            elif turn.result() is None:  # the turn came in the same moment, and is of no use any more
                self._pass_on()
            raise
        if refusal is not None:
            raise refusal

    async def _execute(self, call: ActorCall, method: Method, args: Sequence[Json]) -> Json:
        try:
            result = await _contained(method.function(self._instance, *args))
        except _Failure as failure:
            raise self._failed(call.method, failure.cause, "") from failure.cause
        try:
            return json_copy(result, "the result")
        except SerializationError as error:
            raise InvocationFailed.of(call.method, self.actor_type.name, f"returned no JSON: {error.message}") from None

    def _pass_on(self) -> None:
        self.last_used = asyncio.get_running_loop().time()
        following = self.mailbox.finish()
        while following is not None and not following.take_turn():
            following = self.mailbox.finish()
        if following is None:
            self._settle()

    def _settle(self) -> None:
        """Nothing is left to do: go, if that was asked for."""
        if self._retire_requested or self._gone is not None:
            self.retire()

    def _failed(self, method: str, cause: BaseException, doing: str) -> InvocationFailed:
        """What the caller hears of an exception: the text only of an InvocationFailed, the class name of any other."""
        name = self.actor_type.name
        if isinstance(cause, InvocationFailed):
            return InvocationFailed.of(method, name, cause.message)
        mark = secrets.token_hex(4)
        _log.error(
            "%s of %s raised %s (reference %s)",
            method,
            quote(str(self.reference)),
            type(cause).__name__,
            mark,
            exc_info=cause,
            extra={"method": f"{name}.{method}", "code": InvocationFailed.orb_code},
        )
        return InvocationFailed.of(method, name, f"{doing}{type(cause).__name__} (reference {mark})")

    def _cut_short(self, call: ActorCall) -> OrbitError:
        what = f"{quote(call.method)} on {quote(str(self.reference))}"
        executed = Executed.MAYBE if call.has_begun else Executed.NO
        where = "while it ran" if call.has_begun else "in the mailbox, before it ran"
        if call.cut_by is not None:
            return call.cut_as(f"{what} was cut off {where}: {call.cut_by}", executed=executed)
        return TimeoutError(f"{what} ran out of time {where}", executed=executed)

    # ------------------------------------------------------------ life

    def _open(self, opener: Call | None) -> None:
        """Make the instance and activate it. opener: the call that needs it, for the rule against circles."""
        self.mailbox.begin()
        if self.actor_type.activates:
            self._activation = self._spawn(self._activate(opener), f"activate {self.reference}")
            self._activation.add_done_callback(self._activation_ended)
            return
        try:
            self._make()
        except _Failure as failure:
            self._abandon(failure.cause)
        except BaseException:
            self._close(_leaving())
            raise
        else:
            self._activated()

    def _make(self) -> None:
        with _Containment():
            self._instance = self.actor_type.cls()
            self._instance.context = ActorContext(
                self.reference, self._node_id, self._caller, self._request_retirement, epoch=self.epoch
            )

    async def _activate(self, opener: Call | None) -> None:
        _current.set(ActorCall(self._caller, self.reference, "on_activate", opener, None))
        try:
            self._make()
            await _contained(self._instance.on_activate(), self._config.activation_timeout)
        except _Failure as failure:
            self._abandon(failure.cause)
        else:
            self._activated()

    def _activation_ended(self, task: asyncio.Task[None]) -> None:
        if self._activation is task and self.mailbox.state is MailboxState.ACTIVATING:
            self._close(_leaving())  # it was cancelled, perhaps before its first step

    def _activated(self) -> None:
        _log.debug("= %s active", quote(str(self.reference)))
        self.last_used = asyncio.get_running_loop().time()
        first = self.mailbox.activated()
        if first is None:
            self._settle()
        elif not first.take_turn():
            self._pass_on()

    def _abandon(self, cause: BaseException) -> None:
        """Activation failed: the calls that wait fail with it, and nothing stays behind."""
        self._close(self._failed("on_activate", cause, "not activated: "))

    def _close(self, error: OrbitError) -> None:
        self._instance = None
        for call in self.mailbox.close():
            refusal: OrbitError
            if isinstance(error, InvocationFailed):
                refusal = InvocationFailed.of(call.method, self.actor_type.name, error.reason)
                refusal.executed = Executed.NO
            else:
                refusal = type(error)(error.message)
            call.take_turn(refusal)
        self._forget()

    def _forget(self) -> None:
        self._on_gone(self)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _request_retirement(self) -> None:
        self._retire_requested = True
        self.retire()

    def give_up_activation(self) -> None:
        """Cancel an activation that no call waits for."""
        if self.mailbox.state is MailboxState.ACTIVATING and not self.mailbox.depth and self._activation is not None:
            self._activation.cancel()

    def retire(self) -> asyncio.Task[None] | None:
        """Deactivate, if the actor is idle. Returns the task to wait for; None: done already, or not idle."""
        if not self.mailbox.retire():
            return None
        if self.actor_type.deactivates and not self._is_dropped:
            self._deactivation = self._spawn(self._deactivate(), f"deactivate {self.reference}")
            # Not in the coroutine: a task that is cancelled before its first step never enters it.
            self._deactivation.add_done_callback(lambda _: self._deactivated())
            return self._deactivation
        self._deactivated()
        return None

    async def leave(self) -> None:
        """Deactivate as soon as no call is left, and wait for it: the actor is to live on another node."""
        if self.mailbox.state is MailboxState.CLOSED:
            return
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        self.retire()
        await asyncio.shield(self._gone)

    def drop(self) -> None:
        """End as soon as no method runs, without `on_deactivate` or what is left of it: others may run the actor."""
        self._is_dropped = self._retire_requested = True
        self.give_up_activation()
        if self._deactivation is not None:
            self._deactivation.cancel()
        self.retire()

    async def _deactivate(self) -> None:
        _current.set(ActorCall(self._caller, self.reference, "on_deactivate", None, None))
        try:
            await _contained(self._instance.on_deactivate(), self._config.deactivation_timeout)
        except _Failure as failure:
            self._failed("on_deactivate", failure.cause, "")

    def _deactivated(self) -> None:
        _log.debug("= %s deactivated", quote(str(self.reference)))
        self._instance = None
        self._deactivation = None
        self._retire_requested = self._is_dropped = False
        if self.mailbox.retired():
            self._open(None)
        else:
            self._forget()

    def __repr__(self) -> str:
        return f"<Cell {quote(str(self.reference))} {self.mailbox!r}, {self.calls} calls>"


def _leaving() -> DrainingError:
    return DrainingError("the node is shutting down")


class _Failure(Exception):
    """An actor's code raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class _Containment:
    """Whatever an actor's code raises comes out as _Failure, so that it cannot be taken for our own.

    Three things pass: the cancellation of this task, KeyboardInterrupt, which is for the program, and GeneratorExit,
    which closes coroutines. A CancelledError of the actor's own making and SystemExit are failures like others.
    """

    __slots__ = ("_cancellations", "_task")

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task is not None else 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit):
            return
        if isinstance(error, asyncio.CancelledError) and self._is_cancelled():
            return
        raise _Failure(error) from error

    def _is_cancelled(self) -> bool:
        return self._task is not None and self._task.cancelling() > self._cancellations


async def _contained(work: Coroutine[Any, Any, Json], timeout: float | None = None) -> Json:
    """Run an actor's coroutine, see `_Containment`. timeout: seconds."""
    with _Containment():
        if timeout is None:
            return await work
        async with asyncio.timeout(timeout):
            return await work
