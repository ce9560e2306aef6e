"""ConnectionPool: several connections to each of several endpoints, statistics, and calls with retry.

What to do is decided in `assignment` (which connection) and `retry` (whether again, and when); this file dials, waits,
closes and counts. A caller never waits for anything but a connection, and being cancelled there costs nobody else
anything: the dial goes on for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
import ssl as tls
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from orbit_lite.errors import ConnectError, OrbitError, OverloadedError
from orbit_lite.rpc.assignment import Assignment, Dial, Slot
from orbit_lite.rpc.channel import USER_AGENT, Channel
from orbit_lite.rpc.client import ClientCall
from orbit_lite.rpc.config import PoolConfig, RetryConfig, TransportConfig
from orbit_lite.rpc.deadline import Deadline, current_deadline, deadline_scope
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.metadata import Headers, Metadata, MetadataLike
from orbit_lite.rpc.method import Cardinality, Method
from orbit_lite.rpc.retry import RetryBudget, RetryPolicy
from orbit_lite.rpc.stream import Stream

__all__ = ["ConnectionPool", "EndpointStats", "PoolStats", "PooledChannel"]

log = logging.getLogger("orbit_lite.rpc")

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")

#: Weight of a new sample in the moving average of latencies, as in Orbit-RS.
EMA_WEIGHT = 0.1
#: Callers that may wait for a connection to one endpoint; a further one is refused.
MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """One endpoint. connections, open_streams: now; the others since the pool was made."""

    endpoint: str
    connections: int = 0
    open_streams: int = 0
    requests: int = 0
    errors: int = 0
    average_latency_ms: float = 0.0
    """Moving average over unary calls, milliseconds."""
    dials: int = 0
    dial_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """All endpoints: live connections, sums of requests and errors, mean of the endpoints' average latencies."""

    total_connections: int = 0
    total_requests: int = 0
    total_errors: int = 0
    average_latency_ms: float = 0.0
    endpoints: tuple[EndpointStats, ...] = ()


@dataclass(slots=True, eq=False)
class _Line:
    """One endpoint of the pool: its connections and its counters."""

    pool: ConnectionPool
    endpoint: Endpoint
    assignment: Assignment[Channel]
    budget: RetryBudget
    requests: int = 0
    errors: int = 0
    latency: float | None = None
    dials: int = 0
    dial_failures: int = 0
    waiting: int = 0
    dial: asyncio.Task[None] | None = None
    closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def acquire(self, avoid: Slot[Channel] | None = None) -> Slot[Channel]:
        """A connection for one call, to be given back by `release`. Raises ConnectError, OverloadedError."""
        while True:
            if self.pool.is_closed:
                raise ConnectError("the pool is closed", peer=self.endpoint.url, retryable=False)
            verdict = self.assignment.assign(time.monotonic(), avoid)
            self._close_unused()
            if isinstance(verdict, Slot):
                if self.assignment.wants_dial(time.monotonic()):
                    self._start_dial(0.0)
                return verdict
            if isinstance(verdict, Dial):
                self._start_dial(verdict.delay)
            await self._wait_for_dial()

    def release(self, slot: Slot[Channel]) -> None:
        self.assignment.ended(slot, time.monotonic())
        self._close_unused()

    def record(self, *, failed: bool, latency: float | None) -> None:
        """Count a call. latency: seconds; None for streams, whose length says nothing."""
        self.requests += 1
        self.errors += failed
        if latency is not None:
            old = self.latency
            self.latency = latency if old is None else EMA_WEIGHT * latency + (1 - EMA_WEIGHT) * old

    def _start_dial(self, delay: float) -> None:
        self.assignment.dialling()
        self.dial = asyncio.get_running_loop().create_task(
            self._dial(delay), name=f"pool dial {self.endpoint.url}", context=contextvars.Context()
        )

    async def _wait_for_dial(self) -> None:
        """Wait for the dial that is under way. Raises the waiter's own ConnectError when it fails."""
        dial = self.dial
        if dial is None:
            return
        if self.waiting >= MAX_WAITING:
            raise OverloadedError(f"{self.waiting} calls wait for a connection", peer=self.endpoint.url)
        self.waiting += 1
        try:
            await asyncio.wait([dial])  # cancelling this leaves the dial to the others
        finally:
            self.waiting -= 1
        if dial.cancelled():
            return
        failure = dial.exception()
        if isinstance(failure, ConnectError):
            raise ConnectError(failure.message, peer=self.endpoint.url) from failure
        if failure is not None:
            raise failure

    async def _dial(self, delay: float) -> None:
        channel: Channel | None = None
        try:
            if delay:
                await asyncio.sleep(delay)
            self.dials += 1
            log.debug("= dialling %s", self.endpoint.url, extra={"peer": self.endpoint.url})
            channel = self.pool.make_channel(self.endpoint)
            await channel.connect()
        except BaseException as error:
            if channel is not None:
                channel.close()
            if isinstance(error, ConnectError):
                self.dial_failures += 1
                self.assignment.dial_failed(time.monotonic(), random.random())
                log.warning("no connection to %s: %s", self.endpoint.url, error.message, extra={"code": error.orb_code})
            else:
                self.assignment.dial_given_up()
            raise
        self.assignment.opened(channel, time.monotonic(), random.random())
        log.info("connected to %s", self.endpoint.url, extra={"peer": self.endpoint.url})

    def _close_unused(self) -> None:
        while self.assignment.closing:
            self.closing.add(task := asyncio.create_task(_close(self.assignment.closing.pop())))
            task.add_done_callback(self.closing.discard)

    def retire(self, max_idle: float) -> None:
        self.assignment.retire(time.monotonic(), max_idle)
        self._close_unused()

    async def close(self) -> None:
        if self.dial is not None:
            self.dial.cancel()
            await asyncio.gather(self.dial, return_exceptions=True)
        self.assignment.closing += [slot.line for slot in self.assignment.slots]
        self.assignment.slots.clear()
        self._close_unused()
        await asyncio.gather(*self.closing, return_exceptions=True)

    @property
    def stats(self) -> EndpointStats:
        return EndpointStats(
            endpoint=self.endpoint.url,
            connections=self.assignment.open_connections,
            open_streams=self.assignment.open_calls,
            requests=self.requests,
            errors=self.errors,
            average_latency_ms=(self.latency or 0.0) * 1000,
            dials=self.dials,
            dial_failures=self.dial_failures,
        )


async def _close(channel: Channel) -> None:
    channel.close()
    await channel.wait_closed()


class ConnectionPool:
    """Connections to many endpoints. Use it as `async with ConnectionPool() as pool`, or `close` it in the end.

    ssl: for `https` and `grpcs` endpoints; None = the system's authorities. metadata: sent with every call.
    """

    def __init__(
        self,
        config: TransportConfig | None = None,
        *,
        retry: RetryConfig | None = None,
        pool: PoolConfig | None = None,
        ssl: tls.SSLContext | None = None,
        metadata: MetadataLike | None = None,
        channel_factory: Callable[[Endpoint], Channel] | None = None,
    ) -> None:
        self.config = config or TransportConfig()
        self.policy = RetryPolicy(self.config, retry or RetryConfig())
        self.is_closed = False
        self.metadata = Metadata(metadata)
        self._pool_config = pool or PoolConfig()
        self._ssl = ssl
        self._factory = channel_factory
        self._lines: dict[str, _Line] = {}
        self._cleaner: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ calls

    def channel(self, endpoint: str) -> PooledChannel:
        """A channel whose every call takes the endpoint's least loaded connection. Opens nothing. Raises ParseError."""
        return PooledChannel(self._line(endpoint))

    async def get_connection(self, endpoint: str) -> PooledChannel:
        """`channel(endpoint)` with a connection that is open now. Raises ParseError and ConnectError."""
        channel = self.channel(endpoint)
        await channel.connect()
        return channel

    async def call(
        self,
        endpoint: str,
        attempt: Callable[[PooledChannel], Awaitable[T]],
        *,
        method: str = "",
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> T:
        """Run `attempt` on the endpoint's channel, again where that is right, see `retry`.

        method: `/package.Service/Method`; those in RetryConfig.idempotent_methods are idempotent too. timeout: seconds
        for all attempts together; None = request_timeout. A deadline that is in force already is never exceeded. Raises
        the last attempt's OrbitError with `attempt` set.
        """
        line = self._line(endpoint)
        idempotent = idempotent or method in self.policy.config.idempotent_methods
        limit = self.config.request_timeout if timeout is None else timeout
        channel = PooledChannel(line)
        failures = 0
        with deadline_scope(Deadline.after(limit)):
            while True:
                try:
                    result = await attempt(channel)
                except OrbitError as error:
                    failures += 1
                    error.at(peer=line.endpoint.url, method=method or None, attempt=failures)
                    delay = self._delay(error, failures, line, idempotent=idempotent)
                    if delay is None:
                        raise
                    log.warning("%s; tried again in %.3f s", error, delay, extra={"code": error.orb_code})
                else:
                    line.budget.succeeded()
                    return result
                await asyncio.sleep(delay)
                channel = PooledChannel(line, avoid=channel.last)

    def _delay(self, error: OrbitError, failures: int, line: _Line, *, idempotent: bool) -> float | None:
        deadline = current_deadline()
        return self.policy.delay(
            error,
            failures=failures,
            remaining=None if deadline is None else deadline.remaining(),
            idempotent=idempotent,
            budget=line.budget,
            draw=random.random(),
        )

    def _line(self, endpoint: str) -> _Line:
        line = self._lines.get(endpoint)
        if line is None:
            parsed = Endpoint.parse(endpoint)
            line = self._lines.get(parsed.url)
            if line is None:
                assignment: Assignment[Channel] = Assignment(
                    self._pool_config, self.config.max_connections_per_endpoint
                )
                line = _Line(self, parsed, assignment, RetryBudget(self.policy.config))
                self._lines[parsed.url] = line
        return line

    def make_channel(self, endpoint: Endpoint) -> Channel:
        """A channel that is not connected yet."""
        if self._factory is not None:
            return self._factory(endpoint)
        return Channel.from_url(endpoint.url, config=self.config, ssl=self._ssl)

    # ------------------------------------------------------------ statistics and upkeep

    async def get_stats(self) -> PoolStats:
        """Where the pool stands."""
        return self.stats

    @property
    def stats(self) -> PoolStats:
        """Where the pool stands."""
        endpoints = tuple(line.stats for line in self._lines.values())
        latencies = [line.latency * 1000 for line in self._lines.values() if line.latency is not None]
        return PoolStats(
            total_connections=sum(endpoint.connections for endpoint in endpoints),
            total_requests=sum(endpoint.requests for endpoint in endpoints),
            total_errors=sum(endpoint.errors for endpoint in endpoints),
            average_latency_ms=sum(latencies) / len(latencies) if latencies else 0.0,
            endpoints=endpoints,
        )

    async def cleanup_idle_connections(self, max_idle: float | None = None) -> None:
        """Close what has been idle for `max_idle` seconds or is too old; calls in flight finish first."""
        for line in self._lines.values():
            line.retire(self._pool_config.max_idle if max_idle is None else max_idle)

    def start_background_tasks(self) -> None:
        """Clean up every `cleanup_interval` seconds until `close`. Again has no effect."""
        if self._cleaner is None and not self.is_closed:
            self._cleaner = asyncio.create_task(self._clean(), name="pool clean-up")

    async def _clean(self) -> None:
        while True:
            await asyncio.sleep(self._pool_config.cleanup_interval)
            await self.cleanup_idle_connections()

    async def close(self) -> None:
        """Close every connection; calls in flight and those that wait fail with a typed error. Again: no effect."""
        self.is_closed = True
        if self._cleaner is not None:
            self._cleaner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._cleaner, return_exceptions=True)
        await asyncio.gather(*(line.close() for line in self._lines.values()))

    async def __aenter__(self) -> Self:
        self.start_background_tasks()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        stats = self.stats
        state = "closed, " if self.is_closed else ""
        return (
            f"<ConnectionPool {state}{len(stats.endpoints)} endpoints, {stats.total_connections} connections, "
            f"{stats.total_requests} requests, {stats.total_errors} errors>"
        )


class PooledChannel:
    """All connections of a pool to one endpoint as one channel, in grpclib's shape: betterproto's stubs run on it."""

    __slots__ = ("_avoid", "_line", "last")

    def __init__(self, line: _Line, *, avoid: Slot[Channel] | None = None) -> None:
        self._line = line
        self._avoid = avoid
        #: The connection of the last call.
        self.last: Slot[Channel] | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where the calls go."""
        return self._line.endpoint

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return self._line.assignment.open_connections > 0

    @property
    def open_streams(self) -> int:
        """Calls on all connections of the endpoint."""
        return self._line.assignment.open_calls

    async def connect(self) -> None:
        """Make sure that a connection is open. Raises ConnectError."""
        self._line.release(await self._line.acquire())

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
        method = Method.of(name, cardinality, request_type, reply_type)
        pairs = metadata if isinstance(metadata, Metadata) else Metadata(metadata)
        common = self._line.pool.metadata
        if common:
            pairs = Metadata([*common.items(), *pairs.items()])
        pairs.encode()
        if timeout is None and deadline is None and method.is_unary:
            timeout = self._line.pool.config.request_timeout
        effective = Deadline.min(
            None if timeout is None else Deadline.after(timeout),
            None if deadline is None else Deadline.of(deadline),
            current_deadline(),
        )
        return _PooledCall(_PooledCaller(self), method, pairs, effective)

    def __repr__(self) -> str:
        stats = self._line.stats
        return f"<PooledChannel {stats.endpoint}, {stats.connections} connections, {stats.open_streams} calls>"


class _PooledCaller:
    """What one call knows of its pool; the channel of `ClientCall`."""

    def __init__(self, channel: PooledChannel) -> None:
        self.channel = channel
        self.line = channel._line
        self.slot: Slot[Channel] | None = None

    @property
    def peer_name(self) -> str:
        return self.line.endpoint.url

    @property
    def scheme(self) -> str:
        return "https" if self.line.endpoint.tls else "http"

    @property
    def authority(self) -> str:
        return self.line.endpoint.authority

    @property
    def user_agent(self) -> str:
        return USER_AGENT

    @property
    def max_message_size(self) -> int:
        return self.line.pool.config.max_message_size

    async def open_stream(self, headers: Callable[[], Headers], *, end: bool) -> Stream:
        self.slot = self.channel.last = await self.line.acquire(self.channel._avoid)
        return await self.slot.line.open_stream(headers, end=end)

    def call_started(self) -> None:
        """Nothing is held before the call is sent."""

    def call_ended(self) -> None:
        if self.slot is not None:
            self.line.release(self.slot)
            self.slot = None


class _PooledCall(ClientCall[Q, R]):
    """A call that counts in its endpoint's statistics."""

    def __init__(self, caller: _PooledCaller, method: Method, metadata: Metadata, deadline: Deadline | None) -> None:
        super().__init__(caller, method, metadata, deadline)
        self._line = caller.line
        self._started = time.monotonic()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failed = error is not None and not isinstance(error, GeneratorExit)
        try:
            await super().__aexit__(kind, error, traceback)
        except BaseException:
            failed = True
            raise
        finally:
            latency = time.monotonic() - self._started if self.method.is_unary else None
            self._line.record(failed=failed or self._failure is not None, latency=latency)
