"""The short way of a unary call: one coroutine from request to reply, for calls in which nothing happens.

It sends at once or not at all, and looks at the reply once, when all of it should be there. Whatever turns out
otherwise is left to a ClientCall, which takes the stream over as it stands: what a call means is written there and only
there.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from orbit_lite.errors import OrbitError
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.rpc.call import OK, Outcome, read_outcome, read_response
from orbit_lite.rpc.client import Caller, ClientCall, undecodable
from orbit_lite.rpc.deadline import Deadline, current_deadline
from orbit_lite.rpc.framing import framer
from orbit_lite.rpc.metadata import NOTHING, Metadata
from orbit_lite.rpc.method import UNARY, Method, decoder, encoder, method_of
from orbit_lite.rpc.stream import Stream

__all__ = ["UnaryMethod", "UnaryMethods", "reply_of"]

#: Methods that a channel remembers.
_METHODS = 4096


class UnaryMethod:
    """A method, and what writes its requests and reads its replies. frame: message → its bytes with their prefix."""

    __slots__ = ("decode", "frame", "max_size", "method")

    def __init__(self, method: Method, max_size: int, *, packed: bool) -> None:
        self.method = method
        self.max_size = max_size
        self.frame: Callable[[object], bytes] = framer(encoder(method.request_type), max_size, packed=packed)
        self.decode: Callable[[bytes], Any] = decoder(method.reply_type)


class UnaryMethods:
    """The methods that were called on one channel. max_size, packed: of its messages."""

    __slots__ = ("_known", "_max_size", "_packed")

    def __init__(self, max_size: int, *, packed: bool) -> None:
        self._max_size = max_size
        self._packed = packed
        # By the path alone, whose hash is known: to hash all three would cost more than all that is found here.
        self._known: dict[str, UnaryMethod] = {}

    def of(self, path: str, request_type: type, reply_type: type) -> UnaryMethod:
        """The method, which nearly always is called with the same types as before."""
        known = self._known.get(path)
        if (
            known is not None
            and (method := known.method).request_type is request_type
            and method.reply_type is reply_type
        ):
            return known
        if len(self._known) >= _METHODS:
            self._known.clear()
        known = UnaryMethod(method_of(path, UNARY, request_type, reply_type), self._max_size, packed=self._packed)
        self._known[path] = known
        return known


async def reply_of(
    channel: Caller, unary: UnaryMethod, request: object, timeout: float, metadata: Metadata = NOTHING
) -> Any:
    """The reply to `request`. timeout: seconds; the deadline of the work that calls counts as well.

    Raises what ClientCall raises.
    """
    method = unary.method
    now = monotonic()
    at = now + timeout
    outer = current_deadline()
    if outer is not None and outer.at < at:
        at = outer.at
    if channel.interceptors or at <= now:
        return await _the_long_way(channel, method, request, at, metadata)
    try:
        framed = unary.frame(request)
        stream = channel.open_at_once(channel.request_headers(method.path, at - now, metadata), framed)
    except OrbitError:  # raised again by the call, which knows what belongs to it
        stream = None
    if stream is None:
        return await _the_long_way(channel, method, request, at, metadata)
    channel.call_started()
    stream.expire_at(at)
    try:
        if not stream.receive_ended:
            await stream.change()
        message = _whole_reply(stream, unary.max_size)
    except BaseException:  # cancelled
        channel.call_ended()
        stream.reset(ErrorCode.CANCEL)
        stream.release()
        raise
    if message is None:
        stream.expires = None
        call: ClientCall[object, object] = ClientCall(channel, method, metadata, Deadline(at))
        call.take_over(stream, framed)
        async with call:
            return await call.recv_message()
    channel.call_ended()
    stream.release()
    try:
        return unary.decode(message)
    except OrbitError as error:
        raise undecodable(error).at(peer=channel.peer_name, method=method.path) from error


def _whole_reply(stream: Stream, max_size: int) -> bytes | None:
    """The reply, if the call ended with OK and nothing about it is unusual; else everything is left as it is."""
    head, tail = stream.head, stream.tail
    if head is None or tail is None or not stream.receive_ended:
        return None
    # What repeated blocks say is known already.
    outcome = tail.memo if type(tail.memo) is Outcome else read_outcome(tail)
    if outcome.status is not OK:
        return None
    if type(head.memo) is not Metadata:
        try:
            read_response(head)
        except OrbitError:
            return None
    return stream.take_whole(max_size)


async def _the_long_way(channel: Caller, method: Method, request: object, at: float, metadata: Metadata) -> object:
    call: ClientCall[object, object] = ClientCall(channel, method, metadata, Deadline(at))
    call.wait_for_ready = channel.wait_for_ready
    async with call:
        await call.send_message(request, end=True)
        return await call.recv_message()
