"""The base of generated service stubs: betterproto's, which lets a channel make a whole unary call in one step.

A channel that has `unary_unary(path, request, reply_type, *, timeout, deadline, metadata)` is asked for the reply
directly, and a call that has `send_all(messages)` iterates a request stream itself; any other, such as grpclib's, is
used as betterproto does it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, cast

import betterproto

__all__ = ["ServiceStub"]


class ServiceStub(betterproto.ServiceStub):
    """Stubs made with it behave as betterproto's on every channel."""

    def __init__(
        self, channel: Any, *, timeout: float | None = None, deadline: Any = None, metadata: Any = None
    ) -> None:
        super().__init__(channel, timeout=timeout, deadline=deadline, metadata=metadata)
        self._whole = getattr(channel, "unary_unary", None)

    def _unary_unary(
        self,
        route: str,
        request: Any,
        response_type: Any,
        *,
        timeout: float | None = None,
        deadline: Any = None,
        metadata: Any = None,
    ) -> Coroutine[Any, Any, Any]:
        whole = self._whole
        if whole is None:
            return super()._unary_unary(
                route, request, response_type, timeout=timeout, deadline=deadline, metadata=metadata
            )
        reply: Coroutine[Any, Any, Any] = whole(
            route,
            request,
            response_type,
            timeout=self.timeout if timeout is None else timeout,
            deadline=self.deadline if deadline is None else deadline,
            metadata=self.metadata if metadata is None else metadata,
        )
        return reply

    @staticmethod
    async def _send_messages(stream: Any, messages: Any) -> None:
        send_all = getattr(stream, "send_all", None)
        if send_all is None:
            await betterproto.ServiceStub._send_messages(stream, messages)  # what is overridden here
        else:
            await send_all(messages)

    # Async generators in truth: to be closed by whoever stops before their end, which ends the call.

    def _unary_stream(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        return cast(AsyncGenerator[Any, None], super()._unary_stream(*args, **options))

    def _stream_stream(self, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        return cast(AsyncGenerator[Any, None], super()._stream_stream(*args, **options))
