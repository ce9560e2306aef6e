"""A directory that never changes: nodes and their addresses from configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orbit_lite.actors.placement import Placement
from orbit_lite.errors import AddressableNotFound, NodeNotFound
from orbit_lite.model import AddressableReference, NodeId
from orbit_lite.rpc.endpoint import Endpoint

__all__ = ["StaticNodeResolver"]


class StaticNodeResolver:
    """NodeResolver and Hosts over a fixed list.

    nodes: node → its endpoint. types: actor type → the nodes that host it; None = every node hosts every type.
    placement: which of them an actor lives on; all nodes must be given the same. Raises ParseError for an endpoint
    that is none, NodeNotFound for a host that is not among the nodes.
    """

    def __init__(
        self,
        nodes: Mapping[NodeId, str],
        *,
        types: Mapping[str, Iterable[NodeId]] | None = None,
        placement: Placement | None = None,
    ) -> None:
        self._urls = {node_id: Endpoint.parse(url).url for node_id, url in nodes.items()}
        self._everyone = tuple(sorted(self._urls))
        self._types = None if types is None else {name: tuple(sorted(set(hosts))) for name, hosts in types.items()}
        for host in {host for hosts in (self._types or {}).values() for host in hosts}:
            self._url(host)
        self._placement = placement or Placement()

    def hosts_of(self, addressable_type: str) -> tuple[NodeId, ...]:
        """The nodes that host the type, sorted."""
        return self._everyone if self._types is None else self._types.get(addressable_type, ())

    async def resolve_node(self, node_id: NodeId) -> str:
        """The node's endpoint. Raises NodeNotFound."""
        return self._url(node_id)

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        """The node where the actor lives. Raises AddressableNotFound when none hosts its type."""
        home = self._placement.place(addressable, self.hosts_of(addressable.addressable_type))
        if home is None:
            raise AddressableNotFound(str(addressable))
        return home

    def _url(self, node_id: NodeId) -> str:
        try:
            return self._urls[node_id]
        except KeyError:
            raise NodeNotFound(str(node_id)) from None

    def __repr__(self) -> str:
        return f"<StaticNodeResolver {', '.join(map(str, self._everyone))}>"
