"""Linearizable reads (thesis 6.4): by a round of heartbeats, or by a lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orbit_lite.model import AppendEntriesRequest, NodeId
from orbit_lite.raft import Outgoing, RaftConfig, ReadIndexRequest, ReadIndexResponse, ReadState, Role
from orbit_lite.raft.reads import Rounds

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Solo

    MakeSolo = Callable[..., Solo]
    MakeCluster = Callable[..., Cluster]
    Append = Callable[..., AppendEntriesRequest]

N1, N2, N3, N4, N5 = (NodeId(f"n{number}") for number in range(1, 6))
LEASE = RaftConfig(lease_reads=True, heartbeat_interval=0.1, max_clock_drift=0.1)


def test_a_read_waits_for_a_round_that_begins_after_it(solo: MakeSolo) -> None:
    node = solo().lead()
    before = node.propose("a")
    node.core.read("r", node.now)
    heartbeats = node.settle()
    for sent in before:
        node.reply(sent, node.success(sent))
    assert node.reads == []
    node.reply(heartbeats[0], node.success(heartbeats[0]))
    assert node.reads == [ReadState("r", 2)]  # what was committed when it came


def test_a_refusal_confirms_the_leader_as_well(solo: MakeSolo) -> None:
    """It is an answer in the same term."""
    node = solo().lead()
    node.core.read("r", node.now)
    [sent, _] = node.settle()
    node.reply(sent, node.refusal(sent, 0))
    assert node.reads == [ReadState("r", 2)]


def test_a_majority_has_to_confirm(solo: MakeSolo) -> None:
    node = solo(size=5, learners=1).lead()
    node.core.read("r", node.now)
    node.settle()
    node.acknowledge(N2, NodeId("n6"))
    assert node.reads == []
    node.acknowledge(N3)
    assert node.reads == [ReadState("r", 2)]


def test_reads_that_come_together_share_a_round(solo: MakeSolo) -> None:
    node = solo().lead()
    for token in "abc":
        node.core.read(token, node.now)
    first = node.settle()
    assert len(first) == 2
    for token in "de":
        node.core.read(token, node.now)
    assert node.settle() == []  # one round at a time
    second = node.reply(first[0], node.success(first[0]))
    assert [state.token for state in node.reads] == ["a", "b", "c"]
    assert len(second) == 2
    node.reply(second[0], node.success(second[0]))
    assert [state.token for state in node.reads] == ["a", "b", "c", "d", "e"]


def test_a_round_that_gets_lost_is_made_up_for_by_the_next_heartbeat(solo: MakeSolo) -> None:
    node = solo().lead()
    node.core.read("a", node.now)
    node.settle()
    node.core.read("b", node.now)
    node.out.clear()
    node.after(0.2)
    node.acknowledge(N2)
    assert [state.token for state in node.reads] == ["a", "b"]


def test_a_new_leader_answers_no_read_before_it_committed_an_entry_of_its_term(solo: MakeSolo) -> None:
    """Until then it does not know what is committed (§8)."""
    node = solo(2, 2).elect()
    node.core.read("r", node.now)
    heartbeats = [sent for sent in node.settle() if sent.to == N2]
    for sent in heartbeats:
        node.reply(sent, node.success(sent))
    assert node.reads == []
    node.acknowledge(N2)
    assert node.reads == [ReadState("r", 4)]


def test_a_single_voter_answers_at_once(solo: MakeSolo) -> None:
    node = solo(size=1, learners=1).elect()
    node.core.read("r", node.now)
    assert node.settle() == []
    assert node.reads == [ReadState("r", 2)]


def test_who_ceases_to_lead_fails_its_reads(solo: MakeSolo, append: Append) -> None:
    node = solo().lead()
    node.core.read("r", node.now)
    asked = node.give(ReadIndexRequest(2, N2))
    node.ask(append(3, (1, 1), leader="n3"))
    assert node.reads == [ReadState("r", None)]
    assert node.answers[asked] == ReadIndexResponse(3, None, None)


def test_answers_to_rounds_of_an_earlier_leadership_confirm_nothing(solo: MakeSolo, append: Append) -> None:
    node = solo().lead()
    node.core.read("r", node.now)
    old = node.settle()
    node.ask(append(3, (1, 1), leader="n3"))
    node.now += 2.0
    node.lead()
    node.core.read("s", node.now)
    node.settle()
    for sent in old:
        node.reply(sent, node.success(sent))
    assert node.reads == [ReadState("r", None)]


def test_a_follower_asks_the_leader(solo: MakeSolo, append: Append) -> None:
    node = solo().lead()
    asked = node.give(ReadIndexRequest(2, N3))
    node.settle()
    node.acknowledge(N2)
    assert node.answers[asked] == ReadIndexResponse(2, 2, N1)


def test_a_follower_says_whom_to_ask(solo: MakeSolo, append: Append) -> None:
    node = solo()
    assert node.ask(ReadIndexRequest(1, N3)) == ReadIndexResponse(1, None, None)
    node.ask(append(2, (1, 1)))
    assert node.ask(ReadIndexRequest(2, N3)) == ReadIndexResponse(2, None, N2)


def test_a_deposed_leader_answers_no_read(cluster: MakeCluster) -> None:
    three = cluster()
    old = three.elect(N1)
    three.isolate(N1)
    three.advance(0.9)
    new = three.elect(N2)
    three.propose("a", by=N2)
    assert old.role is Role.LEADER
    old.read("stale", three.now)
    new.read("fresh", three.now)
    three.settle()
    assert three.reads[N1] == []
    assert three.reads[N2] == [ReadState("fresh", new.commit)]
    three.heal()
    three.advance(1.0)
    assert three.reads[N1] == [ReadState("stale", None)]


# ---------------------------------------------------------------- leases (thesis 6.4.1)


def leased(node: Solo) -> bool:
    """Whether a read is answered without a round."""
    before = len(node.reads)
    node.core.read("r", node.now)
    while node.core.has_ready():
        ready = node.core.ready()
        node.take(ready)
        return len(node.reads) > before
    return False


def confirm(node: Solo) -> None:
    node.after(0.1)
    node.acknowledge_all()


def test_a_lease_lasts_from_the_beginning_of_a_round_that_a_majority_answered(solo: MakeSolo) -> None:
    node = solo(config=LEASE).lead()
    node.out.clear()
    began = node.core.next_deadline
    node.after(began - node.now)
    answered = list(node.out)
    node.now = began + 0.5  # the answers take their time
    for sent in answered:
        node.core.receive_response(sent, node.success(sent), node.now)
    node.now = began + 0.89
    assert leased(node)
    node.now = began + 0.91  # election_timeout_min, a tenth less
    assert not leased(node)


def test_without_the_setting_there_is_no_lease(solo: MakeSolo) -> None:
    node = solo().lead()
    confirm(node)
    assert not leased(node)


def test_there_is_no_lease_before_a_round_is_confirmed(solo: MakeSolo) -> None:
    node = solo(config=LEASE).elect()
    assert not leased(node)


def test_time_that_stood_still_ends_a_lease(solo: MakeSolo) -> None:
    node = solo(config=LEASE).lead()
    confirm(node)
    node.now += 30.0
    assert not leased(node)
    node.time_out()
    node.acknowledge_all()
    assert leased(node)


def test_who_began_to_hand_over_has_no_lease_any_more(solo: MakeSolo) -> None:
    """Voters let the target win although they hear the leader."""
    node = solo(config=LEASE).lead()
    confirm(node)
    node.core.transfer(N2, node.now)
    [sent] = node.settle()
    node.core.unreachable(sent, node.now)
    assert node.core.status().transfer is None
    confirm(node)
    assert not leased(node)


# ---------------------------------------------------------------- Rounds alone


def test_a_confirmed_round_confirms_those_before() -> None:
    rounds = Rounds(0.0)
    for now in (1.0, 2.0, 3.0):
        rounds.begin(now)
    rounds.confirm(2)
    assert (rounds.confirmed, rounds.began) == (2, 2.0)
    rounds.confirm(1)
    assert (rounds.confirmed, rounds.began) == (2, 2.0)


def test_rounds_that_nobody_answers_are_forgotten_in_the_end() -> None:
    rounds = Rounds(0.0)
    for now in range(5000):
        rounds.begin(float(now))
    rounds.confirm(10)
    assert (rounds.confirmed, rounds.began) == (10, 0.0)  # at worst one seems older than it is
    rounds.confirm(5000)
    assert rounds.began == 4999.0


def test_every_request_of_a_leader_carries_the_latest_round(solo: MakeSolo) -> None:
    node = solo().lead()
    sent: list[Outgoing] = node.after(0.25) + node.propose("a")
    assert [one.round for one in sent] == sorted(one.round for one in sent)
    assert sent[-1].round == max(one.round for one in sent) > 1
