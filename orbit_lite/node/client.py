"""Calling actors from a program that is no member of the cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from orbit_lite.actors import ActorRef, render_arguments
from orbit_lite.errors import ConfigurationError, Executed, OrbitError
from orbit_lite.model import AddressableReference, InvocationRequest, Json, Key
from orbit_lite.rpc import ConnectionPool, Endpoint, TransportConfig
from orbit_lite.services import InvocationStream

__all__ = ["OrbitClient"]

_log = logging.getLogger(__name__)


class OrbitClient:
    """Invokes actors through any node of a cluster, over one persistent stream per node.

    server_urls: nodes to enter by; calls go round them, and one that surely did not run is tried at the next node.
    namespace: the cluster's namespace. connection_timeout, request_timeout: seconds, for one dial and for one call.
    wrap_arguments: send `{"value", "type_name"}` objects, which an Orbit-RS actor expects and an orbit-lite node
    accepts (unambiguous for any argument); False sends bare values.

    Use as an async context manager, or call `close`.
    """

    def __init__(
        self,
        server_urls: Sequence[str] | str = ("http://localhost:50051",),
        *,
        namespace: str = "default",
        connection_timeout: float = 10.0,
        request_timeout: float = 30.0,
        wrap_arguments: bool = True,
        config: TransportConfig | None = None,
    ) -> None:
        urls = [server_urls] if isinstance(server_urls, str) else list(server_urls)
        if not urls:
            raise ConfigurationError("server_urls is empty: name at least one node")
        self.namespace = namespace
        self._wrap_arguments = wrap_arguments
        self._request_timeout = request_timeout
        transport = config or TransportConfig(connect_timeout=connection_timeout, request_timeout=request_timeout)
        self._pool = ConnectionPool(transport)
        self._lanes = [InvocationStream(self._pool.channel(Endpoint.parse(url).url)) for url in urls]
        self._next = 0

    def actor(self, addressable_type: str, key: Key | str | int | None = None) -> ActorRef:
        """A reference to an actor, see `Key.of` for plain keys."""
        return ActorRef(self, AddressableReference.of(addressable_type, key))

    async def invoke(
        self, reference: AddressableReference, method: str, args: Sequence[Json], *, timeout: float | None = None
    ) -> Json:
        """Call a method and wait for its result. Raises OrbitError with `executed` honest."""
        arguments = render_arguments(args, wrapped=self._wrap_arguments)
        request = InvocationRequest(reference, method, arguments)
        limit = self._request_timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + limit
        first, self._next = self._next, (self._next + 1) % len(self._lanes)
        for turn in range(len(self._lanes)):
            lane = self._lanes[(first + turn) % len(self._lanes)]
            try:
                remaining = max(0.0, deadline - asyncio.get_running_loop().time())
                return await lane.invoke(request, timeout=remaining)
            except OrbitError as error:
                is_last = turn == len(self._lanes) - 1
                if is_last or not error.retryable or error.executed is not Executed.NO:
                    raise
                _log.warning("invocation did not run, next node is tried: %s", error, extra={"code": error.orb_code})
        raise AssertionError("unreachable: the last node's answer or error was passed on")

    async def close(self) -> None:
        """End the streams and connections; calls in flight fail with ConnectionLost."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<OrbitClient {', '.join(map(repr, self._lanes))}>"
