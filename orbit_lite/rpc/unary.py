"""The short way of a unary call: one coroutine from request to reply, for calls in which nothing happens.

It sends at once or not at all, and looks at the reply once, when all of it should be there. Whatever turns out
otherwise is left to a ClientCall, which takes the stream over as it stands: what a call means is written there and only
there.
"""

from __future__ import annotations

from orbit_lite.errors import OrbitError, Status
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.rpc.call import read_outcome, read_response
from orbit_lite.rpc.client import Caller, ClientCall, undecodable
from orbit_lite.rpc.deadline import Deadline, current_deadline
from orbit_lite.rpc.framing import frame_message
from orbit_lite.rpc.metadata import NOTHING, Metadata
from orbit_lite.rpc.method import Method, decoder, encoder
from orbit_lite.rpc.stream import Stream

__all__ = ["reply_of"]


async def reply_of(
    channel: Caller, method: Method, request: object, timeout: float, metadata: Metadata = NOTHING
) -> object:
    """The reply to `request`. timeout: seconds; the deadline of the work that calls counts as well.

    Raises what ClientCall raises.
    """
    now = channel.timers().loop.time()
    at = now + timeout
    outer = current_deadline()
    if outer is not None and outer.at < at:
        at = outer.at
    if channel.interceptors or at <= now:
        return await _the_long_way(channel, method, request, at, metadata)
    try:
        framed = frame_message(encoder(method.request_type)(request), channel.max_message_size, packed=channel.packed)
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
        message = _whole_reply(stream, channel.max_message_size)
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
        return decoder(method.reply_type)(message)
    except OrbitError as error:
        raise undecodable(error).at(peer=channel.peer_name, method=method.path) from error


def _whole_reply(stream: Stream, max_size: int) -> bytes | None:
    """The reply, if the call ended with OK and nothing about it is unusual; else everything is left as it is."""
    head, tail = stream.head, stream.tail
    if head is None or tail is None or not stream.receive_ended or read_outcome(tail).status is not Status.OK:
        return None
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
