"""The settings of a connection's two ends (RFC 9113 §6.5): what they mean, and which values are allowed."""

from __future__ import annotations

from collections.abc import Iterator

from orbit_lite.http2.errors import ConnectionFault, ErrorCode
from orbit_lite.http2.frames import SETTING

__all__ = [
    "ENABLE_PUSH",
    "HEADER_TABLE_SIZE",
    "INITIAL_WINDOW_SIZE",
    "LARGEST_WINDOW",
    "MAX_CONCURRENT_STREAMS",
    "MAX_FRAME_SIZE",
    "MAX_HEADER_LIST_SIZE",
    "PeerSettings",
    "read_settings",
]

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

LARGEST_WINDOW = (1 << 31) - 1
NO_LIMIT = (1 << 32) - 1


class PeerSettings:
    """What the peer allows us, with the values that hold until it says something."""

    __slots__ = (
        "header_table_size",
        "initial_window_size",
        "max_concurrent_streams",
        "max_frame_size",
        "max_header_list_size",
    )

    def __init__(self) -> None:
        self.header_table_size = 4096
        self.initial_window_size = 65_535
        self.max_concurrent_streams = NO_LIMIT
        self.max_frame_size = 1 << 14
        self.max_header_list_size = NO_LIMIT


def read_settings(payload: bytes, *, from_server: bool) -> Iterator[tuple[int, int]]:
    """Identifiers and values of a SETTINGS frame, unknown ones too. Raises ConnectionFault for a forbidden value."""
    for name, value in SETTING.iter_unpack(payload):
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE of {value}")
        if name == MAX_FRAME_SIZE and not 1 << 14 <= value < 1 << 24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE of {value}")
        if name == ENABLE_PUSH and value > (0 if from_server else 1):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH of {value}")
        yield name, value
