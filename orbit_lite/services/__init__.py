"""Orbit's RPCs: what peers may ask of this process, and the clients with which this process asks others."""

from orbit_lite.services.admin import AdminClient, DrainOutcome, NodeAdministration, NodeAdminService
from orbit_lite.services.admin_reports import (
    ActorListing,
    Announcement,
    DrainSummary,
    EndpointReport,
    MethodReport,
    NodeReport,
    NodeView,
    TransportReport,
)
from orbit_lite.services.connection import OrbitConnectionService
from orbit_lite.services.health import GrpcHealthService, HealthState, HealthWatch, OrbitHealthService, ServingStatus
from orbit_lite.services.health_client import HealthClient
from orbit_lite.services.peers import PeerStreams
from orbit_lite.services.raft import RaftServer, raft_services, start_raft_server
from orbit_lite.services.raft_admin import RaftAdminClient, RaftAdminService, RaftMemberReport, RaftReport
from orbit_lite.services.raft_transport import GrpcRaftTransport
from orbit_lite.services.reflection import reflection_services
from orbit_lite.services.reflection_client import ReflectionClient
from orbit_lite.services.sender import BroadcastResult, Delivery, GrpcTransactionMessageSender
from orbit_lite.services.stream import InvocationStream
from orbit_lite.services.stream_config import StreamConfig
from orbit_lite.services.transactions import OrbitTransactionService

__all__ = [
    "ActorListing",
    "AdminClient",
    "Announcement",
    "BroadcastResult",
    "Delivery",
    "DrainOutcome",
    "DrainSummary",
    "EndpointReport",
    "GrpcHealthService",
    "GrpcRaftTransport",
    "GrpcTransactionMessageSender",
    "HealthClient",
    "HealthState",
    "HealthWatch",
    "InvocationStream",
    "MethodReport",
    "NodeAdminService",
    "NodeAdministration",
    "NodeReport",
    "NodeView",
    "OrbitConnectionService",
    "OrbitHealthService",
    "OrbitTransactionService",
    "PeerStreams",
    "RaftAdminClient",
    "RaftAdminService",
    "RaftMemberReport",
    "RaftReport",
    "RaftServer",
    "ReflectionClient",
    "ServingStatus",
    "StreamConfig",
    "TransportReport",
    "raft_services",
    "reflection_services",
    "start_raft_server",
]
