"""Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended version; thesis 2014)."""

from orbit_lite.raft.config import (
    RaftConfig,
)
from orbit_lite.raft.consensus import (
    RaftConsensus,
)
from orbit_lite.raft.core import (
    RaftCore,
)
from orbit_lite.raft.errors import (
    ChangeRefused,
    ClusterMismatch,
    NotLeader,
    ProposalDropped,
    ProposalLost,
    SessionForgotten,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    TransferFailed,
    WipedNode,
)
from orbit_lite.raft.membership import (
    bootstrap_state,
    decode_configuration,
    encode_configuration,
)
from orbit_lite.raft.messages import (
    Answer,
    Configuration,
    HardState,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Member,
    Outgoing,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    ReadState,
    Ready,
    Request,
    Response,
    Role,
    SnapshotChunk,
    SnapshotMeta,
    Stored,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from orbit_lite.raft.metrics import (
    RaftMetrics,
    Sample,
)
from orbit_lite.raft.ports import (
    LiteRaftTransport,
    LogStore,
    RaftTransport,
    StateMachine,
)
from orbit_lite.raft.progress import (
    ProgressState,
)
from orbit_lite.raft.status import (
    FollowerStatus,
    RaftStatus,
)

__all__ = [
    "Answer",
    "ChangeRefused",
    "ClusterMismatch",
    "Configuration",
    "FollowerStatus",
    "HardState",
    "InstallSnapshotRequest",
    "InstallSnapshotResponse",
    "LiteRaftTransport",
    "LogStore",
    "Member",
    "NotLeader",
    "Outgoing",
    "PreVoteRequest",
    "PreVoteResponse",
    "ProgressState",
    "ProposalDropped",
    "ProposalLost",
    "RaftConfig",
    "RaftConsensus",
    "RaftCore",
    "RaftMetrics",
    "RaftStatus",
    "RaftTransport",
    "ReadIndexRequest",
    "ReadIndexResponse",
    "ReadState",
    "Ready",
    "Request",
    "Response",
    "Role",
    "Sample",
    "SessionForgotten",
    "SnapshotChunk",
    "SnapshotMeta",
    "StateMachine",
    "StoreCorrupt",
    "StoreFailed",
    "StoreLocked",
    "Stored",
    "TimeoutNowRequest",
    "TimeoutNowResponse",
    "TransferFailed",
    "WipedNode",
    "bootstrap_state",
    "decode_configuration",
    "encode_configuration",
]
