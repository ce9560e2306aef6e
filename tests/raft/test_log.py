from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orbit_lite.converters.commands import RaftCommandConverter
from orbit_lite.model import HeartBeat, LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import Configuration, Member, SnapshotMeta, StoreCorrupt, Stored
from orbit_lite.raft.log import RaftLog, wire_bytes
from orbit_lite.raft.membership import configuration_command
from orbit_lite.testing.strategies import raft_commands


def configuration(number: int) -> Configuration:
    return Configuration("c", (Member(NodeId(f"n{number}")),))


def entry(index: int, term: int, number: int = 0) -> LogEntry:
    """A configuration entry if the number is not 0."""
    command = configuration_command(configuration(number)) if number else LiteCommand(LiteKind.DATA, "", 0, b"x" * term)
    return LogEntry(term, index, command)


def log_of(*terms: int, snapshot: SnapshotMeta | None = None, first: int = 1) -> RaftLog:
    return RaftLog(Stored(entries=tuple(entry(first + at, term) for at, term in enumerate(terms)), snapshot=snapshot))


def snapshot(index: int, term: int) -> SnapshotMeta:
    return SnapshotMeta(index, term, configuration(9), 1, "")


class LogAndList(RuleBasedStateMachine):
    """The log does what a list of all entries ever, and a mark of what was forgotten, would do."""

    def __init__(self) -> None:
        super().__init__()
        self.log = RaftLog(Stored())
        self.entries: list[LogEntry] = []
        self.base = 0
        self.term = 1

    @rule(count=st.integers(1, 4), later=st.integers(0, 2), number=st.sampled_from([0, 0, 1, 2, 3]))
    def append(self, count: int, later: int, number: int) -> None:
        self.term += later
        new = [entry(len(self.entries) + 1 + at, self.term, number) for at in range(count)]
        self.entries += new
        self.log.append(new)

    @precondition(lambda self: len(self.entries) > self.base)
    @rule(share=st.floats(0, 1), number=st.sampled_from([0, 1]))
    def replace(self, share: float, number: int) -> None:
        self.term += 1
        first = self.base + 1 + int(share * (len(self.entries) - self.base - 1))
        self.entries[first - 1 :] = [entry(first, self.term, number)]
        self.log.append(self.entries[first - 1 :])

    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        self.base += int(share * (len(self.entries) - self.base))
        self.log.compact(self.base + 1)

    @rule()
    def write(self) -> None:
        self.log.durable = self.log.handed = self.log.last_index

    @invariant()
    def agrees_with_the_list(self) -> None:
        log, last = self.log, len(self.entries)
        assert (log.first_index, log.last_index) == (self.base + 1, last)
        assert log.slice(self.base + 1, last) == tuple(self.entries[self.base :])
        terms = [0] + [entry.term for entry in self.entries]
        assert [log.term(index) for index in range(-1, last + 2)] == (
            [None] * (self.base + 1) + terms[self.base :] + [None]
        )
        assert log.last_term == terms[-1]
        for index in range(self.base, last + 2):
            for term in range(self.term + 2):
                slow = [i for i in range(self.base, min(index, last) + 1) if terms[i] <= term]
                assert log.last_with_term_up_to(term, index) == (max(slow) if slow else self.base - 1)
        for index in range(self.base, last + 1):
            size = sum(wire_bytes(entry.command) for entry in self.entries[index:])
            assert log.wire_bytes_behind(index) == size
            known = [entry.command for entry in self.entries[:index] if entry.command.kind is LiteKind.CONFIG]  # type: ignore[union-attr]
            in_force = log.configuration_at(index)
            assert configuration_command(in_force) == known[-1] if known else not in_force.members
        assert log.configuration == log.configuration_at(last)
        assert log.durable <= log.handed <= log.last_index

    @precondition(lambda self: len(self.entries) > self.base)
    @rule(share=st.floats(0, 1), max_bytes=st.integers(0, 1000), max_entries=st.integers(1, 4))
    def batch(self, share: float, max_bytes: int, max_entries: int) -> None:
        first = self.base + 1 + int(share * (len(self.entries) - self.base - 1))
        slow = self.entries[first - 1 : first]
        for following in self.entries[first:]:
            if len(slow) == max_entries or sum(wire_bytes(e.command) for e in [*slow, following]) > max_bytes:
                break
            slow.append(following)
        assert self.log.batch(first, max_bytes=max_bytes, max_entries=max_entries) == tuple(slow)


TestLogAndList = LogAndList.TestCase


@given(raft_commands())
def test_a_command_takes_no_more_on_the_wire_than_said(command: object) -> None:
    text = RaftCommandConverter.to_proto(command)  # type: ignore[arg-type]
    numbers = 3 * 11 + 2 * 6  # term, index, timestamp; tags and lengths of the entry and of its text
    assert len(text.encode()) + numbers <= wire_bytes(command)  # type: ignore[arg-type]


def test_replacing_entries_takes_back_what_was_durable_of_them() -> None:
    log = log_of(1, 1, 1)
    log.append([entry(2, 2)])
    assert (log.last_index, log.handed, log.durable) == (2, 1, 1)


def test_cutting_off_a_configuration_brings_the_older_one_back() -> None:
    log = RaftLog(Stored(entries=(entry(1, 1, 1), entry(2, 1, 2), entry(3, 1))))
    assert (log.configuration, log.configuration_index) == (configuration(2), 2)
    log.append([entry(2, 2)])
    assert (log.configuration, log.configuration_index) == (configuration(1), 1)


def test_a_snapshot_in_the_place_of_the_log_brings_its_configuration() -> None:
    log = RaftLog(Stored(entries=(entry(1, 1, 1), entry(2, 1, 2))))
    log.restart(snapshot(7, 3))
    assert (log.first_index, log.last_index, log.last_term, log.durable) == (8, 7, 3, 7)
    assert (log.configuration, log.configuration_index) == (configuration(9), 7)


def test_entries_kept_behind_a_snapshot_are_served_from_the_second_on() -> None:
    """The term before the first one is not stored, and the consistency check needs it."""
    log = log_of(1, 1, 2, 2, snapshot=snapshot(5, 2), first=3)
    assert (log.base_index, log.base_term, log.last_index) == (3, 1, 6)
    assert log.configuration == configuration(9)


def test_a_snapshot_outlives_a_log_that_ends_before_it() -> None:
    log = log_of(1, 1, snapshot=snapshot(5, 2))
    assert (log.base_index, log.last_index, log.last_term) == (5, 5, 2)


@pytest.mark.parametrize(
    "stored",
    [
        Stored(entries=(entry(2, 1),)),
        Stored(entries=(entry(1, 1), entry(3, 1))),
        Stored(entries=(entry(1, 2), entry(2, 1))),
        Stored(snapshot=snapshot(3, 1), entries=(entry(5, 1),)),
        Stored(snapshot=snapshot(3, 2), entries=(entry(2, 1), entry(3, 1))),
        Stored(entries=(LogEntry(1, 1, LiteCommand(LiteKind.CONFIG, "", 0, b"{}")),)),
    ],
)
def test_a_store_with_gaps_or_contradictions_is_corrupt(stored: Stored) -> None:
    with pytest.raises(StoreCorrupt, match="the log"):
        RaftLog(stored)


def test_a_heartbeat_has_a_size_too() -> None:
    assert wire_bytes(HeartBeat()) > 0
