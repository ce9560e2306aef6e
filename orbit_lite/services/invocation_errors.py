"""How a failed invocation travels on an actor stream: as one line of text, in the words of Orbit-RS.

Orbit-RS has no kind for a node that is draining or overloaded; both travel as its "Cluster error: ", with a word behind
it by which they are known again, because their callers may try another node.
"""

from __future__ import annotations

from orbit_lite.errors import (
    ClusterError,
    DrainingError,
    Executed,
    InternalError,
    OrbitError,
    OverloadedError,
    SerializationError,
    from_description,
)
from orbit_lite.model import InvocationError
from orbit_lite.rpc import status_of

__all__ = ["read_error", "write_error"]

_MARKS: dict[type[OrbitError], str] = {DrainingError: "draining: ", OverloadedError: "overloaded: "}


def write_error(error: BaseException) -> InvocationError:
    """The reply for an exception that ended an invocation.

    An OrbitError was raised for the caller and travels as its text. Of any other exception only the class name does,
    with a reference id under which our log has the rest: exception texts quote data.
    """
    if not isinstance(error, OrbitError):
        error = InternalError(status_of(error).message)
    if isinstance(error, ClusterError) and error.executed is not Executed.NO:
        # As of a call that was cut off in the midst. That kind of text says that nothing ran, one of no kind does not.
        return InvocationError(error.message)
    for kind, mark in _MARKS.items():
        if isinstance(error, kind):
            return InvocationError(error.prefix + mark + error.message)
    return InvocationError(error.description)


def read_error(reply: InvocationError, *, peer: str, method: str) -> OrbitError:
    """The error that a reply stands for, with `executed` as far as the peer's words prove it."""
    error = from_description(reply.description, peer=peer, method=method)
    for kind, mark in _MARKS.items():
        if error.message.startswith(mark) and error.prefix == kind.prefix:
            return kind(error.message.removeprefix(mark), peer=peer, method=method)
    if isinstance(error, SerializationError):
        # Of the arguments, before the method ran, or of its result: the text does not say.
        error.executed = Executed.MAYBE
    return error
