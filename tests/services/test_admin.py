"""NodeAdmin, service and client on either end of a loopback connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite import codec
from orbit_lite.actors import ActorView
from orbit_lite.errors import ClusterError, ConversionError, Executed
from orbit_lite.model import AddressableReference, NodeCapabilities, NodeId, NodeInfo, NodeStatus
from orbit_lite.rpc import FailedPrecondition, InvalidArgument, Peer, PermissionDenied, Unimplemented
from orbit_lite.rpc.context import CallContext, call_scope
from orbit_lite.rpc.metadata import Metadata
from orbit_lite.services import (
    ActorListing,
    AdminClient,
    Announcement,
    DrainSummary,
    EndpointReport,
    GrpcHealthService,
    MethodReport,
    NodeAdminService,
    NodeReport,
    NodeView,
    TransportReport,
)
from orbit_lite.services.admin_reports import (
    announcement_from_proto,
    method_from_proto,
    method_to_proto,
    to_ms,
    transport_from_proto,
    transport_to_proto,
    view_from_proto,
    view_to_proto,
)
from orbit_lite.testing import strategies
from orbit_proto.orbit import lite

INFO = NodeInfo(NodeId("n1"), "http://127.0.0.1:1", 1, NodeCapabilities(("T",)), NodeStatus.DRAINING)
PEER = NodeInfo(NodeId("n2"), "http://127.0.0.1:2", 2)
REPORT = NodeReport(
    node=INFO,
    cluster_id="c",
    version="1.2",
    python="CPython 3.11",
    uptime=1.5,
    active_actors=3,
    in_flight_calls=4,
    transport=TransportReport(
        total_connections=1,
        total_requests=2,
        total_errors=1,
        average_latency=0.25,
        endpoints=(EndpointReport(endpoint="http://x:1", connections=1, requests=2, errors=1, average_latency=0.5),),
    ),
    calls=(MethodReport(method="p.S/M", calls=9, errors=1, p50=0.001, p90=0.002, p99=0.003, max=2.0),),
)
VIEWS = (
    NodeView(node=INFO, reachable=True, is_self=True),
    NodeView(node=PEER, reachable=False, last_seen=2.5, last_error="gone"),
)
ACTOR = ActorView(AddressableReference.of("T", 7), "idle", 2, 5, 0.75)


class Node:
    """A node that knows what is above, belongs to cluster c, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def status(self) -> NodeReport:
        return REPORT

    async def nodes(self) -> Sequence[NodeView]:
        return VIEWS

    async def actors(self, addressable_type: str | None, limit: int | None) -> ActorListing:
        self.asked.append((addressable_type, limit))
        return ActorListing((ACTOR,), 12)

    async def drain(self, timeout: float | None, *, stop: bool) -> DrainSummary:
        self.asked.append((timeout, stop))
        return DrainSummary(3, 1)

    async def announce(self, announcement: Announcement) -> Announcement:
        self.asked.append(announcement)
        if announcement.cluster_id != "c":
            raise ClusterError("this is cluster c")
        return Announcement(INFO, "c", 9)


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def client(node: Node, connect: Any) -> AdminClient:
    return AdminClient(await connect(NodeAdminService(node)))


async def test_a_node_reports_its_state(client: AdminClient) -> None:
    assert await client.status() == REPORT


async def test_a_node_that_has_done_nothing_yet_reports_that(connect: Any) -> None:
    class New(Node):
        async def status(self) -> NodeReport:
            return NodeReport(node=INFO)

    assert await AdminClient(await connect(NodeAdminService(New()))).status() == NodeReport(node=INFO)


async def test_a_node_reports_the_cluster_as_it_sees_it(client: AdminClient) -> None:
    assert await client.nodes() == VIEWS


async def test_actors_are_listed_by_type_and_up_to_a_limit_or_as_the_node_likes(
    client: AdminClient, node: Node
) -> None:
    assert await client.actors("T", limit=1) == ActorListing((ACTOR,), 12)
    await client.actors()
    assert node.asked == [("T", 1), (None, None)]


async def test_a_drain_has_a_limit_or_the_nodes_own(client: AdminClient, node: Node) -> None:
    assert await client.drain(1.5, stop=True) == DrainSummary(3, 1)
    await client.drain()
    await client.drain(0.0)
    assert node.asked == [(1.5, True), (None, False), (0.001, False)]


@pytest.mark.parametrize("peer", [Peer("10.0.0.1", 5), Peer("2001:db8::1", 5)])
async def test_a_drain_from_another_machine_is_refused_unless_it_is_allowed(node: Node, peer: Peer) -> None:
    with call_scope(CallContext("/m", peer, Metadata())):
        with pytest.raises(PermissionDenied):
            await NodeAdminService(node).drain(lite.DrainRequest())
        await NodeAdminService(node, allow_remote=True).drain(lite.DrainRequest())
    assert node.asked == [(None, False)]


async def test_a_drain_from_who_knows_where_is_refused(node: Node) -> None:
    with pytest.raises(PermissionDenied):
        await NodeAdminService(node).drain(lite.DrainRequest())


async def test_nodes_introduce_themselves_to_each_other(client: AdminClient, node: Node) -> None:
    announcement = Announcement(PEER, "c", 2**64 - 1)
    assert await client.announce(announcement) == Announcement(INFO, "c", 9)
    assert node.asked == [announcement]


async def test_a_node_of_another_cluster_is_refused_by_a_cluster_error(client: AdminClient) -> None:
    with pytest.raises(ClusterError, match="this is cluster c") as refused:
        await client.announce(Announcement(PEER, "other", 1))
    assert refused.value.executed is Executed.NO
    assert isinstance(refused.value.__cause__, FailedPrecondition)


async def test_an_announcement_without_a_node_is_an_invalid_argument(connect: Any, node: Node) -> None:
    channel = await connect(NodeAdminService(node))
    with pytest.raises(InvalidArgument, match="node: missing"):
        await lite.NodeAdminStub(channel).announce(lite.AnnounceRequest())
    assert node.asked == []


async def test_answers_that_make_no_sense_are_conversion_errors(connect: Any) -> None:
    class Empty(lite.NodeAdminBase):
        async def get_status(self, get_status_request: lite.GetStatusRequest) -> lite.GetStatusResponse:
            return lite.GetStatusResponse()

        async def list_nodes(self, list_nodes_request: lite.ListNodesRequest) -> lite.ListNodesResponse:
            return lite.ListNodesResponse([lite.NodeView(reachable=True)])

    client = AdminClient(await connect(Empty()))
    with pytest.raises(ConversionError, match="node: missing"):
        await client.status()
    with pytest.raises(ConversionError, match=r"nodes\[0\]\.node: missing"):
        await client.nodes()


async def test_a_peer_that_is_no_orbit_lite_node_is_unimplemented(connect: Any) -> None:
    with pytest.raises(Unimplemented):
        await AdminClient(await connect(GrpcHealthService())).status()


SECONDS = st.integers(0, 10**12).map(lambda ms: ms / 1000)


@given(
    st.builds(
        NodeView,
        node=strategies.node_infos(),
        reachable=st.booleans(),
        is_self=st.booleans(),
        last_seen=SECONDS,
        last_error=st.text(),
    )
)
def test_a_view_survives_the_wire(view: NodeView) -> None:
    back = view_from_proto(codec.decode(lite.NodeView, codec.encode(view_to_proto(view))))
    assert back == view


@given(st.floats())
def test_any_duration_becomes_milliseconds_that_fit(seconds: float) -> None:
    assert 0 <= to_ms(seconds) < 2**64


def test_reports_survive_the_wire() -> None:
    assert transport_from_proto(transport_to_proto(REPORT.transport)) == REPORT.transport
    assert [method_from_proto(method_to_proto(method)) for method in REPORT.calls] == list(REPORT.calls)
    with pytest.raises(ConversionError):
        announcement_from_proto(lite.AnnounceResponse())
