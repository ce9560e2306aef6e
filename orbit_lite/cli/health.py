"""The verb `health`: a probe for people, scripts and orchestrators."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from orbit_lite.cli.options import connected, endpoint_option, json_option, run, timeout_option
from orbit_lite.cli.output import print_json
from orbit_lite.cli.problems import Problem
from orbit_lite.errors import OrbitError

if TYPE_CHECKING:
    from orbit_lite.services import HealthClient, ServingStatus

__all__ = ["health"]

# Exit statuses of grpc_health_probe, which orchestrators know; 1 is for bad arguments.
_SERVING = 0
_CONNECT_FAILED = 2
_CALL_FAILED = 3
_NOT_SERVING = 4

_POLL_INTERVAL = 1.0  # seconds between questions to a server that has no watch


@click.command(short_help="Ask whether a node is serving.")
@click.argument("service", default="")
@click.option("--watch", is_flag=True, help="Go on and print every change, until interrupted.")
@endpoint_option
@timeout_option
@json_option
def health(*, service: str, watch: bool, endpoint: str, timeout: float, as_json: bool) -> int:
    """Ask whether a node, or one SERVICE of it, is serving.

    \b
    Exit status, as of grpc_health_probe:
      0  serving          1  bad arguments      2  no connection
      3  the call failed  4  not serving
    """
    return run(_health(service, watch=watch, endpoint=endpoint, timeout=timeout, as_json=as_json))


async def _health(service: str, *, watch: bool, endpoint: str, timeout: float, as_json: bool) -> int:
    from orbit_lite.rpc import Endpoint
    from orbit_lite.services import HealthClient

    Endpoint.parse(endpoint)  # a malformed one is a bad argument, not a failed connection
    exit_status = _CONNECT_FAILED
    try:
        async with connected(endpoint, timeout) as channel:
            exit_status = _CALL_FAILED
            client = HealthClient(channel)
            if watch:
                return await _watch(client, service, as_json=as_json)
            status = await client.check(service, timeout=timeout)
            _print(service, status, as_json=as_json)
            return _exit_status(status)
    except OrbitError as error:
        Problem.of(error).show(as_json=as_json)
        return exit_status


async def _watch(client: HealthClient, service: str, *, as_json: bool) -> int:
    async with aclosing(client.watch(service, poll_interval=_POLL_INTERVAL)) as statuses:
        async for status in statuses:
            _print(service, status, as_json=as_json)
    return _CALL_FAILED  # a watch has no end of its own


def _print(service: str, status: ServingStatus, *, as_json: bool) -> None:
    if as_json:
        print_json({"service": service, "status": status.name}, indent=None)
    else:
        print(status.name, flush=True)


def _exit_status(status: ServingStatus) -> int:
    if status.name == "SERVING":
        return _SERVING
    return _CALL_FAILED if status.name == "SERVICE_UNKNOWN" else _NOT_SERVING
