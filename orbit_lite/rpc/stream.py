"""One HTTP/2 stream of a connection: header blocks and DATA in both directions, as seen by a call.

The connection tells a stream what arrived (`on_…`), the call that owns it waits and sends. A wait ends with every
change, so no task is ever cancelled to be woken up: a failure is a value that the next wait raises.

What arrived before a failure is delivered before it. Only a failure that this side decided itself (a deadline, a
cancelled call) comes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from orbit_lite.errors import InternalError
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.fields import HeaderBlock
from orbit_lite.http2.streams import Stream as Http2Stream
from orbit_lite.rpc.compression import STEP, decompress
from orbit_lite.rpc.context import Peer
from orbit_lite.rpc.framing import whole_message
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.wakeup import Wakeup

if TYPE_CHECKING:
    from orbit_lite.rpc.connection import Connection

__all__ = ["ConnectionEnded", "Stream", "StreamReset", "unpack"]

#: Bytes that one stream hands to the transport, and messages that it sends or receives without having to wait, before
#: others get a turn.
SLICE = 256 * 1024
BURST = 48
#: Bytes of DATA in pieces that are read as one: of small messages, since joining copies.
READ = 64 * 1024
#: What a call's messages and a stream's message weigh among what a connection collects before it is sent.
CALL, MESSAGE = 4, 1
#: DATA smaller than the first number is added to what waits already, if that is smaller than the second. A piece costs
#: more than a hundred bytes beside its content, which flow control does not count.
_SMALL = 256
_MERGED = 4 * 1024


async def unpack(packed: bytes, max_size: int) -> bytes:
    """The content of a compressed message. Raises ResourceExhausted and Internal, see `decompress`."""
    pieces = []
    for piece in decompress(packed, max_size):
        pieces.append(piece)
        if len(piece) >= STEP:
            await asyncio.sleep(0)
    return b"".join(pieces)


class StreamReset(Exception):
    """The stream was ended by a RST_STREAM. reason: what the peer did, where this side had to end it."""

    def __init__(self, code: int, *, by_peer: bool, reason: str | None = None) -> None:
        super().__init__(
            f"stream reset by {'the peer' if by_peer else 'us'}: {ErrorCode.name_of(code)}"
            + (f", {reason}" if reason else "")
        )
        self.code = code
        self.by_peer = by_peer


class ConnectionEnded(Exception):
    """The connection ended under the stream.

    processed: False when the peer cannot have looked at the stream. by_us: this side closed it, and nothing was wrong.
    is_calm_asked: the peer wants to be asked for less.
    """

    def __init__(
        self, reason: str, *, processed: bool = True, by_us: bool = False, is_calm_asked: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.processed = processed
        self.is_calm_asked = is_calm_asked
        self.by_us = by_us


class Stream:
    """A stream that is open on `connection`. The owner calls `release` in the end, whatever happened."""

    __slots__ = (
        "_aborted",
        "_connection",
        "_data",
        "_has_body",
        "_send_ended",
        "_waiters",
        "expires",
        "failure",
        "h2",
        "head",
        "on_failure",
        "receive_ended",
        "tail",
        "turns",
    )

    def __init__(self, connection: Connection, h2: Http2Stream) -> None:
        self._connection = connection
        # A unary call's stream has one piece of data, and one waiter if any: no list is made before that comes.
        self._data: list[tuple[bytes, int]] | tuple[()] = ()
        self._waiters: list[Wakeup] | tuple[()] = ()
        self._has_body = False
        self._send_ended = False
        self._aborted = False
        self.h2 = h2
        h2.owner = self
        #: The header block that opens the peer's message, and the one that ends it.
        self.head: HeaderBlock | None = None
        self.tail: HeaderBlock | None = None
        self.receive_ended = False
        #: When `expire` is called, see `expire_at`.
        self.expires: float | None = None
        self.failure: Exception | None = None
        #: Messages that may still be sent and received without waiting, see `share`.
        self.turns = BURST
        #: Called once when the stream fails, for an owner that does not wait on the stream itself.
        self.on_failure: Callable[[], None] | None = None

    # ---------------------------------------------------------------- told by the connection

    def on_headers(self, block: HeaderBlock, ends: bool) -> None:
        """A header block arrived: the first is the message's head, the second its trailers. ends: nothing follows."""
        if self.head is None:
            self.head = block
        else:
            self.tail = block
        if ends:
            self.receive_ended = True
        if self._waiters:
            self._wake()

    def on_data(self, data: bytes, size: int, ends: bool) -> None:
        """DATA arrived; size: what it counts in flow control, padding included. ends: nothing follows."""
        if data:
            self._has_body = True
            waiting = self._data
            if waiting and len(data) < _SMALL and len(waiting[-1][0]) < _MERGED:
                before, its_size = waiting[-1]
                waiting[-1] = before + data, its_size + size
            elif waiting:
                waiting.append((data, size))
            else:
                self._data = [(data, size)]
        if ends:
            self.receive_ended = True
        if self._waiters:
            self._wake()

    def on_whole(self, head: HeaderBlock, data: bytes, tail: HeaderBlock | None) -> None:
        """Everything arrived at once. Of flow control nothing is left to do."""
        self.head = head
        self.tail = tail
        self._has_body = True
        self._data = [(data, 0)]
        self.receive_ended = True
        if self._waiters:
            self._connection.wake(self._waiters)
            self._waiters = ()

    def on_progress(self) -> None:
        """A window or the transport has room again."""
        if self._waiters:
            self._wake()

    def on_reset(self, code: int, *, by_peer: bool) -> None:
        """RST_STREAM. After a complete response it only says: send no more (RFC 9113 §8.1)."""
        self._send_ended = True
        if self.receive_ended and self._connection.settings.client:
            self._wake()
        else:
            self.fail(StreamReset(code, by_peer=by_peer, reason=self.h2.fault))

    def fail(self, failure: Exception) -> None:
        """End the stream for its owner; the first failure stays."""
        if self.failure is None:
            self.failure = failure
            self._wake()
            if self.on_failure is not None:
                self.on_failure()

    def _wake(self) -> None:
        self._connection.wake(self._waiters)
        self._waiters = ()

    # ---------------------------------------------------------------- used by the owner

    @property
    def id(self) -> int:
        """The stream's number on its connection."""
        return self.h2.id

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where all of this happens."""
        return self._connection.loop

    @property
    def peer(self) -> Peer:
        """The other end of the connection."""
        return self._connection.peer

    @property
    def headers(self) -> Headers | None:
        """The fields of `head`."""
        return None if self.head is None else self.head.fields

    @property
    def trailers(self) -> Headers | None:
        """The fields of `tail`."""
        return None if self.tail is None else self.tail.fields

    @property
    def is_head_only(self) -> bool:
        """Whether the peer's message consisted of a header block alone."""
        return self.receive_ended and self.tail is None and not self._has_body

    @property
    def is_complete(self) -> bool:
        """Whether everything is here that the peer will send, and may be read."""
        return self.receive_ended and not self._aborted

    async def wait_head(self) -> HeaderBlock:
        """The message's head. Raises what ended the stream before it came."""
        while self.head is None or self._aborted:
            if self.receive_ended and self.failure is None:
                raise StreamReset(ErrorCode.PROTOCOL_ERROR, by_peer=True)  # DATA alone is no message
            await self.wait()
        return self.head

    async def wait_headers(self) -> Headers:
        """The fields of the message's head. Raises what ended the stream before it came."""
        return (await self.wait_head()).fields

    async def read(self) -> bytes:
        """All DATA that is there, as far as it is not too much for a turn; b"" at the end. Gives its room back."""
        while not (waiting := self._data):
            if self.receive_ended and not self._aborted:
                return b""
            await self.wait()
        data, size = waiting[0]
        if len(waiting) == 1:
            self._data = ()
        else:
            count, bytes_ = 1, len(data)
            while count < len(waiting) and (bytes_ := bytes_ + len(waiting[count][0])) <= READ:
                count += 1
            data = b"".join([piece for piece, _ in waiting[:count]])
            size = sum([size for _, size in waiting[:count]])
            del waiting[:count]
        self._connection.give_back(self.h2, size)
        return data

    def take_whole(self, max_size: int) -> bytes | None:
        """The only message of a peer that has ended its side, if it came in one piece; it is taken then.

        None: whatever has come is still there for `read`.
        """
        if len(self._data) != 1 or not self.receive_ended or self._aborted:
            return None
        data, size = self._data[0]
        message = whole_message(data, max_size)
        if message is not None:
            self._data = ()
            if size:
                self._connection.give_back(self.h2, size)
        return message

    async def share(self) -> None:
        """To be called for each message: a loop over messages that are all there must not keep everybody waiting.

        Instead, `turns` may be counted down while it is above 0.
        """
        self.turns -= 1
        if self.turns <= 0:
            self.turns = BURST
            await asyncio.sleep(0)

    def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Send a header block; end: nothing follows. Raises what ended the stream."""
        self._raise_if_closed()
        self._send_ended = end
        connection = self._connection
        connection.h2.send_headers(self.h2, headers, end=end)
        connection.sent()

    def send_reply(self, head: Headers, data: bytes, tail: Headers) -> bool:
        """Send a whole response, if nothing makes it wait; False: nothing was sent. Raises what ended the stream."""
        if self.failure is not None or self._send_ended or not self.h2.can_send:
            self._raise_if_closed()
        connection = self._connection
        if connection.is_paused or not connection.h2.reply(self.h2, head, data, tail):
            return False
        self._send_ended = True
        connection.sent()
        return True

    def send_now(self, data: bytes) -> bool:
        """Send a small message, if nothing makes it wait and others had their turn; False: nothing was sent.

        Whoever gets False uses `share` and `send_data`, which raise what is wrong.
        """
        h2, connection = self.h2, self._connection
        size, engine = len(data), connection.h2
        if (
            self.turns <= 0
            or self._send_ended
            or connection.is_paused
            or self.failure is not None
            or (self.receive_ended and connection.settings.client)
            or size > h2.send_window
            or size > engine.send_window
            or size > SLICE
            or not h2.can_send
        ):
            return False
        self.turns -= 1
        engine.send_data(h2, data)
        connection.sent_message()
        return True

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes as DATA frames, as the peer's windows allow; end: nothing follows.

        One caller at a time. When it is cancelled between two frames the rest cannot be made up for: the stream is
        reset. Raises what ended the stream.
        """
        connection, h2 = self._connection, self.h2
        self._raise_if_closed()
        size = len(data)
        if size <= SLICE and (not size or connection.room(h2) >= size):
            self._send_ended = end
            connection.h2.send_data(h2, data, end=end)
            connection.sent(MESSAGE)
            return
        view = memoryview(data)
        sent = since_turn = 0
        connection.hold(size)
        try:
            while True:
                self._raise_if_closed()
                room = connection.room(h2)
                if room <= 0:
                    await self._wait_for_room()
                    continue
                piece = view[sent : sent + min(room, SLICE)]
                sent += len(piece)
                since_turn += len(piece)
                last = sent == size
                self._send_ended = end and last
                connection.h2.send_data(h2, piece, end=end and last)
                connection.flush()
                if last:
                    return
                if since_turn >= SLICE:
                    since_turn = 0
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if 0 < sent < size:
                self.reset(ErrorCode.CANCEL)
            raise
        finally:
            connection.hold(-size)

    @property
    def is_congested(self) -> bool:
        """Whether so much waits on this connection that no further message should be made: `wait_until_clear` first."""
        return self._connection.backlog.is_full

    async def wait_until_clear(self) -> None:
        """Until what waits on this connection has become less, or the connection has ended."""
        await self._connection.wait_until_clear()

    async def _wait_for_room(self) -> None:
        """As `wait`, but a peer that makes no room for too long loses the stream (slow readers, CVE-2019-9511)."""
        limit = self._connection.settings.stall_timeout
        try:
            async with asyncio.timeout(limit):
                await self.wait()
        except TimeoutError:
            reason = f"the peer took nothing for {limit:g} s"
            self.reset(ErrorCode.CANCEL, StreamReset(ErrorCode.CANCEL, by_peer=False, reason=reason))

    def reset(self, code: ErrorCode, failure: Exception | None = None) -> None:
        """End the stream from this side; what arrived and was not read is dropped. Nothing happens if it is over.

        failure: what waiters on this side are told, by default the reset.
        """
        self._send_ended = self._aborted = True
        self._drop()
        self._connection.reset(self.h2, code)
        if self.failure is None:
            self.fail(failure or StreamReset(code, by_peer=False))

    def expire_at(self, when: float) -> None:
        """Reset the stream at this time of the event loop's, unless all of the peer's message is here by then."""
        expiry = self._connection.expiry
        if expiry is None:
            raise InternalError("a deadline for a stream that the peer opened")
        expiry.add(self, when)

    def expire(self) -> None:
        """The time has come."""
        if not self.receive_ended:
            self.reset(ErrorCode.CANCEL)

    def release(self) -> None:
        """The owner is done: forget the stream, give its room back, free its place among the concurrent ones."""
        self.on_failure = None
        if self._data:
            self._drop()
        self._connection.release(self)

    def _drop(self) -> None:
        size = sum(size for _, size in self._data)
        self._data = ()
        if size:
            self._connection.give_back(self.h2, size)

    def _raise_if_closed(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._send_ended or (self.receive_ended and self._connection.settings.client):
            # A response that is complete wants no more of the request.
            raise StreamReset(ErrorCode.NO_ERROR, by_peer=True)
        if not self.h2.can_send:  # reset, of which we are about to be told
            raise StreamReset(ErrorCode.CANCEL, by_peer=True)

    def change(self) -> Wakeup:
        """To be awaited: ends with the next change. For an owner that gives the stream up when it is cancelled."""
        waiter = Wakeup(self._connection.loop)
        if self.failure is not None:
            waiter.fire_soon()
        else:
            self._waiters = [*self._waiters, waiter]
        return waiter

    async def wait(self) -> None:
        """Until something changes. Raises what ended the stream."""
        if self.failure is not None:
            raise self.failure
        waiter = Wakeup(self._connection.loop)
        self._waiters = [*self._waiters, waiter]
        try:
            await waiter
        except BaseException:  # cancelled: nobody waits here any more
            self._waiters = [other for other in self._waiters if other is not waiter]
            raise
