"""Asking other processes how they are, whichever of the two health protocols they speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from orbit_lite.rpc import Method, NotFound, Unimplemented
from orbit_lite.services.health import ServingStatus
from orbit_proto.grpc.health import v1
from orbit_proto.orbit import shared

__all__ = ["HealthClient"]

_GRPC_WATCH = Method("/grpc.health.v1.Health/Watch", False, True, v1.HealthCheckRequest, v1.HealthCheckResponse)
_ORBIT_WATCH = Method(
    "/orbit.shared.HealthService/Watch", False, True, shared.HealthCheckRequest, shared.HealthCheckResponse
)


class HealthClient:
    """Check and Watch over `channel`: `grpc.health.v1` first, `orbit.shared` where the peer does not know that.

    Which one the peer speaks is found out once, by the first call.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._grpc = v1.HealthStub(channel)
        self._orbit = shared.HealthServiceStub(channel)
        self._speaks_grpc: bool | None = None

    async def check(self, service: str = "", *, timeout: float | None = None) -> ServingStatus:
        """The status of a service; SERVICE_UNKNOWN when the peer does not know it.

        An Orbit-RS server does not look at the name. timeout: seconds; None = the channel's default. Raises OrbitError,
        Unimplemented when the peer speaks neither protocol.
        """
        if self._speaks_grpc is not False:
            try:
                answer = await self._grpc.check(v1.HealthCheckRequest(service), timeout=timeout)
            except NotFound:
                self._speaks_grpc = True
                return ServingStatus.SERVICE_UNKNOWN
            except Unimplemented:
                if self._speaks_grpc:
                    raise
                self._speaks_grpc = False
            else:
                self._speaks_grpc = True
                return _status(answer.status)
        orbit_answer = await self._orbit.check(shared.HealthCheckRequest(service), timeout=timeout)
        return _status(orbit_answer.status)

    async def watch(self, service: str = "", *, poll_interval: float = 5.0) -> AsyncGenerator[ServingStatus, None]:
        """The status now and whenever it changes, for as long as the peer can be reached.

        A peer that ends a Watch without an error, as Orbit-RS does after one message, or that has none, is asked by
        Check every `poll_interval` seconds instead. Raises OrbitError. Close the generator (`contextlib.aclosing`) when
        it is no longer iterated.
        """
        told = await self.check(service)
        yield told
        try:
            async with aclosing(self._watch(service)) as statuses:
                async for status in statuses:
                    if status is not told:
                        told = status
                        yield status
        except Unimplemented:
            pass
        while True:
            await asyncio.sleep(poll_interval)
            status = await self.check(service)
            if status is not told:
                told = status
                yield status

    async def _watch(self, service: str) -> AsyncGenerator[ServingStatus, None]:
        # Not by way of betterproto's stub: closing its generator leaves the one inside, which holds the call, to the
        # garbage collector.
        method = _GRPC_WATCH if self._speaks_grpc else _ORBIT_WATCH
        async with self._channel.request(method.path, method, method.request_type, method.reply_type) as call:
            await call.send_message(method.request_type(service), end=True)
            async for answer in call:
                yield _status(answer.status)


def _status(number: int) -> ServingStatus:
    """A number that no version of the protocols gives a name counts as UNKNOWN: it does not say SERVING."""
    try:
        return ServingStatus(number)
    except ValueError:
        return ServingStatus.UNKNOWN
