"""Our connection against another implementation, in both roles, and against any bytes at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest
from h2 import config as h2_config
from h2 import connection as h2_connection
from h2 import events as h2_events
from h2.exceptions import ProtocolError
from hyperframe.frame import Frame
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_lite.http2 import LAST_STREAM_ID, Connection, Http2Config, LocalProtocolError
from orbit_lite.http2.errors import ErrorCode
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
from orbit_lite.http2.fields import HeaderBlock
from orbit_lite.http2.streams import Stream

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", "/s/M"), (":authority", "host"), ("te", "trailers"))
RESPONSE = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS = (("grpc-status", "0"),)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


def everything(connection: Connection, data: bytes, now: float = 0.0) -> list[Event]:
    """Events of the bytes, however many turns they take."""
    events = connection.receive(data, now)
    while connection.has_more:
        events = events + connection.receive(b"", now)
    return events


def plain(headers: Iterable[tuple[str | bytes, str | bytes]]) -> tuple[tuple[str, str], ...]:
    def text(value: str | bytes) -> str:
        return value if isinstance(value, str) else value.decode("latin-1")

    return tuple((text(name), text(value)) for name, value in headers)


class Pair:
    """Our connection and one of the h2 library, and the wires between them."""

    def __init__(self, *, client: bool, config: Http2Config | None = None) -> None:
        self.ours = Connection(config or Http2Config(ping_interval=None), client=client, now=0.0)
        self.theirs = h2_connection.H2Connection(
            h2_config.H2Configuration(client_side=not client, header_encoding=None)
        )
        self.theirs.initiate_connection()
        self.our_events: list[Event] = []
        self.their_events: list[h2_events.Event] = []
        self.settle()
        self.our_events.clear()
        self.their_events.clear()

    def settle(self) -> None:
        """Until neither has anything to send."""
        while (out := bytes(self.ours.take_output())) or self.theirs._data_to_send:
            self.their_events += self.theirs.receive_data(out)
            self.our_events += everything(self.ours, self.theirs.data_to_send())

    def theirs_of(self, kind: type[h2_events.Event]) -> list[h2_events.Event]:
        return [event for event in self.their_events if isinstance(event, kind)]


@pytest.fixture(params=[True, False], ids=["our client", "our server"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Both roles."""
    return Pair(client=request.param)


def opened(pair: Pair) -> Stream:
    """Stream 1, opened by whoever is the client, and its record on our side."""
    if pair.ours.is_client:
        stream = pair.ours.open(REQUEST)
        pair.settle()
        pair.theirs.send_headers(1, RESPONSE)
    else:
        pair.theirs.send_headers(1, REQUEST)
        pair.settle()
        (head,) = pair.our_events
        assert isinstance(head, HeadersReceived)
        stream = head.stream
        pair.ours.send_headers(stream, RESPONSE)
    pair.settle()
    pair.our_events.clear()
    pair.their_events.clear()
    return stream


# ---------------------------------------------------------------- another implementation

SIZES = st.lists(st.integers(0, 300) | st.integers(0, 30_000), max_size=5)


def body(sizes: list[int]) -> list[bytes]:
    """Pieces that can be told apart."""
    return [bytes([at + 1]) * size for at, size in enumerate(sizes)]


@given(SIZES, SIZES, st.integers(0, 255))
def test_our_client_and_another_server_understand_each_other(
    up_sizes: list[int], down_sizes: list[int], pad: int
) -> None:
    up, down = body(up_sizes), body(down_sizes)
    pair = Pair(client=True)
    stream = pair.ours.open((*REQUEST, ("x", "1")))
    for piece in up:
        pair.settle()
        assert pair.ours.room(stream) >= len(piece)
        pair.ours.send_data(stream, piece)
        pair.settle()
        pair.theirs.acknowledge_received_data(len(piece), 1)
    pair.ours.send_headers(stream, TRAILERS, end=True)
    pair.settle()
    (request,) = pair.theirs_of(h2_events.RequestReceived)
    assert isinstance(request, h2_events.RequestReceived)
    assert request.headers is not None
    assert plain(request.headers) == (*REQUEST, ("x", "1"))
    received = b"".join(event.data for event in pair.their_events if isinstance(event, h2_events.DataReceived))
    assert received == b"".join(up)
    (trailers,) = pair.theirs_of(h2_events.TrailersReceived)
    assert isinstance(trailers, h2_events.TrailersReceived)
    assert trailers.headers is not None
    assert plain(trailers.headers) == TRAILERS
    assert pair.theirs_of(h2_events.StreamEnded)

    pair.theirs.send_headers(1, RESPONSE)
    for piece in down:
        for start in range(0, len(piece), 16_000):
            pair.theirs.send_data(1, piece[start : start + 16_000], pad_length=pad)
            pair.settle()
    pair.theirs.send_headers(1, TRAILERS, end_stream=True)
    pair.settle()
    assert_message(pair.our_events, RESPONSE, b"".join(down), TRAILERS)
    assert not pair.ours.streams


@given(SIZES, SIZES, st.integers(0, 255))
def test_our_server_and_another_client_understand_each_other(
    up_sizes: list[int], down_sizes: list[int], pad: int
) -> None:
    up, down = body(up_sizes), body(down_sizes)
    pair = Pair(client=False)
    pair.theirs.send_headers(1, REQUEST)
    for piece in up:
        for start in range(0, len(piece), 16_000):
            pair.theirs.send_data(1, piece[start : start + 16_000], pad_length=pad)
            pair.settle()
    pair.theirs.end_stream(1)
    pair.settle()
    assert_message(pair.our_events, REQUEST, b"".join(up), None)
    (stream,) = pair.ours.streams.values()
    pair.ours.send_headers(stream, RESPONSE)
    for piece in down:
        pair.settle()
        assert pair.ours.room(stream) >= len(piece)
        pair.ours.send_data(stream, piece)
        pair.settle()
        pair.theirs.acknowledge_received_data(len(piece), 1)
    pair.ours.send_headers(stream, TRAILERS, end=True)
    pair.ours.release(stream)
    pair.settle()
    received = b"".join(event.data for event in pair.their_events if isinstance(event, h2_events.DataReceived))
    assert received == b"".join(down)
    assert pair.theirs_of(h2_events.TrailersReceived)
    assert pair.theirs_of(h2_events.StreamEnded)
    assert (pair.ours.held, pair.ours.streams) == (0, {})


def assert_message(
    events: list[Event], head: tuple[tuple[str, str], ...], data: bytes, tail: tuple[tuple[str, str], ...] | None
) -> None:
    blocks: list[HeaderBlock] = []
    content = b""
    for event in events:
        if isinstance(event, HeadersReceived | RequestReceived):
            blocks.append(event.block)
        if isinstance(event, ResponseReceived):
            blocks += [event.head, event.tail]
        if isinstance(event, DataReceived | RequestReceived | ResponseReceived):
            content += event.data
    assert [block.fields for block in blocks] == ([head] if tail is None else [head, tail])
    assert content == data


def test_header_blocks_longer_than_a_frame_are_continued(pair: Pair) -> None:
    stream = opened(pair)
    long = tuple((f"x-{number}", "y" * 3000) for number in range(5))
    pair.theirs.max_inbound_frame_size = 1 << 14
    pair.theirs.decoder.max_header_list_size = 1 << 17
    pair.ours.send_headers(stream, (*long, ("a", "b" * 40_000)), end=True)
    pair.theirs.send_headers(1, long, end_stream=True)
    pair.settle()
    (theirs,) = pair.theirs_of(h2_events.TrailersReceived)
    assert isinstance(theirs, h2_events.TrailersReceived)
    assert theirs.headers is not None
    assert plain(theirs.headers)[:5] == long
    (ours,) = pair.our_events
    assert isinstance(ours, HeadersReceived)
    assert (ours.block.fields, ours.ends) == (long, True)


def test_resets_arrive_with_their_code_either_way(pair: Pair) -> None:
    stream = opened(pair)
    pair.ours.reset(stream, ErrorCode.CANCEL)
    pair.ours.reset(stream, ErrorCode.CANCEL)
    pair.settle()
    (reset,) = pair.theirs_of(h2_events.StreamReset)
    assert isinstance(reset, h2_events.StreamReset)
    assert (reset.stream_id, reset.error_code) == (1, ErrorCode.CANCEL)
    assert not pair.our_events


def test_the_peers_reset_ends_the_stream(pair: Pair) -> None:
    stream = opened(pair)
    pair.theirs.reset_stream(1, 0x1234)
    pair.settle()
    (event,) = pair.our_events
    assert isinstance(event, StreamReset)
    assert (event.stream, event.code, event.by_peer) == (stream, 0x1234, True)
    assert stream.is_closed
    assert not pair.ours.streams
    with pytest.raises(LocalProtocolError):
        pair.ours.send_headers(stream, TRAILERS)
    with pytest.raises(LocalProtocolError):
        pair.ours.send_data(stream, b"")


def test_pings_are_answered_either_way(pair: Pair) -> None:
    pair.ours.ping(b"12345678")
    pair.theirs.ping(b"abcdefgh")
    pair.settle()
    (event,) = pair.our_events
    assert isinstance(event, PingAcknowledged)
    assert event.data == b"12345678"
    (answer,) = pair.theirs_of(h2_events.PingAckReceived)
    assert isinstance(answer, h2_events.PingAckReceived)
    assert answer.ping_data == b"abcdefgh"


def test_goaway_arrives_either_way(pair: Pair) -> None:
    stream = opened(pair)
    pair.theirs.close_connection(error_code=7, additional_data=b"soon", last_stream_id=1)
    event = everything(pair.ours, pair.theirs.data_to_send())[0]
    assert isinstance(event, GoAwayReceived)
    assert (event.last_stream_id, event.code, event.debug) == (1, 7, b"soon")
    pair.ours.send_data(stream, b"goes on", end=True)

    other = Pair(client=pair.ours.is_client)
    opened(other)
    other.ours.go_away(ErrorCode.NO_ERROR, LAST_STREAM_ID, b"soon")
    other.their_events = list(other.theirs.receive_data(bytes(other.ours.take_output())))
    (told,) = other.theirs_of(h2_events.ConnectionTerminated)
    assert isinstance(told, h2_events.ConnectionTerminated)
    assert (told.last_stream_id, told.error_code, told.additional_data) == (LAST_STREAM_ID, 0, b"soon")


def test_windows_say_how_much_may_be_sent(pair: Pair) -> None:
    stream = opened(pair)
    sent = 0
    while room := pair.ours.room(stream):
        pair.ours.send_data(stream, bytes(min(room, 10_000)))
        sent += min(room, 10_000)
    assert sent == 65_535
    assert stream.is_blocked
    with pytest.raises(LocalProtocolError):
        pair.ours.send_data(stream, b"x")
    pair.settle()
    pair.theirs.increment_flow_control_window(10, 1)
    pair.settle()
    assert pair.ours.room(stream) == 0  # the connection's is what counts
    pair.theirs.increment_flow_control_window(100)
    pair.settle()
    assert [event.stream for event in pair.our_events if isinstance(event, WindowOpened)] == [stream, None]
    assert pair.ours.room(stream) == 10


def test_windows_follow_the_peers_settings(pair: Pair) -> None:
    stream = opened(pair)
    pair.ours.send_data(stream, bytes(1000))
    pair.theirs.update_settings({SETTINGS: 500})  # INITIAL_WINDOW_SIZE has the same number
    pair.settle()
    assert pair.ours.room(stream) == -500
    pair.theirs.update_settings({SETTINGS: 1500})
    pair.settle()
    assert pair.ours.room(stream) == 500
    assert any(isinstance(event, WindowOpened) for event in pair.our_events)


def test_our_windows_are_given_back_as_data_is_consumed(pair: Pair) -> None:
    stream = opened(pair)
    window = pair.theirs.local_flow_control_window(1)
    for _ in range(300):
        pair.theirs.send_data(1, bytes(16_000))
        pair.settle()
        for event in pair.our_events:
            if isinstance(event, DataReceived):
                pair.ours.consumed(stream, event.size)
        pair.our_events.clear()
    pair.settle()
    assert window == 1 << 20
    assert pair.theirs.local_flow_control_window(1) * 2 > window


def test_the_end_of_a_stream_takes_no_room(server: Wire) -> None:
    (head,) = server.give(server.headers(1, end=True))
    assert isinstance(head, HeadersReceived)
    server.connection.send_headers(head.stream, RESPONSE)
    server.connection.send_data(head.stream, bytes(1000))
    server.give(server.settings([(SETTINGS, 500)]))
    assert server.connection.room(head.stream) == -500
    server.connection.send_data(head.stream, b"", end=True)
    assert head.stream.is_closed


def test_other_settings_of_the_peer_are_kept(pair: Pair) -> None:
    stream = opened(pair)
    pair.theirs.update_settings({1: 0, 3: 7, 5: 20_000, 6: 9000})
    pair.settle()
    assert isinstance(pair.our_events[0], SettingsReceived)
    peer = pair.ours.peer
    assert (peer.header_table_size, peer.max_concurrent_streams) == (0, 7)
    assert (peer.max_frame_size, peer.max_header_list_size) == (20_000, 9000)
    pair.ours.send_data(stream, bytes(30_000))
    pair.ours.send_headers(stream, TRAILERS, end=True)
    pair.settle()
    pieces = [event.data for event in pair.their_events if isinstance(event, h2_events.DataReceived)]
    assert [len(piece) for piece in pieces] == [20_000, 10_000]
    assert pair.theirs_of(h2_events.TrailersReceived)


def test_a_whole_reply_is_three_frames(pair: Pair) -> None:
    if pair.ours.is_client:
        stream = pair.ours.open_whole(REQUEST, b"question")
        assert stream is not None
        assert not stream.can_send
        assert pair.ours.open_whole(REQUEST, bytes(1 << 15)) is None
    else:
        stream = opened(pair)
        assert not pair.ours.reply(stream, RESPONSE, bytes(1 << 15), TRAILERS)
        other = Pair(client=False)
        other.theirs.send_headers(1, REQUEST, end_stream=True)
        other.settle()
        (stream,) = other.ours.streams.values()
        assert other.ours.reply(stream, RESPONSE, b"answer", TRAILERS)
        with pytest.raises(LocalProtocolError):
            other.ours.reply(stream, RESPONSE, b"answer", TRAILERS)
        pair = other
    pair.settle()
    assert pair.theirs_of(h2_events.StreamEnded)
    assert pair.theirs_of(h2_events.DataReceived)


def test_the_peers_limit_of_streams_is_respected() -> None:
    pair = Pair(client=True)
    pair.theirs.update_settings({3: 1})
    pair.settle()
    assert pair.ours.free_streams == 1
    stream = pair.ours.open(REQUEST)
    assert pair.ours.free_streams == 0
    with pytest.raises(LocalProtocolError):
        pair.ours.open(REQUEST)
    assert pair.ours.open_whole(REQUEST, b"") is None
    pair.ours.reset(stream, ErrorCode.CANCEL)
    assert pair.ours.free_streams == 1


def test_ids_run_out(client: Wire) -> None:
    client.connection._next_id = LAST_STREAM_ID
    assert client.open().id == LAST_STREAM_ID
    assert not client.connection.has_ids
    assert client.connection.open_whole(REQUEST, b"") is None
    with pytest.raises(LocalProtocolError):
        client.connection.open(REQUEST)


def test_what_cannot_be_encoded_opens_no_stream(client: Wire) -> None:
    bad = (*REQUEST, ("x", "€"))
    with pytest.raises(UnicodeEncodeError):
        client.connection.open(bad)
    with pytest.raises(UnicodeEncodeError):
        client.connection.open_whole(bad, b"")
    assert not client.connection.streams
    assert client.open().id == 1


# ---------------------------------------------------------------- how it arrives does not matter


def session(*, client: bool) -> bytes:
    """What an h2 peer says in a session with a bit of everything."""
    ours = Connection(Http2Config(ping_interval=None), client=client, now=0.0)
    theirs = h2_connection.H2Connection(h2_config.H2Configuration(client_side=not client))
    theirs.initiate_connection()
    said = b""

    def talk() -> None:
        nonlocal said
        out = theirs.data_to_send()
        said += out
        everything(ours, out)
        theirs.receive_data(bytes(ours.take_output()))

    talk()
    for stream_id in (1, 3, 5, 7, 9):
        if client:
            ours.open(REQUEST, end=stream_id > 1)
            talk()
        theirs.send_headers(stream_id, RESPONSE if client else REQUEST)
        theirs.send_data(stream_id, b"message %d" % stream_id, end_stream=not client and stream_id > 3)
        if stream_id == 3:
            theirs.send_data(3, bytes(700), pad_length=9)
            theirs.ping(b"12345678")
        if stream_id > 1 and (client or stream_id == 3):
            theirs.send_headers(stream_id, TRAILERS, end_stream=True)
        talk()
    theirs.update_settings({4: 100_000, 1: 100})
    theirs.increment_flow_control_window(1000)
    theirs.increment_flow_control_window(1000, 1)
    theirs.reset_stream(1, 8)
    talk()
    theirs.close_connection(additional_data=b"end")
    talk()
    return said


SESSIONS = {is_client: session(client=is_client) for is_client in (True, False)}


def fresh(*, client: bool) -> Connection:
    """An end that is ready for its recorded session."""
    connection = Connection(Http2Config(ping_interval=None), client=client, now=0.0)
    if client:
        for stream_id in (1, 3, 5, 7, 9):
            connection.open(REQUEST, end=stream_id > 1)
    connection.take_output()
    return connection


def told(events: list[Event]) -> list[object]:
    """Events without what depends on the pieces in which they came: neighbouring DATA is one."""
    story: list[object] = []

    def add_data(stream_id: int, data: bytes, *, ends: bool) -> None:
        match story[-1] if story else None:
            case ("data", int(last), bytes(before), False) if last == stream_id:
                story[-1] = ("data", stream_id, before + data, ends)
            case _:
                story.append(("data", stream_id, data, ends))

    for event in events:
        match event:
            case HeadersReceived():
                story.append(("headers", event.stream.id, event.block.fields, event.ends))
            case DataReceived():
                add_data(event.stream.id, event.data, ends=event.ends)
            case RequestReceived():
                story.append(("headers", event.stream.id, event.block.fields, False))
                add_data(event.stream.id, event.data, ends=True)
            case ResponseReceived():
                story.append(("headers", event.stream.id, event.head.fields, False))
                add_data(event.stream.id, event.data, ends=False)
                story.append(("headers", event.stream.id, event.tail.fields, True))
            case StreamReset():
                story.append(("reset", event.stream.id, event.code, event.by_peer))
            case GoAwayReceived():
                story.append(("goaway", event.last_stream_id, event.code, event.debug))
            case ConnectionFailed():
                story.append(("failed", event.code))
            case PingAcknowledged():
                story.append(("ping", event.data))
            case SettingsReceived() | WindowOpened():
                story.append(type(event))
    return story


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


@given(st.booleans(), st.lists(st.integers(0, 10_000), max_size=60))
def test_any_pieces_give_the_same_events_as_the_whole(is_client: bool, cuts: list[int]) -> None:
    whole, cut = fresh(client=is_client), fresh(client=is_client)
    events = [event for piece in pieces(SESSIONS[is_client], cuts) for event in everything(cut, piece)]
    assert told(events) == told(everything(whole, SESSIONS[is_client]))
    assert cut.take_output() == whole.take_output()
    assert not cut.has_failed
    assert ("goaway", 9 if is_client else 0, 0, b"end") in told(events)


@pytest.mark.parametrize("is_client", [True, False])
def test_single_bytes_give_the_same_events_as_the_whole(is_client: bool) -> None:
    data = SESSIONS[is_client]
    slow = fresh(client=is_client)
    events = [event for at in range(len(data)) for event in everything(slow, data[at : at + 1])]
    assert told(events) == told(everything(fresh(client=is_client), data))


def test_others_get_their_turn_between_many_requests(wire: Callable[..., Wire]) -> None:
    server = wire()
    many = b"".join(server.headers(stream_id, end=True) for stream_id in range(1, 201, 2))
    assert len(server.connection.receive(many, 0.0)) == 32
    assert server.connection.has_more
    assert len(everything(server.connection, b"")) == 68


def test_others_get_their_turn_between_much_data(server: Wire) -> None:
    server.give(server.headers(201))
    sent = [bytes([number % 256]) * 1000 for number in range(200)]
    content, turns = b"", 0
    data = b"".join(server.data(201, piece) for piece in sent) + server.data(201, b"!")[:5]
    while data or server.connection.has_more:
        events = server.connection.receive(data, 0.0)
        now = b"".join(event.data for event in events if isinstance(event, DataReceived))
        assert len(now) <= 66_000
        content, turns, data = content + now, turns + 1, b""
    server.give(server.data(201, b"!")[5:])  # a frame that lies across turns and reads
    last = server.events[-1]
    assert isinstance(last, DataReceived)
    assert last.data == b"!"
    assert content == b"".join(sent)
    assert turns == 4


def test_large_frames_are_little_work_and_wait_for_nobody(server: Wire) -> None:
    server.give(server.headers(201))
    data = server.data(201, bytes(16_384))
    first = server.connection.receive(data * 16, 0.0)
    assert sum(len(event.data) for event in first if isinstance(event, DataReceived)) == 16 * 16_384
    assert not server.connection.has_more


# ---------------------------------------------------------------- any bytes

FRAMES = st.builds(
    lambda kind, flags, stream_id, payload: (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload
    ),
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]) | st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 7, 9, 11]) | st.integers(0, (1 << 32) - 1),
    st.sampled_from([b"", b"\x83\x86\x84", b"\x88", bytes(4), bytes(5), bytes(8), b"\0\4\0\0\0\1", b"\x7f\xff\xff\xff"])
    | st.binary(max_size=40),
)


def survives(connection: Connection, chunks: Iterable[bytes]) -> None:
    """Bytes give events, and the output is whole frames that another implementation can read."""
    for chunk in chunks:
        events = everything(connection, chunk)
        output = bytes(connection.take_output())
        while output:
            frame, length = Frame.parse_frame_header(memoryview(output[:9]))
            frame.parse_body(memoryview(output[9 : 9 + length]))
            assert len(output) >= 9 + length
            assert frame.stream_id or output[3] != RST_STREAM
            output = output[9 + length :]
        failures = [event for event in events if isinstance(event, ConnectionFailed)]
        assert len(failures) == connection.has_failed
        if failures:
            assert events[-1] is failures[0]
            break
        assert connection._receive_window >= 0
        assert all(not stream.is_closed for stream in connection.streams.values())
    if connection.has_failed:
        for chunk in (b"", PREFACE, SESSIONS[False]):
            assert connection.receive(chunk, 1.0) == []
        assert connection.handle_timer(1e9) == []
        assert not connection.has_output


@given(st.booleans(), st.booleans(), st.lists(st.binary(max_size=60) | FRAMES, max_size=20))
@settings(max_examples=200)
def test_any_bytes_give_events(is_client: bool, is_ready: bool, chunks: list[bytes]) -> None:
    start = b"" if is_client else PREFACE
    survives(fresh(client=is_client), [start + b"\0\0\0\4\0\0\0\0\0", *chunks] if is_ready else chunks)


@given(st.data(), st.booleans())
@settings(max_examples=200)
def test_any_change_of_a_session_gives_events(data: st.DataObject, is_client: bool) -> None:
    said = bytearray(SESSIONS[is_client])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(said) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "frame", "repeat"])):
            case "set":
                said[at] = data.draw(st.integers(0, 255))
            case "cut":
                del said[at : at + data.draw(st.integers(1, 20))]
            case "insert":
                said[at:at] = data.draw(st.binary(max_size=10))
            case "frame":
                said[at:at] = data.draw(FRAMES)
            case _:
                said[at:at] = said[at : at + data.draw(st.integers(1, 60))]
        if not said:
            return
    survives(fresh(client=is_client), pieces(bytes(said), data.draw(st.lists(st.integers(0, 10_000), max_size=8))))


@given(st.data(), st.booleans())
def test_frames_between_the_frames_of_a_session_give_events(data: st.DataObject, is_client: bool) -> None:
    """Well-formed frames reach further than broken ones."""
    rest, frames = SESSIONS[is_client].removeprefix(PREFACE), []
    while rest:
        end = 9 + int.from_bytes(rest[:3], "big")
        frames.append(rest[:end])
        rest = rest[end:]
    for frame in data.draw(st.lists(FRAMES | st.sampled_from(frames), max_size=4)):
        frames.insert(data.draw(st.integers(1, len(frames))), frame)
    survives(fresh(client=is_client), [b"" if is_client else PREFACE, *frames])


@given(st.data())
def test_another_client_believes_what_our_server_answers(data: st.DataObject) -> None:
    """Whatever a correct client asks, nothing in our answers is an error to it."""
    pair = Pair(client=False)
    theirs = pair.theirs
    stream_id = 1
    for _ in range(data.draw(st.integers(1, 8))):
        end = data.draw(st.booleans())
        theirs.send_headers(stream_id, (*REQUEST, ("x", data.draw(st.text("abc", max_size=5)))), end_stream=end)
        if not end:
            theirs.send_data(stream_id, data.draw(st.binary(max_size=500)), end_stream=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            theirs.reset_stream(stream_id)
        pair.settle()
        for stream in list(pair.ours.streams.values()):
            match data.draw(st.integers(0, 2)):
                case 0:
                    pair.ours.reset(stream, ErrorCode.CANCEL)
                case 1 if pair.ours.reply(stream, RESPONSE, bytes(data.draw(st.integers(0, 3000))), TRAILERS):
                    pair.ours.reset(stream, ErrorCode.NO_ERROR)
                case _:
                    pass
        try:
            pair.settle()
        except ProtocolError as error:
            pytest.fail(f"{error!r}")
        stream_id += 2
    assert not pair.ours.has_failed


# ---------------------------------------------------------------- time


def failed(connection: Connection, now: float) -> ErrorCode | None:
    """What time alone did to it."""
    match connection.handle_timer(now):
        case [ConnectionFailed() as event]:
            return event.code
        case events:
            assert events == []
            return None


def test_the_preface_has_to_come_in_time(wire: Callable[..., Wire]) -> None:
    for is_client in (True, False):
        connection = wire(client=is_client, ready=False).connection
        assert connection.is_waiting
        assert connection.next_timer() == 10.0
        assert failed(connection, 9.9) is None
        assert failed(connection, 10.0) is ErrorCode.PROTOCOL_ERROR


def test_settings_have_to_be_acknowledged_in_time(wire: Callable[..., Wire]) -> None:
    end = wire(ready=False)
    end.now = 5.0
    end.give(end.PREFACE, end.settings())
    assert end.connection.next_timer() == 10.0
    assert failed(end.connection, 10.0) is ErrorCode.SETTINGS_TIMEOUT


def test_a_header_block_has_to_be_completed_in_time(server: Wire) -> None:
    assert not server.connection.is_waiting
    assert server.connection.next_timer() is None
    server.now = 100.0
    server.give(server.frame(HEADERS, 0, 1, b"\x82"))
    server.now = 109.0
    server.give(server.frame(CONTINUATION, 0, 1, b"\x82"))
    assert server.connection.next_timer() == 110.0
    assert failed(server.connection, 110.0) is ErrorCode.ENHANCE_YOUR_CALM


def test_a_frame_has_one_deadline_from_its_first_byte(server: Wire) -> None:
    ping = server.ping()
    for count, byte in enumerate(ping[:-1]):
        server.now = 100.0 + count
        server.give(bytes((byte,)))
        assert server.connection.next_timer() == 130.0
    assert failed(server.connection, 129.0) is None
    server.now = 129.0
    server.give(ping[-1:])
    assert server.connection.next_timer() is None

    server.give(ping[:3])
    assert server.connection.next_timer() == 159.0
    server.now = 150.0
    server.give(ping[3:], ping[:3])  # the end of one frame and the beginning of the next
    assert server.connection.next_timer() == 180.0
    server.now = 170.0
    server.give(ping[3:6])
    assert failed(server.connection, 180.0) is ErrorCode.ENHANCE_YOUR_CALM


def test_what_waits_for_its_turn_is_not_late(server: Wire) -> None:
    server.connection.receive(b"".join(server.headers(n, end=True) for n in range(1, 201, 2)), 0.0)
    assert server.connection.has_more
    assert server.connection.next_timer() is None
