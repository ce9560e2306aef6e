"""The one family of errors, and the vocabulary that they speak.

Every failure of this library is an `OrbitError`. The kinds are those of Orbit-RS (network, timeout, cluster,
configuration, internal …), so that a program can be written against kinds and not against transports. Each error knows

- `code`: the gRPC status under which it travels (`Status`),
- `orb_code`: a stable identifier for logs, documentation and alerts,
- `executed`: whether the peer may have run the call (`Executed`), on which every decision to retry rests,
- `retryable`: whether the same call may succeed when it is tried again,
- `peer`, `method`, `attempt`: where it happened, as far as that is known,
- and its cause, by ordinary exception chaining.

This module imports nothing of the library; the tables that translate HTTP and HTTP/2 codes live in `orbit_lite.rpc`.
"""

from __future__ import annotations

import builtins
import enum
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

__all__ = [
    "AddressableNotFound",
    "AuthenticationError",
    "ClusterError",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLost",
    "ConversionError",
    "DrainingError",
    "Executed",
    "InternalError",
    "InvocationFailed",
    "IoError",
    "LeaseExpired",
    "NetworkError",
    "NodeNotFound",
    "OrbitError",
    "OverloadedError",
    "ParseError",
    "SerializationError",
    "Status",
    "StorageError",
    "TimeoutError",
    "from_description",
    "quote",
]

#: `platform` of error replies that this library writes; Orbit-RS writes "orbit-server".
PLATFORM = "orbit-lite"

#: Peer text longer than this is cut in messages and logs.
QUOTE_LIMIT = 200

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def quote(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Make text that a peer chose fit for one line of a log or an error message.

    Control characters, line separators and bidirectional controls become escapes, so that one event stays one line and
    shows what it is; at most `limit` characters are kept.
    """
    shown = _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text[: limit + 1])
    return shown if len(text) <= limit else shown[:limit] + "…"


class Status(enum.IntEnum):
    """gRPC status codes (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Executed(enum.Enum):
    """Whether the peer may have executed a call that failed.

    Retrying is right after NO, and after MAYBE only where a second execution does no harm.
    """

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class OrbitError(Exception):
    """Root of all errors of this library.

    message: one sentence, in order of events, without trailing context.
    The keyword arguments override the class's defaults; `details` are decoded google.rpc.Status details, `metadata`
    the trailing metadata of the peer as (name, value) pairs.
    """

    prefix: ClassVar[str] = ""
    """What the Orbit-RS text form puts before the message."""

    code: Status = Status.UNKNOWN
    orb_code: str = "ORB-1000"
    executed: Executed = Executed.MAYBE
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: Status | None = None,
        executed: Executed | None = None,
        retryable: bool | None = None,
        peer: str | None = None,
        method: str | None = None,
        attempt: int | None = None,
        details: Sequence[object] = (),
        metadata: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.peer = peer
        self.method = method
        self.attempt = attempt
        self.details = tuple(details)
        self.metadata = tuple(metadata.items()) if isinstance(metadata, Mapping) else tuple(metadata)
        if code is not None:
            self.code = code
        if executed is not None:
            self.executed = executed
        if retryable is not None:
            self.retryable = retryable

    def at(self, *, peer: str | None = None, method: str | None = None, attempt: int | None = None) -> OrbitError:
        """Fill in where the error happened, where that is not known yet; returns the error itself."""
        self.peer = self.peer or peer
        self.method = self.method or method
        self.attempt = self.attempt if attempt is None else attempt
        return self

    @property
    def description(self) -> str:
        """Text form on the wire: Orbit-RS's Display, the kind's prefix and the message."""
        return self.prefix + self.message

    def __str__(self) -> str:
        places = [
            f"{name} {value}"
            for name, value in (("peer", self.peer), ("method", self.method), ("attempt", self.attempt))
            if value is not None
        ]
        return f"{self.message} ({', '.join(places)})" if places else self.message


class NetworkError(OrbitError):
    """The connection to a peer failed; without further knowledge the call may have been executed."""

    prefix = "Network error: "
    code = Status.UNAVAILABLE
    orb_code = "ORB-1100"
    retryable = True


class ConnectError(NetworkError):
    """No connection could be made: nothing was sent."""

    orb_code = "ORB-1101"
    executed = Executed.NO


class ConnectionLost(NetworkError):
    """An open connection or stream ended before the answer came."""

    orb_code = "ORB-1102"


class TimeoutError(OrbitError, builtins.TimeoutError):
    """A time limit passed first."""

    prefix = "Timeout: "
    code = Status.DEADLINE_EXCEEDED
    orb_code = "ORB-1200"
    retryable = True


class ClusterError(OrbitError):
    """The cluster as it is cannot serve this: no node for it, or a peer that is not one of us."""

    prefix = "Cluster error: "
    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-1300"
    executed = Executed.NO


class NodeNotFound(ClusterError):
    """No address is known for the node."""

    prefix = "Node not found: "
    code = Status.NOT_FOUND
    orb_code = "ORB-1301"


class AddressableNotFound(ClusterError):
    """No node hosts the addressable; the message is its text form `type:key`."""

    prefix = "Addressable not found: "
    code = Status.NOT_FOUND
    orb_code = "ORB-1302"


class LeaseExpired(ClusterError):
    """A lease ran out before it was renewed."""

    prefix = "Lease expired: "
    orb_code = "ORB-1303"


class DrainingError(ClusterError):
    """The node is shutting down and takes no new work; another node may."""

    code = Status.UNAVAILABLE
    orb_code = "ORB-1304"
    retryable = True


class OverloadedError(ClusterError):
    """A bounded queue is full; the work was refused before it started."""

    code = Status.RESOURCE_EXHAUSTED
    orb_code = "ORB-1305"
    retryable = True


class InvocationFailed(OrbitError):
    """An actor's method ran and raised.

    An actor raises `InvocationFailed.because(reason)` itself to tell its caller the reason; of any other exception only
    the class name travels.
    """

    prefix = "Invocation failed: "
    code = Status.ABORTED
    orb_code = "ORB-1400"
    executed = Executed.YES

    def __init__(self, message: str, *, reason: str | None = None, **context: object) -> None:
        super().__init__(message, **context)  # type: ignore[arg-type]  # the same keywords as OrbitError's
        self.reason = message if reason is None else reason

    @classmethod
    def because(cls, reason: str) -> InvocationFailed:
        """The form that an actor raises: it need not know its own name."""
        return cls(reason)

    @classmethod
    def of(cls, method: str, addressable_type: str, reason: str) -> InvocationFailed:
        """The form that travels: `{method} on {type} - {reason}`."""
        return cls(f"{method} on {addressable_type} - {reason}", reason=reason)


class SerializationError(OrbitError):
    """Bytes or JSON cannot be read, or a value cannot be written."""

    prefix = "Serialization error: "
    code = Status.INVALID_ARGUMENT
    orb_code = "ORB-1500"
    executed = Executed.NO


class ConversionError(SerializationError):
    """A message decoded well but says something missing, contradictory or out of range.

    field: dotted path of the wire field at fault, such as `vote.vote.vote_type`; empty for the value as a whole.
    """

    orb_code = "ORB-1501"

    def __init__(self, field: str, problem: str, **context: object) -> None:
        super().__init__(f"{field}: {problem}" if field else problem, **context)  # type: ignore[arg-type]  # the same keywords
        self.field = field
        self.problem = problem

    def inside(self, parent: str) -> ConversionError:
        """The same error seen from the message that holds the field's message under the name `parent`."""
        error = type(self)(f"{parent}.{self.field}" if self.field else parent, self.problem)
        error.__cause__ = self.__cause__
        return error


class ParseError(OrbitError):
    """Text that a person or a file gave is malformed: a URL, a node id, a row."""

    prefix = "Parse error: "
    code = Status.INVALID_ARGUMENT
    orb_code = "ORB-1502"
    executed = Executed.NO


class ConfigurationError(OrbitError):
    """A setting is wrong; the message names it, its value and what is allowed."""

    prefix = "Configuration error: "
    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-1600"
    executed = Executed.NO


class AuthenticationError(OrbitError):
    """The peer did not prove who it is, or may not do this."""

    prefix = "Authentication error: "
    code = Status.UNAUTHENTICATED
    orb_code = "ORB-1700"
    executed = Executed.NO


class IoError(OrbitError):
    """A file or device operation failed."""

    prefix = "IO error: "
    code = Status.INTERNAL
    orb_code = "ORB-1800"


class StorageError(OrbitError):
    """Durable storage is corrupt, full or gone."""

    prefix = "Storage error: "
    code = Status.DATA_LOSS
    orb_code = "ORB-1801"


class InternalError(OrbitError):
    """A rule that this library itself keeps was broken: a defect to report."""

    prefix = "Internal error: "
    code = Status.INTERNAL
    orb_code = "ORB-1900"


_KINDS: tuple[type[OrbitError], ...] = (
    NetworkError,
    TimeoutError,
    NodeNotFound,
    AddressableNotFound,
    LeaseExpired,
    InvocationFailed,
    SerializationError,
    ParseError,
    ConfigurationError,
    AuthenticationError,
    IoError,
    StorageError,
    InternalError,
    ClusterError,
)


def from_description(text: str, *, peer: str | None = None, method: str | None = None) -> OrbitError:
    """Read an error back from its text form, the only form in which Orbit-RS sends one inside a stream.

    Text without a known prefix becomes a plain `OrbitError`. The error was produced by the peer while it handled the
    call, so `executed` stays what the kind says: an `InvocationFailed` ran, an `AddressableNotFound` did not.
    """
    shown = quote(text, 4 * QUOTE_LIMIT)
    for kind in _KINDS:
        if shown.startswith(kind.prefix):
            message = shown[len(kind.prefix) :]
            if kind is InvocationFailed:
                reason = message.partition(" - ")[2] or message
                return InvocationFailed(message, reason=reason, peer=peer, method=method)
            return kind(message, peer=peer, method=method)
    return OrbitError(shown, peer=peer, method=method)
