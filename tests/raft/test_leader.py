"""What a leader does (Raft §5.3, §5.4.2, §6, §8; thesis 3.10, 4, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orbit_lite.errors import ParseError
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LiteCommand,
    LiteKind,
    NodeId,
    VoteRequest,
)
from orbit_lite.raft import (
    ChangeRefused,
    Member,
    NotLeader,
    Outgoing,
    PreVoteRequest,
    ProposalDropped,
    RaftConfig,
    Role,
    TimeoutNowRequest,
    TimeoutNowResponse,
    TransferFailed,
)

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Solo

    MakeSolo = Callable[..., Solo]
    MakeCluster = Callable[..., Cluster]
    Append = Callable[..., AppendEntriesRequest]
    Vote = Callable[..., VoteRequest]

N1, N2, N3, N4, N5 = (NodeId(f"n{number}") for number in range(1, 6))


def appends(sent: list[Outgoing], to: NodeId) -> list[AppendEntriesRequest]:
    """The AppendEntries with entries among them."""
    requests = [one.request for one in sent if one.to == to]
    return [request for request in requests if isinstance(request, AppendEntriesRequest) and request.entries]


def heartbeats(sent: list[Outgoing], to: NodeId) -> list[AppendEntriesRequest]:
    requests = [one.request for one in sent if one.to == to]
    return [request for request in requests if isinstance(request, AppendEntriesRequest) and not request.entries]


def data(text: str) -> LiteCommand:
    return LiteCommand(LiteKind.DATA, "", 0, text.encode())


# ---------------------------------------------------------------- it begins, goes on, and ends


def test_a_leader_begins_with_heartbeats_and_an_entry_of_its_term(solo: MakeSolo) -> None:
    """Upon election: send heartbeats to each server (figure 2), and commit a blank no-op entry (§8)."""
    node = solo(2).elect()
    for peer in (N2, N3):
        assert len(heartbeats(node.out, peer)) == 1
        [request] = appends(node.out, peer)
        assert (request.term, request.prev_log_index, request.prev_log_term) == (3, 2, 2)
        assert [(entry.term, entry.index) for entry in request.entries] == [(3, 3)]


def test_heartbeats_prevent_elections(solo: MakeSolo) -> None:
    node = solo().lead()
    sent = node.after(0.35)
    assert len(heartbeats(sent, N2)) == len(heartbeats(sent, N3)) == 4  # the first tells of the commit


def test_a_heartbeat_commits_no_more_than_the_follower_is_known_to_hold(solo: MakeSolo) -> None:
    node = solo().elect()
    node.acknowledge(N2)
    node.propose("a")
    node.acknowledge(N2)
    sent = node.after(0.1)
    assert {(r.prev_log_index, r.leader_commit) for r in heartbeats(sent, N2)} == {(3, 3)}
    assert {(r.prev_log_index, r.leader_commit) for r in heartbeats(sent, N3)} == {(0, 0)}


def test_a_later_term_makes_a_leader_step_down(solo: MakeSolo, append: Append) -> None:
    node = solo().lead()
    [sent] = heartbeats(node.after(0.1), N2)[:1]
    node.reply(Outgoing(N2, sent), AppendEntriesResponse(7, False, N2, 9))
    assert (node.core.role, node.core.term, node.core.leader) == (Role.FOLLOWER, 7, None)
    other = solo().lead()
    assert other.ask(append(9, (1, 1))).success
    assert other.core.role is Role.FOLLOWER


def test_a_leader_that_hears_no_majority_steps_down(solo: MakeSolo) -> None:
    """A leader steps down if an election timeout elapses without a successful round of heartbeats (thesis 6.2)."""
    node = solo(size=5).lead()
    while node.now < 5.0:
        node.after(0.1)
        node.acknowledge(N2, N3)
    assert node.core.leader == N1
    heard = node.now
    while node.core.role is Role.LEADER:
        node.after(0.1)
        node.acknowledge(N2)
    assert 2.0 <= node.now - heard <= 2.3
    assert node.core.status().leader is None


def test_learners_are_no_majority(solo: MakeSolo) -> None:
    node = solo(size=3, learners=2).lead()
    for _ in range(30):
        node.after(0.1)
        node.acknowledge(N4, N5)
    assert node.core.role is not Role.LEADER


def test_without_check_quorum_a_leader_stays(solo: MakeSolo) -> None:
    node = solo(config=RaftConfig(check_quorum=False)).lead()
    node.after(10.0)
    assert node.core.role is Role.LEADER


def test_a_leader_that_is_heard_by_a_majority_ignores_candidates(solo: MakeSolo, vote: Vote) -> None:
    node = solo().lead()
    assert not node.ask(vote(9, (9, 2))).vote_granted
    assert not node.ask(PreVoteRequest(9, N3, 9, 2)).vote_granted
    assert (node.core.role, node.core.term) == (Role.LEADER, 2)
    node.after(1.0)
    assert node.ask(vote(9, (9, 2))).vote_granted


def test_a_leader_whose_disk_hangs_lets_others_lead(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.propose([data("a")], node.now)
    node.core.ready()  # … and never says that it is written
    for _ in range(25):
        node.now += 0.1
        node.core.handle_timer(node.now)
        while node.core.has_ready():
            node.take(node.core.ready())
        node.acknowledge(N2, N3)
    assert node.core.role is Role.FOLLOWER


def test_after_a_pause_a_leader_gives_its_followers_time_to_be_heard(solo: MakeSolo) -> None:
    node = solo().lead()
    node.now += 60.0
    node.time_out()
    node.acknowledge(N2)
    node.after(1.9)
    assert node.core.leader == N1
    node.after(0.3)
    assert node.core.leader is None


# ---------------------------------------------------------------- §5.3, §5.4.2 commit


def test_an_entry_is_committed_once_a_majority_holds_it(solo: MakeSolo) -> None:
    node = solo(size=5).lead()
    node.propose("a")
    node.acknowledge(N2)
    assert node.core.commit == 2
    node.acknowledge(N3)
    assert (node.core.commit, node.committed[-1].command) == (3, data("a"))


def test_a_leader_counts_itself_only_for_what_is_durable(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.propose([data("a")], node.now)
    ready = node.core.ready()
    assert len(ready.at_once) == 2  # followers write while the leader does (thesis 10.2.1)
    for sent in ready.at_once[:1]:
        node.core.receive_response(sent, node.success(sent), node.now)
    assert node.core.commit == 2
    node.core.persisted(ready, node.now)
    assert node.core.commit == 3


def test_what_is_committed_by_others_is_applied_once_it_is_durable_here(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.propose([data("a")], node.now)
    ready = node.core.ready()
    for sent in ready.at_once:
        node.core.receive_response(sent, node.success(sent), node.now)
    assert node.core.commit == 3
    assert node.core.ready().committed == ()
    node.core.persisted(ready, node.now)
    assert [entry.index for entry in node.core.ready().committed] == [3]


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting(solo: MakeSolo) -> None:
    """Figure 8: only log entries from the leader's current term are committed by counting replicas (§5.4.2)."""
    node = solo(2, 2, config=RaftConfig(max_append_entries=1)).elect()
    [sent] = [one for one in node.out if one.to == N2 and appends([one], N2)]
    node.out.clear()
    node.reply(sent, node.refusal(sent, 1))
    [old] = [one for one in node.out if appends([one], N2)]
    node.out.clear()
    assert isinstance(old.request, AppendEntriesRequest)
    assert [entry.term for entry in old.request.entries] == [2]
    node.reply(old, node.success(old))
    assert node.core.commit == 1  # a majority holds entry 2 of term 2
    node.acknowledge(N2)
    assert node.core.commit == 4


def test_answers_may_come_late_twice_and_in_any_order(solo: MakeSolo) -> None:
    node = solo().lead()
    first, second = node.propose("a")[0], node.propose("b")[0]
    assert first.to == second.to == N2
    for sent in (second, first, second, first):
        node.reply(sent, node.success(sent))
        assert node.core.commit == 4
    node.reply(first, node.refusal(first, 0))  # older than what is known
    assert node.core.status().followers[0].match_index == 4


def test_answers_to_an_earlier_leadership_do_not_count(solo: MakeSolo, append: Append) -> None:
    node = solo().lead()
    old = node.propose("a")
    node.ask(append(5, (1, 1)))
    node.now += 2.0
    node.lead()
    commit = node.core.commit
    node.propose("b")
    for sent in old:
        node.reply(sent, node.success(sent))
        node.core.unreachable(sent, node.now)
    assert node.core.commit == commit


def test_idle_followers_soon_learn_of_a_commit(solo: MakeSolo) -> None:
    node = solo().lead()
    node.propose("a")
    node.acknowledge_all()
    sent = node.after(0.01)
    assert [r.leader_commit for r in heartbeats(sent, N2) + heartbeats(sent, N3)] == [3, 3]


# ---------------------------------------------------------------- proposals


def test_only_a_leader_takes_proposals_and_others_say_who_it_is(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    for call in (
        lambda: node.core.propose([data("a")], 0.0),
        lambda: node.core.change(None, N3, 0.0),
        lambda: node.core.read("r", 0.0),
        lambda: node.core.transfer(N2, 0.0),
    ):
        with pytest.raises(NotLeader) as caught:
            call()
        assert caught.value.leader == N2


def test_proposals_between_two_readys_share_a_request(solo: MakeSolo) -> None:
    node = solo().lead()
    positions = [node.core.propose([data(text)] * 2, node.now, timestamp_ms=7) for text in "abc"]
    assert positions == [(2, 3), (2, 5), (2, 7)]
    [request] = appends(node.settle(), N2)
    assert [(entry.index, entry.timestamp_ms) for entry in request.entries] == [(index, 7) for index in range(3, 9)]


@pytest.mark.parametrize("limits", [{"max_uncommitted_entries": 2}, {"max_uncommitted_bytes": 500}])
def test_a_leader_that_cannot_commit_takes_no_more_than_it_may_hold(solo: MakeSolo, limits: dict[str, int]) -> None:
    node = solo(config=RaftConfig(**limits)).lead()  # type: ignore[arg-type]
    node.propose("a", "b")
    with pytest.raises(ProposalDropped):
        node.core.propose([data("c"), data("d")], node.now)
    assert node.core.last_index == 4
    node.acknowledge_all()
    node.propose("c", "d")
    assert node.core.last_index == 6


def test_a_single_large_proposal_is_taken_when_nothing_waits(solo: MakeSolo) -> None:
    node = solo(config=RaftConfig(max_uncommitted_bytes=10)).lead()
    node.propose("a" * 100)


@pytest.mark.parametrize(
    "command", [data("x" * 101), LiteCommand(LiteKind.DATA, "c" * 10_000, 0, b"")], ids=["data", "names"]
)
def test_a_command_that_no_append_can_carry_is_refused(solo: MakeSolo, command: LiteCommand) -> None:
    node = solo(config=RaftConfig(max_entry_bytes=100)).lead()
    with pytest.raises(ParseError, match="bytes"):
        node.core.propose([data("a"), command], node.now)
    assert node.core.last_index == 2


# ---------------------------------------------------------------- members (§6, thesis 4)


def test_a_change_is_in_force_as_soon_as_it_is_in_the_log(solo: MakeSolo) -> None:
    node = solo().lead()
    assert node.core.change(Member(N4, voter=False), N4, node.now) == (2, 3)
    assert node.core.configuration.learners == {N4}
    assert appends(node.settle(), N4)


def test_there_is_one_uncommitted_change_at_a_time(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.change(None, N3, node.now)
    with pytest.raises(ChangeRefused, match="not committed yet"):
        node.core.change(Member(N4, voter=False), N4, node.now)
    node.settle()
    node.acknowledge(N2)
    node.core.change(Member(N4, voter=False), N4, node.now)


def test_a_leader_changes_nothing_before_it_committed_an_entry_of_its_term(solo: MakeSolo) -> None:
    """Else two leaders with one change each could have disjoint majorities (Ongaro, raft-dev, July 2015)."""
    node = solo().elect()
    with pytest.raises(ChangeRefused, match="term 2"):
        node.core.change(None, N3, node.now)
    node.acknowledge(N2)
    node.core.change(None, N3, node.now)


def test_a_voter_begins_as_a_learner_that_catches_up(solo: MakeSolo) -> None:
    node = solo().lead()
    with pytest.raises(ChangeRefused, match="learner first"):
        node.core.change(Member(N4), N4, node.now)
    node.core.change(Member(N4, voter=False), N4, node.now)
    node.settle()
    node.acknowledge(N2)
    with pytest.raises(ChangeRefused, match="catch up"):
        node.core.change(Member(N4), N4, node.now)
    node.acknowledge(N4)
    node.core.change(Member(N4), N4, node.now)
    assert N4 in node.core.configuration.voters


def test_a_learner_that_is_silent_is_not_promoted(solo: MakeSolo) -> None:
    node = solo(learners=1).lead()
    for _ in range(20):
        node.after(0.1)
        node.acknowledge(N2)
    with pytest.raises(ChangeRefused, match="not heard"):
        node.core.change(Member(N4), N4, node.now)


def test_learners_do_not_count_for_a_commit(solo: MakeSolo) -> None:
    node = solo(learners=1).lead()
    node.propose("a")
    node.acknowledge(N4)
    assert node.core.commit == 2


def test_a_leader_that_removes_itself_leads_on_and_does_not_count(solo: MakeSolo) -> None:
    """There will be a period of time when it is managing a cluster that does not include itself (thesis 4.2.2)."""
    node = solo().lead()
    node.core.change(None, N1, node.now)
    node.settle()
    node.acknowledge(N2)
    assert (node.core.commit, node.core.role) == (2, Role.LEADER)
    node.acknowledge(N3)
    assert (node.core.commit, node.core.role) == (3, Role.FOLLOWER)
    assert node.out[-1].request == TimeoutNowRequest(2, N1)
    assert node.after(20.0) == []


def test_a_demoted_leader_steps_down_too(cluster: MakeCluster) -> None:
    three = cluster()
    three.elect(N1).change(Member(N1, voter=False), N1, three.now)
    three.settle()
    three.advance(0.5)
    assert three.leader().node_id in {N2, N3}
    assert three.cores[N1].role is Role.FOLLOWER
    three.propose("a")
    three.advance(0.5)
    assert three.data_of(N1) == ["a"]


def test_a_removed_node_learns_of_it_and_stays_silent(cluster: MakeCluster) -> None:
    three = cluster()
    leader = three.elect(N1)
    leader.change(None, N3, three.now)
    three.settle()
    assert three.cores[N3].configuration.member(N3) is None
    assert three.cores[N3].commit == leader.log.configuration_index
    three.advance(30.0)
    assert (leader.role, leader.term, three.cores[N3].term) == (Role.LEADER, 2, 2)
    assert {status.node_id for status in leader.status().followers} == {N2}


def test_a_removed_node_that_does_not_know_disturbs_nobody(cluster: MakeCluster) -> None:
    three = cluster(4, config=RaftConfig(heartbeat_interval=0.1, pre_vote=False))
    leader = three.elect(N1)
    three.isolate(N4)
    leader.change(None, N4, three.now)
    three.settle()
    three.advance(5.0)
    three.heal()
    three.advance(30.0)
    assert three.cores[N4].term > 5
    assert (leader.role, leader.term) == (Role.LEADER, 2)


def test_a_new_address_changes_no_majority(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.change(Member(N2, "http://b:1"), N2, node.now)
    assert node.core.configuration.member(N2) == Member(N2, "http://b:1")


# ---------------------------------------------------------------- hand-over (thesis 3.10)


def test_the_target_is_asked_once_it_has_all(solo: MakeSolo) -> None:
    node = solo().lead()
    node.propose("a")
    node.core.transfer(N2, node.now)
    assert all(not isinstance(sent.request, TimeoutNowRequest) for sent in node.settle())
    node.acknowledge(N2)
    assert node.out[-1] == replace(node.out[-1], to=N2, request=TimeoutNowRequest(2, N1))


def test_proposals_wait_while_the_leadership_changes_hands(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.transfer(N2, node.now)
    with pytest.raises(NotLeader) as caught:
        node.core.propose([data("a")], node.now)
    assert caught.value.leader == N2
    with pytest.raises(ChangeRefused):
        node.core.change(None, N3, node.now)
    with pytest.raises(TransferFailed, match="already"):
        node.core.transfer(N3, node.now)


def test_a_hand_over_is_given_up_after_an_election_timeout(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.transfer(N2, node.now)
    for _ in range(21):
        node.after(0.1)
        node.acknowledge(N3)
    assert node.core.status().transfer is None
    node.propose("a")


def test_a_hand_over_is_given_up_when_the_target_is_unreachable(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.transfer(N2, node.now)
    [sent] = node.settle()
    node.core.unreachable(sent, node.now)
    node.propose("a")


def test_the_targets_answer_alone_changes_nothing(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.transfer(N2, node.now)
    [sent] = node.settle()
    node.reply(sent, TimeoutNowResponse(2, N2))
    assert node.core.role is Role.LEADER


@pytest.mark.parametrize("target", [N4, NodeId("n5")])
def test_only_a_voter_can_take_over(solo: MakeSolo, target: NodeId) -> None:
    with pytest.raises(TransferFailed, match="no voter"):
        solo(learners=1).lead().core.transfer(target, 2.0)


def test_handing_over_to_oneself_is_done_already(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.transfer(N1, node.now)
    node.propose("a")


def test_a_hand_over_loses_nothing_and_takes_no_election_timeout(cluster: MakeCluster) -> None:
    three = cluster()
    leader = three.elect(N1)
    three.propose("a", "b")
    began = three.now
    leader.transfer(N3, began)
    three.settle()
    assert (three.leader().node_id, three.now) == (N3, began)
    three.propose("c")
    three.advance(0.2)
    assert three.data_of(N1) == three.data_of(N2) == three.data_of(N3) == ["a", "b", "c"]
