"""What betterproto's service bases leave to chance when a streaming method ends early."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Protocol

from betterproto.grpc.grpclib_server import ServiceBase

__all__ = ["ClosingService", "ReplyStream"]


class ReplyStream(Protocol):
    """The part of a server's call object that answers: grpclib's shape, which `orbit_lite.rpc` has too."""

    async def send_message(self, message: Any, /) -> None:
        """Send one reply; waits while the client's flow control says so."""
        ...


class ClosingService(ServiceBase):
    """Base of services whose streaming methods own something: closes the method's generator whatever ends the call.

    betterproto's own loop abandons the generator when sending fails or is cancelled; its `finally` then runs when the
    garbage collector finds it, which on PyPy is any time later. Name this class before the generated one.
    """

    async def _call_rpc_handler_server_stream(
        self, handler: Callable[[Any], AsyncGenerator[Any, None]], stream: ReplyStream, request: Any
    ) -> None:
        async with aclosing(handler(request)) as replies:
            async for reply in replies:
                await stream.send_message(reply)
