"""What a node answers (Raft §5.1-5.4, §7; thesis 4.2, 9.6): one sentence of the source, one test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LiteCommand,
    LiteKind,
    LogEntry,
    NodeId,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    Configuration,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Member,
    PreVoteRequest,
    PreVoteResponse,
    RaftConfig,
    ReadIndexRequest,
    ReadIndexResponse,
    Request,
    Role,
    SnapshotChunk,
    SnapshotMeta,
    Stored,
    TimeoutNowRequest,
    TimeoutNowResponse,
    bootstrap_state,
)
from orbit_lite.raft.membership import configuration_command

if TYPE_CHECKING:
    from tests.raft.conftest import Solo

    MakeSolo = Callable[..., Solo]
    Append = Callable[..., AppendEntriesRequest]
    Vote = Callable[..., VoteRequest]

N1, N2, N3, STRANGER = NodeId("n1"), NodeId("n2"), NodeId("n3"), NodeId("stranger")
LARGEST = (1 << 64) - 1


def terms_of(node: Solo) -> list[int | None]:
    return [node.core.term_at(index) for index in range(1, node.core.last_index + 1)]


# ---------------------------------------------------------------- §5.1 terms


def test_a_later_term_is_adopted(solo: MakeSolo, append: Append) -> None:
    """If one server's current term is smaller than the other's, then it updates its current term to the larger."""
    node = solo(term=2)
    node.ask(append(5, (1, 1)))
    assert (node.core.term, node.disk.hard_state.term) == (5, 5)


def test_a_request_of_an_earlier_term_is_rejected(solo: MakeSolo, append: Append, vote: Vote) -> None:
    """If a server receives a request with a stale term number, it rejects the request."""
    node = solo(term=4)
    deadline = node.core.next_deadline
    assert node.ask(append(3, (1, 1), 3)) == AppendEntriesResponse(4, False, N1, 1)
    assert node.ask(vote(3, (9, 3))) == VoteResponse(4, False, N1)
    assert node.ask(TimeoutNowRequest(3, N2)) == TimeoutNowResponse(4, N1)
    assert (node.core.leader, node.core.next_deadline, node.core.role) == (None, deadline, Role.FOLLOWER)


def test_nobody_is_followed_into_the_last_term(solo: MakeSolo, append: Append, vote: Vote) -> None:
    node = solo(term=4)
    assert node.ask(append(LARGEST, (1, 1), 4)) == AppendEntriesResponse(4, False, N1, 1)
    assert node.ask(vote(LARGEST, (LARGEST, LARGEST))) == VoteResponse(4, False, N1)
    assert node.ask(PreVoteRequest(LARGEST, N2, LARGEST, LARGEST)) == PreVoteResponse(4, False, N1)
    assert node.ask(ReadIndexRequest(LARGEST, N2)) == ReadIndexResponse(4, None, None)
    assert node.core.term == 4


# ---------------------------------------------------------------- §5.2, §5.4.1 votes


def test_a_vote_is_given_to_the_first_who_asks_and_only_to_it(solo: MakeSolo, vote: Vote) -> None:
    """Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."""
    node = solo()
    assert node.ask(vote(2, (1, 1), "n2")) == VoteResponse(2, True, N1)
    assert node.ask(vote(2, (9, 1), "n3")) == VoteResponse(2, False, N1)
    assert node.ask(vote(2, (1, 1), "n2")) == VoteResponse(2, True, N1)
    assert node.disk.hard_state.vote == N2


def test_a_vote_is_durable_before_it_is_given(solo: MakeSolo, vote: Vote) -> None:
    node = solo()
    node.give(vote(2, (1, 1)))
    ready = node.core.ready()
    assert ready.hard_state is not None
    assert (ready.hard_state.term, ready.hard_state.vote) == (2, N2)
    assert [answer.response for answer in ready.answers] == [VoteResponse(2, True, N1)]
    node.give(vote(2, (1, 1)))
    assert not node.core.has_ready()  # the same answer again: it has to wait for the same write
    node.core.persisted(ready, 0.0)
    assert [answer.response for answer in node.core.ready().answers] == [VoteResponse(2, True, N1)]


def test_a_vote_is_kept_over_a_restart(solo: MakeSolo, vote: Vote) -> None:
    node = solo(term=2, vote=N3)
    assert node.ask(vote(2, (9, 1), "n2")) == VoteResponse(2, False, N1)
    assert node.ask(vote(2, (1, 1), "n3")) == VoteResponse(2, True, N1)


@pytest.mark.parametrize(
    ("last", "is_granted"),
    [((3, 2), True), ((4, 2), True), ((2, 3), True), ((2, 2), False), ((9, 1), False)],
)
def test_a_vote_is_denied_to_a_log_that_is_less_up_to_date(
    solo: MakeSolo, vote: Vote, last: tuple[int, int], is_granted: bool
) -> None:
    """The later term of the last entry wins; with equal terms the longer log does (§5.4.1)."""
    node = solo(2, 2)
    assert node.ask(vote(3, last)) == VoteResponse(3, is_granted, N1)
    assert node.ask(PreVoteRequest(4, N2, *last)).vote_granted == is_granted


def test_giving_a_vote_restarts_the_election_timer_and_denying_one_does_not(solo: MakeSolo, vote: Vote) -> None:
    node = solo(2)
    node.now = 0.5
    node.ask(vote(3, (1, 1)))
    assert node.core.next_deadline == 1.0
    node.ask(vote(3, (2, 2), "n3"))
    assert node.core.next_deadline == 1.5


def test_a_candidate_that_the_configuration_does_not_name_gets_a_vote(solo: MakeSolo, vote: Vote) -> None:
    """A server grants its vote to a candidate that is not in its own latest configuration (thesis 4.2.2)."""
    assert solo().ask(vote(2, (2, 1), "stranger")).vote_granted


def test_a_node_that_knows_no_configuration_votes_for_nobody(vote: Vote, solo: MakeSolo) -> None:
    node = solo(stored=Stored())
    assert node.ask(vote(2, (5, 1))) == VoteResponse(2, False, N1)
    assert not node.ask(PreVoteRequest(3, N2, 5, 1)).vote_granted


def test_a_learner_votes_only_for_one_that_may_know_of_its_promotion(solo: MakeSolo, vote: Vote) -> None:
    members = Configuration("test", (Member(N1, voter=False), Member(N2), Member(N3)))
    node = solo(stored=bootstrap_state(members))
    assert not node.ask(vote(2, (1, 1))).vote_granted
    assert node.ask(vote(3, (2, 1))).vote_granted


# ---------------------------------------------------------------- thesis 4.2.3, 9.6 disturbances


def test_who_hears_a_leader_ignores_candidates(solo: MakeSolo, append: Append, vote: Vote) -> None:
    """A server that gets a RequestVote within the minimum election timeout of hearing from a leader does not update
    its term or grant its vote (thesis 4.2.3)."""
    node = solo()
    node.ask(append(2, (1, 1)))
    node.now = 0.99
    assert node.ask(vote(7, (9, 2), "n3")) == VoteResponse(2, False, N1)
    assert node.ask(PreVoteRequest(7, N3, 9, 2)) == PreVoteResponse(2, False, N1)
    node.now = 1.0
    assert node.ask(PreVoteRequest(7, N3, 9, 2)) == PreVoteResponse(7, True, N1)
    assert node.ask(vote(7, (9, 2), "n3")) == VoteResponse(7, True, N1)


def test_the_candidate_that_the_leader_chose_is_not_ignored(solo: MakeSolo, append: Append, vote: Vote) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    assert node.ask(vote(3, (1, 1), "n3"), transfer=True) == VoteResponse(3, True, N1)


def test_without_check_quorum_nobody_is_ignored(solo: MakeSolo, append: Append, vote: Vote) -> None:
    """A leader that is heard but hears nobody would stay for ever."""
    node = solo(config=RaftConfig(check_quorum=False))
    node.ask(append(2, (1, 1)))
    assert node.ask(vote(3, (1, 1), "n3")).vote_granted


def test_right_after_a_restart_a_lease_that_was_relied_on_is_respected(solo: MakeSolo, vote: Vote) -> None:
    node = solo(term=2, config=RaftConfig(lease_reads=True))
    assert not node.ask(vote(3, (1, 1))).vote_granted
    node.now = 1.0
    assert node.ask(vote(3, (1, 1))).vote_granted


def test_a_pre_vote_changes_nothing(solo: MakeSolo) -> None:
    node = solo(term=2)
    deadline = node.core.next_deadline
    assert node.ask(PreVoteRequest(3, N2, 1, 1)) == PreVoteResponse(3, True, N1)
    assert node.ask(PreVoteRequest(3, N3, 1, 1)) == PreVoteResponse(3, True, N1)
    assert (node.core.term, node.core.vote, node.core.next_deadline) == (2, None, deadline)


def test_a_pre_vote_of_an_earlier_term_is_answered_with_the_present_one(solo: MakeSolo) -> None:
    """Else a node with the longer log, left behind in an earlier term, would ask in vain for ever."""
    assert solo(term=5).ask(PreVoteRequest(4, N2, 9, 3)) == PreVoteResponse(5, False, N1)


# ---------------------------------------------------------------- §5.3 AppendEntries


def test_entries_are_durable_before_they_are_acknowledged(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    node.give(append(2, (1, 1), 2))
    ready = node.core.ready()
    assert [entry.index for entry in ready.entries] == [2]
    assert [answer.response for answer in ready.answers] == [AppendEntriesResponse(2, True, N1, 2)]
    heartbeat = node.give(append(2, (1, 1)))
    again = node.give(append(2, (1, 1), 2))
    assert [answer.token for answer in node.core.ready().answers] == [heartbeat]  # a slow disk does not look dead
    node.core.persisted(ready, 0.0)
    assert [answer.token for answer in node.core.ready().answers] == [again]


def test_an_append_that_does_not_fit_is_refused(solo: MakeSolo, append: Append) -> None:
    """If the follower does not find an entry with the same index and term, it refuses the new entries."""
    node = solo(2, 2)
    assert not node.ask(append(3, (4, 2), 3)).success
    assert not node.ask(append(3, (3, 3), 3)).success
    assert terms_of(node) == [1, 2, 2]


@pytest.mark.parametrize(
    ("prev", "hint"),
    [
        ((9, 4), 6),  # ours ends before
        ((9, 2), 3),  # … and what is there is of later terms
        ((6, 3), 4),  # a later term in that place: the last of what is not
        ((5, 4), 5),  # an earlier term in that place: the leader knows better
    ],
)
def test_a_refusal_says_where_the_logs_can_meet(
    solo: MakeSolo, append: Append, prev: tuple[int, int], hint: int
) -> None:
    """One refusal for each term in conflict, not for each entry (§5.3)."""
    node = solo(1, 2, 3, 4, 4) if prev[1] != 4 or prev[0] == 9 else solo(1, 2, 3, 3, 4)
    assert node.ask(append(5, prev, 5)) == AppendEntriesResponse(5, False, N1, hint)


def test_conflicting_entries_and_all_behind_them_are_replaced(solo: MakeSolo, append: Append) -> None:
    """If an existing entry conflicts with a new one, delete the existing entry and all that follow it."""
    node = solo(2, 2, 2)
    assert node.ask(append(3, (2, 2), 3)).success
    assert terms_of(node) == [1, 2, 3]
    assert [entry.term for entry in node.disk.entries] == [1, 2, 3]


def test_a_short_or_repeated_append_does_not_shorten_the_log(solo: MakeSolo, append: Append) -> None:
    node = solo()
    for request in (append(2, (1, 1), 2, 2, 2), append(2, (1, 1), 2), append(2, (1, 1)), append(2, (2, 2), 2)):
        assert node.ask(request).success
        assert terms_of(node) == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("prev", "terms", "commit"),
    [((1, 1), (2,), 2), ((1, 1), (2, 2, 3), 4), ((1, 1), (), 1), ((2, 2), (), 2)],
)
def test_no_more_is_committed_than_was_compared(
    solo: MakeSolo, append: Append, prev: tuple[int, int], terms: tuple[int, ...], commit: int
) -> None:
    """commitIndex = min(leaderCommit, index of last new entry), whatever stands behind that in the log."""
    node = solo(2, 2, 2)
    node.ask(append(3, prev, *terms, commit=9))
    assert node.core.commit == commit


def test_commits_never_go_back(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1), 2, 2, commit=3))
    node.ask(append(2, (1, 1), 2, commit=1))
    assert node.core.commit == 3
    assert [entry.index for entry in node.committed] == [1, 2, 3]


def test_a_leader_that_contradicts_a_committed_entry_is_refused_and_shown(solo: MakeSolo, append: Append) -> None:
    for request in (append(3, (1, 1), 3), append(3, (2, 3), 3)):
        node = solo(2, commit=2)
        assert not node.ask(request).success
        assert "contradicts the committed entry 2" in (node.core.status().fault or "")
        assert terms_of(node) == [1, 2]


def test_a_second_leader_in_one_term_is_refused_and_shown(solo: MakeSolo, append: Append) -> None:
    node = solo()
    node.ask(append(2, (1, 1)))
    assert not node.ask(append(2, (1, 1), 2, leader="n3")).success
    assert "leads term 2" in (node.core.status().fault or "")
    assert node.core.leader == N2


def test_who_follows_a_leader_has_no_vote_left_in_its_term(solo: MakeSolo, append: Append, vote: Vote) -> None:
    """It would be wasted, and a node that lost its store could give a second one."""
    node = solo(config=RaftConfig(check_quorum=False))
    node.ask(append(2, (1, 1)))
    assert node.disk.hard_state.vote == N2
    assert not node.ask(vote(2, (9, 2), "n3")).vote_granted


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, entries=(replace(r.entries[0], index=9),)),
        lambda r: replace(r, entries=(*r.entries, *r.entries)),
        lambda r: replace(r, entries=(replace(r.entries[0], term=9),)),
        lambda r: replace(r, entries=(replace(r.entries[0], term=0),)),
        lambda r: replace(r, entries=(replace(r.entries[0], term=LARGEST),)),
        lambda r: replace(r, prev_log_term=LARGEST),
        lambda r: replace(r, prev_log_index=LARGEST),
        lambda r: replace(r, term=0),
        lambda r: replace(r, entries=(LogEntry(2, 2, LiteCommand(LiteKind.CONFIG, "", 0, b"{}")),)),
        lambda r: replace(r, entries=(config_entry(Configuration("other", (Member(N2),))),)),
        lambda r: replace(r, entries=(config_entry(Configuration("test", ())),)),
        lambda r: replace(r, leader_id=N1),
    ],
)
def test_an_append_that_no_leader_sends_is_refused(
    solo: MakeSolo, append: Append, spoil: Callable[[AppendEntriesRequest], AppendEntriesRequest]
) -> None:
    node = solo()
    assert not node.ask(spoil(append(2, (1, 1), 2))).success
    assert terms_of(node) == [1]


def config_entry(configuration: Configuration) -> LogEntry:
    return LogEntry(2, 2, configuration_command(configuration))


# ---------------------------------------------------------------- §7 snapshots


SNAPSHOT_MEMBERS = Configuration("test", (Member(N1, voter=False), Member(N2)))


def snapshot(index: int = 5, term: int = 2, content: bytes = b"abcdefgh") -> SnapshotMeta:
    return SnapshotMeta(index, term, SNAPSHOT_MEMBERS, len(content), blake2b(content, digest_size=32).hexdigest())


def chunk(
    meta: SnapshotMeta, offset: int, data: bytes, *, term: int = 3, leader: NodeId = N2
) -> InstallSnapshotRequest:
    return InstallSnapshotRequest(term, leader, meta, offset, data)


def test_a_snapshot_takes_the_place_of_the_log_when_it_is_complete(solo: MakeSolo) -> None:
    node = solo(2)
    assert node.ask(chunk(snapshot(), 0, b"abcd")) == InstallSnapshotResponse(3, N1, 4)
    assert (node.core.last_index, node.restored) == (2, [])
    assert node.ask(chunk(snapshot(), 4, b"efgh")) == InstallSnapshotResponse(3, N1, 8)
    assert (node.core.first_index, node.core.last_index, node.core.commit, node.core.applied) == (6, 5, 5, 5)
    assert node.restored == [snapshot()]
    assert node.disk.snapshot_data == b"abcdefgh"


def test_the_snapshots_configuration_is_in_force_whatever_the_log_said(solo: MakeSolo) -> None:
    node = solo(2)
    node.ask(chunk(snapshot(), 0, b"abcdefgh"))
    assert node.core.configuration == SNAPSHOT_MEMBERS
    node.now = node.core.next_deadline
    node.time_out()
    assert (node.core.role, node.out) == (Role.FOLLOWER, [])  # it is a learner now, and does not campaign


def test_a_repeated_or_later_chunk_is_answered_with_what_is_there(solo: MakeSolo) -> None:
    node = solo()
    node.ask(chunk(snapshot(), 0, b"abcd"))
    assert node.ask(chunk(snapshot(), 0, b"abcd")).next_offset == 4
    assert node.ask(chunk(snapshot(), 6, b"gh")).next_offset == 4
    assert node.ask(chunk(snapshot(), 4, b"efgh")).next_offset == 8


def test_what_is_received_is_durable_before_it_is_said_to_be_there(solo: MakeSolo) -> None:
    node = solo()
    node.give(chunk(snapshot(), 0, b"abcd"))
    first = node.core.ready()
    node.core.persisted(first, 0.0)
    node.give(chunk(snapshot(), 4, b"ef"))
    second = node.core.ready()
    assert (first.chunk, second.chunk) == (
        SnapshotChunk(snapshot(), 0, b"abcd"),
        SnapshotChunk(snapshot(), 4, b"ef"),
    )
    node.give(chunk(snapshot(), 4, b"ef"))
    assert not node.core.has_ready()
    node.core.persisted(second, 0.0)
    assert [answer.response for answer in node.core.ready().answers] == [InstallSnapshotResponse(3, N1, 6)]


def test_receiving_goes_on_after_a_restart_and_under_another_leader(solo: MakeSolo) -> None:
    node = solo()
    node.ask(chunk(snapshot(), 0, b"abcd"))
    again = solo(stored=node.disk.stored())
    again.disk = node.disk
    assert again.ask(chunk(snapshot(), 0, b"abcd", term=4, leader=N3)).next_offset == 4
    assert again.ask(chunk(snapshot(), 4, b"efgh", term=4, leader=N3)).next_offset == 8


def test_a_newer_snapshot_takes_the_place_of_one_that_is_being_received(solo: MakeSolo) -> None:
    node = solo()
    newer = snapshot(7, 3, b"ABCD")
    node.ask(chunk(snapshot(), 0, b"abcd"))
    assert node.ask(chunk(newer, 2, b"CD")).next_offset == 0
    assert node.ask(chunk(newer, 0, b"AB")).next_offset == 2
    assert node.ask(chunk(snapshot(), 4, b"efgh")).next_offset == 0  # late
    assert node.ask(chunk(snapshot(), 0, b"abcd")).next_offset == 0
    assert node.ask(chunk(newer, 2, b"CD")).next_offset == 4
    assert node.core.snapshot == newer


def test_a_chunk_that_is_promised_is_written_before_a_newer_snapshot_begins(solo: MakeSolo) -> None:
    node = solo()
    first = node.give(chunk(snapshot(), 0, b"abcd"))
    second = node.give(chunk(snapshot(7, 3, b"ABCD"), 0, b"AB"))
    node.settle()
    assert {token: answer.next_offset for token, answer in node.answers.items()} == {first: 4, second: 0}  # type: ignore[union-attr]
    assert node.disk.incoming == (snapshot(), b"abcd")


def test_two_snapshots_at_once_do_no_harm(solo: MakeSolo) -> None:
    node = solo()
    newer = snapshot(7, 3, b"ABCD")
    first = node.give(chunk(snapshot(), 0, b"abcdefgh"))
    second = node.give(chunk(newer, 0, b"ABCD"))
    third = node.give(chunk(snapshot(), 0, b"abcdefgh"))
    node.settle()
    assert {token: answer.next_offset for token, answer in node.answers.items()} == {first: 8, second: 0, third: 8}  # type: ignore[union-attr]
    assert node.ask(chunk(newer, 0, b"ABCD")).next_offset == 4
    assert node.restored == [snapshot(), newer]


def test_a_damaged_snapshot_is_asked_for_anew(solo: MakeSolo) -> None:
    node = solo(2)
    assert node.ask(chunk(snapshot(), 0, b"abcdXXXX")).next_offset == 0
    assert (node.core.last_index, node.core.commit, node.restored) == (2, 1, [])
    assert node.ask(chunk(snapshot(), 0, b"abcdefgh")).next_offset == 8


def test_a_snapshot_of_what_is_there_is_not_installed(solo: MakeSolo) -> None:
    """If the existing log entry has the same index and term as the snapshot's last, retain the log (figure 13)."""
    node = solo(2, 2, 2, 2, 2)
    assert node.ask(chunk(snapshot(), 0, b"abcd")).next_offset == 8
    assert (node.core.last_index, node.core.commit, node.restored) == (6, 5, [])


def test_no_entries_are_taken_while_a_snapshot_takes_the_logs_place(solo: MakeSolo, append: Append) -> None:
    node = solo(2)
    node.give(chunk(snapshot(), 0, b"abcdefgh"))
    ready = node.core.ready()
    token = node.give(append(3, (2, 2), 3, 3, 3, 3))
    heartbeat = node.give(append(3, (1, 1)))
    answers = {answer.token: answer.response for answer in node.core.ready().answers}
    assert answers == {}  # the term is on its way to the disk with the chunk
    node.core.persisted(ready, 0.0, snapshot_intact=node.disk.save(ready))
    node.settle()
    assert node.answers[token] == AppendEntriesResponse(3, False, N1, 1)
    assert node.answers[heartbeat] == AppendEntriesResponse(3, True, N1, 2)
    assert node.ask(append(3, (5, 2), 3)).success


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, data=b""),
        lambda r: replace(r, data=b"x" * 9),
        lambda r: replace(r, offset=-1),
        lambda r: replace(r, meta=replace(r.meta, size=0)),
        lambda r: replace(r, meta=replace(r.meta, size=-1)),
        lambda r: replace(r, meta=replace(r.meta, index=0)),
        lambda r: replace(r, meta=replace(r.meta, index=LARGEST)),
        lambda r: replace(r, meta=replace(r.meta, term=9)),
        lambda r: replace(r, meta=replace(r.meta, configuration=Configuration("other", (Member(N2),)))),
        lambda r: replace(r, meta=replace(r.meta, configuration=Configuration("test", ()))),
        lambda r: replace(r, term=1),
        lambda r: replace(r, term=LARGEST),
    ],
)
def test_a_chunk_that_no_leader_sends_is_refused(
    solo: MakeSolo, spoil: Callable[[InstallSnapshotRequest], InstallSnapshotRequest]
) -> None:
    node = solo(term=2)
    assert node.ask(spoil(chunk(snapshot(), 0, b"abcdefgh"))).next_offset == 0
    assert (node.restored, node.disk.incoming) == ([], None)


def test_a_restart_begins_with_the_stored_snapshot(solo: MakeSolo) -> None:
    node = solo()
    node.ask(chunk(snapshot(), 0, b"abcdefgh"))
    again = solo(stored=node.disk.stored())
    again.settle()
    assert (again.restored, again.committed) == ([snapshot()], [])
    assert (again.core.commit, again.core.applied, again.core.configuration) == (5, 5, SNAPSHOT_MEMBERS)


# ---------------------------------------------------------------- anything


NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 1 << 63, LARGEST - 1, LARGEST])
ENTRIES = st.lists(
    st.builds(LogEntry, NUMBERS, NUMBERS, st.just(LiteCommand(LiteKind.CONFIG, "", 0, b"?"))), max_size=3
).map(tuple)
METAS = st.builds(SnapshotMeta, NUMBERS, NUMBERS, st.just(SNAPSHOT_MEMBERS), st.integers(-1, 9), st.just(""))
WHO = st.sampled_from([N1, N2, N3, STRANGER])
REQUESTS = st.one_of(
    st.builds(VoteRequest, NUMBERS, WHO, NUMBERS, NUMBERS),
    st.builds(PreVoteRequest, NUMBERS, WHO, NUMBERS, NUMBERS),
    st.builds(AppendEntriesRequest, NUMBERS, WHO, NUMBERS, NUMBERS, ENTRIES, NUMBERS),
    st.builds(InstallSnapshotRequest, NUMBERS, WHO, METAS, st.integers(-1, 9), st.binary(max_size=9)),
    st.builds(TimeoutNowRequest, NUMBERS, WHO),
    st.builds(ReadIndexRequest, NUMBERS, WHO),
)


@given(requests=st.lists(st.tuples(REQUESTS, st.booleans()), max_size=12))
def test_every_request_has_one_answer_and_none_is_an_error(
    solo: MakeSolo, requests: list[tuple[Request, bool]]
) -> None:
    node = solo()
    tokens = [node.give(request, transfer=transfer) for request, transfer in requests]
    node.settle()
    assert sorted(node.answers) == tokens  # type: ignore[type-var]
    assert node.core.commit >= 1
    assert node.core.term < LARGEST
