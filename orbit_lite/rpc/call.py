"""What the header blocks of a call say: requests, responses and trailers, read and written.

Pure: headers in, values out. Source: grpc/doc/PROTOCOL-HTTP2.md; RFC 9113 §8.2 and §8.3 for what HTTP/2 allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orbit_lite.errors import OrbitError, ParseError, Status, quote
from orbit_lite.rpc.details import decode_details, encode_details
from orbit_lite.rpc.errors import StatusReply, rpc_error
from orbit_lite.rpc.http2 import HEADER_LIMIT
from orbit_lite.rpc.metadata import (
    Headers,
    Metadata,
    MetadataError,
    MetadataLike,
    decode_message,
    encode_message,
)
from orbit_lite.rpc.status import status_of_http
from orbit_lite.rpc.timeouts import decode_timeout, encode_timeout

__all__ = [
    "HttpRefusal",
    "Malformed",
    "Outcome",
    "RequestHead",
    "StatusRefusal",
    "read_outcome",
    "read_request",
    "read_response",
    "request_headers",
    "response_headers",
    "trailer_headers",
]

CONTENT_TYPE = "application/grpc"
#: Longest grpc-message in octets, and largest details: together with the rest they stay below the 16 KiB of headers
#: that Orbit-RS and others accept.
MESSAGE_LIMIT = 4 * 1024
DETAILS_LIMIT = 8 * 1024
FIELD_LIMIT = 128
DETAILS = "grpc-status-details-bin"

_NAME = re.compile(r"[0-9a-z_.-]+")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_STATUS = re.compile(r"0|[1-9][0-9]?")
_PSEUDO = frozenset({":method", ":scheme", ":path", ":authority"})
_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


class Malformed(Exception):
    """Not a valid HTTP/2 request: the stream is reset with PROTOCOL_ERROR (RFC 9113 §8.1.1)."""


class HttpRefusal(Exception):
    """Valid HTTP, but no gRPC: answered with an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class StatusRefusal(Exception):
    """A gRPC request that is answered without any handler. headers: go with the answer."""

    def __init__(self, status: Status, text: str, headers: Headers | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or []


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a request says before its first message. timeout: seconds."""

    path: str
    timeout: float | None
    user_agent: str | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, as the server's trailers say."""

    status: Status
    message: str
    details: tuple[object, ...]
    metadata: Metadata


# ---------------------------------------------------------------- the server's side


def read_request(headers: Headers, known: Mapping[str, object]) -> RequestHead:
    """Check a request in the order of the layers: HTTP/2, HTTP, gRPC.

    known: the methods that are served, by path. Raises Malformed, HttpRefusal or StatusRefusal.
    """
    fields = _check_http(headers)
    if fields[":method"] != "POST":
        raise HttpRefusal(405, "gRPC requests are POST requests")
    content_type = fields.get("content-type", "")
    if not _is_grpc(content_type):
        raise HttpRefusal(415, f"content-type {quote(content_type)!r} is not {CONTENT_TYPE}")
    size = sum(len(name) + len(value) + 32 for name, value in headers)  # RFC 9113 §6.5.2
    if size > HEADER_LIMIT or len(headers) > FIELD_LIMIT:
        raise StatusRefusal(
            Status.RESOURCE_EXHAUSTED,
            f"{len(headers)} headers of {size} bytes: at most {FIELD_LIMIT} of {HEADER_LIMIT} bytes are accepted",
        )
    path = fields[":path"]
    if path not in known:
        raise StatusRefusal(Status.UNIMPLEMENTED, f"unknown method {quote(path)}")
    encoding = fields.get("grpc-encoding", "identity")
    if encoding != "identity":
        raise StatusRefusal(
            Status.UNIMPLEMENTED,
            f"grpc-encoding {quote(encoding)!r} is not supported",
            [("grpc-accept-encoding", "identity")],
        )
    try:
        timeout = decode_timeout(fields["grpc-timeout"]) if "grpc-timeout" in fields else None
    except ParseError as error:
        raise StatusRefusal(Status.INTERNAL, error.message) from error
    return RequestHead(path, timeout, fields.get("user-agent"), Metadata.decode(headers))


def _check_http(headers: Headers) -> dict[str, str]:
    """The header fields, of repeated ones the first. Raises Malformed."""
    fields: dict[str, str] = {}
    regular = False
    for name, value in headers:
        if _CONTROL.search(value):
            raise Malformed(f"control character in the value of {quote(name)}")
        if name.startswith(":"):
            if regular or name not in _PSEUDO or name in fields:
                raise Malformed(f"pseudo-header {quote(name)} is unknown, repeated or late")
        elif not _NAME.fullmatch(name) or name in _CONNECTION or (name == "te" and value != "trailers"):
            raise Malformed(f"header {quote(name)} is not allowed")
        else:
            regular = True
        fields.setdefault(name, value)
    if not (fields.get(":method") and fields.get(":scheme") and fields.get(":path", "").startswith(("/", "*"))):
        raise Malformed("a pseudo-header is missing or empty")
    return fields


def response_headers(metadata: MetadataLike | Metadata | None = None) -> Headers:
    """The head of a response. Raises MetadataError."""
    return [(":status", "200"), ("content-type", CONTENT_TYPE), *_encode(metadata)]


def trailer_headers(reply: StatusReply) -> Headers:
    """The trailers of a response; never raises: metadata or details that cannot be sent are left out."""
    headers = [("grpc-status", str(int(reply.status)))]
    if reply.message:
        headers.append(("grpc-message", _cut(encode_message(reply.message))))
    if reply.details:
        try:
            value = Metadata([("details-bin", encode_details(*reply[:3]))]).encode()[0][1]
        except OrbitError:
            value = ""
        if 0 < len(value) <= DETAILS_LIMIT:
            headers.append((DETAILS, value))
    for pair in reply.metadata:
        try:
            headers += _encode([pair])
        except MetadataError:
            continue
    return headers


def _cut(message: str) -> str:
    """Shorten an encoded message, not inside an escape."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    return re.sub("%.?$", "", message[:MESSAGE_LIMIT]) + "..."


# ---------------------------------------------------------------- the client's side


def request_headers(
    path: str, *, scheme: str, authority: str, timeout: float | None, user_agent: str, metadata: MetadataLike | Metadata
) -> Headers:
    """The head of a request, in the specification's order. Raises MetadataError, and ValueError without time left."""
    headers = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
    ]
    if timeout is not None:
        headers.append(("grpc-timeout", encode_timeout(timeout)))
    headers += [("content-type", CONTENT_TYPE), ("user-agent", user_agent)]
    return headers + _encode(metadata)


def read_response(headers: Headers) -> Metadata:
    """The initial metadata of a response's head that is not the whole response.

    Raises RpcError where it is no gRPC response: what a proxy or another kind of server says is in the message.
    """
    fields = dict(reversed(headers))
    status, content_type = fields.get(":status", ""), fields.get("content-type", "")
    if status != "200":
        code = int(status) if re.fullmatch("[0-9]{3}", status) else 0
        raise rpc_error(status_of_http(code), f"HTTP status {quote(status)} instead of a gRPC response")
    if not _is_grpc(content_type):
        raise rpc_error(Status.UNKNOWN, f"content-type {quote(content_type)!r} instead of {CONTENT_TYPE}")
    encoding = fields.get("grpc-encoding", "identity")
    if encoding != "identity":
        raise rpc_error(Status.INTERNAL, f"grpc-encoding {quote(encoding)!r}, which was not offered")
    return Metadata.decode(headers)


def read_outcome(trailers: Headers) -> Outcome:
    """How the call ended: from trailers, or from a head that is the whole response (trailers-only). Never raises."""
    fields = dict(reversed(trailers))
    metadata = Metadata.decode(trailers)
    text = fields.get("grpc-status")
    if text is None:
        if ":status" in fields:
            try:
                read_response(trailers)
            except OrbitError as error:
                return Outcome(error.code, error.message, (), metadata)
        return Outcome(Status.UNKNOWN, "the response ended without grpc-status", (), metadata)
    message = decode_message(fields.get("grpc-message", ""))
    if not _STATUS.fullmatch(text) or int(text) > max(Status):
        message = f"grpc-status {quote(text)!r} is none" + (f": {message}" if message else "")
        return Outcome(Status.UNKNOWN, message, (), metadata)
    details = Metadata.decode([("details-bin", fields[DETAILS])]).get("details-bin") if DETAILS in fields else None
    return Outcome(Status(int(text)), message, decode_details(details) if isinstance(details, bytes) else (), metadata)


def _is_grpc(content_type: str) -> bool:
    return content_type == CONTENT_TYPE or content_type.startswith((CONTENT_TYPE + "+", CONTENT_TYPE + ";"))


def _encode(metadata: MetadataLike | Metadata | None) -> Headers:
    return (metadata if isinstance(metadata, Metadata) else Metadata(metadata)).encode()
