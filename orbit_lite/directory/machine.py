"""The replicated directory: which nodes there are, and which actor lives where, the same on every member of a cluster.

A state machine over the log. All that it knows came with commands, so every replica gives the same answers:

- **Time** is the cluster's own clock. The leader measures how much time passes, by its monotonic clock, and says so in
  the log (`Tick`). The clock stands still while nobody leads, and hardly moves for a leader that stood still, so nobody
  loses a lease that he had no chance to renew. A tick of an earlier term than the last does not count, and the first
  one of a term only begins to measure: no stretch of time is added twice.
- **Nodes** are believed for a lease. A later incarnation takes the place of an earlier one, and within an incarnation
  a node goes from ACTIVE to DRAINING to STOPPED and never back, so commands that overtake each other do no harm.
- **Actors** live where the first `Place` put them until that node releases them, stops, is started anew, or loses its
  lease. An actor's lease is that of its node: one renewal keeps all. Each placement has an epoch, the index of its
  log entry.

The clock may be behind by one tick at the moment of a registration. So a lease ends `LONGEST_TICK_MS` later than it
says: whoever renews it may trust in `lease_ms` from the moment when it asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from orbit_lite.directory.commands import (
    LONGEST_TICK_MS,
    ActorPlacement,
    Place,
    Refusal,
    Refused,
    Register,
    Registered,
    Release,
    Released,
    Reply,
    Tick,
    Ticked,
    decode_command,
    encode_reply,
    reference_from_json,
    reference_to_json,
    register_from_json,
    register_to_json,
)
from orbit_lite.errors import ParseError
from orbit_lite.model import AddressableReference, NodeId, NodeInfo, NodeStatus
from orbit_lite.model.json import parse_json

__all__ = ["Change", "DirectoryMachine", "NodeChange", "NodeRecord", "PlacementChange", "Resync"]

#: Nodes and actors that the directory holds; a snapshot of a million actors is some 60 MB.
MAX_NODES: Final = 1_000
MAX_ACTORS: Final = 1_000_000

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A registered node. expires_ms: when its lease ends, by the cluster's clock."""

    register: Register
    expires_ms: int

    @property
    def info(self) -> NodeInfo:
        return self.register.info

    @property
    def incarnation(self) -> int:
        return self.register.incarnation


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node came, changed, or went (None); a renewal is no change. index: of the log entry.

    It says without another word that all actors are gone from a node that went, stopped or was started anew, and from
    any node those of types that it hosts no more.
    """

    index: int
    node_id: NodeId
    record: NodeRecord | None


@dataclass(frozen=True, slots=True)
class PlacementChange:
    """An actor got a home, or was released (None)."""

    index: int
    reference: AddressableReference
    placement: ActorPlacement | None


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes up to index are not told one by one: look at the whole directory."""

    index: int


Change: TypeAlias = NodeChange | PlacementChange | Resync


class DirectoryMachine:
    """StateMachine. index: of the last command applied. now_ms: the cluster's clock."""

    def __init__(self, *, max_nodes: int = MAX_NODES, max_actors: int = MAX_ACTORS) -> None:
        """The limits must be the same on all nodes."""
        self._max_nodes = max_nodes
        self._max_actors = max_actors
        self._listeners: list[Callable[[Change], None]] = []
        self._clear()

    def _clear(self) -> None:
        self.index = 0
        self.now_ms = 0
        self._tick_term = 0
        self._nodes: dict[NodeId, NodeRecord] = {}
        self._actors: dict[AddressableReference, ActorPlacement] = {}
        self._on_node: dict[NodeId, set[AddressableReference]] = {}
        self._hosts: dict[str, tuple[NodeId, ...]] = {}

    # ------------------------------------------------------------ what is asked

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]:
        """The registered nodes, a live view."""
        return MappingProxyType(self._nodes)

    @property
    def actors(self) -> Mapping[AddressableReference, ActorPlacement]:
        """The actors that have a home, a live view."""
        return MappingProxyType(self._actors)

    def hosts_of(self, addressable_type: str) -> tuple[NodeId, ...]:
        """The ACTIVE nodes that host the type, sorted."""
        return self._hosts.get(addressable_type, ())

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Tell each change as it happens; the result ends that. The listener must not raise."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            listener(change)

    # ------------------------------------------------------------ what is told

    def apply(self, index: int, data: bytes) -> bytes:
        """Take a command; the reply says what it led to. Never raises."""
        self.index = index
        try:
            command = decode_command(data)
        except ParseError as error:
            return encode_reply(Refused(Refusal.MALFORMED, error.message))
        reply: Reply
        match command:
            case Tick():
                reply = self._tick(command)
            case Register():
                reply = self._register(command)
            case Place():
                reply = self._place(command)
            case Release():
                reply = self._release(command)
        return encode_reply(reply)

    def _tick(self, tick: Tick) -> Reply:
        if tick.term < self._tick_term:
            return Refused(Refusal.STALE, f"term {self._tick_term} measures the time")
        if tick.term == self._tick_term:
            self.now_ms += min(tick.elapsed_ms, LONGEST_TICK_MS)
            for node_id in [node_id for node_id, record in self._nodes.items() if record.expires_ms <= self.now_ms]:
                self._forget(node_id)
        self._tick_term = tick.term
        return Ticked(self.now_ms)

    def _register(self, register: Register) -> Reply:
        info = register.info
        known = self._nodes.get(info.id)
        if known is None:
            if len(self._nodes) >= self._max_nodes:
                return Refused(Refusal.FULL, f"{self._max_nodes} nodes are registered")
        elif (refused := _refusal(register, known.register)) is not None:
            return refused
        elif register.incarnation > known.incarnation or info.status is NodeStatus.STOPPED:
            self._evict(info.id)
        expires_ms = self.now_ms + register.lease_ms + LONGEST_TICK_MS
        record = self._nodes[info.id] = NodeRecord(register, expires_ms)
        if known is None or replace(known.register, lease_ms=register.lease_ms) != register:
            if known is not None and info.capabilities.addressable_types != known.info.capabilities.addressable_types:
                self._evict(info.id, keep=frozenset(info.capabilities.addressable_types))
            self._place_hosts()
            self._tell(NodeChange(self.index, info.id, record))
        return Registered(expires_ms)

    def _forget(self, node_id: NodeId) -> None:
        """The node's lease is over."""
        self._evict(node_id)
        del self._nodes[node_id]
        self._place_hosts()
        self._tell(NodeChange(self.index, node_id, None))

    def _evict(self, node_id: NodeId, keep: frozenset[str] = frozenset()) -> None:
        """The node's actors live nowhere any more, but for those of the types to keep."""
        actors = self._on_node.pop(node_id, set())
        kept = {reference for reference in actors if reference.addressable_type in keep} if keep else set()
        for reference in actors - kept:
            del self._actors[reference]
        if kept:
            self._on_node[node_id] = kept

    def _place_hosts(self) -> None:
        hosts: dict[str, list[NodeId]] = {}
        for node_id, record in self._nodes.items():
            if record.info.status is NodeStatus.ACTIVE:
                for name in dict.fromkeys(record.info.capabilities.addressable_types):
                    hosts.setdefault(name, []).append(node_id)
        # Tuples that did not change stay the same objects: callers compare them on every call.
        fresh = {name: tuple(sorted(node_ids)) for name, node_ids in hosts.items()}
        self._hosts = {
            name: known if (known := self._hosts.get(name)) == node_ids else node_ids
            for name, node_ids in fresh.items()
        }

    def _place(self, place: Place) -> Reply:
        known = self._actors.get(place.reference)
        if known is not None:
            return known
        if (why := self._why_not(place)) is not None:
            return Refused(Refusal.INELIGIBLE, why)
        if len(self._actors) >= self._max_actors:
            return Refused(Refusal.FULL, f"{self._max_actors} actors have a home")
        placement = self._actors[place.reference] = ActorPlacement(place.node_id, self.index)
        self._on_node.setdefault(place.node_id, set()).add(place.reference)
        self._tell(PlacementChange(self.index, place.reference, placement))
        return placement

    def _why_not(self, place: Place) -> str | None:
        record, name = self._nodes.get(place.node_id), place.reference.addressable_type
        if record is None:
            return f"{place.node_id} is not registered"
        if place.node_id not in self.hosts_of(name):
            return (
                f"{place.node_id} is {record.info.status.name} and hosts {record.info.capabilities.addressable_types}"
            )
        limit = record.info.capabilities.max_addressables
        if limit is not None and len(self._on_node.get(place.node_id, ())) >= limit:
            return f"{place.node_id} hosts its limit of {limit} actors"
        return None

    def _release(self, release: Release) -> Reply:
        if self._actors.get(release.reference) != ActorPlacement(release.node_id, release.epoch):
            return Released(was_held=False)
        del self._actors[release.reference]
        self._on_node[release.node_id].discard(release.reference)
        self._tell(PlacementChange(self.index, release.reference, None))
        return Released(was_held=True)

    # ------------------------------------------------------------ snapshots

    def snapshot(self) -> bytes:
        """The whole directory; equal directories give equal bytes."""
        document = {
            "format": _FORMAT,
            "index": self.index,
            "now_ms": self.now_ms,
            "tick_term": self._tick_term,
            "nodes": [
                {**register_to_json(record.register), "expires_ms": record.expires_ms}
                for _, record in sorted(self._nodes.items())
            ],
            "actors": [
                [*reference_to_json(reference), str(placement.node_id), placement.epoch]
                for reference, placement in sorted(self._actors.items())
            ],
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

    def restore(self, data: bytes) -> None:
        """Become the directory of the snapshot. Raises ParseError; then nothing has changed."""
        fresh = DirectoryMachine(max_nodes=self._max_nodes, max_actors=self._max_actors)
        try:
            fresh._load(parse_json(data))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ParseError(f"snapshot of the directory: {error!r}") from error
        listeners = self._listeners
        vars(self).update(vars(fresh), _listeners=listeners)
        self._tell(Resync(self.index))

    def _load(self, document: Any) -> None:
        if document["format"] != _FORMAT:
            raise ParseError(f"snapshot of the directory: format {document['format']!r}, {_FORMAT} is known")
        self.index, self.now_ms = int(document["index"]), int(document["now_ms"])
        self._tick_term = int(document["tick_term"])
        for item in document["nodes"]:
            register = register_from_json(item)
            self._nodes[register.info.id] = NodeRecord(register, int(item["expires_ms"]))
        for *actor, node, epoch in document["actors"]:
            reference, node_id = reference_from_json(actor), NodeId.parse(node)
            if node_id not in self._nodes:
                raise ParseError(f"snapshot of the directory: {reference} lives on {node_id}, which is not there")
            self._actors[reference] = ActorPlacement(node_id, int(epoch))
            self._on_node.setdefault(node_id, set()).add(reference)
        self._place_hosts()

    def __repr__(self) -> str:
        return f"<DirectoryMachine {len(self._nodes)} nodes, {len(self._actors)} actors at {self.index}>"


def _refusal(register: Register, known: Register) -> Refused | None:
    """Why what a node says does not count against what is known of it."""
    node_id = register.info.id
    if register.incarnation < known.incarnation:
        return Refused(Refusal.SUPERSEDED, f"{node_id} was started again as incarnation {known.incarnation}")
    if register.incarnation == known.incarnation and (
        register.revision < known.revision or register.info.status.value < known.info.status.value
    ):
        return Refused(Refusal.STALE, f"{node_id} has said something newer, revision {known.revision}")
    return None
