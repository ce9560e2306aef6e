"""One HTTP/2 connection without sockets, clocks or tasks: bytes in, events and bytes out (RFC 9113).

`receive` takes whatever arrived and gives events; any bytes at all give events, at worst `ConnectionFailed`, never an
exception. What is to be sent collects in the output until `take_output`. Times are seconds of one monotonic clock,
handed in by the caller, who also calls `handle_timer` at `next_timer`.

A stream that the peer opened takes one of its places until `release` says that the work on it has ended, whatever
became of the stream: so opening and resetting streams gains nothing (CVE-2023-44487, CVE-2025-8671).

The state is one, its code is cut in three by what happens: sending.py writes, control.py reads the frames that carry
no content, and this file reads bytes, header blocks and DATA, and keeps the time.
"""

from __future__ import annotations

from orbit_lite.http2 import frames as wire
from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.control import ControlSide
from orbit_lite.http2.errors import ConnectionFault, ErrorCode, StreamFault
from orbit_lite.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadersReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
)
from orbit_lite.http2.fields import HeaderDecoder, HeaderMemory, Malformed
from orbit_lite.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    PADDED,
    PRIORITY_FLAG,
    UINT32,
)
from orbit_lite.http2.sending import LAST_STREAM_ID
from orbit_lite.http2.streams import Stream
from orbit_lite.http2.windows import PROBE

__all__ = ["LAST_STREAM_ID", "Connection"]

#: What one call of `receive` works through before others get their turn, but for DATA frames from _CHEAP bytes on, with
#: which there is little to do.
_TURN_BYTES = 64 * 1024
_CHEAP = 4 * 1024
_TURN_REQUESTS = 32
#: Gaps between stream ids that are remembered.
_GAPS = 16
#: DATA smaller than the first number is added to what came right before it, if that is smaller than the second.
_SMALL = 256
_MERGED = 4 * 1024
#: DATA of requests and responses that are taken in one piece.
_WHOLE = 16 * 1024
_LAST_HEADERS = END_HEADERS | END_STREAM


class Connection(ControlSide):
    """One end of a connection. now: the time. The first output is the preface.

    memory: shared with other connections of the same kind, and made for the same limits; None = its own.
    """

    __slots__ = (
        "_began",
        "_block",
        "_block_flags",
        "_block_since",
        "_block_size",
        "_block_stream",
        "_decoder",
        "_frame_since",
        "_gaps",
        "_pending",
        "_pending_at",
        "_waits_for_preface",
        "has_more",
    )

    def __init__(self, config: Http2Config, *, client: bool, now: float, memory: HeaderMemory | None = None) -> None:
        super().__init__(config, client=client, now=now, memory=memory)
        #: `receive` stopped for others' sake; call it again, with b"".
        self.has_more = False
        self._decoder = HeaderDecoder(self._memory)
        self._gaps: list[range] = []  # ids that the peer passed over: closed, but never opened (RFC 9113 §5.1.1)
        self._pending = b""  # bytes of a frame that has begun; with has_more, whatever follows _pending_at
        self._pending_at = 0
        self._waits_for_preface = not client
        self._block: list[bytes] | None = None  # a header block that has begun …
        self._block_stream = self._block_flags = self._block_size = 0  # … and what its HEADERS frame said
        self._block_since = self._frame_since = self._began = now

    # ---------------------------------------------------------------- time

    @property
    def is_waiting(self) -> bool:
        """Whether `next_timer` gives a time: something has begun that the peer has to complete."""
        return (
            not self.is_ready
            or self._settings_sent is not None
            or self._block is not None
            or bool(self._pending and not self.has_more)
        )

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None: not as things stand."""
        config = self.config
        times = []
        if not self.is_ready:
            times.append(self._began + config.preface_timeout)
        elif self._settings_sent is not None:
            times.append(self._settings_sent + config.settings_timeout)
        if self._block is not None:
            times.append(self._block_since + config.header_timeout)
        if self._pending and not self.has_more:
            times.append(self._frame_since + config.frame_timeout)
        return min(times, default=None)

    def handle_timer(self, now: float) -> list[Event]:
        """Events of what did not happen in time."""
        self._events = []
        due = self.next_timer()
        if due is None or due > now or self.has_failed:
            return []
        if not self.is_ready:
            self._fail(ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface came in time"))
        elif self._block is not None and self._block_since + self.config.header_timeout <= now:
            self._fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block was not completed in time"))
        elif self._settings_sent is not None and self._settings_sent + self.config.settings_timeout <= now:
            self._fail(ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, "our SETTINGS were not acknowledged in time"))
        else:
            self._fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a frame was not completed in time"))
        return self._events

    # ---------------------------------------------------------------- receiving

    def receive(self, data: bytes | memoryview, now: float) -> list[Event]:
        """What the bytes mean, of which nothing is kept. Look at `has_more` afterwards."""
        events = self._events = []
        if self.has_failed:
            return events
        self._now = now
        budgets = self._budgets
        budgets.received += len(data)
        start = 0
        if not self._pending:
            whole = bytes(data)
            self._frame_since = now
        elif data:
            whole = b"".join((memoryview(self._pending)[self._pending_at :], data))
        else:
            whole, start = self._pending, self._pending_at
        self.has_more = False
        try:
            if not self.is_ready:
                if self.is_client and whole.startswith(b"HTTP/"):
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the peer speaks HTTP/1.1, not HTTP/2")
                if self._waits_for_preface:
                    whole = self._read_preface(whole)
            at = start
            if not self._waits_for_preface:
                at = self._read_frames(whole, start, events)
                if at > start:
                    self._frame_since = now  # what is left began with these bytes
            if self.has_more:
                self._pending, self._pending_at = whole, at
            else:
                self._pending, self._pending_at = whole[at:], 0
            if budgets.received > budgets.harmless:
                budgets.waste(now)
        except ConnectionFault as fault:
            self._fail(fault)
        return events

    def _read_preface(self, data: bytes) -> bytes:
        size = len(wire.PREFACE)
        if data[:size] != wire.PREFACE[: len(data)]:
            kind = "HTTP/1.1" if data[:8].split(b" ")[0].isalpha() else "something else"
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"the peer speaks {kind}, not HTTP/2")
        if len(data) < size:
            return data
        self._waits_for_preface = False
        return data[size:]

    def _fail(self, fault: ConnectionFault) -> None:
        self.has_failed = True
        self.has_more = False
        self._pending = b""
        self._block = None
        self.go_away(fault.code, debug=fault.debug)
        self._events.append(ConnectionFailed(fault.code, fault.reason))

    def _read_frames(self, data: bytes, at: int, events: list[Event]) -> int:
        """Work through the frames that are complete, from `at` on; gives the place of the first byte of the rest."""
        streams, budgets, largest = self.streams, self._budgets, self.config.max_frame_size
        unpack = HEAD.unpack_from
        size = len(data)
        last_turn = at + _TURN_BYTES
        requests = 0
        while size - at >= 9:
            word, flags, stream_id = unpack(data, at)
            kind = word & 0xFF
            begin = at + 9
            end = begin + (word >> 8)
            if end - begin > largest:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"frame of {end - begin} bytes, at most {largest}")
            if end > size:
                break
            stream_id &= LAST_STREAM_ID
            at = end
            if self._block is not None and kind != CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "header block interrupted by another frame")
            try:
                if kind == DATA and self.is_ready:
                    if end - begin >= _CHEAP:
                        last_turn += end - begin
                    self._read_data(streams.get(stream_id), stream_id, flags, data, begin, end)
                elif kind == HEADERS and self.is_ready:
                    requests += not self.is_client
                    if (
                        flags == END_HEADERS
                        and size - end > 9
                        and (whole := self._read_whole(stream_id, data, begin, end))
                    ):
                        at = whole
                    elif flags & (PADDED | PRIORITY_FLAG) or not flags & END_HEADERS:
                        self._read_headers(stream_id, flags, data, begin, end)
                    else:
                        budgets.useful += end - begin
                        self._head(stream_id, flags, data[begin:end])
                else:
                    self._read_rare(kind, stream_id, flags, data[begin:end])
            except StreamFault as fault:
                self._fault(stream_id, fault)
            if (at >= last_turn or requests >= _TURN_REQUESTS) and size - at >= 9:
                self.has_more = True
                break
        return at

    def _read_rare(self, kind: int, stream_id: int, flags: int, payload: bytes) -> None:
        if not self.is_ready and (kind != wire.SETTINGS or flags & wire.ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame was not SETTINGS")
        if kind == CONTINUATION:
            self._read_continuation(stream_id, flags, payload)
        else:
            self._read_control(kind, stream_id, flags, payload)

    def _read_whole(self, stream_id: int, data: bytes, begin: int, end: int) -> int:
        """Where a request or a response ends that lies here in one piece, after giving it out; else 0.

        A shortcut for what most calls are, past nothing that the general way checks: the header blocks have gone that
        way before, and whatever is not plain here goes it now.
        """
        word, flags, its_stream = HEAD.unpack_from(data, end)
        start = end + 9
        stop = start + (word >> 8)
        length = stop - start
        if word & 0xFF or its_stream != stream_id or not 0 < length <= _WHOLE or length > self._receive_window:
            return 0
        head = self._decoder.recall(data[begin:end])
        if head is None or stop > len(data):
            return 0
        if self.is_client:
            stream = self.streams.get(stream_id)
            if (
                flags
                or stream is None
                or stream.got_head
                or stream.can_send
                or head.plain != "response"
                or length > stream.receive_window
                or len(data) - stop < 9
            ):
                return 0
            word, flags, its_stream = HEAD.unpack_from(data, stop)
            last: int = stop + 9 + (word >> 8)
            if word & 0xFF != HEADERS or flags != _LAST_HEADERS or its_stream != stream_id or last > len(data):
                return 0
            tail = self._decoder.recall(data[stop + 9 : last])
            if tail is None or tail.plain != "trailers":
                return 0
            stream.can_receive = False
            del self.streams[stream_id]
            self._budgets.finished += 1
            self._events.append(ResponseReceived(stream, head, data[start:stop], tail))
        else:
            if (
                flags != END_STREAM
                or not self._highest_inbound < stream_id <= self._highest_inbound + 2
                or not stream_id & 1
                or head.plain != "request"
                or self._goaway_sent is not None
                or self.held >= self.config.max_concurrent_streams
                or length > self._stream_window
            ):
                return 0
            self._highest_inbound = stream_id
            stream = Stream(stream_id, self.peer.initial_window_size, self._stream_window)
            stream.got_head = True
            stream.can_receive = False
            self.streams[stream_id] = stream
            self.held += 1
            self._events.append(RequestReceived(stream, head, data[start:stop]))
            last = stop
        self._budgets.useful += last - begin
        self._unreturned += length
        self._receive_window -= length
        if self._unreturned * 2 >= self._connection_window:
            self._return()
        return last

    # ---------------------------------------------------------------- DATA

    def _read_data(  # noqa: PLR0917  # called for every frame; keywords would cost a tenth of its time
        self, stream: Stream | None, stream_id: int, flags: int, data: bytes, begin: int, end: int
    ) -> None:
        size = end - begin
        if flags & PADDED:
            begin, end = _unpad(data, begin, end)
        if size > self._receive_window:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        self._receive_window -= size
        if stream is None or not stream.can_receive:
            self._unwanted(stream, stream_id, size)
            return
        if size > stream.receive_window:
            self._drop(size)
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        if not stream.got_head:
            self._drop(size)
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "DATA before the header block")
        stream.receive_window -= size
        budgets = self._budgets
        budgets.useful += end - begin
        ends = bool(flags & END_STREAM)
        if begin == end:
            if size:
                self.consumed(stream, size)
                size = 0
            if not ends:
                budgets.empty()
                return
        elif budgets.empty_frames:
            budgets.empty_frames = 0
        if stream.content_left is not None:
            left = stream.content_left = stream.content_left - end + begin
            if left < 0 or (ends and left):
                self._drop(size)
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "DATA is not as long as content-length says")
        last = self._events[-1] if self._events and size < _SMALL else None
        if isinstance(last, DataReceived) and last.stream is stream and len(last.data) < _MERGED:
            last.data += data[begin:end]
            last.size += size
            last.ends = ends
        else:
            self._events.append(DataReceived(stream, data[begin:end], size, ends))
        if ends:
            stream.can_receive = False
            if not stream.can_send:
                self._finish(stream)
        probe = self._probe
        if probe is not None and size and probe.received(size):
            self.ping(PROBE)

    def _unwanted(self, stream: Stream | None, stream_id: int, size: int) -> None:
        """DATA for a stream that takes none."""
        self._drop(size)
        if stream is not None:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        self._check_not_open(stream_id, "DATA")

    def _check_not_open(self, stream_id: int, what: str) -> None:
        """A frame on a stream that is not open: legal only where it may have been under way when we reset it."""
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on idle stream {stream_id}")
        if any(stream_id in gap for gap in self._gaps):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on stream {stream_id}, which was passed over")
        if stream_id not in self._reset_ids:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"{what} on closed stream {stream_id}")

    # ---------------------------------------------------------------- header blocks

    def _read_headers(self, stream_id: int, flags: int, data: bytes, begin: int, end: int) -> None:
        """HEADERS with padding, a priority or more to come."""
        if flags & PADDED:
            begin, end = _unpad(data, begin, end)
        if flags & PRIORITY_FLAG:
            if end - begin < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            depends_on = UINT32.unpack_from(data, begin)[0] & LAST_STREAM_ID
            begin += 5
            if depends_on == stream_id:
                if flags & END_HEADERS:
                    self._decoder.decode(data[begin:end])  # to keep the table as the peer has it
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        self._budgets.useful += end - begin
        if flags & END_HEADERS:
            self._head(stream_id, flags, data[begin:end])
            return
        self._block = [data[begin:end]]
        self._block_stream, self._block_flags, self._block_size = stream_id, flags, end - begin
        self._block_since = self._now

    def _read_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if self._block is None or stream_id != self._block_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without a header block")
        self._block.append(payload)
        self._block_size += len(payload)
        if (
            len(self._block) > self.config.max_continuations + 1
            or self._block_size > 2 * self.config.max_header_list_size
        ):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too long", b"too_many_continuations")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), None
            self._head(stream_id, self._block_flags, block)

    def _head(self, stream_id: int, flags: int, data: bytes) -> None:
        """A complete header block: a request, a response or trailers."""
        stream = self.streams.get(stream_id)
        if stream is None:
            if not self.is_client and stream_id > self._highest_inbound and stream_id & 1:
                self._request(stream_id, flags, data)
                return
            if stream_id == 0 or (not self.is_client and not stream_id & 1):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
            self._check_not_open(stream_id, "HEADERS")
            self._decoder.decode(data)  # to keep the table as the peer has it
            return
        block = self._decoder.decode(data)
        if not stream.can_receive:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream")
        ends = bool(flags & END_STREAM)
        try:
            if stream.got_head:
                block.check("trailers")
                if not ends:
                    raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
            else:
                block.check("response")
                if block.is_interim:
                    if ends:
                        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "interim response with END_STREAM")
                    self._budgets.empty()
                    return
                stream.got_head = True
                stream.content_left = block.content_length
        except Malformed as error:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, str(error)) from error
        if ends:
            if stream.content_left:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "DATA is not as long as content-length says")
            stream.can_receive = False
            if not stream.can_send:
                self._finish(stream)
        self._events.append(HeadersReceived(stream, block, ends))

    def _request(self, stream_id: int, flags: int, data: bytes) -> None:
        block = self._decoder.decode(data)
        if stream_id > self._highest_inbound + 2 and len(self._gaps) < _GAPS:
            self._gaps.append(range((self._highest_inbound + 1) | 1, stream_id, 2))
        self._highest_inbound = stream_id
        if self._goaway_sent is not None and stream_id > self._goaway_sent:
            self._remember(stream_id)  # the peer learns of it from the GOAWAY (RFC 9113 §6.8)
            return
        if self.held >= self.config.max_concurrent_streams:
            self._budgets.refuse()
            self.out += wire.reset_frame(stream_id, ErrorCode.REFUSED_STREAM)
            self._remember(stream_id)
            return
        stream = Stream(stream_id, self.peer.initial_window_size, self._stream_window)
        stream.got_head = True
        self.streams[stream_id] = stream
        try:
            block.check("request")
        except Malformed as error:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, str(error)) from error
        ends = bool(flags & END_STREAM)
        stream.content_left = block.content_length
        if ends:
            if stream.content_left:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "DATA is not as long as content-length says")
            stream.can_receive = False
        self.held += 1
        self._events.append(HeadersReceived(stream, block, ends, opens=True))

    def _fault(self, stream_id: int, fault: StreamFault) -> None:
        """End a stream for what the peer did on it."""
        if self._is_idle(stream_id):  # RST_STREAM may not name it (RFC 9113 §6.4)
            raise ConnectionFault(fault.code, fault.reason) from fault
        stream = self.streams.pop(stream_id, None)
        self.out += wire.reset_frame(stream_id, fault.code)
        self._remember(stream_id)
        if stream is not None:
            stream.fault = fault.reason
            stream.can_send = stream.can_receive = False
            self._events.append(StreamReset(stream, fault.code, by_peer=False))
        if not self.is_client:
            self._budgets.reset(self._now)


def _unpad(data: bytes, begin: int, end: int) -> tuple[int, int]:
    """Where the content of a padded frame begins and ends (RFC 9113 §6.1)."""
    if begin == end:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padded frame without a pad length")
    padding = data[begin]
    if begin + 1 + padding > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding is longer than the frame")
    return begin + 1, end - padding
