from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ParseError
from orbit_lite.model import HeartBeat, LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import (
    ChangeRefused,
    Configuration,
    HardState,
    Member,
    bootstrap_state,
    decode_configuration,
    encode_configuration,
)
from orbit_lite.raft.membership import changed, configuration_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NODES = st.builds(
    NodeId, TEXT.filter(lambda key: not key.endswith(")")), TEXT.filter(lambda name: ":" not in name and name[0] != "(")
)
MEMBERS = st.lists(st.builds(Member, NODES, TEXT, st.booleans()), max_size=5, unique_by=lambda member: member.node_id)
CONFIGURATIONS = st.builds(Configuration, TEXT, MEMBERS.map(tuple))

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
TWO = Configuration("c", (Member(N1), Member(N2)))


@given(CONFIGURATIONS)
def test_a_configuration_comes_back_as_it_went(configuration: Configuration) -> None:
    assert decode_configuration(encode_configuration(configuration)) == configuration


@given(MEMBERS, st.randoms())
def test_the_order_in_which_members_are_given_does_not_show(members: list[Member], random: Random) -> None:
    shuffled = random.sample(members, len(members))
    assert encode_configuration(Configuration("c", tuple(members))) == encode_configuration(
        Configuration("c", tuple(shuffled))
    )


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(lambda j: json.dumps(j).encode()))
def test_anything_else_is_a_parse_error(data: bytes) -> None:
    with pytest.raises(ParseError, match=r"^configuration"):
        decode_configuration(data)


@pytest.mark.parametrize(
    "mutate",
    [
        lambda text: text + " ",
        lambda text: text.replace("true", "1"),
        lambda text: text.replace('"cluster_id"', '"extra":0,"cluster_id"'),
        lambda text: text.replace('"key":"n1"', '"key":""'),
        lambda text: text.replace('"key":"n1"', '"key":"n2"'),
        lambda text: text.replace('"key":"n1"', '"key":"\\ud800"'),
        lambda text: text.replace('"address":""', '"address":7'),
        lambda text: "[" * 100_000,
    ],
)
def test_what_only_looks_like_a_configuration_is_a_parse_error(mutate: object) -> None:
    assert callable(mutate)
    with pytest.raises(ParseError):
        decode_configuration(mutate(encode_configuration(TWO).decode()).encode())


def test_founding_nodes_begin_with_the_same_committed_entry() -> None:
    stored = bootstrap_state(TWO)
    assert stored.hard_state == HardState(term=1, vote=None, commit=1)
    [entry] = stored.entries
    assert (entry.index, entry.term, entry.timestamp_ms) == (1, 1, 0)
    assert configuration_of(entry) == TWO


def test_other_entries_hold_no_configuration() -> None:
    assert configuration_of(LogEntry(1, 1, HeartBeat())) is None
    assert configuration_of(LogEntry(1, 1, LiteCommand(LiteKind.DATA, "", 0, encode_configuration(TWO)))) is None


def test_a_change_adds_replaces_or_removes_one_node() -> None:
    assert changed(TWO, N3, Member(N3, voter=False)).learners == {N3}
    assert changed(TWO, N2, Member(N2, voter=False)).voters == {N1}
    assert changed(TWO, N2, Member(N2, "http://b:1")).member(N2) == Member(N2, "http://b:1")
    assert changed(TWO, N2, None).members == (Member(N1),)


@pytest.mark.parametrize(
    ("configuration", "node_id", "member", "reason"),
    [
        (TWO, N3, Member(N2), "one node"),
        (TWO, N3, None, "no member"),
        (TWO, N2, Member(N2), "already"),
        (Configuration("c", (Member(N1),)), N1, None, "last voter"),
        (Configuration("c", (Member(N1), Member(N2, voter=False))), N1, Member(N1, voter=False), "last voter"),
    ],
)
def test_other_changes_are_refused(
    configuration: Configuration, node_id: NodeId, member: Member | None, reason: str
) -> None:
    with pytest.raises(ChangeRefused, match=reason):
        changed(configuration, node_id, member)
