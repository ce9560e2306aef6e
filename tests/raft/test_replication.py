"""How followers are brought up to date (Raft §5.3, §7; thesis 10.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orbit_lite.converters.raft import AppendEntriesRequestConverter
from orbit_lite.model import AppendEntriesRequest, AppendEntriesResponse, LiteCommand, LiteKind, NodeId
from orbit_lite.raft import (
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Outgoing,
    ProgressState,
    RaftConfig,
    SnapshotMeta,
)
from orbit_lite.raft.leader import lead
from orbit_lite.raft.progress import Progress

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Solo

    MakeSolo = Callable[..., Solo]
    MakeCluster = Callable[..., Cluster]

N1, N2, N3, N4 = (NodeId(f"n{number}") for number in range(1, 5))


def data(text: str) -> LiteCommand:
    return LiteCommand(LiteKind.DATA, "", 0, text.encode())


def to_n2(sent: list[Outgoing]) -> list[Outgoing]:
    """What was sent to n2, without heartbeats."""
    return [one for one in sent if one.to == N2 and getattr(one.request, "entries", True)]


def span(sent: Outgoing) -> tuple[int, int]:
    request = sent.request
    assert isinstance(request, AppendEntriesRequest)
    return request.prev_log_index, len(request.entries)


def state(node: Solo) -> ProgressState:
    return node.core.status().followers[0].state


# ---------------------------------------------------------------- where do the logs part?


def rounds(cluster: Cluster, follower: NodeId) -> int:
    """How many AppendEntries with entries a new leader sends until the follower has all."""
    seen: set[AppendEntriesRequest] = set()
    core = cluster.cores[N1]
    while core.status().followers[0].match_index < core.last_index:
        seen |= {packet.sent.request for packet in cluster.packets if packet.sent.to == follower}  # type: ignore[misc]
        packet = cluster.packets.pop(0)
        cluster.deliver(packet)
        for node_id in cluster.cores:
            cluster.pump(node_id)
    return len([request for request in seen if request.entries])


@pytest.mark.parametrize(
    ("leader", "follower"),
    [
        ((2,), (2,) * 50),
        ((4,) * 50, (2,) * 50),
        ((4,) * 50, ()),
        ((1,) * 3 + (4,) * 20 + (5,) * 20 + (6,) * 20, (1,) * 3 + (2,) * 20 + (3,) * 40),
        ((2,) * 20 + (5,) * 20, (2,) * 20 + (3,) * 30),
    ],
)
def test_the_logs_meet_after_one_request_for_each_term_in_conflict(
    cluster: MakeCluster, solo: MakeSolo, leader: tuple[int, ...], follower: tuple[int, ...]
) -> None:
    """§5.3: one AppendEntries for each term with conflicting entries, rather than one per entry; at either end."""
    two = cluster(2, config=replace(cluster().config, max_append_entries=1000))
    term = max((1, *leader, *follower))
    two.disks[N1] = solo(*leader, size=2, term=term).disk
    two.disks[N2] = solo(*follower, size=2, term=term).disk
    two.start(N1)
    two.start(N2)
    core = two.cores[N1]
    core.become_candidate(transfer=False)
    lead(core)  # by votes of others: the follower's log may be the longer one
    two.pump(N1)
    assert rounds(two, N2) <= len(set(leader) | set(follower)) + 2
    assert two.cores[N2].log.slice(1, core.last_index) == core.log.slice(1, core.last_index)


def test_refusals_of_what_is_known_to_be_there_are_stale(solo: MakeSolo) -> None:
    node = solo(2, 2).lead()
    [sent] = to_n2(node.propose("a"))
    node.acknowledge_all()
    assert node.reply(sent, node.refusal(sent, 0)) == []
    assert state(node) is ProgressState.REPLICATE


def test_a_hint_beyond_what_was_asked_makes_no_loop(solo: MakeSolo) -> None:
    node = solo(2, 2, 2).elect()
    tries = 0
    while sent := to_n2(node.out):
        node.out.clear()
        tries += 1
        node.reply(sent[0], node.refusal(sent[0], (1 << 64) - 1))
    assert tries == 3  # entries of terms 3, 2 and 1


# ---------------------------------------------------------------- the window


def test_until_the_logs_fit_one_request_is_on_the_way(solo: MakeSolo) -> None:
    node = solo().elect()
    node.out.clear()
    assert to_n2(node.propose("a")) == []
    assert state(node) is ProgressState.PROBE


def test_then_requests_follow_each_other_up_to_the_window(solo: MakeSolo) -> None:
    node = solo(config=RaftConfig(max_inflight_appends=2)).lead()
    sent = [one for text in "abcd" for one in to_n2(node.propose(text))]
    assert [span(one) for one in sent] == [(2, 1), (3, 1)]
    assert [span(one) for one in to_n2(node.reply(sent[0], node.success(sent[0])))] == [(4, 2)]


def test_the_window_counts_bytes_as_well(solo: MakeSolo) -> None:
    node = solo(config=RaftConfig(max_inflight_bytes=1000)).lead()
    sent = [one for text in "abcd" for one in to_n2(node.propose(text * 300))]
    assert [span(one) for one in sent] == [(2, 1), (3, 1)]


def test_requests_hold_as_many_entries_as_fit(solo: MakeSolo) -> None:
    config = RaftConfig(max_append_bytes=2000, max_append_entries=3)
    node = solo(config=config).lead()
    sizes = [1, 1, 1, 1, 3000, 600, 600, 600, 1]
    node.core.propose([data("x" * size) for size in sizes], node.now)
    sent = to_n2(node.settle())
    assert [span(one) for one in sent] == [(2, 3), (5, 1), (6, 1), (7, 2), (9, 2)]


def test_no_request_reaches_four_mebibytes_on_the_wire(solo: MakeSolo) -> None:
    """What Orbit-RS receives at most; base64 makes data a third larger."""
    config = RaftConfig(max_append_bytes=3 * 1024 * 1024 - 64 * 1024, max_entry_bytes=3 * 1024 * 1024 - 64 * 1024)
    node = solo(config=config).lead()
    sizes = [config.max_entry_bytes, 1_000_000, 1_000_000, 1_000_000, *[10] * 3000]
    for size in sizes:
        node.core.propose([LiteCommand(LiteKind.DATA, '"' * 50, 1, b"x" * size)], node.now)
    sent = to_n2(node.settle())
    for one in sent:  # which grows while it is gone through
        sent += to_n2(node.reply(one, node.success(one)))
    assert [span(one)[0] for one in sent] == [2, *(sum(span(one)) for one in sent[:-1])]
    assert sum(span(one)[1] for one in sent) == len(sizes)
    for one in sent:
        assert isinstance(one.request, AppendEntriesRequest)
        assert len(bytes(AppendEntriesRequestConverter.to_proto(one.request))) < 4 * 1024 * 1024


# ---------------------------------------------------------------- what gets lost


def test_a_request_that_did_not_arrive_is_sent_again_once_the_follower_is_there(solo: MakeSolo) -> None:
    node = solo().lead()
    [sent] = to_n2(node.propose("a"))
    node.core.unreachable(sent, node.now)
    assert to_n2(node.settle() + node.propose("b")) == []
    node.out.clear()
    node.after(0.2)
    heartbeat = next(one for one in node.out if one.to == N2)
    assert [span(one) for one in to_n2(node.reply(heartbeat, node.success(heartbeat)))] == [(2, 2)]


def test_a_request_whose_answer_is_overdue_is_sent_again(solo: MakeSolo) -> None:
    node = solo().lead()
    assert len(to_n2(node.propose("a"))) == 1
    again = []
    for _ in range(15):
        node.out.clear()
        node.after(0.1)
        for one in list(node.out):
            again += to_n2(node.reply(one, node.success(one)) if span(one)[1] == 0 else [])
    assert [span(one) for one in again] == [(2, 1)]


def test_an_unreachable_follower_is_sent_nothing_but_heartbeats(solo: MakeSolo) -> None:
    node = solo(config=RaftConfig(check_quorum=False)).lead()
    for _ in range(50):
        node.propose("a")
        for sent in list(node.out):
            node.core.unreachable(sent, node.now)
        node.out.clear()
        node.after(0.1)
    assert to_n2(node.out) == []


def test_old_news_of_failure_changes_nothing(solo: MakeSolo) -> None:
    node = solo().lead()
    [sent] = to_n2(node.propose("a"))
    node.acknowledge_all()
    node.core.unreachable(sent, node.now)
    assert state(node) is ProgressState.REPLICATE


def test_the_last_entry_is_committed_by_what_follows_it(solo: MakeSolo) -> None:
    """Nothing else is proposed: the heartbeat's answer finds the follower there, and it gets what it lacks."""
    node = solo().lead()
    for sent in to_n2(node.propose("a")):
        node.core.unreachable(sent, node.now)
    node.out.clear()
    node.after(0.3)
    node.acknowledge(N2)
    assert node.core.commit == 3


# ---------------------------------------------------------------- snapshots (§7)


def compacted(node: Solo, index: int, content: bytes = b"abcdefgh") -> SnapshotMeta:
    term = node.core.term_at(index)
    assert term is not None
    meta = SnapshotMeta(index, term, node.core.configuration_at(index), len(content), str(index))
    node.core.compacted(meta)
    return meta


@pytest.fixture
def behind(solo: MakeSolo) -> tuple[Solo, SnapshotMeta, Outgoing]:
    """A leader, its snapshot, and the first chunk of it that it sends to n2."""
    node = solo().elect()
    node.acknowledge(N3)
    node.propose("a", "b", "c")
    node.acknowledge(N3)
    meta = compacted(node, 4)
    probe = to_n2(node.out)[0]
    [sent] = to_n2(node.reply(probe, node.refusal(probe, 0)))
    return node, meta, sent


def test_who_needs_what_the_log_forgot_is_sent_the_snapshot(behind: tuple[Solo, SnapshotMeta, Outgoing]) -> None:
    node, meta, sent = behind
    assert sent.request == InstallSnapshotRequest(2, N1, meta, 0)
    assert to_n2(node.propose("d")) == []  # one chunk at a time, and nothing else
    assert state(node) is ProgressState.SNAPSHOT


def test_chunks_go_on_where_the_follower_says_and_then_entries_follow(
    behind: tuple[Solo, SnapshotMeta, Outgoing],
) -> None:
    node, meta, sent = behind
    [sent] = to_n2(node.reply(sent, InstallSnapshotResponse(2, N2, 6)))
    assert sent.request == InstallSnapshotRequest(2, N1, meta, 6)
    [entries] = to_n2(node.reply(sent, InstallSnapshotResponse(2, N2, 8)))
    assert span(entries) == (4, 1)
    assert node.core.status().followers[0].match_index == 4


def test_a_chunk_that_was_not_taken_is_sent_again_at_the_next_contact(
    behind: tuple[Solo, SnapshotMeta, Outgoing],
) -> None:
    node, meta, sent = behind
    assert to_n2(node.reply(sent, InstallSnapshotResponse(2, N2, 0))) == []
    node.after(0.1)
    heartbeat = next(one for one in node.out if one.to == N2 and isinstance(one.request, AppendEntriesRequest))
    [again] = to_n2(node.reply(heartbeat, AppendEntriesResponse(2, True, N2, 1)))
    assert again.request == InstallSnapshotRequest(2, N1, meta, 0)


def test_a_chunk_that_got_lost_is_sent_again_at_the_next_contact(behind: tuple[Solo, SnapshotMeta, Outgoing]) -> None:
    node, meta, sent = behind
    node.core.unreachable(sent, node.now)
    assert node.settle() == []
    node.out.clear()
    node.after(0.1)
    heartbeat = next(one for one in node.out if one.to == N2)
    [again] = to_n2(node.reply(heartbeat, AppendEntriesResponse(2, True, N2, 1)))
    assert again.request == InstallSnapshotRequest(2, N1, meta, 0)


def test_a_newer_snapshot_is_sent_instead_and_answers_about_the_old_one_do_not_count(
    behind: tuple[Solo, SnapshotMeta, Outgoing],
) -> None:
    node, _, sent = behind
    newer = compacted(node, 5)
    [again] = to_n2(node.settle())
    assert again.request == InstallSnapshotRequest(2, N1, newer, 0)
    assert to_n2(node.reply(sent, InstallSnapshotResponse(2, N2, 8))) == []
    assert node.core.status().followers[0].match_index == 0


def test_some_entries_stay_behind_a_snapshot_for_those_a_little_behind(solo: MakeSolo) -> None:
    node = solo(config=RaftConfig(snapshot_trailing_entries=2)).lead()
    node.propose(*"abcdef")
    node.acknowledge_all()
    meta = compacted(node, 8)
    assert (node.core.first_index, node.core.last_index) == (7, 8)
    assert node.core.first_index_after(meta) == 7
    node.core.compacted(replace(meta, index=3))  # older: has no effect
    assert node.core.snapshot == meta


@pytest.mark.parametrize("trailing", [0, 3])
def test_a_follower_far_behind_catches_up(cluster: MakeCluster, trailing: int) -> None:
    three = cluster(config=replace(cluster().config, snapshot_trailing_entries=trailing))
    three.elect(N1)
    three.isolate(N3)
    for text in "abcdefgh":
        three.propose(text)
    three.compact(N1)
    three.propose("i")
    three.heal()
    three.advance(2.0)
    assert three.data_of(N3) == list("abcdefghi")
    three.crash(N3)
    three.start(N3)
    three.advance(1.0)
    assert three.data_of(N3) == list("abcdefghi")


def test_a_new_node_gets_all_by_snapshot_and_log(cluster: MakeCluster) -> None:
    three = cluster()
    leader = three.elect(N1)
    three.propose("a", "b")
    three.compact(N1)
    three.add(N4)
    leader.change(replace(leader.configuration.members[0], node_id=N4, voter=False), N4, three.now)
    three.settle()
    three.advance(1.0)
    assert three.data_of(N4) == ["a", "b"]
    assert three.cores[N4].configuration == leader.configuration


# ---------------------------------------------------------------- Progress alone


def test_while_probing_only_the_probes_own_refusal_counts() -> None:
    progress = Progress(N2, 9, 0.0)
    progress.sent_entries(10, 10, 0.0, 1.0)
    progress.reject(8, 3)
    progress.sent_entries(10, 10, 0.0, 1.0)
    for late in (8, 5):
        progress.reject(late, late - 1)
        assert progress.next_index == 4
        assert not progress.may_send(max_appends=1, max_bytes=1)


def test_what_is_on_the_way_is_counted_until_it_is_acknowledged() -> None:
    progress = Progress(N2, 1, 0.0)
    progress.acknowledge(0)
    assert progress.state is ProgressState.REPLICATE
    for last, size in ((3, 10), (5, 20), (6, 30)):
        progress.sent_entries(last, size, 0.0, 1.0)
    assert (progress.inflight_appends, progress.inflight_bytes, progress.next_index) == (3, 60, 7)
    assert progress.acknowledge(5)
    assert not progress.acknowledge(3)
    assert (progress.inflight_appends, progress.inflight_bytes, progress.match_index) == (1, 30, 5)
