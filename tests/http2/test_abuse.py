"""Budgets: each attack meets its own, with the word for the peer's log, and traffic that makes sense meets none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.errors import ErrorCode
from orbit_lite.http2.events import DataReceived, HeadersReceived, RequestReceived, StreamReset

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

Round = Callable[["Wire", int], bytes]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_HEADERS, PADDED = 0x4, 0x8


def serve(wire: Wire, *data: bytes) -> int:
    """Receive, read everything and end every request at once; the number of requests."""
    requests = 0
    connection = wire.connection
    for event in wire.give(*data):
        if isinstance(event, DataReceived):
            connection.consumed(event.stream, event.size)
        if isinstance(event, HeadersReceived | RequestReceived):
            requests += 1
        if isinstance(event, RequestReceived) or (isinstance(event, HeadersReceived | DataReceived) and event.ends):
            if not event.stream.is_closed:
                connection.reply(event.stream, wire.RESPONSE, b"", wire.TRAILERS)
            connection.release(event.stream)
        if isinstance(event, StreamReset) and event.by_peer:
            connection.release(event.stream)
    wire.take()
    return requests


def hurry(wire: Wire, attack: Round, rounds: int) -> int:
    """The round in which the connection ends."""
    for number in range(rounds):
        serve(wire, attack(wire, number))
        if wire.connection.has_failed:
            return number
    pytest.fail(f"nothing happened in {rounds} rounds")


# ---------------------------------------------------------------- attacks

#: What is done in each round, the word, and the rounds in which the connection has to end.
ATTACKS: dict[str, tuple[Round, str, range]] = {
    "rapid reset (CVE-2023-44487)": (
        lambda w, n: w.headers(2 * n + 3) + w.reset(2 * n + 3),
        "too_many_resets",
        range(200, 201),
    ),
    "made you reset, by WINDOW_UPDATE (CVE-2025-8671)": (
        lambda w, n: w.headers(2 * n + 3) + w.window(2 * n + 3, 0),
        "too_many_resets",
        range(200, 201),
    ),
    "made you reset, by DATA after the end": (
        lambda w, n: w.headers(2 * n + 3, end=True) + w.data(2 * n + 3, b"x"),
        "too_many_resets",
        range(200, 201),
    ),
    "made you reset, by malformed requests": (
        lambda w, n: w.headers(2 * n + 3, w.TRAILERS, end=True),
        "too_many_resets",
        range(200, 201),
    ),
    "streams over the limit": (lambda w, n: w.headers(2 * n + 3), "too_many_streams", range(255 + 512, 255 + 514)),
    "SETTINGS (CVE-2019-9515)": (lambda w, n: w.settings(), "too_many_settings", range(45, 51)),
    "settings in one frame": (lambda w, n: w.settings([(0x99, 0)] * 33), "too_many_settings", range(1)),
    "PING (CVE-2019-9512)": (lambda w, n: w.ping(), "too_many_pings", range(3, 4)),
    "empty DATA (CVE-2019-9518)": (lambda w, n: w.data(1), "too_many_data_frames", range(100, 101)),
    "padded empty DATA": (lambda w, n: w.frame(DATA, PADDED, 1, b"\0"), "too_many_data_frames", range(100, 101)),
    "WINDOW_UPDATE": (lambda w, n: w.window(0, 1), "too_many_updates", range(1000, 1002)),
    "WINDOW_UPDATE of a stream": (lambda w, n: w.window(1, 1), "too_many_updates", range(1000, 1002)),
    "PRIORITY (CVE-2019-9513)": (
        lambda w, n: w.frame(PRIORITY, 0, 2 * n + 3, bytes(5)),
        "too_many_updates",
        range(1000, 1002),
    ),
    "CONTINUATION (CVE-2024-27316)": (
        lambda w, n: w.frame(CONTINUATION if n else HEADERS, 0, 3, b"\x82"),
        "too_many_continuations",
        range(9, 10),
    ),
    "empty CONTINUATION": (
        lambda w, n: w.frame(CONTINUATION if n else HEADERS, 0, 3),
        "too_many_continuations",
        range(9, 10),
    ),
    "large CONTINUATION": (
        lambda w, n: w.frame(CONTINUATION if n else HEADERS, 0, 3, bytes(16_000)),
        "too_many_continuations",
        range(2, 3),
    ),
    "header bomb": (
        lambda w, n: w.frame(HEADERS, END_HEADERS, 3, b"\x40\x01a\x7f\xb1\x1e" + b"b" * 4016 + b"\xbe" * 5000),
        "header_list_too_large",
        range(1),
    ),
    "frames of unknown types": (lambda w, n: w.frame(0x42, 0, 0, bytes(16_384)) * 64, "too_many_bytes", range(7, 10)),
    "GOAWAY": (lambda w, n: w.frame(GOAWAY, 0, 0, bytes(16_384)) * 64, "too_many_bytes", range(7, 10)),
    "padding": (
        lambda w, n: w.frame(DATA, PADDED, 1, b"\xff" + b"x" + bytes(255)) * 4000,
        "too_many_bytes",
        range(7, 12),
    ),
    "RST_STREAM of closed streams": (lambda w, n: w.reset(1) * 10_000, "too_many_bytes", range(60, 70)),
    "PING answers that nobody waits for": (lambda w, n: w.ping(ack=True) * 10_000, "too_many_bytes", range(45, 55)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_the_connection_with_its_word(server: Wire, name: str) -> None:
    attack, word, rounds = ATTACKS[name]
    serve(server, server.headers(1))
    assert hurry(server, attack, rounds.stop) in rounds
    assert server.failure().code is ErrorCode.ENHANCE_YOUR_CALM
    assert server.sent[-1].payload[8:] == word.encode()


def test_small_data_that_nobody_reads_is_bounded_by_the_window_alone(wire: Callable[..., Wire]) -> None:
    """It is legal traffic as long as flow control allows it, whatever the size of its pieces (RFC 9113 §5.2)."""
    server = wire(config=Http2Config(stream_window=100_000))
    server.give(server.headers(1))
    for _ in range(100_000):
        server.give(server.data(1, b"x"))
    assert not server.connection.has_failed
    assert server.content(server.events) == b"x" * 100_000
    server.give(server.data(1, b"x"))
    assert [got.code for got in server.written(RST_STREAM)] == [ErrorCode.FLOW_CONTROL_ERROR]


def test_answers_that_nobody_takes_are_bounded(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(ping_interval=None))
    assert server.connection.receive(server.ping() * 100, 0.0) == []
    server.connection.receive(server.ping(), 0.0)
    server.take()
    assert server.sent[-1].payload[8:] == b"too_many_pings"


def test_interim_responses_without_end_are_bounded(client: Wire) -> None:
    client.open()
    client.give(client.headers(1, ((":status", "103"),)) * 100)
    assert not client.connection.has_failed
    client.give(client.headers(1, ((":status", "103"),)))
    assert client.failure().code is ErrorCode.ENHANCE_YOUR_CALM


def test_refused_streams_do_not_count_as_resets(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(max_concurrent_streams=1, reset_burst=1))
    server.give(server.headers(1), *[server.headers(n) for n in range(3, 503, 2)])
    assert not server.connection.has_failed


# ---------------------------------------------------------------- what comes back, and with what


def test_resets_come_back_with_time(server: Wire) -> None:
    for number in range(1000):
        server.now = number / 32
        serve(server, server.headers(2 * number + 1), server.reset(2 * number + 1))
    assert not server.connection.has_failed


def test_each_ten_streams_that_end_well_pay_for_a_reset(server: Wire) -> None:
    stream_id = 1
    for _ in range(400):
        for _ in range(10):
            serve(server, server.headers(stream_id, end=True))
            stream_id += 2
        serve(server, server.headers(stream_id), server.reset(stream_id))
        stream_id += 2
    assert not server.connection.has_failed


def test_a_reset_after_the_whole_answer_costs_nothing(server: Wire) -> None:
    """As clients do that want no more of a request's body sent."""
    for stream_id in range(1, 1001, 2):
        (head,) = server.give(server.headers(stream_id))
        assert isinstance(head, HeadersReceived)
        server.connection.reply(head.stream, server.RESPONSE, b"", server.TRAILERS)
        server.connection.release(head.stream)
        server.give(server.reset(stream_id))
    assert not server.connection.has_failed


def test_settings_come_back_with_time(server: Wire) -> None:
    for number in range(300):
        server.now = float(number)
        server.give(server.settings([(0x4, 65_535 + number % 2)]))
    assert not server.connection.has_failed


@pytest.mark.parametrize(("has_streams", "interval"), [(True, 10.0), (False, 300.0)])
def test_pings_at_their_interval_are_welcome(server: Wire, has_streams: bool, interval: float) -> None:
    if has_streams:
        server.give(server.headers(1))
    for number in range(50):
        server.now = number * interval
        server.give(server.ping())
    assert not server.connection.has_failed
    for _ in range(3):
        server.now += interval * 0.9
        server.give(server.ping())
    assert server.failure().code is ErrorCode.ENHANCE_YOUR_CALM


def test_any_number_of_pings_where_the_interval_is_none(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(ping_interval=None))
    for _ in range(1000):
        server.give(server.ping())
    assert len(server.written(PING)) == 1000


def test_clients_answer_all_pings_that_are_read(client: Wire) -> None:
    for _ in range(1000):
        client.give(client.ping())
    assert len(client.written(PING)) == 1000


# ---------------------------------------------------------------- traffic that makes sense


def test_pings_that_measure_our_data_are_welcome(server: Wire) -> None:
    """One for every frame of ours, and WINDOW_UPDATEs for stream and connection (gRFC A9)."""
    (head,) = server.give(server.headers(1, end=True))
    assert isinstance(head, HeadersReceived)
    server.connection.send_headers(head.stream, server.RESPONSE)
    for _ in range(20_000):
        server.connection.send_data(head.stream, b"x" * 100)
        server.give(server.ping() + server.window(0, 100) + server.window(1, 100))
        server.sent.clear()
    assert not server.connection.has_failed


def test_many_small_messages_that_are_read_are_welcome(server: Wire) -> None:
    connection = server.connection
    serve(server, server.headers(1))
    message = server.data(1, b"\0\0\0\0\1x")
    for _ in range(100_000):
        for event in connection.receive(message, 0.0):
            assert isinstance(event, DataReceived)
            connection.consumed(event.stream, event.size)
    assert not connection.has_failed


def test_small_messages_may_be_taken_together(server: Wire) -> None:
    connection = server.connection
    serve(server, server.headers(1))
    for _ in range(1000):
        events = [event for _ in range(20) for event in server.give(server.data(1, b"\0\0\0\0\1x"))]
        data = [event for event in events if isinstance(event, DataReceived)]
        connection.consumed(data[0].stream, sum(event.size for event in data))
        server.events.clear()
    assert not connection.has_failed


def test_many_calls_on_one_connection_are_welcome(server: Wire) -> None:
    call = server.data(1, b"\0\0\0\0\0", end=True)
    for number in range(5000):
        stream_id = 2 * number + 1
        assert serve(server, server.headers(stream_id), call[:5], stream_id.to_bytes(4, "big"), call[9:]) == 1
        server.sent.clear()
        server.events.clear()
    assert not server.connection.has_failed
    assert server.connection.held == 0


def test_a_client_that_learns_late_of_a_free_place_is_welcome(wire: Callable[..., Wire]) -> None:
    """A stream over the limit now and then, among others that are served, does not add up."""
    server = wire(config=Http2Config(max_concurrent_streams=1))
    for stream_id in range(1, 4001, 4):
        (head,) = server.give(server.headers(stream_id, end=True), server.headers(stream_id + 2))
        assert isinstance(head, HeadersReceived)
        server.connection.reply(head.stream, server.RESPONSE, b"", server.TRAILERS)
        server.connection.release(head.stream)
    assert not server.connection.has_failed


@pytest.mark.parametrize("is_client", [False, True])
def test_a_quiet_connection_lives_for_months(wire: Callable[..., Wire], is_client: bool) -> None:
    """A PING each second, both ways, is no useless traffic however long it lasts; here, many of them at a time."""
    end = wire(client=is_client, config=Http2Config(ping_interval=None, max_queued_answers=1500))
    pings = (end.ping() + end.ping(b"keepaliv", ack=True)) * 1500
    for _ in range(180):
        end.now += 1500
        end.connection.receive(pings, end.now)
        end.connection.take_output()
    assert not end.connection.has_failed


def test_updates_of_windows_that_we_use_are_no_useless_traffic(wire: Callable[..., Wire]) -> None:
    """Nine megabytes of them, and of PINGs."""
    server = wire(config=Http2Config(ping_interval=None))
    connection = server.connection
    (head,) = server.give(server.headers(1, end=True))
    assert isinstance(head, HeadersReceived)
    connection.send_headers(head.stream, server.RESPONSE)
    answers = (server.window(0, 1) + server.window(1, 1) + server.ping()) * 100
    for _ in range(2200):
        for _ in range(100):
            connection.send_data(head.stream, b"x")
        connection.receive(answers, 0.0)
        connection.take_output()
    assert not connection.has_failed
