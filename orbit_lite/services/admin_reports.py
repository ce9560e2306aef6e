"""What a node says of itself, its cluster and its actors: the values of the NodeAdmin service, and their messages.

Times are seconds here and milliseconds on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.actors import ActorView
from orbit_lite.converters import AddressableReferenceConverter, NodeInfoConverter
from orbit_lite.converters.presence import fields, required
from orbit_lite.model import NodeInfo
from orbit_proto.orbit import lite

__all__ = [
    "ActorListing",
    "Announcement",
    "DrainSummary",
    "EndpointReport",
    "MethodReport",
    "NodeReport",
    "NodeView",
    "TransportReport",
]

#: Seconds beyond which a duration is as good as endless.
_LONGEST = 1e15


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node says of itself to another. incarnation: grows with every start of the node."""

    node: NodeInfo
    cluster_id: str
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReport:
    """Connections that a node opened to one endpoint, and their calls. average_latency: seconds."""

    endpoint: str
    connections: int = 0
    requests: int = 0
    errors: int = 0
    average_latency: float = 0.0
    open_streams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportReport:
    """Connections that a node opened, and their calls, since its start. average_latency: seconds."""

    total_connections: int = 0
    total_requests: int = 0
    total_errors: int = 0
    average_latency: float = 0.0
    endpoints: tuple[EndpointReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodReport:
    """Calls of one method that a node served. method: `package.Service/Method`; latencies in seconds."""

    method: str
    calls: int = 0
    errors: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """A node's state. uptime: seconds; python: implementation and version that runs it."""

    node: NodeInfo
    cluster_id: str = ""
    version: str = ""
    python: str = ""
    uptime: float = 0.0
    active_actors: int = 0
    in_flight_calls: int = 0
    transport: TransportReport = TransportReport()
    calls: tuple[MethodReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A member as another node sees it. last_seen: seconds since its last announcement; last_error: "" = none."""

    node: NodeInfo
    reachable: bool
    is_self: bool = False
    last_seen: float = 0.0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ActorListing:
    """Active actors, as many as were asked for. total: how many there are."""

    actors: tuple[ActorView, ...]
    total: int


@dataclass(frozen=True, slots=True)
class DrainSummary:
    """How the calls ended that ran when a drain began."""

    finished_calls: int
    cancelled_calls: int


# ---------------------------------------------------------------- ⇄ messages


def to_ms(seconds: float) -> int:
    """Whole milliseconds, within what the wire can say."""
    return round(min(max(0.0, seconds), _LONGEST) * 1000)


def announcement_from_proto(proto: lite.AnnounceRequest | lite.AnnounceResponse) -> Announcement:
    node = required(fields(proto), "node", NodeInfoConverter.from_proto)
    return Announcement(node, proto.cluster_id, proto.incarnation)


def transport_to_proto(report: TransportReport) -> lite.TransportStats:
    return lite.TransportStats(
        total_connections=report.total_connections,
        total_requests=report.total_requests,
        total_errors=report.total_errors,
        average_latency_ms=report.average_latency * 1000,
        endpoints=[
            lite.EndpointStats(
                endpoint=endpoint.endpoint,
                connections=endpoint.connections,
                requests=endpoint.requests,
                errors=endpoint.errors,
                average_latency_ms=endpoint.average_latency * 1000,
                open_streams=endpoint.open_streams,
            )
            for endpoint in report.endpoints
        ],
    )


def transport_from_proto(proto: lite.TransportStats) -> TransportReport:
    return TransportReport(
        total_connections=proto.total_connections,
        total_requests=proto.total_requests,
        total_errors=proto.total_errors,
        average_latency=proto.average_latency_ms / 1000,
        endpoints=tuple(
            EndpointReport(
                endpoint=endpoint.endpoint,
                connections=endpoint.connections,
                requests=endpoint.requests,
                errors=endpoint.errors,
                average_latency=endpoint.average_latency_ms / 1000,
                open_streams=endpoint.open_streams,
            )
            for endpoint in proto.endpoints
        ),
    )


def method_to_proto(report: MethodReport) -> lite.MethodStats:
    return lite.MethodStats(
        method=report.method,
        calls=report.calls,
        errors=report.errors,
        p50_ms=report.p50 * 1000,
        p90_ms=report.p90 * 1000,
        p99_ms=report.p99 * 1000,
        max_ms=report.max * 1000,
    )


def method_from_proto(proto: lite.MethodStats) -> MethodReport:
    return MethodReport(
        method=proto.method,
        calls=proto.calls,
        errors=proto.errors,
        p50=proto.p50_ms / 1000,
        p90=proto.p90_ms / 1000,
        p99=proto.p99_ms / 1000,
        max=proto.max_ms / 1000,
    )


def view_to_proto(view: NodeView) -> lite.NodeView:
    return lite.NodeView(
        node=NodeInfoConverter.to_proto(view.node),
        reachable=view.reachable,
        is_self=view.is_self,
        last_seen_ms=to_ms(view.last_seen),
        last_error=view.last_error,
    )


def view_from_proto(proto: lite.NodeView) -> NodeView:
    return NodeView(
        node=required(fields(proto), "node", NodeInfoConverter.from_proto),
        reachable=proto.reachable,
        is_self=proto.is_self,
        last_seen=proto.last_seen_ms / 1000,
        last_error=proto.last_error,
    )


def actor_to_proto(view: ActorView) -> lite.ActorView:
    return lite.ActorView(
        reference=AddressableReferenceConverter.to_proto(view.reference),
        state=view.state,
        mailbox_depth=view.mailbox_depth,
        calls=view.calls,
        idle_ms=to_ms(view.idle),
    )


def actor_from_proto(proto: lite.ActorView) -> ActorView:
    reference = required(fields(proto), "reference", AddressableReferenceConverter.from_proto)
    return ActorView(reference, proto.state, proto.mailbox_depth, proto.calls, proto.idle_ms / 1000)
