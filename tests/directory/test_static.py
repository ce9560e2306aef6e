from __future__ import annotations

import pytest

from orbit_lite.actors import Placement
from orbit_lite.directory import StaticNodeResolver
from orbit_lite.errors import AddressableNotFound, NodeNotFound, ParseError
from orbit_lite.model import AddressableReference, NodeId

ONE, TWO = NodeId("one"), NodeId("two")
NODES = {TWO: "http://two:50052", ONE: "grpc://ONE:50051"}
ALICE = AddressableReference.of("Account", "alice")


async def test_a_node_is_found_under_its_canonical_address() -> None:
    assert await StaticNodeResolver(NODES).resolve_node(ONE) == "http://one:50051"


async def test_a_node_that_is_not_listed_is_not_found() -> None:
    with pytest.raises(NodeNotFound) as raised:
        await StaticNodeResolver(NODES).resolve_node(NodeId("three"))
    assert raised.value.description == "Node not found: (default:three)"


def test_an_endpoint_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ParseError, match="unknown scheme"):
        StaticNodeResolver({ONE: "ftp://one"})


async def test_every_node_hosts_everything_unless_it_is_said_otherwise() -> None:
    resolver = StaticNodeResolver(NODES)
    assert resolver.hosts_of("Anything") == (ONE, TWO)
    assert await resolver.resolve_addressable(ALICE) == Placement().place(ALICE, [ONE, TWO])


async def test_types_may_be_hosted_by_some_nodes_only() -> None:
    resolver = StaticNodeResolver(NODES, types={"Account": [TWO, TWO]})
    assert resolver.hosts_of("Account") == (TWO,)
    assert await resolver.resolve_addressable(ALICE) == TWO
    with pytest.raises(AddressableNotFound, match=r"^Order:1$"):
        await resolver.resolve_addressable(AddressableReference.of("Order", "1"))


def test_a_host_that_is_not_listed_is_refused_at_once() -> None:
    with pytest.raises(NodeNotFound, match="three"):
        StaticNodeResolver(NODES, types={"Account": [NodeId("three")]})


async def test_an_explicit_place_wins() -> None:
    resolver = StaticNodeResolver(NODES, types={"Account": [ONE]}, placement=Placement({"Account:alice": TWO}))
    assert await resolver.resolve_addressable(ALICE) == TWO


async def test_without_nodes_nothing_is_found() -> None:
    with pytest.raises(AddressableNotFound):
        await StaticNodeResolver({}).resolve_addressable(ALICE)


def test_its_nodes_are_seen_in_one_line() -> None:
    assert repr(StaticNodeResolver(NODES)) == "<StaticNodeResolver (default:one), (default:two)>"
