"""Who speaks, decided from what is said and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.model import NodeId
from orbit_lite.raft import ClusterMismatch, WipedNode
from orbit_lite.raft.identity import (
    CLUSTER,
    MOST_PEERS,
    NODE,
    STORE,
    TO_NODE,
    TO_STORE,
    WIPED,
    check_peer,
    check_receiver,
    check_sender,
    introduce,
)
from orbit_lite.testing import strategies as orbit

ME, OTHER = NodeId("me"), NodeId("other")
SAID = introduce("c", ME, "mine", OTHER, "theirs")


def test_an_introduction_is_taken_by_whom_it_is_for() -> None:
    assert check_sender(SAID, "c", {}) == (ME, "mine")
    assert check_sender(SAID, "c", {ME: "mine"}, ME) == (ME, "mine")
    check_receiver(SAID, OTHER, "theirs")


@given(st.text(), orbit.node_ids(), st.text(min_size=1), orbit.node_ids(), st.text())
def test_names_in_any_script_travel_in_metadata(
    cluster_id: str, node_id: NodeId, store_id: str, to: NodeId, to_store: str
) -> None:
    said = introduce(cluster_id, node_id, store_id, to, to_store)
    for value in said.values():
        assert value.isascii()
        assert value == "" or value.isprintable()
        assert " " not in value
    assert check_sender(said, cluster_id, {}) == (node_id, store_id)
    check_receiver(said, to, to_store)


def test_everyday_names_travel_as_they_are() -> None:
    assert SAID == {CLUSTER: "c", NODE: "(default:me)", STORE: "mine", TO_NODE: "(default:other)", TO_STORE: "theirs"}


def test_a_store_that_is_not_known_yet_is_not_named() -> None:
    said = introduce("c", ME, "mine", OTHER, None)
    assert TO_STORE not in said
    check_receiver(said, OTHER, "any")


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "Orbit-RS nodes cannot take part"),
        (SAID | {CLUSTER: "another"}, "this is cluster 'c', the sender is of 'another'"),
        (SAID | {CLUSTER: b"c"}, "Orbit-RS nodes cannot take part"),
        ({CLUSTER: "c"}, "Orbit-RS nodes cannot take part"),
        ({CLUSTER: "c", NODE: "me"}, "Orbit-RS nodes cannot take part"),
        (SAID | {STORE: ""}, "Orbit-RS nodes cannot take part"),
        (SAID | {NODE: "(:)"}, "cannot be read"),
    ],
)
def test_a_sender_that_is_no_member_of_the_cluster_is_refused(metadata: dict[str, str | bytes], problem: str) -> None:
    with pytest.raises(ClusterMismatch, match=problem):
        check_sender(metadata, "c", {})


def test_a_message_in_the_name_of_another_is_refused() -> None:
    with pytest.raises(ClusterMismatch, match=r"\(default:me\) sends a message of \(default:other\)"):
        check_sender(SAID, "c", {}, OTHER)


def test_a_sender_that_lost_its_store_is_told_so() -> None:
    with pytest.raises(WipedNode, match="has lost its data") as refused:
        check_sender(SAID, "c", {ME: "an older one"})
    assert dict(refused.value.metadata) == {WIPED: "sender"}


def test_a_receiver_that_lost_its_store_says_so() -> None:
    with pytest.raises(WipedNode, match=r"\(default:other\) is known with another store") as refused:
        check_receiver(SAID, OTHER, "a newer one")
    assert dict(refused.value.metadata) == {WIPED: "receiver"}


def test_what_is_meant_for_another_node_is_refused() -> None:
    with pytest.raises(ClusterMismatch, match=r"this is \(default:third\), not \(default:other\)"):
        check_receiver(SAID, NodeId("third"), "theirs")


def test_a_peer_is_remembered_once() -> None:
    said = ("c", str(OTHER), "theirs")
    assert check_peer(said, "c", OTHER, {})
    assert not check_peer(said, "c", OTHER, {OTHER: "theirs"})


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (("another", "other", "s"), "it is of cluster 'another', this is 'c'"),
        (("c", "third", "s"), r"\(default:third\) answers where \(default:other\) was expected"),
        (("c", "", "s"), "cannot be read"),
        (("c", "other", ""), "does not say which store"),
    ],
)
def test_a_peer_that_is_not_the_one_looked_for_does_not_count(said: tuple[str, str, str], problem: str) -> None:
    with pytest.raises(ClusterMismatch, match=problem):
        check_peer(said, "c", OTHER, {})


def test_a_peer_that_lost_its_store_does_not_count() -> None:
    with pytest.raises(WipedNode) as refused:
        check_peer(("c", "other", "new"), "c", OTHER, {OTHER: "old"})
    assert not refused.value.metadata


def test_strangers_cannot_fill_the_store() -> None:
    known = {NodeId(f"n{number}"): "s" for number in range(MOST_PEERS)}
    with pytest.raises(ClusterMismatch, match="1000 nodes are remembered"):
        check_sender(SAID, "c", known)
    with pytest.raises(ClusterMismatch, match="1000 nodes are remembered"):
        check_peer(("c", "other", "s"), "c", OTHER, known)
    assert check_sender(introduce("c", NodeId("n7"), "s", OTHER, None), "c", known) == (NodeId("n7"), "s")


NAMES = st.sampled_from([CLUSTER, NODE, STORE, TO_NODE, TO_STORE])


@given(st.dictionaries(NAMES, st.text() | st.binary()), st.dictionaries(orbit.node_ids(), st.text(), max_size=3))
def test_whatever_is_said_it_is_taken_or_refused(metadata: dict[str, str | bytes], known: dict[NodeId, str]) -> None:
    try:
        sender, store_id = check_sender(metadata, "c", known)
        check_receiver(metadata, OTHER, "theirs")
    except (ClusterMismatch, WipedNode):
        return
    assert metadata[CLUSTER] == "c"
    assert known.get(sender, store_id) == store_id
    assert metadata.get(TO_NODE) == str(OTHER) or not isinstance(metadata.get(TO_NODE), str)
