"""The streams of a node to all others."""

from __future__ import annotations

import asyncio
from typing import Protocol

from orbit_lite.errors import ConnectionLost, Executed
from orbit_lite.model import InvocationRequest, Json, NodeId, NodeResolver
from orbit_lite.services.stream import InvocationStream, StreamChannel
from orbit_lite.services.stream_config import StreamConfig

__all__ = ["PeerStreams"]


class ChannelSource(Protocol):
    """Where channels to endpoints come from: a ConnectionPool."""

    def channel(self, endpoint: str) -> StreamChannel: ...


class PeerStreams:
    """One stream per node: the Invoker of a running node.

    node_id: who we are. resolver: where the others are, asked for each call, so that a node that has moved is found.
    """

    def __init__(
        self, node_id: NodeId, resolver: NodeResolver, pool: ChannelSource, config: StreamConfig | None = None
    ) -> None:
        self._node_id = node_id
        self._resolver = resolver
        self._pool = pool
        self._config = StreamConfig() if config is None else config
        self._streams: dict[NodeId, tuple[str, InvocationStream]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def invoke(
        self, node_id: NodeId, request: InvocationRequest, *, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        """Invoke at a node, see `InvocationStream.invoke`. Raises NodeNotFound when its address is not known."""
        endpoint = await self._resolver.resolve_node(node_id)
        return await self._stream_to(node_id, endpoint).invoke(request, attempts=attempts, timeout=timeout)

    def _stream_to(self, node_id: NodeId, endpoint: str) -> InvocationStream:
        if self._is_closed:
            raise ConnectionLost("the streams to other nodes were closed", executed=Executed.NO, peer=str(node_id))
        known = self._streams.get(node_id)
        if known is not None:
            if known[0] == endpoint:
                return known[1]
            self.forget(node_id)
        stream = InvocationStream(
            self._pool.channel(endpoint),
            peer=f"{node_id} at {endpoint}",
            source=self._node_id,
            target=node_id,
            config=self._config,
        )
        self._streams[node_id] = endpoint, stream
        return stream

    def forget(self, node_id: NodeId) -> None:
        """End the stream to a node that is gone; its calls fail with ConnectionLost."""
        known = self._streams.pop(node_id, None)
        if known is not None:
            ending = asyncio.get_running_loop().create_task(known[1].close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all streams; calls in flight fail with ConnectionLost."""
        self._is_closed = True
        for node_id in list(self._streams):
            self.forget(node_id)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<PeerStreams of {self._node_id}: {', '.join(repr(stream) for _, stream in self._streams.values())}>"
