"""gRPC calls: channels, servers, statuses, deadlines, metadata. Knows no particular message."""

from __future__ import annotations

from orbit_lite.rpc.config import PoolConfig, RetryConfig, ServerConfig, TransportConfig
from orbit_lite.rpc.context import CallContext, Peer, current_call
from orbit_lite.rpc.deadline import Deadline, current_deadline, deadline_scope
from orbit_lite.rpc.endpoint import Endpoint
from orbit_lite.rpc.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UnknownError,
    rpc_error,
    status_of,
)
from orbit_lite.rpc.metadata import Metadata, MetadataError
from orbit_lite.rpc.status import Status

__all__ = [
    "Aborted",
    "AlreadyExists",
    "CallContext",
    "Cancelled",
    "DataLoss",
    "Deadline",
    "DeadlineExceeded",
    "Endpoint",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "Metadata",
    "MetadataError",
    "NotFound",
    "OutOfRange",
    "Peer",
    "PermissionDenied",
    "PoolConfig",
    "ResourceExhausted",
    "RetryConfig",
    "RpcError",
    "ServerConfig",
    "Status",
    "TransportConfig",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnknownError",
    "current_call",
    "current_deadline",
    "deadline_scope",
    "rpc_error",
    "status_of",
]
