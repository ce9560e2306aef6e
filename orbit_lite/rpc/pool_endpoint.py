"""One endpoint of a pool: dials, waits, closes and counts, as `assignment` decides.

A caller never waits for anything but a connection, and its being cancelled there costs nobody else anything: the dial
goes on for the others, and a connection that it was just given goes to the next in line.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from orbit_lite.errors import ConnectError, OrbitError, OverloadedError
from orbit_lite.rpc.assignment import Assignment, Connectable, Postponed, Slot, Waiter
from orbit_lite.rpc.call import RequestHeads
from orbit_lite.rpc.channel import USER_AGENT
from orbit_lite.rpc.config import PoolConfig, TransportConfig
from orbit_lite.rpc.deadline import Deadline
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.interceptors import Interceptor
from orbit_lite.rpc.metadata import Headers
from orbit_lite.rpc.retry import RetryBudget
from orbit_lite.rpc.stream import Stream
from orbit_lite.rpc.timers import Timers
from orbit_lite.rpc.unary import UnaryMethods

__all__ = ["ChannelFactory", "EndpointStats", "PoolEndpoint", "PoolableChannel"]

log = logging.getLogger("orbit_lite.rpc")

#: Weight of a new sample in the moving average of latencies, as in Orbit-RS.
EMA_WEIGHT = 0.1


class PoolableChannel(Connectable, Protocol):
    """What a pool needs of a connection: a Channel that was not used before."""

    @property
    def keep_alive_interval(self) -> float | None: ...

    async def connect(self) -> None: ...
    def open_at_once(self, headers: Headers, data: bytes) -> Stream | None: ...
    async def open_stream(self, headers: Callable[[], Headers], *, end: bool) -> Stream: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


#: Makes a channel that is not connected yet.
ChannelFactory: TypeAlias = Callable[[Endpoint, TransportConfig], PoolableChannel]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """One endpoint. connections, open_streams: now; the others since the pool was made."""

    endpoint: str
    connections: int = 0
    open_streams: int = 0
    requests: int = 0
    errors: int = 0
    average_latency_ms: float = 0.0
    """Moving average over unary calls that succeeded, milliseconds."""
    dials: int = 0
    dial_failures: int = 0


class PoolEndpoint:
    """The connections to one endpoint and their counters, which outlive the connections."""

    def __init__(
        self,
        endpoint: Endpoint,
        config: TransportConfig,
        pool_config: PoolConfig,
        *,
        budget: RetryBudget,
        channel_factory: ChannelFactory,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.endpoint = endpoint
        self.config = config
        self.budget = budget
        self.assignment: Assignment[PoolableChannel] = Assignment(pool_config, config.max_connections_per_endpoint)
        self.latency: float | None = None
        """Moving average in seconds; None before the first sample."""
        self._factory = channel_factory
        self._requests = self._errors = self._dials = self._dial_failures = 0
        self._line: dict[Waiter[PoolableChannel], asyncio.Future[None]] = {}
        self._dial: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._last_failure = "cannot connect"
        self._is_closed = False
        self.heads = RequestHeads("https" if endpoint.tls else "http", endpoint.authority, USER_AGENT)
        self.unary = UnaryMethods(config.max_message_size, packed=self.heads.packed)
        self._timers: Timers | None = None
        self.interceptors = interceptors

    def timers(self) -> Timers:
        """What watches over the deadlines of calls; belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        if self._timers is None or self._timers.loop is not loop:
            self._timers = Timers(loop)
        return self._timers

    # ------------------------------------------------------------ calls

    def acquire_at_once(self, avoid: Slot[PoolableChannel] | None = None) -> Slot[PoolableChannel] | None:
        """As `acquire`, if there is no need to wait for anything."""
        if self._is_closed or self._line or avoid is not None:
            return None
        slot = self.assignment.take(time.monotonic())
        if slot is not None:
            self._carry_out()
        return slot

    async def acquire(
        self, avoid: Slot[PoolableChannel] | None = None, deadline: Deadline | None = None
    ) -> Slot[PoolableChannel]:
        """A connection for one call, to be given back by `release`.

        deadline: when the caller has to have its answer; it may not be worth waiting for a dial that is far off. The
        waiting itself is for the caller to limit. Raises ConnectError, OverloadedError.
        """
        if self._is_closed:
            raise self._closed_error()
        now = time.monotonic()
        patience = self.config.connect_timeout
        if deadline is not None:
            patience = min(patience, deadline.remaining(now))
        try:
            verdict = self.assignment.ask(now, avoid=avoid, patience=patience)
        except OverloadedError as error:
            raise error.at(peer=self.endpoint.url) from None
        if isinstance(verdict, Waiter):
            return await self._wait(verdict)
        self._carry_out()
        if isinstance(verdict, Postponed):
            problem = f"{self._last_failure}; it is tried again in {verdict.delay:.1f} s"
            raise ConnectError(problem, peer=self.endpoint.url)
        return verdict

    async def _wait(self, waiter: Waiter[PoolableChannel]) -> Slot[PoolableChannel]:
        granted = self._line[waiter] = asyncio.get_running_loop().create_future()
        try:
            self._carry_out()
            await granted
            if waiter.slot is None:
                raise self._closed_error()
            return waiter.slot
        except BaseException:
            self.assignment.leave(waiter, time.monotonic())
            self._carry_out()
            raise
        finally:
            del self._line[waiter]

    def release(self, slot: Slot[PoolableChannel]) -> None:
        """A call has ended."""
        self.assignment.ended(slot, time.monotonic())
        self._carry_out()

    def record(self, *, failed: bool, latency: float | None) -> None:
        """Count a call. latency: seconds of a unary call; None for streams, whose length says nothing."""
        self._requests += 1
        self._errors += failed
        if latency is not None and not failed:
            old = self.latency
            self.latency = latency if old is None else EMA_WEIGHT * latency + (1 - EMA_WEIGHT) * old

    # ------------------------------------------------------------ carrying out what was decided

    def _carry_out(self) -> None:
        for waiter in self.assignment.granted:
            _settle(self._line[waiter], None)
        self.assignment.granted.clear()
        for channel in self.assignment.closing:
            self._close_channel(channel)
        self.assignment.closing.clear()
        if not self._is_closed and (delay := self.assignment.dial_due(time.monotonic())) is not None:
            self.assignment.dialling()
            # In a context of its own: the connection is not the first caller's, nor is that one's deadline.
            self._dial = asyncio.get_running_loop().create_task(
                self._run_dial(delay), name=f"pool dial {self.endpoint.url}", context=contextvars.Context()
            )

    async def _run_dial(self, delay: float) -> None:
        if delay:
            await asyncio.sleep(delay)
        self._dials += 1
        channel: PoolableChannel | None = None
        try:
            channel = self._factory(self.endpoint, self.config)
            await channel.connect()
        except OrbitError as error:
            # The first of a row is news, the others are not.
            level = logging.DEBUG if self.assignment.failures else logging.WARNING
            log.log(level, "%s", error, extra={"peer": self.endpoint.url, "code": error.orb_code})
            self._dial_has_failed(error.message, error)
        except Exception as error:
            log.exception("defect while dialling %s", self.endpoint.url, extra={"peer": self.endpoint.url})
            self._dial_has_failed(f"cannot connect: {type(error).__name__}", error)
        else:
            self.assignment.opened(channel, time.monotonic(), random.random())
            log.info("connected to %s", self.endpoint.url, extra={"peer": self.endpoint.url})
            channel = None
        finally:
            if channel is not None:
                self._close_channel(channel)
        self._carry_out()

    def _dial_has_failed(self, problem: str, error: Exception) -> None:
        self._last_failure = problem
        self._dial_failures += 1
        for waiter in self.assignment.dial_failed(time.monotonic(), random.random()):
            # Each waiter's own, to fill in and raise.
            failure = ConnectError(problem, peer=self.endpoint.url)
            failure.__cause__ = error
            _settle(self._line[waiter], failure)

    def _close_channel(self, channel: PoolableChannel) -> None:
        channel.close()
        task = asyncio.get_running_loop().create_task(self._bury(channel), name=f"pool close {self.endpoint.url}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _bury(self, channel: PoolableChannel) -> None:
        try:
            await channel.wait_closed()
        except Exception:
            log.exception("closing a connection to %s failed", self.endpoint.url)
        # A peer that complained of too many PINGs shall not have to do so on every connection anew.
        interval, known = channel.keep_alive_interval, self.config.keep_alive_interval
        if interval is not None and known is not None and interval > known:
            self.config = dataclasses.replace(self.config, keep_alive_interval=interval)

    # ------------------------------------------------------------ upkeep

    def retire(self, max_idle: float) -> None:
        """Close what has been idle for `max_idle` seconds or is too old, once its calls have ended."""
        self.assignment.retire(time.monotonic(), max_idle)
        self._carry_out()

    async def close(self) -> None:
        """Close every connection; those who wait are told. Again: waits for the same end."""
        self._is_closed = True
        for waiter in self.assignment.abandon():
            _settle(self._line[waiter], self._closed_error())
        if self._dial is not None:
            self._dial.cancel()
            await asyncio.wait([self._dial])
        self.assignment.closing += [slot.channel for slot in self.assignment.slots]
        self.assignment.slots.clear()
        self._carry_out()
        if self._closing:
            await asyncio.wait(self._closing)

    def _closed_error(self) -> ConnectError:
        return ConnectError("the pool is closed", peer=self.endpoint.url, retryable=False)

    @property
    def stats(self) -> EndpointStats:
        """Where the endpoint stands."""
        return EndpointStats(
            endpoint=self.endpoint.url,
            connections=self.assignment.open_connections,
            open_streams=self.assignment.open_calls,
            requests=self._requests,
            errors=self._errors,
            average_latency_ms=(self.latency or 0.0) * 1000,
            dials=self._dials,
            dial_failures=self._dial_failures,
        )


def _settle(future: asyncio.Future[None], failure: OrbitError | None) -> None:
    """Wake a waiter, unless it has just been cancelled."""
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
        future.exception()  # a waiter that is cancelled before it looks has lost nothing
