"""Code around calls, of one shape at both ends.

An interceptor is a function that takes a call and gives an asynchronous context manager, most simply made by
`contextlib.asynccontextmanager`. It is entered before the call is sent, or before its handler runs, and left when the
call is over; what it raises before that is the call's outcome.

    @asynccontextmanager
    async def timed(call: InterceptedCall) -> AsyncIterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            print(call.method.path, time.monotonic() - began)

    Server(handlers, interceptors=[timed])
    Channel(host, port, interceptors=[timed])

The first of several is the outermost. On a client `call.metadata` may be replaced until the call is sent; on a server
an interceptor that raises an RpcError refuses the call, and its handler does not run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from orbit_lite.rpc.deadline import Deadline
from orbit_lite.rpc.metadata import Metadata
from orbit_lite.rpc.method import Method

__all__ = ["InterceptedCall", "Interceptor"]


class InterceptedCall(Protocol):
    """What an interceptor may know of a call, at either end: a ClientCall or a ServerCall."""

    @property
    def method(self) -> Method: ...
    @property
    def metadata(self) -> Metadata: ...
    @property
    def deadline(self) -> Deadline | None: ...


Interceptor: TypeAlias = Callable[[InterceptedCall], AbstractAsyncContextManager[None]]
