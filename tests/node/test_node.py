"""A whole node: start, peers, calls across nodes, drain, stop. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from orbit_lite.actors import ActorContext, actor
from orbit_lite.converters import MessageConverter
from orbit_lite.errors import (
    AddressableNotFound,
    ConfigurationError,
    Executed,
    InvocationFailed,
    IoError,
    NetworkError,
    TimeoutError,
)
from orbit_lite.model import AddressableReference, InvocationRequest, Message, NodeId, NodeStatus
from orbit_lite.node import DrainStep, NodeConfig, NodeState, OrbitClient, OrbitNode
from orbit_lite.rpc import Channel, FailedPrecondition
from orbit_lite.services import AdminClient, Announcement, HealthClient, ServingStatus
from orbit_lite.services.stream import OPEN_STREAM
from orbit_lite.telemetry import configure_logging
from orbit_proto.orbit.shared import MessageProto


class Start(Protocol):
    """Starts a node that announces itself to `seeds`; it is stopped after the test."""

    async def __call__(self, key: str, *seeds: OrbitNode, **settings: Any) -> OrbitNode: ...


@actor("Tally")
class Tally:
    """Counts, and says where."""

    context: ActorContext

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()

    async def add(self, number: int) -> list[object]:
        self.count += number
        return [self.count, self.context.node_id.key]

    async def hold(self) -> str:
        ENTERED.set()
        await RELEASE.wait()
        return "done"

    async def fail(self) -> None:
        raise ValueError("secret")


ENTERED = asyncio.Event()
RELEASE = asyncio.Event()


@pytest.fixture(autouse=True)
def fresh_gates() -> None:
    global ENTERED, RELEASE
    ENTERED, RELEASE = asyncio.Event(), asyncio.Event()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(key: str, *seeds: OrbitNode, **settings: Any) -> OrbitNode:
            config = NodeConfig(
                node_id=NodeId(key),
                port=0,
                announce_interval=0.1,
                lease_duration=5.0,
                drain_timeout=5.0,
                seed_nodes={seed.node_id: seed.url for seed in seeds},
            )
            node = OrbitNode(config, **settings)
            node.register(Tally)
            return await stack.enter_async_context(node)

        yield begin


async def settled(*nodes: OrbitNode) -> None:
    """Until every node sees all others as hosts."""
    while any(  # noqa: ASYNC110  (what a node has heard is no event of it)
        len(node.membership.hosts_of("Tally")) != len(nodes) for node in nodes
    ):
        await asyncio.sleep(0.01)


async def test_a_node_answers_as_soon_as_start_has_returned(start: Start) -> None:
    node = await start("n1")
    assert node.state is NodeState.ACTIVE
    assert node.url == f"http://127.0.0.1:{node.port}"
    async with Channel.from_url(node.url) as channel:
        assert await HealthClient(channel).check("") is ServingStatus.SERVING
        report = await AdminClient(channel).status()
    assert report.node == node.info
    assert report.cluster_id == "default"


async def test_nodes_that_know_one_seed_find_each_other(start: Start) -> None:
    first = await start("n1")
    others = [await start("n2", first), await start("n3", first)]
    await settled(first, *others)
    async with Channel.from_url(others[1].url) as channel:
        views = await AdminClient(channel).nodes()
    assert {view.node.id.key for view in views} == {"n1", "n2", "n3"}
    assert [view.node.id.key for view in views if view.is_self] == ["n3"]


async def test_an_actor_lives_once_whichever_node_is_called(start: Start) -> None:
    first = await start("n1")
    second = await start("n2", first)
    await settled(first, second)
    homes = set()
    for key in map(str, range(8)):
        async with OrbitClient((first.url, second.url)) as client:
            results: list[Any] = [await client.actor("Tally", key).invoke("add", 1) for _ in range(4)]
        results.append(await first.actor("Tally", key).invoke("add", 1))
        results.append(await second.actor("Tally", key).invoke("add", 1))
        assert [count for count, _ in results] == [1, 2, 3, 4, 5, 6]
        assert len({home for _, home in results}) == 1
        homes.add(results[0][1])
    assert homes == {"n1", "n2"}


async def test_an_unknown_type_is_not_found_on_any_node(start: Start) -> None:
    node = await start("n1")
    async with OrbitClient(node.url) as client:
        with pytest.raises(AddressableNotFound, match="Nothing:x") as caught:
            await client.actor("Nothing", "x").invoke("add", 1)
    assert caught.value.executed is Executed.NO


async def test_an_actor_that_raises_leaks_nothing_and_the_node_goes_on(start: Start) -> None:
    node = await start("n1")
    async with OrbitClient(node.url) as client:
        with pytest.raises(InvocationFailed) as caught:
            await client.actor("Tally", "x").invoke("fail")
        assert "secret" not in str(caught.value)
        assert "ValueError" in str(caught.value)
        assert await client.actor("Tally", "x").invoke("add", 2) == [2, "n1"]


async def test_a_drain_finishes_what_runs_and_turns_new_work_away(start: Start) -> None:
    first = await start("n1")
    second = await start("n2", first)
    await settled(first, second)
    async with OrbitClient(first.url) as client:
        running = asyncio.create_task(client.actor("Tally", "a").invoke("hold"))
        await ENTERED.wait()
        home = first if first.actors.in_flight and not second.actors.snapshot() else second
        draining = asyncio.create_task(home.drain())
        while home.state is not NodeState.DRAINING:  # noqa: ASYNC110  (a state is no event)
            await asyncio.sleep(0)
        RELEASE.set()
        assert await running == "done"
        report = await draining
    assert report.completed
    assert [result.step for result in report.steps] == list(DrainStep)
    other = second if home is first else first
    assert other.membership.hosts_of("Tally") == (other.node_id,)


async def test_a_drain_that_is_asked_for_by_rpc_does_not_wait_for_itself(start: Start) -> None:
    node = await start("n1")
    async with Channel.from_url(node.url) as channel:
        summary = await AdminClient(channel).drain(2.0, timeout=5.0)
        assert summary.cancelled_calls == 0
        assert await HealthClient(channel).check("") is ServingStatus.NOT_SERVING
        with pytest.raises(NetworkError):
            async with OrbitClient(node.url, request_timeout=2.0) as client:
                await client.actor("Tally", "a").invoke("add", 1)
    assert node.info.status is NodeStatus.DRAINING


async def test_an_operators_stop_ends_serve_forever() -> None:
    node = OrbitNode(port=0)
    serving = asyncio.create_task(node.serve_forever())
    while not node.url:  # noqa: ASYNC110  (a state is no event)
        await asyncio.sleep(0)
    async with Channel.from_url(node.url) as channel:
        await AdminClient(channel).drain(1.0, stop=True, timeout=5.0)
        await serving
    assert node.state is NodeState.STOPPED


async def test_a_peer_that_vanishes_ends_its_calls_with_an_honest_error(start: Start) -> None:
    first = await start("n1")
    second = await start("n2", first)
    await settled(first, second)
    key = "0"
    while await home_of(first, key) != second.node_id:
        key += "0"
    call = asyncio.create_task(first.actor("Tally", key).invoke("hold"))
    await ENTERED.wait()
    await second.stop()
    with pytest.raises((NetworkError, TimeoutError)) as caught:
        await call
    assert caught.value.executed is Executed.MAYBE


async def home_of(node: OrbitNode, key: str) -> NodeId:
    return await node.membership.resolve_addressable(node.actor("Tally", key).reference)


async def test_another_clusters_node_is_refused(start: Start) -> None:
    node = await start("n1")
    stranger = await start("n9", cluster_id="elsewhere")
    async with Channel.from_url(node.url) as channel:
        with pytest.raises(Exception, match="elsewhere"):
            await AdminClient(channel).announce(stranger.announcement())
    with pytest.raises(FailedPrecondition, match="elsewhere"):
        await AdminClient(stranger.pool.channel(node.url)).status()
    assert node.membership.hosts_of("Tally") == (node.node_id,)


async def test_a_second_node_under_one_id_is_told(start: Start) -> None:
    node = await start("n1")
    async with Channel.from_url(node.url) as channel:
        with pytest.raises(Exception, match="an id of its own"):
            await AdminClient(channel).announce(Announcement(node.info, "default", node.incarnation + 1))


async def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = OrbitNode(port=taken.getsockname()[1])
        with pytest.raises(IoError, match="another process has it"):
            await node.start()
    assert node.state is NodeState.STOPPED


async def test_a_node_starts_only_once(start: Start) -> None:
    node = await start("n1")
    with pytest.raises(ConfigurationError, match="starts once"):
        await node.start()


async def test_an_actor_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no\.such\.module"):
        await OrbitNode(port=0, actor_modules=("no.such.module",)).start()


def test_an_unknown_setting_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="prot"):
        OrbitNode(prot=1)


async def test_a_client_that_leaves_when_its_calls_are_done_is_no_error(start: Start) -> None:
    node = await start("n1")
    async with OrbitClient(node.url) as client:
        await client.actor("Tally", "a").invoke("add", 1)
    async with Channel.from_url(node.url) as channel:
        report = await AdminClient(channel).status()
    counted = {method.method: (method.calls, method.errors) for method in report.calls}
    assert counted["orbit.shared.ConnectionService/OpenStream"] == (1, 0)


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_client_that_drops_its_stream_is_an_error_only_while_calls_run(start: Start, is_busy: bool) -> None:
    """Clients that are done with a stream may reset it, and many have no other way to end one."""
    node = await start("n1")
    async with Channel.from_url(node.url) as channel:
        async with channel.request(OPEN_STREAM.path, OPEN_STREAM, MessageProto, MessageProto) as stream:
            method, arguments = ("hold", "[]") if is_busy else ("add", "[1]")
            request = InvocationRequest(AddressableReference.of("Tally", "a"), method, arguments)
            await stream.send_message(MessageConverter.to_proto(Message(1, request)))
            await (ENTERED.wait() if is_busy else stream.recv_message())
            await stream.cancel()
        assert node.server is not None
        while node.server.in_flight:  # noqa: ASYNC110  # it hears of the reset later
            await asyncio.sleep(0)
        report = await AdminClient(channel).status()
    counted = {method.method: (method.calls, method.errors) for method in report.calls}
    assert counted[OPEN_STREAM.path.removeprefix("/")] == (1, int(is_busy))


async def test_a_new_log_level_counts_for_the_loggers_of_actors_too(start: Start) -> None:
    node = await start("n1")
    root, actors = logging.getLogger(), logging.getLogger("shop.accounts")
    before = root.level
    handler = configure_logging("info", stream=io.StringIO())
    try:
        node.apply(dataclasses.replace(node.config, log_level="debug"))
        assert actors.isEnabledFor(logging.DEBUG)
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(before)


async def test_new_seeds_and_log_level_are_taken_over_while_the_node_runs(start: Start) -> None:
    first, second = await start("n1"), await start("n2")
    changes = second.apply(NodeConfig(node_id=second.node_id, port=0, seed_nodes={first.node_id: first.url}))
    assert "cluster.seed_nodes" in changes.applicable
    await settled(first, second)
