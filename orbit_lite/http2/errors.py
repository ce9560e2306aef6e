"""HTTP/2 error codes (RFC 9113 §7), and what ends a connection or one of its streams."""

from __future__ import annotations

import enum

__all__ = ["ConnectionFault", "ErrorCode", "LocalProtocolError", "StreamFault"]


class ErrorCode(enum.IntEnum):
    """HTTP/2 error codes of RST_STREAM and GOAWAY (RFC 9113 §7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD

    @staticmethod
    def name_of(code: int) -> str:
        """The code's name, or its number where the RFC gives it none."""
        try:
            return ErrorCode(code).name
        except ValueError:
            return f"error code {code:#x}"


class ConnectionFault(Exception):
    """The peer broke a rule in a way that ends the connection (RFC 9113 §5.4.1).

    debug: a word for the peer's log, sent in GOAWAY where it is one of the known ones, such as `too_many_pings`.
    """

    def __init__(self, code: ErrorCode, reason: str, debug: bytes = b"") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.debug = debug


class StreamFault(Exception):
    """The peer broke a rule in a way that ends one stream (RFC 9113 §5.4.2)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LocalProtocolError(Exception):
    """This side asked for something that the protocol does not allow now; nothing was sent."""
