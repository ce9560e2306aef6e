"""orbit-lite: the network layer of a distributed actor system, wire-compatible with Orbit-RS, in pure Python.

The public names are loaded on first use, so that importing the package costs nothing that is not needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what __getattr__ does, for type checkers
    from orbit_lite.actors import ActorRef as ActorRef
    from orbit_lite.actors import actor as actor
    from orbit_lite.converters import AddressableLeaseConverter as AddressableLeaseConverter
    from orbit_lite.converters import AddressableReferenceConverter as AddressableReferenceConverter
    from orbit_lite.converters import AppendEntriesRequestConverter as AppendEntriesRequestConverter
    from orbit_lite.converters import AppendEntriesResponseConverter as AppendEntriesResponseConverter
    from orbit_lite.converters import ConnectionInfoResponseConverter as ConnectionInfoResponseConverter
    from orbit_lite.converters import InvocationReasonConverter as InvocationReasonConverter
    from orbit_lite.converters import InvocationRequestConverter as InvocationRequestConverter
    from orbit_lite.converters import KeyConverter as KeyConverter
    from orbit_lite.converters import LogEntryConverter as LogEntryConverter
    from orbit_lite.converters import MessageContentConverter as MessageContentConverter
    from orbit_lite.converters import MessageConverter as MessageConverter
    from orbit_lite.converters import MessageTargetConverter as MessageTargetConverter
    from orbit_lite.converters import NamespacedAddressableReferenceConverter as NamespacedAddressableReferenceConverter
    from orbit_lite.converters import NodeCapabilitiesConverter as NodeCapabilitiesConverter
    from orbit_lite.converters import NodeIdConverter as NodeIdConverter
    from orbit_lite.converters import NodeInfoConverter as NodeInfoConverter
    from orbit_lite.converters import NodeLeaseConverter as NodeLeaseConverter
    from orbit_lite.converters import NodeStatusConverter as NodeStatusConverter
    from orbit_lite.converters import RaftCommandConverter as RaftCommandConverter
    from orbit_lite.converters import ReferenceTextConverter as ReferenceTextConverter
    from orbit_lite.converters import TimestampConverter as TimestampConverter
    from orbit_lite.converters import TransactionIdConverter as TransactionIdConverter
    from orbit_lite.converters import TransactionMessageConverter as TransactionMessageConverter
    from orbit_lite.converters import TransactionOperationConverter as TransactionOperationConverter
    from orbit_lite.converters import TransactionStateConverter as TransactionStateConverter
    from orbit_lite.converters import TransactionTargetConverter as TransactionTargetConverter
    from orbit_lite.converters import TransactionVoteConverter as TransactionVoteConverter
    from orbit_lite.converters import VoteRequestConverter as VoteRequestConverter
    from orbit_lite.converters import VoteResponseConverter as VoteResponseConverter
    from orbit_lite.errors import AddressableNotFound as AddressableNotFound
    from orbit_lite.errors import AuthenticationError as AuthenticationError
    from orbit_lite.errors import ClusterError as ClusterError
    from orbit_lite.errors import ConfigurationError as ConfigurationError
    from orbit_lite.errors import ConnectError as ConnectError
    from orbit_lite.errors import ConnectionLost as ConnectionLost
    from orbit_lite.errors import ConversionError as ConversionError
    from orbit_lite.errors import DrainingError as DrainingError
    from orbit_lite.errors import Executed as Executed
    from orbit_lite.errors import InternalError as InternalError
    from orbit_lite.errors import InvocationFailed as InvocationFailed
    from orbit_lite.errors import IoError as IoError
    from orbit_lite.errors import LeaseExpired as LeaseExpired
    from orbit_lite.errors import NetworkError as NetworkError
    from orbit_lite.errors import NodeNotFound as NodeNotFound
    from orbit_lite.errors import OrbitError as OrbitError
    from orbit_lite.errors import OverloadedError as OverloadedError
    from orbit_lite.errors import ParseError as ParseError
    from orbit_lite.errors import SerializationError as SerializationError
    from orbit_lite.errors import Status as Status
    from orbit_lite.errors import StorageError as StorageError
    from orbit_lite.errors import TimeoutError as TimeoutError
    from orbit_lite.model import AddressableReference as AddressableReference
    from orbit_lite.model import Key as Key
    from orbit_lite.model import Message as Message
    from orbit_lite.model import NodeId as NodeId
    from orbit_lite.model import NodeInfo as NodeInfo
    from orbit_lite.model import NodeResolver as NodeResolver
    from orbit_lite.model import TransactionId as TransactionId
    from orbit_lite.node import NodeConfig as NodeConfig
    from orbit_lite.node import OrbitClient as OrbitClient
    from orbit_lite.node import OrbitNode as OrbitNode
    from orbit_lite.raft import RaftConfig as RaftConfig
    from orbit_lite.raft import RaftConsensus as RaftConsensus
    from orbit_lite.rpc import BlockingChannel as BlockingChannel
    from orbit_lite.rpc import Channel as Channel
    from orbit_lite.rpc import ConnectionPool as ConnectionPool
    from orbit_lite.rpc import RetryConfig as RetryConfig
    from orbit_lite.rpc import Server as Server
    from orbit_lite.rpc import TransportConfig as TransportConfig
    from orbit_lite.services import GrpcRaftTransport as GrpcRaftTransport
    from orbit_lite.services import GrpcTransactionMessageSender as GrpcTransactionMessageSender
    from orbit_lite.services import start_raft_server as start_raft_server

_HOMES = {
    "orbit_lite.actors": (
        "ActorRef",
        "actor",
    ),
    "orbit_lite.converters": (
        "AddressableLeaseConverter",
        "AddressableReferenceConverter",
        "AppendEntriesRequestConverter",
        "AppendEntriesResponseConverter",
        "ConnectionInfoResponseConverter",
        "InvocationReasonConverter",
        "InvocationRequestConverter",
        "KeyConverter",
        "LogEntryConverter",
        "MessageContentConverter",
        "MessageConverter",
        "MessageTargetConverter",
        "NamespacedAddressableReferenceConverter",
        "NodeCapabilitiesConverter",
        "NodeIdConverter",
        "NodeInfoConverter",
        "NodeLeaseConverter",
        "NodeStatusConverter",
        "RaftCommandConverter",
        "ReferenceTextConverter",
        "TimestampConverter",
        "TransactionIdConverter",
        "TransactionMessageConverter",
        "TransactionOperationConverter",
        "TransactionStateConverter",
        "TransactionTargetConverter",
        "TransactionVoteConverter",
        "VoteRequestConverter",
        "VoteResponseConverter",
    ),
    "orbit_lite.errors": (
        "AddressableNotFound",
        "AuthenticationError",
        "ClusterError",
        "ConfigurationError",
        "ConnectError",
        "ConnectionLost",
        "ConversionError",
        "DrainingError",
        "Executed",
        "InternalError",
        "InvocationFailed",
        "IoError",
        "LeaseExpired",
        "NetworkError",
        "NodeNotFound",
        "OrbitError",
        "OverloadedError",
        "ParseError",
        "SerializationError",
        "Status",
        "StorageError",
        "TimeoutError",
    ),
    "orbit_lite.model": (
        "AddressableReference",
        "Key",
        "Message",
        "NodeId",
        "NodeInfo",
        "NodeResolver",
        "TransactionId",
    ),
    "orbit_lite.node": (
        "NodeConfig",
        "OrbitClient",
        "OrbitNode",
    ),
    "orbit_lite.raft": (
        "RaftConfig",
        "RaftConsensus",
    ),
    "orbit_lite.rpc": (
        "BlockingChannel",
        "Channel",
        "ConnectionPool",
        "RetryConfig",
        "Server",
        "TransportConfig",
    ),
    "orbit_lite.services": (
        "GrpcRaftTransport",
        "GrpcTransactionMessageSender",
        "start_raft_server",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604  (names of a table are names)


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
