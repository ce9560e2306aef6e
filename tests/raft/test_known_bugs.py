"""What other Raft libraries got wrong, told as histories. Each docstring names who, and what went wrong there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orbit_lite.model import AppendEntriesRequest, NodeId, VoteRequest
from orbit_lite.raft import (
    ChangeRefused,
    Configuration,
    HardState,
    Member,
    NotLeader,
    PreVoteRequest,
    RaftConfig,
    ReadState,
    Role,
    SnapshotMeta,
    Stored,
    bootstrap_state,
)

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Packet, Solo

    MakeSolo = Callable[..., Solo]
    MakeCluster = Callable[..., Cluster]
    Append = Callable[..., AppendEntriesRequest]
    Vote = Callable[..., VoteRequest]

N1, N2, N3, N4, N5 = (NodeId(f"n{number}") for number in range(1, 6))


def figure_8(cluster: MakeCluster) -> Cluster:
    """Figure 8 up to (c): "a", of term 2, is on a majority, and S5 has an entry of term 3 in its place."""
    five = cluster(5, config=RaftConfig(heartbeat_interval=0.1, max_append_entries=1))
    five.elect(N1)
    five.isolate(N1, N2)
    five.propose("a", by=N1)  # (a) S1 leads term 2, and reaches only S2
    five.crash(N1)
    five.elect(N5, lose=carries_entries)  # (b) S5 leads term 3, and its entry reaches nobody
    five.crash(N5)
    five.heal()
    five.start(N1)

    def is_of_term_4(packet: Packet) -> bool:
        to, request = packet.sent.to, packet.sent.request
        return packet.response is None and carries_entries(packet) and five.term_at(to, 3) == 2 and request.term == 4

    leader = five.elect(N1, lose=is_of_term_4)  # (c) S1 leads term 4, and brings "a" to a majority
    assert (leader.term, leader.last_index) == (4, 4)
    assert [five.term_at(node, 3) for node in five.disks] == [2, 2, 2, 2, 3]
    return five


def carries_entries(packet: Packet) -> bool:
    return isinstance(packet.sent.request, AppendEntriesRequest) and bool(packet.sent.request.entries)


def test_figure_8_d(cluster: MakeCluster) -> None:
    """LogCabin, MongoDB: an entry of an earlier term, on a majority, was taken for committed and then overwritten."""
    five = figure_8(cluster)
    assert five.cores[N1].commit < 3
    five.crash(N1)
    five.start(N5)
    five.elect(N5)  # (d) its entry, of term 3, takes the place of "a"
    five.start(N1)
    five.advance(5.0)
    assert {tuple(five.data_of(node)) for node in five.disks} == {()}
    assert {five.term_at(node, 3) for node in five.disks} == {3}


def test_figure_8_e(cluster: MakeCluster) -> None:
    five = figure_8(cluster)
    five.advance(2.0)  # (e) the entry of term 4 is committed, and "a" with it
    five.crash(N1)
    five.start(N5)
    with pytest.raises(AssertionError, match="does not win"):
        five.elect(N5)
    five.advance(20.0)
    five.start(N1)
    five.advance(5.0)
    assert {tuple(five.data_of(node)) for node in five.disks} == {("a",)}


def test_a_vote_survives_a_crash(cluster: MakeCluster, vote: Vote, solo: MakeSolo) -> None:
    """PySyncObj: term and vote are not stored, so a node votes twice in a term."""
    node = solo()
    node.ask(vote(2, (1, 1), "n2"))
    again = solo(stored=node.disk.stored())
    assert not again.ask(vote(2, (9, 1), "n3")).vote_granted


def test_a_restart_of_all_nodes_at_once_loses_nothing(cluster: MakeCluster) -> None:
    """PySyncObj: terms began at 0 again, and a slow node overwrote what was committed."""
    three = cluster()
    three.elect(N1)
    three.isolate(N3)
    three.propose("a", "b")
    for node in list(three.cores):
        three.crash(node)
    three.heal()
    three.start(N3)
    three.start(N2)
    three.advance(20.0)
    three.start(N1)
    three.advance(2.0)
    assert three.data_of(N1) == three.data_of(N2) == three.data_of(N3) == ["a", "b"]


@pytest.mark.parametrize("size", [1, 3])
def test_what_the_leader_has_not_written_is_not_committed_by_its_word(cluster: MakeCluster, size: int) -> None:
    """etcd (a single node), d-engine: the leader counted an entry that a power cut took away."""
    nodes = cluster(size)
    leader = nodes.elect(N1)
    nodes.slow_disks = {N1, N2} & set(nodes.cores)
    nodes.cut |= {(N1, N3)}
    nodes.propose("a")
    assert nodes.data_of(N1) == []
    assert leader.commit == leader.last_index - 1
    nodes.crash(N1)


# ---------------------------------------------------------------- members


def test_two_leaders_with_one_change_each_have_no_disjoint_majorities(cluster: MakeCluster) -> None:
    """The error in the thesis (Ongaro, raft-dev, July 2015): a change before anything was committed in the term."""
    four = cluster(4)
    first = four.elect(N1)
    four.isolate(N1)
    first.change(None, N2, four.now)  # n1's majorities are now those of n1, n3, n4
    four.settle()
    second = four.elect(N2, lose=carries_entries)
    with pytest.raises(ChangeRefused, match="has not committed an entry of term 3"):
        second.change(None, N1, four.now)
    four.advance(2.0)
    four.isolate(N4)
    second.change(None, N1, four.now)  # n2's are those of n2, n3, n4
    four.settle()
    assert second.log.configuration_index == second.commit  # n2 and n3 have it
    four.crash(N2)
    four.crash(N3)
    four.heal()
    with pytest.raises(AssertionError, match="does not win"):  # n1 and n4 would be one of n1's
        four.elect(N1)


def test_a_snapshots_configuration_replaces_an_uncommitted_one(cluster: MakeCluster) -> None:
    """ScyllaDB, openraft: after a snapshot the configuration of cut-off entries stayed in force."""
    five = cluster(5)
    old = five.elect(N1)
    five.isolate(N1)
    old.change(None, N2, five.now)
    five.settle()
    assert N2 not in old.configuration.voters
    five.advance(0.9)
    five.elect(N2)
    five.propose("a", by=N2)
    five.cores[N2].change(None, N5, five.now)
    five.settle()
    five.compact(N2)
    five.heal()
    five.advance(2.0)
    assert old.snapshot is not None
    assert old.configuration == five.cores[N2].configuration
    assert old.configuration.voters == {N1, N2, N3, N4}


def test_cutting_off_a_change_brings_the_one_before_it_back(solo: MakeSolo, append: Append) -> None:
    """ScyllaDB: after two changes and a truncation, the index of the older one was lost."""
    node = solo()
    node.lead()
    node.core.change(Member(N4, voter=False), N4, node.now)
    node.settle()
    node.acknowledge(N2)
    node.core.change(None, N3, node.now)
    node.settle()
    assert node.core.status().configuration_index == 4
    node.ask(append(3, (3, 2), 3))
    assert node.core.configuration.learners == {N4}
    assert node.core.configuration.voters == {N1, N2, N3}
    assert node.core.status().configuration_index == 3


def test_a_learner_stays_one_when_a_snapshot_says_so(cluster: MakeCluster) -> None:
    """dragonboat: a node that got a snapshot took itself for a voter."""
    three = cluster(learners=1)
    three.elect(N1)
    three.isolate(N4)
    three.propose("a")
    three.compact(N1)
    three.heal()
    three.advance(2.0)
    assert three.cores[N4].snapshot is not None
    three.isolate(N4)
    three.advance(20.0)
    assert (three.cores[N4].role, three.cores[N4].term) == (Role.FOLLOWER, 2)


def test_a_demoted_leader_with_the_only_long_log_can_still_win(cluster: MakeCluster) -> None:
    """Found by our own walks: its change is not committed, and the other one's log is too short (thesis 4.2.2)."""
    two = cluster(2)
    leader = two.elect(N1)
    two.isolate(N1)
    leader.change(Member(N1, voter=False), N1, two.now)
    two.settle()
    two.advance(5.0)
    two.heal()
    two.advance(20.0)
    assert two.leader().node_id == N2
    assert two.cores[N1].configuration.learners == {N1}


# ---------------------------------------------------------------- logs


def test_repeated_and_reordered_appends_lose_nothing_that_was_acknowledged(solo: MakeSolo, append: Append) -> None:
    """databend, RedisRaft: a late, short AppendEntries cut off what followed, and prev = 0 cut off all."""
    node = solo()
    short, long = append(2, (1, 1), 2), append(2, (1, 1), 2, 2, 2)
    for request in (long, short, append(2, (0, 0)), append(2, (0, 0), 1), short):
        assert node.ask(request).success
    assert [entry.index for entry in node.disk.entries] == [1, 2, 3, 4]


def test_prev_0_after_a_compaction_cuts_off_nothing(solo: MakeSolo, append: Append) -> None:
    node = solo(1, 1, 1, commit=4)
    node.settle()
    node.core.compacted(SnapshotMeta(3, 1, node.core.configuration, 1, ""))
    assert node.ask(append(2, (0, 0))).success
    assert node.ask(append(2, (0, 0), 1, 1)).success
    assert (node.core.first_index, node.core.last_index) == (4, 4)


def test_a_deposed_leader_cuts_off_nothing_committed(cluster: MakeCluster) -> None:
    """CCF: a leader that became a follower rolled back to what it had last heard to be committed."""
    five = cluster(5)
    leader = five.elect(N1)
    five.propose("a", "b")
    five.isolate(N5)
    five.advance(20.0)
    five.heal()
    leader.receive(VoteRequest(99, N5, 1, 1), token=None, now=five.now + 2.0, transfer=True)
    assert leader.role is Role.FOLLOWER
    assert leader.last_index == leader.commit == 4


def test_what_is_at_the_end_of_the_log_is_committed_without_new_proposals(cluster: MakeCluster) -> None:
    """camunda: only entries were counted, not heartbeats, so that the last one waited for the next."""
    three = cluster()
    leader = three.elect(N1)
    three.cut |= {(N2, N1), (N3, N1)}
    index = three.propose("a")
    assert leader.commit < index
    three.heal()
    three.advance(1.5)
    assert three.data_of(N1) == three.data_of(N2) == ["a"]


# ---------------------------------------------------------------- reads


def test_a_leader_by_transfer_answers_no_read_too_early(cluster: MakeCluster) -> None:
    """etcd, TiKV, RedisRaft: a new leader answered with a commit index older than its predecessor's."""
    three = cluster()
    leader = three.elect(N1)
    index = three.propose("a")
    assert three.cores[N2].commit < index
    leader.transfer(N2, three.now)
    three.cut |= {(N2, N1), (N2, N3)}
    core = three.cores[N2]
    three.heal()
    three.settle()
    core.read("r", three.now)
    three.settle()
    assert [state for state in three.reads[N2] if state.index is not None and state.index < index] == []
    assert three.reads[N2] != []


def test_reads_from_before_a_pause_are_not_confirmed_by_later_answers(cluster: MakeCluster) -> None:
    """etcd: answers to a paused leader's old requests were matched with reads that came later."""
    three = cluster()
    old = three.elect(N1)
    three.now += 0.05
    old.read("before", three.now)
    three.pump(N1)
    late = [packet for packet in three.packets if packet.source == N1]
    three.packets.clear()
    for packet in late:
        three.deliver(packet)
    paused = three.cores.pop(N1)
    three.pump(N2)
    three.pump(N3)
    answers, three.packets = three.packets, []
    three.advance(1.0)
    three.elect(N2)
    three.propose("a", by=N2)
    three.cores[N1] = paused
    paused.read("after", three.now)
    for packet in answers:
        three.deliver(packet)
    three.pump(N1)
    assert three.reads[N1] == [ReadState("before", 2)]  # it was the leader when that round began
    three.settle()
    three.advance(1.0)
    assert three.reads[N1][1:] == [ReadState("after", None)]


def test_a_slow_clock_does_not_stretch_a_lease_too_far(cluster: MakeCluster) -> None:
    """TiKV: the leader's clock goes slower than the others', which elect while it still trusts its lease."""
    config = RaftConfig(lease_reads=True, heartbeat_interval=0.1, max_clock_drift=0.5)
    three = cluster(config=config)
    old = three.elect(N1)
    three.isolate(N1)
    began = three.now
    while not any(core.role is Role.LEADER for node, core in three.cores.items() if node != N1):
        three.now += 0.05
        for node in (N2, N3):
            three.cores[node].handle_timer(three.now)
        three.settle()
    by_its_clock = began + (three.now - began) * 0.5
    if old.role is Role.LEADER:
        old.read("r", by_its_clock)
        three.settle()
    assert three.reads[N1] == []


# ---------------------------------------------------------------- elections


@pytest.mark.parametrize("pre_vote", [True, False])
def test_a_longer_log_in_an_earlier_term_wins_over_a_shorter_one_in_a_later(
    cluster: MakeCluster, solo: MakeSolo, pre_vote: bool
) -> None:
    """etcd, canonical/raft, raft-rs: with pre-vote, each ignored the other for ever."""
    three = cluster(config=RaftConfig(heartbeat_interval=0.1, pre_vote=pre_vote))
    three.disks[N1] = solo(2, term=5).disk
    three.disks[N3] = solo(2, 2, 2, term=2).disk
    for node in (N1, N3):
        three.start(node)
    three.crash(N2)
    three.advance(20.0)
    assert three.leader().node_id == N3


def test_a_follower_that_still_remembers_a_dead_leader_grants_a_pre_vote_in_time(
    solo: MakeSolo, append: Append
) -> None:
    """raft-rs: pre-vote and check-quorum together, with a leader that was never forgotten."""
    node = solo(draw=0.999)
    node.ask(append(2, (1, 1)))
    node.now = 1.1
    assert node.core.leader == N2
    assert node.ask(PreVoteRequest(3, N3, 1, 1)).vote_granted


def test_a_leader_that_only_a_bridge_hears_steps_down(cluster: MakeCluster) -> None:
    """openraft: the bridge's heartbeats kept a leader in office that could commit nothing."""
    five = cluster(5)
    leader = five.elect(N1)
    others = {N3, N4, N5}
    five.cut |= {(N1, node) for node in others} | {(node, N1) for node in others}
    five.advance(15.0)
    assert leader.role is not Role.LEADER or leader.commit == leader.last_index
    five.propose("a")
    five.advance(1.0)
    assert five.data_of(N3) == ["a"]


@pytest.mark.parametrize("direction", ["deaf", "mute"])
def test_a_leader_with_one_way_links_does_not_stay(cluster: MakeCluster, direction: str) -> None:
    three = cluster()
    three.elect(N1)
    for other in (N2, N3):
        three.cut.add((other, N1) if direction == "deaf" else (N1, other))
    three.advance(10.0)
    assert three.leader().node_id in {N2, N3}
    three.propose("a", by=three.leader().node_id)
    assert three.leader().commit == three.leader().last_index


def test_an_earlier_leaders_heartbeats_stop_no_election(solo: MakeSolo, append: Append) -> None:
    """butane: any heartbeat restarted the timer."""
    node = solo(term=2)
    while node.core.role is Role.FOLLOWER:
        node.now += 0.1
        node.core.handle_timer(node.now)
        assert not node.ask(append(1, (1, 1))).success
        assert node.now < 1.2


def test_split_votes_end(cluster: MakeCluster) -> None:
    """openraft, fluree: a timeout drawn once and for all splits the votes for ever."""
    two = cluster(2, config=RaftConfig(heartbeat_interval=0.1, pre_vote=False), seed=3)
    for core in two.cores.values():
        core.next_deadline = 1.0
    two.advance(20.0)
    assert two.leader().term <= 6


# ---------------------------------------------------------------- snapshots, hand-over, stores


def test_after_a_snapshot_the_term_is_the_leaders(cluster: MakeCluster) -> None:
    """jgroups-raft: the follower's term became that of the snapshot's last entry."""
    three = cluster()
    three.elect(N1)
    three.isolate(N3)
    three.propose("a")
    three.advance(0.9)
    three.cut = {link for link in three.cut if N3 in link}
    three.elect(N2)
    three.compact(N2)
    three.heal()
    three.advance(1.0)
    leader = three.leader()
    assert three.cores[N3].term == leader.term
    three.propose("b")
    three.advance(0.2)
    assert three.data_of(N3) == ["a", "b"]


def test_a_node_that_began_with_a_snapshot_starts_again(cluster: MakeCluster) -> None:
    """curvine: the restarted node's commit index was beyond its log, and it never came up again."""
    three = cluster()
    leader = three.elect(N1)
    three.propose("a", "b")
    three.compact(N1)
    three.add(N4, Stored())
    leader.change(Member(N4, voter=False), N4, three.now)
    three.settle()
    three.advance(1.0)
    for _ in range(2):
        three.crash(N4)
        three.start(N4)
        three.advance(1.0)
    assert three.data_of(N4) == ["a", "b"]


def test_hand_overs_under_load_lose_nothing(cluster: MakeCluster) -> None:
    """hashicorp/raft: entries were taken while the leadership changed hands, and got lost."""
    three = cluster()
    three.elect(N1)
    taken = []
    for number in range(60):
        leader = three.leader()
        if number % 3 == 0:
            leader.transfer((N1, N2, N3)[number // 3 % 3], three.now)
        try:
            three.propose(str(number), by=leader.node_id)
            taken.append(str(number))
        except NotLeader:
            three.settle()
    three.advance(1.0)
    assert three.data_of(N1) == three.data_of(N2) == three.data_of(N3) == taken
    assert len(taken) >= 40


def test_a_wiped_node_under_its_old_id_does_not_vote(solo: MakeSolo, vote: Vote, append: Append) -> None:
    """sofa-jraft: it had forgotten its vote, and gave it a second time."""
    node = solo(stored=Stored())
    assert not node.ask(vote(2, (1, 1), "n3")).vote_granted
    entry = bootstrap_state(Configuration("test", (Member(N1), Member(N2), Member(N3)))).entries[0]
    assert node.ask(replace(append(2, (0, 0)), entries=(entry,))).success
    assert not node.ask(vote(2, (9, 1), "n3"), transfer=True).vote_granted  # the term has its leader
    assert node.disk.hard_state == HardState(2, N2, 0)
