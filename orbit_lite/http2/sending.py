"""What one end of a connection sends: header blocks, DATA as the peer's windows allow, resets, windows given back.

The first third of a connection's state, see connection.py; it knows of the peer only what the other two thirds tell it.
"""

from __future__ import annotations

from orbit_lite.http2 import frames as wire
from orbit_lite.http2 import settings as names
from orbit_lite.http2.abuse import Budgets
from orbit_lite.http2.blocks import ReadyBlock
from orbit_lite.http2.config import DEFAULT_WINDOW, Http2Config
from orbit_lite.http2.errors import LocalProtocolError
from orbit_lite.http2.fields import Fields, HeaderEncoder, HeaderMemory
from orbit_lite.http2.frames import END_HEADERS, END_STREAM, HEAD
from orbit_lite.http2.settings import PeerSettings
from orbit_lite.http2.streams import Stream

__all__ = ["LAST_STREAM_ID", "SendingSide"]

#: As the last stream id of a GOAWAY: "I will stop soon; nothing is refused yet" (RFC 9113 §6.8).
LAST_STREAM_ID = (1 << 31) - 1

#: Streams that we reset and of which frames may still be under way.
_REMEMBERED = 4096


class SendingSide:
    """One end of a connection as its user writes to it. The first output is the preface."""

    __slots__ = (
        "_answers",
        "_budgets",
        "_closing",
        "_connection_window",
        "_encoder",
        "_frame_at",
        "_frame_end",
        "_frames_sent",
        "_goaway_sent",
        "_highest_inbound",
        "_is_blocked",
        "_joinable",
        "_memory",
        "_next_id",
        "_opening",
        "_receive_window",
        "_reset_ids",
        "_stream_window",
        "_unreturned",
        "config",
        "has_failed",
        "held",
        "is_client",
        "out",
        "peer",
        "send_window",
        "streams",
    )

    def __init__(self, config: Http2Config, *, client: bool, now: float, memory: HeaderMemory | None = None) -> None:
        self.config = config
        self.is_client = client
        self.peer = PeerSettings()
        #: Streams that are not closed, by id.
        self.streams: dict[int, Stream] = {}
        #: Streams of the peer that were not released yet.
        self.held = 0
        #: Set by ConnectionFailed.
        self.has_failed = False
        self.send_window = DEFAULT_WINDOW
        self._budgets = Budgets(config, now)
        self._memory = memory or HeaderMemory(config.max_header_list_size, config.max_header_fields)
        self._encoder = HeaderEncoder(self._memory)
        self._opening: ReadyBlock | None = None  # what the last whole request or response began with …
        self._closing: ReadyBlock | None = None  # … and the response ended with
        self._stream_window = config.stream_window
        self._connection_window = config.connection_window
        self._receive_window = config.connection_window
        self._unreturned = 0
        self._highest_inbound = 0
        self._next_id = 1 if client else 2
        self._goaway_sent: int | None = None
        self._reset_ids: dict[int, None] = {}
        self._is_blocked = False  # a user waits for the connection's window
        self._answers = 0  # acknowledgements in the output
        #: What is to be sent, to be looked at only: `take_output` takes it.
        self.out = bytearray()
        self._joinable = 0  # the stream of which `out` ends with a DATA frame that may grow …
        self._frame_at = self._frame_end = 0  # … and where that begins and ends
        self._frames_sent = 0  # of DATA, or parts of one, which the budgets have not been told of
        self._start()

    def _start(self) -> None:
        config = self.config
        values = [
            (names.INITIAL_WINDOW_SIZE, config.stream_window),
            (names.MAX_FRAME_SIZE, config.max_frame_size),
            (names.MAX_HEADER_LIST_SIZE, config.max_header_list_size),
        ]
        if self.is_client:
            self.out += wire.PREFACE
            values.insert(0, (names.ENABLE_PUSH, 0))
        else:
            values.insert(0, (names.MAX_CONCURRENT_STREAMS, config.max_concurrent_streams))
        self.out += wire.settings_frame(values)
        if config.connection_window > DEFAULT_WINDOW:
            self.out += wire.window_update_frame(0, config.connection_window - DEFAULT_WINDOW)

    # ---------------------------------------------------------------- output

    @property
    def has_output(self) -> bool:
        """Whether `take_output` would give anything."""
        return bool(self.out)

    @property
    def output_size(self) -> int:
        """Bytes that wait to be taken."""
        return len(self.out)

    def take_output(self) -> bytearray:
        """What is to be sent now; the caller's to keep."""
        out, self.out = self.out, bytearray()
        self._answers = self._joinable = 0
        self._budgets.frames_sent += self._frames_sent
        self._frames_sent = 0
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
        stream_id = self._next_id
        self._next_id = stream_id + 2
        stream = self.streams[stream_id] = Stream(stream_id, self.peer.initial_window_size, self._stream_window)
        self._send_block(stream_id, block, END_STREAM if end else 0)
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
            or (number := self._next_id) > LAST_STREAM_ID
        ):
            return None
        encoder, opening = self._encoder, self._opening
        if opening is None or opening.fields is not fields or opening.lexicon is not encoder.lexicon:
            opening = self._opening = ReadyBlock(encoder, fields, before_data=True)
        self._next_id = number + 2
        stream = self.streams[number] = Stream(number, peer.initial_window_size, self._stream_window)
        if opening.write is not None:
            self.out += opening.write(opening.word, END_HEADERS, number, opening.block, size << 8, END_STREAM, number)
        else:
            self._send_block(number, opening.block, 0)
            self.out += HEAD.pack(size << 8, END_STREAM, number)
        self.out += data
        self._frames_sent += 1
        self.send_window -= size
        stream.can_send = False
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
        out = self.out
        if size <= largest:
            at = len(out)
            if (
                self._joinable == stream.id
                and self._frame_end == at
                and (whole := at - self._frame_at - 9 + size) <= largest
            ):  # messages of one turn share a frame: a frame costs both ends more than a small message
                HEAD.pack_into(out, self._frame_at, whole << 8, END_STREAM if end else 0, stream.id)
            else:
                self._joinable, self._frame_at = stream.id, at
                out += HEAD.pack(size << 8, END_STREAM if end else 0, stream.id)
            out += data
            self._frame_end = len(out)
            self._frames_sent += 1
        else:
            view = memoryview(data)
            for start in range(0, size, largest):
                piece = view[start : start + largest]
                is_last = start + largest >= size
                out += HEAD.pack(len(piece) << 8, END_STREAM if end and is_last else 0, stream.id)
                out += piece
            self._frames_sent += -(-size // largest)
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
        encoder, opening, closing, number = self._encoder, self._opening, self._closing, stream.id
        if opening is None or opening.fields is not head or opening.lexicon is not encoder.lexicon:
            opening = self._opening = ReadyBlock(encoder, head, before_data=True)
        if closing is None or closing.fields is not tail or closing.lexicon is not encoder.lexicon:
            closing = self._closing = ReadyBlock(encoder, tail, before_data=False)
        if opening.write is not None and closing.write is not None:
            self.out += opening.write(opening.word, END_HEADERS, number, opening.block, size << 8, 0, number)
            self.out += data
            self.out += closing.write(closing.word, END_HEADERS | END_STREAM, number, closing.block)
        else:
            self._send_block(number, opening.block, 0)
            self.out += HEAD.pack(size << 8, 0, number) + data
            self._send_block(number, closing.block, END_STREAM)
        self._frames_sent += 1
        stream.can_send = False
        if not stream.can_receive:  # `_finish`, here and in reading what is whole without a call
            del self.streams[number]
            self._budgets.finished += 1
        return True

    def _send_block(self, stream_id: int, block: bytes, flags: int) -> None:
        """HEADERS, and CONTINUATION where the block is longer than a frame (RFC 9113 §6.10). flags: END_STREAM or 0."""
        size = len(block)
        largest = self.peer.max_frame_size
        if size <= largest:
            self.out += HEAD.pack(size << 8 | wire.HEADERS, flags | END_HEADERS, stream_id) + block
            return
        kind = wire.HEADERS
        for start in range(0, size, largest):
            piece = block[start : start + largest]
            if start + largest >= size:
                flags |= END_HEADERS
            self.out += HEAD.pack(len(piece) << 8 | kind, flags, stream_id) + piece
            kind, flags = wire.CONTINUATION, 0

    def _end_sending(self, stream: Stream) -> None:
        stream.can_send = False
        if not stream.can_receive:
            self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Both sides have ended it as they should."""
        del self.streams[stream.id]
        self._budgets.finished += 1

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once by RST_STREAM; nothing happens when it is closed."""
        if self.streams.pop(stream.id, None) is not None:
            stream.can_send = stream.can_receive = False
            self.out += wire.reset_frame(stream.id, code)
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
        if stream.can_receive:
            stream.unreturned += size
            if stream.unreturned * 2 >= self._stream_window:
                self.out += wire.window_update_frame(stream.id, stream.unreturned)
                stream.receive_window += stream.unreturned
                stream.unreturned = 0
        self._unreturned += size
        if self._unreturned * 2 >= self._connection_window:
            self._return()

    def _return(self) -> None:
        self.out += wire.window_update_frame(0, self._unreturned)
        self._receive_window += self._unreturned
        self._unreturned = 0

    def ping(self, data: bytes) -> None:
        """Send a PING with eight bytes of data; PingAcknowledged tells of the answer."""
        self.out += wire.ping_frame(data)

    def go_away(self, code: int, last_stream_id: int | None = None, debug: bytes = b"") -> None:
        """Send GOAWAY; last_stream_id: by default the last stream that the peer opened. Open streams go on."""
        last = self._highest_inbound if last_stream_id is None else last_stream_id
        if self._goaway_sent is not None:
            last = min(last, self._goaway_sent)  # it must not grow (RFC 9113 §6.8)
        self._goaway_sent = last
        self.out += wire.goaway_frame(last, code, debug)

    def _drop(self, size: int) -> None:
        """DATA is thrown away: its room is given back here, since nobody else will."""
        self._unreturned += size
        if self._unreturned * 2 >= self._connection_window:
            self._return()

    def _is_idle(self, stream_id: int) -> bool:
        if stream_id == 0:
            return True
        if stream_id % 2 == self.is_client:  # ours
            return stream_id >= self._next_id
        return stream_id > self._highest_inbound
