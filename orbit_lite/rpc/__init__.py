"""gRPC calls: channels, servers, statuses, deadlines, metadata. Knows no particular message.

What not every process needs (threads, pools, worker processes) is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from orbit_lite.rpc.channel import Channel
from orbit_lite.rpc.client import ClientCall
from orbit_lite.rpc.config import PoolConfig, RetryConfig, ServerConfig, TransportConfig
from orbit_lite.rpc.context import CallContext, Peer, current_call
from orbit_lite.rpc.deadline import Deadline, current_deadline, deadline_scope
from orbit_lite.rpc.details import StatusDetail
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
)
from orbit_lite.rpc.failures import status_of
from orbit_lite.rpc.metadata import Metadata, MetadataError
from orbit_lite.rpc.method import Cardinality, Method
from orbit_lite.rpc.retry import RetryBudget, RetryPolicy
from orbit_lite.rpc.server import DrainResult, Server
from orbit_lite.rpc.serving import ServerCall
from orbit_lite.rpc.status import Status

if TYPE_CHECKING:  # what __getattr__ does, for type checkers
    from orbit_lite.rpc.blocking import BlockingChannel, BlockingStub, Replies
    from orbit_lite.rpc.pool import ConnectionPool, EndpointStats, PooledChannel, PoolStats
    from orbit_lite.rpc.workers import Worker, run_workers

__all__ = [
    "Aborted",
    "AlreadyExists",
    "BlockingChannel",
    "BlockingStub",
    "CallContext",
    "Cancelled",
    "Cardinality",
    "Channel",
    "ClientCall",
    "ConnectionPool",
    "DataLoss",
    "Deadline",
    "DeadlineExceeded",
    "DrainResult",
    "Endpoint",
    "EndpointStats",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "Metadata",
    "MetadataError",
    "Method",
    "NotFound",
    "OutOfRange",
    "Peer",
    "PermissionDenied",
    "PoolConfig",
    "PoolStats",
    "PooledChannel",
    "Replies",
    "ResourceExhausted",
    "RetryBudget",
    "RetryConfig",
    "RetryPolicy",
    "RpcError",
    "Server",
    "ServerCall",
    "ServerConfig",
    "Status",
    "StatusDetail",
    "TransportConfig",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnknownError",
    "Worker",
    "current_call",
    "current_deadline",
    "deadline_scope",
    "rpc_error",
    "run_workers",
    "status_of",
]

_HOME_OF = {
    "BlockingChannel": "blocking",
    "BlockingStub": "blocking",
    "ConnectionPool": "pool",
    "EndpointStats": "pool",
    "PoolStats": "pool",
    "PooledChannel": "pool",
    "Replies": "blocking",
    "Worker": "workers",
    "run_workers": "workers",
}

if not TYPE_CHECKING:  # who would believe that every name is there

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
