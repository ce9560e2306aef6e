"""Our client and our server over wires that delay and cut: whatever the two do, nothing is lost and nothing is left."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orbit_lite.http2 import Connection, Fields, Http2Config
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadersReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
)
from orbit_lite.http2.streams import Stream

REQUEST: Fields = ((":method", "POST"), (":scheme", "http"), (":path", "/s/M"), ("te", "trailers"))
RESPONSE: Fields = ((":status", "200"),)
TRAILERS: Fields = (("grpc-status", "0"),)
#: Some that repeat, some that change the table, some that do neither.
EXTRA = st.sampled_from([(), (("x", "1"),), (("user-agent", "a"),), (("user-agent", "b"),), (("y", "z" * 20_000),)])
SIZES = st.sampled_from([0, 1, 5, 255, 256, 5000, 16_384, 16_385, 65_535, 100_000])


class Unread(NamedTuple):
    """DATA that an end has received and its user not yet taken."""

    stream: Stream
    size: int


class Half:
    """One direction of one stream, as its two ends see it."""

    def __init__(self) -> None:
        self.sent = b""
        self.received = b""
        self.heads: list[Fields] = []
        self.got_heads: list[Fields] = []
        self.has_ended = False
        self.got_end = 0


class End:
    """One connection, and what its user knows."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pipe: deque[bytes] = deque()  # on its way to this end
        self.streams: dict[int, Stream] = {}
        self.unread: list[Unread] = []
        self.resets: list[int] = []


class BothEnds(RuleBasedStateMachine):
    """Rules are what users and wires do; invariants hold in between."""

    def __init__(self) -> None:
        super().__init__()
        self.up: dict[int, Half] = {}
        self.down: dict[int, Half] = {}
        self.reset: set[int] = set()
        self.count = 0

    @initialize(window=st.sampled_from([65_535, 1 << 17]), adaptive=st.booleans(), most=st.sampled_from([1, 3, 100]))
    def connect(self, window: int, adaptive: bool, most: int) -> None:
        config = Http2Config(
            stream_window=window,
            connection_window=2 * window,
            largest_window=4 * window,
            adaptive_window=adaptive,
            max_concurrent_streams=most,
            max_header_list_size=1 << 15,
        )
        self.client = End(Connection(config, client=True, now=0.0))
        self.server = End(Connection(config, client=False, now=0.0))

    @property
    def ends(self) -> tuple[End, End]:
        return self.client, self.server

    # ---------------------------------------------------------------- wires

    def flush(self, source: End) -> None:
        target = self.server if source is self.client else self.client
        if source.connection.has_output:
            target.pipe.append(bytes(source.connection.take_output()))

    def deliver(self, end: End, size: int) -> None:
        self.flush(self.server if end is self.client else self.client)
        data = b"".join(end.pipe)
        end.pipe.clear()
        if data[size:]:
            end.pipe.append(data[size:])
        for event in end.connection.receive(data[:size], 0.0):
            self.handle(end, event)
        while end.connection.has_more:
            for event in end.connection.receive(b"", 0.0):
                self.handle(end, event)

    @rule(side=st.integers(0, 1), size=st.sampled_from([1, 9, 10, 100, 20_000, 1 << 20]))
    def some_arrives(self, side: int, size: int) -> None:
        self.deliver(self.ends[side], size)

    def handle(self, end: End, event: Event) -> None:
        halves = self.up if end is self.server else self.down
        assert not isinstance(event, ConnectionFailed), event.reason
        match event:
            case HeadersReceived(stream=stream):
                if end is self.server and stream.id not in end.streams:
                    end.streams[stream.id] = stream
                half = halves[stream.id]
                half.got_heads.append(event.block.fields)
                half.got_end += event.ends
            case DataReceived(stream=stream):
                half = halves[stream.id]
                half.received += event.data
                half.got_end += event.ends
                end.unread.append(Unread(stream, event.size))
            case RequestReceived(stream=stream):
                end.streams[stream.id] = stream
                half = halves[stream.id]
                half.got_heads.append(event.block.fields)
                half.received += event.data
                half.got_end += 1
            case ResponseReceived(stream=stream):
                half = halves[stream.id]
                half.got_heads += [event.head.fields, event.tail.fields]
                half.received += event.data
                half.got_end += 1
            case StreamReset(stream=stream):
                assert stream.id not in end.resets
                assert event.by_peer
                end.resets.append(stream.id)
                self.reset.add(stream.id)
            case _:
                pass

    # ---------------------------------------------------------------- users

    @precondition(lambda self: self.count < 12 and self.client.connection.free_streams > 0)
    @rule(extra=EXTRA, end=st.booleans())
    def open(self, extra: Fields, end: bool) -> None:
        stream = self.client.connection.open(REQUEST + extra, end=end)
        self.opened(stream, REQUEST + extra).has_ended = end

    @precondition(lambda self: self.count < 12)
    @rule(size=SIZES)
    def open_whole(self, size: int) -> None:
        stream = self.client.connection.open_whole(REQUEST, b"u" * size)
        if stream is not None:
            half = self.opened(stream, REQUEST)
            half.sent = b"u" * size
            half.has_ended = True

    def opened(self, stream: Stream, head: Fields) -> Half:
        self.count += 1
        self.client.streams[stream.id] = stream
        self.up[stream.id], self.down[stream.id] = Half(), Half()
        self.up[stream.id].heads.append(head)
        return self.up[stream.id]

    def pick(self, data: st.DataObject, end: End) -> Stream | None:
        """A stream on which the end may send."""
        able = [stream for stream in end.streams.values() if stream.can_send]
        return data.draw(st.sampled_from(able)) if able else None

    def half(self, end: End, stream: Stream) -> Half:
        return (self.up if end is self.client else self.down)[stream.id]

    @rule(data=st.data(), side=st.integers(0, 1), size=SIZES, ends=st.booleans())
    def send(self, data: st.DataObject, side: int, size: int, ends: bool) -> None:
        end = self.ends[side]
        stream = self.pick(data, end)
        if stream is None:
            return
        half = self.half(end, stream)
        if not half.heads:
            end.connection.send_headers(stream, RESPONSE)
            half.heads.append(RESPONSE)
        room = end.connection.room(stream)
        piece = bytes([len(half.sent) & 0xFF]) * min(size, max(room, 0))
        ends = ends and end is self.client
        end.connection.send_data(stream, piece, end=ends)
        half.sent += piece
        half.has_ended = ends

    @rule(data=st.data(), extra=EXTRA)
    def end_by_trailers(self, data: st.DataObject, extra: Fields) -> None:
        stream = self.pick(data, self.server)
        if stream is not None:
            half = self.down[stream.id]
            if not half.heads:
                self.server.connection.send_headers(stream, RESPONSE)
                half.heads.append(RESPONSE)
            self.server.connection.send_headers(stream, TRAILERS + extra, end=True)
            half.heads.append(TRAILERS + extra)
            half.has_ended = True

    @rule(data=st.data(), size=SIZES)
    def reply(self, data: st.DataObject, size: int) -> None:
        stream = self.pick(data, self.server)
        if stream is None or (half := self.down[stream.id]).heads:
            return
        if self.server.connection.reply(stream, RESPONSE, b"d" * size, TRAILERS):
            half.heads, half.sent, half.has_ended = [RESPONSE, TRAILERS], b"d" * size, True

    @rule(data=st.data(), side=st.integers(0, 1))
    def reset_one(self, data: st.DataObject, side: int) -> None:
        end = self.ends[side]
        able = [stream for stream in end.streams.values() if not stream.is_closed]
        if able:
            stream = data.draw(st.sampled_from(able))
            end.connection.reset(stream, ErrorCode.CANCEL)
            end.resets.append(stream.id)
            self.reset.add(stream.id)

    @rule(side=st.integers(0, 1), count=st.integers(1, 5))
    def read(self, side: int, count: int) -> None:
        end = self.ends[side]
        for unread in end.unread[:count]:
            end.connection.consumed(unread.stream, unread.size)
        del end.unread[:count]

    @rule()
    def release_what_is_over(self) -> None:
        for stream in list(self.server.streams.values()):
            if stream.is_closed:
                del self.server.streams[stream.id]
                self.server.connection.release(stream)

    @rule(side=st.integers(0, 1))
    def ping(self, side: int) -> None:
        if side:  # clients have to be sparing with them (gRFC A9)
            self.server.connection.ping(b"12345678")

    # ---------------------------------------------------------------- what holds

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        for halves in (self.up, self.down):
            for half in halves.values():
                assert half.sent.startswith(half.received)
                assert half.heads[: len(half.got_heads)] == half.got_heads
                assert half.got_end <= half.has_ended

    @invariant()
    def windows_are_kept(self) -> None:
        for end in self.ends if hasattr(self, "client") else ():
            connection = end.connection
            unread = sum(unread.size for unread in end.unread)
            assert connection._receive_window >= 0
            assert connection._receive_window + connection._unreturned + unread == connection._connection_window
            assert connection.send_window >= 0
            for stream in connection.streams.values():
                assert stream.receive_window >= 0
                assert not stream.is_closed
            if not connection.is_client:
                assert connection.held == len(end.streams)

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        for end in (*self.ends, *self.ends):
            self.deliver(end, 1 << 30)
        for stream in list(self.server.streams.values()):
            if stream.can_send:
                half = self.down[stream.id]
                head: Fields = TRAILERS if half.heads else RESPONSE
                self.server.connection.send_headers(stream, head, end=True)
                half.heads.append(head)
                half.has_ended = True
        for stream in self.client.streams.values():
            if stream.can_send:
                self.client.connection.send_data(stream, b"", end=True)
                self.up[stream.id].has_ended = True
        for _ in range(3):
            for end in self.ends:
                self.deliver(end, 1 << 30)
                for unread in end.unread:
                    end.connection.consumed(unread.stream, unread.size)
                end.unread.clear()
        self.release_what_is_over()
        self.nothing_is_out_of_order()
        self.windows_are_kept()
        for halves in (self.up, self.down):
            for stream_id, half in halves.items():
                if stream_id not in self.reset:
                    assert half.received == half.sent
                    assert half.got_heads == half.heads
                    assert half.got_end == 1
        assert self.server.connection.held == 0
        for end in self.ends:
            assert not end.connection.streams
            assert not end.connection.has_output
            assert not end.pipe
            assert end.connection._pending == b""


TestBothEnds = BothEnds.TestCase
TestBothEnds.settings = settings(stateful_step_count=40)
