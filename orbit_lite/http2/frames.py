"""Frame layouts (RFC 9113 §4, §6): what is written, and the parts that frames have in common. Nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEAD",
    "HEADERS",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PRIORITY_FLAG",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTING",
    "SETTINGS",
    "UINT32",
    "WINDOW_UPDATE",
    "goaway_frame",
    "ping_frame",
    "reset_frame",
    "settings_frame",
    "window_update_frame",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types (§6).
DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

# Flags.
ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

#: A frame's head (§4.1): length and type in one number (length << 8 | type), flags, stream id.
HEAD = Struct(">IBI")
UINT32 = Struct(">I")
SETTING = Struct(">HI")
_RESET = Struct(">IBII")
_GOAWAY = Struct(">IBIII")


def settings_frame(values: Iterable[tuple[int, int]], *, ack: bool = False) -> bytes:
    """SETTINGS (§6.5): identifiers and values."""
    payload = b"".join(SETTING.pack(name, value) for name, value in values)
    return HEAD.pack(len(payload) << 8 | SETTINGS, ACK if ack else 0, 0) + payload


def ping_frame(data: bytes, *, ack: bool = False) -> bytes:
    """PING (§6.7) with its eight bytes."""
    return HEAD.pack(8 << 8 | PING, ACK if ack else 0, 0) + data


def reset_frame(stream_id: int, code: int) -> bytes:
    """RST_STREAM (§6.4)."""
    return _RESET.pack(4 << 8 | RST_STREAM, 0, stream_id, code)


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE (§6.9); stream 0 is the connection."""
    return _RESET.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def goaway_frame(last_stream_id: int, code: int, debug: bytes) -> bytes:
    """GOAWAY (§6.8)."""
    return _GOAWAY.pack((8 + len(debug)) << 8 | GOAWAY, 0, 0, last_stream_id, code) + debug
