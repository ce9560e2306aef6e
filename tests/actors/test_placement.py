from __future__ import annotations

import hashlib
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.actors import Placement
from orbit_lite.model import AddressableReference, Int64Key, NodeId, StringKey

NODES = [NodeId(f"node-{number}") for number in range(1, 6)]

references = st.builds(AddressableReference.of, st.sampled_from(["Account", "Order"]), st.text(max_size=20))
hosts = st.lists(st.sampled_from(NODES), min_size=1, unique=True)


def ref(key: str | int) -> AddressableReference:
    return AddressableReference.of("Account", key)


def test_without_hosts_there_is_no_place() -> None:
    assert Placement().place(ref("a"), []) is None


@given(references, hosts)
def test_the_place_is_one_of_the_hosts_whatever_their_order(
    reference: AddressableReference, nodes: list[NodeId]
) -> None:
    place = Placement().place(reference, nodes)
    assert place in nodes
    assert Placement().place(reference, nodes[::-1]) == place


@given(references, hosts)
def test_a_node_that_leaves_moves_only_its_own_actors(reference: AddressableReference, nodes: list[NodeId]) -> None:
    placement = Placement()
    place = placement.place(reference, nodes)
    for leaving in nodes:
        rest = [node for node in nodes if node != leaving]
        if leaving != place and rest:
            assert placement.place(reference, rest) == place


def test_actors_spread_evenly() -> None:
    placement = Placement()
    counts = Counter(placement.place(ref(f"account-{number}"), NODES) for number in range(2000))
    assert set(counts) == set(NODES)
    assert all(300 < count < 500 for count in counts.values())


def test_the_choice_is_part_of_the_protocol() -> None:
    """All nodes of a cluster, whatever their version, must choose alike."""
    placement = Placement()
    chosen = {key: placement.place(ref(key), NODES) for key in ("alice", "bob", "Zoë", 42)}
    assert chosen == {"alice": NODES[1], "bob": NODES[3], "Zoë": NODES[1], 42: NODES[2]}


@given(references, hosts)
def test_the_highest_hash_of_name_and_node_wins(reference: AddressableReference, nodes: list[NodeId]) -> None:
    def score(node: NodeId) -> bytes:
        return hashlib.blake2b(f"{reference}\0{node}".encode(), digest_size=8).digest()

    assert Placement().place(reference, nodes) == max(nodes, key=score)


def test_keys_with_the_same_text_live_on_the_same_node() -> None:
    placement = Placement()
    for number in range(50):
        text = AddressableReference("Account", StringKey(str(number)))
        integer = AddressableReference("Account", Int64Key(number))
        assert placement.place(text, NODES) == placement.place(integer, NODES)


def test_an_explicit_place_wins_even_where_no_host_is_known() -> None:
    away = NodeId("elsewhere")
    placement = Placement({"Account:alice": away})
    assert placement.place(ref("alice"), NODES) == away
    assert placement.place(ref("alice"), []) == away
    assert placement.place(ref("bob"), []) is None


def test_a_whole_type_can_be_placed_and_a_single_actor_of_it_elsewhere() -> None:
    placement = Placement({"Account": NODES[0], "Account:alice": NODES[1]})
    assert placement.place(ref("bob"), NODES[2:]) == NODES[0]
    assert placement.place(ref("alice"), NODES[2:]) == NODES[1]
    assert placement.place(AddressableReference.of("Order", "bob"), NODES[2:]) in NODES[2:]


def test_names_without_a_utf8_form_are_placed_too() -> None:
    nodes = [NodeId("a", "one"), NodeId("b", "two")]
    assert Placement().place(AddressableReference.of("Ä:ö", "key"), nodes) in nodes
