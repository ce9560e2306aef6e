"""One actor's life and calls, seen from its callers."""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orbit_lite.actors import ActorConfig, ActorRef, ActorSystem, actor
from orbit_lite.errors import (
    DrainingError,
    Executed,
    InvocationFailed,
    OverloadedError,
    Status,
    TimeoutError,
)
from orbit_lite.model import Json

Host = Callable[..., ActorSystem]


whose = contextvars.ContextVar("whose", default="nobody's")


class Gate:
    """What a test and an actor's method tell each other: the method has begun, and it may go on."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.log: list[str] = []

    async def passage(self, name: str) -> None:
        self.log.append(f"{name} begins")
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.log.append(f"{name} cancelled")
            raise
        self.log.append(f"{name} ends")


@pytest.fixture
def gate() -> Gate:
    gate = Gate()
    Worker.gate = gate
    return gate


@actor("Worker")
class Worker:
    """Its methods and hooks do what the test wants."""

    gate: Gate
    made = 0
    activate: Callable[[Worker], Awaitable[None]] | None = None
    deactivate: Callable[[Worker], Awaitable[None]] | None = None

    def __init__(self) -> None:
        type(self).made += 1
        self.count = 0
        self.context: Any = None

    async def on_activate(self) -> None:
        if (hook := type(self).activate) is not None:
            await hook(self)

    async def on_deactivate(self) -> None:
        if (hook := type(self).deactivate) is not None:
            await hook(self)

    async def add(self, amount: int = 1) -> Json:
        self.count += amount
        return self.count

    async def wait(self, name: str = "wait") -> Json:
        await self.gate.passage(name)
        return name

    async def fail(self, error: str) -> Json:
        raise ERRORS[error]

    async def ask(self, key: str, method: str, *args: Json) -> Json:
        return await self.context.actor("Worker", key).invoke(method, *args)  # type: ignore[no-any-return]

    async def give(self, what: str) -> Json:
        return RESULTS[what]  # type: ignore[return-value]

    async def retire(self) -> Json:
        self.context.deactivate()
        return self.count

    async def stubborn(self) -> Json:
        try:
            await self.gate.passage("stubborn")
        except asyncio.CancelledError:
            raise ValueError("in the middle of its clean-up") from None
        return None


ERRORS: dict[str, BaseException] = {
    "secret": ValueError("the password is hunter2"),
    "told": InvocationFailed.because("insufficient funds"),
    "builtin timeout": builtins.TimeoutError(),
    "cancelled": asyncio.CancelledError(),
    "exit": SystemExit(3),
    "base": BaseException("bare"),
    "recursion": RecursionError(),
    "memory": MemoryError(),
    "group": ExceptionGroup("many", [ValueError(1)]),
}
RESULTS: dict[str, object] = {
    "set": {1, 2},
    "tuple": (1, (2,)),
    "keys": {1: 2},
    "nan": float("nan"),
}


@pytest.fixture(autouse=True)
def fresh_worker() -> None:
    Worker.made = 0
    Worker.activate = Worker.deactivate = None


async def settle() -> None:
    """Let everything run that can run now."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(ref: ActorRef, method: str, *args: Json, timeout: float | None = None) -> asyncio.Task[Json]:
    return asyncio.create_task(ref.invoke(method, *args, timeout=timeout))


# ---------------------------------------------------------------- turns


async def test_calls_of_one_actor_run_one_after_the_other_in_their_order(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    calls = [start(ref, "wait", str(number)) for number in range(3)]
    await settle()
    assert gate.log == ["0 begins"]
    gate.go.set()
    assert await asyncio.gather(*calls) == ["0", "1", "2"]
    assert gate.log == ["0 begins", "0 ends", "1 begins", "1 ends", "2 begins", "2 ends"]


async def test_different_actors_run_at_the_same_time(host: Host, gate: Gate) -> None:
    system = host(Worker)
    calls = [start(system.ref("Worker", key), "wait", key) for key in "ab"]
    await settle()
    assert gate.log == ["a begins", "b begins"]
    gate.go.set()
    await asyncio.gather(*calls)


async def test_a_full_mailbox_refuses_at_once_what_it_cannot_take(host: Host, gate: Gate) -> None:
    ref = host(Worker, config=ActorConfig(mailbox_size=2)).ref("Worker", "a")
    calls = [start(ref, "wait") for _ in range(3)]
    await settle()
    with pytest.raises(OverloadedError, match="mailbox of Worker:a is full") as raised:
        await ref.invoke("add")
    assert raised.value.executed is Executed.NO
    gate.go.set()
    await asyncio.gather(*calls)
    assert await ref.invoke("add") == 1


async def test_a_caller_that_gives_up_while_waiting_never_runs_and_disturbs_nobody(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    first, second, third = (start(ref, "wait", name) for name in ("first", "second", "third"))
    await settle()
    second.cancel()
    gate.go.set()
    assert [await first, await third] == ["first", "third"]
    assert second.cancelled()
    assert "second begins" not in gate.log


async def test_a_caller_that_gives_up_in_the_moment_of_its_turn_passes_it_on(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")

    async def call_and_cancel_the_next() -> None:
        await ref.invoke("wait", "first")
        second.cancel()  # it has been given its turn in this very step

    first = asyncio.create_task(call_and_cancel_the_next())
    second, third = start(ref, "wait", "second"), start(ref, "wait", "third")
    await settle()
    gate.go.set()
    await first
    assert await third == "third"
    assert second.cancelled()


async def test_a_cancelled_caller_cancels_its_method_and_the_actor_goes_on(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    call = start(ref, "wait")
    await gate.begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert gate.log == ["wait begins", "wait cancelled"]
    assert await ref.invoke("add") == 1
    assert Worker.made == 1


# ---------------------------------------------------------------- time limits


async def test_a_time_limit_cancels_the_method_and_the_actor_goes_on(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    with pytest.raises(TimeoutError, match="wait on Worker:a ran out of time while it ran") as raised:
        await ref.invoke("wait", timeout=0.01)
    assert raised.value.executed is Executed.MAYBE
    assert raised.value.code is Status.DEADLINE_EXCEEDED
    assert gate.log == ["wait begins", "wait cancelled"]
    assert await ref.invoke("add") == 1


async def test_a_time_limit_that_passes_in_the_mailbox_proves_that_nothing_ran(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    running = start(ref, "wait", "first")
    await gate.begun.wait()
    with pytest.raises(TimeoutError, match="in the mailbox, before it ran") as raised:
        await ref.invoke("wait", "second", timeout=0.01)
    assert raised.value.executed is Executed.NO
    gate.go.set()
    assert await running == "first"
    assert gate.log == ["first begins", "first ends"]


async def test_no_time_at_all_is_refused_before_anything_happens(host: Host) -> None:
    system = host(Worker)
    with pytest.raises(TimeoutError, match="no time was left") as raised:
        await system.ref("Worker", "a").invoke("add", timeout=0.0)
    assert raised.value.executed is Executed.NO
    assert system.count() == 0


async def test_the_nodes_default_limits_calls_that_say_nothing(host: Host, gate: Gate) -> None:
    ref = host(Worker, config=ActorConfig(invocation_timeout=0.01)).ref("Worker", "a")
    with pytest.raises(TimeoutError):
        await ref.invoke("wait")


async def test_a_method_that_fails_while_it_is_cancelled_has_still_run_out_of_time(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    with pytest.raises(TimeoutError):
        await ref.invoke("stubborn", timeout=0.01)
    assert await ref.invoke("add") == 1


async def test_a_call_made_by_a_method_ends_with_the_methods_own_time(host: Host, gate: Gate) -> None:
    system = host(Worker)
    with pytest.raises(TimeoutError, match="ask on Worker:a"):
        await system.ref("Worker", "a").invoke("ask", "b", "wait", timeout=0.01)
    assert gate.log == ["wait begins", "wait cancelled"]


# ---------------------------------------------------------------- failures


async def test_a_reason_given_on_purpose_travels(host: Host) -> None:
    with pytest.raises(InvocationFailed) as raised:
        await host(Worker).ref("Worker", "a").invoke("fail", "told")
    assert raised.value.description == "Invocation failed: fail on Worker - insufficient funds"
    assert raised.value.reason == "insufficient funds"
    assert raised.value.executed is Executed.YES


@pytest.mark.parametrize("name", sorted(set(ERRORS) - {"told"}))
async def test_of_any_other_exception_the_caller_hears_the_class_and_the_log_the_rest(
    host: Host, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    ref = host(Worker).ref("Worker", "a")
    with pytest.raises(InvocationFailed) as raised:
        await ref.invoke("fail", name)
    message, executed = raised.value.message, raised.value.executed
    kind = type(ERRORS[name]).__name__
    assert message.startswith(f"fail on Worker - {kind} (reference ")
    assert executed is Executed.YES
    assert "hunter2" not in message
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert message.rpartition("(reference ")[2].removesuffix(")") in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is ERRORS[name]
    assert await ref.invoke("add") == 1


async def test_ctrl_c_is_for_the_program_and_passes(host: Host) -> None:
    """Of KeyboardInterrupt asyncio makes the end of the loop, so the call is driven by hand here."""
    system = host(Worker)
    ref = system.ref("Worker", "a")
    await ref.invoke("add")

    async def interrupted(self: Worker) -> Json:
        raise KeyboardInterrupt

    method = system.registry.register(Worker).methods["add"]
    object.__setattr__(method, "function", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            await ref.invoke("add")
    finally:
        object.__setattr__(method, "function", Worker.add)
    assert await ref.invoke("add") == 2


async def test_a_failed_call_to_another_actor_is_told_with_its_way(host: Host) -> None:
    with pytest.raises(InvocationFailed) as raised:
        await host(Worker).ref("Worker", "a").invoke("ask", "b", "fail", "told")
    assert raised.value.message == "ask on Worker - fail on Worker - insufficient funds"


@pytest.mark.parametrize("what", ["set", "keys", "nan"])
async def test_a_result_that_is_no_json_is_the_methods_failure(host: Host, what: str) -> None:
    with pytest.raises(InvocationFailed, match="give on Worker - returned no JSON: the result: ") as raised:
        await host(Worker).ref("Worker", "a").invoke("give", what)
    assert raised.value.executed is Executed.YES


async def test_results_are_what_json_would_make_of_them(host: Host) -> None:
    assert await host(Worker).ref("Worker", "a").invoke("give", "tuple") == [1, [2]]


# ---------------------------------------------------------------- activation


async def test_simultaneous_first_calls_activate_once(host: Host) -> None:
    async def slowly(worker: Worker) -> None:
        await asyncio.sleep(0)

    Worker.activate = slowly
    ref = host(Worker).ref("Worker", "a")
    assert sorted(await asyncio.gather(*(ref.invoke("add") for _ in range(20)))) == list(range(1, 21))  # type: ignore[type-var]
    assert Worker.made == 1


async def test_a_failed_activation_fails_all_who_wait_and_leaves_nothing(host: Host) -> None:
    async def fails(worker: Worker) -> None:
        await asyncio.sleep(0)
        raise ValueError("the password is hunter2")

    Worker.activate = fails
    system = host(Worker)
    ref = system.ref("Worker", "a")
    outcomes = await asyncio.gather(*(ref.invoke("add") for _ in range(3)), return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, InvocationFailed)
        assert outcome.message.startswith("add on Worker - not activated: ValueError (reference ")
        assert outcome.executed is Executed.NO
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert system.count() == 0
    Worker.activate = None
    assert await ref.invoke("add") == 1


@pytest.mark.parametrize("error", [OSError("the disk is gone"), SystemExit(1), asyncio.CancelledError()])
async def test_a_constructor_that_fails_fails_the_call_and_leaves_nothing(host: Host, error: BaseException) -> None:
    @actor("Broken")
    class Broken:
        def __init__(self) -> None:
            raise error

        async def get(self) -> Json:
            return None

    system = host(Broken)
    with pytest.raises(InvocationFailed, match=f"get on Broken - not activated: {type(error).__name__} ") as raised:
        await system.ref("Broken", "a").invoke("get")
    assert raised.value.executed is Executed.NO
    assert system.count() == 0


async def test_ctrl_c_in_a_constructor_passes_and_leaves_nothing(host: Host) -> None:
    @actor("Interrupted")
    class Interrupted:
        def __init__(self) -> None:
            raise KeyboardInterrupt

        async def get(self) -> Json:
            return None

    system = host(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        await system.ref("Interrupted", "a").invoke("get")
    assert system.count() == 0


async def test_an_actor_may_say_why_it_is_not_activated(host: Host) -> None:
    async def refuses(worker: Worker) -> None:
        raise InvocationFailed.because(f"no account {worker.context.key}")

    Worker.activate = refuses
    with pytest.raises(InvocationFailed) as raised:
        await host(Worker).ref("Worker", "a").invoke("add")
    assert raised.value.message == "add on Worker - no account a"
    assert raised.value.executed is Executed.NO


async def test_an_activation_that_takes_too_long_fails(host: Host) -> None:
    async def hangs(worker: Worker) -> None:
        await asyncio.Event().wait()

    Worker.activate = hangs
    system = host(Worker, config=ActorConfig(activation_timeout=0.01))
    with pytest.raises(InvocationFailed, match="not activated: TimeoutError"):
        await system.ref("Worker", "a").invoke("add")
    assert system.count() == 0


async def test_the_first_caller_does_not_take_the_activation_along_when_it_gives_up(host: Host, gate: Gate) -> None:
    async def gated(worker: Worker) -> None:
        await gate.passage("activation")

    Worker.activate = gated
    ref = host(Worker).ref("Worker", "a")
    first, second = start(ref, "add"), start(ref, "add")
    await gate.begun.wait()
    first.cancel()
    await settle()
    gate.go.set()
    assert await second == 1
    assert Worker.made == 1
    assert gate.log == ["activation begins", "activation ends"]


async def test_an_activation_has_not_the_time_limit_of_the_call_that_caused_it(host: Host, gate: Gate) -> None:
    async def gated(worker: Worker) -> None:
        await gate.passage("activation")

    Worker.activate = gated
    ref = host(Worker).ref("Worker", "a")
    with pytest.raises(TimeoutError) as raised:
        await ref.invoke("add", timeout=0.01)
    assert raised.value.executed is Executed.NO
    gate.go.set()
    assert await ref.invoke("add") == 1
    assert Worker.made == 1


async def test_a_hook_does_not_inherit_what_belongs_to_the_call_that_caused_it(host: Host) -> None:
    """Such as a deadline, which context variables carry."""
    seen: list[str] = []

    async def look(worker: Worker) -> None:
        seen.append(whose.get())

    Worker.activate = look
    whose.set("the caller's")
    await host(Worker).ref("Worker", "a").invoke("add")
    assert seen == ["nobody's"]


async def test_the_context_is_there_before_the_activation(host: Host) -> None:
    seen: list[str] = []

    async def look(worker: Worker) -> None:
        seen.append(repr(worker.context))

    Worker.activate = look
    await host(Worker).ref("Worker", "a").invoke("add")
    assert seen == ["<ActorContext Worker:a on (default:node-1)>"]


# ---------------------------------------------------------------- deactivation


async def test_an_actor_may_end_its_life_and_the_next_call_begins_another(host: Host) -> None:
    system = host(Worker)
    ref = system.ref("Worker", "a")
    await ref.invoke("add", 5)
    assert await ref.invoke("retire") == 5
    await settle()
    assert system.count() == 0
    assert await ref.invoke("add") == 1
    assert Worker.made == 2


async def test_no_call_is_lost_while_an_actor_is_deactivated(host: Host, gate: Gate) -> None:
    async def gated(worker: Worker) -> None:
        await gate.passage("deactivation")

    Worker.deactivate = gated
    system = host(Worker)
    ref = system.ref("Worker", "a")
    await ref.invoke("retire")
    await gate.begun.wait()
    calls = [start(ref, "add") for _ in range(3)]
    await settle()
    assert [view.state for view in system.snapshot()] == ["deactivating"]
    gate.go.set()
    assert await asyncio.gather(*calls) == [1, 2, 3]
    await settle()
    assert Worker.made == 2
    assert [view.state for view in system.snapshot()] == ["idle"]


async def test_calls_that_wait_when_an_actor_wants_to_end_are_served_first(host: Host, gate: Gate) -> None:
    ref = host(Worker).ref("Worker", "a")
    running = start(ref, "wait")
    await gate.begun.wait()
    calls = [start(ref, "retire"), start(ref, "add"), start(ref, "add")]
    await settle()
    gate.go.set()
    assert await asyncio.gather(running, *calls) == ["wait", 0, 1, 2]
    assert Worker.made == 1


async def test_a_deactivation_that_fails_is_logged_and_done(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(worker: Worker) -> None:
        raise OSError("the disk is gone")

    Worker.deactivate = fails
    system = host(Worker)
    await system.ref("Worker", "a").invoke("retire")
    await settle()
    assert system.count() == 0
    assert "on_deactivate of Worker:a raised OSError" in caplog.text


async def test_a_deactivation_that_takes_too_long_is_cut(host: Host, gate: Gate) -> None:
    async def gated(worker: Worker) -> None:
        await gate.passage("deactivation")

    Worker.deactivate = gated
    system = host(Worker, config=ActorConfig(deactivation_timeout=0.01))
    ref = system.ref("Worker", "a")
    await ref.invoke("retire")
    await gate.begun.wait()
    assert await ref.invoke("add") == 1
    assert gate.log == ["deactivation begins", "deactivation cancelled"]


async def test_types_without_hooks_need_no_task(host: Host) -> None:
    @actor("Plain")
    class Plain:
        async def get(self) -> Json:
            return 1

    system = host(Plain)
    before = asyncio.all_tasks()
    assert await system.ref("Plain", "a").invoke("get") == 1
    assert await system.deactivate_idle(now=asyncio.get_running_loop().time() + 1000) == 1
    assert asyncio.all_tasks() == before
    assert system.count() == 0


# ---------------------------------------------------------------- circles


async def test_an_actor_that_calls_itself_is_refused_instead_of_standing_still(host: Host) -> None:
    with pytest.raises(InvocationFailed) as raised:
        await host(Worker).ref("Worker", "a").invoke("ask", "a", "add")
    assert raised.value.message == (
        "ask on Worker - add on Worker - the actor would wait for itself: Worker:a.ask → Worker:a.add"
    )


async def test_a_circle_over_other_actors_is_refused_too(host: Host) -> None:
    with pytest.raises(InvocationFailed, match=r"Worker:a\.ask → Worker:b\.ask → Worker:a\.add"):
        await host(Worker).ref("Worker", "a").invoke("ask", "b", "ask", "a", "add")


async def test_chains_without_a_circle_run(host: Host) -> None:
    system = host(Worker)
    assert await system.ref("Worker", "a").invoke("ask", "b", "ask", "c", "add") == 1
    assert await system.ref("Worker", "b").invoke("ask", "a", "ask", "c", "add") == 2


async def test_hooks_may_not_call_their_own_actor(host: Host) -> None:
    async def calls_itself(worker: Worker) -> None:
        await worker.context.actor("Worker", worker.context.key).invoke("add")

    Worker.activate = calls_itself
    with pytest.raises(InvocationFailed, match=r"not activated: .*would wait for itself|would wait for itself"):
        await host(Worker).ref("Worker", "a").invoke("add")


async def test_a_task_that_outlives_its_method_may_call_the_actor_again(host: Host, gate: Gate) -> None:
    tasks: list[asyncio.Task[Json]] = []

    @actor("Ticker")
    class Ticker:
        context: Any

        async def begin(self) -> Json:
            tasks.append(asyncio.create_task(self._later()))
            return None

        async def _later(self) -> Json:
            await gate.go.wait()
            return await self.context.actor("Ticker", "a").invoke("tick")  # type: ignore[no-any-return]

        async def tick(self) -> Json:
            return "tick"

    await host(Ticker).ref("Ticker", "a").invoke("begin")
    gate.go.set()
    assert await tasks[0] == "tick"


# ---------------------------------------------------------------- being cut off


async def test_what_a_shutdown_cuts_off_knows_whether_it_ran(host: Host, gate: Gate) -> None:
    system = host(Worker)
    ref = system.ref("Worker", "a")
    running, waiting = start(ref, "wait"), start(ref, "add")
    await gate.begun.wait()
    await system.drain(0.0)
    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DrainingError, DrainingError]
    assert [outcome.executed for outcome in outcomes if isinstance(outcome, DrainingError)] == [
        Executed.MAYBE,
        Executed.NO,
    ]
    assert gate.log == ["wait begins", "wait cancelled"]
