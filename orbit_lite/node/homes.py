"""Keeps a node's actors in step with the replicated directory."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any

from orbit_lite.actors import ActorSystem
from orbit_lite.directory import NodeChange, ReplicatedDirectory, Resync
from orbit_lite.services import PeerStreams

__all__ = ["HomeWatch"]

_log = logging.getLogger(__name__)


class HomeWatch:
    """Ends actors before they may live elsewhere, and streams to nodes that the cluster has given up.

    The first is told by this node's own clock, since a node that is cut off hears of no change. What the directory says
    goes the other way round: it has happened, so what is found to be too late here ends at once. Call `start`, and
    `close` when the actors are closed.
    """

    def __init__(self, directory: ReplicatedDirectory, actors: ActorSystem, peers: PeerStreams) -> None:
        self._directory = directory
        self._actors = actors
        self._peers = peers
        self._watch = directory.watch()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to follow the directory."""
        self._directory.on_lease_lost = self._lease_lost
        self._spawn(self._follow(), "follow the directory")

    async def close(self) -> None:
        """Follow no longer."""
        self._directory.on_lease_lost = None
        self._watch.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        # In an empty context: it belongs to no call that may be running now.
        task = asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)

    def _lease_lost(self, left: float) -> None:
        self._spawn(self._give_way(left), "put actors away")

    async def _give_way(self, left: float) -> None:
        if ended := await self._actors.give_way(left):
            _log.warning("%d actors were put away: they may live on other nodes now", ended)

    async def _follow(self) -> None:
        async for change in self._watch:
            match change:
                case NodeChange(_, node_id, record) if node_id != self._actors.node_id:
                    if record is None:
                        self._peers.forget(node_id)
                case NodeChange() | Resync() if self._directory.has_lease:  # else the clock has ended all, or does so
                    await self._give_way(0.0)
