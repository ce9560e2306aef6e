"""Where the members of the cluster are, and by which store each is known: a node that lost its own is another node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from orbit_lite.model import NodeId
from orbit_lite.raft.messages import Configuration
from orbit_lite.raft.ports import LiteRaftTransport, LogStore, RaftTransport

__all__ = ["Peers"]


class Peers:
    """Tells the transport the addresses of a configuration, and keeps store ids in the store."""

    def __init__(
        self,
        node_id: NodeId,
        transport: RaftTransport,
        store: LogStore,
        *,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """in_thread, spawn: as for `Application`."""
        self._node_id = node_id
        self._transport = transport if isinstance(transport, LiteRaftTransport) else None
        self._store = store
        self._in_thread = in_thread
        self._spawn = spawn
        self._configuration: Configuration | None = None

    async def locate(self, node_id: NodeId, address: str) -> None:
        """Tell the transport where a node is, if it wants to know."""
        if address and node_id != self._node_id and self._transport is not None:
            await self._transport.update_node_address(node_id, address)

    def follow(self, configuration: Configuration) -> None:
        """A configuration came into force: the transport learns where its members are now."""
        before, self._configuration = self._configuration, configuration
        if configuration is before:
            return
        old = {member.node_id: member.address for member in before.members} if before is not None else {}
        for member in configuration.members:
            if member.address != old.get(member.node_id):
                self._spawn(self.locate(member.node_id, member.address))

    async def remember(self, node_id: NodeId, store_id: str) -> None:
        """Note durably under which store id a peer was seen first. Of two that come at once the first stays."""

        def remember() -> None:
            if node_id not in self._store.peers():
                self._store.remember_peer(node_id, store_id)

        await self._in_thread(remember)

    async def forget_strangers(self, *configurations: Configuration) -> None:
        """Who is in none of the configurations may come back with a new store."""
        members = {member.node_id for known in configurations for member in known.members}

        def forget() -> None:
            for node_id in self._store.peers().keys() - members:
                self._store.remember_peer(node_id, None)

        await self._in_thread(forget)
