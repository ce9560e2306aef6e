"""Telling the other nodes who we are, and learning who they are.

Every peer has a task of its own, so that a slow or dead one delays no other. An announcement is answered by the peer's
own NodeInfo, which goes into the membership table; a failure is noted there too, and the table decides what it means.
Nodes that a peer knows and we do not are learned from it (`ListNodes`), so one seed is enough to join.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Callable, Iterable

from orbit_lite.directory import Membership
from orbit_lite.errors import OrbitError, quote
from orbit_lite.model import NodeId, NodeInfo
from orbit_lite.rpc import ConnectionPool
from orbit_lite.services import AdminClient, Announcement

__all__ = ["Announcer"]

_log = logging.getLogger(__name__)

#: Every so many announcements a peer is asked whom else it knows.
_ASK_EVERY = 10

#: Most peers that are learned rather than configured: what peers say must not grow without bound.
_MAX_LEARNED = 1000


class Announcer:
    """One announcing task per peer endpoint.

    describe: the node's present Announcement. interval: seconds between two announcements to one peer, jittered by a
    tenth. Call `start`, then `announce_now` whenever the status changes, then `close`.
    """

    def __init__(
        self,
        describe: Callable[[], Announcement],
        membership: Membership,
        pool: ConnectionPool,
        *,
        interval: float,
    ) -> None:
        self._describe = describe
        self._membership = membership
        self._pool = pool
        self._interval = interval
        self._peers: dict[str, _Peer] = {}
        self._is_closed = False

    def start(self, seeds: Iterable[str]) -> None:
        """Begin to announce to these endpoints."""
        for endpoint in seeds:
            self.add(endpoint)

    def add(self, endpoint: str) -> None:
        """Announce to this endpoint from now on, unless it is our own or known already."""
        if self._is_closed or endpoint in self._peers or endpoint == self._describe().node.url:
            return
        # In a context of its own: a peer is often learned within a call, whose deadline is not the task's.
        task = asyncio.get_running_loop().create_task(
            self._run(endpoint), name=f"announce {endpoint}", context=contextvars.Context()
        )
        self._peers[endpoint] = _Peer(task)

    def learn(self, infos: Iterable[NodeInfo]) -> None:
        """Take endpoints from what a peer knows; addresses only: what a node is, it says itself."""
        for info in infos:
            if len(self._peers) >= _MAX_LEARNED:
                return
            self.add(info.url)

    async def announce_now(self, timeout: float) -> None:
        """Announce to every peer at once and wait, `timeout` seconds at most; failures are noted, not raised."""
        attempts = [asyncio.create_task(self._announce(endpoint)) for endpoint in self._peers]
        if not attempts:
            return
        try:
            await asyncio.wait(attempts, timeout=timeout)
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def close(self) -> None:
        """Stop announcing and wait until every task has ended."""
        self._is_closed = True
        tasks = [peer.task for peer in self._peers.values()]
        self._peers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, endpoint: str) -> None:
        rounds = 0
        while True:
            reached = await self._announce(endpoint)
            if reached and rounds % _ASK_EVERY == 0:
                await self._ask(endpoint)
            rounds += reached
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))

    async def _announce(self, endpoint: str) -> bool:
        """Announce once; True when the peer answered."""
        client = AdminClient(self._pool.channel(endpoint))
        try:
            answer = await client.announce(self._describe(), timeout=max(self._interval, 1.0))
        except OrbitError as error:
            self._note_failure(endpoint, error)
            return False
        now = time.monotonic()
        if answer.node.id == self._describe().node.id:
            _log.debug("= %s is this node under another address", quote(endpoint))
            return True
        self._membership.observe(answer.node, incarnation=answer.incarnation, now=now)
        if peer := self._peers.get(endpoint):
            peer.node_id = answer.node.id
            if peer.is_failing:
                _log.info("announcements to %s arrive again", quote(endpoint), extra={"node": str(answer.node.id)})
                peer.is_failing = False
        return True

    def _note_failure(self, endpoint: str, error: OrbitError) -> None:
        peer = self._peers.get(endpoint)
        if peer is None:
            return
        # The first of a row is news, the others are not.
        level = logging.DEBUG if peer.is_failing else logging.WARNING
        _log.log(level, "announcement to %s failed: %s", quote(endpoint), error, extra={"code": error.orb_code})
        peer.is_failing = True
        if peer.node_id is not None:
            self._membership.failed(peer.node_id, str(error), now=time.monotonic())

    async def _ask(self, endpoint: str) -> None:
        """Learn whom the peer knows."""
        try:
            views = await AdminClient(self._pool.channel(endpoint)).nodes(timeout=max(self._interval, 1.0))
        except OrbitError as error:
            _log.debug("cannot ask %s for its nodes: %s", quote(endpoint), error)
            return
        self.learn(view.node for view in views if view.reachable)


class _Peer:
    """The task that announces to one endpoint, who answered there last, and whether the last attempt failed."""

    __slots__ = ("is_failing", "node_id", "task")

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.node_id: NodeId | None = None
        self.is_failing = False
