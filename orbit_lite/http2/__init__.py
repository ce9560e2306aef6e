"""HTTP/2 (RFC 9113) without sockets, clocks or tasks: bytes in, events and bytes out. Knows nothing of gRPC."""

from orbit_lite.http2.config import Http2Config
from orbit_lite.http2.connection import LAST_STREAM_ID, Connection
from orbit_lite.http2.errors import ErrorCode, LocalProtocolError
from orbit_lite.http2.fields import Fields, HeaderBlock

__all__ = ["LAST_STREAM_ID", "Connection", "ErrorCode", "Fields", "HeaderBlock", "Http2Config", "LocalProtocolError"]
