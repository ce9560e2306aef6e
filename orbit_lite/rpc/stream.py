"""One HTTP/2 stream of a connection: header blocks and DATA in both directions, as seen by a call.

The connection tells a stream what arrived (`on_…`), the call that owns it waits and sends. Waiting is done on one event
that every change sets, so no task is ever cancelled to be woken up: a failure is a value that the next wait raises.

What arrived before a failure is delivered before it. Only a failure that this side decided itself (a deadline, a
cancelled call) comes at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from orbit_lite.rpc.context import Peer
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.status import ErrorCode

if TYPE_CHECKING:
    from orbit_lite.rpc.connection import Connection

__all__ = ["ConnectionEnded", "Stream", "StreamReset"]

#: Bytes that one stream hands to the transport, and messages that it sends or receives without having to wait, before
#: others get a turn.
SLICE = 64 * 1024
BURST = 32


class StreamReset(Exception):
    """The stream was ended by a RST_STREAM."""

    def __init__(self, code: int, *, by_peer: bool) -> None:
        super().__init__(f"stream reset by {'the peer' if by_peer else 'us'}: {ErrorCode.name_of(code)}")
        self.code = code
        self.by_peer = by_peer


class ConnectionEnded(Exception):
    """The connection ended under the stream.

    processed: False when the peer cannot have looked at the stream. by_us: this side closed it, and nothing was wrong.
    """

    def __init__(self, reason: str, *, processed: bool = True, by_us: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.processed = processed
        self.by_us = by_us


class Stream:
    """A stream that is open on `connection`. The owner calls `release` in the end, whatever happened."""

    __slots__ = (
        "_aborted",
        "_burst",
        "_connection",
        "_data",
        "_has_body",
        "_news",
        "_send_ended",
        "failure",
        "headers",
        "id",
        "is_head_only",
        "on_failure",
        "receive_ended",
        "trailers",
    )

    def __init__(self, connection: Connection, stream_id: int, *, send_ended: bool = False) -> None:
        self._connection = connection
        self._data: deque[tuple[bytes, int]] = deque()
        self._news = asyncio.Event()
        self._send_ended = send_ended
        self._has_body = False
        self._burst = 0
        self._aborted = False
        self.id = stream_id
        #: The peer's message consisted of a header block alone.
        self.is_head_only = False
        self.headers: Headers | None = None
        self.trailers: Headers | None = None
        self.receive_ended = False
        self.failure: Exception | None = None
        #: Called once when the stream fails, for an owner that does not wait on the stream itself.
        self.on_failure: Callable[[], None] | None = None

    # ---------------------------------------------------------------- told by the connection

    def on_headers(self, headers: Headers) -> None:
        """A header block arrived: the first is the message's head, the second its trailers."""
        if self.headers is None:
            self.headers = headers
        else:
            self.trailers = headers
        self._news.set()

    def on_data(self, data: bytes, size: int) -> None:
        """DATA arrived; size: what it counts in flow control, padding included."""
        self._has_body = True
        self._data.append((data, size))
        self._news.set()

    def on_end(self) -> None:
        """The peer ended its side. A response that is complete wants no more of the request."""
        self.receive_ended = True
        self.is_head_only = self.trailers is None and not self._has_body
        if self._connection.settings.client:
            self._send_ended = True
        self._news.set()

    def on_progress(self) -> None:
        """A window or the transport has room again."""
        self._news.set()

    def on_reset(self, code: int, *, by_peer: bool) -> None:
        """RST_STREAM. After a complete response it only says: send no more (RFC 9113 §8.1)."""
        self._send_ended = True
        if self.receive_ended and self._connection.settings.client:
            self._news.set()
        else:
            self.fail(StreamReset(code, by_peer=by_peer))

    def fail(self, failure: Exception) -> None:
        """End the stream for its owner; the first failure stays."""
        if self.failure is None:
            self.failure = failure
            self._news.set()
            if self.on_failure is not None:
                self.on_failure()

    # ---------------------------------------------------------------- used by the owner

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        return self._connection.peer

    async def wait_headers(self) -> Headers:
        """The message's head. Raises what ended the stream before it came."""
        while self.headers is None or self._aborted:
            if self.receive_ended and self.failure is None:
                raise StreamReset(ErrorCode.PROTOCOL_ERROR, by_peer=True)  # DATA alone is no message
            await self._wait()
        return self.headers

    async def read(self) -> bytes:
        """The next piece of DATA, b"" at the end. Its room is given back to the peer by this."""
        while not self._data:
            if self.receive_ended and not self._aborted:
                return b""
            await self._wait()
        data, size = self._data.popleft()
        self._connection.give_back(self.id, size)
        return data

    async def share(self) -> None:
        """To be called for each message: a loop over messages that are all there must not keep everybody waiting."""
        self._burst += 1
        if self._burst >= BURST:
            self._burst = 0
            await asyncio.sleep(0)

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Send a header block; end: nothing follows. Raises what ended the stream."""
        self._raise_if_closed()
        self._send_ended = end
        self._connection.h2.send_headers(self.id, headers, end_stream=end)
        self._connection.flush()

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes as DATA frames, as the peer's windows allow; end: nothing follows.

        One caller at a time. When it is cancelled between two frames the rest cannot be made up for: the stream is
        reset. Raises what ended the stream.
        """
        sent = since_turn = 0
        try:
            while True:
                self._raise_if_closed()
                room = self._connection.room(self.id) if data else 1
                if room <= 0:
                    await self._wait()
                    continue
                piece = data[sent : sent + room]
                sent += len(piece)
                since_turn += len(piece)
                last = sent == len(data)
                self._send_ended = end and last
                self._connection.h2.send_data(self.id, piece, end_stream=end and last)
                self._connection.flush()
                if last:
                    return
                if since_turn >= SLICE:
                    since_turn = 0
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if 0 < sent < len(data):
                self.reset(ErrorCode.CANCEL)
            raise

    def reset(self, code: ErrorCode, failure: Exception | None = None) -> None:
        """End the stream from this side; what arrived and was not read is dropped. Nothing happens if it is over.

        failure: what waiters on this side are told, by default the reset.
        """
        self._send_ended = self._aborted = True
        self._drop()
        self._connection.reset(self.id, code)
        self.fail(failure or StreamReset(code, by_peer=False))

    def release(self) -> None:
        """The owner is done: forget the stream, give its room back, free its place among the concurrent ones."""
        self.on_failure = None
        self._drop()
        self._connection.release(self)

    def _drop(self) -> None:
        size = sum(size for _, size in self._data)
        self._data.clear()
        if size:
            self._connection.give_back(self.id, size)

    def _raise_if_closed(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._send_ended:
            raise StreamReset(ErrorCode.NO_ERROR, by_peer=True)

    async def _wait(self) -> None:
        if self.failure is not None:
            raise self.failure
        self._news.clear()
        await self._news.wait()
