"""What the header blocks of a call say: requests, responses and trailers, read and written.

Pure: header blocks in, values out. What HTTP/2 itself forbids never comes here. A block that is repeated is read once:
what it says is kept with it. Source: grpc/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from orbit_lite.errors import OrbitError, ParseError, Status, quote
from orbit_lite.http2.fields import HeaderBlock
from orbit_lite.rpc.compression import ACCEPTED, GZIP, IDENTITY, accepts
from orbit_lite.rpc.details import decode_details, encode_details
from orbit_lite.rpc.errors import StatusReply, rpc_error
from orbit_lite.rpc.metadata import (
    NOTHING,
    Headers,
    Metadata,
    MetadataError,
    MetadataLike,
    decode_message,
    encode_message,
)
from orbit_lite.rpc.status import status_of_http
from orbit_lite.rpc.timeouts import decode_timeout, encode_timeout, round_timeout

__all__ = [
    "OK",
    "OK_REPLY",
    "OK_TRAILERS",
    "PACKED_RESPONSE_HEAD",
    "RESPONSE_HEAD",
    "HttpRefusal",
    "Outcome",
    "RequestHead",
    "RequestHeads",
    "StatusRefusal",
    "encoding_of",
    "read_outcome",
    "read_request",
    "read_response",
    "request_headers",
    "response_headers",
    "trailer_headers",
]

CONTENT_TYPE = "application/grpc"
RESPONSE_HEAD: Headers = ((":status", "200"), ("content-type", CONTENT_TYPE), ("grpc-accept-encoding", ACCEPTED))
PACKED_RESPONSE_HEAD: Headers = (*RESPONSE_HEAD, ("grpc-encoding", GZIP))
#: On CPython 3.11 each look-up of a member on its enumeration calls a descriptor, which takes longer than a function.
OK = Status.OK
OK_TRAILERS: Headers = (("grpc-status", "0"),)
#: Longest grpc-message in octets, and largest details: together with the rest they stay below the 16 KiB of headers
#: that Orbit-RS and others accept.
MESSAGE_LIMIT = 4 * 1024
DETAILS_LIMIT = 8 * 1024
DETAILS = "grpc-status-details-bin"
#: Request heads that a channel remembers, and those that all of them share.
_HEADS = 1024

_STATUS = re.compile(r"0|[1-9][0-9]?")

OK_REPLY = StatusReply(OK, "")


class HttpRefusal(Exception):
    """Valid HTTP, but no gRPC: answered with an HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class StatusRefusal(Exception):
    """A gRPC request that is answered without any handler."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a request says before its first message. timeout: seconds."""

    path: str
    timeout: float | None
    user_agent: str | None
    metadata: Metadata
    encoding: str = IDENTITY
    """Of the request's messages."""
    accepts_gzip: bool = False
    """Whether the reply's messages may be compressed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, as the server's trailers say."""

    status: Status
    message: str
    details: tuple[object, ...]
    metadata: Metadata


# ---------------------------------------------------------------- the server's side


def read_request(block: HeaderBlock, known: Mapping[str, object]) -> RequestHead:
    """Check a request in the order of the layers: HTTP, gRPC.

    known: the methods that are served, by path. Raises HttpRefusal or StatusRefusal.
    """
    if block.memo is None:
        block.memo = _read_request(block, known)
    head: RequestHead = block.memo
    return head


def _read_request(block: HeaderBlock, known: Mapping[str, object]) -> RequestHead:
    headers = block.fields
    fields = dict(reversed(headers))
    if fields[":method"] != "POST":
        raise HttpRefusal(405, "gRPC requests are POST requests")
    content_type = fields.get("content-type", "")
    if not _is_grpc(content_type):
        raise HttpRefusal(415, f"content-type {quote(content_type)!r} is not {CONTENT_TYPE}")
    if block.is_oversized:
        size = sum(len(name) + len(value) + 32 for name, value in headers)  # RFC 9113 §6.5.2
        raise StatusRefusal(
            Status.RESOURCE_EXHAUSTED, f"{len(headers)} headers of {size} bytes are too many or too large"
        )
    path = fields[":path"]
    if path not in known:
        raise StatusRefusal(Status.UNIMPLEMENTED, f"unknown method {quote(path)}")
    encoding = fields.get("grpc-encoding", IDENTITY)
    if not accepts(ACCEPTED, encoding):
        raise StatusRefusal(
            Status.UNIMPLEMENTED,
            f"grpc-encoding {quote(encoding)!r} is not supported",
        )
    try:
        timeout = decode_timeout(fields["grpc-timeout"]) if "grpc-timeout" in fields else None
    except ParseError as error:
        raise StatusRefusal(Status.INTERNAL, error.message) from error
    return RequestHead(
        path,
        timeout,
        fields.get("user-agent"),
        Metadata.decode(headers),
        encoding,
        accepts(fields.get("grpc-accept-encoding"), GZIP),
    )


def response_headers(metadata: MetadataLike | Metadata | None = None, *, packed: bool = False) -> Headers:
    """The head of a response; packed: its messages may be compressed. Raises MetadataError."""
    head = PACKED_RESPONSE_HEAD if packed else RESPONSE_HEAD
    return head if metadata is None else (*head, *_encode(metadata))


def trailer_headers(reply: StatusReply) -> Headers:
    """The trailers of a response; never raises: metadata or details that cannot be sent are left out."""
    if reply is OK_REPLY or reply == OK_REPLY:
        return OK_TRAILERS
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
    return tuple(headers)


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
    text = None if timeout is None else encode_timeout(timeout)
    return _request_head(path, scheme, authority, text, user_agent) + _encode(metadata)


@lru_cache(_HEADS)  # so that channels to one server have the same object, and what is known of it is known at once
def _request_head(path: str, scheme: str, authority: str, timeout: str | None, user_agent: str) -> Headers:
    return (
        (":method", "POST"),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        *((("grpc-timeout", timeout),) if timeout is not None else ()),
        ("content-type", CONTENT_TYPE),
        ("user-agent", user_agent),
        ("grpc-accept-encoding", ACCEPTED),
    )


class RequestHeads:
    """Heads of one channel's requests: calls of the same method with the same timeout share one, and its encoding."""

    __slots__ = ("_authority", "_known", "_recent", "_scheme", "_user_agent", "packed")

    def __init__(self, scheme: str, authority: str, user_agent: str, *, packed: bool = False) -> None:
        #: Requests' messages are compressed.
        self.packed = packed
        self._scheme = scheme
        self._authority = authority
        self._user_agent = user_agent
        self._known: dict[tuple[str, str | None], Headers] = {}
        self._recent: dict[str, tuple[float, float, Headers]] = {}  # by path: of times above and up to

    def request(self, path: str, timeout: float | None, metadata: Metadata) -> Headers:
        """As `request_headers`."""
        if timeout is None:
            head = self._head(path, None)
        elif (recent := self._recent.get(path)) is not None and recent[0] < timeout <= recent[1]:
            head = recent[2]
        else:
            text, low, high = round_timeout(timeout)
            head = self._head(path, text)
            self._recent[path] = low, high, head
        return head if metadata is NOTHING else head + metadata.encode()

    def _head(self, path: str, text: str | None) -> Headers:
        head = self._known.get((path, text))
        if head is None:
            head = _request_head(path, self._scheme, self._authority, text, self._user_agent)
            if self.packed:
                head += (("grpc-encoding", GZIP),)
            if len(self._known) >= _HEADS:
                self._known.clear()
                self._recent.clear()
            self._known[path, text] = head
        return head


def read_response(block: HeaderBlock) -> Metadata:
    """The initial metadata of a response's head that is not the whole response.

    Raises RpcError where it is no gRPC response: what a proxy or another kind of server says is in the message.
    """
    if not isinstance(block.memo, Metadata):
        block.memo = _read_response(block)
    return block.memo


def _read_response(block: HeaderBlock) -> Metadata:
    fields = dict(reversed(block.fields))
    status, content_type = fields.get(":status", ""), fields.get("content-type", "")
    if status != "200":
        code = int(status) if re.fullmatch("[0-9]{3}", status) else 0
        raise rpc_error(status_of_http(code), f"HTTP status {quote(status)} instead of a gRPC response")
    if not _is_grpc(content_type):
        raise rpc_error(Status.UNKNOWN, f"content-type {quote(content_type)!r} instead of {CONTENT_TYPE}")
    encoding = fields.get("grpc-encoding", IDENTITY)
    if not accepts(ACCEPTED, encoding):
        raise rpc_error(Status.INTERNAL, f"grpc-encoding {quote(encoding)!r}, which was not offered")
    _check_size(block)
    return Metadata.decode(block.fields)


def _check_size(block: HeaderBlock) -> None:
    if block.is_oversized:
        raise rpc_error(Status.RESOURCE_EXHAUSTED, "the response's headers are too many or too large")


def encoding_of(block: HeaderBlock) -> str:
    """The grpc-encoding of a head."""
    return dict(block.fields).get("grpc-encoding", IDENTITY)


def read_outcome(block: HeaderBlock | None) -> Outcome:
    """How the call ended: from trailers, or from a head that is the whole response (trailers-only). Never raises.

    None: the response ended without trailers.
    """
    if block is None:
        return Outcome(Status.UNKNOWN, "the response ended without grpc-status", (), Metadata())
    if not isinstance(block.memo, Outcome):
        block.memo = _read_outcome(block)
    return block.memo


def _read_outcome(block: HeaderBlock) -> Outcome:
    fields = dict(reversed(block.fields))
    metadata = Metadata.decode(block.fields)
    text = fields.get("grpc-status")
    if text is None:
        if ":status" in fields:
            try:
                read_response(block)
            except OrbitError as error:
                return Outcome(error.code, error.message, (), metadata)
        return Outcome(Status.UNKNOWN, "the response ended without grpc-status", (), metadata)
    try:
        _check_size(block)
    except OrbitError as error:
        return Outcome(error.code, error.message, (), metadata)
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
