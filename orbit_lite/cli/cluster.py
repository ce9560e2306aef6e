"""What one node says of itself and of its cluster: `status`, `nodes`, `actors`; and `drain`, which ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orbit_lite.cli.options import (
    DEFAULT_TIMEOUT,
    Duration,
    connected,
    endpoint_option,
    json_option,
    run,
    timeout_option,
)
from orbit_lite.cli.output import print_json, print_pairs, print_table

if TYPE_CHECKING:
    from orbit_lite.model import Json
    from orbit_lite.services import ActorListing, DrainSummary, MethodReport, NodeReport, NodeView

__all__ = ["actors", "drain", "nodes", "status"]


# ---------------------------------------------------------------- status


@click.command(short_help="Print how a node does.")
@endpoint_option
@timeout_option
@json_option
def status(*, endpoint: str, timeout: float, as_json: bool) -> None:
    """Print how a node does: who it is, what it hosts, what it served."""
    report = run(_status(endpoint, timeout))
    if as_json:
        print_json(_status_document(report))
    else:
        _print_status(report)


async def _status(endpoint: str, timeout: float) -> NodeReport:
    from orbit_lite.services import AdminClient

    async with connected(endpoint, timeout) as channel:
        return await AdminClient(channel).status(timeout=timeout)


def _status_document(report: NodeReport) -> Json:
    transport = report.transport
    return {
        "node_id": str(report.node.id),
        "url": report.node.url,
        "status": report.node.status.name,
        "types": list(report.node.capabilities.addressable_types),
        "cluster_id": report.cluster_id,
        "version": report.version,
        "python": report.python,
        "uptime_seconds": report.uptime,
        "active_actors": report.active_actors,
        "in_flight_calls": report.in_flight_calls,
        "transport": {
            "connections": transport.total_connections,
            "requests": transport.total_requests,
            "errors": transport.total_errors,
            "average_latency_ms": _ms(transport.average_latency),
            "endpoints": [
                {
                    "endpoint": endpoint.endpoint,
                    "connections": endpoint.connections,
                    "open_streams": endpoint.open_streams,
                    "requests": endpoint.requests,
                    "errors": endpoint.errors,
                    "average_latency_ms": _ms(endpoint.average_latency),
                }
                for endpoint in transport.endpoints
            ],
        },
        "calls": [_method_document(method) for method in report.calls],
    }


def _method_document(method: MethodReport) -> Json:
    return {
        "method": method.method,
        "calls": method.calls,
        "errors": method.errors,
        "latency_ms": {
            "p50": _ms(method.p50),
            "p90": _ms(method.p90),
            "p99": _ms(method.p99),
            "max": _ms(method.max),
        },
    }


def _print_status(report: NodeReport) -> None:
    print_pairs(
        [
            ("node", report.node.id),
            ("address", report.node.url),
            ("status", report.node.status.name),
            ("types", ", ".join(report.node.capabilities.addressable_types) or "none"),
            ("cluster", report.cluster_id),
            ("version", f"orbit-lite {report.version}, {report.python}"),
            ("uptime", _duration(report.uptime)),
            ("actors", report.active_actors),
            ("in flight", f"{report.in_flight_calls} calls"),
        ]
    )
    if report.calls:
        print("\nServed; latencies in milliseconds")
        columns = ["method", ">calls", ">errors", ">p50", ">p90", ">p99", ">max"]
        print_table(columns, [_method_row(method) for method in report.calls])
    if report.transport.endpoints:
        print("\nConnections to others; latencies in milliseconds")
        columns = ["endpoint", ">open", ">streams", ">requests", ">errors", ">average"]
        rows = [
            (
                endpoint.endpoint,
                endpoint.connections,
                endpoint.open_streams,
                endpoint.requests,
                endpoint.errors,
                f"{endpoint.average_latency * 1000:.1f}",
            )
            for endpoint in report.transport.endpoints
        ]
        print_table(columns, rows)


def _method_row(method: MethodReport) -> list[object]:
    latencies = (method.p50, method.p90, method.p99, method.max)
    return [method.method, method.calls, method.errors, *(f"{latency * 1000:.1f}" for latency in latencies)]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _duration(seconds: float) -> str:
    """Seconds for people: the two largest units."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{seconds:.1f} s"


# ---------------------------------------------------------------- nodes


@click.command(short_help="List the members of the cluster.")
@endpoint_option
@timeout_option
@json_option
def nodes(*, endpoint: str, timeout: float, as_json: bool) -> None:
    """List the members of the cluster, as one node sees them."""
    views = run(_nodes(endpoint, timeout))
    if as_json:
        print_json([_node_document(view) for view in views])
        return
    rows = [
        (
            f"{view.node.id}{' (asked)' if view.is_self else ''}",
            view.node.url,
            view.node.status.name if view.reachable or view.is_self else f"{view.node.status.name}, unreachable",
            ", ".join(view.node.capabilities.addressable_types),
            "" if view.is_self else f"{_duration(view.last_seen)} ago",
            view.last_error,
        )
        for view in views
    ]
    print_table(["node", "address", "status", "types", "seen", "last error"], rows)


async def _nodes(endpoint: str, timeout: float) -> tuple[NodeView, ...]:
    from orbit_lite.services import AdminClient

    async with connected(endpoint, timeout) as channel:
        return await AdminClient(channel).nodes(timeout=timeout)


def _node_document(view: NodeView) -> Json:
    return {
        "node_id": str(view.node.id),
        "url": view.node.url,
        "status": view.node.status.name,
        "types": list(view.node.capabilities.addressable_types),
        "is_self": view.is_self,
        "reachable": view.reachable,
        "last_seen_seconds": view.last_seen,
        "last_error": view.last_error,
    }


# ---------------------------------------------------------------- actors


@click.command()
@click.option("--type", "actor_type", metavar="TYPE", help="Only actors of this type.")
@click.option("--limit", type=click.IntRange(1, (1 << 32) - 1), help="At most so many; else what the node gives.")
@endpoint_option
@timeout_option
@json_option
def actors(*, actor_type: str | None, limit: int | None, endpoint: str, timeout: float, as_json: bool) -> None:
    """List the actors that are active on a node."""
    listing = run(_actors(actor_type, limit, endpoint, timeout))
    if as_json:
        shown: Json = [
            {
                "type": view.reference.addressable_type,
                "key": view.reference.key.value,
                "key_kind": view.reference.key.kind.name.lower(),
                "state": view.state,
                "waiting": view.mailbox_depth,
                "calls": view.calls,
                "idle_seconds": view.idle,
            }
            for view in listing.actors
        ]
        print_json({"total": listing.total, "actors": shown})
        return
    rows = [
        (view.reference, view.state, view.mailbox_depth, view.calls, _duration(view.idle)) for view in listing.actors
    ]
    print_table(["actor", "state", ">waiting", ">calls", ">idle"], rows, empty="no active actor")
    if listing.total > len(rows):
        print(f"… {listing.total - len(rows)} more; --limit shows more")


async def _actors(actor_type: str | None, limit: int | None, endpoint: str, timeout: float) -> ActorListing:
    from orbit_lite.services import AdminClient

    async with connected(endpoint, timeout) as channel:
        return await AdminClient(channel).actors(actor_type, limit=limit, timeout=timeout)


# ---------------------------------------------------------------- drain


@click.command()
@click.option("--stop", is_flag=True, help="End the node's process once it is drained.")
@click.option(
    "--timeout", type=Duration(), metavar="DURATION", help="How long calls may take to finish; else the node's own."
)
@endpoint_option
@json_option
def drain(*, stop: bool, timeout: float | None, endpoint: str, as_json: bool) -> None:
    """Let a node finish what it does and take nothing new.

    It tells its peers first, so that they place nothing on it; calls that do not finish in time are cancelled. Accepted
    only on the node's own machine, unless it is configured otherwise.
    """
    summary = run(_drain(stop=stop, limit=timeout, endpoint=endpoint))
    if as_json:
        print_json({"finished_calls": summary.finished_calls, "cancelled_calls": summary.cancelled_calls})
    else:
        print(f"drained: {summary.finished_calls} calls finished, {summary.cancelled_calls} were cancelled")


async def _drain(*, stop: bool, limit: float | None, endpoint: str) -> DrainSummary:
    from orbit_lite.services import AdminClient

    async with connected(endpoint, DEFAULT_TIMEOUT) as channel:
        return await AdminClient(channel).drain(limit, stop=stop)
