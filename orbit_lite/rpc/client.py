"""One call as its caller sees it: a stream object in grpclib's shape, on which betterproto's stubs run.

Whatever goes wrong is translated here, once, into the library's errors. A call that fails stays failed: every later
operation on it raises the same error. What arrived before the failure can still be received, unless this side ended the
call itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import cached_property
from types import TracebackType
from typing import Generic, Protocol, TypeVar, cast

from orbit_lite.errors import ConnectError, ConnectionLost, Executed, InternalError, OrbitError, Status
from orbit_lite.rpc.call import Outcome, encoding_of, read_outcome, read_response
from orbit_lite.rpc.compression import IDENTITY
from orbit_lite.rpc.context import Peer
from orbit_lite.rpc.deadline import Deadline
from orbit_lite.rpc.errors import Cancelled, DeadlineExceeded, Internal, rpc_error
from orbit_lite.rpc.framing import MessageReader, frame_message, framer
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.metadata import Headers, Metadata, MetadataLike, as_metadata
from orbit_lite.rpc.method import Method, decoder, encoder
from orbit_lite.rpc.redial import backoff
from orbit_lite.rpc.status import ErrorCode, status_of_reset
from orbit_lite.rpc.stream import ConnectionEnded, Stream, StreamReset, unpack
from orbit_lite.rpc.timers import Timer, Timers

__all__ = ["Caller", "ClientCall", "undecodable"]

log = logging.getLogger("orbit_lite.rpc")

Q = TypeVar("Q")
R = TypeVar("R")

#: What a tonic server says, with CANCELLED, when a call's deadline passed over there.
TONIC_TIMEOUT = "Timeout expired"
#: How often a request that was not looked at is sent again before the call fails; once when the stream was refused.
RESENDS = 3


class Caller(Protocol):
    """What a call needs of its channel."""

    @property
    def peer_name(self) -> str: ...
    @property
    def max_message_size(self) -> int: ...
    @property
    def packed(self) -> bool: ...
    @property
    def interceptors(self) -> Sequence[Interceptor]: ...
    @property
    def wait_for_ready(self) -> bool: ...

    def timers(self) -> Timers: ...
    def request_headers(self, path: str, timeout: float | None, metadata: Metadata) -> Headers: ...
    def open_at_once(self, headers: Headers, data: bytes) -> Stream | None: ...
    async def open_stream(self, headers: Callable[[], Headers], *, end: bool) -> Stream: ...
    def call_started(self) -> None: ...
    def call_ended(self) -> None: ...


def undecodable(error: OrbitError) -> Internal:
    """What is said of a reply that is no message of its type."""
    return Internal(f"the reply cannot be decoded: {error.message}", executed=Executed.YES)


async def _each(messages: Iterable[Q]) -> AsyncIterator[Q]:
    for message in messages:
        yield message


class ClientCall(Generic[Q, R]):
    """A call. Use it as `async with channel.request(…) as call`; within the block

    - `send_message` any number of times as the method allows, `end` after the last one of a request stream,
    - `recv_message` until it gives None, or `async for`; both directions may run in different tasks,
    - `initial_metadata`, `trailing_metadata` once they have come.

    Leaving the block before the end of the replies cancels the call. All methods raise OrbitError: a RpcError when the
    peer answered with a status, NetworkError and TimeoutError families otherwise.
    """

    # A unary call that goes well touches few of these; the others are made when they are needed.
    initial_metadata: Metadata | None = None
    trailing_metadata: Metadata | None = None
    peer: Peer | None = None
    _stream: Stream | None = None
    _outcome: Outcome | None = None
    _failure: OrbitError | None = None
    _received = 0
    _sent = 0
    _may_send_now = False  # the stream is open, and no task is in the middle of a message
    _sender: asyncio.Task[object] | None = None
    _ready: Sequence[bytes] | deque[bytes] = ()  # messages that have been found and not received
    _ended = False
    _owner: asyncio.Task[object] | None = None
    _timer: Timer | None = None
    _framed: bytes | None = None  # a unary request, kept in case that it has to be sent again
    _resent = 0
    _around: AsyncExitStack | None = None
    #: Wait for a server that cannot be reached, as long as the deadline allows, instead of failing.
    wait_for_ready = False

    def __init__(self, caller: Caller, method: Method, metadata: Metadata, deadline: Deadline | None) -> None:
        self.method = method
        self.deadline = deadline
        self._caller = caller
        self._metadata = metadata

    def take_over(self, stream: Stream, framed: bytes) -> None:
        """Go on with a unary call whose request has been sent, and of which the channel knows."""
        self._stream = stream
        self._framed = framed
        self._sent = 1
        self._ended = True
        self.peer = stream.peer

    @property
    def metadata(self) -> Metadata:
        """What goes with the request. Interceptors may replace it before the call is sent."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: MetadataLike | Metadata) -> None:
        self._metadata = as_metadata(metadata)

    @cached_property
    def _reader(self) -> MessageReader:
        stream = self._stream
        encoding = IDENTITY if stream is None or stream.head is None else encoding_of(stream.head)
        reader = MessageReader(self._caller.max_message_size, encoding)
        if self.method.server_streaming:
            self._ready = reader.ready
        return reader

    @cached_property
    def _decode(self) -> Callable[[bytes], R]:
        return cast(Callable[[bytes], R], decoder(self.method.reply_type))

    @cached_property
    def _stream_now(self) -> Stream:
        """The stream, once nothing will put another one in its place: of a call with a stream, from its opening on."""
        return cast(Stream, self._stream)

    @cached_property
    def _framer(self) -> Callable[[object], bytes]:
        caller = self._caller
        return framer(encoder(self.method.request_type), caller.max_message_size, packed=caller.packed)

    @cached_property
    def _sending(self) -> asyncio.Lock:
        return asyncio.Lock()

    @cached_property
    def _senders(self) -> set[asyncio.Task[object]]:
        return set()

    # ---------------------------------------------------------------- sending

    async def send_request(self, *, end: bool = False) -> None:
        """Open the call: dial if need be, and send the request's head. Otherwise the first message does it.

        end: no message follows, for an empty request stream.
        """
        async with self._sending:
            await self._open(end=end)
            self._may_send_now = self.method.client_streaming and not self._ended

    async def send_message(self, message: Q, *, end: bool = False) -> None:
        """Send a message, waiting while the peer's flow control says so. end: it is the last one.

        A message that cannot be encoded or is over the size limit raises SerializationError or ResourceExhausted;
        nothing of it is sent, and the call goes on. Once the server has ended the call with OK, a message is dropped,
        since nobody waits for it; tasks other than the call's own are told by a Cancelled error, so that they stop.
        """
        framed = self._frame(message)
        if self.method.is_unary:
            self._framed = framed
            if self._send_at_once(framed):
                return
        elif (
            self._may_send_now
            and not end
            and asyncio.current_task() is self._sender
            and self._stream_now.send_now(framed)
        ):
            self._sent += 1
            return
        await self._send_framed(framed, end=end)

    async def send_all(self, messages: AsyncIterable[Q] | Iterable[Q]) -> None:
        """Send the messages of a request stream, each when the iterable gives it, and `end`. Raises as `send_message`.

        The same as a loop over `send_message`, in less time.
        """
        self._watch_sender()
        frame = self._framer
        async for message in messages if isinstance(messages, AsyncIterable) else _each(messages):
            try:
                framed = frame(message)
            except OrbitError as error:
                raise self._unsent(error) from None
            if self._may_send_now and self._stream_now.send_now(framed):
                self._sent += 1
            else:
                await self._send_framed(framed)
        await self.end()

    async def _send_framed(self, framed: bytes, *, end: bool = False) -> None:
        """Send a message whatever it has to wait for."""
        self._watch_sender()
        async with self._sending:
            self._may_send_now = False  # or another's message would get into the middle of this one
            if self._ended:
                raise InternalError("message sent after the end of the request", method=self.method.path)
            if self._sent and not self.method.client_streaming:
                raise InternalError("second message of a unary request", method=self.method.path)
            await self._open()
            last = end or not self.method.client_streaming
            self._sent += 1
            self._ended = last
            await self._send(framed, end=last)
            self._may_send_now = not last

    def _send_at_once(self, framed: bytes) -> bool:
        """Send a whole unary request, if it is the first thing to be sent and nothing makes it wait."""
        if self._stream is not None or self._sent or self._failure is not None:
            return False
        timeout = None if self.deadline is None else self.deadline.remaining()
        if timeout == 0.0:
            return False
        headers = self._caller.request_headers(self.method.path, timeout, self._metadata)
        stream = self._caller.open_at_once(headers, framed)
        if stream is None:
            return False
        self._stream = stream
        self._sent = 1
        self._ended = True
        self.peer = stream.peer
        return True

    async def end(self) -> None:
        """No message follows. Nothing happens when that has been said."""
        self._watch_sender()
        async with self._sending:
            self._may_send_now = False
            if not self._ended:
                if self._sent == 0 and not self.method.client_streaming:
                    raise InternalError("unary request without a message", method=self.method.path)
                await self._open(end=True)
                if not self._ended:
                    self._ended = True
                    await self._send(b"", end=True)

    def _frame(self, message: Q) -> bytes:
        try:
            if not self.method.is_unary:
                return self._framer(message)
            data, caller = self.method.encode_request(message), self._caller
            return frame_message(data, caller.max_message_size, packed=caller.packed)
        except OrbitError as error:
            raise self._unsent(error) from None

    def _unsent(self, error: OrbitError) -> OrbitError:
        """The error of a message that was not sent, though others may have been."""
        if self._sent:
            error.executed = Executed.MAYBE
        return error.at(peer=self._caller.peer_name, method=self.method.path)

    async def _open(self, *, end: bool = False) -> None:
        self._raise_if_failed()
        if self._stream is not None:
            return
        self._start_timer()
        with self._translated():
            if self._is_late():
                raise self._deadline_error(Executed.NO)
            try:
                async with asyncio.timeout(None if self.deadline is None else self.deadline.remaining()):
                    self._stream = await self._open_stream(end=end)
            except TimeoutError as error:
                if isinstance(error, OrbitError):
                    raise
                raise self._deadline_error(Executed.NO) from error
        self._ended = end
        if self._failure is not None:  # cancelled meanwhile
            self._stream.reset(ErrorCode.CANCEL, self._failure)
            raise self._failure

    async def _open_stream(self, *, end: bool) -> Stream:
        delays = backoff()
        while True:
            try:
                return await self._caller.open_stream(self._headers, end=end)
            except ConnectError as error:
                if not self.wait_for_ready or not error.retryable:
                    raise
                await asyncio.sleep(next(delays))

    def _headers(self) -> Headers:
        timeout = None if self.deadline is None else self.deadline.remaining()
        if timeout == 0.0:
            raise self._deadline_error(Executed.NO)
        return self._caller.request_headers(self.method.path, timeout, self._metadata)

    async def _send(self, data: bytes, *, end: bool) -> None:
        stream = cast(Stream, self._stream)
        try:
            await stream.share()
            await stream.send_data(data, end=end)
        except (StreamReset, ConnectionEnded) as error:
            if not stream.receive_ended:
                self._fail(error)
            self._settle(stream)
            self._raise_if_failed()
            if asyncio.current_task() is not self._owner:
                raise Cancelled("the server has ended the call", method=self.method.path) from error
            await asyncio.sleep(0)

    # ---------------------------------------------------------------- receiving

    async def recv_initial_metadata(self) -> None:
        """Wait for the head of the response, which sets `initial_metadata`; opens the call of a request stream.

        Raises the call's error when the head is the whole answer, or none at all.
        """
        self._raise_if_failed()
        if self.initial_metadata is not None:
            return
        if self._stream is None:
            if not self.method.client_streaming:
                raise InternalError("reply awaited before the request was sent", method=self.method.path)
            await self.send_request()
        with self._translated():
            stream = cast(Stream, self._stream)
            head = await stream.wait_head()
            if stream.is_head_only:
                self.initial_metadata = Metadata()
                self._conclude(read_outcome(head))
            else:
                self.initial_metadata = read_response(head)

    async def recv_message(self) -> R | None:
        """The next message, None when the server has ended the call with OK; otherwise the call's error is raised.

        A unary reply that is missing or doubled is an Internal error.
        """
        if self._ready and self._stream_now.turns > 0:
            return self._take_ready()
        if self.method.is_unary and self._received == 0:
            while (stream := self._stream) is not None and not stream.receive_ended and self._failure is None:
                self._start_timer()
                try:
                    await stream.wait()
                    if stream.failure is None:
                        break
                except (StreamReset, ConnectionEnded) as error:
                    if not await self._send_again(stream, error):
                        self._fail(error)
            if (message := self._take_whole()) is not None:
                self._received = 1
                try:
                    return self._read(message)
                except OrbitError as error:
                    self._fail(error)
                    raise
        await self.recv_initial_metadata()
        with self._translated():
            message = await self._next()
            if message is None:
                self._finish()
                if self._received == 0 and not self.method.server_streaming:
                    raise Internal("the server ended the call with OK but without its reply")
                return None
            self._received += 1
            if self._received > 1 and not self.method.server_streaming:
                raise Internal("the server sent more than one reply")
            return self._read(message)

    def _take_ready(self) -> R:
        """A message that waits to be received, without a look at the call: it came before whatever has happened."""
        self._stream_now.turns -= 1
        message = self._reader.ready.popleft()
        try:
            return self._decode(message)
        except OrbitError:
            with self._translated():  # again, since this is rare
                return self._read(message)

    async def _send_again(self, stream: Stream, error: Exception) -> bool:
        """Send a unary request that the peer surely did not look at again, on another connection if there is one.

        gRFC A6 calls this a transparent retry: it does not count as an attempt.
        """
        unseen = isinstance(error, ConnectionEnded) and not error.processed
        refused = isinstance(error, StreamReset) and error.by_peer and error.code == ErrorCode.REFUSED_STREAM
        framed = self._framed
        if framed is None or stream.head is not None or not (unseen or refused) or self._failure is not None:
            return False
        if self._resent >= (1 if refused else RESENDS) or (isinstance(error, ConnectionEnded) and error.is_calm_asked):
            return False
        self._resent += 1
        stream.release()
        self._stream = None
        await self._open()
        await self._send(framed, end=True)
        self._ended = True
        return True

    def _read(self, message: bytes) -> R:
        try:
            return cast(R, decoder(self.method.reply_type)(message))
        except OrbitError as error:
            raise undecodable(error) from error

    def _take_whole(self) -> bytes | None:
        """The reply of a unary call, if it came as most do: all of it together, as one piece, with status OK.

        None: whatever has come is still there to be looked at step by step.
        """
        stream = self._stream
        if stream is None or not stream.receive_ended or self._failure is not None:
            return None
        head, tail = stream.head, stream.tail
        if head is None or tail is None or read_outcome(tail).status is not Status.OK:
            return None
        try:
            initial = read_response(head)
        except OrbitError:
            return None
        message = stream.take_whole(self._caller.max_message_size)
        if message is not None:
            outcome = self._outcome = read_outcome(tail)
            self.initial_metadata = initial
            self.trailing_metadata = outcome.metadata
        return message

    async def recv_trailing_metadata(self) -> None:
        """Wait for the end of the call, which sets `trailing_metadata`; replies that were not received are dropped."""
        await self.recv_initial_metadata()
        with self._translated():
            while await self._next() is not None:
                pass
            self._finish()

    async def _next(self) -> bytes | None:
        stream = cast(Stream, self._stream)
        await stream.share()
        while (message := self._reader.next()) is None:
            data = await stream.read()
            if not data:
                return None
            self._reader.feed(data)
        return await unpack(message, self._caller.max_message_size) if self._reader.is_packed else message

    def __aiter__(self) -> AsyncIterator[R]:
        return self

    async def __anext__(self) -> R:
        if self._ready and self._stream_now.turns > 0:
            return self._take_ready()
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    # ---------------------------------------------------------------- the end

    async def cancel(self) -> None:
        """End the call from this side: the server is told, and every later operation raises Cancelled."""
        if self._outcome is None and self._failure is None:
            self._end_with(Cancelled("the call was cancelled", peer=self._caller.peer_name, method=self.method.path))

    async def __aenter__(self) -> ClientCall[Q, R]:
        self._owner = asyncio.current_task()
        if self._stream is not None:  # taken over
            return self
        if self._caller.interceptors:
            await self._enter_interceptors()
        self._caller.call_started()
        if not self.method.is_unary:
            self._start_timer()
        return self

    async def _enter_interceptors(self) -> None:
        async with AsyncExitStack() as around:
            for interceptor in self._caller.interceptors:
                await around.enter_async_context(interceptor(self))
            self._around = around.pop_all()

    def _start_timer(self) -> None:
        """Watch over the deadline: of a unary call from its first wait on."""
        if self.deadline is not None and self._timer is None:
            self._timer = self._caller.timers().start(self.deadline.at, self._expire)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._around is not None:
            async with self._around:
                await self._leave(error)
                if error is not None:
                    raise error
        else:
            await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        try:
            if error is None and self._outcome is None and self._is_about_to_end():
                await self.recv_trailing_metadata()
        finally:
            self._caller.call_ended()
            if self._timer is not None:
                self._timer.cancel()
            if (stream := self._stream) is not None:
                if not stream.h2.is_closed:
                    stream.reset(ErrorCode.NO_ERROR if stream.receive_ended else ErrorCode.CANCEL)
                stream.release()

    def _is_about_to_end(self) -> bool:
        """Whether nothing but the status is missing, so that it is worth waiting for."""
        if self._stream is None or self._outcome is not None or self._failure is not None:
            return False
        return self._ended and (not self.method.server_streaming or self._stream.receive_ended)

    def _settle(self, stream: Stream) -> None:
        """The response is complete: learn how the call ended. Raises its error."""
        if self._outcome is None and stream.receive_ended:
            self._conclude(read_outcome(stream.head if stream.is_head_only else stream.tail))

    def _finish(self) -> None:
        """Everything was received: raise the call's error, or a message that was cut off under an OK."""
        self._settle(cast(Stream, self._stream))
        self._reader.end()

    def _conclude(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.trailing_metadata = outcome.metadata
        if outcome.status is Status.OK:
            return
        if outcome.status is Status.CANCELLED and TONIC_TIMEOUT in outcome.message and self._is_late():
            self._failure = self._deadline_error(Executed.MAYBE)
        else:
            self._failure = rpc_error(
                outcome.status,
                outcome.message,
                details=outcome.details,
                metadata=outcome.metadata,
                peer=self._caller.peer_name,
                method=self.method.path,
            )
        raise self._failure

    def _expire(self) -> None:
        complete = self._stream is not None and self._stream.receive_ended
        if self._failure is None and not complete:
            self._end_with(self._deadline_error(Executed.NO if self._stream is None else Executed.MAYBE))

    def _is_late(self) -> bool:
        return self.deadline is not None and self.deadline.is_over()

    def _deadline_error(self, executed: Executed) -> DeadlineExceeded:
        return DeadlineExceeded(
            "the call's deadline passed" + (" before it was sent" if executed is Executed.NO else ""),
            executed=executed,
            peer=self._caller.peer_name,
            method=self.method.path,
        )

    def _end_with(self, failure: OrbitError) -> None:
        self._failure = failure
        self._ready = ()
        self._may_send_now = False
        if self._stream is not None:
            self._stream.reset(ErrorCode.CANCEL, failure)

    # ---------------------------------------------------------------- errors

    def _raise_if_failed(self) -> None:
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Foreign exceptions leave the block as the call's error; a broken response ends the call."""
        try:
            yield
        except (OrbitError, StreamReset, ConnectionEnded) as error:
            self._fail(error)
            if error is self._failure:
                raise
            self._raise_if_failed()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            failure = error if isinstance(error, OrbitError) else self._explain(error)
            failure.at(peer=self._caller.peer_name, method=self.method.path)
            if failure is not error:
                failure.__cause__ = error
            self._end_with(failure)

    def _explain(self, error: Exception) -> OrbitError:
        if isinstance(error, ConnectionEnded):
            if error.by_us:
                return Cancelled(f"the connection was closed: {error.reason}")
            executed = Executed.MAYBE if error.processed else Executed.NO
            if error.is_calm_asked:
                return rpc_error(Status.RESOURCE_EXHAUSTED, error.reason, executed=executed)
            return ConnectionLost(error.reason, executed=executed)
        if isinstance(error, StreamReset):
            if error.code == ErrorCode.CANCEL and self._is_late():
                return self._deadline_error(Executed.MAYBE)
            refused = error.code == ErrorCode.REFUSED_STREAM
            return rpc_error(status_of_reset(error.code), str(error), executed=Executed.NO if refused else None)
        return Internal(str(error))

    def _watch_sender(self) -> None:
        """Remember the task that sends, if it is not the call's own: when it dies, the call must not wait for ever.

        betterproto's `_stream_stream` iterates the requests in a task of its own and looks at neither its result nor
        its end.
        """
        task = self._sender = asyncio.current_task()
        if task is not None and task is not self._owner and task not in self._senders:
            self._senders.add(task)
            task.add_done_callback(self._sender_done)

    def _sender_done(self, task: asyncio.Task[object]) -> None:
        self._senders.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._outcome is None and self._failure is None and not self._ended:
            failure = Cancelled(
                f"sending the request failed: {type(error).__name__}",
                executed=Executed.MAYBE,
                peer=self._caller.peer_name,
                method=self.method.path,
            )
            failure.__cause__ = error
            self._end_with(failure)
        elif not isinstance(error, OrbitError):
            log.error("sending requests of %s failed after the call had ended", self.method.path, exc_info=error)
