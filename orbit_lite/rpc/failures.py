"""What a server tells its caller of an exception that left a handler."""

from __future__ import annotations

import logging
import secrets

from grpclib.exceptions import GRPCError  # raised by the services that betterproto generates, and by users' own

from orbit_lite.errors import OrbitError, Status
from orbit_lite.rpc.context import current_call
from orbit_lite.rpc.errors import RpcError, StatusReply

__all__ = ["status_of"]

log = logging.getLogger("orbit_lite.rpc")


def status_of(exception: BaseException) -> StatusReply:
    """How an exception that left a handler travels.

    What was raised for the peer travels as it is: an OrbitError with its code and text, a GRPCError likewise. Of any
    other exception the peer learns the class name and a reference id under which our log has the rest, since exception
    texts quote data: UNKNOWN, as in every gRPC library. A handler's deadline or cancellation is decided elsewhere.
    """
    if isinstance(exception, GRPCError):
        details = exception.details if isinstance(exception.details, tuple | list) else ()
        return StatusReply(Status(exception.status.value), exception.message or "", tuple(details))
    if isinstance(exception, OrbitError):
        text = exception.message if isinstance(exception, RpcError) else exception.description
        # What another server said about its call is not ours to say about this one.
        metadata = exception.metadata if exception.peer is None else ()
        return StatusReply(exception.code, text, exception.details, metadata)
    reference = secrets.token_hex(4)
    kind = type(exception).__name__
    call = current_call()
    extra = {} if call is None else {"method": call.method, "peer": str(call.peer)}
    log.error("handler failed: %s, reference %s", kind, reference, exc_info=exception, extra=extra)
    return StatusReply(Status.UNKNOWN, f"{kind} in the handler; reference {reference}")
