"""Transaction messages as they are sent: to the right node, again where that is right, each target accounted for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_lite.directory import StaticNodeResolver
from orbit_lite.errors import (
    AddressableNotFound,
    ConnectError,
    Executed,
    InvocationFailed,
    NodeNotFound,
    OrbitError,
    Status,
    TimeoutError,
)
from orbit_lite.model import (
    AddressableReference,
    Commit,
    NodeId,
    StringKey,
    TransactionId,
    TransactionMessage,
    TransactionState,
)
from orbit_lite.rpc import (
    ConnectionPool,
    InvalidArgument,
    PoolConfig,
    RetryConfig,
    Server,
    TransportConfig,
    Unavailable,
)
from orbit_lite.services import GrpcTransactionMessageSender, OrbitTransactionService
from orbit_proto.orbit.transactions import (
    BroadcastMessageRequest,
    BroadcastMessageResponse,
    TransactionMessageRequest,
    TransactionMessageResponse,
    TransactionServiceBase,
)

SELF = NodeId("n0")
CONFIG = TransportConfig(retry_attempts=2, retry_backoff_initial=0.0)
MESSAGE = Commit(TransactionId("t1", SELF, datetime(2026, 1, 1, tzinfo=UTC)))
A, B, C = (AddressableReference.of("Account", key) for key in "abc")

#: What a peer does with a request: an answer, or an exception to raise.
Answer = Callable[[Any], object]


class Peer(TransactionServiceBase):
    """Records requests, and answers what the test says."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[Any] = []
        self.answer = answer

    async def send_transaction_message(
        self, transaction_message_request: TransactionMessageRequest
    ) -> TransactionMessageResponse:
        answer = self._take(transaction_message_request)
        assert isinstance(answer, TransactionMessageResponse)
        return answer

    async def broadcast_transaction_message(
        self, broadcast_message_request: BroadcastMessageRequest
    ) -> BroadcastMessageResponse:
        answer = self._take(broadcast_message_request)
        assert isinstance(answer, BroadcastMessageResponse)
        return answer

    def _take(self, request: object) -> object:
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer


def accepting(request: object) -> TransactionMessageResponse:
    return TransactionMessageResponse(True)


def refusing(text: str) -> Answer:
    return lambda request: TransactionMessageResponse(False, text)


def failing(*errors: str) -> Answer:
    return lambda request: BroadcastMessageResponse(len(request.targets) - len(errors), len(errors), list(errors))


def in_turn(*answers: object) -> Answer:
    left = list(answers)
    return lambda request: left.pop(0)


class Participant:
    """Records what it is told."""

    def __init__(self, refused: str | None = None) -> None:
        self.handled: list[tuple[AddressableReference, TransactionMessage, NodeId]] = []
        self._refused = refused

    async def handle(self, target: AddressableReference, message: TransactionMessage, *, sender: NodeId) -> None:
        self.handled.append((target, message, sender))
        if str(target.key) == self._refused:
            raise InvocationFailed.of("commit", target.addressable_type, "locked")

    async def status(self, transaction_id: str) -> tuple[TransactionState, tuple[AddressableReference, ...]] | None:
        return None


class Directory:
    """A resolver that the test writes."""

    def __init__(self) -> None:
        self.hosts: dict[AddressableReference, NodeId] = {}
        self.urls: dict[NodeId, str] = {}
        #: Nobody answers for these.
        self.silent: set[object] = set()

    async def resolve_node(self, node_id: NodeId) -> str:
        if node_id in self.silent:
            await asyncio.Event().wait()
        if node_id not in self.urls:
            raise NodeNotFound(str(node_id))
        return self.urls[node_id]

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        if addressable in self.silent:
            await asyncio.Event().wait()
        if addressable not in self.hosts:
            raise AddressableNotFound(str(addressable))
        return self.hosts[addressable]


class Host(Protocol):
    async def __call__(self, key: str, answer: Answer, *targets: AddressableReference) -> Peer: ...


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def sender(directory: Directory) -> AsyncIterator[GrpcTransactionMessageSender]:
    async with GrpcTransactionMessageSender(SELF, directory, CONFIG) as sender:
        yield sender


@pytest.fixture
def host(directory: Directory, serve: Any) -> Host:
    """Start a node of this name that hosts these targets."""

    async def start(key: str, answer: Answer, *targets: AddressableReference) -> Peer:
        peer = Peer(answer)
        server = await serve(peer)
        directory.urls[NodeId(key)] = f"http://127.0.0.1:{server.port}"
        directory.hosts.update((target, NodeId(key)) for target in targets)
        return peer

    return start


@pytest.fixture
def dead() -> Iterator[socket.socket]:
    """An address that is taken, and where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held


def url(held: socket.socket) -> str:
    return f"http://127.0.0.1:{held.getsockname()[1]}"


# ------------------------------------------------------------ one message


async def test_a_message_says_who_sends_it_to_whom_and_how_long_it_may_take(
    sender: GrpcTransactionMessageSender, host: Host
) -> None:
    peer = await host("n1", accepting, A)
    await sender.send_message(A, MESSAGE, timeout=5.0)
    (request,) = peer.requests
    assert request.sender_node_id == "(default:n0)"
    assert (request.target_actor_type, request.target_actor_key) == ("Account", "a")
    assert 0 < request.timeout_ms <= 5000


async def test_a_message_arrives_once_at_the_node_where_its_target_lives(serve: Any) -> None:
    nodes = {NodeId(f"n{number}"): Participant() for number in (1, 2, 3)}
    urls = {}
    for node_id, participant in nodes.items():
        service = OrbitTransactionService(node_id)
        service.register("Account", participant)
        urls[node_id] = f"http://127.0.0.1:{(await serve(service)).port}"
    resolver = StaticNodeResolver(urls)
    async with GrpcTransactionMessageSender(SELF, resolver) as sender:
        targets = [AddressableReference.of("Account", f"k{number}") for number in range(20)]
        for target in targets:
            await sender.send_message(target, MESSAGE)
        for target in targets:
            home = await resolver.resolve_addressable(target)
            heard = {
                node_id: participant.handled.count((target, MESSAGE, SELF)) for node_id, participant in nodes.items()
            }
            assert heard == {node_id: int(node_id == home) for node_id in nodes}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("Invocation failed: x on Account - locked", InvocationFailed, "x on Account - locked"),
        ("Addressable not found: Account:a", AddressableNotFound, "Account:a"),
        ("Timeout: too late", TimeoutError, "too late"),
        ("no such luck", OrbitError, "no such luck"),
        ("", OrbitError, "no reason given"),
    ],
)
async def test_a_refusal_is_an_error_of_its_kind(
    directory: Directory, host: Host, text: str, kind: type[OrbitError], message: str
) -> None:
    await host("n1", refusing(text), A)
    async with GrpcTransactionMessageSender(SELF, directory, TransportConfig(retry_attempts=0)) as sender:
        with pytest.raises(OrbitError) as caught:
            await sender.send_message(A, MESSAGE)
    error = caught.value
    assert type(error) is kind
    assert error.message == error.args[0] == f"Transaction message failed: {message}"
    assert str(error).startswith("Transaction message failed: ")
    assert error.executed is kind.executed
    assert error.peer == directory.urls[NodeId("n1")]


async def test_a_handlers_no_is_not_asked_for_twice(sender: GrpcTransactionMessageSender, host: Host) -> None:
    peer = await host("n1", refusing("Invocation failed: locked"), A)
    with pytest.raises(InvocationFailed):
        await sender.send_message(A, MESSAGE)
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "passing", [Unavailable("gone"), TransactionMessageResponse(False, "Network error: its own peer is away")]
)
async def test_a_message_is_repeated_where_that_may_help(
    sender: GrpcTransactionMessageSender, host: Host, passing: object
) -> None:
    peer = await host("n1", in_turn(passing, passing, TransactionMessageResponse(True)), A)
    await sender.send_message(A, MESSAGE)
    assert len(peer.requests) == 3


async def test_the_last_attempts_failure_is_told(sender: GrpcTransactionMessageSender, host: Host) -> None:
    peer = await host("n1", lambda request: Unavailable("gone"), A)
    with pytest.raises(Unavailable) as caught:
        await sender.send_message(A, MESSAGE)
    assert (caught.value.attempt, len(peer.requests)) == (3, 3)
    stats = await sender.get_stats()
    assert (stats.total_connections >= 1, stats.total_requests, stats.total_errors) == (True, 3, 3)


async def test_a_message_waits_for_a_node_that_comes_up(
    directory: Directory,
    dead: socket.socket,
    stack: AsyncExitStack,
    until: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory.hosts[A], directory.urls[NodeId("n1")] = NodeId("n1"), url(dead)
    patient = TransportConfig(retry_attempts=100, retry_backoff_initial=0.02, retry_backoff_multiplier=1.0)
    pool = ConnectionPool(
        patient,
        retry=RetryConfig(jitter=0.0, budget_tokens=0.0),
        pool=PoolConfig(redial_initial=0.0, redial_max=0.0),
    )
    await stack.enter_async_context(pool)
    sender = GrpcTransactionMessageSender(SELF, directory, patient, pool=pool)
    sending = asyncio.create_task(sender.send_message(A, MESSAGE))
    await until(lambda: "tried again" in caplog.text)
    peer, port = Peer(accepting), dead.getsockname()[1]
    dead.close()
    server = await stack.enter_async_context(Server([peer]))
    await server.start("127.0.0.1", port)
    await sending
    assert len(peer.requests) == 1


async def test_targets_and_nodes_that_nobody_knows_are_typed_errors(
    sender: GrpcTransactionMessageSender, directory: Directory
) -> None:
    with pytest.raises(AddressableNotFound):
        await sender.send_message(A, MESSAGE)
    directory.hosts[A] = NodeId("gone")
    with pytest.raises(NodeNotFound):
        await sender.send_message(A, MESSAGE)


@pytest.mark.parametrize("silent", [A, NodeId("n1")])
async def test_the_time_limit_holds_while_a_target_is_resolved(
    sender: GrpcTransactionMessageSender, directory: Directory, silent: object
) -> None:
    directory.hosts[A] = NodeId("n1")
    directory.silent.add(silent)
    with pytest.raises(TimeoutError, match="was not resolved in time") as caught:
        await sender.send_message(A, MESSAGE, timeout=0.01)
    assert caught.value.executed is Executed.NO
    (delivery,) = (await sender.broadcast_message([A], MESSAGE, timeout=0.01)).deliveries
    assert isinstance(delivery.error, TimeoutError)
    assert delivery.error.executed is Executed.NO


async def test_a_time_limit_may_be_longer_than_the_configured_one(directory: Directory, host: Host) -> None:
    one = await host("n1", accepting, A)
    two = await host("n2", failing(), B)
    async with GrpcTransactionMessageSender(SELF, directory, TransportConfig(request_timeout=10.0)) as sender:
        await sender.send_message(A, MESSAGE, timeout=600.0)
        await sender.broadcast_message([B], MESSAGE, timeout=600.0)
        await sender.send_message(A, MESSAGE)
    long, usual = one.requests
    for request in (long, two.requests[0]):
        assert 10_000 < request.timeout_ms <= 600_000
    assert 0 < usual.timeout_ms <= 10_000


# ------------------------------------------------------------ many targets


async def test_a_broadcast_is_one_request_per_node(sender: GrpcTransactionMessageSender, host: Host) -> None:
    one, two = await host("n1", failing(), A, B), await host("n2", failing(), C)
    result = await sender.broadcast_message([A, C, B, A], MESSAGE)
    assert result.is_complete
    assert [(delivery.target, delivery.node) for delivery in result.deliveries] == [
        (A, NodeId("n1")),
        (C, NodeId("n2")),
        (B, NodeId("n1")),
        (A, NodeId("n1")),
    ]
    assert [[target.actor_key for target in peer.requests[0].targets] for peer in (one, two)] == [["a", "b"], ["c"]]
    assert (len(one.requests), len(two.requests)) == (1, 1)
    result.raise_for_failures()


async def test_a_broadcast_to_nobody_is_complete(sender: GrpcTransactionMessageSender) -> None:
    result = await sender.broadcast_message([], MESSAGE)
    assert (result.deliveries, result.is_complete) == ((), True)


async def test_a_broadcast_is_repeated_only_to_the_node_that_did_not_answer(
    sender: GrpcTransactionMessageSender, host: Host
) -> None:
    one = await host("n1", in_turn(Unavailable("gone"), BroadcastMessageResponse(1, 0)), A)
    two = await host("n2", failing(), B)
    assert (await sender.broadcast_message([A, B], MESSAGE)).is_complete
    assert (len(one.requests), len(two.requests)) == (2, 1)


async def test_what_fails_at_one_node_neither_ends_nor_hides_the_others(
    sender: GrpcTransactionMessageSender, host: Host, directory: Directory, dead: socket.socket
) -> None:
    lost, wrong, unknown = (AddressableReference.of("Account", key) for key in ("lost", "wrong", "unknown"))
    peer = await host("n1", failing(), A)
    await host("n2", lambda request: InvalidArgument("who are you"), wrong)
    directory.hosts |= {B: NodeId("dead"), lost: NodeId("nowhere")}
    directory.urls[NodeId("dead")] = url(dead)
    result = await sender.broadcast_message([B, A, lost, unknown, wrong], MESSAGE)
    assert [(delivery.node, type(delivery.error)) for delivery in result.deliveries] == [
        (NodeId("dead"), ConnectError),
        (NodeId("n1"), type(None)),
        (NodeId("nowhere"), NodeNotFound),
        (None, AddressableNotFound),
        (NodeId("n2"), InvalidArgument),
    ]
    assert [delivery.target for delivery in result.delivered] == [A]
    assert [delivery.target for delivery in result.failed] == [B, lost, unknown, wrong]
    assert len(peer.requests) == 1
    refused = result.failed[0].error
    assert refused is not None
    assert (refused.executed, refused.peer) == (Executed.NO, url(dead))
    with pytest.raises(ConnectError):
        result.raise_for_failures()


async def test_the_service_and_the_sender_agree_on_who_failed(directory: Directory, serve: Any) -> None:
    service = OrbitTransactionService(NodeId("n1"))
    service.register("Account", Participant(refused="a: b"))
    directory.urls[NodeId("n1")] = f"http://127.0.0.1:{(await serve(service)).port}"
    targets = [AddressableReference.of("Account", key) for key in ("a", "a: b", "a: b: c", "a:")]
    targets.append(AddressableReference.of("Nobody", "x"))
    directory.hosts = dict.fromkeys(targets, NodeId("n1"))
    async with GrpcTransactionMessageSender(SELF, directory) as sender:
        result = await sender.broadcast_message(targets, MESSAGE)
    refused, nobody = result.failed
    assert (refused.target, nobody.target) == (targets[1], targets[4])
    assert isinstance(refused.error, InvocationFailed)
    assert refused.error.message == "Transaction message failed: commit on Account - locked"
    assert refused.error.reason == "locked"
    assert isinstance(nobody.error, AddressableNotFound)
    assert nobody.error.code is Status.NOT_FOUND


async def test_failures_are_told_of_the_targets_that_failed_whatever_their_names(
    sender: GrpcTransactionMessageSender, host: Host, directory: Directory
) -> None:
    """Keys begin with one another, and a type with a colon makes two targets look the same."""
    peer = await host("n1", failing())
    loop = asyncio.get_running_loop()
    names = st.tuples(st.sampled_from(["A", "A:", "A: ", "A:b"]), st.text("b: ", max_size=4))
    references = names.map(lambda name: AddressableReference(name[0], StringKey(name[1])))

    @settings(max_examples=60, deadline=None)
    @given(outcomes=st.dictionaries(references, st.booleans(), max_size=8))
    def accounted_for(outcomes: dict[AddressableReference, bool]) -> None:
        directory.hosts = dict.fromkeys(outcomes, NodeId("n1"))
        peer.answer = failing(*(f"{target}: Invocation failed: no" for target, fine in outcomes.items() if not fine))
        broadcast = sender.broadcast_message(list(outcomes), MESSAGE)
        result = asyncio.run_coroutine_threadsafe(broadcast, loop).result(10)
        for delivery in result.deliveries:
            same = {fine for target, fine in outcomes.items() if str(target) == str(delivery.target)}
            if same == {True}:
                assert delivery.is_delivered
            elif same == {False}:
                assert isinstance(delivery.error, InvocationFailed)
            else:
                assert type(delivery.error) is OrbitError
                assert delivery.error.executed is Executed.MAYBE

    await asyncio.to_thread(accounted_for)


@pytest.mark.parametrize(
    ("answer", "unsure"),
    [
        (BroadcastMessageResponse(1, 2, ["database is locked", "Account:a failed"]), {A, B, C}),
        (BroadcastMessageResponse(1, 2, ["database is locked", "Account:b: no"]), {A, C}),
        (BroadcastMessageResponse(2, 0, []), {A, B, C}),
        (BroadcastMessageResponse(2, 1, []), {A, B, C}),
        (BroadcastMessageResponse(3, 1, ["Account:b: no"]), {A, C}),
        (BroadcastMessageResponse(3, 0, ["all is well"]), set()),
        (BroadcastMessageResponse(2, 1, ["Account:b: no", "Account:b: no, again"]), set()),
    ],
)
async def test_failures_without_names_leave_every_unnamed_target_in_doubt(
    sender: GrpcTransactionMessageSender,
    host: Host,
    answer: BroadcastMessageResponse,
    unsure: set[AddressableReference],
) -> None:
    await host("n1", lambda request: answer, A, B, C)
    result = await sender.broadcast_message([A, B, C], MESSAGE)
    doubtful = [delivery for delivery in result.failed if delivery.error and "was not said" in delivery.error.message]
    assert {delivery.target for delivery in doubtful} == unsure
    assert {delivery.error.executed for delivery in doubtful if delivery.error} <= {Executed.MAYBE}
    named = any(line.startswith("Account:b: ") for line in answer.errors)
    assert {delivery.target for delivery in result.failed} - unsure == ({B} if named else set())


# ------------------------------------------------------------ the connections


async def test_the_statistics_are_the_pools(sender: GrpcTransactionMessageSender, host: Host) -> None:
    assert (await sender.get_stats()).total_requests == 0
    await host("n1", accepting, A)
    await host("n2", failing(), B)
    await sender.send_message(A, MESSAGE)
    await sender.broadcast_message([B], MESSAGE)
    stats = await sender.get_stats()
    assert (stats.total_connections, stats.total_requests, stats.total_errors) == (2, 2, 0)
    assert len(stats.endpoints) == 2


async def test_closing_twice_does_no_harm(directory: Directory) -> None:
    sender = GrpcTransactionMessageSender(SELF, directory, CONFIG)
    await sender.close()
    await sender.close()
    assert "(default:n0)" in repr(sender)


async def test_a_shared_pool_is_left_open(directory: Directory, host: Host) -> None:
    await host("n1", accepting, A)
    async with ConnectionPool(CONFIG) as pool:
        async with GrpcTransactionMessageSender(SELF, directory, CONFIG, pool=pool) as sender:
            await sender.send_message(A, MESSAGE)
        await sender.close()
        assert not pool.is_closed
        assert (await pool.get_stats()).total_connections == 1
