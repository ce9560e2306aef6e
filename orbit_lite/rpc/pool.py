"""ConnectionPool: several connections to each of several endpoints, statistics, and calls with retry.

What to do is decided in `assignment` (which connection) and `retry` (whether again, and when), and carried out by
`pool_endpoint`, one endpoint at a time. This file knows all endpoints, and the order of the attempts of one call.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl as tls
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from orbit_lite.errors import ConnectError, OrbitError
from orbit_lite.rpc.channel import Channel
from orbit_lite.rpc.config import PoolConfig, RetryConfig, TransportConfig
from orbit_lite.rpc.deadline import Deadline, deadline_scope
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.metadata import Metadata, MetadataLike
from orbit_lite.rpc.pool_endpoint import ChannelFactory, EndpointStats, PoolEndpoint
from orbit_lite.rpc.pooled_channel import PooledChannel
from orbit_lite.rpc.retry import RetryBudget, RetryPolicy

__all__ = ["ConnectionPool", "EndpointStats", "PoolStats", "PooledChannel"]

log = logging.getLogger("orbit_lite.rpc")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """All endpoints: live connections, sums of requests and errors, mean of the endpoints' average latencies."""

    total_connections: int = 0
    total_requests: int = 0
    total_errors: int = 0
    average_latency_ms: float = 0.0
    endpoints: tuple[EndpointStats, ...] = ()


class ConnectionPool:
    """Connections to many endpoints. Use it as `async with ConnectionPool() as pool`, or `close` it in the end.

    ssl: for `https` and `grpcs` endpoints; None = the system's authorities. metadata: sent with every call.
    channel_factory: what makes the connections, by default a Channel each.
    """

    def __init__(
        self,
        config: TransportConfig | None = None,
        *,
        retry: RetryConfig | None = None,
        pool: PoolConfig | None = None,
        ssl: tls.SSLContext | None = None,
        metadata: MetadataLike | None = None,
        channel_factory: ChannelFactory | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.config = config or TransportConfig()
        self.policy = RetryPolicy(self.config, retry or RetryConfig())
        self.is_closed = False
        self.metadata = Metadata(metadata)
        self._pool_config = pool or PoolConfig()
        self._ssl = ssl
        self._factory = channel_factory or self._make_channel
        self._interceptors = tuple(interceptors)
        self._endpoints: dict[str, PoolEndpoint] = {}
        self._cleaner: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ calls

    def channel(self, endpoint: str) -> PooledChannel:
        """A channel whose every call takes the endpoint's least loaded connection. Opens nothing. Raises ParseError."""
        return PooledChannel(self._endpoint(endpoint), self.metadata)

    async def get_connection(self, endpoint: str) -> PooledChannel:
        """`channel(endpoint)` with a connection that is open now.

        Raises ParseError for a malformed endpoint, ConnectError when nobody answers there, DeadlineExceeded when the
        deadline in force passes first.
        """
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
        known = self._endpoint(endpoint)
        idempotent = idempotent or method in self.policy.config.idempotent_methods
        channel = PooledChannel(known, self.metadata)
        failures = 0
        with deadline_scope(Deadline.after(self.config.request_timeout if timeout is None else timeout)) as deadline:
            while True:
                try:
                    result = await attempt(channel)
                except OrbitError as error:
                    failures += 1
                    error.at(peer=known.endpoint.url, method=method or None, attempt=failures)
                    delay = self.policy.delay(
                        error,
                        failures=failures,
                        remaining=None if deadline is None else deadline.remaining(),
                        idempotent=idempotent,
                        budget=known.budget,
                        draw=random.random(),
                    )
                    if delay is None:
                        raise
                    log.warning("%s; tried again in %.3f s", error, delay, extra={"code": error.orb_code})
                else:
                    known.budget.succeeded()
                    return result
                await asyncio.sleep(delay)
                channel = PooledChannel(known, self.metadata, avoid=channel.last)

    def _endpoint(self, text: str) -> PoolEndpoint:
        """What is known of an endpoint, under its canonical text."""
        known = self._endpoints.get(text)
        if known is not None:
            return known
        endpoint = Endpoint.parse(text)
        known = self._endpoints.get(endpoint.url)
        if known is None:
            if self.is_closed:
                raise ConnectError("the pool is closed", peer=endpoint.url, retryable=False)
            known = self._endpoints[endpoint.url] = PoolEndpoint(
                endpoint,
                self.config,
                self._pool_config,
                budget=RetryBudget(self.policy.config),
                channel_factory=self._factory,
                interceptors=self._interceptors,
            )
        return known

    def _make_channel(self, endpoint: Endpoint, config: TransportConfig) -> Channel:
        return Channel.from_url(endpoint.url, config=config, ssl=self._ssl)

    # ------------------------------------------------------------ statistics and upkeep

    async def get_stats(self) -> PoolStats:
        """Where the pool stands."""
        return self.stats

    @property
    def stats(self) -> PoolStats:
        """Where the pool stands."""
        endpoints = tuple(known.stats for known in self._endpoints.values())
        latencies = [known.latency * 1000 for known in self._endpoints.values() if known.latency is not None]
        return PoolStats(
            total_connections=sum(endpoint.connections for endpoint in endpoints),
            total_requests=sum(endpoint.requests for endpoint in endpoints),
            total_errors=sum(endpoint.errors for endpoint in endpoints),
            average_latency_ms=sum(latencies) / len(latencies) if latencies else 0.0,
            endpoints=endpoints,
        )

    async def cleanup_idle_connections(self, max_idle: float | None = None) -> None:
        """Close what has been idle for `max_idle` seconds or longer, or is too old; calls in flight finish first.

        None = as configured.
        """
        for known in self._endpoints.values():
            known.retire(self._pool_config.max_idle if max_idle is None else max_idle)

    def start_background_tasks(self) -> None:
        """Clean up every `cleanup_interval` seconds until `close`. Again has no effect."""
        if self._cleaner is None and not self.is_closed:
            self._cleaner = asyncio.create_task(self._clean(), name="pool clean-up")

    async def _clean(self) -> None:
        while True:
            await asyncio.sleep(self._pool_config.cleanup_interval)
            try:
                await self.cleanup_idle_connections()
            except Exception:
                log.exception("pool clean-up failed")

    async def close(self) -> None:
        """Close every connection; calls in flight and those that wait fail with a typed error. Again: no effect."""
        self.is_closed = True
        if self._cleaner is not None:
            self._cleaner.cancel()
            await asyncio.wait([self._cleaner])
        await asyncio.gather(*(known.close() for known in self._endpoints.values()))

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
