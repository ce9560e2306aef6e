"""All connections of a pool to one endpoint as one channel, in grpclib's shape: betterproto's stubs run on it."""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

from orbit_lite.errors import Executed, OrbitError
from orbit_lite.rpc.assignment import Slot
from orbit_lite.rpc.client import ClientCall
from orbit_lite.rpc.deadline import Deadline, current_deadline
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.errors import DeadlineExceeded
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.metadata import Headers, Metadata, MetadataLike, as_metadata
from orbit_lite.rpc.method import Cardinality, Method, method_of
from orbit_lite.rpc.pool_endpoint import PoolableChannel, PoolEndpoint
from orbit_lite.rpc.stream import Stream
from orbit_lite.rpc.timers import Timers
from orbit_lite.rpc.unary import reply_of

__all__ = ["PooledChannel"]

Q = TypeVar("Q")
R = TypeVar("R")


class PooledChannel:
    """Each call takes the least loaded connection, and counts in the endpoint's statistics. Nothing to close.

    metadata: sent with every call. avoid: a connection on which a call has failed, taken only if there is no other.
    """

    __slots__ = ("_avoid", "_endpoint", "_metadata", "last")

    def __init__(
        self, endpoint: PoolEndpoint, metadata: Metadata, *, avoid: Slot[PoolableChannel] | None = None
    ) -> None:
        self._endpoint = endpoint
        self._metadata = metadata
        self._avoid = avoid
        self.last: Slot[PoolableChannel] | None = None
        """The connection of the last call."""

    @property
    def endpoint(self) -> Endpoint:
        """Where the calls go."""
        return self._endpoint.endpoint

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return self._endpoint.assignment.open_connections > 0

    @property
    def open_streams(self) -> int:
        """Calls on all connections of the endpoint."""
        return self._endpoint.assignment.open_calls

    async def connect(self) -> None:
        """Make sure that a connection is open. Raises ConnectError, and DeadlineExceeded by the deadline in force."""
        deadline = current_deadline()
        try:
            async with asyncio.timeout(None if deadline is None else deadline.remaining()):
                self._endpoint.release(await self._endpoint.acquire(deadline=deadline))
        except builtins.TimeoutError as error:
            if isinstance(error, OrbitError):
                raise
            problem = "the deadline passed before there was a connection"
            raise DeadlineExceeded(problem, executed=Executed.NO, peer=self.endpoint.url) from error

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Q],
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> ClientCall[Q, R]:
        """A call, see `Channel.request`. It takes its connection when it is sent, and gives it back when it is left."""
        method = method_of(name, cardinality, request_type, reply_type)
        pairs = as_metadata(metadata)
        if self._metadata:
            pairs = Metadata([*self._metadata.items(), *pairs.items()])
        if timeout is None and deadline is None and method.is_unary:
            timeout = self._endpoint.config.request_timeout
        effective = Deadline.for_call(timeout, deadline)
        return _PooledCall(_PooledCaller(self, self._endpoint, effective), method, pairs, effective)

    async def unary_unary(
        self,
        name: str,
        request: object,
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: object | None = None,
        metadata: MetadataLike | Metadata | None = None,
    ) -> R:
        """The reply of a unary call, see `Channel.unary_unary`."""
        method = self._endpoint.unary.of(name, type(request), reply_type)
        pairs = as_metadata(metadata)
        if self._metadata:
            pairs = Metadata([*self._metadata.items(), *pairs.items()]) if pairs else self._metadata
        if deadline is not None:
            left = Deadline.of(deadline).remaining()
            timeout = left if timeout is None else min(timeout, left)
        elif timeout is None:
            timeout = self._endpoint.config.request_timeout
        started = time.monotonic()
        caller = _PooledCaller(self, self._endpoint, Deadline(started + timeout))
        try:
            reply = await reply_of(caller, method, request, timeout, pairs)
        except Exception:
            self._endpoint.record(failed=True, latency=None)
            raise
        except BaseException:  # its caller went away
            self._endpoint.record(failed=False, latency=None)
            raise
        self._endpoint.record(failed=False, latency=time.monotonic() - started)
        return reply  # type: ignore[no-any-return]  # an R

    def open_at_once(self, headers: Headers, data: bytes) -> tuple[Slot[PoolableChannel], Stream] | None:
        """For calls: as `open_stream`, with a whole request, if nothing makes it wait."""
        slot = self._endpoint.acquire_at_once(self._avoid)
        if slot is None:
            return None
        stream = slot.channel.open_at_once(headers, data)
        if stream is None:
            self._endpoint.release(slot)
            return None
        self.last = slot
        return slot, stream

    async def open_stream(
        self,
        headers: Callable[[], Headers],
        *,
        end: bool,
        deadline: Deadline | None,
        avoid: Slot[PoolableChannel] | None = None,
    ) -> tuple[Slot[PoolableChannel], Stream]:
        """For calls: a connection, to be given back, and a stream on it. Raises ConnectError, OverloadedError."""
        slot = self.last = await self._endpoint.acquire(avoid or self._avoid, deadline)
        try:
            return slot, await slot.channel.open_stream(headers, end=end)
        except BaseException:
            self._endpoint.release(slot)
            raise

    def __repr__(self) -> str:
        stats = self._endpoint.stats
        return f"<PooledChannel {stats.endpoint}, {stats.connections} connections, {stats.open_streams} calls>"


class _PooledCaller:
    """What one call knows of its pool; the channel of `ClientCall`."""

    def __init__(self, channel: PooledChannel, endpoint: PoolEndpoint, deadline: Deadline | None) -> None:
        self.pool_endpoint = endpoint
        self._channel = channel
        self._deadline = deadline
        self._slot: Slot[PoolableChannel] | None = None

    @property
    def peer_name(self) -> str:
        return self._channel.endpoint.url

    @property
    def max_message_size(self) -> int:
        return self.pool_endpoint.config.max_message_size

    @property
    def packed(self) -> bool:
        return self.pool_endpoint.heads.packed

    @property
    def wait_for_ready(self) -> bool:
        return False

    @property
    def interceptors(self) -> Sequence[Interceptor]:
        return self.pool_endpoint.interceptors

    def timers(self) -> Timers:
        return self.pool_endpoint.timers()

    def request_headers(self, path: str, timeout: float | None, metadata: Metadata) -> Headers:
        return self.pool_endpoint.heads.request(path, timeout, metadata)

    def open_at_once(self, headers: Headers, data: bytes) -> Stream | None:
        opened = self._channel.open_at_once(headers, data)
        if opened is None:
            return None
        self._slot, stream = opened
        return stream

    async def open_stream(self, headers: Callable[[], Headers], *, end: bool) -> Stream:
        failed, self._slot = self._slot, None
        if failed is not None:  # the call is sent again
            self.pool_endpoint.release(failed)
        self._slot, stream = await self._channel.open_stream(headers, end=end, deadline=self._deadline, avoid=failed)
        return stream

    def call_started(self) -> None:
        """Nothing is held before the call is sent."""

    def call_ended(self) -> None:
        if self._slot is not None:
            self.pool_endpoint.release(self._slot)
            self._slot = None


class _PooledCall(ClientCall[Q, R]):
    """A call that counts in its endpoint's statistics: as an error when it failed, not when its caller went away."""

    def __init__(self, caller: _PooledCaller, method: Method, metadata: Metadata, deadline: Deadline | None) -> None:
        super().__init__(caller, method, metadata, deadline)
        self._pool_endpoint = caller.pool_endpoint
        self._started = time.monotonic()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failed = isinstance(error, Exception) or self._failure is not None
        is_over = error is None
        try:
            await super().__aexit__(kind, error, traceback)
        except BaseException as late:
            failed, is_over = failed or isinstance(late, Exception), False
            raise
        finally:
            latency = time.monotonic() - self._started if self.method.is_unary and is_over else None
            self._pool_endpoint.record(failed=failed or self._failure is not None, latency=latency)
