"""Rows of small messages in few frames; all else that is sent is looked at together with what another end makes of it,
in test_connection.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.http2 import Connection, Http2Config
from orbit_lite.http2.events import DataReceived, HeadersReceived
from orbit_lite.http2.streams import Stream

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

DATA, WINDOW_UPDATE, PING = 0, 8, 6
REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", "/s.S/M"))
#: What may come between two messages, each of which writes something of its own.
INTERRUPTIONS: dict[str, Callable[[Connection, Stream, Stream], object]] = {
    "a PING": lambda connection, one, other: connection.ping(b"12345678"),
    "DATA of another stream": lambda connection, one, other: connection.add_data(other, b"other"),
    "DATA sent otherwise": lambda connection, one, other: connection.send_data(one, b"between"),
    "another stream's opening": lambda connection, one, other: connection.open(REQUEST),
    "the output's leaving": lambda connection, one, other: connection.take_output(),
}


def test_messages_made_one_after_the_other_leave_as_one_frame(client: Wire) -> None:
    stream = client.open(end=False)
    for message in (b"one", b"two", b"three"):
        assert client.connection.add_data(stream, message)
    (frame,) = client.take()
    assert (frame.kind, frame.flags, frame.payload) == (DATA, 0, b"onetwothree")


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_a_frame_grows_only_while_it_is_the_last_of_the_output(client: Wire, name: str) -> None:
    one, other = client.open(end=False), client.open(end=False)
    connection = client.connection
    connection.add_data(one, b"before")
    taken = INTERRUPTIONS[name](connection, one, other)
    connection.add_data(one, b"after")
    output = (bytes(taken) if isinstance(taken, bytearray) else b"") + bytes(connection.take_output())
    frames = client.parse(output)
    assert [got.payload for got in frames if got.stream_id == one.id and got.payload != b"between"] == [
        b"before",
        b"after",
    ]


def test_a_row_of_messages_is_cut_where_the_peers_largest_frame_ends(client: Wire) -> None:
    stream = client.open(end=False)
    for _ in range(5):
        client.connection.add_data(stream, bytes(5000))
    assert [len(got.payload) for got in client.take()] == [15_000, 10_000]  # the default is 16 KiB (RFC 9113 §6.5.2)
    assert not client.connection.add_data(stream, bytes(16_385))
    assert not client.take()


def test_nothing_is_sent_of_a_message_that_the_windows_do_not_allow(client: Wire) -> None:
    first, second = client.open(end=False), client.open(end=False)
    connection = client.connection
    for _ in range(6):
        assert connection.add_data(first, bytes(10_000))
    assert not connection.add_data(first, bytes(5536))  # 65 535 bytes at the beginning (§6.9.2)
    assert not connection.add_data(second, bytes(5536))
    assert connection.add_data(second, bytes(5535))
    assert (first.send_window, second.send_window, connection.send_window) == (5535, 60_000, 0)
    assert sum(len(got.payload) for got in client.take()) == 65_535


def test_the_end_of_a_stream_is_the_end_of_its_messages(client: Wire) -> None:
    stream = client.open(end=False)
    client.connection.add_data(stream, b"last")
    client.connection.send_data(stream, b"", end=True)
    assert not client.connection.add_data(stream, b"too late")
    assert [(got.payload, got.flags) for got in client.take()] == [(b"last", 0), (b"", 1)]


def test_joined_messages_allow_the_peer_as_many_updates_as_single_ones(client: Wire) -> None:
    """A peer may answer every message by a WINDOW_UPDATE for stream and connection, however they were put in frames."""
    stream = client.open(end=False)
    for _ in range(3000):
        assert client.connection.add_data(stream, b"x")
    client.take()
    client.give(*[client.window(stream.id, 1) + client.window(0, 1) for _ in range(3000)])
    assert not client.connection.has_failed


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3000), st.sampled_from(["add", "send", "ping", "take"]))))
def test_whatever_lies_between_the_other_end_reads_each_streams_bytes(
    steps: list[tuple[int, int, str]],
) -> None:
    sender = Connection(Http2Config(), client=True, now=0.0)
    receiver = Connection(Http2Config(ping_interval=None), client=False, now=0.0)
    receiver.receive(bytes(sender.take_output()), 0.0)
    sender.receive(bytes(receiver.take_output()), 0.0)
    streams = [sender.open(REQUEST), sender.open(REQUEST)]
    sent, received = {1: b"", 3: b""}, {1: b"", 3: b""}

    def carry() -> None:
        events = receiver.receive(bytes(sender.take_output()), 0.0)
        while receiver.has_more:
            events = events + receiver.receive(b"", 0.0)
        for event in events:
            assert isinstance(event, DataReceived | HeadersReceived)
            if isinstance(event, DataReceived):
                received[event.stream.id] += event.data
                receiver.consumed(event.stream, event.size)
        sender.receive(bytes(receiver.take_output()), 0.0)

    for number, (which, size, step) in enumerate(steps):
        stream, piece = streams[which], bytes([number & 0xFF]) * size
        if step == "ping":
            sender.ping(b"12345678")
        elif step == "take":
            carry()
        elif step == "add":
            sent[stream.id] += piece if sender.add_data(stream, piece) else b""
        elif size <= sender.room(stream):
            sender.send_data(stream, piece)
            sent[stream.id] += piece
    carry()
    assert received == sent
