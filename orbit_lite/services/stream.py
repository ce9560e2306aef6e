"""The stream on which this process invokes actors elsewhere, client side of `orbit.shared.ConnectionService`.

An InvocationStream is one persistent OpenStream to one endpoint. Callers queue their requests and wait for futures; a
task opens the stream on first use, writes what is queued, and hands answers out by message_id. A call costs no task of
its own. What can become of a call:

    queued ──sent──> pending ──answer──> result or the peer's error
       │                └──stream lost──> ConnectionLost, executed MAYBE (NO where the peer says that it ran nothing)
       ├──stream lost──> queued once more, for the next stream; at its second loss: ConnectionLost, executed NO
       └──cannot be opened, twice in a row──> the reason, executed NO

A caller that is cancelled or out of time leaves at any point; an answer that comes after that is counted and dropped.

After a loss the stream is opened again when the next call needs it: the first time at once, then with exponential
backoff and full jitter until an answer comes. Requests wait in a bounded queue while too many are unanswered, or the
transport takes no more; beyond the bound they are refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import OrderedDict
from typing import Any, Protocol

from orbit_lite.converters import ConnectionInfoResponseConverter, MessageContentConverter, MessageConverter
from orbit_lite.converters.json_text import load_json
from orbit_lite.converters.presence import fields, int64, required
from orbit_lite.errors import (
    ConnectError,
    ConnectionLost,
    ConversionError,
    Executed,
    InternalError,
    NetworkError,
    OrbitError,
    OverloadedError,
    ParseError,
    SerializationError,
    TimeoutError,
)
from orbit_lite.model import (
    Content,
    InvocationError,
    InvocationRequest,
    InvocationResponse,
    Json,
    Message,
    NodeId,
    Unicast,
)
from orbit_lite.rpc import Cardinality, Method, ResourceExhausted, current_deadline, rpc_error
from orbit_lite.services.invocation_errors import read_error
from orbit_lite.services.stream_config import StreamConfig
from orbit_proto.orbit.shared import ConnectionInfoRequestProto, ConnectionServiceStub, MessageProto

__all__ = ["InvocationStream", "StreamChannel"]

log = logging.getLogger("orbit_lite.services")

OPEN_STREAM = Method("/orbit.shared.ConnectionService/OpenStream", True, True, MessageProto, MessageProto)

#: Whom Orbit-RS clients address, whatever server it is.
ANY_SERVER = NodeId("server")

#: Seconds that answers have to be read which came before sending failed.
READ_GRACE = 1.0

#: Seconds that the peer has to end a stream which we have ended.
CLOSE_GRACE = 0.5


class StreamChannel(Protocol):
    """What streams are opened on: a Channel, or a pool's channel to one endpoint."""

    def request(
        self, name: str, cardinality: Cardinality, request_type: type[Any], reply_type: type[Any], /
    ) -> Any: ...


class _Call:
    """One invocation on its way."""

    __slots__ = ("answer", "attempts", "has_moved", "is_sent", "message_id", "request")

    def __init__(self, request: InvocationRequest, attempts: int) -> None:
        self.request = request
        self.attempts = attempts
        self.answer: asyncio.Future[Content] = asyncio.get_running_loop().create_future()
        self.message_id = 0  # on the stream that it is sent on; 0 = on none yet
        self.is_sent = False  # all of it is with the transport
        self.has_moved = False  # a stream was lost before it was sent there

    @property
    def method(self) -> str:
        return f"{self.request.reference.addressable_type}.{self.request.method}"

    def fail(self, error: OrbitError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class InvocationStream:
    """One persistent stream over `channel`.

    peer: how errors name the other end. source: our node id, which clients that are no nodes leave out. target: the
    peer's node id where it is known. Call `close` in the end.
    """

    def __init__(
        self,
        channel: StreamChannel,
        *,
        peer: str | None = None,
        source: NodeId | None = None,
        target: NodeId | None = None,
        config: StreamConfig | None = None,
    ) -> None:
        self.peer = peer if peer is not None else _name_of(channel)
        self.config = StreamConfig() if config is None else config
        #: Answers that came after their callers had left.
        self.late_answers = 0
        #: Answers to what was never asked: a defect of the peer.
        self.stray_answers = 0
        self._channel = channel
        self._source = source
        self._target = Unicast(ANY_SERVER if target is None else target)
        self._queue: OrderedDict[_Call, None] = OrderedDict()
        self._pending: dict[int, _Call] = {}
        self._next_id = 1
        self._work = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._is_open = False
        self._is_closed = False
        self._failures = 0
        self._next_attempt = 0.0

    # ---------------------------------------------------------------- for callers

    @property
    def in_flight(self) -> int:
        """Calls that were sent and are not answered."""
        return len(self._pending)

    @property
    def waiting(self) -> int:
        """Calls that wait to be sent."""
        return len(self._queue)

    async def invoke(self, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None) -> Json:
        """Send one invocation and wait for its result.

        attempts: how often it was passed on before. timeout: seconds; None = the configuration's; the deadline of the
        handler that calls is never exceeded. Raises what the peer answered, TimeoutError, ConnectionLost, or the reason
        why the stream cannot be opened, each with `executed` honest; OverloadedError when too many calls wait.
        """
        call = _Call(request, attempts)
        limit = self.config.request_timeout if timeout is None else timeout
        if (deadline := current_deadline()) is not None:
            limit = min(limit, deadline.remaining())
        self._admit(call, limit)
        timer = asyncio.get_running_loop().call_later(limit, self._expire, call, limit)
        try:
            content = await call.answer
        finally:
            timer.cancel()
            self._forget(call)
        return self._result(call, content)

    async def info(self, *, timeout: float | None = None) -> NodeId:
        """Who the peer says that it is, by GetConnectionInfo. Orbit-RS answers with a new random key each time."""
        stub = ConnectionServiceStub(self._channel)
        answer = await stub.get_connection_info(ConnectionInfoRequestProto(), timeout=timeout)
        return ConnectionInfoResponseConverter.from_proto(answer).node_id

    def abort(self) -> None:
        """Reset the stream; calls that wait fail with ConnectionLost. `close` waits until everything is gone."""
        self._refuse_calls()
        if self._runner is not None:
            self._runner.cancel()

    async def close(self) -> None:
        """End the stream, and wait until nothing of it is left; calls that wait fail with ConnectionLost.

        With no call on its way the peer is let end its side too, so that to it the stream was a success; else, and when
        it takes its time, this is `abort`.
        """
        is_idle = self._is_open and not self._is_closed and not self._pending
        self._refuse_calls()
        if self._runner is None:
            return
        try:
            if is_idle:
                self._work.set()  # the writer ends our side
                await asyncio.wait([self._runner], timeout=CLOSE_GRACE)
        finally:
            self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)

    def _refuse_calls(self) -> None:
        self._is_closed = True
        self._fail_all(ConnectionLost("the stream was closed on this side"))

    def _admit(self, call: _Call, limit: float) -> None:
        if self._is_closed:
            raise self._lost(call, ConnectionLost("the stream was closed on this side"))
        if limit <= 0.0:
            raise TimeoutError("no time was left to call", executed=Executed.NO, peer=self.peer, method=call.method)
        if len(self._queue) >= self.config.max_waiting:
            raise OverloadedError(
                f"{len(self._queue)} calls wait to be sent, {len(self._pending)} for their answers",
                peer=self.peer,
                method=call.method,
            )
        self._queue[call] = None
        self._work.set()
        if self._runner is None:
            # In a context of its own: the first caller's deadline and call are not the stream's.
            self._runner = asyncio.get_running_loop().create_task(
                self._run(), name=f"actor stream to {self.peer}", context=contextvars.Context()
            )

    def _expire(self, call: _Call, limit: float) -> None:
        is_queued = call in self._queue
        problem = f"not sent within {limit:g} s" if is_queued else f"no answer within {limit:g} s"
        executed = Executed.NO if is_queued else Executed.MAYBE
        call.fail(TimeoutError(problem, executed=executed, peer=self.peer, method=call.method))

    def _forget(self, call: _Call) -> None:
        self._queue.pop(call, None)
        if self._pending.get(call.message_id) is call:
            del self._pending[call.message_id]
            self._work.set()

    def _result(self, call: _Call, content: Content) -> Json:
        match content:
            case InvocationResponse(text):
                try:
                    return load_json("value", text)
                except ConversionError as error:
                    problem = f"the result cannot be read: {error.message}"
            case InvocationError():
                raise read_error(content, peer=self.peer, method=call.method)
            case _:
                problem = f"the answer is no result: {type(content).__name__}"
        raise SerializationError(problem, executed=Executed.MAYBE, peer=self.peer, method=call.method)

    # ---------------------------------------------------------------- the stream's task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                self._work.clear()
                await self._work.wait()
            if (wait := self._next_attempt - loop.time()) > 0:
                await asyncio.sleep(wait)
            try:
                reason = await self._converse()
            except OrbitError as error:  # the stream could not be opened
                reason = error
            except Exception as error:
                log.exception("defect in the actor stream to %s", self.peer)
                reason = InternalError(f"defect in the actor stream: {type(error).__name__}")
            if self._is_closed:
                return
            self._lose(reason)

    async def _converse(self) -> OrbitError:
        """One stream from its opening to its end; gives the reason of its end."""
        request = self._channel.request(OPEN_STREAM.path, OPEN_STREAM, MessageProto, MessageProto)
        async with request as stream:
            await stream.send_request()
            self._next_id = 1
            self._is_open = True
            log.debug("= actor stream to %s opened", self.peer)
            reader, writer = tasks = asyncio.create_task(self._read(stream)), asyncio.create_task(self._write(stream))
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if not reader.done():  # answers that have come already are still to be read
                    await asyncio.wait([reader], timeout=READ_GRACE)
                return (reader if reader.done() else writer).result()
            finally:
                self._is_open = False
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, stream: Any) -> OrbitError:
        """Send what is queued, as far as answers and flow control keep up, until nothing can be sent any more."""
        while True:
            while not self._queue or len(self._pending) >= self.config.max_in_flight:
                if self._is_closed:
                    return await _end(stream)
                self._work.clear()
                await self._work.wait()
            call, _ = self._queue.popitem(last=False)
            if call.answer.done():  # its caller has left, and perhaps been told that it was not sent
                continue
            call.message_id = self._next_id
            self._next_id += 1
            self._pending[call.message_id] = call
            try:
                await stream.send_message(self._request_of(call))
                call.is_sent = True
            except (ParseError, SerializationError, ResourceExhausted) as error:
                # A value that the wire cannot say, or too large: nothing of this one was sent, the others are fine.
                error.executed = Executed.NO
                call.fail(error.at(peer=self.peer, method=call.method))
            except OrbitError as error:
                return error

    def _request_of(self, call: _Call) -> MessageProto:
        message = Message(call.message_id, call.request, self._source, self._target, call.attempts)
        return MessageConverter.to_proto(message)

    async def _read(self, stream: Any) -> OrbitError:
        try:
            async for proto in stream:
                self._failures = 0
                self._take(proto)
        except OrbitError as error:
            return error
        return ConnectionLost("the peer ended the stream")

    def _take(self, proto: MessageProto) -> None:
        state = fields(proto)
        message_id = int64(state, "message_id")
        call = self._pending.pop(message_id, None)
        if call is None:
            self._drop(message_id)
            return
        if self._queue:
            self._work.set()
        try:
            content = required(state, "content", MessageContentConverter.from_proto)
        except ConversionError as error:
            problem = f"the answer cannot be read: {error.message}"
            call.fail(SerializationError(problem, executed=Executed.MAYBE, peer=self.peer, method=call.method))
        else:
            if not call.answer.done():
                call.answer.set_result(content)

    def _drop(self, message_id: int) -> None:
        if 0 < message_id < self._next_id:
            self.late_answers += 1
            return
        self.stray_answers += 1
        if self.stray_answers & (self.stray_answers - 1) == 0:  # the 1st, 2nd, 4th, 8th …
            log.warning(
                "%s answered message %d, which it was never sent; answers of this kind so far: %d",
                self.peer,
                message_id,
                self.stray_answers,
            )

    # ---------------------------------------------------------------- losses

    def _lose(self, error: OrbitError) -> None:
        """The stream has ended, or could not be opened: decide what becomes of its calls, and when to try again."""
        self._failures += 1
        delay = self.config.backoff(self._failures, random.random())
        self._next_attempt = asyncio.get_running_loop().time() + delay
        log.debug("= actor stream to %s lost: %s", self.peer, error)
        pending, self._pending = self._pending, {}
        unsent = [call for call in pending.values() if not call.is_sent] + list(self._queue)
        for call in pending.values():
            if call.is_sent:
                call.fail(self._lost(call, error))
        self._queue.clear()
        for call in unsent:
            if call.has_moved or self._failures > 1:
                call.fail(self._lost(call, error))
            else:
                call.has_moved = True
                call.message_id = 0
                self._queue[call] = None

    def _fail_all(self, error: OrbitError) -> None:
        for call in [*self._pending.values(), *self._queue]:
            call.fail(self._lost(call, error))
        self._pending.clear()
        self._queue.clear()

    def _lost(self, call: _Call, error: OrbitError) -> OrbitError:
        """What the call is told of the end of its stream: an error of its own, since each is raised elsewhere."""
        executed = Executed.MAYBE if call.is_sent and error.executed is not Executed.NO else Executed.NO
        made: OrbitError
        if error.executed is Executed.NO and not isinstance(error, NetworkError):
            # The peer has no such service, or we may not use it: no matter of the connection.
            made = rpc_error(error.code, error.message, retryable=error.retryable)
        elif isinstance(error, ConnectError):
            made = ConnectError(error.message)
        else:
            when = "the answer came" if call.is_sent else "the call was sent"
            made = ConnectionLost(f"the stream was lost before {when}: {error.message}")
        made.executed = executed
        made.__cause__ = error
        return made.at(peer=self.peer, method=call.method)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open" if self._is_open else "not open"
        return f"<InvocationStream {self.peer} {state}, {self.in_flight} in flight, {self.waiting} waiting>"


async def _end(stream: Any) -> OrbitError:
    """End our side of a stream: nothing more is sent. Gives the reason that counts if the peer gives none."""
    try:
        await stream.end()
    except OrbitError as error:
        return error
    return ConnectionLost("the stream was closed on this side")


def _name_of(channel: StreamChannel) -> str:
    endpoint = getattr(channel, "endpoint", None)
    return str(getattr(endpoint, "url", endpoint or "peer"))
