"""A process that ends at any moment, and a disk that takes no more: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import HardState, Stored, StoreFailed
from orbit_lite.storage import SqliteLogStore
from orbit_lite.storage import mark as mark_module


def entry(index: int, term: int = 1, text: bytes = b"x" * 50) -> LogEntry:
    return LogEntry(term, index, LiteCommand(LiteKind.DATA, "", 0, text))


class PowerCut(BaseException):
    """Nothing that comes later happens."""


def test_a_creation_that_was_cut_short_anywhere_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    steps = [(os, "fsync"), (Path, "replace"), (Path, "unlink"), (mark_module, "sync")]
    originals = [(owner, name, getattr(owner, name)) for owner, name in steps]

    def counting(original: Callable[..., object], *, limit: int, late: bool) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == limit and not late:
                raise PowerCut
            result = original(*arguments)
            if calls == limit:
                raise PowerCut
            return result

        return step

    for late in (False, True):
        for limit in range(1, 40):
            folder, calls = tmp_path / f"{late}{limit}", 0
            with monkeypatch.context() as patch:
                for owner, name, original in originals:
                    patch.setattr(owner, name, counting(original, limit=limit, late=late))
                try:
                    SqliteLogStore.initialise(folder, Stored(HardState(1), None, (entry(1),)))
                    break
                except PowerCut:
                    pass
            with suppress(ConfigurationError):  # it was complete
                SqliteLogStore.initialise(folder, Stored(HardState(2), None, (entry(1),)))
            with SqliteLogStore.open(folder, create=False) as store:
                assert store.load().entries == (entry(1),)
        assert limit > 6


def test_after_a_failed_write_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteLogStore.open(tmp_path)
    store.save(entries=[entry(1)])
    store.settle()

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("orbit_lite.storage.mark.sync", broken)
    store.save(entries=[entry(2)])  # the mark's turn comes behind the answer
    with pytest.raises(StoreFailed, match="Input/output error"):
        store.settle()
    with pytest.raises(StoreFailed):
        store.save(hard_state=HardState(9))
    with pytest.raises(StoreFailed):
        store.remember_peer(NodeId("n"), "x")
    monkeypatch.undo()
    with pytest.raises(StoreFailed, match="restart the node"):
        store.load()
    store.close()
    with SqliteLogStore.open(tmp_path) as again:
        assert len(again.load().entries) == 2


def test_the_mark_of_a_write_is_durable_before_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure damages is what is being written; until then nobody has to wait for the mark."""
    steps: list[str] = []

    def noting(descriptor: int) -> None:
        steps.append("mark")
        os.fsync(descriptor)

    store = SqliteLogStore.open(tmp_path)
    monkeypatch.setattr(mark_module, "sync", noting)
    store._database.connection.set_trace_callback(lambda statement: steps.append(statement.split()[0]))
    store.save(entries=[entry(1)])
    assert steps == ["BEGIN", "INSERT", "UPDATE", "COMMIT"]
    steps.clear()
    store.save(entries=[entry(2)])
    assert steps[:2] == ["mark", "BEGIN"]
    store.settle()
    assert steps[-2:] == ["COMMIT", "mark"]
    steps.clear()
    store.settle()
    store.save(entries=[entry(3)])
    assert "mark" not in steps
    store.close()
    assert steps[-1] == "mark"


def test_a_power_failure_between_a_write_and_its_mark_loses_nothing(tmp_path: Path) -> None:
    """The disk then has the write and the mark of the one before it."""
    store = SqliteLogStore.open(tmp_path)
    store.save(entries=[entry(1)])
    store.settle()
    before = (tmp_path / "mark").read_bytes()
    store.save(entries=[entry(2)])
    store.close()
    (tmp_path / "mark").write_bytes(before)
    with SqliteLogStore.open(tmp_path) as again:
        assert again.load().entries == (entry(1), entry(2))


WRITER = """
import sys
from orbit_lite.model import LiteCommand, LiteKind, LogEntry
from orbit_lite.raft import HardState
from orbit_lite.storage import SqliteLogStore
from orbit_lite.testing.log_store_contract import meta_of
store = SqliteLogStore.open(sys.argv[1])
number, snapshot = store.load().hard_state.term, bytes(1_500_000)
while True:
    number += 1
    first = 16 * number - 15
    entries = [LogEntry(1, index, LiteCommand(LiteKind.DATA, "", 0, b"z" * 8000)) for index in range(first, first + 16)]
    store.save(hard_state=HardState(number), entries=entries)
    print("write", number, flush=True)
    store.settle()
    if number % 10 == 0:
        store.write_snapshot(meta_of(first - 1, 1, snapshot), [snapshot], first_index=first - 64)
        print("snapshot", first - 1, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """While it appends, moves the write-ahead log into the database (every 4 MiB), or writes a snapshot."""
    draw = random.Random(7)
    acknowledged = {"write": 0, "snapshot": 0}
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(draw.randrange(1, 60))]
            writer.kill()
            said += writer.stdout.read().splitlines(keepends=True)
        for kind, number in (line.split() for line in said if line.endswith("\n")):
            acknowledged[kind] = int(number)
        with SqliteLogStore.open(tmp_path / "store", create=False) as store:
            stored = store.load()
            assert acknowledged["write"] <= stored.hard_state.term <= acknowledged["write"] + 1
            assert stored.entries[-1].index == 16 * stored.hard_state.term
            covered = 0 if stored.snapshot is None else stored.snapshot.index
            assert covered >= acknowledged["snapshot"]
            assert stored.entries[0].index <= covered + 1


FULL_DISK = """
import resource, sys
from orbit_lite.model import LiteCommand, LiteKind, LogEntry
from orbit_lite.raft import HardState, StoreFailed
from orbit_lite.storage import SqliteLogStore
store = SqliteLogStore.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
index = 0
try:
    while True:
        index += 1
        store.save(entries=[LogEntry(1, index, LiteCommand(LiteKind.DATA, "", 0, b"z" * 2000))])
        print(index, flush=True)
except StoreFailed:
    pass
try:
    store.save(hard_state=HardState(9))
    print("took another write")
except StoreFailed as error:
    print(error.message)
"""


@pytest.mark.parametrize("limit", [40_000, 100_000, 300_000])
def test_a_full_disk_ends_the_writing_and_loses_nothing_acknowledged(tmp_path: Path, limit: int) -> None:
    pytest.importorskip("resource", reason="the size of files cannot be limited here")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "store"), str(limit)]
    result = subprocess.run(command, capture_output=True, text=True)
    *acknowledged, last = result.stdout.splitlines()
    assert "not used any more since a write failed" in last, result.stderr
    with SqliteLogStore.open(tmp_path / "store", create=False) as store:
        stored = store.load()
        assert len(acknowledged) <= len(stored.entries) <= len(acknowledged) + 1
        assert stored.hard_state == HardState()
        store.save(entries=[entry(len(stored.entries) + 1)])
