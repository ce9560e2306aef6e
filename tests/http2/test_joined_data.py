"""DATA that is sent in one go shares frames: what the peer is given stays the same, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2 import config as h2_config
from h2 import connection as h2_connection
from h2 import events as h2_events
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.http2 import Connection, Fields, Http2Config

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

REQUEST: Fields = ((":method", "POST"), (":scheme", "http"), (":path", "/s/M"), (":authority", "host"))
DATA, END_STREAM = 0, 1
SMALLEST_LARGEST = 16_384  # of a frame, unless the peer says otherwise (RFC 9113 §4.2)


class Sender:
    """A client of ours that sends to the h2 library."""

    def __init__(self) -> None:
        self.ours = Connection(Http2Config(), client=True, now=0.0)
        self.theirs = h2_connection.H2Connection(h2_config.H2Configuration(client_side=False, header_encoding=None))
        self.theirs.initiate_connection()
        self.deliver()
        self.ours.receive(self.theirs.data_to_send(), 0.0)
        self.deliver()
        self.events: list[h2_events.Event] = []
        self.frames: list[tuple[int, int, int, int]] = []  # kind, flags, stream, size

    def deliver(self) -> list[h2_events.Event]:
        return self.theirs.receive_data(bytes(self.ours.take_output()))

    def flush(self) -> None:
        output = bytes(self.ours.take_output())
        at = 0
        while at < len(output):
            size = int.from_bytes(output[at : at + 3], "big")
            stream_id = int.from_bytes(output[at + 5 : at + 9], "big")
            self.frames.append((output[at + 3], output[at + 4], stream_id, size))
            at += 9 + size
        self.events += self.theirs.receive_data(output)

    def received(self, stream_id: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, h2_events.DataReceived) and event.stream_id == stream_id
        )

    def data_frames(self) -> list[tuple[int, int, int]]:
        """flags, stream, size"""
        return [(flags, stream_id, size) for kind, flags, stream_id, size in self.frames if kind == DATA]


def test_messages_of_one_go_share_a_frame_and_the_end_joins_them() -> None:
    sender = Sender()
    stream = sender.ours.open(REQUEST)
    for piece in (b"one", b"two", b"three"):
        sender.ours.send_data(stream, piece)
    sender.ours.send_data(stream, b"", end=True)
    sender.flush()
    assert sender.data_frames() == [(END_STREAM, stream.id, 11)]
    assert sender.received(stream.id) == b"onetwothree"


def test_what_was_taken_is_left_alone() -> None:
    sender = Sender()
    stream = sender.ours.open(REQUEST)
    sender.flush()
    sender.ours.send_data(stream, b"eight by")
    sender.flush()
    sender.ours.ping(b"eight by")  # as long as what was taken: by its place in the output it looks the same
    sender.ours.send_data(stream, b"more")
    sender.flush()
    assert sender.data_frames() == [(0, stream.id, 8), (0, stream.id, 4)]
    assert sender.received(stream.id) == b"eight bymore"


def test_a_frame_grows_no_further_than_the_peer_allows() -> None:
    sender = Sender()
    stream = sender.ours.open(REQUEST)
    for _ in range(3):
        sender.ours.send_data(stream, b"x" * (SMALLEST_LARGEST // 2))
    sender.flush()
    assert [size for _, _, size in sender.data_frames()] == [SMALLEST_LARGEST, SMALLEST_LARGEST // 2]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.integers(0, 2), st.binary(max_size=20)),
        st.tuples(st.just("large"), st.integers(0, 2), st.integers(1, 9_000)),
        st.tuples(st.just("ping"), st.just(0), st.just(b"")),
        st.tuples(st.just("flush"), st.just(0), st.just(b"")),
    ),
    max_size=30,
)


@given(STEPS)
def test_the_peer_gets_the_same_bytes_however_they_are_sent(steps: list[tuple[str, int, bytes | int]]) -> None:
    sender = Sender()
    streams = [sender.ours.open(REQUEST) for _ in range(3)]
    sent = {stream.id: b"" for stream in streams}
    for what, number, content in steps:
        stream = streams[number]
        if what == "ping":
            sender.ours.ping(b"12345678")
        elif what == "flush":
            sender.flush()
        else:
            data = content if isinstance(content, bytes) else bytes([number]) * content
            if len(data) <= sender.ours.room(stream):
                sender.ours.send_data(stream, data)
                sent[stream.id] += data
    for stream in streams:
        sender.ours.send_data(stream, b"", end=True)
    sender.flush()
    assert {stream.id: sender.received(stream.id) for stream in streams} == sent
    ended = {event.stream_id for event in sender.events if isinstance(event, h2_events.StreamEnded)}
    assert ended == set(sent)


def test_joined_messages_allow_the_peer_as_many_updates_as_single_ones(client: Wire) -> None:
    """A peer may answer every message by a WINDOW_UPDATE for stream and connection, whatever frames they came in."""
    stream = client.open(end=False)
    for _ in range(3000):
        client.connection.send_data(stream, b"x")
    assert len(client.take()) == 1
    client.give(*[client.window(stream.id, 1) + client.window(0, 1) for _ in range(3000)])
    assert not client.connection.has_failed
