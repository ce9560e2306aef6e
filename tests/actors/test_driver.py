"""A node's actors among those of other nodes: routing, idleness, limits, the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from orbit_lite.actors import ActorConfig, ActorsDrained, ActorSystem, Placement, actor
from orbit_lite.errors import (
    AddressableNotFound,
    DrainingError,
    Executed,
    InvocationFailed,
    OverloadedError,
    SerializationError,
    TimeoutError,
)
from orbit_lite.model import AddressableReference, Int64Key, InvocationReason, InvocationRequest, Json, KeyKind, NodeId

Host = Callable[..., ActorSystem]

ME, OTHER, THIRD = NodeId("node-1"), NodeId("node-2"), NodeId("node-3")
SOURCE = NodeId("client")


class Hosts:
    """Any type is hosted by these nodes."""

    def __init__(self, *nodes: NodeId) -> None:
        self.nodes: tuple[NodeId, ...] = nodes

    def hosts_of(self, addressable_type: str) -> Sequence[NodeId]:
        return self.nodes


class Recorder:
    """The way to other nodes: remembers what was sent there."""

    def __init__(self) -> None:
        self.sent: list[tuple[NodeId, InvocationRequest, int, float | None]] = []

    async def invoke(
        self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        self.sent.append((node_id, request, attempts, timeout))
        return "from there"


@actor("Counter")
class Counter:
    ended: list[str]
    an_end: asyncio.Event
    context: Any

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()

    async def on_deactivate(self) -> None:
        Counter.ended.append(str(self.context.key))
        Counter.an_end.set()

    async def add(self, amount: int = 1) -> Json:
        self.count += amount
        return self.count

    async def keep(self, value: Json) -> Json:
        self.kept = value
        return value

    async def slow(self, seconds: float) -> Json:
        await asyncio.sleep(seconds)
        return "slow"

    async def wait(self) -> Json:
        await self.go.wait()
        return "waited"

    async def release(self) -> Json:
        self.go.set()
        return None

    async def ask(self, addressable_type: str, key: str, method: str) -> Json:
        return await self.context.actor(addressable_type, key).invoke(method)  # type: ignore[no-any-return]

    async def wait_and_ask(self, key: str, method: str) -> Json:
        await self.go.wait()
        return await self.context.actor("Counter", key).invoke(method)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def fresh_counter() -> None:
    Counter.ended = []
    Counter.an_end = asyncio.Event()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def request(
    arguments: str = "[]", *, key: str | int = "a", method: str = "add", addressable_type: str = "Counter"
) -> InvocationRequest:
    return InvocationRequest(AddressableReference.of(addressable_type, key), method, arguments)


async def opened(system: ActorSystem, key: str) -> Counter:
    """The instance behind a key, for tests that steer it from outside."""
    await system.ref("Counter", key).invoke("add", 0)
    cell = system._cells[AddressableReference.of("Counter", key)]
    instance = cell._instance
    assert isinstance(instance, Counter)
    return instance


# ---------------------------------------------------------------- calls that run here


async def test_a_peers_call_runs_with_its_arguments_bare_or_wrapped(host: Host) -> None:
    system = host(Counter)
    assert await system.handle(request("[2]"), source=SOURCE) == 2
    assert await system.handle(request('[{"value":3,"type_name":"dynamic"}]'), source=None) == 5


@pytest.mark.parametrize("arguments", ["", "{}", "[NaN]"])
async def test_arguments_that_cannot_be_read_are_refused_before_the_actor_is_activated(
    host: Host, arguments: str
) -> None:
    system = host(Counter)
    with pytest.raises(SerializationError):
        await system.handle(request(arguments), source=SOURCE)
    assert system.count() == 0


@pytest.mark.parametrize(("method", "arguments"), [("nonsense", "[]"), ("add", "[1,2]"), ("__init__", "[]")])
async def test_a_call_that_cannot_succeed_does_not_activate_the_actor(host: Host, method: str, arguments: str) -> None:
    system = host(Counter)
    with pytest.raises(InvocationFailed):
        await system.handle(request(arguments, method=method), source=SOURCE)
    assert system.count() == 0


async def test_a_type_that_is_not_hosted_here_is_not_found(host: Host) -> None:
    with pytest.raises(AddressableNotFound, match=r"^Nonsense:a$"):
        await host(Counter).handle(request(addressable_type="Nonsense"), source=SOURCE)


async def test_a_local_call_passes_copies_as_a_remote_one_would(host: Host) -> None:
    system = host(Counter)
    value: dict[str, Json] = {"list": [1]}
    result = await system.ref("Counter", "a").invoke("keep", value)
    kept = (await opened(system, "a")).kept
    assert result == kept == value
    assert len({id(result), id(kept), id(value)}) == 3


async def test_a_local_argument_that_is_no_json_is_refused(host: Host) -> None:
    system = host(Counter)
    with pytest.raises(SerializationError, match="argument 1: set is no JSON value"):
        await system.ref("Counter", "a").invoke("keep", {1})  # type: ignore[arg-type]
    assert system.count() == 0


async def test_an_integer_key_of_another_width_means_the_same_actor(host: Host) -> None:
    @actor("Numbered", key=KeyKind.INT32)
    class Numbered:
        context: Any

        async def kind(self) -> Json:
            return str(self.context.key.kind.name)

    system = host(Numbered)
    assert await system.ref("Numbered", Int64Key(7)).invoke("kind") == "INT32"
    assert await system.ref("Numbered", 7).invoke("kind") == "INT32"
    assert system.count() == 1


# ---------------------------------------------------------------- calls for other nodes


async def test_a_call_for_an_actor_elsewhere_is_sent_there_wrapped_as_orbit_rs_expects(host: Host) -> None:
    there = Recorder()
    system = host(hosts=Hosts(OTHER), invoker=there)
    assert await system.ref("Remote", "a").invoke("get", 1, timeout=5.0) == "from there"
    [(node, sent, attempts, timeout)] = there.sent
    assert node == OTHER
    assert sent == request('[{"value":1,"type_name":"dynamic"}]', method="get", addressable_type="Remote")
    assert sent.reason is InvocationReason.INVOCATION
    assert attempts == 0
    assert timeout == pytest.approx(5.0, abs=0.5)


async def test_arguments_can_be_sent_bare(host: Host) -> None:
    there = Recorder()
    system = host(hosts=Hosts(OTHER), invoker=there, config=ActorConfig(wrap_arguments=False))
    await system.ref("Remote", "a").invoke("get", 1)
    assert there.sent[0][1].arguments == "[1]"
    assert there.sent[0][3] is None


async def test_a_peers_call_for_an_actor_elsewhere_is_passed_on_as_it_is_and_counted(host: Host) -> None:
    there = Recorder()
    system = host(Counter, hosts=Hosts(OTHER), invoker=there)
    assert await system.handle(request("[ 1 ]"), source=SOURCE, attempts=1) == "from there"
    [(node, sent, attempts, _)] = there.sent
    assert (node, sent.arguments, sent.reason, attempts) == (OTHER, "[ 1 ]", InvocationReason.REROUTED, 2)


async def test_a_call_that_was_passed_on_too_often_is_not_found(host: Host) -> None:
    there = Recorder()
    system = host(Counter, hosts=Hosts(OTHER), invoker=there)
    with pytest.raises(AddressableNotFound) as raised:
        await system.handle(request(), source=SOURCE, attempts=3)
    assert raised.value.description == "Addressable not found: Counter:a"
    assert not there.sent


async def test_two_nodes_that_each_think_the_other_hosts_an_actor_give_up(host: Host) -> None:
    hops: list[int] = []

    class Mirror:
        def __init__(self) -> None:
            self.system: ActorSystem | None = None

        async def invoke(
            self, node_id: NodeId, sent: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
        ) -> Json:
            hops.append(attempts)
            assert self.system is not None
            return await self.system.handle(sent, source=ME, attempts=attempts, timeout=timeout)

    mirror = Mirror()
    mirror.system = host(Counter, hosts=Hosts(OTHER), invoker=mirror)
    with pytest.raises(AddressableNotFound):
        await mirror.system.ref("Counter", "a").invoke("add")
    assert hops == [0, 1, 2, 3]


async def test_an_explicit_place_is_used(host: Host) -> None:
    there = Recorder()
    system = host(Counter, invoker=there, placement=Placement({"Counter:a": THIRD}))
    await system.ref("Counter", "a").invoke("add")
    assert [node for node, *_ in there.sent] == [THIRD]
    assert await system.ref("Counter", "b").invoke("add") == 1


async def test_a_call_without_time_left_is_not_sent(host: Host) -> None:
    there = Recorder()
    system = host(hosts=Hosts(OTHER), invoker=there)
    with pytest.raises(TimeoutError) as raised:
        await system.ref("Remote", "a").invoke("get", timeout=-1.0)
    assert raised.value.executed is Executed.NO
    assert not there.sent


async def test_a_methods_call_to_another_node_carries_what_is_left_of_its_time(host: Host) -> None:
    there = Recorder()
    system = host(Counter, invoker=there, placement=Placement({"Remote": OTHER}))
    await system.ref("Counter", "a").invoke("ask", "Remote", "x", "get", timeout=5.0)
    [(_, _, _, timeout)] = there.sent
    assert timeout is not None
    assert 0 < timeout <= 5.0


# ---------------------------------------------------------------- actors that move


async def test_an_actor_whose_place_moves_ends_here_before_its_calls_go_there(host: Host) -> None:
    there, hosts = Recorder(), Hosts(ME)
    system = host(Counter, hosts=hosts, invoker=there)
    ref = system.ref("Counter", "a")
    instance = await opened(system, "a")
    running = asyncio.create_task(ref.invoke("wait"))
    await settle()
    hosts.nodes = (OTHER,)
    moved = [asyncio.create_task(ref.invoke("add")) for _ in range(2)]
    await settle()
    assert not there.sent
    instance.go.set()
    assert await running == "waited"
    assert [await call for call in moved] == ["from there", "from there"]
    assert Counter.ended == ["a"]
    assert system.count() == 0


async def test_a_call_that_waits_in_vain_for_a_move_did_not_run(host: Host) -> None:
    there, hosts = Recorder(), Hosts(ME)
    system = host(Counter, hosts=hosts, invoker=there, config=ActorConfig(invocation_timeout=0.05))
    ref = system.ref("Counter", "a")
    instance = await opened(system, "a")
    running = asyncio.create_task(ref.invoke("wait", timeout=60.0))
    await settle()
    hosts.nodes = (OTHER,)
    with pytest.raises(TimeoutError, match="waited in vain") as raised:
        await ref.invoke("add")
    assert raised.value.executed is Executed.NO
    instance.go.set()
    await running


async def test_a_method_that_calls_its_own_moving_actor_is_refused(host: Host) -> None:
    there, hosts = Recorder(), Hosts(ME)
    system = host(Counter, hosts=hosts, invoker=there)
    instance = await opened(system, "a")
    running = asyncio.create_task(system.ref("Counter", "a").invoke("wait_and_ask", "a", "add"))
    await settle()
    hosts.nodes = (OTHER,)
    instance.go.set()
    with pytest.raises(InvocationFailed, match="would wait for itself"):
        await running


async def test_the_sweep_ends_idle_actors_whose_place_is_elsewhere(host: Host) -> None:
    hosts = Hosts(ME)
    system = host(Counter, hosts=hosts, invoker=Recorder())
    await system.ref("Counter", "a").invoke("add")
    assert await system.deactivate_idle() == 0
    hosts.nodes = (OTHER,)
    assert await system.deactivate_idle() == 1
    assert Counter.ended == ["a"]


# ---------------------------------------------------------------- idleness and limits


async def test_idle_actors_are_deactivated_and_busy_ones_are_not(host: Host) -> None:
    system = host(Counter, config=ActorConfig(idle_timeout=100.0))
    instance = await opened(system, "busy")
    running = asyncio.create_task(system.ref("Counter", "busy").invoke("wait"))
    await settle()
    await system.ref("Counter", "idle").invoke("add")
    now = asyncio.get_running_loop().time()
    assert await system.deactivate_idle(now=now + 99.0) == 0
    assert await system.deactivate_idle(now=now + 101.0) == 1
    assert Counter.ended == ["idle"]
    instance.go.set()
    await running


async def test_a_type_may_stay_active_for_as_long_as_its_node(host: Host) -> None:
    @actor("Forever", idle_timeout=None)
    class Forever:
        async def get(self) -> Json:
            return 1

    system = host(Forever)
    await system.ref("Forever").invoke("get")
    assert await system.deactivate_idle(now=1e12) == 0


async def test_the_sweep_runs_by_itself_once_started(host: Host) -> None:
    system = host(Counter, config=ActorConfig(idle_timeout=0.0, sweep_interval=0.005))
    await system.start()
    await system.start()
    await system.ref("Counter", "a").invoke("add")
    async with asyncio.timeout(5):
        await Counter.an_end.wait()
    assert Counter.ended == ["a"]


async def test_a_sweep_that_fails_is_followed_by_the_next(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    class Moody(Hosts):
        failures = 2

        def hosts_of(self, addressable_type: str) -> Sequence[NodeId]:
            if sweeping and self.failures:
                self.failures -= 1
                raise RuntimeError("not now")
            swept.set()
            return self.nodes

    sweeping, swept = False, asyncio.Event()
    config = ActorConfig(idle_timeout=1e6, sweep_interval=0.001)
    hosts = Moody(ME)
    system = host(Counter, hosts=hosts, config=config)
    await system.ref("Counter", "a").invoke("add")
    sweeping = True
    swept.clear()
    await system.start()
    async with asyncio.timeout(5):
        await swept.wait()
    assert caplog.text.count("the sweep for idle actors failed") == 2


async def test_a_node_hosts_no_more_actors_than_its_limit(host: Host) -> None:
    system = host(Counter, config=ActorConfig(max_addressables=2))
    for key in "ab":
        await system.ref("Counter", key).invoke("add")
    with pytest.raises(OverloadedError, match="its limit of 2 actors") as raised:
        await system.ref("Counter", "c").invoke("add")
    assert raised.value.executed is Executed.NO
    assert await system.ref("Counter", "a").invoke("add") == 2
    await system.deactivate_idle(now=1e12)
    assert await system.ref("Counter", "c").invoke("add") == 1


async def test_many_actors_are_deactivated_a_few_at_a_time(host: Host) -> None:
    at_once = most = 0

    @actor("Slow")
    class Slow:
        async def on_deactivate(self) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1

        async def get(self) -> Json:
            return None

    system = host(Slow)
    for key in range(200):
        await system.ref("Slow", key).invoke("get")
    assert await system.deactivate_idle(now=1e12) == 200
    assert 1 < most <= 64


# ---------------------------------------------------------------- the end


async def test_a_drain_finishes_what_runs_and_what_waits_and_deactivates_all(host: Host) -> None:
    system = host(Counter)
    instance = await opened(system, "a")
    ref = system.ref("Counter", "a")
    calls = [asyncio.create_task(ref.invoke(method)) for method in ("wait", "add", "add")]
    await settle()
    draining = asyncio.create_task(system.drain(10.0))
    await settle()
    with pytest.raises(DrainingError, match=r"node \(default:node-1\) is shutting down") as raised:
        await ref.invoke("add")
    assert raised.value.executed is Executed.NO
    with pytest.raises(DrainingError):
        await system.handle(request(), source=SOURCE)
    instance.go.set()
    assert await draining == ActorsDrained(finished=3, cancelled=0, deactivated=1)
    assert [await call for call in calls] == ["waited", 1, 2]
    assert Counter.ended == ["a"]
    assert system.count() == 0


async def test_a_drain_cuts_off_what_outlasts_it(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    system = host(Counter)
    ref = system.ref("Counter", "a")
    calls = [asyncio.create_task(ref.invoke(method)) for method in ("wait", "add")]
    await settle()
    assert await system.drain(0.01) == ActorsDrained(finished=0, cancelled=2, deactivated=1)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DrainingError) for outcome in outcomes)
    assert Counter.ended == ["a"]
    assert "2 actor calls cut off" in caplog.text


async def test_what_runs_during_a_drain_may_still_call_others(host: Host) -> None:
    system = host(Counter)
    instance = await opened(system, "a")
    running = asyncio.create_task(system.ref("Counter", "a").invoke("wait_and_ask", "b", "add"))
    await settle()
    draining = asyncio.create_task(system.drain(10.0))
    await settle()
    instance.go.set()
    assert await running == 1
    assert (await draining).cancelled == 0
    assert sorted(Counter.ended) == ["a", "b"]


async def test_that_holds_for_a_node_whose_peers_know_that_it_drains(host: Host) -> None:
    hosts = Hosts(ME)
    system = host(Counter, hosts=hosts)
    instance = await opened(system, "a")
    running = asyncio.create_task(system.ref("Counter", "a").invoke("wait_and_ask", "b", "add"))
    await settle()
    draining = asyncio.create_task(system.drain(10.0))
    await settle()
    hosts.nodes = ()
    instance.go.set()
    assert await running == 1
    await draining


async def test_a_draining_node_still_reaches_others(host: Host) -> None:
    system = host(Counter, invoker=Recorder(), placement=Placement({"Remote": OTHER}))
    await system.drain(0.0)
    assert await system.ref("Remote", "a").invoke("get") == "from there"


async def test_hooks_of_the_last_hour_may_activate_others_which_end_too(host: Host) -> None:
    @actor("Farewell")
    class Farewell:
        context: Any

        async def on_deactivate(self) -> None:
            await self.context.actor("Counter", "late").invoke("add")

        async def get(self) -> Json:
            return None

    system = host(Farewell, Counter)
    await system.ref("Farewell", "x").invoke("get")
    await system.drain(1.0)
    assert Counter.ended == ["late"]
    assert system.count() == 0


async def test_actors_that_keep_activating_each_other_do_not_hold_up_the_end(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    @actor("Phoenix")
    class Phoenix:
        context: Any

        async def on_deactivate(self) -> None:
            await self.context.actor("Phoenix", self.context.key.value + 1).invoke("get")

        async def get(self) -> Json:
            return None

    system = host(Phoenix)
    await system.ref("Phoenix", 0).invoke("get")
    await system.drain(1.0)
    assert "actors keep activating each other" in caplog.text


async def test_a_drain_gives_up_activations_that_nobody_waits_for(host: Host) -> None:
    @actor("Hanging")
    class Hanging:
        async def on_activate(self) -> None:
            await asyncio.Event().wait()

        async def get(self) -> Json:
            return None

    system = host(Hanging)
    call = asyncio.create_task(system.ref("Hanging", "x").invoke("get"))
    await settle()
    drained = await system.drain(0.01)
    assert drained.cancelled == 1
    assert system.count() == 0
    with pytest.raises(DrainingError) as raised:
        await call
    assert raised.value.executed is Executed.NO


async def test_a_method_that_ignores_its_cancellation_is_left_behind_and_named(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    go = asyncio.Event()

    @actor("Deaf")
    class Deaf:
        async def get(self) -> Json:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue
            return "at last"

    system = host(Deaf, config=ActorConfig(deactivation_timeout=0.01))
    call = asyncio.create_task(system.ref("Deaf", "x").invoke("get"))
    await settle()
    assert (await system.drain(0.01)).cancelled == 1
    assert "Deaf:x.get was cut off and does not end" in caplog.text
    go.set()
    assert await call == "at last"


async def test_draining_twice_and_closing_are_harmless(host: Host) -> None:
    system = host(Counter)
    await system.ref("Counter", "a").invoke("add")
    assert (await system.drain(1.0)).deactivated == 1
    assert await system.drain(1.0) == ActorsDrained()
    await system.close()
    await system.start()
    with pytest.raises(DrainingError):
        await system.ref("Counter", "a").invoke("add")


async def test_a_second_more_urgent_drain_shortens_the_first(host: Host) -> None:
    system = host(Counter)
    call = asyncio.create_task(system.ref("Counter", "a").invoke("wait"))
    await settle()
    patient = asyncio.create_task(system.drain(3600.0))
    await settle()
    await system.close()
    await patient
    with pytest.raises(DrainingError):
        await call


async def test_the_end_leaves_no_task(host: Host) -> None:
    before = asyncio.all_tasks()
    async with host(Counter) as system:
        await system.ref("Counter", "a").invoke("add")
        assert asyncio.all_tasks() != before
    assert asyncio.all_tasks() == before


# ---------------------------------------------------------------- looking


async def test_a_snapshot_tells_what_every_actor_does(host: Host) -> None:
    system = host(Counter)
    instance = await opened(system, "a")
    calls = [asyncio.create_task(system.ref("Counter", "a").invoke(method)) for method in ("wait", "add")]
    await settle()
    await system.ref("Counter", "b").invoke("add")
    first, second = system.snapshot()
    assert (str(first.reference), first.state, first.mailbox_depth, first.calls) == ("Counter:a", "busy", 1, 1)
    assert (str(second.reference), second.state, second.mailbox_depth, second.calls) == ("Counter:b", "idle", 0, 1)
    assert first.idle == 0.0 <= second.idle
    assert system.in_flight == 2
    assert repr(system) == "<ActorSystem (default:node-1) active, 2 actors, 2 calls in flight>"
    instance.go.set()
    for call in calls:
        await call
    assert system.in_flight == 0


async def test_a_snapshot_is_limited_and_of_one_type_on_request(host: Host) -> None:
    @actor("Other")
    class Other:
        async def get(self) -> Json:
            return None

    system = host(Counter, Other)
    for key in "abc":
        await system.ref("Counter", key).invoke("add")
    await system.ref("Other", "x").invoke("get")
    assert len(system.snapshot(limit=2)) == 2
    assert [view.reference.addressable_type for view in system.snapshot("Other")] == ["Other"]
    assert (system.count(), system.count("Counter"), system.count("Nothing")) == (4, 3, 0)
    assert system.types == ("Counter", "Other")


async def test_a_task_of_ours_that_breaks_is_logged(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise RuntimeError("a defect")

    system = host(Counter)
    task = system._spawn(breaks(), "the task")
    await asyncio.wait([task])
    await settle()
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == ["the task failed"]
