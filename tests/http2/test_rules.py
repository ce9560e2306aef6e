"""What RFC 9113 forbids, and what it says about it: one line for each rule, in the order of its sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.events import DataReceived, HeadersReceived, RequestReceived, StreamReset

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

Attack = Callable[["Wire"], bytes]

PROTOCOL = ErrorCode.PROTOCOL_ERROR
FLOW_CONTROL = ErrorCode.FLOW_CONTROL_ERROR
STREAM_CLOSED = ErrorCode.STREAM_CLOSED
FRAME_SIZE = ErrorCode.FRAME_SIZE_ERROR
COMPRESSION = ErrorCode.COMPRESSION_ERROR
CALM = ErrorCode.ENHANCE_YOUR_CALM

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
LARGEST = (1 << 31) - 1


def ended(wire: Wire, stream_id: int = 1) -> bytes:
    """A request that is complete."""
    return wire.headers(stream_id, end=True)


# ---------------------------------------------------------------- what ends the connection

CONNECTION_FAULTS: dict[str, tuple[Attack, ErrorCode]] = {
    # §4.2: sizes
    "4.2 frame over SETTINGS_MAX_FRAME_SIZE": (lambda w: w.frame(0x42, 0, 0, bytes((64 << 10) + 1)), FRAME_SIZE),
    "4.2 frame of 16 MiB, by its head": (lambda w: b"\xff\xff\xff\0\0\0\0\0\1", FRAME_SIZE),
    # §4.3: header blocks
    "4.3 block that is no HPACK": (lambda w: w.frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION),
    "4.3 no HPACK in trailers": (lambda w: w.headers(1) + w.frame(HEADERS, 5, 1, b"\xff\xff"), COMPRESSION),
    "4.3 no HPACK in CONTINUATION": (
        lambda w: w.frame(HEADERS, 0, 1, b"\x82") + w.frame(CONTINUATION, END_HEADERS, 1, b"\x80"),
        COMPRESSION,
    ),
    "4.3 interrupted by DATA": (lambda w: w.frame(HEADERS, 0, 1, b"\x82") + w.data(1, b"x"), PROTOCOL),
    "4.3 interrupted by HEADERS": (lambda w: w.frame(HEADERS, 0, 1, b"\x82") + w.headers(3), PROTOCOL),
    "4.3 interrupted by PING": (lambda w: w.frame(HEADERS, 0, 1) + w.ping(), PROTOCOL),
    "4.3 interrupted by RST_STREAM": (lambda w: w.frame(HEADERS, 0, 1) + w.reset(1), PROTOCOL),
    "4.3 interrupted by SETTINGS": (lambda w: w.frame(HEADERS, 0, 1) + w.settings(), PROTOCOL),
    "4.3 interrupted by an unknown frame": (lambda w: w.frame(HEADERS, 0, 1) + w.frame(0x42, 0, 1), PROTOCOL),
    # §5.1: states
    "5.1 DATA on an idle stream": (lambda w: w.data(1, b"x"), PROTOCOL),
    "5.1 RST_STREAM on an idle stream": (lambda w: w.reset(1), PROTOCOL),
    "5.1 RST_STREAM on an idle stream of ours": (lambda w: w.reset(2), PROTOCOL),
    "5.1 WINDOW_UPDATE on an idle stream": (lambda w: w.window(1, 1), PROTOCOL),
    "5.1 CONTINUATION on an idle stream": (lambda w: w.frame(CONTINUATION, END_HEADERS, 1), PROTOCOL),
    "5.1 DATA after RST_STREAM": (lambda w: w.headers(1) + w.reset(1) + w.data(1, b"x"), STREAM_CLOSED),
    "5.1 HEADERS after RST_STREAM": (lambda w: w.headers(1) + w.reset(1) + w.headers(1), STREAM_CLOSED),
    # §5.1.1: identifiers
    "5.1.1 even id of a client": (lambda w: w.headers(2), PROTOCOL),
    "5.1.1 HEADERS on stream 0": (lambda w: w.headers(0), PROTOCOL),
    "5.1.1 id that was passed over": (lambda w: w.headers(5) + w.headers(3), PROTOCOL),
    "5.1.1 DATA on an id that was passed over": (lambda w: w.headers(5) + w.data(3, b"x"), PROTOCOL),
    # §6.1
    "6.1 DATA on stream 0": (lambda w: w.data(0, b"x"), PROTOCOL),
    "6.1 DATA with too long padding": (lambda w: w.headers(1) + w.frame(DATA, PADDED, 1, b"\x04abc"), PROTOCOL),
    "6.1 DATA without its pad length": (lambda w: w.headers(1) + w.frame(DATA, PADDED, 1), FRAME_SIZE),
    # §6.2
    "6.2 HEADERS with too long padding": (lambda w: w.frame(HEADERS, PADDED | 5, 1, b"\x02\x82"), PROTOCOL),
    "6.2 HEADERS without their pad length": (lambda w: w.frame(HEADERS, PADDED | 5, 1), FRAME_SIZE),
    "6.2 HEADERS too short for a priority": (lambda w: w.frame(HEADERS, WITH_PRIORITY | 5, 1, bytes(4)), FRAME_SIZE),
    "6.2 HEADERS that depend on themselves, on stream 0": (
        lambda w: w.frame(HEADERS, WITH_PRIORITY | 5, 0, bytes(5)),
        PROTOCOL,
    ),
    "6.2 HEADERS that depend on themselves, on an even stream": (
        lambda w: w.frame(HEADERS, WITH_PRIORITY | 5, 2, b"\0\0\0\2\0"),
        PROTOCOL,
    ),
    # §6.3
    "6.3 PRIORITY on stream 0": (lambda w: w.frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "6.3 PRIORITY of 4 bytes on an idle stream": (lambda w: w.frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE),
    # §6.4
    "6.4 RST_STREAM on stream 0": (lambda w: w.reset(0), PROTOCOL),
    "6.4 RST_STREAM of 3 bytes": (lambda w: w.headers(1) + w.frame(RST_STREAM, 0, 1, bytes(3)), FRAME_SIZE),
    "6.4 RST_STREAM of 5 bytes": (lambda w: w.headers(1) + w.frame(RST_STREAM, 0, 1, bytes(5)), FRAME_SIZE),
    # §6.5
    "6.5 SETTINGS on a stream": (lambda w: w.frame(SETTINGS, 0, 1), PROTOCOL),
    "6.5 SETTINGS of 5 bytes": (lambda w: w.frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE),
    "6.5 SETTINGS acknowledged with content": (lambda w: w.frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE),
    "6.5.2 ENABLE_PUSH of 2": (lambda w: w.settings([(0x2, 2)]), PROTOCOL),
    "6.5.2 INITIAL_WINDOW_SIZE of 2^31": (lambda w: w.settings([(0x4, 1 << 31)]), FLOW_CONTROL),
    "6.5.2 MAX_FRAME_SIZE of 2^14-1": (lambda w: w.settings([(0x5, (1 << 14) - 1)]), PROTOCOL),
    "6.5.2 MAX_FRAME_SIZE of 2^24": (lambda w: w.settings([(0x5, 1 << 24)]), PROTOCOL),
    # §6.6, §8.4
    "6.6 PUSH_PROMISE of a client": (lambda w: w.headers(1) + w.frame(PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
    # §6.7
    "6.7 PING on a stream": (lambda w: w.frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "6.7 PING of 7 bytes": (lambda w: w.ping(bytes(7)), FRAME_SIZE),
    "6.7 PING of 9 bytes": (lambda w: w.ping(bytes(9)), FRAME_SIZE),
    # §6.8
    "6.8 GOAWAY on a stream": (lambda w: w.frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "6.8 GOAWAY of 7 bytes": (lambda w: w.frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE),
    # §6.9
    "6.9 WINDOW_UPDATE of 3 bytes": (lambda w: w.frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE),
    "6.9 WINDOW_UPDATE of 5 bytes": (lambda w: w.frame(WINDOW_UPDATE, 0, 0, bytes(5)), FRAME_SIZE),
    "6.9 WINDOW_UPDATE by 0": (lambda w: w.window(0, 0), PROTOCOL),
    "6.9.1 window over 2^31-1": (lambda w: w.window(0, LARGEST - 65_535 + 1), FLOW_CONTROL),
    "6.9.2 SETTINGS that overflow a window": (
        lambda w: w.headers(1) + w.window(1, LARGEST - 65_535) + w.settings([(0x4, 65_536)]),
        FLOW_CONTROL,
    ),
    # §6.10
    "6.10 CONTINUATION on stream 0": (lambda w: w.frame(CONTINUATION, END_HEADERS, 0), PROTOCOL),
    "6.10 CONTINUATION after a whole block": (lambda w: w.headers(1) + w.frame(CONTINUATION, 4, 1), PROTOCOL),
    "6.10 CONTINUATION on another stream": (
        lambda w: w.frame(HEADERS, 0, 1) + w.frame(CONTINUATION, END_HEADERS, 3),
        PROTOCOL,
    ),
}


@pytest.mark.parametrize("rule", CONNECTION_FAULTS)
def test_ends_the_connection(server: Wire, rule: str) -> None:
    attack, code = CONNECTION_FAULTS[rule]
    server.give(attack(server))
    assert server.failure().code is code
    assert not server.written(RST_STREAM)
    assert server.give(server.ping(), server.headers(7)) == []
    assert not server.take()


SERVER_FAULTS: dict[str, tuple[Attack, ErrorCode]] = {
    "5.1 HEADERS on an idle stream": (lambda w: w.headers(3, w.RESPONSE), PROTOCOL),
    "5.1 stream of a server": (lambda w: w.headers(2, w.RESPONSE), PROTOCOL),
    "5.1 DATA on an idle stream": (lambda w: w.data(3, b"x"), PROTOCOL),
    "5.1 HEADERS after the whole response": (
        lambda w: w.headers(1, w.RESPONSE, end=True) + w.headers(1, w.RESPONSE),
        STREAM_CLOSED,
    ),
    "5.1 DATA after the whole response": (lambda w: w.headers(1, w.RESPONSE, end=True) + w.data(1), STREAM_CLOSED),
    "6.5.2 ENABLE_PUSH of a server": (lambda w: w.settings([(0x2, 1)]), PROTOCOL),
    "6.6 PUSH_PROMISE": (lambda w: w.frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82"), PROTOCOL),
    "3.4 HTTP/1.1 answers": (lambda w: b"HTTP/1.1 400 Bad Request\r\n\r\n", FRAME_SIZE),
}


@pytest.mark.parametrize("rule", SERVER_FAULTS)
def test_ends_the_connection_to_a_server(client: Wire, rule: str) -> None:
    attack, code = SERVER_FAULTS[rule]
    client.open()
    client.give(attack(client))
    assert client.failure().code is code


# ---------------------------------------------------------------- what ends one stream

LENGTH = (("content-length", "3"),)

STREAM_FAULTS: dict[str, tuple[Attack, ErrorCode]] = {
    "5.1 DATA after END_STREAM": (lambda w: ended(w) + w.data(1, b"x"), STREAM_CLOSED),
    "5.1 HEADERS after END_STREAM": (lambda w: ended(w) + w.headers(1, w.TRAILERS, end=True), STREAM_CLOSED),
    "5.3.1 PRIORITY on itself": (lambda w: w.headers(1) + w.frame(PRIORITY, 0, 1, b"\0\0\0\1\0"), PROTOCOL),
    "6.3 PRIORITY of 4 bytes": (lambda w: w.headers(1) + w.frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE),
    "6.3 PRIORITY of 6 bytes": (lambda w: w.headers(1) + w.frame(PRIORITY, 0, 1, bytes(6)), FRAME_SIZE),
    "6.9 WINDOW_UPDATE by 0": (lambda w: w.headers(1) + w.window(1, 0), PROTOCOL),
    "6.9.1 window over 2^31-1": (lambda w: w.headers(1) + w.window(1, LARGEST - 65_535 + 1), FLOW_CONTROL),
    "6.9.1 DATA over the stream's window": (
        lambda w: w.headers(1) + w.data(1, bytes(1 << 14)) * 64 + w.data(1, b"x"),
        FLOW_CONTROL,
    ),
    "8.1 trailers without END_STREAM": (lambda w: w.headers(1) + w.headers(1, w.TRAILERS), PROTOCOL),
    "8.1 trailers with a pseudo-header": (lambda w: w.headers(1) + w.headers(1, end=True), PROTOCOL),
    "8.1.1 more DATA than content-length": (
        lambda w: w.headers(1, w.REQUEST + LENGTH) + w.data(1, b"abcd"),
        PROTOCOL,
    ),
    "8.1.1 less DATA than content-length": (
        lambda w: w.headers(1, w.REQUEST + LENGTH) + w.data(1, b"ab", end=True),
        PROTOCOL,
    ),
    "8.1.1 no DATA but a content-length": (lambda w: w.headers(1, w.REQUEST + LENGTH, end=True), PROTOCOL),
    "8.1.1 trailers before all of content-length": (
        lambda w: w.headers(1, w.REQUEST + LENGTH) + w.data(1, b"ab") + w.headers(1, w.TRAILERS, end=True),
        PROTOCOL,
    ),
    "8.2 malformed request": (lambda w: w.headers(1, (*w.REQUEST, ("Upper", "1"))), PROTOCOL),
    "8.3.1 request without a path": (lambda w: w.headers(1, w.REQUEST[:2]), PROTOCOL),
    "8.3.1 request of trailers": (lambda w: w.headers(1, w.TRAILERS), PROTOCOL),
}


@pytest.mark.parametrize("rule", STREAM_FAULTS)
def test_ends_the_stream_and_no_other(server: Wire, rule: str) -> None:
    attack, code = STREAM_FAULTS[rule]
    server.give(attack(server))
    (reset,) = server.written(RST_STREAM)
    assert (reset.stream_id, reset.code) == (1, code)
    (event,) = [event for event in server.events if isinstance(event, StreamReset)]
    assert (event.code, event.by_peer, event.stream.is_closed) == (code, False, True)
    assert event.stream.fault
    assert not server.connection.streams
    assert isinstance(server.give(ended(server, 3))[0], HeadersReceived)
    assert not server.connection.has_failed


CLIENT_STREAM_FAULTS: dict[str, tuple[Attack, ErrorCode]] = {
    "8.1 DATA before the response": (lambda w: w.data(1, b"x"), PROTOCOL),
    "8.1 interim response that ends the stream": (lambda w: w.headers(1, ((":status", "103"),), end=True), PROTOCOL),
    "8.1 trailers without END_STREAM": (lambda w: w.headers(1, w.RESPONSE) * 2, PROTOCOL),
    "8.1.1 content-length": (lambda w: w.headers(1, w.RESPONSE + LENGTH) + w.data(1, b"ab", end=True), PROTOCOL),
    "8.3.2 response without a status": (lambda w: w.headers(1, w.TRAILERS, end=True), PROTOCOL),
    "8.3.2 response with a path": (lambda w: w.headers(1, (*w.RESPONSE[:1], (":path", "/"))), PROTOCOL),
}


@pytest.mark.parametrize("rule", CLIENT_STREAM_FAULTS)
def test_ends_our_stream_and_no_other(client: Wire, rule: str) -> None:
    attack, code = CLIENT_STREAM_FAULTS[rule]
    stream, other = client.open(), client.open()
    client.give(attack(client))
    (reset,) = client.written(RST_STREAM)
    assert (reset.stream_id, reset.code) == (1, code)
    assert stream.is_closed
    assert list(client.connection.streams.values()) == [other]


@pytest.mark.parametrize("rule", ["6.9.1 DATA over the stream's window", "8.1.1 more DATA than content-length"])
def test_the_connections_window_outlives_a_stream_that_broke_a_rule(server: Wire, rule: str) -> None:
    """DATA that is thrown away is given back, or the other streams would starve."""
    attack, _ = STREAM_FAULTS[rule]
    server.give(attack(server))
    received = sum(len(event.data) for event in server.events if isinstance(event, DataReceived))
    connection = server.connection
    assert connection._receive_window + connection._unreturned + received == 4 << 20


# ---------------------------------------------------------------- the preface (§3.4)


@pytest.mark.parametrize("kind", [DATA, HEADERS, PING, WINDOW_UPDATE, GOAWAY, 0x42])
@pytest.mark.parametrize("is_client", [False, True])
def test_the_first_frame_has_to_be_settings(wire: Callable[..., Wire], kind: int, is_client: bool) -> None:
    end = wire(client=is_client, ready=False)
    end.give(b"" if is_client else end.PREFACE, end.frame(kind, END_HEADERS, 0, bytes(8)), end.settings())
    assert end.failure().code is PROTOCOL


def test_an_acknowledgement_is_no_first_frame(wire: Callable[..., Wire]) -> None:
    end = wire(client=True, ready=False)
    end.give(end.settings(ack=True))
    assert end.failure().code is PROTOCOL


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PRI * HTTP/2.0\r\n\r\nSX", bytes(24), b"Q"],
    ids=["http1", "tls", "typo", "zeros", "letter"],
)
def test_what_is_no_preface_ends_it(wire: Callable[..., Wire], data: bytes) -> None:
    server = wire(ready=False)
    server.give(data)
    assert server.failure().code is PROTOCOL


def test_http1_is_named(wire: Callable[..., Wire]) -> None:
    client, server = wire(client=True, ready=False), wire(ready=False)
    client.give(b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n")
    assert "HTTP/1.1" in client.failure().reason
    server.give(b"POST / HTTP/1.1\r\n\r\n")
    assert "HTTP/1.1" in server.failure().reason


# ---------------------------------------------------------------- what is allowed, or has to be ignored

IGNORED: dict[str, Attack] = {
    "4.1 reserved bit": lambda w: w.frame(PING, 0, 1 << 31, bytes(8)),
    "4.1 flags without meaning": lambda w: w.frame(PING, 0xFE, 0, bytes(8)) + w.frame(RST_STREAM, 0xFF, 1, bytes(4)),
    "5.1 RST_STREAM on a closed stream": lambda w: w.reset(1) * 2,
    "5.1 WINDOW_UPDATE on a closed stream": lambda w: w.reset(1) + w.window(1, 1),
    "5.1 PRIORITY on an idle stream": lambda w: w.frame(PRIORITY, 0, 9, bytes(5)),
    "5.1 PRIORITY on a closed stream": lambda w: w.reset(1) + w.frame(PRIORITY, 0, 1, bytes(5)),
    "5.5 frame of an unknown type": lambda w: w.frame(0x42, 0xFF, 1, b"x") + w.frame(0xFF, 0, 0),
    "6.1 DATA that is all padding": lambda w: w.frame(DATA, PADDED, 1, b"\x03\0\0\0"),
    "6.5 setting of an unknown name": lambda w: w.settings([(0x42, 1), (0, LARGEST)]),
    "6.5 setting twice": lambda w: w.settings([(0x4, 1), (0x4, 65_535)]),
    "6.5 no settings": lambda w: w.settings(),
    "6.5.3 acknowledgement of nothing": lambda w: w.settings(ack=True),
    "6.7 PING acknowledged that nobody sent": lambda w: w.ping(ack=True),
    "6.8 GOAWAY": lambda w: w.frame(GOAWAY, 0, 0, bytes(8) + b"debug"),
    "6.9 largest window": lambda w: w.window(0, LARGEST - 65_535) + w.window(1, LARGEST - 65_535),
    "8.1.1 content-length that is right": lambda w: w.headers(3, w.REQUEST + LENGTH) + w.data(3, b"abc", end=True),
}


@pytest.mark.parametrize("rule", IGNORED)
def test_does_no_harm(server: Wire, rule: str) -> None:
    server.give(server.headers(1))
    server.give(IGNORED[rule](server))
    assert not server.written(RST_STREAM)
    assert not server.connection.has_failed
    assert isinstance(server.give(ended(server, 11))[0], HeadersReceived)


def test_padding_and_priority_are_taken_off(server: Wire) -> None:
    block = server.encoder.encode(server.REQUEST)
    padded = b"\x05" + b"\x80\0\0\3\x10" + block + bytes(5)
    events = server.give(
        server.frame(HEADERS, PADDED | WITH_PRIORITY | END_HEADERS, 1, padded),
        server.frame(DATA, PADDED | END_STREAM, 1, b"\x02abc\0\0"),
    )
    head, data = events
    assert isinstance(head, HeadersReceived)
    assert isinstance(data, DataReceived)
    assert head.block.fields == server.REQUEST
    assert (data.data, data.size, data.ends) == (b"abc", 6, True)


def test_settings_and_pings_are_acknowledged_in_order(server: Wire) -> None:
    server.give(server.ping(b"abcdefgh"), server.settings([(0x4, 1)]), server.ping(b"12345678"))
    assert [(got.kind, got.flags, got.payload) for got in server.sent] == [
        (PING, ACK, b"abcdefgh"),
        (SETTINGS, ACK, b""),
        (PING, ACK, b"12345678"),
    ]


def test_frames_that_were_under_way_when_we_reset_a_stream_do_no_harm(server: Wire) -> None:
    (head,) = server.give(server.headers(1))
    assert isinstance(head, HeadersReceived)
    server.connection.reset(head.stream, ErrorCode.CANCEL)
    late = (
        server.data(1, b"x" * 100),
        server.window(1, 1),
        server.headers(1, server.TRAILERS, end=True),
        server.reset(1),
    )
    assert server.give(*late) == []
    assert not server.connection.has_failed
    # The header table is as the peer has it.
    (again,) = server.give(ended(server, 3))
    assert isinstance(again, HeadersReceived)
    assert again.block.fields == server.REQUEST


def test_nothing_goes_out_twice_for_a_stream_that_is_over(server: Wire) -> None:
    server.give(ended(server), server.data(1, b"x"), server.data(1, b"x"), server.headers(1, server.TRAILERS, end=True))
    assert len(server.written(RST_STREAM)) == 1
    assert not server.connection.has_failed


def test_streams_above_a_goaway_are_ignored_with_all_their_frames(server: Wire) -> None:
    server.give(server.headers(1))
    server.connection.go_away(ErrorCode.NO_ERROR)
    server.take()
    late = server.headers(3), server.data(3, b"x"), server.window(3, 1), server.headers(3, server.TRAILERS, end=True)
    assert server.give(*late) == []
    (data,) = server.give(server.data(1, b"more"))
    assert isinstance(data, DataReceived)
    assert not server.written(RST_STREAM)


def test_a_goaway_does_not_take_back_what_an_earlier_one_said(server: Wire) -> None:
    server.give(server.headers(1))
    server.connection.go_away(ErrorCode.NO_ERROR, LARGEST)
    server.connection.go_away(ErrorCode.NO_ERROR)
    server.give(server.headers(3))
    server.connection.go_away(ErrorCode.NO_ERROR, 3)
    assert [int.from_bytes(got.payload[:4], "big") for got in server.take()] == [1]
    assert [int.from_bytes(got.payload[:4], "big") for got in server.written(GOAWAY)] == [LARGEST, 1, 1]


def test_streams_over_the_limit_are_refused(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(max_concurrent_streams=1))
    (first, *none) = server.give(server.headers(1), server.headers(3), server.data(3, b"x", end=True))
    assert isinstance(first, HeadersReceived)
    assert none == []
    assert [(got.stream_id, got.code) for got in server.sent] == [(3, ErrorCode.REFUSED_STREAM)]
    server.give(server.reset(1))
    assert server.give(server.headers(5)) == []  # its work goes on
    server.connection.release(first.stream)
    assert len(server.give(server.headers(7))) == 1


def test_the_last_id_is_served(server: Wire) -> None:
    (request,) = server.give(server.headers(LARGEST, end=True))
    assert isinstance(request, HeadersReceived)


def test_interim_responses_are_passed_over(client: Wire) -> None:
    client.open()
    (head,) = client.give(
        client.headers(1, ((":status", "103"), ("link", "x"))) * 2, client.headers(1, client.RESPONSE)
    )
    assert isinstance(head, HeadersReceived)
    assert head.block.fields == client.RESPONSE


def test_what_came_before_a_broken_frame_is_given_out(server: Wire) -> None:
    server.give(ended(server), server.data(0, b"x"), ended(server, 3))
    assert len(server.events) == 2
    assert server.failure().code is PROTOCOL
    assert int.from_bytes(server.sent[-1].payload[:4], "big") == 1


@pytest.mark.parametrize(
    ("stream_id", "code"), [(1, STREAM_CLOSED), (3, PROTOCOL), (2, PROTOCOL), (8, PROTOCOL), (0, PROTOCOL)]
)
def test_whole_requests_obey_the_same_rules(server: Wire, stream_id: int, code: ErrorCode) -> None:
    """The shortcut for them takes nothing that the long way refuses."""
    for number in (1, 5, 7):
        *_, last = server.give(server.headers(number) + server.data(number, b"x", end=True))
        assert isinstance(last, RequestReceived if number > 5 else DataReceived)
        server.connection.reply(last.stream, server.RESPONSE, b"", server.TRAILERS)
    server.give(server.headers(stream_id) + server.data(stream_id, b"x", end=True))
    assert server.failure().code is code


def whole(wire: Wire, stream_id: int, fields: tuple[tuple[str, str], ...], data: bytes) -> bytes:
    return wire.headers(stream_id, fields) + wire.data(stream_id, data, end=True)


def test_whole_requests_obey_a_goaway_and_the_limit(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(max_concurrent_streams=4))
    for number in (1, 3, 5, 7):
        server.give(whole(server, number, server.REQUEST, b"x"))
    assert isinstance(server.events[-1], RequestReceived)
    assert server.give(whole(server, 9, server.REQUEST, b"x")) == []
    assert [got.code for got in server.written(RST_STREAM)] == [ErrorCode.REFUSED_STREAM]
    server.connection.release(server.events[-1].stream)
    server.connection.go_away(ErrorCode.NO_ERROR)
    assert server.give(whole(server, 11, server.REQUEST, b"x")) == []
    assert server.connection.held == 3


def test_whole_requests_are_as_long_as_they_say(server: Wire) -> None:
    fields = (*server.REQUEST, *LENGTH)
    for number in (1, 3, 5):
        server.give(whole(server, number, fields, b"abc"))
    assert not server.written(RST_STREAM)
    server.give(whole(server, 7, fields, b"ab"))
    assert [(got.stream_id, got.code) for got in server.written(RST_STREAM)] == [(7, PROTOCOL)]


@pytest.mark.parametrize("fault", ["head", "tail", "interim"])
def test_whole_responses_obey_the_same_rules(client: Wire, fault: str) -> None:
    """Blocks that are known and not plain take the long way."""
    head, tail = client.RESPONSE, client.TRAILERS
    if fault == "head":
        head = (*head, *LENGTH)
    elif fault == "tail":
        tail = ((":status", "200"),)
    else:
        head = ((":status", "103"),)
    for stream_id in (1, 3, 5, 7):
        client.open()
        client.give(
            client.headers(stream_id, head),
            client.data(stream_id, b"ab"),
            client.headers(stream_id, tail, end=True),
        )
        assert (client.sent[-1].stream_id, client.sent[-1].code) == (stream_id, PROTOCOL)


def test_small_pieces_that_come_together_are_one(server: Wire) -> None:
    server.give(server.headers(1))
    (event,) = server.give(
        server.data(1, b"a"), server.frame(DATA, PADDED, 1, b"\1b\0"), server.data(1, b"c", end=True)
    )
    assert isinstance(event, DataReceived)
    assert (event.data, event.size, event.ends) == (b"abc", 5, True)
    server.connection.consumed(event.stream, event.size)
    assert server.connection._unreturned == 5


def test_padding_without_data_is_given_back(server: Wire) -> None:
    server.give(server.headers(1))
    assert server.give(server.frame(DATA, PADDED, 1, b"\x03\0\0\0")) == []
    (event,) = server.give(server.frame(DATA, PADDED | END_STREAM, 1, b"\x03\0\0\0"))
    assert isinstance(event, DataReceived)
    assert (event.data, event.size, event.ends) == (b"", 0, True)
    assert server.connection._unreturned == 8
