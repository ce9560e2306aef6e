"""What the driver may rely on: the order of duties, one write at a time, and what a restart finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from orbit_lite.errors import InternalError
from orbit_lite.model import AppendEntriesRequest, LiteCommand, LiteKind, NodeId, VoteRequest
from orbit_lite.raft import (
    HardState,
    RaftConfig,
    RaftCore,
    Ready,
    Role,
    StoreCorrupt,
    Stored,
)

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Solo

    MakeSolo = Callable[..., Solo]
    MakeCluster = Callable[..., Cluster]
    Append = Callable[..., AppendEntriesRequest]
    Vote = Callable[..., VoteRequest]

N1, N2, N3 = (NodeId(f"n{number}") for number in range(1, 4))


def data(text: str) -> LiteCommand:
    return LiteCommand(LiteKind.DATA, "", 0, text.encode())


def test_a_new_core_hands_out_what_is_known_to_be_committed_and_nothing_to_persist(solo: MakeSolo) -> None:
    node = solo(1, 1, commit=2)
    ready = node.core.ready()
    assert (ready.must_persist, [entry.index for entry in ready.committed]) == (False, [1, 2])
    assert not node.core.has_ready()


def test_there_is_one_write_at_a_time(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.give(append(2, (1, 1), 2))
    first = node.core.ready()
    node.give(append(2, (2, 2), 2))
    node.give(append(2, (3, 2), 2))
    assert not node.core.has_ready()
    assert node.core.ready() == Ready()
    node.core.persisted(first, 0.0)
    second = node.core.ready()
    assert [entry.index for entry in second.entries] == [3, 4]


def test_entries_that_are_replaced_while_they_are_written_are_written_anew(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.give(append(2, (1, 1), 2, 2))
    first = node.core.ready()
    node.give(append(3, (2, 2), 3, leader="n3"))
    node.disk.save(first)
    node.core.persisted(first, 0.0)
    assert node.core.status().durable == 2
    node.settle()
    assert [entry.term for entry in node.disk.entries] == [1, 2, 3]
    assert node.core.status().durable == 3


def test_a_commit_alone_is_not_worth_a_write(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1), 2, commit=1))
    node.give(append(2, (2, 2), commit=2))
    assert not node.core.ready().must_persist
    node.ask(append(2, (2, 2), 2, commit=2))
    assert node.disk.hard_state == HardState(2, N2, 2)


def test_what_depends_on_the_term_waits_for_it(solo: MakeSolo) -> None:
    node = solo(size=1, learners=1)
    node.now = node.core.next_deadline
    node.core.handle_timer(node.now)
    ready = node.core.ready()
    assert (ready.at_once, [sent.to for sent in ready.requests]) == ((), [N2, N2])
    node.core.propose([data("a")], node.now)
    assert node.core.ready().at_once == ()
    node.core.persisted(ready, node.now)
    node.core.propose([data("b")], node.now)
    node.core.ready()


def test_many_entries_are_handed_out_in_pieces(solo: MakeSolo) -> None:
    node = solo(*[1] * 3000, commit=3001)
    pieces = []
    while node.core.has_ready():
        pieces.append(len(node.core.ready().committed))
    assert sum(pieces) == 3001
    assert max(pieces) <= 1024


def test_a_write_that_was_not_handed_out_cannot_be_done(solo: MakeSolo) -> None:
    with pytest.raises(InternalError, match="no write is under way"):
        solo().core.persisted(Ready(hard_state=HardState(1)), 0.0)


def test_a_timer_that_comes_early_has_no_effect(solo: MakeSolo) -> None:
    node = solo()
    node.core.handle_timer(node.core.next_deadline - 0.001)
    assert node.core.role is Role.FOLLOWER
    assert node.time_out() != []


@pytest.mark.parametrize(
    "stored",
    [Stored(HardState(term=1, commit=1)), Stored(HardState(term=1, commit=3)), None],
)
def test_a_store_that_lost_what_was_committed_or_the_term_is_corrupt(solo: MakeSolo, stored: Stored | None) -> None:
    if stored is None:
        stored = Stored(HardState(term=1), entries=solo(2, 3).disk.stored().entries)
    with pytest.raises(StoreCorrupt):
        RaftCore(N1, RaftConfig(), stored, now=0.0, random=lambda: 0.0)


def test_a_restarted_node_has_what_was_durable(solo: MakeSolo, append: Append, vote: Vote) -> None:
    node = solo()
    node.ask(append(2, (1, 1), 2, 2, commit=2))
    node.ask(append(2, (3, 2), 2, commit=2))
    again = solo(stored=node.disk.stored())
    assert (again.core.term, again.core.vote, again.core.last_index) == (2, N2, 4)
    again.settle()
    assert [entry.index for entry in again.committed] == [1, 2]
    assert again.core.leader is None


def test_status_tells_all(solo: MakeSolo) -> None:
    node = solo(learners=1).lead()
    node.propose("a")
    node.now += 0.05
    node.core.handle_timer(node.now)
    status = node.core.status()
    assert (status.role, status.term, status.leader, status.commit, status.last_index) == (Role.LEADER, 2, N1, 2, 3)
    assert (status.first_index, status.applied, status.durable, status.configuration_index) == (1, 2, 3, 1)
    [second, third, learner] = status.followers
    assert (second.node_id, second.match_index, second.next_index, second.inflight_appends) == (N2, 2, 4, 1)
    assert (third.is_voter, learner.is_voter) == (True, False)
    assert second.silence == pytest.approx(0.05)
    assert status.fault is None
    assert node.core.configuration_at(1) == status.configuration


@pytest.mark.parametrize("seed", range(5))
def test_the_same_inputs_give_the_same_outputs(cluster: MakeCluster, seed: int) -> None:
    def history() -> list[str]:
        five = cluster(5, seed=seed)
        seen: list[str] = []
        five.watch = lambda node_id, ready: seen.append(f"{node_id} {ready}")
        five.advance(5.0)
        five.propose("a", "b")
        five.isolate(five.leader().node_id)
        five.advance(10.0)
        return seen

    assert history() == history()


def test_everything_proposed_is_applied_everywhere_in_order(cluster: MakeCluster) -> None:
    three = cluster()
    three.elect(N1)
    for number in range(50):
        three.propose(*(f"{number}.{at}" for at in range(number % 4)))
    three.advance(0.5)
    expected = [f"{number}.{at}" for number in range(50) for at in range(number % 4)]
    assert all(three.data_of(node_id) == expected for node_id in three.cores)
