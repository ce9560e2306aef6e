"""The connections to one peer, and whether it has said on them who it is.

A peer has three lanes, apart from those of actor messages: one for votes, heartbeats and entries, one for chunks of
snapshots, one for what clients ask of the leader. So neither anything large nor any number of clients stands before a
heartbeat or a vote.

Who answers is asked once per connection, and an answer counts only if it came on the connection on which that was
asked. A channel dials anew by itself, and after a loss somebody else may have the address: a node that lost its store,
or one of Orbit-RS, which acknowledges entries without storing them.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import Any, Protocol, TypeVar

from orbit_lite.errors import ConnectError, ConnectionLost, OrbitError, OverloadedError, Status, TimeoutError
from orbit_lite.model import NodeId
from orbit_lite.raft import ClusterMismatch, LogStore
from orbit_lite.raft.identity import check_peer, introduce
from orbit_lite.rpc import Channel, Metadata, TransportConfig, deadline_scope
from orbit_proto.orbit import lite

__all__ = ["Lane", "Link", "Purpose", "Self"]

_log = logging.getLogger("orbit_lite.services")

R = TypeVar("R")

#: Requests under way on a lane; fewer than the calls that a server takes on a connection, so that none has to wait.
MOST_OPEN = 200

_IDENTIFY = "/orbit.lite.RaftPeer/Identify"


class Self(Protocol):
    """In whose name requests are made: RaftConsensus."""

    node_id: NodeId
    cluster_id: str
    store: LogStore

    async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
        """Note durably under which store id a peer was seen, unless one is known."""
        ...


class Purpose(enum.Enum):
    """What a lane carries."""

    CONSENSUS = "votes, heartbeats, entries"
    SNAPSHOTS = "chunks of snapshots"
    CLIENTS = "reads and proposals for the leader"


class Lane:
    """One connection at a time to a peer."""

    def __init__(self, address: str, config: TransportConfig) -> None:
        """Raises ParseError for what is no address."""
        self.channel = Channel.from_url(address, config=config)
        self.introduction = Metadata()
        self.identified_on = 0  # number of the connection on which the peer said who it is; 0 = none
        self.identifying = asyncio.Lock()
        self.open_requests = 0

    @property
    def is_identified(self) -> bool:
        """Whether the peer has said who it is on the latest connection; it may be lost by now."""
        return self.identified_on == self.channel.connections_made > 0


class Link:
    """One peer at one address."""

    def __init__(self, node_id: NodeId, address: str, config: TransportConfig) -> None:
        """config: also has the time limits of a request and of a dial."""
        self.node_id = node_id
        self.address = address
        self._config = config
        self._lanes: dict[Purpose, Lane] = {}
        self._is_foreign = False
        self._is_closed = False
        self._closing: set[asyncio.Task[None]] = set()

    async def call(self, us: Self | None, path: str, request: Any, reply_type: type[R], purpose: Purpose) -> R:
        """The peer's reply. us: in whose name it is asked; None takes a reply from whoever gives it.

        Raises OrbitError: OverloadedError when too many requests are under way, ClusterMismatch and WipedNode when the
        peer is not who it should be.
        """
        lane = self._lane(purpose)
        if lane.open_requests >= MOST_OPEN:
            raise OverloadedError(
                f"{lane.open_requests} requests to {self.node_id} are unanswered", peer=str(self.node_id)
            )
        lane.open_requests += 1
        try:
            # Raft's requests are nobody's but the node's own, though one may be made while it serves a hurried client.
            with deadline_scope(None, inherit=False):
                if not lane.channel.is_connected:
                    await lane.channel.connect()  # at once: of itself the channel waits longer and longer
                if us is not None and not lane.is_identified:
                    await self._identify(lane, us)
                reply = await lane.channel.unary_unary(path, request, reply_type, metadata=lane.introduction)
        except OrbitError as error:
            self._failed(lane, error)
            raise
        finally:
            lane.open_requests -= 1
        if us is not None and not lane.is_identified:
            raise ConnectionLost(
                f"the connection to {self.node_id} changed while its answer was under way: it is not known whose it is",
                peer=str(self.node_id),
            )
        return reply

    def _lane(self, purpose: Purpose) -> Lane:
        if self._is_closed:
            raise ConnectError(f"{self.node_id} is not at {self.address} any more", retryable=False)
        lane = self._lanes.get(purpose)
        if lane is None:
            lane = self._lanes[purpose] = Lane(self.address, self._config)
        return lane

    def _failed(self, lane: Lane, error: OrbitError) -> None:
        """Begin anew where the next request would be no better off on the same lane."""
        if isinstance(error, TimeoutError) and lane.channel.is_connected:
            self._drop(lane)  # TCP takes minutes to notice that a host is gone or a partition is over
        elif error.code is Status.FAILED_PRECONDITION:
            lane.identified_on = 0  # it is not who we thought

    # ------------------------------------------------------------ who answers

    async def _identify(self, lane: Lane, us: Self) -> None:
        async with lane.identifying:
            if lane.is_identified:
                return  # another request has asked meanwhile
            connection = lane.channel.connections_made
            theirs = await self._ask_who(lane)
            said = theirs.cluster_id, theirs.node_id, theirs.store_id
            if check_peer(said, us.cluster_id, self.node_id, us.store.peers()):
                await us.remember_peer(self.node_id, theirs.store_id)
                check_peer(said, us.cluster_id, self.node_id, us.store.peers())  # another store may have come first
            introduction = introduce(us.cluster_id, us.node_id, us.store.store_id, self.node_id, theirs.store_id)
            lane.introduction = Metadata(introduction)
            lane.identified_on = connection

    async def _ask_who(self, lane: Lane) -> lite.IdentifyResponse:
        try:
            return await lane.channel.unary_unary(_IDENTIFY, lite.IdentifyRequest(), lite.IdentifyResponse)
        except OrbitError as error:
            if error.code is not Status.UNIMPLEMENTED:
                raise
            if not self._is_foreign:
                self._is_foreign = True
                _log.error("%s at %s is no orbit-lite node: it never counts in consensus", self.node_id, self.address)
            raise ClusterMismatch(
                f"{self.node_id} at {self.address} cannot say who it is: an Orbit-RS node acknowledges entries "
                "without storing them, and never counts",
                peer=str(self.node_id),
            ) from error

    # ------------------------------------------------------------ the end

    def _drop(self, lane: Lane) -> None:
        """Close a lane, unless that was done: of all that fail with a connection only the first one does it."""
        for purpose, current in list(self._lanes.items()):
            if current is lane:
                del self._lanes[purpose]
                lane.channel.close()
                task = asyncio.get_running_loop().create_task(lane.channel.wait_closed())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def close(self) -> None:
        """End all connections; what runs on them fails."""
        self._is_closed = True
        for lane in list(self._lanes.values()):
            self._drop(lane)

    async def wait_closed(self) -> None:
        """Until nothing of the link is left, at most about a second after `close`."""
        await asyncio.gather(*self._closing)
