"""The connections to Raft's peers: whose answers count, what a slow, lost or replaced peer costs, and what it does not.

What delays whom is shown by the order of events: the slow thing is not over while the quick ones go on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import pytest

from orbit_lite.errors import (
    ConfigurationError,
    ConnectionLost,
    Executed,
    NodeNotFound,
    OrbitError,
    OverloadedError,
    Status,
)
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    NodeId,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    ClusterMismatch,
    Configuration,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    LogStore,
    PreVoteRequest,
    PreVoteResponse,
    RaftConsensus,
    ReadIndexRequest,
    ReadIndexResponse,
    Request,
    Response,
    SnapshotMeta,
    TimeoutNowRequest,
    TimeoutNowResponse,
    WipedNode,
)
from orbit_lite.rpc import (
    Channel,
    Deadline,
    FailedPrecondition,
    Server,
    ServerConfig,
    Unimplemented,
    current_call,
    deadline_scope,
)
from orbit_lite.services import GrpcRaftTransport, RaftServer, raft_services, start_raft_server
from orbit_lite.services.raft_links import MOST_OPEN, Purpose
from orbit_lite.storage import MemoryLogStore
from orbit_proto.orbit import lite
from orbit_proto.orbit.consensus import (
    AppendEntriesRequestProto,
    AppendEntriesResponseProto,
    RaftConsensusBase,
    RaftConsensusStub,
)

ME, OTHER, THIRD = NodeId("me"), NodeId("other"), NodeId("third")
BEAT = AppendEntriesRequest(2, ME, 4, 1, (), 4)
BEATEN = AppendEntriesResponse(2, True, OTHER, 4)
CHUNK = InstallSnapshotRequest(2, ME, SnapshotMeta(7, 2, Configuration("default"), 1 << 21, "ab"), 0, bytes(1 << 21))

Handle = Callable[[Request], Awaitable[Response]]


async def beat(request: Request) -> Response:
    assert isinstance(request, AppendEntriesRequest)
    return BEATEN


class Node:
    """A node that answers with `handle`."""

    def __init__(self, node_id: NodeId = OTHER, handle: Handle = beat, *, store_id: str = "a store") -> None:
        self.node_id = node_id
        self.cluster_id = "default"
        self.store: LogStore = MemoryLogStore(store_id)
        self._handle = handle
        self.clients: list[str] = []  # the connection of each request

    async def handle(self, request: Request, *, transfer: bool = False) -> Response:
        call = current_call()
        assert call is not None
        self.clients.append(str(call.peer))
        return await self._handle(request)

    async def propose_forwarded(self, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        return 2, 5

    async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
        await asyncio.sleep(0)  # as a store in a thread: others get their turn
        if node_id not in self.store.peers():
            self.store.remember_peer(node_id, store_id)


class OrbitRs(RaftConsensusBase):
    """Acknowledges everything and stores nothing, as Orbit-RS does."""

    async def append_entries(
        self, append_entries_request_proto: AppendEntriesRequestProto
    ) -> AppendEntriesResponseProto:
        return AppendEntriesResponseProto(term=2, success=True, follower_id="(default:other)", last_log_index=4)


class Listen(Protocol):
    async def __call__(
        self, node: Node, address: str = "127.0.0.1:0", *, require_identity: bool = True
    ) -> RaftServer: ...


class Speak(Protocol):
    def __call__(self, address: str, *, request_timeout: float = 10.0) -> GrpcRaftTransport: ...


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def listen(stack: AsyncExitStack) -> Listen:
    async def start(node: Node, address: str = "127.0.0.1:0", *, require_identity: bool = True) -> RaftServer:
        server = await start_raft_server(node, address, require_identity=require_identity)
        return await stack.enter_async_context(server)

    return start


@pytest.fixture
def speak(stack: AsyncExitStack) -> Speak:
    """A transport of `me` that finds `other` at the address."""

    def start(address: str, *, request_timeout: float = 10.0) -> GrpcRaftTransport:
        transport = GrpcRaftTransport(ME, {OTHER: address}, 5.0, request_timeout)
        transport.bind(Node(ME, store_id="mine"))
        stack.push_async_callback(transport.close)
        return transport

    return start


class Relay:
    """Forwards connections to an address; one that has said more than `patience` bytes is read no further."""

    def __init__(self, to: str, *, patience: int) -> None:
        self._host, _, port = to.rpartition(":")
        self._port = int(port)
        self._patience = patience
        self.stalled = asyncio.Event()
        self.go_on = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 14)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection(self._host, self._port)
        loop = asyncio.get_running_loop()
        for work in (self._forward(reader, far, self._patience), self._forward(near, writer, None)):
            self._tasks.add(loop.create_task(work))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: int | None) -> None:
        try:
            said = 0
            while data := await reader.read(1 << 14):
                said += len(data)
                writer.write(data)
                await writer.drain()
                if patience is not None and said > patience:
                    self.stalled.set()
                    await self.go_on.wait()
        except ConnectionError:
            pass
        finally:
            writer.close()


# ---------------------------------------------------------------- whose answers count


async def test_answers_of_an_orbit_rs_node_that_took_the_address_over_do_not_count(
    listen: Listen, speak: Speak, stack: AsyncExitStack
) -> None:
    server = await listen(Node())
    transport = speak(server.address)
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    await server.close()
    impostor = await stack.enter_async_context(Server([OrbitRs()]))
    await impostor.start("127.0.0.1", int(server.address.rpartition(":")[2]))
    for _ in range(3):
        with pytest.raises(OrbitError):
            await transport.send_append_entries(OTHER, BEAT)


async def test_an_answer_on_another_connection_than_the_identified_one_does_not_count(
    listen: Listen, speak: Speak
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Response:
        asked.set()
        await answer.wait()
        return BEATEN

    transport = speak((await listen(Node(handle=wait))).address)
    waiting = asyncio.create_task(transport.send_append_entries(OTHER, BEAT))
    await asked.wait()
    # As if the request had been sent again by itself, to whoever took the address over.
    transport._links[OTHER]._lanes[Purpose.CONSENSUS].channel.connections_made += 1
    answer.set()
    with pytest.raises(ConnectionLost, match="it is not known whose it is"):
        await waiting
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN


async def test_a_peer_that_restarts_with_its_store_is_asked_again_at_once(listen: Listen, speak: Speak) -> None:
    node = Node()
    server = await listen(node)
    transport = speak(server.address)
    for _ in range(3):
        assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
        await server.close()
        server = await listen(node, server.address)


async def test_a_peer_that_restarts_without_its_store_does_not_count(listen: Listen, speak: Speak) -> None:
    server = await listen(Node())
    transport = speak(server.address)
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    await server.close()
    await listen(Node(store_id="a new one"), server.address)
    for _ in range(2):
        with pytest.raises(WipedNode) as refused:
            await transport.send_append_entries(OTHER, BEAT)
        assert not refused.value.is_us


@pytest.mark.parametrize(
    ("send", "request_", "answer"),
    [
        ("send_append_entries", BEAT, AppendEntriesResponse(2, True, THIRD, 4)),
        ("send_vote_request", VoteRequest(2, ME, 1, 1), VoteResponse(2, True, THIRD)),
        ("send_transfer_vote", VoteRequest(2, ME, 1, 1), VoteResponse(2, True, THIRD)),
        ("send_pre_vote", PreVoteRequest(2, ME, 1, 1), PreVoteResponse(2, True, THIRD)),
        ("send_timeout_now", TimeoutNowRequest(2, ME), TimeoutNowResponse(2, THIRD)),
        ("send_install_snapshot", CHUNK, InstallSnapshotResponse(2, THIRD, 1)),
    ],
)
async def test_an_answer_in_the_name_of_another_does_not_count(
    listen: Listen, speak: Speak, send: str, request_: Request, answer: Response
) -> None:
    async def lie(request: Request) -> Response:
        return answer

    transport = speak((await listen(Node(handle=lie))).address)
    with pytest.raises(ClusterMismatch, match=r"\(default:other\) answers in the name of \(default:third\)"):
        await getattr(transport, send)(OTHER, request_)


async def test_a_request_in_the_name_of_another_is_refused(listen: Listen, speak: Speak) -> None:
    node = Node()
    transport = speak((await listen(node)).address)
    with pytest.raises(FailedPrecondition, match=r"\(default:me\) sends a message of \(default:third\)"):
        await transport.send_append_entries(OTHER, AppendEntriesRequest(2, THIRD, 4, 1, (), 4))
    assert not node.clients


async def test_a_peer_that_refuses_is_asked_anew_who_it_is(listen: Listen, speak: Speak) -> None:
    node = Node()
    transport = speak((await listen(node)).address)
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    node.node_id = THIRD
    with pytest.raises(FailedPrecondition, match=r"this is \(default:third\), not \(default:other\)"):
        await transport.send_append_entries(OTHER, BEAT)
    with pytest.raises(ClusterMismatch, match=r"\(default:third\) answers where \(default:other\) was expected"):
        await transport.send_append_entries(OTHER, BEAT)
    node.node_id = OTHER
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN


async def test_of_two_stores_under_one_new_name_only_the_first_counts(
    listen: Listen, speak: Speak, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node()
    address = (await listen(node)).address
    first, second = speak(address), speak(address)
    second.bind(Node(ME, store_id="another"))
    outcomes = await asyncio.gather(
        *(transport.send_append_entries(OTHER, BEAT) for transport in (first, second, first, second)),
        return_exceptions=True,
    )
    remembered = node.store.peers()[ME]
    assert remembered in ("mine", "another")
    winner = 0 if remembered == "mine" else 1
    assert outcomes[winner::2] == [BEATEN, BEATEN]
    assert [type(outcome) for outcome in outcomes[1 - winner :: 2]] == [WipedNode, WipedNode]
    assert caplog.text.count("refuses Raft requests from 127.0.0.1") == 1


async def test_consensus_remembers_the_first_of_two_stores_that_come_at_once() -> None:
    store = MemoryLogStore()
    node = RaftConsensus(ME, [ME, OTHER], store=store)
    transport = GrpcRaftTransport(ME, {})
    await node.start(transport)
    await asyncio.gather(*(node.remember_peer(OTHER, name) for name in ("first", "second", "third")))
    assert store.peers() == {OTHER: "first"}
    await node.stop()
    await transport.close()


async def test_a_peer_whose_name_was_taken_while_it_was_asked_does_not_count(listen: Listen, speak: Speak) -> None:
    class Hurried(Node):
        async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
            self.store.remember_peer(node_id, "the store of a node that has just called")

    transport = speak((await listen(Node())).address)
    transport.bind(Hurried(ME))
    with pytest.raises(WipedNode):
        await transport.send_append_entries(OTHER, BEAT)


async def test_a_transport_that_speaks_for_nobody_says_so(listen: Listen) -> None:
    transport = GrpcRaftTransport(ME, {OTHER: (await listen(Node())).address})
    with pytest.raises(ConfigurationError, match="speaks for nobody"):
        await transport.send_append_entries(OTHER, BEAT)
    await transport.close()


async def test_what_a_peer_does_not_know_is_unimplemented(stack: AsyncExitStack, speak: Speak) -> None:
    class Older(lite.RaftPeerBase):
        async def identify(self, identify_request: lite.IdentifyRequest) -> lite.IdentifyResponse:
            return lite.IdentifyResponse("(default:other)", "default", "a store")

    server = await stack.enter_async_context(Server([Older(), OrbitRs()]))
    await server.start("127.0.0.1", 0)
    transport = speak(f"127.0.0.1:{server.port}")
    with pytest.raises(Unimplemented):
        await transport.send_pre_vote(OTHER, PreVoteRequest(2, ME, 1, 1))
    assert (await transport.send_append_entries(OTHER, BEAT)).success


# ---------------------------------------------------------------- what delays whom


async def test_a_snapshot_that_a_slow_peer_does_not_take_delays_no_heartbeat(listen: Listen, speak: Speak) -> None:
    async def handle(request: Request) -> Response:
        return BEATEN if isinstance(request, AppendEntriesRequest) else InstallSnapshotResponse(2, OTHER, 1 << 21)

    server = await listen(Node(handle=handle))
    async with Relay(server.address, patience=1 << 16) as relay:
        transport = speak(relay.address)
        sending = asyncio.create_task(transport.send_install_snapshot(OTHER, CHUNK))
        await relay.stalled.wait()
        for _ in range(50):
            assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
        assert not sending.done()
        relay.go_on.set()
        assert (await sending).next_offset == 1 << 21


async def test_a_peer_that_is_slow_to_store_entries_still_gets_heartbeats(listen: Listen, speak: Speak) -> None:
    stored, began = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        assert isinstance(request, AppendEntriesRequest)
        if request.prev_log_index == 0:
            began.set()
            await stored.wait()
        return BEATEN

    transport = speak((await listen(Node(handle=handle))).address)
    slow = asyncio.create_task(transport.send_append_entries(OTHER, AppendEntriesRequest(2, ME, 0, 0, (), 0)))
    await began.wait()
    for _ in range(50):
        assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    assert not slow.done()
    stored.set()
    assert await slow == BEATEN


async def test_any_number_of_clients_that_wait_for_the_leader_delay_no_vote(listen: Listen, speak: Speak) -> None:
    asked: asyncio.Queue[None] = asyncio.Queue()
    answer = asyncio.Event()

    async def handle(request: Request) -> Response:
        if isinstance(request, VoteRequest):
            return VoteResponse(2, True, OTHER)
        asked.put_nowait(None)
        await answer.wait()
        return ReadIndexResponse(2, 7, OTHER)

    transport = speak((await listen(Node(handle=handle))).address)
    reads = [asyncio.create_task(transport.send_read_index(OTHER, ReadIndexRequest(2, ME))) for _ in range(MOST_OPEN)]
    for _ in reads:
        await asked.get()
    with pytest.raises(OverloadedError, match="200 requests to") as refused:
        await transport.forward_proposal(OTHER, ())
    assert refused.value.executed is Executed.NO
    assert (await transport.send_vote_request(OTHER, VoteRequest(2, ME, 1, 1))).vote_granted
    assert not any(read.done() for read in reads)
    answer.set()
    assert {response.index for response in await asyncio.gather(*reads)} == {7}
    assert await transport.forward_proposal(OTHER, ()) == (2, 5)


async def test_a_large_message_to_an_actor_on_the_same_server_delays_no_heartbeat(
    stack: AsyncExitStack, speak: Speak
) -> None:
    class Large(lite.NodeAdminBase):
        """Anything that takes a large message."""

        async def list_actors(self, list_actors_request: lite.ListActorsRequest) -> lite.ListActorsResponse:
            return lite.ListActorsResponse(total=len(list_actors_request.addressable_type))

    size = 16_000_000
    config = ServerConfig(max_message_size=16 << 20)
    server = await stack.enter_async_context(Server([*raft_services(Node()), Large()], config=config))
    await server.start("127.0.0.1", 0)
    address = f"127.0.0.1:{server.port}"
    transport = speak(address)
    async with Relay(address, patience=1 << 16) as relay, Channel.from_url(relay.address) as channel:
        request = lite.ListActorsRequest(addressable_type="x" * size)
        sending = asyncio.create_task(lite.NodeAdminStub(channel).list_actors(request))
        await relay.stalled.wait()
        for _ in range(50):
            assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
        assert not sending.done()
        relay.go_on.set()
        while not sending.done():
            assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
        assert (await sending).total == size


async def test_a_heartbeat_to_all_waits_for_none_before_it_asks_the_next(listen: Listen, speak: Speak) -> None:
    everybody_asked = asyncio.Barrier(3)

    def answering(node_id: NodeId) -> Handle:
        async def handle(request: Request) -> Response:
            await everybody_asked.wait()
            return AppendEntriesResponse(2, True, node_id, 4)

        return handle

    names = [NodeId(f"n{number}") for number in range(3)]
    transport = speak("127.0.0.1:1")
    for name in names:
        server = await listen(Node(name, answering(name), store_id=name.key))
        await transport.update_node_address(name, server.address)
    answers = await transport.broadcast_heartbeat(names, BEAT)
    assert [answer.follower_id for answer in answers] == names


# ---------------------------------------------------------------- lost peers


async def test_requests_that_fail_late_leave_the_new_connection_alone(listen: Listen, speak: Speak) -> None:
    asked: asyncio.Queue[None] = asyncio.Queue()
    is_back = False

    async def handle(request: Request) -> Response:
        if is_back:
            return BEATEN
        asked.put_nowait(None)
        await asyncio.Event().wait()
        raise AssertionError

    node = Node(handle=handle)
    server = await listen(node)
    transport = speak(server.address)
    lost = [asyncio.create_task(transport.send_append_entries(OTHER, BEAT)) for _ in range(20)]
    for _ in lost:
        await asked.get()
    await server.close()
    is_back = True
    node.clients.clear()
    await listen(node, server.address)
    found = await asyncio.gather(*(transport.send_append_entries(OTHER, BEAT) for _ in range(20)))
    assert found == [BEATEN] * 20
    assert all(isinstance(error, OrbitError) for error in await asyncio.gather(*lost, return_exceptions=True))
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    assert len(set(node.clients)) == 1


async def test_a_peer_that_is_silent_on_a_live_connection_is_dialled_again(listen: Listen, speak: Speak) -> None:
    async def handle(request: Request) -> Response:
        if len(node.clients) == 1:
            await asyncio.Event().wait()
        return BEATEN

    node = Node(handle=handle)
    transport = speak((await listen(node)).address, request_timeout=1.0)
    with pytest.raises(TimeoutError):
        await transport.send_append_entries(OTHER, BEAT)
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    assert len(set(node.clients)) == 2


async def test_a_silent_lane_does_not_take_the_other_one_with_it(listen: Listen, speak: Speak) -> None:
    async def handle(request: Request) -> Response:
        if isinstance(request, InstallSnapshotRequest):
            chunks.append(node.clients[-1])
            return InstallSnapshotResponse(2, OTHER, 1 << 21)
        await asyncio.Event().wait()
        raise AssertionError

    node, chunks = Node(handle=handle), list[str]()
    transport = speak((await listen(node)).address, request_timeout=1.0)
    await transport.send_install_snapshot(OTHER, dataclasses.replace(CHUNK, data=b""))
    with pytest.raises(TimeoutError):
        await transport.send_append_entries(OTHER, BEAT)
    await transport.send_install_snapshot(OTHER, dataclasses.replace(CHUNK, data=b""))
    assert len(set(chunks)) == 1


@pytest.mark.parametrize("require_identity", [True, False])
async def test_a_peer_that_was_unreachable_for_long_is_dialled_at_once(
    listen: Listen, stack: AsyncExitStack, require_identity: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    transport = GrpcRaftTransport(ME, {OTHER: address}, require_identity=require_identity)
    transport.bind(Node(ME))
    stack.push_async_callback(transport.close)
    for _ in range(10):
        with pytest.raises(OrbitError):
            await transport.send_append_entries(OTHER, BEAT)
    await listen(Node(), address, require_identity=require_identity)
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN


async def test_an_address_that_is_told_again_changes_nothing(listen: Listen, speak: Speak) -> None:
    node = Node()
    transport = speak((await listen(node)).address)
    for _ in range(3):
        await transport.update_node_address(OTHER, transport.addresses()[OTHER])
        assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    assert len(set(node.clients)) == 1


async def test_the_deadline_of_a_client_that_is_being_served_is_not_rafts(listen: Listen, speak: Speak) -> None:
    transport = speak((await listen(Node())).address)
    with deadline_scope(Deadline.after(0.0)):
        assert await transport.send_append_entries(OTHER, BEAT) == BEATEN


async def test_a_peer_that_never_finishes_the_handshake_costs_the_connect_timeout(stack: AsyncExitStack) -> None:
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    transport = GrpcRaftTransport(ME, {OTHER: f"127.0.0.1:{silent.getsockname()[1]}"}, 0.1, 60.0)
    transport.bind(Node(ME))
    stack.push_async_callback(transport.close)
    with pytest.raises(OrbitError, match=r"no answer within 0\.1 s") as refused:
        await transport.send_append_entries(OTHER, BEAT)
    assert refused.value.code is Status.UNAVAILABLE


async def test_a_request_under_way_to_an_old_address_fails_and_the_next_goes_to_the_new_one(
    listen: Listen, speak: Speak
) -> None:
    asked = asyncio.Event()

    async def never(request: Request) -> Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    new = Node()
    transport = speak((await listen(Node(handle=never))).address)
    waiting = asyncio.create_task(transport.send_append_entries(OTHER, BEAT))
    await asked.wait()
    await transport.update_node_address(OTHER, (await listen(new)).address)
    with pytest.raises(OrbitError):
        await waiting
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    assert len(new.clients) == 1


async def test_what_is_no_address_makes_its_node_unreachable_and_no_more(listen: Listen, speak: Speak) -> None:
    transport = speak((await listen(Node())).address)
    await transport.update_node_address(THIRD, "no address at all")
    with pytest.raises(OrbitError):
        await transport.send_append_entries(THIRD, BEAT)
    assert await transport.broadcast_heartbeat([THIRD, OTHER], BEAT) == [BEATEN]


async def test_nothing_is_sent_after_close(listen: Listen, speak: Speak) -> None:
    transport = speak((await listen(Node())).address)
    assert await transport.send_append_entries(OTHER, BEAT) == BEATEN
    await transport.close()
    await transport.close()
    await transport.update_node_address(OTHER, "127.0.0.1:1")
    with pytest.raises(NodeNotFound):
        await transport.send_append_entries(OTHER, BEAT)


async def test_cancelling_a_request_leaves_the_connection_to_the_others(listen: Listen, speak: Speak) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Response:
        asked.set()
        await answer.wait()
        return BEATEN

    node = Node(handle=wait)
    transport = speak((await listen(node)).address)
    given_up, kept = (asyncio.create_task(transport.send_append_entries(OTHER, BEAT)) for _ in range(2))
    await asked.wait()
    given_up.cancel()
    await asyncio.wait([given_up])
    assert given_up.cancelled()
    answer.set()
    assert await kept == BEATEN
    assert len(set(node.clients)) == 1


# ---------------------------------------------------------------- the server's side


async def test_a_server_runs_until_it_is_cancelled() -> None:
    node = Node()
    server = await start_raft_server(node, "127.0.0.1:0", require_identity=False)
    running = asyncio.create_task(server.run())
    async with Channel.from_url(server.address) as channel:
        request = AppendEntriesRequestProto(term=2, leader_id="me")
        assert (await RaftConsensusStub(channel).append_entries(request)).success
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        with pytest.raises(OrbitError):
            await RaftConsensusStub(channel).append_entries(request)


async def test_a_server_that_is_closed_has_run_to_its_end() -> None:
    server = await start_raft_server(Node(), "[::1]:0")
    assert server.address.startswith("[::1]:")
    running = asyncio.create_task(server.run())
    await server.close()
    await running
