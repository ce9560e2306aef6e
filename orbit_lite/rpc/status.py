"""gRPC status codes, and what the layers below gRPC mean in them.

Sources: grpc/doc/http-grpc-status-mapping.md for HTTP status codes, grpc/doc/PROTOCOL-HTTP2.md, `Errors`, for codes of
RST_STREAM. Both tables apply only where the peer did not send a grpc-status of its own.
"""

from __future__ import annotations

from orbit_lite.errors import Status
from orbit_lite.http2.errors import ErrorCode

__all__ = ["ErrorCode", "Status", "status_of_http", "status_of_reset"]


_HTTP = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    431: Status.INTERNAL,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}

_RESET = {
    ErrorCode.NO_ERROR: Status.INTERNAL,
    ErrorCode.PROTOCOL_ERROR: Status.INTERNAL,
    ErrorCode.INTERNAL_ERROR: Status.INTERNAL,
    ErrorCode.FLOW_CONTROL_ERROR: Status.INTERNAL,
    ErrorCode.SETTINGS_TIMEOUT: Status.INTERNAL,
    # STREAM_CLOSED has no mapping: no stream is left that could hear of it. Should one hear all the same: UNKNOWN.
    ErrorCode.FRAME_SIZE_ERROR: Status.INTERNAL,
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.COMPRESSION_ERROR: Status.INTERNAL,
    ErrorCode.CONNECT_ERROR: Status.INTERNAL,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def status_of_http(code: int) -> Status:
    """What an HTTP status without grpc-status means; 200 too, since gRPC always sends grpc-status."""
    return _HTTP.get(code, Status.UNKNOWN)


def status_of_reset(code: int) -> Status:
    """What a RST_STREAM that ended a call without grpc-status means."""
    return _RESET.get(code, Status.UNKNOWN)  # type: ignore[call-overload, no-any-return]  # ErrorCode is an int
