"""The client's side of actor streams, against a peer in memory that does exactly what the test says."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import grpclib.server
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.converters import MessageConverter
from orbit_lite.errors import (
    AddressableNotFound,
    ClusterError,
    ConnectError,
    ConnectionLost,
    DrainingError,
    Executed,
    InvocationFailed,
    NetworkError,
    OrbitError,
    OverloadedError,
    ParseError,
    SerializationError,
    TimeoutError,
)
from orbit_lite.model import (
    AddressableReference,
    Content,
    InfoResponse,
    InvocationError,
    InvocationReason,
    InvocationRequest,
    InvocationResponse,
    Json,
    Message,
    NodeId,
    Unicast,
)
from orbit_lite.rpc import (
    Channel,
    Deadline,
    Server,
    Status,
    TransportConfig,
    Unimplemented,
    current_deadline,
    deadline_scope,
    rpc_error,
)
from orbit_lite.services import InvocationStream, OrbitConnectionService, StreamConfig
from orbit_proto.orbit.shared import MessageContentProto, MessageProto

NODE, PEER = NodeId("n1", "test"), NodeId("n2", "test")
AT_ONCE = StreamConfig(backoff_initial=0.0, backoff_max=0.0)


class Line:
    """One stream as the peer sees it."""

    def __init__(self, channel: Lines) -> None:
        self._channel = channel
        self._incoming: asyncio.Queue[MessageProto | Exception | None] = asyncio.Queue()
        self.received: asyncio.Queue[Message] = asyncio.Queue()
        self.window = asyncio.Event()
        if channel.lets_send:
            self.window.set()
        self.readable = asyncio.Event()
        self.readable.set()
        self.send_failure: OrbitError | None = None
        self.is_ended = False
        self.is_left = False
        self._is_read = False

    async def answer(self, message_id: int, content: Content) -> None:
        await self.put(MessageConverter.to_proto(Message(message_id, content, source=PEER)))

    async def put(self, event: MessageProto | Exception | None) -> None:
        """Let the client receive a message, or (None) the end, or a failure."""
        self._incoming.put_nowait(event)
        await settle()

    async def take(self) -> Message:
        return await self.received.get()

    # what the client sees

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None:
        assert not self._is_read, "left while a task still reads"
        self.is_left = True

    async def send_request(self) -> None:
        if self._channel.refusals:
            raise self._channel.refusals.pop(0)
        self._channel.opened.put_nowait(self)

    async def send_message(self, message: MessageProto) -> None:
        await self.window.wait()
        if self.send_failure is not None:
            raise self.send_failure
        self.received.put_nowait(MessageConverter.from_proto(message))

    async def end(self) -> None:
        self.is_ended = True
        if self._channel.ends:
            self._incoming.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[MessageProto]:
        return self

    async def __anext__(self) -> MessageProto:
        self._is_read = True
        try:
            await self.readable.wait()
            event = await self._incoming.get()
        finally:
            self._is_read = False
        match event:
            case None:
                raise StopAsyncIteration
            case Exception() as error:
                raise error
            case proto:
                return proto


class Lines:
    """A channel to that peer. refusals: errors of the next attempts to open a stream."""

    def __init__(self, *refusals: OrbitError) -> None:
        self.refusals = list(refusals)
        self.opened: asyncio.Queue[Line] = asyncio.Queue()
        self.deadlines: list[Deadline | None] = []
        self.endpoint = "http://peer:1"
        self.lets_send = True
        self.ends = True

    def request(self, name: str, cardinality: Any, request_type: Any, reply_type: Any, **options: Any) -> Line:
        assert (name, options) == ("/orbit.shared.ConnectionService/OpenStream", {})
        self.deadlines.append(current_deadline())
        return Line(self)

    async def next(self) -> Line:
        return await self.opened.get()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def request(method: str = "m") -> InvocationRequest:
    return InvocationRequest(AddressableReference.of("T", "k"), method, "[1]")


def start(stream: InvocationStream, method: str = "m", **options: Any) -> asyncio.Task[Json]:
    return asyncio.create_task(stream.invoke(request(method), **options))


async def failure(call: asyncio.Task[Json]) -> OrbitError:
    with pytest.raises(OrbitError) as caught:
        await call
    return caught.value


async def open_stream(config: StreamConfig = AT_ONCE) -> tuple[InvocationStream, Lines, Line]:
    """A stream that has answered one call."""
    lines = Lines()
    stream = InvocationStream(lines, config=config)
    call = start(stream, "first")
    line = await lines.next()
    await line.take()
    await line.answer(1, InvocationResponse("0"))
    assert await call == 0
    return stream, lines, line


# ---------------------------------------------------------------- what is sent


async def test_a_client_counts_from_one_names_no_source_and_addresses_any_server() -> None:
    lines = Lines()
    stream = InvocationStream(lines)
    calls = [start(stream, method) for method in "ab"]
    line = await lines.next()
    target = Unicast(NodeId("server", "default"))
    assert await line.take() == Message(1, request("a"), source=None, target=target, attempts=0)
    assert await line.take() == Message(2, request("b"), source=None, target=target, attempts=0)
    await line.answer(2, InvocationResponse('"two"'))
    await line.answer(1, InvocationResponse('{"ß":[1.5,null]}'))
    assert [await call for call in calls] == [{"ß": [1.5, None]}, "two"]
    assert repr(stream) == "<InvocationStream http://peer:1 open, 0 in flight, 0 waiting>"
    await stream.close()


async def test_a_node_says_who_it_is_whom_it_means_and_how_often_the_request_was_passed_on() -> None:
    lines = Lines()
    stream = InvocationStream(lines, source=NODE, target=PEER)
    passed_on = InvocationRequest(AddressableReference.of("T", 1), "m", "[]", InvocationReason.REROUTED)
    call = asyncio.create_task(stream.invoke(passed_on, attempts=2))
    line = await lines.next()
    assert await line.take() == Message(1, passed_on, source=NODE, target=Unicast(PEER), attempts=2)
    await stream.close()
    await failure(call)


async def test_nothing_is_opened_before_the_first_call() -> None:
    lines = Lines()
    stream = InvocationStream(lines)
    await settle()
    assert not lines.deadlines
    assert repr(stream) == "<InvocationStream http://peer:1 not open, 0 in flight, 0 waiting>"
    await stream.close()


async def test_the_deadline_of_the_handler_that_calls_first_bounds_its_call_and_not_the_stream() -> None:
    lines = Lines()
    stream = InvocationStream(lines)
    with deadline_scope(Deadline.after(0.01)):
        call = start(stream)
    await lines.next()
    assert lines.deadlines == [None]
    error = await failure(call)
    assert isinstance(error, TimeoutError)
    assert error.executed is Executed.MAYBE
    await stream.close()


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("description", "kind", "executed"),
    [
        ("Invocation failed: m on T - no funds", InvocationFailed, Executed.YES),
        ("Addressable not found: T:k", AddressableNotFound, Executed.NO),
        ("Cluster error: draining: node n takes no new calls", DrainingError, Executed.NO),
        ("Cluster error: overloaded: mailbox full", OverloadedError, Executed.NO),
        ("Cluster error: no node for this", ClusterError, Executed.NO),
        ("Serialization error: EOF while parsing a value", SerializationError, Executed.MAYBE),
        ("Network error: gRPC error", NetworkError, Executed.MAYBE),
        ("something else", OrbitError, Executed.MAYBE),
    ],
)
async def test_an_error_answer_becomes_an_error_of_its_kind(
    description: str, kind: type[OrbitError], executed: Executed
) -> None:
    stream, _, line = await open_stream()
    call = start(stream, "fails")
    await line.answer((await line.take()).message_id, InvocationError(description, "orbit-server"))
    error = await failure(call)
    assert type(error) is kind
    assert (error.executed, error.peer, error.method) == (executed, "http://peer:1", "T.fails")
    assert error.retryable is kind.retryable
    assert ": " not in error.message.removeprefix("gRPC error: ") or kind is OrbitError
    await stream.close()


@pytest.mark.parametrize("text", ["", "nonsense", "NaN", "[Infinity]", "1e999", '"\\ud800"'])
async def test_a_result_that_is_no_json_is_an_error_and_not_null(text: str) -> None:
    stream, _, line = await open_stream()
    call = start(stream)
    await line.take()
    await line.answer(2, InvocationResponse(text))
    error = await failure(call)
    assert isinstance(error, SerializationError)
    assert error.executed is Executed.MAYBE
    assert error.message.startswith("the result cannot be read: ")
    await stream.close()


@pytest.mark.parametrize(
    "answer",
    [
        MessageProto(message_id=2),
        MessageProto(message_id=2, content=MessageContentProto()),
        MessageConverter.to_proto(Message(2, InfoResponse(PEER))),
    ],
)
async def test_an_answer_that_makes_no_sense_fails_its_call_and_no_other(answer: MessageProto) -> None:
    stream, _, line = await open_stream()
    bad, good = start(stream), start(stream)
    await settle()
    await line.put(answer)
    await line.answer(3, InvocationResponse("3"))
    error = await failure(bad)
    assert isinstance(error, SerializationError)
    assert error.executed is Executed.MAYBE
    assert await good == 3
    await stream.close()


async def test_answers_to_what_was_never_asked_are_logged_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    stream, _, line = await open_stream()
    with caplog.at_level(logging.WARNING):
        for message_id in range(-3, 7):
            await line.answer(message_id * 100, InvocationResponse("1"))
    assert stream.stray_answers == 10
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["1", "2", "4", "8"]
    await stream.close()


# ---------------------------------------------------------------- callers that leave


async def test_a_caller_out_of_time_leaves_and_its_late_answer_is_dropped_and_counted() -> None:
    stream, _, line = await open_stream()
    error = await failure(start(stream, "slow", timeout=0.01))
    assert type(error) is TimeoutError
    assert (error.executed, error.retryable) == (Executed.MAYBE, True)
    assert str(error) == "no answer within 0.01 s (peer http://peer:1, method T.slow)"
    assert stream.in_flight == 0
    await line.answer(2, InvocationResponse("1"))
    assert (stream.late_answers, stream.stray_answers) == (1, 0)
    await stream.close()


async def test_out_of_time_in_the_queue_or_before_it_nothing_ran() -> None:
    stream, _, _line = await open_stream(StreamConfig(max_in_flight=1))
    first = start(stream)
    await settle()
    error = await failure(start(stream, timeout=0.01))
    assert (type(error), error.executed, error.message) == (TimeoutError, Executed.NO, "not sent within 0.01 s")
    error = await failure(start(stream, timeout=0.0))
    assert (type(error), error.executed) == (TimeoutError, Executed.NO)
    assert (stream.in_flight, stream.waiting) == (1, 0)
    await stream.close()
    await failure(first)


async def test_a_cancelled_caller_is_forgotten() -> None:
    stream, _, line = await open_stream()
    call = start(stream)
    await settle()
    assert stream.in_flight == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert stream.in_flight == 0
    await line.answer(2, InvocationResponse("1"))
    assert stream.late_answers == 1
    await stream.close()


# ---------------------------------------------------------------- bounds


async def test_calls_beyond_the_bound_wait_and_beyond_the_queue_are_refused() -> None:
    stream, _, line = await open_stream(StreamConfig(max_in_flight=2, max_waiting=2))
    calls = [start(stream, method) for method in "ab"]
    await settle()
    calls += [start(stream, method) for method in "cd"]
    await settle()
    assert repr(stream) == "<InvocationStream http://peer:1 open, 2 in flight, 2 waiting>"
    error = await failure(start(stream))
    assert isinstance(error, OverloadedError)
    assert error.executed is Executed.NO
    for expected in "abcd":
        message = await line.take()
        assert isinstance(message.content, InvocationRequest)
        assert message.content.method == expected
        await line.answer(message.message_id, InvocationResponse(f'"{expected}"'))
    assert [await call for call in calls] == list("abcd")
    await stream.close()


async def test_a_request_that_the_wire_cannot_say_fails_alone() -> None:
    stream, _, line = await open_stream()
    bad, good = start(stream, attempts=2**63), start(stream)
    error = await failure(bad)
    assert isinstance(error, ParseError)
    assert error.executed is Executed.NO
    await line.answer((await line.take()).message_id, InvocationResponse("1"))
    assert await good == 1
    await stream.close()


async def test_a_caller_that_leaves_makes_room_for_the_next() -> None:
    stream, _, line = await open_stream(StreamConfig(max_in_flight=1, max_waiting=1))
    first = start(stream, "first")
    await settle()
    second = start(stream, "second")
    await settle()
    first.cancel()
    await settle()
    assert [(await line.take()).message_id for _ in range(2)] == [2, 3]
    await line.answer(3, InvocationResponse("3"))
    assert await second == 3
    await stream.close()


async def test_while_the_transport_takes_nothing_calls_wait_in_order() -> None:
    stream, _, line = await open_stream()
    line.window.clear()
    calls = [start(stream, method) for method in "abc"]
    await settle()
    assert (stream.in_flight, stream.waiting) == (1, 2)
    line.window.set()
    for number, call in enumerate(calls, 2):
        await line.answer(number, InvocationResponse(str(number)))
        assert await call == number
    await stream.close()


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("reason", [ConnectionLost("reset"), None, rpc_error(Status.INTERNAL, "x")])
async def test_when_the_stream_is_lost_its_calls_end_at_once_and_may_have_run(reason: OrbitError | None) -> None:
    stream, lines, line = await open_stream()
    calls = [start(stream) for _ in range(3)]
    await settle()
    await line.put(reason)
    for call in calls:
        error = await failure(call)
        assert type(error) is ConnectionLost
        assert (error.executed, error.peer, error.method) == (Executed.MAYBE, "http://peer:1", "T.m")
        assert error.__cause__ is reason or reason is None
    assert line.is_left
    assert stream.in_flight == 0
    call = start(stream)
    line = await lines.next()
    assert (await line.take()).message_id == 1
    await line.answer(1, InvocationResponse('"again"'))
    assert await call == "again"
    await stream.close()


async def test_a_lost_stream_is_not_opened_again_before_it_is_needed() -> None:
    stream, lines, line = await open_stream()
    await line.put(ConnectionLost("reset"))
    assert lines.opened.empty()
    assert repr(stream) == "<InvocationStream http://peer:1 not open, 0 in flight, 0 waiting>"
    await stream.close()


async def test_what_was_not_sent_goes_on_the_next_stream_once() -> None:
    stream, lines, line = await open_stream()
    line.window.clear()
    calls = [start(stream, method) for method in "ab"]
    await settle()
    await line.put(ConnectionLost("reset"))
    second = await lines.next()
    assert [(await second.take()).message_id for _ in range(2)] == [1, 2]
    await second.answer(1, InvocationResponse('"a"'))
    assert await calls[0] == "a"
    second.window.clear()
    calls.append(start(stream, "c"))
    await settle()
    await second.put(ConnectionLost("reset again"))
    error = await failure(calls[1])
    assert error.executed is Executed.MAYBE  # it was sent, the second time
    third = await lines.next()
    assert (await third.take()).message_id == 1
    await stream.close()
    await failure(calls[2])


async def test_what_two_streams_in_a_row_did_not_take_fails_and_did_not_run() -> None:
    stream, lines, line = await open_stream()
    line.window.clear()
    lines.lets_send = False
    calls = [start(stream, method) for method in "ab"]
    await settle()
    await line.put(ConnectionLost("reset"))
    second = await lines.next()
    await second.answer(0, InvocationResponse("1"))  # it lives, so it was not a failure to open
    await second.put(ConnectionLost("reset"))
    for call in calls:
        error = await failure(call)
        assert (type(error), error.executed) == (ConnectionLost, Executed.NO)
        assert error.message == "the stream was lost before the call was sent: reset"
    await stream.close()


async def test_answers_that_have_come_are_read_before_a_failure_to_send_ends_the_stream() -> None:
    stream, lines, line = await open_stream()
    line.readable.clear()
    first, second = start(stream), start(stream)
    await settle()
    await line.answer(2, InvocationResponse("2"))  # the reader waits for this one already
    assert await first == 2
    await line.answer(3, InvocationResponse("3"))
    line.send_failure = ConnectionLost("reset")
    unsent = start(stream)
    await settle()
    line.readable.set()
    assert await second == 3
    await line.put(ConnectionLost("reset"))
    assert (await (await lines.next()).take()).message_id == 1
    await stream.close()
    await failure(unsent)


async def test_a_call_that_was_said_not_to_be_sent_is_not_sent() -> None:
    stream, _, line = await open_stream()
    line.window.clear()
    first, second = start(stream), start(stream, timeout=0.02)
    await settle()
    asyncio.get_running_loop().call_later(0.001, line.window.set)
    time.sleep(0.03)  # noqa: ASYNC251  # both timers fire in one turn of the loop: the writer goes on, the time is over
    assert (await failure(second)).executed is Executed.NO
    await settle()
    assert line.received.qsize() == 1
    await stream.close()
    await failure(first)


async def test_one_failure_to_open_is_not_noticed_and_two_in_a_row_say_why() -> None:
    lines = Lines(ConnectError("refused"))
    stream = InvocationStream(lines, config=AT_ONCE)
    call = start(stream)
    line = await lines.next()
    await line.take()
    await line.answer(1, InvocationResponse("1"))
    assert await call == 1
    lines.refusals = [ConnectError("refused"), ConnectError("refused again")]
    await line.put(None)
    call = start(stream)
    error = await failure(call)
    assert (type(error), error.message, error.executed) == (ConnectError, "refused", Executed.NO)
    await stream.close()


async def test_a_peer_that_says_that_nothing_ran_is_believed() -> None:
    stream, _, line = await open_stream()
    call = start(stream)
    await settle()
    await line.put(rpc_error(Status.UNAVAILABLE, "draining", metadata=[("orbit-executed", "no")]))
    error = await failure(call)
    assert isinstance(error, ConnectionLost)
    assert (error.executed, error.retryable) == (Executed.NO, True)
    await stream.close()


async def test_a_peer_without_the_service_is_told_from_a_lost_connection() -> None:
    lines = Lines()
    stream = InvocationStream(lines, config=AT_ONCE)
    call = start(stream)
    line = await lines.next()
    await line.take()
    await line.put(rpc_error(Status.UNIMPLEMENTED, "unknown method"))
    error = await failure(call)
    assert isinstance(error, Unimplemented)
    assert (error.executed, error.retryable) == (Executed.NO, False)
    await stream.close()


async def test_closing_fails_what_waits_refuses_what_comes_and_leaves_no_task() -> None:
    stream, _, line = await open_stream(StreamConfig(max_in_flight=1))
    sent = start(stream)
    await settle()
    queued = start(stream)
    await settle()
    await stream.close()
    assert line.is_left
    assert (await failure(sent)).executed is Executed.MAYBE
    assert (await failure(queued)).executed is Executed.NO
    assert (await failure(start(stream))).executed is Executed.NO
    await stream.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert repr(stream) == "<InvocationStream http://peer:1 closed, 0 in flight, 0 waiting>"


async def test_a_stream_without_calls_is_ended_by_both_sides() -> None:
    stream, _, line = await open_stream()
    call = start(stream)
    await line.answer((await line.take()).message_id, InvocationResponse("7"))
    assert await call == 7
    await stream.close()
    assert line.is_ended
    assert line.is_left
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stream_with_calls_is_reset_and_not_ended() -> None:
    stream, _, line = await open_stream()
    call = start(stream)
    await line.take()
    await stream.close()
    assert line.is_left
    assert not line.is_ended
    assert (await failure(call)).executed is Executed.MAYBE


async def test_a_peer_that_does_not_end_the_stream_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbit_lite.services.stream.CLOSE_GRACE", 0.0)
    stream, lines, line = await open_stream()
    lines.ends = False
    await stream.close()
    assert line.is_left
    assert asyncio.all_tasks() == {asyncio.current_task()}


OPERATIONS = ["call", "call", "call", "answer", "answer", "leave", "block", "unblock", "lose", "refuse", "step"]


@given(st.lists(st.sampled_from(OPERATIONS), max_size=40), st.integers(1, 3))
def test_every_call_ends_once_and_what_is_said_not_to_have_run_never_reached_the_peer(
    operations: list[str], in_flight: int
) -> None:
    async def run() -> None:
        lines = Lines()
        stream = InvocationStream(lines, config=StreamConfig(max_in_flight=in_flight, backoff_initial=0, backoff_max=0))
        calls: dict[str, asyncio.Task[Json]] = {}
        reached: set[str] = set()
        line: Line | None = None
        for number, operation in enumerate(operations):
            if line is None and not lines.opened.empty():
                line = lines.opened.get_nowait()
            match operation:
                case "call":
                    calls[str(number)] = start(stream, str(number))
                case "answer" if line is not None and not line.received.empty():
                    message = line.received.get_nowait()
                    assert isinstance(message.content, InvocationRequest)
                    reached.add(message.content.method)
                    await line.answer(message.message_id, InvocationResponse(f'"{message.content.method}"'))
                case "leave" if calls:
                    calls[min(calls)].cancel()
                case "block" if line is not None:
                    line.window.clear()
                case "unblock" if line is not None:
                    line.window.set()
                case "lose" if line is not None:
                    while not line.received.empty():
                        content = line.received.get_nowait().content
                        assert isinstance(content, InvocationRequest)
                        reached.add(content.method)
                    await line.put(ConnectionLost("reset"))
                    line = None
                case "refuse":
                    lines.refusals.append(ConnectError("refused"))
                case _:
                    await settle()
        await settle()
        await stream.close()
        for method, outcome in zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True):
            if isinstance(outcome, OrbitError):
                assert not (outcome.executed is Executed.NO and method in reached)
            else:
                assert outcome == method or isinstance(outcome, asyncio.CancelledError)
        assert (stream.in_flight, stream.waiting) == (0, 0)

    asyncio.run(run())


# ---------------------------------------------------------------- over loopback


class Echo:
    """An InvocationHandler that gives back the method's name, or waits for ever when it is `wait`."""

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        if request.method == "wait":
            await asyncio.Event().wait()
        return request.method


async def test_a_hundred_calls_at_once_over_one_stream(connect: Any) -> None:
    channel = await connect(OrbitConnectionService(PEER, Echo()))
    stream = InvocationStream(channel, source=NODE, target=PEER)
    assert await asyncio.gather(*(start(stream, f"m{n}") for n in range(100))) == [f"m{n}" for n in range(100)]
    assert await stream.info() == PEER
    assert channel.open_streams == 1
    await stream.close()
    assert channel.open_streams == 0


async def test_a_request_over_the_size_limit_fails_alone(serve: Any) -> None:
    server = await serve(OrbitConnectionService(PEER, Echo()))
    async with Channel("127.0.0.1", server.port, config=TransportConfig(max_message_size=1000)) as channel:
        stream = InvocationStream(channel)
        waiting = start(stream, "wait")
        error = await failure(start(stream, "x" * 2000))
        assert (error.code, error.executed, error.retryable) == (Status.RESOURCE_EXHAUSTED, Executed.NO, False)
        assert await stream.invoke(request("fine")) == "fine"
        assert stream.in_flight == 1
        await stream.close()
        await failure(waiting)


async def test_a_server_that_dies_ends_its_calls_and_its_successor_is_found(until: Any) -> None:
    service = OrbitConnectionService(PEER, Echo())
    async with Server([service]) as first:
        await first.start("127.0.0.1", 0)
        port = first.port
        channel = Channel("127.0.0.1", port, redial_initial=0.0)
        stream = InvocationStream(channel, config=AT_ONCE)
        waiting = start(stream, "wait")
        await until(lambda: service.in_flight == 1)
    error = await failure(waiting)
    assert (type(error), error.executed) == (ConnectionLost, Executed.MAYBE)
    error = await failure(start(stream))
    assert (type(error), error.executed) == (ConnectError, Executed.NO)
    async with Server([service]) as second:
        await second.start("127.0.0.1", port)
        assert await stream.invoke(request("again")) == "again"
        await stream.close()
        channel.close()
        await channel.wait_closed()


async def test_the_calls_of_a_draining_server_are_answered_and_the_next_did_not_run(connect: Any) -> None:
    service = OrbitConnectionService(PEER, Echo())
    stream = InvocationStream(await connect(service), config=AT_ONCE)
    waiting = start(stream, "wait")
    assert await stream.invoke(request("a")) == "a"
    assert await service.drain(0.0) == 1
    error = await failure(waiting)
    assert (type(error), error.executed) == (TimeoutError, Executed.MAYBE)
    error = await failure(start(stream))
    assert (error.executed, error.retryable) == (Executed.NO, True)
    assert "takes no new calls" in error.message
    await stream.close()


async def test_many_large_answers_to_a_slow_reader_arrive_whole(connect: Any) -> None:
    class Long(Echo):
        async def handle(self, request: InvocationRequest, **options: Any) -> Json:
            return "ü" * 200_000

    stream = InvocationStream(await connect(OrbitConnectionService(PEER, Long())))
    results = await asyncio.gather(*(start(stream) for _ in range(20)))
    assert {len(str(result)) for result in results} == {200_000}
    await stream.close()


async def test_the_service_runs_on_grpclibs_own_server_too() -> None:
    service = OrbitConnectionService(PEER, Echo())
    server = grpclib.server.Server([service])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        await server.start(sock=listener)
        async with Channel("127.0.0.1", port) as channel:
            stream = InvocationStream(channel)
            assert await asyncio.gather(*(start(stream, f"m{n}") for n in range(20))) == [f"m{n}" for n in range(20)]
            await stream.close()
        server.close()
        await server.wait_closed()
    assert service.in_flight == 0
