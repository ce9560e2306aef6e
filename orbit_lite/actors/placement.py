"""Where an actor lives: an explicit map, else rendezvous hashing (Thaler & Ravishankar 1998).

All nodes that see the same hosts choose the same one, without talking. When a node joins or leaves, only the actors
move that it gains or loses: every other keeps its highest score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from orbit_lite.model import AddressableReference, NodeId

__all__ = ["Placement"]


class Placement:
    """Chooses a node for an actor.

    explicit: text of a reference (`Type:key`) or of a type (`Type`: all its actors) → node. Such an actor lives on
    that node and nowhere else, whether or not the node announces the type; so actors of nodes that announce nothing,
    as those of Orbit-RS, can be reached.
    """

    __slots__ = ("_explicit", "_node_texts")

    def __init__(self, explicit: Mapping[str, NodeId] | None = None) -> None:
        self._explicit = dict(explicit or {})
        self._node_texts: dict[NodeId, bytes] = {}

    def place(self, reference: AddressableReference, hosts: Sequence[NodeId]) -> NodeId | None:
        """The actor's node; None when there are no hosts to choose from. The order of hosts has no influence."""
        name = str(reference)
        if self._explicit:
            pinned = self._explicit.get(name) or self._explicit.get(reference.addressable_type)
            if pinned is not None:
                return pinned
        if len(hosts) < 2:
            return hosts[0] if hosts else None
        prefix = hashlib.blake2b(name.encode("utf-8", "surrogatepass") + b"\0", digest_size=8)
        return max(hosts, key=lambda node: (self._score(prefix, node), node))

    def _score(self, prefix: hashlib.blake2b, node: NodeId) -> bytes:
        text = self._node_texts.get(node)
        if text is None:
            if len(self._node_texts) >= 4096:  # nodes come and go; a forgotten text is only encoded again
                self._node_texts.clear()
            text = self._node_texts[node] = str(node).encode("utf-8", "surrogatepass")
        hashed = prefix.copy()
        hashed.update(text)
        return hashed.digest()

    def __repr__(self) -> str:
        return f"<Placement {len(self._explicit)} explicit, else rendezvous>"
