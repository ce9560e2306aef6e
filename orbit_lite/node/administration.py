"""What a running node tells operators and peers: the node's side of the NodeAdmin service."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orbit_lite
from orbit_lite.directory import Observation
from orbit_lite.errors import ClusterError, quote
from orbit_lite.node.drain import DrainReport
from orbit_lite.services import (
    ActorListing,
    Announcement,
    EndpointReport,
    NodeReport,
    NodeView,
    TransportReport,
)

if TYPE_CHECKING:
    from orbit_lite.node.node import OrbitNode

__all__ = ["Administration"]

#: Actors listed where the caller does not say how many, and the most that one answer holds.
DEFAULT_LIMIT = 100
LARGEST_LIMIT = 10_000


class Administration:
    """Answers for one node; see `services.admin.NodeAdministration`."""

    def __init__(self, node: OrbitNode) -> None:
        self._node = node

    async def status(self) -> NodeReport:
        node = self._node
        stats = node.pool.stats
        return NodeReport(
            node=node.info,
            cluster_id=node.config.cluster_id,
            version=orbit_lite.__version__,
            python=f"{platform.python_implementation()} {platform.python_version()}",
            uptime=time.monotonic() - node.started_at,
            active_actors=node.actors.count(),
            in_flight_calls=node.in_flight,
            transport=TransportReport(
                total_connections=stats.total_connections,
                total_requests=stats.total_requests,
                total_errors=stats.total_errors,
                average_latency=stats.average_latency_ms / 1000,
                endpoints=tuple(
                    EndpointReport(
                        endpoint=endpoint.endpoint,
                        connections=endpoint.connections,
                        requests=endpoint.requests,
                        errors=endpoint.errors,
                        average_latency=endpoint.average_latency_ms / 1000,
                        open_streams=endpoint.open_streams,
                    )
                    for endpoint in stats.endpoints
                ),
            ),
            calls=node.method_reports(),
        )

    async def nodes(self) -> Sequence[NodeView]:
        return [
            NodeView(
                node=view.info,
                reachable=view.reachable,
                is_self=view.is_self,
                last_seen=view.last_seen,
                last_error=view.last_error,
            )
            for view in self._node.membership.views(time.monotonic())
        ]

    async def actors(self, addressable_type: str | None, limit: int | None) -> ActorListing:
        system = self._node.actors
        views = system.snapshot(addressable_type, min(limit or DEFAULT_LIMIT, LARGEST_LIMIT))
        return ActorListing(tuple(views), system.count(addressable_type))

    async def drain(self, timeout: float | None, *, stop: bool) -> DrainReport:
        report = await self._node.drain(timeout, asked_by_call=True)
        if stop:
            self._node.request_stop()
        return report

    async def announce(self, announcement: Announcement) -> Announcement:
        """Take a node in and answer who we are, see `services.admin`."""
        node = self._node
        if announcement.cluster_id != node.config.cluster_id:
            raise ClusterError(
                f"node {announcement.node.id} belongs to cluster {quote(announcement.cluster_id)!r}, "
                f"this is {node.config.cluster_id!r}"
            )
        meant = node.membership.observe(announcement.node, incarnation=announcement.incarnation, now=time.monotonic())
        if meant is Observation.JOINED:
            node.peer_joined(announcement.node)
        elif meant is Observation.TWIN:
            raise ClusterError(f"another node goes by the id {announcement.node.id}: give each node an id of its own")
        return node.announcement()
