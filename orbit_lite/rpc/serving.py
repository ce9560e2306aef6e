"""One call as its handler sees it: a stream object in grpclib's shape, from which betterproto's services run.

A call is over for the peer once its trailers are sent, which happens at the latest when its handler ends, and at once
when its deadline passes or the peer cancels; the handler is then cancelled and may take its time to clean up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cached_property
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from grpclib.const import Status as GrpclibStatus  # what handlers written for grpclib give

from orbit_lite.errors import Executed, OrbitError, Status
from orbit_lite.rpc.call import (
    OK,
    OK_REPLY,
    OK_TRAILERS,
    PACKED_RESPONSE_HEAD,
    RESPONSE_HEAD,
    RequestHead,
    response_headers,
    trailer_headers,
)
from orbit_lite.rpc.context import CallContext, Peer
from orbit_lite.rpc.deadline import Deadline
from orbit_lite.rpc.errors import Cancelled, Internal, StatusReply
from orbit_lite.rpc.framing import MessageReader, framer
from orbit_lite.rpc.metadata import Headers, Metadata, MetadataLike
from orbit_lite.rpc.method import Method, decoder, encoder
from orbit_lite.rpc.status import ErrorCode
from orbit_lite.rpc.stream import ConnectionEnded, Stream, StreamReset, unpack
from orbit_lite.rpc.timers import Timer

__all__ = ["ServedMethod", "ServerCall"]

Q = TypeVar("Q")
R = TypeVar("R")

_BROKEN = (StreamReset, ConnectionEnded)


def _undecodable(error: OrbitError) -> Internal:
    return Internal(f"the request cannot be decoded: {error.message}")


class ServedMethod:
    """A method, and what reads its requests and writes its replies. packed: replies may be compressed.

    To be made when the method is first called: making the codecs of all methods would keep a server's start waiting.
    """

    __slots__ = ("decode", "frame", "frame_packed", "max_size", "method")

    def __init__(self, method: Method, max_size: int, *, packed: bool) -> None:
        self.method = method
        #: Bytes of a message, either way.
        self.max_size = max_size
        self.decode: Callable[[bytes], Any] = decoder(method.request_type)
        write = encoder(method.reply_type)
        #: Reply → its bytes with their prefix.
        self.frame: Callable[[object], bytes] = framer(write, max_size)
        #: The same for a caller that takes compressed messages; None: there are none.
        self.frame_packed = framer(write, max_size, packed=True) if packed else None


class ServerCall(Generic[Q, R]):
    """What a handler is given. All methods raise Cancelled once the call is over; the handler then just ends."""

    #: How the call ended for the peer; None while it goes on.
    status: Status | None = None
    #: Set when the peer cancelled the call or its connection was lost.
    is_abandoned = False
    #: Set by handlers that owe their caller nothing for the moment: one that leaves now has not failed.
    may_be_left = False
    #: The task that runs the handler, until that has ended, and whether it has taken its first step.
    task: asyncio.Task[None] | None = None
    has_begun = False
    timer: Timer | None = None
    _head_sent = False
    _reply: bytes | None = None
    _received = 0
    _sent = 0
    _may_send_now = False  # the stream is open, and no task is in the middle of a message
    _ready: Sequence[bytes] | deque[bytes] = ()  # messages that have been found and not received

    _packed = False  # replies are compressed

    def __init__(
        self,
        stream: Stream,
        served: ServedMethod,
        head: RequestHead,
        on_abandoned: Callable[[ServerCall[Any, Any]], object],
    ) -> None:
        """on_abandoned: called when the peer cancels or is lost."""
        self.method = served.method
        self._served = served
        self._frame = served.frame
        self._head = head
        self._stream = stream
        self._on_abandoned = on_abandoned
        stream.on_failure = self._abandoned
        if served.frame_packed is not None and head.accepts_gzip:
            self._frame = served.frame_packed
            self._packed = True
        #: When the call came, in seconds of `time.monotonic()`.
        self.started = monotonic()

    @cached_property
    def deadline(self) -> Deadline | None:
        """When the caller stops waiting."""
        timeout = self._head.timeout
        return None if timeout is None else Deadline(self.started + timeout)

    @cached_property
    def context(self) -> CallContext:
        """What `current_call` tells of this call."""
        head = self._head
        return CallContext(self.method.path, self._stream.peer, head.metadata, self.deadline, head.user_agent)

    @cached_property
    def _reader(self) -> MessageReader:
        reader = MessageReader(self._served.max_size, self._head.encoding)
        if self.method.client_streaming:
            self._ready = reader.ready
        return reader

    @cached_property
    def _sending(self) -> asyncio.Lock:
        return asyncio.Lock()

    # ---------------------------------------------------------------- about the call

    @property
    def metadata(self) -> Metadata:
        """What the caller sent beside its messages."""
        return self._head.metadata

    @property
    def peer(self) -> Peer:
        """Who calls."""
        return self._stream.peer

    @property
    def user_agent(self) -> str | None:
        """The caller's program."""
        return self._head.user_agent

    @property
    def is_over(self) -> bool:
        """Whether the peer waits for nothing any more."""
        return self.status is not None or self.is_abandoned

    # ---------------------------------------------------------------- receiving

    async def recv_message(self) -> Q | None:
        """The next message, None at the end of a request stream.

        A unary request is given out when it is known to be the only one. Raises Internal when it is missing, doubled,
        cut off or cannot be decoded, ResourceExhausted over the size limit: errors that may leave the handler, since
        they are what the caller is to be told.
        """
        if self._ready and self._stream.turns > 0:
            return self._take_ready()
        if (request := self.take_request()) is not None:
            return request
        message = await self._next()
        if not self.method.client_streaming:
            if message is None:
                if self._received:
                    return None
                raise Internal("the request has no message", executed=Executed.NO)
            if await self._next() is not None:
                raise Internal("a unary request has more than one message", executed=Executed.NO)
        if message is None:
            return None
        self._received += 1
        return self._read(message)

    def _take_ready(self) -> Q:
        """A message of a stream that has been found already."""
        self._stream.turns -= 1
        try:
            message: Q = self._served.decode(self._reader.ready.popleft())
        except OrbitError as error:
            raise _undecodable(error) from error
        return message

    def take_request(self) -> Q | None:
        """The request of a unary call, if all of it is here and was not taken yet. Raises as `recv_message`."""
        if self._received or self.method.client_streaming:
            return None
        whole = self._stream.take_whole(self._served.max_size)
        if whole is None:
            return None
        self._received = 1
        try:
            message: Q = self._served.decode(whole)
        except OrbitError as error:
            raise _undecodable(error) from error
        return message

    def _read(self, data: bytes) -> Q:
        try:
            message: Q = self._served.decode(data)
        except OrbitError as error:
            raise _undecodable(error) from error
        return message

    async def _next(self) -> bytes | None:
        await self._stream.share()
        while (message := self._reader.next()) is None:
            try:
                data = await self._stream.read()
            except _BROKEN as error:
                raise self._over() from error
            if not data:
                self._reader.end()
                return None
            self._reader.feed(data)
        return await unpack(message, self._served.max_size) if self._reader.is_packed else message

    def __aiter__(self) -> AsyncIterator[Q]:
        return self

    async def __anext__(self) -> Q:
        if self._ready and self._stream.turns > 0:
            return self._take_ready()
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    # ---------------------------------------------------------------- sending

    async def send_initial_metadata(self, *, metadata: MetadataLike | Metadata | None = None) -> None:
        """Send the head of the response now; otherwise the first message does it. Raises MetadataError."""
        headers = response_headers(metadata, packed=self._packed)
        async with self._sending:
            if self._head_sent or self._sent:
                raise Internal("initial metadata was sent already")
            self._send_head(headers)

    async def send_message(self, message: R) -> None:
        """Send a reply, waiting while the peer's flow control says so.

        Raises ResourceExhausted over the size limit and SerializationError for what cannot be encoded; nothing of the
        message is sent then.
        """
        if self._may_send_now:
            framed = self._frame(message)
            if self._stream.send_now(framed):
                self._sent += 1
                return
        if self.hold(message):
            return
        if self._stream.is_congested:
            await self._stream.wait_until_clear()
            if self.hold(message):
                return
        framed = self._frame(message)
        async with self._sending:
            self._may_send_now = False  # or another's message would get into the middle of this one
            if self._sent and not self.method.server_streaming:
                raise Internal("second reply to a unary call")
            if not self._head_sent:
                self._send_head(response_headers(packed=self._packed))
            self._sent += 1
            try:
                await self._stream.share()
                await self._stream.send_data(framed)
            except _BROKEN as error:
                raise self._over() from error
            self._may_send_now = self.method.server_streaming

    def hold(self, message: R) -> bool:
        """Keep a unary reply: the caller can do nothing with it before it has the status, so both leave together.

        False: this is no time for it, see `send_message`. Raises as that does.
        """
        if (
            self.method.server_streaming
            or self._head_sent
            or self._sent
            or self.status is not None
            or self.is_abandoned
            or self._stream.is_congested
        ):
            return False
        self._reply = self._frame(message)
        self._sent = 1
        return True

    async def send_trailing_metadata(
        self,
        *,
        status: Status | GrpclibStatus = Status.OK,
        status_message: str | None = None,
        status_details: object = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> None:
        """End the call with a status; otherwise the handler's end does it. status: ours or grpclib's.

        Raises MetadataError.
        """
        pairs = metadata if isinstance(metadata, Metadata) else Metadata(metadata)
        pairs.encode()
        details = tuple(status_details) if isinstance(status_details, list | tuple) else ()
        code = Status(status.value)
        if code is Status.OK:
            await self.flush_reply()
        async with self._sending:
            if self.is_over:
                raise self._over()
            self.finish(StatusReply(code, status_message or "", details, pairs.items()))

    async def cancel(self) -> None:
        """Reset the stream: the caller learns that the call was cancelled, and nothing else."""
        if not self.is_over:
            self.status = Status.CANCELLED
            self._stream.reset(ErrorCode.CANCEL)

    def _send_head(self, headers: Headers) -> None:
        if self.is_over:
            raise self._over()
        try:
            self._stream.send_headers(headers)
        except _BROKEN as error:
            raise self._over() from error
        self._head_sent = True

    def _over(self) -> Cancelled:
        reason = "the caller is gone" if self.status is None else f"it ended with {self.status.name}"
        return Cancelled(f"the call is over: {reason}", method=self.method.path)

    # ---------------------------------------------------------------- used by the server

    def _abandoned(self) -> None:
        if self.status is None:  # else the handler has said all that it had to, and may finish its work
            self.is_abandoned = True
            self._on_abandoned(self)

    def expire(self) -> None:
        """The deadline passed: the caller is told at once, however long the handler takes to clean up."""
        self.finish(StatusReply(Status.DEADLINE_EXCEEDED, "the deadline passed in the handler"))
        if self.task is not None:
            self.task.cancel()

    def ok(self) -> StatusReply:
        """What to say when the handler has returned."""
        if not self.method.server_streaming and self._sent == 0:
            return StatusReply(Status.INTERNAL, "the handler returned without a reply")
        return OK_REPLY

    def finish(self, reply: StatusReply) -> None:
        """Send the trailers, if the call is not over. Never waits, never raises."""
        if self.is_over:
            return
        self.status = reply.status
        headers = trailer_headers(reply)
        stream = self._stream
        try:
            stream.send_headers(headers if self._head_sent else RESPONSE_HEAD + headers, end=True)
        except _BROKEN:
            return  # the peer is gone; there is nobody to tell
        if not stream.receive_ended:
            stream.reset(ErrorCode.NO_ERROR)  # "send no more of the request" (RFC 9113 §8.1)

    def finish_at_once(self) -> bool:
        """End a unary call with OK, its reply and its status in one piece. False: `flush_reply`, then `finish`."""
        reply, stream = self._reply, self._stream
        if reply is None or self.status is not None or self.is_abandoned or not stream.receive_ended:
            return False
        try:
            if not stream.send_reply(PACKED_RESPONSE_HEAD if self._packed else RESPONSE_HEAD, reply, OK_TRAILERS):
                return False
        except _BROKEN:
            pass  # the peer is gone; there is nobody to tell
        self.status = OK
        return True

    async def answer_with(self, method: Callable[[Q], Awaitable[R]]) -> None:
        """Do what a handler does around a plain unary method: receive, await the method, send."""
        request = self.take_request()
        reply = await method(cast(Q, await self.recv_message()) if request is None else request)
        if not self.hold(reply):
            await self.send_message(reply)

    async def flush_reply(self) -> None:
        """Send a reply that was to go with its status, waiting while the peer's flow control says so."""
        reply, self._reply = self._reply, None
        if reply is None or self.is_over:
            return
        async with self._sending:
            self._send_head(response_headers(packed=self._packed))
            try:
                await self._stream.send_data(reply)
            except _BROKEN as error:
                raise self._over() from error

    def release(self) -> None:
        """The handler has ended: free its place on the connection."""
        if self.status is None and not self.is_abandoned:
            # Nobody could say how it ended; the caller must not wait for it.
            self._stream.reset(ErrorCode.INTERNAL_ERROR)
        self._stream.release()
