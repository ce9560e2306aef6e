"""What a connection tells its user, in the order in which it happened on the wire."""

from __future__ import annotations

from typing import TypeAlias

from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.fields import HeaderBlock
from orbit_lite.http2.streams import Stream

__all__ = [
    "ConnectionFailed",
    "DataReceived",
    "Event",
    "GoAwayReceived",
    "HeadersReceived",
    "PingAcknowledged",
    "RequestReceived",
    "ResponseReceived",
    "SettingsReceived",
    "StreamReset",
    "WindowOpened",
]

# Plain classes with slots: two or three are made for every call, and frozen dataclasses take three times as long.


class HeadersReceived:
    """A request's, response's or trailers' header block, no interim response.

    ends: nothing follows from the peer. opens: it is a request, and the stream is new.
    """

    __slots__ = ("block", "ends", "opens", "stream")

    def __init__(self, stream: Stream, block: HeaderBlock, ends: bool, *, opens: bool = False) -> None:
        self.stream = stream
        self.block = block
        self.ends = ends
        self.opens = opens


class RequestReceived:
    """A request of one header block and one DATA frame: HeadersReceived and DataReceived in one. Nothing follows.

    Its room in the windows has been given back already.
    """

    __slots__ = ("block", "data", "stream")

    def __init__(self, stream: Stream, block: HeaderBlock, data: bytes) -> None:
        self.stream = stream
        self.block = block
        self.data = data


class ResponseReceived:
    """A response of a header block, one DATA frame and trailers, likewise in one."""

    __slots__ = ("data", "head", "stream", "tail")

    def __init__(self, stream: Stream, head: HeaderBlock, data: bytes, tail: HeaderBlock) -> None:
        self.stream = stream
        self.head = head
        self.data = data
        self.tail = tail


class DataReceived:
    """DATA. size: what it takes of the windows, padding included; give it back by `Connection.consumed`.

    Windows bound the bytes that wait to be consumed, not the number of pieces: join small ones when keeping them.
    """

    __slots__ = ("data", "ends", "size", "stream")

    def __init__(self, stream: Stream, data: bytes, size: int, ends: bool) -> None:
        self.stream = stream
        self.data = data
        self.size = size
        self.ends = ends


class StreamReset:
    """The stream is over: by the peer's RST_STREAM, or by ours for what the peer did (`stream.fault`)."""

    __slots__ = ("by_peer", "code", "stream")

    def __init__(self, stream: Stream, code: int, by_peer: bool) -> None:
        self.stream = stream
        self.code = code
        self.by_peer = by_peer


class WindowOpened:
    """A stream whose user waits (`is_blocked`) has room to send; None: any of them may."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream


class SettingsReceived:
    """The peer's settings, the first time or changed."""

    __slots__ = ()


class PingAcknowledged:
    """One of our PINGs was answered."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class GoAwayReceived:
    """The peer takes no streams above `last_stream_id`; those up to it go on."""

    __slots__ = ("code", "debug", "last_stream_id")

    def __init__(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.last_stream_id = last_stream_id
        self.code = code
        self.debug = debug


class ConnectionFailed:
    """The peer broke a rule, or did not keep to a time. GOAWAY is in the output; no event follows."""

    __slots__ = ("code", "reason")

    def __init__(self, code: ErrorCode, reason: str) -> None:
        self.code = code
        self.reason = reason


Event: TypeAlias = (
    HeadersReceived
    | DataReceived
    | RequestReceived
    | ResponseReceived
    | StreamReset
    | WindowOpened
    | SettingsReceived
    | PingAcknowledged
    | GoAwayReceived
    | ConnectionFailed
)
