"""Ends of connections without sockets: ours, and bare frames to speak with them, right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest
from hpack import Decoder

from orbit_lite.http2 import Connection, Fields, Http2Config
from orbit_lite.http2.events import ConnectionFailed, DataReceived, Event, RequestReceived, ResponseReceived
from orbit_lite.http2.fields import HeaderEncoder, HeaderMemory
from orbit_lite.http2.streams import Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20

REQUEST: Fields = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/s.S/M"),
    (":authority", "host"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
RESPONSE: Fields = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS: Fields = (("grpc-status", "0"),)


class Got(NamedTuple):
    """A frame that a connection wrote."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """Error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame, legal or not."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def parse(output: bytes) -> list[Got]:
    """Whole frames, a client's preface before them or not."""
    output = output.removeprefix(PREFACE)
    frames = []
    while output:
        assert len(output) >= 9
        end = 9 + int.from_bytes(output[:3], "big")
        assert len(output) >= end
        frames.append(Got(output[3], output[4], int.from_bytes(output[5:9], "big"), output[9:end]))
        output = output[end:]
    return frames


class Wire:
    """One of our connections, and what its peer says to it frame by frame. The peer's part is up to the test."""

    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
    ACK = END_STREAM = 0x1
    END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
    PREFACE, REQUEST, RESPONSE, TRAILERS = PREFACE, REQUEST, RESPONSE, TRAILERS
    frame = staticmethod(frame)
    parse = staticmethod(parse)

    def __init__(self, *, client: bool = False, ready: bool = True, config: Http2Config | None = None) -> None:
        self.connection = Connection(config or Http2Config(), client=client, now=0.0)
        self.now = 0.0
        self.encoder = HeaderEncoder(HeaderMemory(1 << 14, 128))
        self.decoder = Decoder()
        #: Everything that the connection told.
        self.events: list[Event] = []
        #: Everything that it wrote after the handshake.
        self.sent: list[Got] = []
        if ready:
            self.give((b"" if client else PREFACE) + self.settings() + self.settings(ack=True))
            self.events.clear()
            self.sent.clear()

    def give(self, *data: bytes) -> list[Event]:
        """Let the connection receive, until it has worked through all of it; what it tells of that."""
        events = self.connection.receive(b"".join(data), self.now)
        while self.connection.has_more:
            events = events + self.connection.receive(b"", self.now)
        self.events += events
        self.take()
        return events

    def take(self) -> list[Got]:
        """Frames that the connection has written."""
        frames = parse(bytes(self.connection.take_output()))
        self.sent += frames
        return frames

    def open(self, *, end: bool = True) -> Stream:
        """A stream of our client."""
        stream = self.connection.open(REQUEST, end=end)
        self.take()
        return stream

    def failure(self) -> ConnectionFailed:
        """What ended the connection; GOAWAY says the same."""
        assert self.connection.has_failed
        failed = self.events[-1]
        assert isinstance(failed, ConnectionFailed)
        goaway = self.sent[-1]
        assert (goaway.kind, goaway.code) == (GOAWAY, failed.code)
        return failed

    def written(self, kind: int) -> list[Got]:
        """Frames of one type that the connection wrote."""
        return [got for got in self.sent if got.kind == kind]

    def headers(self, stream_id: int, fields: Iterable[tuple[str, str]] = REQUEST, *, end: bool = False) -> bytes:
        """HEADERS in one frame."""
        block = self.encoder.encode(tuple(fields))
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block)

    @staticmethod
    def data(stream_id: int, data: bytes = b"", *, end: bool = False) -> bytes:
        """DATA."""
        return frame(DATA, END_STREAM if end else 0, stream_id, data)

    @staticmethod
    def settings(values: Iterable[tuple[int, int]] = (), *, ack: bool = False) -> bytes:
        """SETTINGS."""
        body = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values)
        return frame(SETTINGS, ACK if ack else 0, 0, body)

    @staticmethod
    def reset(stream_id: int, code: int = 8) -> bytes:
        """RST_STREAM."""
        return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))

    @staticmethod
    def window(stream_id: int, increment: int) -> bytes:
        """WINDOW_UPDATE."""
        return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))

    @staticmethod
    def ping(data: bytes = b"12345678", *, ack: bool = False) -> bytes:
        """PING."""
        return frame(PING, ACK if ack else 0, 0, data)

    @staticmethod
    def content(events: Iterable[Event], stream_id: int = 1) -> bytes:
        """DATA of a stream, in whatever pieces it came."""
        return b"".join(
            event.data
            for event in events
            if isinstance(event, DataReceived | RequestReceived | ResponseReceived) and event.stream.id == stream_id
        )


@pytest.fixture
def wire() -> Callable[..., Wire]:
    """Makes connections of ours: wire(client=…, ready=…, config=…)."""
    return Wire


@pytest.fixture
def server(wire: Callable[..., Wire]) -> Wire:
    """A server after the handshake."""
    return wire()


@pytest.fixture
def client(wire: Callable[..., Wire]) -> Wire:
    """A client after the handshake."""
    return wire(client=True)
