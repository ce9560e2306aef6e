"""The server's side of actor streams, on a stream in memory and over loopback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.converters import MessageConverter
from orbit_lite.errors import (
    AddressableNotFound,
    DrainingError,
    Executed,
    InvocationFailed,
    OverloadedError,
)
from orbit_lite.model import (
    AddressableReference,
    Content,
    ErrorContent,
    InfoRequest,
    InfoResponse,
    InvocationError,
    InvocationReason,
    InvocationRequest,
    InvocationResponse,
    Json,
    Message,
    NodeId,
    RoutedUnicast,
    Target,
    Unicast,
)
from orbit_lite.rpc import Cancelled, Channel, Method, RpcError, ServerConfig, current_call
from orbit_lite.services import OrbitConnectionService
from orbit_lite.services.connection import OPEN_STREAM
from orbit_lite.testing import strategies
from orbit_proto.orbit.shared import (
    ConnectionInfoRequestProto,
    ConnectionServiceStub,
    MessageContentProto,
    MessageProto,
)

NODE = NodeId("n1", "test")
CALLER = NodeId("n2", "test")
METHOD = Method(OPEN_STREAM, True, True, MessageProto, MessageProto)


class Handler:
    """Serves invocations by one function; keeps what it was asked."""

    def __init__(self, serve: Callable[[InvocationRequest], Awaitable[Json]]) -> None:
        self._serve = serve
        self.asked: list[tuple[str, NodeId | None, int]] = []

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        self.asked.append((request.method, source, attempts))
        return await self._serve(request)


def handler(serve: Callable[[InvocationRequest], Json]) -> Handler:
    async def run(request: InvocationRequest) -> Json:
        return serve(request)

    return Handler(run)


class Gates:
    """Calls that wait until the test lets them go on, by method name."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Future[Json]] = {}
        self.cancelled: list[str] = []

    async def __call__(self, request: InvocationRequest) -> Json:
        gate = self.gates[request.method] = asyncio.get_running_loop().create_future()
        try:
            result: Json = await gate
            return result
        except asyncio.CancelledError:
            self.cancelled.append(request.method)
            raise


class Wire:
    """A server's call object in memory. The test is the client: it puts messages in and takes answers out."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[MessageProto | Exception | None] = asyncio.Queue()
        self.answers: asyncio.Queue[Message] = asyncio.Queue()
        self.window = asyncio.Event()
        self.window.set()
        self.may_be_left = False

    def put(
        self, message_id: int, content: Content, *, source: NodeId | None = None, target: Target | None = None
    ) -> None:
        message = Message(message_id, content, source=source, target=target)
        self.requests.put_nowait(MessageConverter.to_proto(message))

    def call(self, message_id: int, method: str, **fields: Any) -> None:
        self.put(message_id, InvocationRequest(AddressableReference.of("T", "k"), method), **fields)

    def end(self) -> None:
        self.requests.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[MessageProto]:
        return self

    async def __anext__(self) -> MessageProto:
        match await self.requests.get():
            case None:
                raise StopAsyncIteration
            case Exception() as error:
                raise error
            case proto:
                return proto

    async def send_message(self, message: MessageProto, /) -> None:
        await self.window.wait()
        self.answers.put_nowait(MessageConverter.from_proto(message))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def exchange(service: OrbitConnectionService, fill: Callable[[Wire], None]) -> list[Message]:
    """All answers to a client that sends its messages and ends."""
    wire = Wire()
    fill(wire)
    wire.end()
    await service.serve_stream(wire)
    return [wire.answers.get_nowait() for _ in range(wire.answers.qsize())]


async def one_answer(service: OrbitConnectionService, content: Content, **fields: Any) -> Content:
    [answer] = await exchange(service, lambda wire: wire.put(1, content, **fields))
    return answer.content


def invocation(method: str = "m") -> InvocationRequest:
    return InvocationRequest(AddressableReference.of("T", "k"), method)


# ---------------------------------------------------------------- what is answered


async def test_an_answer_names_its_request_this_node_and_the_caller() -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: {"ß": [1.5, None]}))
    answers = await exchange(service, lambda wire: wire.call(7, "m", source=CALLER, target=Unicast(NODE)))
    assert answers == [Message(7, InvocationResponse('{"ß":[1.5,null]}'), source=NODE, target=Unicast(CALLER))]


async def test_a_client_without_a_name_is_answered_with_an_empty_unicast() -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: None))
    [answer] = await exchange(service, lambda wire: wire.call(1, "m", target=Unicast(NodeId("server"))))
    assert answer == Message(1, InvocationResponse("null"), source=NODE, target=Unicast(None))


async def test_the_handler_learns_who_asks_and_how_often_the_request_was_passed_on() -> None:
    asked = handler(lambda _: None)
    message = Message(1, invocation(), source=CALLER, attempts=2)

    await exchange(
        OrbitConnectionService(NODE, asked), lambda wire: wire.requests.put_nowait(MessageConverter.to_proto(message))
    )
    assert asked.asked == [("m", CALLER, 2)]


async def test_answers_leave_in_the_order_in_which_they_are_done() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates)), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    for message_id, method in enumerate("abc", 1):
        wire.call(message_id, method)
    await settle()
    assert repr(service) == "<OrbitConnectionService (test:n1), 1 streams, 3 in flight>"
    for method in "cab":
        gates.gates[method].set_result(method)
        await settle()
    assert [wire.answers.get_nowait().message_id for _ in range(3)] == [3, 1, 2]
    wire.end()
    await serving
    assert service.in_flight == 0


async def test_who_are_you_is_answered_on_the_stream_and_as_a_call_of_its_own(connect: Any) -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: None))
    assert await one_answer(service, InfoRequest()) == InfoResponse(NODE)
    answer = await ConnectionServiceStub(await connect(service)).get_connection_info(ConnectionInfoRequestProto())
    assert (answer.node_id.key, answer.node_id.namespace) == ("n1", "test")


@pytest.mark.parametrize("content", [ErrorContent("x"), InfoResponse(CALLER), InvocationResponse("1")])
async def test_what_asks_for_nothing_is_dropped(content: Content) -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: 1))

    def fill(wire: Wire) -> None:
        wire.put(1, content)
        wire.call(2, "m")

    assert [answer.message_id for answer in await exchange(service, fill)] == [2]


@given(strategies.messages())
def test_any_message_gets_at_most_one_answer_and_an_invocation_exactly_one(message: Message) -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: 1))

    async def run() -> list[Message]:
        return await exchange(service, lambda wire: wire.requests.put_nowait(MessageConverter.to_proto(message)))

    answers = asyncio.run(run())
    asks = isinstance(message.content, InvocationRequest | InfoRequest)
    assert [answer.message_id for answer in answers] == ([message.message_id] if asks else [])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (InvocationFailed.of("m", "T", "no funds"), "Invocation failed: m on T - no funds"),
        (AddressableNotFound("T:k"), "Addressable not found: T:k"),
        (OverloadedError("mailbox full"), "Cluster error: overloaded: mailbox full"),
        (DrainingError("going"), "Cluster error: draining: going"),
    ],
)
async def test_errors_raised_for_the_caller_travel_as_text(error: Exception, description: str) -> None:
    def fail(_: InvocationRequest) -> Json:
        raise error

    answer = await one_answer(OrbitConnectionService(NODE, handler(fail)), invocation())
    assert answer == InvocationError(description, "orbit-lite")


@pytest.mark.parametrize("kind", [ValueError, RecursionError, MemoryError, asyncio.CancelledError, GeneratorExit])
async def test_of_other_exceptions_only_the_class_name_and_a_reference_travel(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: InvocationRequest) -> Json:
        raise kind("secret")

    with caplog.at_level(logging.ERROR):
        answer = await one_answer(OrbitConnectionService(NODE, handler(fail)), invocation())
    assert isinstance(answer, InvocationError)
    head, _, reference = answer.description.rpartition(" ")
    assert head == f"Internal error: {kind.__name__} in the handler; reference"
    assert reference in caplog.text
    assert "secret" not in answer.description


@pytest.mark.parametrize("result", [float("nan"), {"x": float("inf")}, {1, 2}, "\ud800", b"bytes"])
async def test_a_result_that_is_no_json_is_a_serialization_error(result: Any) -> None:
    answer = await one_answer(OrbitConnectionService(NODE, handler(lambda _: result)), invocation())
    assert isinstance(answer, InvocationError)
    assert answer.description.startswith("Serialization error: value: no JSON value: ")


async def test_a_message_that_makes_no_sense_is_answered_and_the_stream_goes_on() -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: "fine"))

    def fill(wire: Wire) -> None:
        wire.requests.put_nowait(MessageProto(message_id=1))
        wire.requests.put_nowait(MessageProto(message_id=2, content=MessageContentProto()))
        wire.call(3, "m")

    answers = await exchange(service, fill)
    assert [answer.message_id for answer in answers] == [1, 2, 3]
    first, second, third = (answer.content for answer in answers)
    assert first == InvocationError("Serialization error: content: missing")
    assert isinstance(second, InvocationError)
    assert second.description.startswith("Serialization error: content")
    assert third == InvocationResponse('"fine"')


# ---------------------------------------------------------------- routes


async def test_a_route_that_ends_here_is_served_here() -> None:
    served = handler(lambda _: 1)
    answer = await one_answer(OrbitConnectionService(NODE, served), invocation(), target=RoutedUnicast((CALLER, NODE)))
    assert answer == InvocationResponse("1")


async def test_a_route_that_ends_elsewhere_is_refused_by_a_node_that_does_not_relay() -> None:
    served = handler(lambda _: 1)
    answer = await one_answer(OrbitConnectionService(NODE, served), invocation(), target=RoutedUnicast((NODE, CALLER)))
    assert answer == InvocationError(
        "Cluster error: the message is routed to (test:n2), and this is (test:n1), which does not relay"
    )
    assert served.asked == []


async def test_a_route_that_ends_elsewhere_is_passed_on_by_a_relay() -> None:
    relayed: list[tuple[NodeId, InvocationReason, int]] = []

    class Relay:
        async def invoke(
            self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
        ) -> Json:
            relayed.append((node_id, request.reason, attempts))
            return "from afar"

    service = OrbitConnectionService(NODE, handler(lambda _: 1), relay=Relay())
    answer = await one_answer(service, invocation(), target=RoutedUnicast((NODE, CALLER)))
    assert answer == InvocationResponse('"from afar"')
    assert relayed == [(CALLER, InvocationReason.REROUTED, 1)]


# ---------------------------------------------------------------- bounds


async def test_no_more_is_read_than_there_are_places() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates), max_concurrent=2), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    for message_id, method in enumerate("abcde", 1):
        wire.call(message_id, method)
    await settle()
    assert set(gates.gates) == {"a", "b"}
    assert wire.requests.qsize() == 2  # the third has been read and waits for its place
    gates.gates["a"].set_result(1)
    await settle()
    assert set(gates.gates) == {"a", "b", "c"}
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_an_answer_that_cannot_leave_keeps_its_place() -> None:
    service, wire = OrbitConnectionService(NODE, handler(lambda _: 1), max_concurrent=2), Wire()
    wire.window.clear()
    serving = asyncio.create_task(service.serve_stream(wire))
    for message_id in range(1, 100):
        wire.call(message_id, "m")
    await settle()
    assert service.in_flight == 2
    assert wire.requests.qsize() == 96
    wire.window.set()
    wire.end()
    await serving
    assert wire.answers.qsize() == 99


# ---------------------------------------------------------------- ends


async def test_a_client_that_ends_its_side_still_gets_its_answers() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates)), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    wire.call(1, "slow")
    wire.end()
    await settle()
    assert not serving.done()
    gates.gates["slow"].set_result("at last")
    await serving
    assert wire.answers.get_nowait().content == InvocationResponse('"at last"')


async def test_when_the_call_is_cancelled_its_invocations_are_too_and_have_ended_with_it() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates)), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    for message_id, method in enumerate("ab", 1):
        wire.call(message_id, method)
    await settle()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert sorted(gates.cancelled) == ["a", "b"]
    assert wire.answers.empty()
    assert repr(service) == "<OrbitConnectionService (test:n1), 0 streams, 0 in flight>"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_call_does_not_end_before_its_invocations_have_cleaned_up() -> None:
    cleaned: list[str] = []

    async def slow_to_end(request: InvocationRequest) -> Json:
        try:
            await asyncio.Event().wait()
        finally:
            await settle()
            cleaned.append(request.method)
        return None

    service, wire = OrbitConnectionService(NODE, Handler(slow_to_end)), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    wire.call(1, "a")
    await settle()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert cleaned == ["a"]


async def test_a_stream_that_breaks_ends_the_call_and_its_invocations() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates)), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    wire.call(1, "a")
    wire.requests.put_nowait(Cancelled("the caller is gone"))
    with pytest.raises(Cancelled, match="gone"):
        await serving
    assert gates.cancelled == ["a"]


async def test_a_peer_that_vanishes_in_mid_stream_leaves_nothing_running(serve: Any, until: Any) -> None:
    gates = Gates()
    service = OrbitConnectionService(NODE, Handler(gates))
    server = await serve(service)
    channel = Channel("127.0.0.1", server.port)
    async with channel.request(METHOD.path, METHOD, MessageProto, MessageProto) as call:
        for message_id, method in enumerate("ab", 1):
            await call.send_message(MessageConverter.to_proto(Message(message_id, invocation(method))))
        await until(lambda: len(gates.gates) == 2)
        channel.close()
    await channel.wait_closed()
    await until(lambda: server.in_flight == 0)
    assert sorted(gates.cancelled) == ["a", "b"]
    assert service.in_flight == 0


async def test_an_invocation_knows_the_call_that_it_came_in(connect: Any) -> None:
    def peer(_: InvocationRequest) -> Json:
        call = current_call()
        return call.peer.host if call else None

    channel = await connect(OrbitConnectionService(NODE, handler(peer)))
    async with channel.request(METHOD.path, METHOD, MessageProto, MessageProto) as call:
        await call.send_message(MessageConverter.to_proto(Message(1, invocation())), end=True)
        answers = [MessageConverter.from_proto(proto).content async for proto in call]
    assert answers == [InvocationResponse('"127.0.0.1"')]


async def test_an_answer_over_the_size_limit_becomes_an_error_and_the_stream_goes_on(connect: Any) -> None:
    service = OrbitConnectionService(NODE, handler(lambda request: "x" * (2000 if request.method == "long" else 1)))
    channel = await connect(service, config=ServerConfig(max_message_size=1000))
    async with channel.request(METHOD.path, METHOD, MessageProto, MessageProto) as call:
        for message_id, method in enumerate(["long", "short"], 1):
            await call.send_message(MessageConverter.to_proto(Message(message_id, invocation(method))))
        await call.end()
        answers = {proto.message_id: MessageConverter.from_proto(proto).content async for proto in call}
    error = answers[1]
    assert isinstance(error, InvocationError)
    assert error.description.startswith("Serialization error: the answer cannot be sent: ")
    assert answers[2] == InvocationResponse('"x"')


# ---------------------------------------------------------------- draining


async def test_a_drain_refuses_new_calls_finishes_running_ones_and_ends_the_stream() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates), max_concurrent=2), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    wire.call(1, "running")
    await settle()
    draining = asyncio.create_task(service.drain(60.0))
    await settle()
    for message_id in (2, 3, 4):
        wire.call(message_id, "late")
        await settle()
        refusal = wire.answers.get_nowait()
        assert refusal.message_id == message_id
        assert refusal.content == InvocationError("Cluster error: draining: node (test:n1) takes no new calls")
    gates.gates["running"].set_result("done")
    assert await draining == 0
    with pytest.raises(DrainingError) as ended:
        await serving
    assert ended.value.metadata == (("orbit-executed", "no"),)
    assert wire.answers.get_nowait().content == InvocationResponse('"done"')


async def test_calls_that_outlast_a_drain_are_cut_and_answered() -> None:
    gates = Gates()
    service, wire = OrbitConnectionService(NODE, Handler(gates)), Wire()
    serving = asyncio.create_task(service.serve_stream(wire))
    wire.call(1, "endless")
    await settle()
    assert await service.drain(0.0) == 1
    with pytest.raises(DrainingError):
        await serving
    assert wire.answers.get_nowait().content == InvocationError("Timeout: the node stopped before the call had ended")
    assert gates.cancelled == ["endless"]


async def test_a_client_that_does_not_read_cannot_hold_up_a_drain_and_is_not_told_that_nothing_ran() -> None:
    service, wire = OrbitConnectionService(NODE, handler(lambda _: 1)), Wire()
    wire.window.clear()
    serving = asyncio.create_task(service.serve_stream(wire))
    wire.call(1, "m")
    await settle()
    assert await service.drain(0.0) == 1
    with pytest.raises(Exception, match="before it could send its answers") as ended:
        await serving
    assert not isinstance(ended.value, DrainingError)


async def test_while_draining_no_stream_is_opened_any_more(connect: Any) -> None:
    service = OrbitConnectionService(NODE, handler(lambda _: 1))
    channel = await connect(service)
    await service.drain(1.0)
    async with channel.request(METHOD.path, METHOD, MessageProto, MessageProto) as call:
        await call.send_request()
        with pytest.raises(RpcError, match="takes no new calls") as refused:
            await call.recv_message()
    assert refused.value.executed is Executed.NO
    assert refused.value.retryable


@given(st.lists(st.sampled_from(["answer", "fail", "nonsense", "info", "drop"]), max_size=30), st.integers(1, 4))
def test_whatever_a_client_sends_every_question_is_answered_once(kinds: list[str], places: int) -> None:
    def serve(request: InvocationRequest) -> Json:
        if request.method == "fail":
            raise InvocationFailed.because("asked to")
        return 1

    service = OrbitConnectionService(NODE, handler(serve), max_concurrent=places)

    def fill(wire: Wire) -> None:
        for message_id, kind in enumerate(kinds, 1):
            match kind:
                case "nonsense":
                    wire.requests.put_nowait(MessageProto(message_id=message_id))
                case "info":
                    wire.put(message_id, InfoRequest())
                case "drop":
                    wire.put(message_id, InvocationResponse("1"))
                case method:
                    wire.call(message_id, method)

    answers = asyncio.run(exchange(service, fill))
    asked = [message_id for message_id, kind in enumerate(kinds, 1) if kind != "drop"]
    assert sorted(answer.message_id for answer in answers) == asked
