"""Who is a member of the cluster, as far as this node has heard.

Nodes announce themselves over and over; each announcement is believed for the length of a lease. What is believed of a
node follows from the newest announcement alone:

- An incarnation, drawn at every start of a node, never gives way to an older one. Within an incarnation a node goes
from
  ACTIVE to DRAINING to STOPPED and never back, so announcements that overtake each other do no harm.
- A node hosts actors while it is ACTIVE and its lease runs. A call to it that fails changes nothing: a blink must not
  move actors, for two nodes might then run the same one.
- An address belongs to one node: whoever announces it last has it, and the node that had it before is forgotten.

The table has no clock: `observe`, `failed`, `advance` and `views` bring the time, in seconds of one monotonic clock.
One of them must be called at least as often as a lease is to be found expired.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orbit_lite.actors.placement import Placement
from orbit_lite.errors import AddressableNotFound, ConfigurationError, NodeNotFound, OverloadedError, quote
from orbit_lite.model import AddressableReference, NodeId, NodeInfo, NodeStatus

__all__ = ["MemberView", "Membership", "Observation"]

#: Members that are kept; more are not believed. What peers say must not grow without bound.
MAX_MEMBERS = 1000

#: A member that was not heard of for this many leases is forgotten.
FORGOTTEN_AFTER = 20


class Observation(enum.Enum):
    """What an announcement meant."""

    JOINED = "joined"
    """A node that was not known, or a known one that was started anew."""

    RENEWED = "renewed"
    """A known node is still there; what it says may have changed."""

    STALE = "stale"
    """Older than what is known; nothing has changed."""

    SELF = "self"
    """Our own."""

    TWIN = "twin"
    """Another process goes by our own id. Nothing has changed, but somebody should hear of it."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """A member as operators see it.

    last_seen: seconds since the last announcement, 0 for ourselves. reachable: the lease runs, the node has not
    stopped, and nothing has failed since the last announcement. last_error: what failed since then, empty if nothing
    did.
    """

    info: NodeInfo
    incarnation: int
    last_seen: float
    reachable: bool
    is_self: bool = False
    last_error: str = ""


@dataclass(slots=True)
class _Member:
    info: NodeInfo
    incarnation: int
    seen: float
    expires: float
    last_error: str = ""


class Membership:
    """The table of members, our own node included; NodeResolver and Hosts of a running node.

    lease_duration: seconds for which an announcement is believed. placement: which host an actor lives on. seeds: where
    nodes are that have announced nothing yet, or, as those of Orbit-RS, never will.
    """

    def __init__(
        self,
        node_id: NodeId,
        *,
        lease_duration: float = 15.0,
        placement: Placement | None = None,
        seeds: Mapping[NodeId, str] | None = None,
    ) -> None:
        if not lease_duration > 0:
            raise ConfigurationError(f"lease_duration={lease_duration!r}: must be more than 0 seconds")
        self.node_id = node_id
        self._lease_duration = lease_duration
        self._placement = placement or Placement()
        self._seeds = dict(seeds or {})
        self._self: tuple[NodeInfo, int] | None = None
        self._members: dict[NodeId, _Member] = {}
        self._by_url: dict[str, NodeId] = {}
        self._hosts: dict[str, tuple[NodeId, ...]] = {}
        self._now = float("-inf")
        self._next_expiry = float("inf")

    # ------------------------------------------------------------ what is told

    def set_self(self, info: NodeInfo, *, incarnation: int = 0) -> None:
        """What our own node says of itself; it is believed at once and for good."""
        if info.id != self.node_id:
            raise ConfigurationError(f"node {self.node_id} cannot speak for {info.id}")
        self._self = info, incarnation
        self._place_hosts()

    def set_seeds(self, seeds: Mapping[NodeId, str]) -> None:
        """Replace the seeds."""
        self._seeds = dict(seeds)

    def observe(self, info: NodeInfo, *, incarnation: int, now: float) -> Observation:
        """Take an announcement. Raises OverloadedError for a new node when too many are known."""
        self.advance(now)
        if info.id == self.node_id:
            return Observation.SELF if self._self is None or self._self[1] == incarnation else Observation.TWIN
        known = self._members.get(info.id)
        if known is not None and not _is_news(info, incarnation, known):
            return Observation.STALE
        if known is None and len(self._members) >= MAX_MEMBERS:
            raise OverloadedError(f"node {info.id} is not taken in: {MAX_MEMBERS} members are known")
        self._take_address(info)
        self._members[info.id] = _Member(info, incarnation, now, now + self._lease_duration)
        if known is None or known.expires <= self._now or _hosting(info) != _hosting(known.info):
            self._place_hosts()  # else only a lease got longer, and looking for its end too early does no harm
        is_new = known is None or incarnation > known.incarnation
        return Observation.JOINED if is_new else Observation.RENEWED

    def failed(self, node_id: NodeId, error: str, *, now: float) -> None:
        """An attempt to reach the node failed; kept for operators until it is heard of again. Unknown nodes are
        ignored."""
        self.advance(now)
        member = self._members.get(node_id)
        if member is not None:
            member.last_error = quote(error)

    def forget(self, node_id: NodeId) -> None:
        """Drop a member, as if it had never been heard of."""
        member = self._members.pop(node_id, None)
        if member is not None:
            if self._by_url.get(member.info.url) == node_id:
                del self._by_url[member.info.url]
            self._place_hosts()

    def advance(self, now: float) -> None:
        """It is `now`, or later if a later time was told before: leases may have run out."""
        self._now = max(self._now, now)
        if self._now < self._next_expiry:
            return
        limit = self._now - FORGOTTEN_AFTER * self._lease_duration
        for node_id in [node_id for node_id, member in self._members.items() if member.seen <= limit]:
            self.forget(node_id)
        self._place_hosts()

    def _take_address(self, info: NodeInfo) -> None:
        former = self._by_url.get(info.url)
        if former is not None and former != info.id:
            self.forget(former)
        previous = self._members.get(info.id)
        if previous is not None and previous.info.url != info.url:
            del self._by_url[previous.info.url]
        self._by_url[info.url] = info.id

    def _place_hosts(self) -> None:
        """Compute `hosts_of` for every type, and when a lease will change it next."""
        hosts: dict[str, list[NodeId]] = {}
        for info in self._believed():
            if info.status is NodeStatus.ACTIVE:
                for name in dict.fromkeys(info.capabilities.addressable_types):
                    hosts.setdefault(name, []).append(info.id)
        # Tuples that did not change stay the same objects: callers compare them on every call.
        fresh = {name: tuple(sorted(node_ids)) for name, node_ids in hosts.items()}
        self._hosts = {
            name: known if (known := self._hosts.get(name)) == node_ids else node_ids
            for name, node_ids in fresh.items()
        }
        lives = (member.expires for member in self._members.values() if member.expires > self._now)
        ends = (member.seen + FORGOTTEN_AFTER * self._lease_duration for member in self._members.values())
        self._next_expiry = min((*lives, *ends), default=float("inf"))

    def _believed(self) -> Iterable[NodeInfo]:
        if self._self is not None:
            yield self._self[0]
        for member in self._members.values():
            if member.expires > self._now:
                yield member.info

    # ------------------------------------------------------------ what is asked

    def hosts_of(self, addressable_type: str) -> tuple[NodeId, ...]:
        """The ACTIVE nodes with a running lease that announce the type, sorted; ourselves included."""
        return self._hosts.get(addressable_type, ())

    async def resolve_node(self, node_id: NodeId) -> str:
        """The node's endpoint, as it announced it last, else that of the seed. Raises NodeNotFound."""
        if self._self is not None and node_id == self.node_id:
            return self._self[0].url
        if (member := self._members.get(node_id)) is not None:
            return member.info.url
        try:
            return self._seeds[node_id]
        except KeyError:
            raise NodeNotFound(str(node_id)) from None

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        """The node where the actor lives. Raises AddressableNotFound when none hosts its type."""
        home = self._placement.place(addressable, self.hosts_of(addressable.addressable_type))
        if home is None:
            raise AddressableNotFound(str(addressable))
        return home

    def views(self, now: float) -> list[MemberView]:
        """All members for operators: ourselves first, then in the order of their ids."""
        self.advance(now)
        views = [
            MemberView(
                member.info,
                member.incarnation,
                max(0.0, self._now - member.seen),
                reachable=self._is_reachable(member),
                last_error=member.last_error,
            )
            for _, member in sorted(self._members.items())
        ]
        if self._self is not None:
            info, incarnation = self._self
            views.insert(0, MemberView(info, incarnation, 0.0, reachable=True, is_self=True))
        return views

    def _is_reachable(self, member: _Member) -> bool:
        is_alive = member.expires > self._now and member.info.status is not NodeStatus.STOPPED
        return is_alive and not member.last_error

    def __repr__(self) -> str:
        return f"<Membership of {self.node_id}, {len(self._members)} others, {len(self._hosts)} actor types>"


def _hosting(info: NodeInfo) -> tuple[NodeStatus, tuple[str, ...]]:
    return info.status, info.capabilities.addressable_types


def _is_news(info: NodeInfo, incarnation: int, known: _Member) -> bool:
    if incarnation != known.incarnation:
        return incarnation > known.incarnation
    return info.status.value >= known.info.status.value
