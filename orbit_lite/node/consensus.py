"""A node's part in consensus: its log, its transport, the directory that the cluster replicates."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from orbit_lite.directory import ReplicatedDirectory
from orbit_lite.directory.machine import DirectoryMachine
from orbit_lite.errors import ConfigurationError, OrbitError
from orbit_lite.model import NodeId, NodeInfo
from orbit_lite.node.backup import backup
from orbit_lite.node.config import NodeConfig, raft_directory
from orbit_lite.raft import RaftConfig, RaftConsensus, StateMachine
from orbit_lite.services import GrpcRaftTransport, raft_services
from orbit_lite.services.raft_admin import RaftAdminService
from orbit_lite.storage import SqliteLogStore

__all__ = ["NodeConsensus"]

_log = logging.getLogger("orbit_lite.node")

#: Seconds that a node which stops waits for another one to lead.
_HAND_OVER = 1.0


class NodeConsensus:
    """Made before the node binds its port, started when it serves, stopped before its server is.

    The founders of the cluster are the node itself and its seed nodes; a node with `raft_join` waits to be added.
    """

    def __init__(
        self, node_id: NodeId, config: NodeConfig, state_machine: StateMachine | None, *, raft: RaftConfig | None = None
    ) -> None:
        """Opens the store. raft: instead of the configuration's. Raises StoreLocked, StoreCorrupt;
        ConfigurationError without data_dir or node_id.
        """
        if config.data_dir is None or config.node_id is None:
            raise ConfigurationError("raft=True: needs data_dir, for its log, and node_id, which must not change")
        self._config = config
        self.store = SqliteLogStore.open(raft_directory(config.data_dir))
        self.machine = DirectoryMachine()
        self.consensus = RaftConsensus(
            node_id,
            config.seed_nodes,
            raft or config.raft_config(),
            store=self.store,
            state_machine=state_machine,
            directory=self.machine,
            cluster_id=config.cluster_id,
            join=config.raft_join,
        )
        self.transport = GrpcRaftTransport(node_id, config.seed_nodes)
        self.directory: ReplicatedDirectory | None = None

    def services(self) -> list[Any]:
        """What the node's server serves for peers and operators."""
        admin = RaftAdminService(
            self.consensus, allow_remote=self._config.allow_remote_drain, backup=partial(backup, self.consensus)
        )
        return [*raft_services(self.consensus), admin]

    async def start(self, info: NodeInfo, incarnation: int) -> None:
        """Take part, and register the node. Raises StoreCorrupt, ClusterMismatch."""
        await self.consensus.start(self.transport)
        self.directory = ReplicatedDirectory(
            self.consensus,
            self.machine,
            info,
            incarnation=incarnation,
            lease_duration=self._config.lease_duration,
            seeds=self._config.seed_nodes,
        )
        await self.directory.start()

    async def stop(self) -> None:
        """Deregister, hand the leadership over if this node has it, and take no part any more.

        Each step is taken whatever becomes of the others: the store, above all, is closed.
        """
        async with AsyncExitStack() as steps:  # the last one first
            steps.callback(self.store.close)
            steps.push_async_callback(self.transport.close)
            steps.push_async_callback(self.consensus.stop)
            steps.push_async_callback(self._hand_over)
            if self.directory is not None:
                steps.push_async_callback(self.directory.stop)

    async def _hand_over(self) -> None:
        """So that the others need not wait for an election timeout. They can do without."""
        if not self.consensus.is_leader() or len(self.consensus.get_cluster_nodes()) == 1:
            return
        try:
            leader = await self.consensus.transfer_leadership(timeout=_HAND_OVER)
        except OrbitError as error:
            _log.info("node %s could not hand the leadership over: %s", self.consensus.node_id, error)
        else:
            _log.info("node %s handed the leadership over to %s", self.consensus.node_id, leader)
