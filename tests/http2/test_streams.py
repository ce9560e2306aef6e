"""The record of a stream: its states are pairs of flags (RFC 9113 §5.1)."""

from __future__ import annotations

import pytest

from orbit_lite.http2.streams import Stream


@pytest.mark.parametrize(
    ("can_send", "can_receive", "state"),
    [
        (True, True, "open"),
        (True, False, "half-closed (remote)"),
        (False, True, "half-closed (local)"),
        (False, False, "closed"),
    ],
)
def test_two_flags_are_the_state(can_send: bool, can_receive: bool, state: str) -> None:
    stream = Stream(7, 1, 2)
    stream.can_send, stream.can_receive = can_send, can_receive
    assert repr(stream) == f"<Stream 7 {state}>"
    assert stream.is_closed == (state == "closed")
