"""Values of SETTINGS (RFC 9113 §6.5.2): which are allowed, and from whom."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.http2 import settings as names
from orbit_lite.http2.errors import ConnectionFault, ErrorCode
from orbit_lite.http2.settings import PeerSettings, read_settings

UINT32 = st.integers(0, (1 << 32) - 1)


def frame(*values: tuple[int, int]) -> bytes:
    return b"".join(pack(">HI", name, value) for name, value in values)


@given(st.lists(st.tuples(st.integers(7, 0xFFFF) | st.sampled_from([0, 1, 3, 6]), UINT32)), st.booleans())
def test_settings_without_rules_may_have_any_value(values: list[tuple[int, int]], from_server: bool) -> None:
    assert list(read_settings(frame(*values), from_server=from_server)) == values


@pytest.mark.parametrize(
    ("name", "allowed", "forbidden", "code"),
    [
        (names.INITIAL_WINDOW_SIZE, [0, (1 << 31) - 1], [1 << 31, (1 << 32) - 1], ErrorCode.FLOW_CONTROL_ERROR),
        (names.MAX_FRAME_SIZE, [1 << 14, (1 << 24) - 1], [0, (1 << 14) - 1, 1 << 24], ErrorCode.PROTOCOL_ERROR),
        (names.ENABLE_PUSH, [0, 1], [2, (1 << 32) - 1], ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_values_have_limits(name: int, allowed: list[int], forbidden: list[int], code: ErrorCode) -> None:
    for value in allowed:
        assert list(read_settings(frame((name, value)), from_server=False)) == [(name, value)]
    for value in forbidden:
        with pytest.raises(ConnectionFault) as caught:
            list(read_settings(frame((name, value)), from_server=False))
        assert caught.value.code is code


def test_servers_may_not_ask_for_pushes() -> None:
    assert list(read_settings(frame((names.ENABLE_PUSH, 0)), from_server=True))
    with pytest.raises(ConnectionFault):
        list(read_settings(frame((names.ENABLE_PUSH, 1)), from_server=True))


def test_until_the_peer_speaks_the_defaults_of_the_protocol_hold() -> None:
    peer = PeerSettings()
    assert (peer.initial_window_size, peer.max_frame_size, peer.header_table_size) == (65_535, 16_384, 4096)
    assert peer.max_concurrent_streams == peer.max_header_list_size == (1 << 32) - 1
