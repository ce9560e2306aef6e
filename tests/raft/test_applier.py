"""Committed entries become state, and state becomes snapshots."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import InternalError, ParseError
from orbit_lite.model import HeartBeat, LiteCommand, LiteKind, LogEntry, NodeId, RaftCommand
from orbit_lite.raft import Configuration, Member, SessionForgotten
from orbit_lite.raft.applier import Applier, checksum
from orbit_lite.raft.membership import configuration_command

CONFIGURATION = Configuration("test", (Member(NodeId("a")),))


class Journal:
    """Remembers all, and gives back how much that is."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes]] = []

    def apply(self, index: int, data: bytes) -> Any:
        if data == b"fail":
            raise ValueError("the machine's own")
        if data == b"nonsense":
            return "text"
        self.lines.append((index, data))
        return b"%d" % len(self.lines)

    def snapshot(self) -> Any:
        return b"".join(b"%d:%s;" % line for line in self.lines)

    def restore(self, data: bytes) -> None:
        pairs = (line.split(b":") for line in data.split(b";")[:-1])
        self.lines = [(int(index), text) for index, text in pairs]


class Bench:
    """An applier that is told commands as the log would tell them."""

    def __init__(self, *, directory: bool = False) -> None:
        self.journal, self.places = Journal(), Journal()
        machines = {LiteKind.DATA: self.journal} | ({LiteKind.DIRECTORY: self.places} if directory else {})
        self.applier = Applier(machines, max_sessions=10)

    def tell(self, command: RaftCommand, term: int = 1) -> object:
        return self.applier.apply(LogEntry(term, self.applier.index + 1, command))

    def data(self, text: bytes, client: str = "", seq: int = 0, kind: LiteKind = LiteKind.DATA) -> object:
        return self.tell(LiteCommand(kind, client, seq, text))


# ---------------------------------------------------------------- entries


def test_commands_reach_the_machine_of_their_kind_with_their_index() -> None:
    bench = Bench(directory=True)
    assert bench.data(b"x") == b"1"
    assert bench.data(b"y", kind=LiteKind.DIRECTORY) == b"1"
    assert bench.data(b"z") == b"2"
    assert bench.journal.lines == [(1, b"x"), (3, b"z")]
    assert bench.places.lines == [(2, b"y")]


@pytest.mark.parametrize(
    "command",
    [LiteCommand(LiteKind.NOOP, "", 0, b""), configuration_command(CONFIGURATION), HeartBeat()],
    ids=["first entry of a term", "configuration", "Orbit-RS"],
)
def test_entries_of_consensus_itself_reach_no_machine(command: RaftCommand) -> None:
    bench = Bench()
    assert bench.tell(command, term=3) == b""
    assert (bench.applier.index, bench.applier.term, bench.journal.lines) == (1, 3, [])


@pytest.mark.parametrize("index", [1, 3])
def test_no_entry_is_applied_twice_or_left_out(index: int) -> None:
    bench = Bench()
    bench.data(b"x")
    with pytest.raises(InternalError, match="after 1"):
        bench.applier.apply(LogEntry(1, index, HeartBeat()))


def test_a_proposal_made_again_gives_the_first_result_and_is_not_applied() -> None:
    bench = Bench()
    assert bench.data(b"x", "client", 1) == b"1"
    assert bench.data(b"x", "client", 1) == b"1"
    assert bench.journal.lines == [(1, b"x")]
    assert bench.applier.index == 2


def test_a_proposal_that_cannot_be_told_from_an_old_one_fails_alone() -> None:
    bench = Bench()
    assert isinstance(bench.data(b"x", "client", 0), SessionForgotten)
    assert bench.data(b"y") == b"1"


@pytest.mark.parametrize("data", [b"fail", b"nonsense"])
@pytest.mark.parametrize("client", ["", "client"])
def test_a_machine_that_fails_stops_the_node_before_the_entry(data: bytes, client: str) -> None:
    bench = Bench()
    with pytest.raises(InternalError, match=r"entry 1|entry 1,"):
        bench.data(data, client, 1)
    assert bench.applier.index == 0


def test_a_command_without_a_machine_stops_the_node() -> None:
    with pytest.raises(InternalError, match="directory"):
        Bench().data(b"x", kind=LiteKind.DIRECTORY)


# ---------------------------------------------------------------- snapshots


@given(st.lists(st.tuples(st.binary(max_size=3).filter(lambda text: not set(text) & set(b":;")), st.integers(0, 3))))
def test_a_node_restored_from_a_snapshot_goes_on_like_the_one_that_took_it(calls: list[tuple[bytes, int]]) -> None:
    whole, late = Bench(directory=True), Bench(directory=True)
    for text, seq in calls:
        whole.data(text, "client" if seq else "", seq)
    meta, data = whole.applier.snapshot(CONFIGURATION)
    assert (meta.index, meta.size, meta.checksum) == (len(calls), len(data), checksum(data))
    late.applier.restore(meta, data)
    assert late.applier.snapshot(CONFIGURATION) == (meta, data)
    for bench in (whole, late):
        bench.data(b"next", "client", 1)
    assert whole.journal.lines == late.journal.lines
    assert late.applier.index == len(calls) + 1


def test_damaged_snapshots_are_refused_and_change_nothing() -> None:
    bench, other = Bench(directory=True), Bench(directory=True)
    bench.data(b"x", "client", 1)
    meta, data = bench.applier.snapshot(CONFIGURATION)
    for damaged in [*(data[:end] for end in range(len(data))), data + b"\0", data + data[5:], b"pickle"]:
        with pytest.raises(ParseError):
            other.applier.restore(meta, damaged)
    assert other.applier.index == 0
    assert not other.journal.lines


def test_a_snapshot_of_other_machines_is_refused() -> None:
    meta, data = Bench(directory=True).applier.snapshot(CONFIGURATION)
    with pytest.raises(ParseError, match="parts"):
        Bench().applier.restore(meta, data)


def test_a_machine_that_cannot_restore_stops_the_node() -> None:
    bench = Bench()
    meta, data = bench.applier.snapshot(CONFIGURATION)
    bench.journal.restore = list[None]().remove  # type: ignore[method-assign,assignment]
    with pytest.raises(InternalError, match="restore"):
        bench.applier.restore(meta, data)


@pytest.mark.parametrize("broken", [[].pop, lambda: "text"])
def test_a_machine_that_gives_no_snapshot_stops_the_node(broken: Any) -> None:
    bench = Bench()
    bench.journal.snapshot = broken  # type: ignore[method-assign]
    with pytest.raises(InternalError, match="snapshot"):
        bench.applier.snapshot(CONFIGURATION)
