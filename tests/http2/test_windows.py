"""Receive windows follow the bandwidth-delay product: up while they are what limits the peer, never down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.events import DataReceived
from orbit_lite.http2.windows import PROBE, BandwidthProbe

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

SETTINGS, PING, WINDOW_UPDATE = 0x4, 0x6, 0x8
MIB = 1 << 20


def test_little_data_is_not_measured() -> None:
    probe = BandwidthProbe(1000, 10_000)
    assert not probe.received(200)
    assert probe.received(50)


def test_a_window_that_was_filled_within_a_round_trip_doubles() -> None:
    probe = BandwidthProbe(1000, 10_000)
    assert probe.received(300)
    assert not probe.received(400)  # one at a time
    assert probe.answered() == 2000
    assert probe.received(600)
    assert probe.answered() is None
    assert probe.window == 2000


def test_the_largest_window_is_the_end() -> None:
    probe = BandwidthProbe(1000, 1500)
    assert probe.received(1000)
    assert probe.answered() == 1500
    assert not probe.received(10_000)


@given(st.lists(st.integers(0, 5000) | st.none(), max_size=100))
def test_windows_only_grow_and_stay_below_their_limit(steps: list[int | None]) -> None:
    probe, window = BandwidthProbe(1000, 9000), 1000
    for step in steps:
        if step is not None:
            probe.received(step)
        elif (larger := probe.answered()) is not None:
            assert window < larger <= 9000
            window = larger
        assert probe.window == window


def upload(server: Wire, rounds: int) -> None:
    """A peer as fast as the windows let it be: each round trip fills the stream's."""
    for _ in range(rounds):
        window = server.connection.streams[1].receive_window
        taken = server.give(server.data(1, bytes(1 << 14)) * (window >> 14))
        for event in taken:
            if isinstance(event, DataReceived):
                server.connection.consumed(event.stream, event.size)
        server.give(server.settings(ack=True), *[server.ping(PROBE, ack=True) for _ in server.take()])
        server.events.clear()


def test_a_fast_peer_gets_larger_windows(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(stream_window=MIB, connection_window=4 * MIB, largest_window=4 * MIB))
    server.give(server.headers(1))
    upload(server, 8)
    sizes = [int.from_bytes(got.payload[2:6], "big") for got in server.written(SETTINGS) if got.payload]
    assert sizes == [2 * MIB, 4 * MIB]
    stream = server.connection.streams[1]
    assert stream.receive_window + stream.unreturned == 4 * MIB
    assert server.connection._receive_window + server.connection._unreturned == 8 * MIB
    assert not server.connection.has_failed


def test_windows_stay_where_they_are_not_to_adapt(wire: Callable[..., Wire]) -> None:
    server = wire(config=Http2Config(adaptive_window=False))
    server.give(server.headers(1))
    upload(server, 4)
    assert not server.written(PING)
    assert server.connection.streams[1].receive_window <= MIB


def test_the_largest_window_of_all_can_be_reached(wire: Callable[..., Wire]) -> None:
    """The connection's would be larger than the protocol knows."""
    largest = (1 << 31) - 1
    config = Http2Config(stream_window=1 << 30, connection_window=1 << 30, largest_window=largest)
    server = wire(config=config)
    server.give(server.headers(1))
    server.connection._grow(largest)
    server.take()
    (update,) = server.written(WINDOW_UPDATE)
    assert int.from_bytes(update.payload, "big") == largest - (1 << 30)
