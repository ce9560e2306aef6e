"""Transaction messages as they are served, over the wire: dispatched, handled once, answered for each target."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings

import orbit_lite
from orbit_lite.converters import TransactionIdConverter, TransactionMessageConverter
from orbit_lite.converters.presence import build
from orbit_lite.errors import (
    AddressableNotFound,
    InvocationFailed,
    NetworkError,
    OrbitError,
    OverloadedError,
)
from orbit_lite.model import (
    Acknowledge,
    AddressableReference,
    Commit,
    Int32Key,
    KeyKind,
    NodeId,
    Prepare,
    QueryStatus,
    StateType,
    StatusResponse,
    StringKey,
    TransactionId,
    TransactionMessage,
    TransactionOperation,
    TransactionState,
    TransactionVote,
    Vote,
    VoteType,
)
from orbit_lite.rpc import Deadline, DeadlineExceeded, InvalidArgument, current_deadline
from orbit_lite.services import OrbitTransactionService
from orbit_lite.services.transactions import MAX_TARGETS
from orbit_lite.testing import strategies as orbit
from orbit_proto.orbit.transactions import (
    BroadcastMessageRequest,
    CommitMessage,
    HealthCheckRequest,
    StatusResponseMessage,
    Target,
    TransactionMessageProto,
    TransactionMessageRequest,
    TransactionServiceStub,
    TransactionStatusRequest,
    VoteMessage,
)

NODE, PEER = NodeId("n1"), NodeId("n2")
SENDER = "(default:n2)"
TX = TransactionId("t1", PEER, datetime(2026, 1, 1, tzinfo=UTC))
ACCOUNT = AddressableReference.of("Account", "a")

Act = Callable[[AddressableReference], Awaitable[object]]


@dataclass
class Participant:
    """Records what it handles; `act` decides what becomes of it."""

    act: Act | None = None
    known: dict[str, tuple[TransactionState, tuple[AddressableReference, ...]]] = field(default_factory=dict)
    handled: list[tuple[AddressableReference, TransactionMessage, NodeId]] = field(default_factory=list)
    deadlines: list[Deadline | None] = field(default_factory=list)

    async def handle(self, target: AddressableReference, message: TransactionMessage, *, sender: NodeId) -> None:
        self.handled.append((target, message, sender))
        self.deadlines.append(current_deadline())
        if self.act is not None:
            await self.act(target)

    async def status(self, transaction_id: str) -> tuple[TransactionState, tuple[AddressableReference, ...]] | None:
        return self.known.get(transaction_id)

    @property
    def targets(self) -> list[str]:
        return [str(target) for target, _, _ in self.handled]


def refusing(*errors: Exception) -> Act:
    """Raises these, one after the other, and then accepts."""
    left = list(errors)

    async def act(target: AddressableReference) -> None:
        if left:
            raise left.pop(0)

    return act


async def forever(target: AddressableReference) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def participant() -> Participant:
    return Participant()


@pytest.fixture
def service(participant: Participant) -> OrbitTransactionService:
    service = OrbitTransactionService(NODE)
    service.register("Account", participant)
    return service


@pytest.fixture
async def stub(service: OrbitTransactionService, connect: Any) -> TransactionServiceStub:
    return TransactionServiceStub(await connect(service))


def wire(message: TransactionMessage) -> TransactionMessageProto:
    return TransactionMessageConverter.to_proto(message)


def request(
    key: str = "a",
    *,
    message: TransactionMessageProto | None = None,
    timeout_ms: int = 0,
    sender: str = SENDER,
    kind: str = "Account",
) -> TransactionMessageRequest:
    message = wire(Commit(TX)) if message is None else message  # an empty one is false
    return TransactionMessageRequest(sender, kind, key, message, timeout_ms)


def broadcast(*targets: str, timeout_ms: int = 0, sender: str = SENDER) -> BroadcastMessageRequest:
    """targets: written as `Type:key`."""
    addressees = [Target(*target.split(":", 1)) for target in targets]
    return BroadcastMessageRequest(sender, addressees, wire(Commit(TX)), timeout_ms)


# ------------------------------------------------------------ one message


async def test_a_message_reaches_the_handler_of_its_targets_type(
    stub: TransactionServiceStub, service: OrbitTransactionService, participant: Participant
) -> None:
    ledger, others = Participant(), Participant()
    service.register("Ledger", Participant())
    service.register("Ledger", ledger)
    service.set_default_handler(others)
    for kind in ("Account", "Ledger", "Teller"):
        answer = await stub.send_transaction_message(request(kind=kind))
        assert (answer.success, answer.error_message) == (True, "")
    assert participant.handled == [(ACCOUNT, Commit(TX), PEER)]
    assert (ledger.targets, others.targets) == (["Ledger:a"], ["Teller:a"])


async def test_every_message_arrives_as_it_was_sent(connect: Any) -> None:
    everything = Participant()
    service = OrbitTransactionService(NODE, window_size=0)  # Hypothesis repeats itself, and shall be heard again
    service.set_default_handler(everything)
    stub = TransactionServiceStub(await connect(service))
    loop = asyncio.get_running_loop()

    @settings(max_examples=30, deadline=None)
    @given(
        message=orbit.transaction_messages(actor=orbit.addressable_references(kinds=[KeyKind.STRING])),
        target=orbit.addressable_references(kinds=[KeyKind.STRING]),
        sender=orbit.node_ids(),
    )
    def arrives(message: TransactionMessage, target: AddressableReference, sender: NodeId) -> None:
        sent = request(str(target.key), kind=target.addressable_type, message=wire(message), sender=str(sender))
        answer = asyncio.run_coroutine_threadsafe(stub.send_transaction_message(sent), loop).result(10)
        assert answer.success
        assert everything.handled.pop() == (target, message, sender)

    await asyncio.to_thread(arrives)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvocationFailed.because("locked"), "Invocation failed: locked"),
        (AddressableNotFound("Account:a"), "Addressable not found: Account:a"),
        (NetworkError("line cut"), "Network error: line cut"),
        (OrbitError("no"), "no"),
    ],
)
async def test_a_refusal_is_an_answer_with_its_reason(
    stub: TransactionServiceStub, participant: Participant, error: OrbitError, text: str
) -> None:
    participant.act = refusing(error)
    answer = await stub.send_transaction_message(request())
    assert (answer.success, answer.error_message) == (False, text)


async def test_a_target_that_nobody_handles_is_refused(stub: TransactionServiceStub) -> None:
    answer = await stub.send_transaction_message(request("x: y", kind="Nobody"))
    assert (answer.success, answer.error_message) == (False, "Addressable not found: Nobody:x: y")


async def test_the_text_of_an_unexpected_exception_stays_here(
    stub: TransactionServiceStub, participant: Participant
) -> None:
    participant.act = refusing(ValueError("password is 1234"))
    answer = await stub.send_transaction_message(request())
    assert not answer.success
    assert answer.error_message.startswith("Internal error: ")
    assert "ValueError" in answer.error_message
    assert "1234" not in answer.error_message


async def test_the_time_that_handling_took_is_told(connect: Any) -> None:
    now = [100.0]

    async def take_time(target: AddressableReference) -> None:
        now[0] += 0.25

    service = OrbitTransactionService(NODE, clock=lambda: now[0])
    service.register("Account", Participant(take_time))
    stub = TransactionServiceStub(await connect(service))
    assert (await stub.send_transaction_message(request())).processing_time_ms == 250


async def test_the_kind_of_a_key_is_what_the_receiver_knows_of_the_type(connect: Any) -> None:
    accounts = Participant()
    kinds = {"Account": KeyKind.INT32, "Ledger": KeyKind.STRING}
    service = OrbitTransactionService(NODE, key_kinds=kinds.__getitem__)
    service.set_default_handler(accounts)
    stub = TransactionServiceStub(await connect(service))
    operation = TransactionOperation("o1", AddressableReference("Ledger", StringKey("7")), "add", {"n": 1})
    await stub.send_transaction_message(request("42", message=wire(Prepare(TX, (operation,), 1.0))))
    await stub.broadcast_transaction_message(broadcast("Account:42", "Ledger:42"))
    number, text = AddressableReference("Account", Int32Key(42)), AddressableReference("Ledger", StringKey("42"))
    assert [target for target, _, _ in accounts.handled] == [number, number, text]
    assert accounts.handled[0][1] == Prepare(TX, (operation,), 1.0)
    with pytest.raises(InvalidArgument, match=r"target_actor_key: .*forty-two"):
        await stub.send_transaction_message(request("forty-two"))
    with pytest.raises(InvalidArgument, match=r"targets\[1\]\.actor_key: .*forty-two"):
        await stub.broadcast_transaction_message(broadcast("Ledger:a", "Account:forty-two"))


# ------------------------------------------------------------ malformed messages

TX_PROTO = TransactionIdConverter.to_proto(TX)


@pytest.mark.parametrize(
    ("malformed", "field"),
    [
        (TransactionMessageRequest(SENDER, "Account", "a"), "message: missing"),
        (request(message=build(TransactionMessageProto)), "message.message_type: missing"),
        (request(message=TransactionMessageProto(vote=VoteMessage(TX_PROTO, "T", "k"))), "message.vote.vote: missing"),
        (
            request(message=TransactionMessageProto(commit=build(CommitMessage))),
            "message.commit.transaction_id: missing",
        ),
        (
            request(message=TransactionMessageProto(status_response=StatusResponseMessage(TX_PROTO))),
            "message.status_response.state: missing",
        ),
        (request(sender=""), "sender_node_id: "),
        (request(sender="(default:)"), "sender_node_id: "),
        (request(kind=""), "target_actor_type: missing"),
        (request(timeout_ms=-1), "timeout_ms: -1 is negative"),
    ],
)
async def test_a_malformed_message_ends_the_call_and_names_the_field(
    stub: TransactionServiceStub, participant: Participant, malformed: TransactionMessageRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await stub.send_transaction_message(malformed)
    assert field in caught.value.message
    assert not caught.value.retryable
    assert participant.handled == []


@pytest.mark.parametrize(
    ("malformed", "field"),
    [
        (BroadcastMessageRequest(SENDER, [Target("Account", "a")]), "message: missing"),
        (broadcast("Account:a", ":b"), "targets[1].actor_type: missing"),
        (broadcast("Account:a", sender="()"), "sender_node_id: "),
        (broadcast("Account:a", timeout_ms=-5), "timeout_ms: -5 is negative"),
        (broadcast(*["Account:a"] * (MAX_TARGETS + 1)), f"targets: {MAX_TARGETS + 1} of them"),
    ],
)
async def test_a_malformed_broadcast_reaches_nobody(
    stub: TransactionServiceStub, participant: Participant, malformed: BroadcastMessageRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await stub.broadcast_transaction_message(malformed)
    assert field in caught.value.message
    assert participant.handled == []


async def test_a_question_about_no_transaction_is_malformed(stub: TransactionServiceStub) -> None:
    with pytest.raises(InvalidArgument, match="transaction_id: missing"):
        await stub.get_transaction_status(TransactionStatusRequest())


# ------------------------------------------------------------ duplicates


async def test_a_duplicate_gets_the_first_ones_answer_without_being_handled(
    stub: TransactionServiceStub, service: OrbitTransactionService, participant: Participant
) -> None:
    participant.act = refusing(InvocationFailed.because("locked"))
    first, second = [await stub.send_transaction_message(request()) for _ in range(2)]
    assert (first.success, first.error_message) == (second.success, second.error_message)
    assert first.error_message == "Invocation failed: locked"
    answer = await stub.broadcast_transaction_message(broadcast("Account:a"))
    assert answer.errors == ["Account:a: Invocation failed: locked"]
    assert (len(participant.handled), service.duplicates) == (1, 2)


async def test_only_the_same_message_to_the_same_target_from_the_same_sender_is_a_duplicate(
    stub: TransactionServiceStub, service: OrbitTransactionService, participant: Participant
) -> None:
    for message in (
        request(),
        request("b"),
        request(sender="(default:n3)"),
        request(message=wire(QueryStatus(TX))),
        request(message=wire(Commit(TransactionId("t2", PEER, TX.created_at)))),
    ):
        await stub.send_transaction_message(message)
    assert (len(participant.handled), service.duplicates) == (5, 0)


async def test_participants_on_one_node_answer_each_for_itself(
    stub: TransactionServiceStub, service: OrbitTransactionService, participant: Participant
) -> None:
    others = [AddressableReference.of("Account", key) for key in "bc"]
    answers: list[TransactionMessage] = [
        Acknowledge(TX, other, success) for other in others for success in (False, True)
    ]
    answers += [Vote(TX, other, TransactionVote(VoteType.YES)) for other in others]
    for answer in [*answers, *answers]:
        await stub.send_transaction_message(request(message=wire(answer)))
    assert [message for _, message, _ in participant.handled] == answers
    assert service.duplicates == 6


async def test_a_transactions_status_is_asked_for_as_often_as_somebody_asks(
    stub: TransactionServiceStub, service: OrbitTransactionService, participant: Participant
) -> None:
    messages: list[TransactionMessage] = [QueryStatus(TX), StatusResponse(TX, TransactionState(StateType.PREPARED))]
    for message in messages * 2:
        await stub.send_transaction_message(request(message=wire(message)))
    assert (len(participant.handled), service.duplicates) == (4, 0)


async def test_a_duplicate_joins_the_first_one_and_outlives_its_caller(
    stub: TransactionServiceStub, service: OrbitTransactionService, participant: Participant, until: Any
) -> None:
    go_on = asyncio.Event()
    participant.act = lambda target: go_on.wait()
    first, second, third = [asyncio.create_task(stub.send_transaction_message(request())) for _ in range(3)]
    await until(lambda: service.duplicates == 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go_on.set()
    assert (await second).success
    assert (await third).success
    assert len(participant.handled) == 1


async def test_a_message_that_every_caller_gave_up_is_stopped_and_may_come_again(
    stub: TransactionServiceStub, participant: Participant, until: Any
) -> None:
    stopped = asyncio.Event()

    async def hang(target: AddressableReference) -> None:
        try:
            await forever(target)
        finally:
            stopped.set()

    participant.act = hang
    caller = asyncio.create_task(stub.send_transaction_message(request()))
    await until(lambda: participant.handled)
    caller.cancel()
    await stopped.wait()
    participant.act = None
    assert (await stub.send_transaction_message(request())).success
    assert len(participant.handled) == 2


async def test_what_may_pass_is_handled_anew(stub: TransactionServiceStub, participant: Participant) -> None:
    participant.act = refusing(OverloadedError("busy"))
    first, second = [await stub.send_transaction_message(request()) for _ in range(2)]
    assert (first.success, first.error_message) == (False, "Cluster error: busy")
    assert second.success


async def test_answers_are_forgotten_by_age_and_by_number(connect: Any, participant: Participant) -> None:
    now = [0.0]
    service = OrbitTransactionService(NODE, window_size=2, window_age=10.0, clock=lambda: now[0])
    service.register("Account", participant)
    stub = TransactionServiceStub(await connect(service))
    for key in ("a", "b", "c", "b", "a"):
        await stub.send_transaction_message(request(key))
    assert participant.targets == ["Account:a", "Account:b", "Account:c", "Account:a"]
    now[0] = 10.0
    await stub.send_transaction_message(request("a"))
    assert len(participant.handled) == 5


# ------------------------------------------------------------ time limits


async def test_the_messages_own_time_limit_ends_its_handling(
    stub: TransactionServiceStub, participant: Participant
) -> None:
    participant.act = forever
    answer = await stub.send_transaction_message(request(timeout_ms=1))
    assert (answer.success, answer.error_message) == (False, "Timeout: commit for Account:a was not handled in time")
    participant.act = None
    assert (await stub.send_transaction_message(request())).success  # nothing of it was remembered


async def test_the_calls_time_limit_ends_its_handling(
    stub: TransactionServiceStub, participant: Participant, until: Any
) -> None:
    ended = 0

    async def hang(target: AddressableReference) -> None:
        nonlocal ended
        try:
            await forever(target)
        finally:
            ended += 1

    participant.act = hang
    await stub.transaction_health_check(HealthCheckRequest())  # connects, which the limit is not about
    # Which of the two sides notices first is chance: the answer says so, or none is waited for.
    try:
        answer = await stub.send_transaction_message(request(timeout_ms=60_000), timeout=0.1)
        said = answer.error_message
    except DeadlineExceeded as error:
        said = error.description
    assert said.startswith("Timeout: ")
    await until(lambda: ended == len(participant.handled))


@pytest.mark.parametrize(("timeout_ms", "timeout"), [(20_000, 50.0), (50_000, 20.0), (0, 20.0), (20_000, None)])
async def test_the_earlier_of_the_two_time_limits_is_passed_on(
    stub: TransactionServiceStub, participant: Participant, timeout_ms: int, timeout: float | None
) -> None:
    await stub.send_transaction_message(request("a", timeout_ms=timeout_ms), timeout=timeout)
    await stub.broadcast_transaction_message(broadcast("Account:b", timeout_ms=timeout_ms), timeout=timeout)
    for deadline in participant.deadlines:
        assert deadline is not None
        assert 0.0 < deadline.remaining() <= 20.0
    assert len(participant.deadlines) == 2


# ------------------------------------------------------------ many targets


async def test_a_broadcast_tells_each_failed_target_and_hides_none(
    stub: TransactionServiceStub, participant: Participant
) -> None:
    async def act(target: AddressableReference) -> None:
        match str(target.key):
            case "b":
                raise InvocationFailed.because("locked")
            case "c":
                raise ValueError("password is 1234")

    participant.act = act
    answer = await stub.broadcast_transaction_message(
        broadcast("Account:a", "Account:b", "Nobody:x", "Account:c", "Account:d")
    )
    assert (answer.successful_sends, answer.failed_sends) == (2, 3)
    locked, nobody, internal = answer.errors
    assert locked == "Account:b: Invocation failed: locked"
    assert nobody == "Nobody:x: Addressable not found: Nobody:x"
    assert internal.startswith("Account:c: Internal error: ")
    assert "1234" not in internal


async def test_a_broadcasts_own_time_limit_ends_its_handling(
    stub: TransactionServiceStub, participant: Participant
) -> None:
    participant.act = forever
    answer = await stub.broadcast_transaction_message(broadcast("Account:a", "Account:b", timeout_ms=1))
    assert (answer.successful_sends, answer.failed_sends) == (0, 2)
    assert answer.errors == [
        f"Account:{key}: Timeout: commit for Account:{key} was not handled in time" for key in "ab"
    ]


async def test_a_broadcast_to_nobody_is_answered(stub: TransactionServiceStub) -> None:
    answer = await stub.broadcast_transaction_message(broadcast())
    assert (answer.successful_sends, answer.failed_sends, answer.errors) == (0, 0, [])


async def test_a_target_that_is_named_twice_is_handled_once_and_counted_twice(
    stub: TransactionServiceStub, participant: Participant
) -> None:
    answer = await stub.broadcast_transaction_message(broadcast("Account:a", "Account:a"))
    assert (answer.successful_sends, answer.failed_sends) == (2, 0)
    assert participant.targets == ["Account:a"]


async def test_a_broadcast_handles_its_targets_at_once_but_not_all(
    stub: TransactionServiceStub, participant: Participant, until: Any
) -> None:
    go_on = asyncio.Event()
    participant.act = lambda target: go_on.wait()
    targets = [f"Account:{number}" for number in range(100)]
    call = asyncio.create_task(stub.broadcast_transaction_message(broadcast(*targets)))
    await until(lambda: len(participant.handled) >= 64)
    assert len(participant.handled) == 64
    go_on.set()
    assert (await call).successful_sends == 100


# ------------------------------------------------------------ health and status


async def test_health_says_whether_messages_are_taken_by_which_version_and_since_when(connect: Any) -> None:
    now = [100.0]
    service = OrbitTransactionService(NODE, clock=lambda: now[0])
    stub = TransactionServiceStub(await connect(service))
    now[0] = 101.5
    health = await stub.transaction_health_check(HealthCheckRequest("n2"))
    assert (int(health.status), health.version, health.uptime_ms) == (1, orbit_lite.__version__, 1500)
    service.is_serving = False
    assert int((await stub.transaction_health_check(HealthCheckRequest())).status) == 2


async def test_the_status_of_a_transaction_is_what_any_handler_knows_of_it(
    stub: TransactionServiceStub, service: OrbitTransactionService
) -> None:
    asked = TransactionStatusRequest(TX_PROTO)
    assert not (await stub.get_transaction_status(asked)).found
    service.set_default_handler(
        Participant(known={"t1": (TransactionState(StateType.FAILED, "disk"), (ACCOUNT, ACCOUNT))})
    )
    answer = await stub.get_transaction_status(asked)
    assert (answer.found, int(answer.state.state_type), answer.state.details) == (True, 7, "disk")
    assert answer.participants == ["Account:a", "Account:a"]
    other = TransactionIdConverter.to_proto(TransactionId("t2", PEER, TX.created_at))
    assert not (await stub.get_transaction_status(TransactionStatusRequest(other))).found
