"""What a connection can be told to offer, and how it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.http2 import Connection, Http2Config

if TYPE_CHECKING:
    from tests.http2.conftest import Wire

LARGEST = (1 << 31) - 1


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("max_concurrent_streams", 1, LARGEST),
        ("stream_window", 65_535, LARGEST),
        ("connection_window", 65_535, LARGEST),
        ("largest_window", 65_535, LARGEST),
        ("max_frame_size", 1 << 14, (1 << 24) - 1),
        ("max_header_list_size", 1, (1 << 32) - 1),
    ],
)
def test_what_the_protocol_cannot_say_is_refused(name: str, low: int, high: int) -> None:
    for value in (low, high):
        Connection(Http2Config(**{name: value}), client=False, now=0.0)  # type: ignore[arg-type]
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"{name}={value}: must be from {low} to {high}"):
            Http2Config(**{name: value})  # type: ignore[arg-type]


def settings(payload: bytes) -> dict[int, int]:
    return {
        int.from_bytes(payload[at : at + 2], "big"): int.from_bytes(payload[at + 2 : at + 6], "big")
        for at in range(0, len(payload), 6)
    }


def test_servers_announce_their_limits(wire: Callable[..., Wire]) -> None:
    config = Http2Config(
        max_concurrent_streams=7, stream_window=70_000, connection_window=80_000, max_frame_size=20_000,
        max_header_list_size=9000,
    )  # fmt: skip
    first, update = wire(ready=False, config=config).take()
    assert (first.kind, first.flags, first.stream_id) == (0x4, 0, 0)
    assert settings(first.payload) == {3: 7, 4: 70_000, 5: 20_000, 6: 9000}
    assert (update.kind, update.stream_id, int.from_bytes(update.payload, "big")) == (0x8, 0, 80_000 - 65_535)


def test_clients_begin_with_the_preface_and_want_no_pushes(wire: Callable[..., Wire]) -> None:
    connection = wire(client=True, ready=False, config=Http2Config(connection_window=65_535)).connection
    output = bytes(connection.take_output())
    assert output.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    (first,) = wire().parse(output)
    assert settings(first.payload) == {2: 0, 4: 1 << 20, 5: 64 << 10, 6: 16 << 10}
