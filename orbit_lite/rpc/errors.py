"""Errors that carry a gRPC status.

`RpcError` has one subclass per status; a status that belongs to one of the library's families derives from it too, so
that `except NetworkError` means what it says whichever way the failure was noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orbit_lite.errors import AuthenticationError, Executed, NetworkError, OrbitError, Status, TimeoutError, quote
from orbit_lite.rpc.metadata import Metadata, MetadataLike, Value

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "RpcError",
    "StatusReply",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnknownError",
    "rpc_error",
]

#: Trailing metadata by which our server says "no" when it refused a call before any handler saw it.
EXECUTED_METADATA = "orbit-executed"


class RpcError(OrbitError):
    """A call ended with a status other than OK: the peer said so, or the gRPC layer on this side did.

    message: the peer's text as it came; `str()` makes it fit for one line. Of the statuses that no gRPC library
    produces by itself (grpc/doc/statuscodes.md) `executed` is YES: the peer's handler spoke.
    """

    orb_code = "ORB-2002"
    executed = Executed.MAYBE
    retryable = False

    def __str__(self) -> str:
        places = [
            f"{name} {value}"
            for name, value in (("peer", self.peer), ("method", self.method), ("attempt", self.attempt))
            if value is not None
        ]
        text = f"{self.code.name}: {quote(self.message, 800)}" if self.message else self.code.name
        return f"{text} ({', '.join(places)})" if places else text


class Cancelled(RpcError):
    """The call was cancelled, by either side."""

    code = Status.CANCELLED
    orb_code = "ORB-2001"


class UnknownError(RpcError):
    """The peer's handler failed in a way that it did not tell."""

    code = Status.UNKNOWN


class InvalidArgument(RpcError):
    """The request is wrong whatever the state of the system."""

    code = Status.INVALID_ARGUMENT
    orb_code = "ORB-2003"
    executed = Executed.YES


class DeadlineExceeded(RpcError, TimeoutError):
    """The call's deadline passed before its end."""

    code = Status.DEADLINE_EXCEEDED
    orb_code = "ORB-2004"
    retryable = True


class NotFound(RpcError):
    """What was asked for does not exist."""

    code = Status.NOT_FOUND
    orb_code = "ORB-2005"
    executed = Executed.YES


class AlreadyExists(RpcError):
    """What was to be made exists."""

    code = Status.ALREADY_EXISTS
    orb_code = "ORB-2006"
    executed = Executed.YES


class PermissionDenied(RpcError, AuthenticationError):
    """The caller is known, and may not do this."""

    code = Status.PERMISSION_DENIED
    orb_code = "ORB-2007"
    executed = Executed.NO


class ResourceExhausted(RpcError):
    """A limit was reached: a message's size, a quota, a queue."""

    code = Status.RESOURCE_EXHAUSTED
    orb_code = "ORB-2008"
    retryable = True


class FailedPrecondition(RpcError):
    """The system is not in the state that the call needs."""

    code = Status.FAILED_PRECONDITION
    orb_code = "ORB-2009"
    executed = Executed.YES


class Aborted(RpcError):
    """The call lost against another one."""

    code = Status.ABORTED
    orb_code = "ORB-2010"
    executed = Executed.YES


class OutOfRange(RpcError):
    """Past the end of something; from Orbit-RS also: the request message is larger than the peer's limit."""

    code = Status.OUT_OF_RANGE
    orb_code = "ORB-2011"


class Unimplemented(RpcError):
    """The peer has no such service or method."""

    code = Status.UNIMPLEMENTED
    orb_code = "ORB-2012"
    executed = Executed.NO


class Internal(RpcError):
    """A rule of the protocol was broken, or an invariant of the peer."""

    code = Status.INTERNAL
    orb_code = "ORB-2013"


class Unavailable(RpcError, NetworkError):
    """The peer cannot serve this now; another one, or the same one later, may."""

    code = Status.UNAVAILABLE
    orb_code = "ORB-2014"
    retryable = True


class DataLoss(RpcError):
    """Data is lost or corrupt beyond recovery."""

    code = Status.DATA_LOSS
    orb_code = "ORB-2015"
    executed = Executed.YES


class Unauthenticated(RpcError, AuthenticationError):
    """The caller did not say who it is, or not convincingly."""

    code = Status.UNAUTHENTICATED
    orb_code = "ORB-2016"
    executed = Executed.NO


_CLASSES: dict[Status, type[RpcError]] = {
    kind.code: kind
    for kind in (
        Cancelled,
        UnknownError,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    )
}


def rpc_error(
    status: Status,
    message: str,
    *,
    details: Sequence[object] = (),
    metadata: MetadataLike | Metadata = (),
    executed: Executed | None = None,
    retryable: bool | None = None,
    peer: str | None = None,
    method: str | None = None,
    attempt: int | None = None,
) -> RpcError:
    """The error of a call that ended with `status`, which must not be OK.

    metadata: the trailing metadata; a peer that says there that it did not execute the call is believed.
    """
    pairs = metadata if isinstance(metadata, Metadata) else Metadata(metadata)
    if executed is None and pairs.get(EXECUTED_METADATA) == "no":
        executed = Executed.NO
    return _CLASSES[status](
        message,
        details=details,
        metadata=pairs.items(),
        executed=executed,
        retryable=retryable,
        peer=peer,
        method=method,
        attempt=attempt,
    )


class StatusReply(NamedTuple):
    """What a server sends for an exception: grpc-status, grpc-message, status details, trailing metadata."""

    status: Status
    message: str
    details: tuple[object, ...] = ()
    metadata: tuple[tuple[str, Value], ...] = ()
