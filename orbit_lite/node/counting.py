"""Counting the actor calls that a node serves: a stream is one call to gRPC, however many invocations it carries."""

from __future__ import annotations

import time

from orbit_lite.model import InvocationHandler, InvocationRequest, Json, NodeId
from orbit_lite.rpc import Server
from orbit_lite.services import MethodReport
from orbit_lite.telemetry.metrics import CallStats

__all__ = ["CountedInvocations", "method_reports"]


class CountedInvocations:
    """Passes invocations on to `handler` and counts them as `Type.method`, those that are forwarded included."""

    def __init__(self, handler: InvocationHandler) -> None:
        self._handler = handler
        self.stats = CallStats()

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        """See `InvocationHandler.handle`."""
        started = time.monotonic()
        failed = True
        try:
            result = await self._handler.handle(request, source=source, attempts=attempts, timeout=timeout)
            failed = False
            return result
        finally:
            # A failed call is counted by its type alone: what a peer calls a method may be anything.
            name = request.reference.addressable_type
            method = f"{name}.*" if failed else f"{name}.{request.method}"
            self.stats.record(method, time.monotonic() - started, error=failed)


def method_reports(server: Server | None, invocations: CountedInvocations) -> tuple[MethodReport, ...]:
    """What was served: gRPC methods, then actor methods."""
    counted = ([] if server is None else [server.stats]) + [invocations.stats]
    return tuple(
        MethodReport(
            method=method.removeprefix("/"),
            calls=stats.calls,
            errors=stats.errors,
            p50=stats.p50,
            p90=stats.p90,
            p99=stats.p99,
            max=stats.largest,
        )
        for table in counted
        for method, stats in sorted(table.methods.items())
    )
