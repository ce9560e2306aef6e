"""Health of this process, one state told in two dialects: `orbit.shared.HealthService` and `grpc.health.v1.Health`.

Both know the overall health under the name "" and any number of services by name. They differ where the caller asks for
a name that nobody has set: `orbit.shared` answers SERVICE_UNKNOWN, `grpc.health.v1` ends the call with NOT_FOUND (its
Watch answers SERVICE_UNKNOWN and goes on, so that a service may appear later), and only it has List.

A watcher gets the present state at once and then every change. One that does not keep up with the changes is not queued
for without end: it is told the latest state instead of those it missed.

Sources: grpc/doc/health-checking.md, gRFC A90.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter, deque
from collections.abc import AsyncGenerator, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Self

from orbit_lite.errors import OverloadedError, quote
from orbit_lite.rpc import NotFound, ResourceExhausted, current_call
from orbit_lite.services.streaming import ClosingService
from orbit_proto.grpc.health import v1
from orbit_proto.orbit import shared

__all__ = ["GrpcHealthService", "HealthState", "HealthWatch", "OrbitHealthService", "ServingStatus"]

#: Services that List answers with; beyond it the call fails instead of growing (grpc-go has the same limit).
LIST_LIMIT = 100


class ServingStatus(enum.IntEnum):
    """Health of a service, with the numbers of both protocols."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class HealthState:
    """Status by service name; "" is the process as a whole, SERVING from the start.

    services: names that are SERVING from the start. max_watches: watchers at a time, all together and per connection;
    health is open to everyone, so a peer must not be able to collect them. For use from one event loop.
    """

    def __init__(
        self, services: Iterable[str] = (), *, max_watches: int = 1000, max_watches_per_connection: int = 100
    ) -> None:
        self._statuses = dict.fromkeys(("", *services), ServingStatus.SERVING)
        self._max_watches = max_watches
        self._max_watches_per_connection = max_watches_per_connection
        self._watches: set[HealthWatch] = set()
        self._watches_of: Counter[Hashable] = Counter()
        self._is_draining = False
        self._is_closed = False

    @property
    def statuses(self) -> Mapping[str, ServingStatus]:
        """Every known service with its status, a view."""
        return MappingProxyType(self._statuses)

    def get(self, service: str) -> ServingStatus | None:
        """The status of a service, None when the name has never been set."""
        return self._statuses.get(service)

    def set(self, service: str, status: ServingStatus) -> None:
        """Set a status and tell the watchers of this name. While the process drains, nothing becomes SERVING again."""
        if self._is_draining and status is ServingStatus.SERVING:
            status = ServingStatus.NOT_SERVING
        if self._statuses.get(service) is status:
            return
        self._statuses[service] = status
        for watch in self._watches:
            if watch.service == service:
                watch.push(status)

    def drain(self) -> None:
        """Everything is NOT_SERVING from now on, so that load balancers look elsewhere."""
        self._is_draining = True
        for service in list(self._statuses):
            self.set(service, ServingStatus.NOT_SERVING)

    def close(self) -> None:
        """End all watches, present and future; they still get the changes made before."""
        self._is_closed = True
        for watch in self._watches:
            watch.end()

    def subscribe(self, service: str, *, connection: Hashable = None) -> HealthWatch:
        """A watch on one name, known or not; use it as a context manager.

        connection: whatever identifies the peer's connection, None when that is not known. Raises OverloadedError when
        there are too many watches.
        """
        if len(self._watches) >= self._max_watches:
            raise OverloadedError(f"health: {self._max_watches} watches are open, no more are taken")
        if connection is not None and self._watches_of[connection] >= self._max_watches_per_connection:
            raise OverloadedError(
                f"health: {self._max_watches_per_connection} watches are open on this connection, no more are taken"
            )
        watch = HealthWatch(self, service, connection)
        watch.push(self._statuses.get(service, ServingStatus.SERVICE_UNKNOWN))
        if self._is_closed:
            watch.end()
        self._watches.add(watch)
        self._watches_of[connection] += 1
        return watch

    def _unsubscribe(self, watch: HealthWatch) -> None:
        if watch not in self._watches:
            return
        self._watches.discard(watch)
        self._watches_of[watch.connection] -= 1
        if not self._watches_of[watch.connection]:
            del self._watches_of[watch.connection]

    def __repr__(self) -> str:
        serving = sum(status is ServingStatus.SERVING for status in self._statuses.values())
        phase = ", closed" if self._is_closed else ", draining" if self._is_draining else ""
        return f"<HealthState {serving} of {len(self._statuses)} serving, {len(self._watches)} watches{phase}>"


class HealthWatch:
    """The changes of one service's status, to be iterated by one task; the first is the status at the start."""

    #: Changes that wait for a slow watcher; with one more, only the latest is kept.
    BACKLOG = 16

    __slots__ = ("_has_ended", "_news", "_pending", "_state", "_told", "connection", "service")

    def __init__(self, state: HealthState, service: str, connection: Hashable) -> None:
        self.service = service
        self.connection = connection
        self._state = state
        self._pending: deque[ServingStatus] = deque()
        self._news = asyncio.Event()
        self._told: ServingStatus | None = None
        self._has_ended = False

    def push(self, status: ServingStatus) -> None:
        """A change, for the watcher to see."""
        if len(self._pending) >= self.BACKLOG:
            self._pending.clear()
        self._pending.append(status)
        self._news.set()

    def end(self) -> None:
        """No more changes come."""
        self._has_ended = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServingStatus:
        while True:
            while self._pending:
                status = self._pending.popleft()
                if status is not self._told:  # a backlog was dropped, and the state is as it was before
                    self._told = status
                    return status
            if self._has_ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Take nothing more from the state."""
        self._state._unsubscribe(self)  # the two classes are one machine


class OrbitHealthService(ClosingService, shared.HealthServiceBase):
    """`orbit.shared.HealthService`: Check and Watch of "" and of every name that the state knows."""

    def __init__(self, state: HealthState | None = None) -> None:
        self.state = HealthState() if state is None else state

    def set_serving_status(self, status: ServingStatus) -> None:
        """Set the overall status, as Orbit-RS's method of this name does."""
        self.state.set("", status)

    async def check(self, health_check_request: shared.HealthCheckRequest) -> shared.HealthCheckResponse:
        """The status; SERVICE_UNKNOWN for a name that was never set."""
        return _orbit_response(self.state.get(health_check_request.service))

    async def watch(
        self, health_check_request: shared.HealthCheckRequest
    ) -> AsyncGenerator[shared.HealthCheckResponse, None]:
        """The status now and at every change, until the state is closed. Orbit-RS ends after the first message."""
        with self.state.subscribe(health_check_request.service, connection=_connection()) as watch:
            async for status in watch:
                yield _orbit_response(status)


class GrpcHealthService(ClosingService, v1.HealthBase):
    """`grpc.health.v1.Health`, which Kubernetes, Envoy and grpc_health_probe speak."""

    def __init__(self, state: HealthState | None = None) -> None:
        self.state = HealthState() if state is None else state

    async def check(self, health_check_request: v1.HealthCheckRequest) -> v1.HealthCheckResponse:
        """The status. Raises NotFound for a name that was never set."""
        service = health_check_request.service
        status = self.state.get(service)
        if status is None:
            raise NotFound(f"unknown service {quote(service)!r}")
        return _grpc_response(status)

    async def list(self, health_list_request: v1.HealthListRequest) -> v1.HealthListResponse:
        """All names with their statuses. Raises ResourceExhausted when they are too many for one answer."""
        statuses = self.state.statuses
        if len(statuses) > LIST_LIMIT:
            raise ResourceExhausted(f"{len(statuses)} services are more than the {LIST_LIMIT} that List answers with")
        return v1.HealthListResponse({service: _grpc_response(status) for service, status in statuses.items()})

    async def watch(self, health_check_request: v1.HealthCheckRequest) -> AsyncGenerator[v1.HealthCheckResponse, None]:
        """The status now, SERVICE_UNKNOWN included, and at every change, until the state is closed."""
        with self.state.subscribe(health_check_request.service, connection=_connection()) as watch:
            async for status in watch:
                yield _grpc_response(status)


def _connection() -> Hashable:
    """What tells the caller's connection from others: its address. Peers on a Unix socket have none."""
    call = current_call()
    return call.peer.addr() if call is not None else None


def _orbit_response(status: ServingStatus | None) -> shared.HealthCheckResponse:
    number = ServingStatus.SERVICE_UNKNOWN if status is None else status
    return shared.HealthCheckResponse(shared.HealthCheckResponseServingStatus(number))


def _grpc_response(status: ServingStatus) -> v1.HealthCheckResponse:
    return v1.HealthCheckResponse(v1.HealthCheckResponseServingStatus(status))
