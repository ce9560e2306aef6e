"""`orbit.lite.NodeAdmin`: what operators ask of one node, and how nodes introduce themselves to each other.

The service only translates: what a node knows and does is behind `NodeAdministration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from orbit_lite.converters import NodeInfoConverter
from orbit_lite.converters.presence import each, fields, optional, required
from orbit_lite.errors import ClusterError
from orbit_lite.rpc import FailedPrecondition, PermissionDenied, current_call
from orbit_lite.services.admin_reports import (
    ActorListing,
    Announcement,
    DrainSummary,
    NodeReport,
    NodeView,
    TransportReport,
    actor_from_proto,
    actor_to_proto,
    announcement_from_proto,
    method_from_proto,
    method_to_proto,
    to_ms,
    transport_from_proto,
    transport_to_proto,
    view_from_proto,
    view_to_proto,
)
from orbit_proto.orbit import lite

__all__ = ["AdminClient", "DrainOutcome", "NodeAdminService", "NodeAdministration"]

#: Seconds beyond a drain's own time limit until its caller stops waiting.
DRAIN_MARGIN = 10.0
#: Seconds after which the caller of a drain without a limit stops waiting: the node's own limit is not known here.
DRAIN_LONGEST = 3600.0


class DrainOutcome(Protocol):
    """A DrainSummary, or anything that says as much."""

    @property
    def finished_calls(self) -> int: ...
    @property
    def cancelled_calls(self) -> int: ...


class NodeAdministration(Protocol):
    """A node as its administration sees it."""

    async def status(self) -> NodeReport:
        """The node's state now."""
        ...

    async def nodes(self) -> Sequence[NodeView]:
        """All members of the cluster that the node knows, itself included."""
        ...

    async def actors(self, addressable_type: str | None, limit: int | None) -> ActorListing:
        """Active actors of one type or of all; limit None: the node's own."""
        ...

    async def drain(self, timeout: float | None, *, stop: bool) -> DrainOutcome:
        """Take no new work and finish what runs, in `timeout` seconds (None = the node's own); then, if asked, end.

        The call that asks for it is itself in flight meanwhile and has to be left out of the waiting.
        """
        ...

    async def announce(self, announcement: Announcement) -> Announcement:
        """Take note of another node, and answer what this one is. Raises ClusterError for another cluster's node."""
        ...


class NodeAdminService(lite.NodeAdminBase):
    """The service over one node. allow_remote: accept Drain from other machines than the node's own."""

    def __init__(self, administration: NodeAdministration, *, allow_remote: bool = False) -> None:
        self._administration = administration
        self._allow_remote = allow_remote

    async def get_status(self, get_status_request: lite.GetStatusRequest) -> lite.GetStatusResponse:
        """What the node is and how it does."""
        report = await self._administration.status()
        return lite.GetStatusResponse(
            node=NodeInfoConverter.to_proto(report.node),
            cluster_id=report.cluster_id,
            version=report.version,
            uptime_ms=to_ms(report.uptime),
            active_actors=report.active_actors,
            in_flight_calls=report.in_flight_calls,
            transport=transport_to_proto(report.transport),
            python=report.python,
            calls=[method_to_proto(method) for method in report.calls],
        )

    async def list_nodes(self, list_nodes_request: lite.ListNodesRequest) -> lite.ListNodesResponse:
        """The cluster as this node sees it."""
        return lite.ListNodesResponse([view_to_proto(view) for view in await self._administration.nodes()])

    async def list_actors(self, list_actors_request: lite.ListActorsRequest) -> lite.ListActorsResponse:
        """Active actors, all types or one."""
        request = list_actors_request
        listing = await self._administration.actors(request.addressable_type or None, request.limit or None)
        return lite.ListActorsResponse([actor_to_proto(view) for view in listing.actors], listing.total)

    async def drain(self, drain_request: lite.DrainRequest) -> lite.DrainResponse:
        """Drain the node, and end it if asked to. Raises PermissionDenied for callers from other machines."""
        call = current_call()
        if not self._allow_remote and (call is None or not call.peer.is_local):
            raise PermissionDenied("Drain is taken from the node's own machine only; see allow_remote_drain")
        timeout = drain_request.timeout_ms / 1000 or None
        outcome = await self._administration.drain(timeout, stop=drain_request.stop)
        return lite.DrainResponse(outcome.finished_calls, outcome.cancelled_calls)

    async def announce(self, announce_request: lite.AnnounceRequest) -> lite.AnnounceResponse:
        """Introduce two nodes to each other. Another cluster's node is refused with FAILED_PRECONDITION."""
        answer = await self._administration.announce(announcement_from_proto(announce_request))
        return lite.AnnounceResponse(NodeInfoConverter.to_proto(answer.node), answer.cluster_id, answer.incarnation)


class AdminClient:
    """Asks the node behind `channel`.

    timeout: seconds per call, None = the channel's default. All methods raise OrbitError: Unimplemented when the peer
    is no orbit-lite node, ConversionError when its answer says something missing or contradictory.
    """

    def __init__(self, channel: Any) -> None:
        self._stub = lite.NodeAdminStub(channel)

    async def status(self, *, timeout: float | None = None) -> NodeReport:
        """What the node is and how it does."""
        answer = await self._stub.get_status(lite.GetStatusRequest(), timeout=timeout)
        state = fields(answer)
        return NodeReport(
            node=required(state, "node", NodeInfoConverter.from_proto),
            cluster_id=answer.cluster_id,
            version=answer.version,
            python=answer.python,
            uptime=answer.uptime_ms / 1000,
            active_actors=answer.active_actors,
            in_flight_calls=answer.in_flight_calls,
            transport=optional(state, "transport", transport_from_proto) or TransportReport(),
            calls=each(state, "calls", method_from_proto),
        )

    async def nodes(self, *, timeout: float | None = None) -> tuple[NodeView, ...]:
        """The cluster as the node sees it, the node itself included."""
        answer = await self._stub.list_nodes(lite.ListNodesRequest(), timeout=timeout)
        return each(fields(answer), "nodes", view_from_proto)

    async def actors(
        self, addressable_type: str | None = None, *, limit: int | None = None, timeout: float | None = None
    ) -> ActorListing:
        """Active actors of one type or of all; limit None: the node's own."""
        request = lite.ListActorsRequest(addressable_type or "", limit or 0)
        answer = await self._stub.list_actors(request, timeout=timeout)
        return ActorListing(each(fields(answer), "actors", actor_from_proto), answer.total)

    async def drain(
        self, limit: float | None = None, *, stop: bool = False, timeout: float | None = None
    ) -> DrainSummary:
        """Drain the node and wait for it. limit: seconds that it has, None = its own limit; stop: end it then.

        timeout: None = as long as the drain may take. Raises PermissionDenied from another machine.
        """
        if timeout is None:
            timeout = DRAIN_LONGEST if limit is None else limit + DRAIN_MARGIN
        request = lite.DrainRequest(0 if limit is None else max(1, to_ms(limit)), stop)
        answer = await self._stub.drain(request, timeout=timeout)
        return DrainSummary(answer.finished_calls, answer.cancelled_calls)

    async def announce(self, announcement: Announcement, *, timeout: float | None = None) -> Announcement:
        """Tell the node who we are; gives what it is. Raises ClusterError when it belongs to another cluster."""
        request = lite.AnnounceRequest(
            NodeInfoConverter.to_proto(announcement.node), announcement.cluster_id, announcement.incarnation
        )
        try:
            answer = await self._stub.announce(request, timeout=timeout)
        except FailedPrecondition as error:
            text = error.message.removeprefix(ClusterError.prefix)
            if text == error.message:
                raise
            raise ClusterError(text, peer=error.peer, method=error.method) from error
        return announcement_from_proto(answer)
