"""One HTTP/2 connection without sockets, clocks or tasks: bytes in, events and bytes out (RFC 9113).

`receive` takes whatever arrived and gives events; any bytes at all give events, at worst `ConnectionFailed`, never an
exception. What is to be sent collects in the output until `take_output`. Times are seconds of one monotonic clock,
handed in by the caller, who also calls `handle_timer` at `next_timer`.

A stream that the peer opened takes one of its places until `release` says that the work on it has ended, whatever
became of the stream: so opening and resetting streams gains nothing (CVE-2023-44487, CVE-2025-8671).
"""

from __future__ import annotations

from collections.abc import Callable

from orbit_lite.http2 import frames as wire
from orbit_lite.http2 import settings as names
from orbit_lite.http2.abuse import Budgets
from orbit_lite.http2.config import DEFAULT_WINDOW, Http2Config
from orbit_lite.http2.errors import ConnectionFault, ErrorCode, LocalProtocolError, StreamFault
from orbit_lite.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcknowledged,
    RequestReceived,
    ResponseReceived,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)
from orbit_lite.http2.fields import Fields, HeaderDecoder, HeaderEncoder, Malformed
from orbit_lite.http2.frames import END_HEADERS, END_STREAM, HEAD, PADDED, PRIORITY_FLAG, UINT32
from orbit_lite.http2.settings import LARGEST_WINDOW, PeerSettings
from orbit_lite.http2.streams import Stream
from orbit_lite.http2.windows import PROBE, BandwidthProbe

__all__ = ["LAST_STREAM_ID", "Connection"]

#: As the last stream id of a GOAWAY: "I will stop soon; nothing is refused yet" (RFC 9113 §6.8).
LAST_STREAM_ID = (1 << 31) - 1

#: Streams that we reset and of which frames may still be under way.
_REMEMBERED = 4096
#: What one call of `receive` works through before others get their turn.
_TURN_BYTES = 64 * 1024
_TURN_REQUESTS = 32
#: Gaps between stream ids that are remembered.
_GAPS = 16
_SMALL = 256
#: Smaller DATA than this grows by what comes right behind it.
_MERGED = 4 * 1024
#: DATA of requests and responses that are taken in one piece.
_WHOLE = 16 * 1024
_LAST_HEADERS = END_HEADERS | END_STREAM


class Connection:
    """One end of a connection. now: the time. The first output is the preface."""

    def __init__(self, config: Http2Config, *, client: bool, now: float) -> None:
        self.config = config
        self.is_client = client
        self.peer = PeerSettings()
        #: Streams that are not closed, by id.
        self.streams: dict[int, Stream] = {}
        #: Streams of the peer that were not released yet.
        self.held = 0
        #: Set by ConnectionFailed.
        self.has_failed = False
        #: `receive` stopped for others' sake; call it again, with b"".
        self.has_more = False
        #: The peer's SETTINGS have come.
        self.is_ready = False
        self.send_window = DEFAULT_WINDOW
        self._budgets = Budgets(config, now)
        self._decoder = HeaderDecoder(config.max_header_list_size, config.max_header_fields)
        self._encoder = HeaderEncoder()
        self._probe = BandwidthProbe(config.stream_window, config.largest_window) if config.adaptive_window else None
        self._stream_window = config.stream_window
        self._connection_window = config.connection_window
        self._receive_window = config.connection_window
        self._unreturned = 0
        self._highest_inbound = 0
        self._gaps: list[range] = []  # ids that the peer passed over: closed, but never opened (RFC 9113 §5.1.1)
        self._next_id = 1 if client else 2
        self._goaway_sent: int | None = None
        self._reset_ids: dict[int, None] = {}
        self._is_blocked = False  # a user waits for the connection's window
        self._answers = 0
        self._pending = b""
        self._waits_for_preface = not client
        self._block: list[bytes] | None = None  # a header block that has begun …
        self._block_stream = self._block_flags = self._block_size = 0  # … and what its HEADERS frame said
        self._block_since = self._last_bytes = self._began = now
        self._settings_sent: float | None = now
        self._now = now
        self._events: list[Event] = []
        self._out = bytearray()
        self._start()

    def _start(self) -> None:
        config = self.config
        values = [
            (names.INITIAL_WINDOW_SIZE, config.stream_window),
            (names.MAX_FRAME_SIZE, config.max_frame_size),
            (names.MAX_HEADER_LIST_SIZE, config.max_header_list_size),
        ]
        if self.is_client:
            self._out += wire.PREFACE
            values.insert(0, (names.ENABLE_PUSH, 0))
        else:
            values.insert(0, (names.MAX_CONCURRENT_STREAMS, config.max_concurrent_streams))
        self._out += wire.settings_frame(values)
        if config.connection_window > DEFAULT_WINDOW:
            self._out += wire.window_update_frame(0, config.connection_window - DEFAULT_WINDOW)

    # ---------------------------------------------------------------- output

    @property
    def has_output(self) -> bool:
        """Whether `take_output` would give anything."""
        return bool(self._out)

    @property
    def output_size(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._out)

    def take_output(self) -> bytearray:
        """What is to be sent now; the caller's to keep."""
        out, self._out = self._out, bytearray()
        self._answers = 0
        return out

    # ---------------------------------------------------------------- sending

    @property
    def free_streams(self) -> int:
        """How many more streams this side may open; negative when the peer lowered its limit."""
        return self.peer.max_concurrent_streams - len(self.streams)

    @property
    def has_ids(self) -> bool:
        """Whether a stream id is left (RFC 9113 §5.1.1)."""
        return self._next_id <= LAST_STREAM_ID

    def room(self, stream: Stream) -> int:
        """Bytes of DATA that the peer's windows allow on the stream. Without any the stream counts as waiting."""
        room = min(stream.send_window, self.send_window)
        if room <= 0:
            stream.is_blocked = self._is_blocked = True
        return room

    def open(self, fields: Fields, *, end: bool = False) -> Stream:
        """Open a stream with a header block. Raises LocalProtocolError when none may be opened."""
        if self.free_streams <= 0 or self.has_failed or not self.has_ids:
            raise LocalProtocolError("no further stream may be opened")
        block = self._encoder.encode(fields)
        stream = self._new_stream()
        self._send_block(stream.id, block, END_STREAM if end else 0)
        stream.can_send = not end
        return stream

    def open_whole(self, fields: Fields, data: bytes) -> Stream | None:
        """Open a stream with a header block and all its DATA; None, and nothing is sent, if something forbids it."""
        size = len(data)
        peer = self.peer
        if (
            size > peer.initial_window_size
            or size > self.send_window
            or size > peer.max_frame_size
            or len(self.streams) >= peer.max_concurrent_streams
            or self.has_failed
            or not self.has_ids
        ):
            return None
        block = self._encoder.encode(fields)
        stream = self._new_stream()
        self._send_block(stream.id, block, 0)
        self._out += HEAD.pack(size << 8, END_STREAM, stream.id) + data
        self._budgets.sent_data(1)
        self.send_window -= size
        stream.can_send = False
        return stream

    def _new_stream(self) -> Stream:
        stream_id = self._next_id
        self._next_id = stream_id + 2
        stream = self.streams[stream_id] = Stream(stream_id, self.peer.initial_window_size, self._stream_window)
        return stream

    def send_headers(self, stream: Stream, fields: Fields, *, end: bool = False) -> None:
        """Send a header block. Raises LocalProtocolError when this side has ended the stream."""
        if not stream.can_send:
            raise LocalProtocolError("headers after the end of the stream")
        self._send_block(stream.id, self._encoder.encode(fields), END_STREAM if end else 0)
        if end:
            self._end_sending(stream)

    def send_data(self, stream: Stream, data: bytes | memoryview, *, end: bool = False) -> None:
        """Send DATA, no more than `room`. Raises LocalProtocolError for more, and after the end of the stream."""
        size = len(data)
        if not stream.can_send:
            raise LocalProtocolError("DATA after the end of the stream")
        if size and (size > stream.send_window or size > self.send_window):
            raise LocalProtocolError("DATA beyond the peer's window")
        stream.send_window -= size
        self.send_window -= size
        largest = self.peer.max_frame_size
        out = self._out
        if size <= largest:
            out += HEAD.pack(size << 8, END_STREAM if end else 0, stream.id)
            out += data
            self._budgets.sent_data(1)
        else:
            view = memoryview(data)
            for start in range(0, size, largest):
                piece = view[start : start + largest]
                is_last = start + largest >= size
                out += HEAD.pack(len(piece) << 8, END_STREAM if end and is_last else 0, stream.id)
                out += piece
            self._budgets.sent_data(-(-size // largest))
        if end:
            self._end_sending(stream)

    def reply(self, stream: Stream, head: Fields, data: bytes, tail: Fields) -> bool:
        """Send a whole response: header block, DATA and trailers; False, and nothing is sent, if something forbids it.

        Raises LocalProtocolError when this side has ended the stream.
        """
        if not stream.can_send:
            raise LocalProtocolError("response after the end of the stream")
        size = len(data)
        if size > stream.send_window or size > self.send_window or size > self.peer.max_frame_size:
            return False
        stream.send_window -= size
        self.send_window -= size
        self._send_block(stream.id, self._encoder.encode(head), 0)
        self._out += HEAD.pack(size << 8, 0, stream.id) + data
        self._send_block(stream.id, self._encoder.encode(tail), END_STREAM)
        self._budgets.sent_data(1)
        self._end_sending(stream)
        return True

    def _send_block(self, stream_id: int, block: bytes, flags: int) -> None:
        """HEADERS, and CONTINUATION where the block is longer than a frame (RFC 9113 §6.10). flags: END_STREAM or 0."""
        size = len(block)
        largest = self.peer.max_frame_size
        if size <= largest:
            self._out += HEAD.pack(size << 8 | wire.HEADERS, flags | END_HEADERS, stream_id) + block
            return
        kind = wire.HEADERS
        for start in range(0, size, largest):
            piece = block[start : start + largest]
            if start + largest >= size:
                flags |= END_HEADERS
            self._out += HEAD.pack(len(piece) << 8 | kind, flags, stream_id) + piece
            kind, flags = wire.CONTINUATION, 0

    def _end_sending(self, stream: Stream) -> None:
        stream.can_send = False
        if not stream.can_receive:
            self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Both sides have ended it as they should."""
        del self.streams[stream.id]
        self._budgets.finished()

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once by RST_STREAM; nothing happens when it is closed."""
        if self.streams.pop(stream.id, None) is not None:
            stream.can_send = stream.can_receive = False
            self._out += wire.reset_frame(stream.id, code)
            self._remember(stream.id)

    def _remember(self, stream_id: int) -> None:
        self._reset_ids[stream_id] = None
        if len(self._reset_ids) > _REMEMBERED:
            del self._reset_ids[next(iter(self._reset_ids))]

    def release(self, stream: Stream) -> None:
        """The work on a stream of the peer has ended: its place is free. To be called once for each."""
        self.held -= 1

    def consumed(self, stream: Stream, size: int) -> None:
        """`size` bytes of received DATA were taken by the application: let the peer send as many more."""
        if size < _SMALL:
            budgets = self._budgets
            if budgets.small_data:
                budgets.small_data = max(0, budgets.small_data - _SMALL + size)
        if stream.can_receive:
            stream.unreturned += size
            if stream.unreturned * 2 >= self._stream_window:
                self._out += wire.window_update_frame(stream.id, stream.unreturned)
                stream.receive_window += stream.unreturned
                stream.unreturned = 0
        self._unreturned += size
        if self._receive_window + self._unreturned == self._connection_window:
            self._budgets.small_data = 0  # all that came has been taken, in whatever pieces
        if self._unreturned * 2 >= self._connection_window:
            self._return()

    def _return(self) -> None:
        self._out += wire.window_update_frame(0, self._unreturned)
        self._receive_window += self._unreturned
        self._unreturned = 0

    def ping(self, data: bytes) -> None:
        """Send a PING with eight bytes of data; PingAcknowledged tells of the answer."""
        self._out += wire.ping_frame(data)

    def go_away(self, code: int, last_stream_id: int | None = None, debug: bytes = b"") -> None:
        """Send GOAWAY; last_stream_id: by default the last stream that the peer opened. Open streams go on."""
        last = self._highest_inbound if last_stream_id is None else last_stream_id
        if self._goaway_sent is not None:
            last = min(last, self._goaway_sent)  # it must not grow (RFC 9113 §6.8)
        self._goaway_sent = last
        self._out += wire.goaway_frame(last, code, debug)

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
            times.append(self._last_bytes + config.frame_timeout)
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

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What the bytes mean. Look at `has_more` afterwards."""
        events = self._events = []
        if self.has_failed:
            return events
        self._now = now
        if data:
            self._last_bytes = now
            self._budgets.received += len(data)
        if self._pending:
            data = self._pending + data
        self.has_more = False
        try:
            if not self.is_ready and self.is_client and data.startswith(b"HTTP/"):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the peer speaks HTTP/1.1, not HTTP/2")
            if self._waits_for_preface:
                data = self._read_preface(data)
            if len(data) < 9 or self._waits_for_preface:
                self._pending = data
            else:
                self._pending = data[self._read_frames(data, events) :]
            self._budgets.waste(now)
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

    def _read_frames(self, data: bytes, events: list[Event]) -> int:
        """Work through the frames that are complete; gives the place of the first byte of the rest."""
        streams, budgets, largest = self.streams, self._budgets, self.config.max_frame_size
        unpack = HEAD.unpack_from
        at, size = 0, len(data)
        last_turn = min(size, _TURN_BYTES)
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
            if self._block is not None and kind != wire.CONTINUATION:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "header block interrupted by another frame")
            try:
                if kind == wire.DATA and self.is_ready:
                    self._read_data(streams.get(stream_id), stream_id, flags, data, begin, end)
                elif kind == wire.HEADERS and self.is_ready:
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
        read = _READERS.get(kind)
        if read is not None:  # frames of unknown types are ignored (RFC 9113 §5.5)
            read(self, stream_id, flags, payload)

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
            if word & 0xFF != wire.HEADERS or flags != _LAST_HEADERS or its_stream != stream_id or last > len(data):
                return 0
            tail = self._decoder.recall(data[stop + 9 : last])
            if tail is None or tail.plain != "trailers":
                return 0
            stream.can_receive = False
            self._finish(stream)
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
            # Small pieces that came together are one: they cost no more than their bytes.
            if last.size < _SMALL:
                budgets.small_data = max(0, budgets.small_data - _SMALL + last.size)
            last.data += data[begin:end]
            last.size += size
            last.ends = ends
            stored = last.size
        else:
            self._events.append(DataReceived(stream, data[begin:end], size, ends))
            stored = size
        if ends:
            stream.can_receive = False
            if not stream.can_send:
                self._finish(stream)
        elif stored < _SMALL:
            budgets.small(stored)
        elif budgets.small_data:
            budgets.small_data = max(0, budgets.small_data - size)
        probe = self._probe
        if probe is not None and size and probe.received(size):
            self.ping(PROBE)

    def _unwanted(self, stream: Stream | None, stream_id: int, size: int) -> None:
        """DATA for a stream that takes none."""
        self._drop(size)
        if stream is not None:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        self._check_not_open(stream_id, "DATA")

    def _drop(self, size: int) -> None:
        """DATA is thrown away: its room is given back here, since nobody else will."""
        self._unreturned += size
        if self._unreturned * 2 >= self._connection_window:
            self._return()

    def _check_not_open(self, stream_id: int, what: str) -> None:
        """A frame on a stream that is not open: legal only where it may have been under way when we reset it."""
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on idle stream {stream_id}")
        if any(stream_id in gap for gap in self._gaps):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on stream {stream_id}, which was passed over")
        if stream_id not in self._reset_ids:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"{what} on closed stream {stream_id}")

    def _is_idle(self, stream_id: int) -> bool:
        if stream_id == 0:
            return True
        if stream_id % 2 == self.is_client:  # ours
            return stream_id >= self._next_id
        return stream_id > self._highest_inbound

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
                self._decoder.decode(data[begin:end]) if flags & END_HEADERS else None
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
            self._out += wire.reset_frame(stream_id, ErrorCode.REFUSED_STREAM)
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
        self._events.append(HeadersReceived(stream, block, ends))

    def _fault(self, stream_id: int, fault: StreamFault) -> None:
        """End a stream for what the peer did on it."""
        if self._is_idle(stream_id):  # RST_STREAM may not name it (RFC 9113 §6.4)
            raise ConnectionFault(fault.code, fault.reason) from fault
        stream = self.streams.pop(stream_id, None)
        self._out += wire.reset_frame(stream_id, fault.code)
        self._remember(stream_id)
        if stream is not None:
            stream.fault = fault.reason
            stream.can_send = stream.can_receive = False
            self._events.append(StreamReset(stream, fault.code, by_peer=False))
        if not self.is_client:
            self._budgets.reset(self._now)

    # ---------------------------------------------------------------- the other frames

    def _read_priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        self._budgets.update()
        if len(payload) != 5:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
        if UINT32.unpack_from(payload)[0] & LAST_STREAM_ID == stream_id:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")

    def _read_reset(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"RST_STREAM of {len(payload)} bytes")
        if self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on idle stream {stream_id}")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        is_early = stream.can_send
        stream.can_send = stream.can_receive = False
        self._events.append(StreamReset(stream, UINT32.unpack(payload)[0], by_peer=True))
        if is_early and not self.is_client:
            self._budgets.reset(self._now)

    def _read_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & wire.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "acknowledgement of SETTINGS with content")
            self._settings_sent = None
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        if len(payload) // 6 > self.config.max_settings:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many settings in a frame", b"too_many_settings")
        self._budgets.settings(self._now)
        peer = self.peer
        for name, value in names.read_settings(payload, from_server=self.is_client):
            if name == names.INITIAL_WINDOW_SIZE:
                self._change_windows(value - peer.initial_window_size)
                peer.initial_window_size = value
            elif name == names.MAX_FRAME_SIZE:
                peer.max_frame_size = value
            elif name == names.MAX_CONCURRENT_STREAMS:
                peer.max_concurrent_streams = value
            elif name == names.HEADER_TABLE_SIZE:
                peer.header_table_size = value
                self._encoder.limit_table(value)
            elif name == names.MAX_HEADER_LIST_SIZE:
                peer.max_header_list_size = value
        self._answer(wire.settings_frame((), ack=True))
        self.is_ready = True
        self._events.append(SettingsReceived())

    def _change_windows(self, change: int) -> None:
        for stream in self.streams.values():
            stream.send_window += change
            if stream.send_window > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE overflows a window")
        if change > 0 and self._is_blocked:
            self._events.append(WindowOpened(None))

    def _answer(self, frame: bytes) -> None:
        self._answers += 1
        if self._answers > self.config.max_queued_answers:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the peer does not read our answers", b"too_many_pings")
        self._out += frame

    def _read_push(self, stream_id: int, flags: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody may send here")

    def _read_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
        if not flags & wire.ACK:
            if not self.is_client:  # servers may test an idle connection as often as they like (gRFC A9)
                self._budgets.ping(self._now, has_streams=bool(self.streams))
            self._answer(wire.ping_frame(payload, ack=True))
        elif payload != PROBE:
            self._events.append(PingAcknowledged(payload))
        elif self._probe is not None and (window := self._probe.answered()) is not None:
            self._grow(window)

    def _grow(self, window: int) -> None:
        """Let the receive windows of streams be `window`, and the connection's hold a few of them."""
        change = window - self._stream_window
        self._stream_window = window
        self._out += wire.settings_frame([(names.INITIAL_WINDOW_SIZE, window)])
        self._settings_sent = self._now
        for stream in self.streams.values():
            stream.receive_window += change
        whole = max(self._connection_window, min(4 * window, 2 * self.config.largest_window, LARGEST_WINDOW))
        if whole > self._connection_window:
            self._out += wire.window_update_frame(0, whole - self._connection_window)
            self._receive_window += whole - self._connection_window
            self._connection_window = whole

    def _read_goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
        last, code = UINT32.unpack_from(payload)[0] & LAST_STREAM_ID, UINT32.unpack_from(payload, 4)[0]
        self._events.append(GoAwayReceived(last, code, payload[8:]))

    def _read_window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(payload)} bytes")
        increment = UINT32.unpack(payload)[0] & LAST_STREAM_ID
        self._budgets.update()
        if stream_id == 0:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self.send_window += increment
            if self.send_window > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE overflows the connection's window")
            if self._is_blocked and self.send_window > 0:
                self._is_blocked = False
                self._events.append(WindowOpened(None))
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on idle stream {stream_id}")
            return
        if not increment:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        stream.send_window += increment
        if stream.send_window > LARGEST_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE overflows the stream's window")
        if stream.is_blocked and stream.send_window > 0:
            stream.is_blocked = False
            self._events.append(WindowOpened(stream))


def _unpad(data: bytes, begin: int, end: int) -> tuple[int, int]:
    """Where the content of a padded frame begins and ends (RFC 9113 §6.1)."""
    if begin == end:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padded frame without a pad length")
    padding = data[begin]
    if begin + 1 + padding > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding is longer than the frame")
    return begin + 1, end - padding


_READERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    wire.PRIORITY: Connection._read_priority,
    wire.RST_STREAM: Connection._read_reset,
    wire.SETTINGS: Connection._read_settings,
    wire.PUSH_PROMISE: Connection._read_push,
    wire.PING: Connection._read_ping,
    wire.GOAWAY: Connection._read_goaway,
    wire.WINDOW_UPDATE: Connection._read_window_update,
    wire.CONTINUATION: Connection._read_continuation,
}
