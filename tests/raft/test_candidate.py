"""How a leader is found (Raft §5.2, §5.4.1; thesis 3.10, 9.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orbit_lite.model import AppendEntriesRequest, NodeId, VoteRequest, VoteResponse
from orbit_lite.raft import (
    Configuration,
    HardState,
    Member,
    PreVoteRequest,
    PreVoteResponse,
    RaftConfig,
    Role,
    Stored,
    TimeoutNowRequest,
    TimeoutNowResponse,
    bootstrap_state,
)

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Solo

    MakeSolo = Callable[..., Solo]
    MakeCluster = Callable[..., Cluster]
    Append = Callable[..., AppendEntriesRequest]
    Vote = Callable[..., VoteRequest]

N1, N2, N3, N4, N5 = (NodeId(f"n{number}") for number in range(1, 6))
NO_PRE_VOTE = RaftConfig(pre_vote=False)


def test_who_hears_no_leader_asks_whether_it_could_win(solo: MakeSolo) -> None:
    node = solo(2)
    assert [(sent.to, sent.request) for sent in node.time_out()] == [
        (to, PreVoteRequest(3, N1, 2, 2)) for to in (N2, N3)
    ]
    assert (node.core.role, node.core.term) == (Role.PRE_CANDIDATE, 2)


def test_who_could_win_increments_its_term_votes_for_itself_and_asks_the_others(solo: MakeSolo) -> None:
    """To begin an election, a follower increments its current term and transitions to candidate state (§5.2)."""
    node = solo(2)
    asked = node.time_out()
    sent = node.reply(asked[0], PreVoteResponse(3, True, N2))
    assert [(one.to, one.request) for one in sent] == [(to, VoteRequest(3, N1, 2, 2)) for to in (N2, N3)]
    assert (node.core.role, node.disk.hard_state) == (Role.CANDIDATE, HardState(3, N1, 1))


def test_the_vote_for_oneself_is_durable_before_others_are_asked(solo: MakeSolo) -> None:
    node = solo(config=NO_PRE_VOTE)
    node.now = node.core.next_deadline
    node.core.handle_timer(node.now)
    ready = node.core.ready()
    assert ready.hard_state == HardState(2, N1, 1)
    assert (ready.at_once, len(ready.requests)) == ((), 2)


def test_a_majority_of_votes_makes_a_leader(solo: MakeSolo) -> None:
    node = solo(size=5, config=NO_PRE_VOTE)
    asked = node.time_out()
    node.reply(asked[0], VoteResponse(2, True, N2))
    assert node.core.role is Role.CANDIDATE
    node.reply(asked[1], VoteResponse(2, True, N3))
    assert (node.core.role, node.core.leader) == (Role.LEADER, N1)


def test_the_same_voter_counts_once(solo: MakeSolo) -> None:
    node = solo(size=5, config=NO_PRE_VOTE)
    asked = node.time_out()
    for _ in range(5):
        node.reply(asked[0], VoteResponse(2, True, N2))
    assert node.core.role is Role.CANDIDATE


def test_another_node_at_a_voters_address_does_not_count(solo: MakeSolo) -> None:
    node = solo(config=NO_PRE_VOTE)
    asked = node.time_out()
    node.reply(asked[0], VoteResponse(2, True, N5))
    assert node.core.role is Role.CANDIDATE


@pytest.mark.parametrize("pre_vote", [True, False])
def test_answers_to_an_earlier_candidacy_do_not_count(solo: MakeSolo, pre_vote: bool) -> None:
    node = solo(config=RaftConfig(pre_vote=pre_vote))
    asked = node.time_out()
    if pre_vote:
        node.core.receive_response(asked[0], PreVoteResponse(5, False, N2), node.now)  # a later term is about
    node.time_out()
    role = node.core.role
    for sent in asked:
        node.reply(sent, node.grant(sent))
    assert node.core.role is role


def test_a_candidate_that_hears_the_terms_leader_follows_it(solo: MakeSolo, append: Append) -> None:
    """If the leader's term is at least as large as its own, the candidate returns to follower state (§5.2)."""
    node = solo(config=NO_PRE_VOTE)
    node.time_out()
    assert node.ask(append(2, (1, 1))).success
    assert (node.core.role, node.core.leader, node.core.vote) == (Role.FOLLOWER, N2, N1)


def test_what_an_ended_role_wanted_is_not_sent(solo: MakeSolo, append: Append) -> None:
    node = solo(config=NO_PRE_VOTE)
    node.now = node.core.next_deadline
    node.core.handle_timer(node.now)
    assert node.ask(append(2, (1, 1))).success
    assert node.out == []


def test_a_candidate_rejects_an_earlier_leader_and_stays(solo: MakeSolo, append: Append) -> None:
    node = solo(term=3, config=NO_PRE_VOTE)
    node.time_out()
    assert node.ask(append(3, (1, 1))).success is False
    assert (node.core.role, node.core.term) == (Role.CANDIDATE, 4)


def test_a_candidate_that_neither_wins_nor_loses_begins_anew(solo: MakeSolo) -> None:
    """Each candidate will time out and start a new election by incrementing its term (§5.2)."""
    node = solo(config=NO_PRE_VOTE)
    node.time_out()
    assert {sent.request.term for sent in node.time_out()} == {3}


def test_timeouts_are_drawn_anew_from_the_interval_for_each_wait_and_campaign(
    solo: MakeSolo, append: Append, vote: Vote
) -> None:
    node = solo()
    draws = iter([0.1, 0.2, 0.3, 0.4, 0.5])
    node.core.random = draws.__next__
    node.ask(append(2, (1, 1)))
    assert node.core.next_deadline == pytest.approx(1.1)
    node.time_out()
    assert node.core.next_deadline - node.now == pytest.approx(1.2)
    node.time_out()
    assert node.core.next_deadline - node.now == pytest.approx(1.3)
    node.ask(vote(3, (5, 2)))
    assert node.core.next_deadline - node.now == pytest.approx(1.4)


@pytest.mark.parametrize("answer_term", [3, 9])
def test_a_later_term_in_an_answer_ends_a_candidacy(solo: MakeSolo, answer_term: int) -> None:
    node = solo(2)
    asked = node.time_out()
    node.reply(asked[0], PreVoteResponse(answer_term, False, N2))
    assert (node.core.role, node.core.term) == (Role.FOLLOWER, answer_term)


def test_the_term_of_a_granted_pre_vote_is_not_adopted(solo: MakeSolo) -> None:
    node = solo(size=5)
    asked = node.time_out()
    node.reply(asked[0], PreVoteResponse(2, True, N2))
    assert (node.core.role, node.core.term) == (Role.PRE_CANDIDATE, 1)


def test_a_peer_without_pre_vote_counts_as_neither(solo: MakeSolo) -> None:
    node = solo()
    asked = node.time_out()
    node.core.unreachable(asked[0], node.now, unimplemented=True)
    assert node.settle() == []
    assert node.core.role is Role.PRE_CANDIDATE


def test_terms_end_before_they_overflow(solo: MakeSolo) -> None:
    node = solo(term=(1 << 64) - 2)
    assert node.time_out() == []
    assert node.core.role is Role.FOLLOWER


def test_a_single_voter_elects_itself_and_commits_what_is_durable(solo: MakeSolo) -> None:
    node = solo(size=1)
    node.now = node.core.next_deadline
    node.core.handle_timer(node.now)
    assert node.core.role is Role.LEADER
    ready = node.core.ready()
    assert ready.hard_state == HardState(2, N1, 1)
    assert node.core.commit == 1
    node.core.persisted(ready, node.now)
    assert node.core.commit == 2


@pytest.mark.parametrize(
    "stored",
    [
        Stored(),
        bootstrap_state(Configuration("test", (Member(N1, voter=False), Member(N2)))),
        bootstrap_state(Configuration("test", (Member(N3), Member(N2)))),
    ],
)
def test_joining_nodes_learners_and_removed_ones_never_campaign(solo: MakeSolo, stored: Stored) -> None:
    node = solo(stored=stored)
    assert node.after(20.0) == []
    assert node.core.role is Role.FOLLOWER
    node.ask(TimeoutNowRequest(3, N2))
    assert (node.core.role, node.out) == (Role.FOLLOWER, [])


def test_a_node_whose_disk_hangs_does_not_campaign(solo: MakeSolo, vote: Vote) -> None:
    node = solo()
    node.give(vote(2, (1, 1)))
    node.core.ready()  # … and never says that it is written
    node.now = 3.0
    node.core.handle_timer(node.now)
    node.now = node.core.next_deadline
    node.core.handle_timer(node.now)
    assert node.core.role is Role.FOLLOWER


# ---------------------------------------------------------------- hand-over (thesis 3.10, 4.2.3)


def test_whom_the_leader_chose_campaigns_at_once_and_says_so(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    assert node.ask(TimeoutNowRequest(2, N2)) == TimeoutNowResponse(2, N1)
    assert [(sent.request, sent.transfer) for sent in node.out] == [(VoteRequest(3, N1, 1, 1), True)] * 2


def test_only_the_leader_chooses(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    node.ask(TimeoutNowRequest(2, N3))
    assert node.core.role is Role.FOLLOWER


def test_a_later_candidacy_of_its_own_is_no_hand_over(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    node.ask(TimeoutNowRequest(2, N2))
    assert [sent.transfer for sent in node.time_out()] == [False, False]


# ---------------------------------------------------------------- time that stood still


def test_after_a_pause_a_follower_waits_once_more(solo: MakeSolo) -> None:
    node = solo()
    node.now = node.core.next_deadline + 1.5
    assert node.time_out() == []
    assert node.core.next_deadline == node.now + 1.0
    assert node.time_out() != []


# ---------------------------------------------------------------- elections of several


def test_a_node_with_a_shorter_log_is_not_elected(cluster: MakeCluster) -> None:
    three = cluster()
    three.elect(N1)
    three.isolate(N3)
    three.propose("a", "b")
    three.heal()
    three.isolate(N1)
    core = three.cores[N3]
    three.now = max(three.now + 1.0, core.next_deadline)
    for _ in range(5):
        three.now = core.next_deadline
        core.handle_timer(three.now)
        three.settle()
        assert core.role is not Role.LEADER


def test_a_node_that_was_cut_off_disturbs_nobody_when_it_returns(cluster: MakeCluster) -> None:
    three = cluster()
    leader = three.elect(N1)
    three.isolate(N3)
    three.advance(30.0)
    three.heal()
    three.advance(5.0)
    assert (leader.role, leader.term, three.cores[N3].term) == (Role.LEADER, 2, 2)


@pytest.mark.parametrize("seed", range(20))
def test_equal_nodes_soon_agree_on_a_leader(cluster: MakeCluster, seed: int) -> None:
    five = cluster(5, seed=seed)
    five.advance(10.0)
    assert {core.leader for core in five.cores.values()} == {five.leader().node_id}


def test_a_node_in_a_later_term_with_a_shorter_log_is_taken_along(cluster: MakeCluster) -> None:
    """Its term makes the leader step down, else it could neither follow nor win."""
    three = cluster(config=replace(cluster().config, pre_vote=False))
    leader = three.elect(N1)
    three.isolate(N3)
    three.propose("a")
    three.advance(10.0)
    assert three.cores[N3].term > leader.term
    three.heal()
    three.advance(20.0)
    assert {core.term for core in three.cores.values()} == {three.leader().term}
    assert three.data_of(N3) == ["a"]
