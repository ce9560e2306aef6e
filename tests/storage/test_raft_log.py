"""The store on disk: a changed file is noticed, a killed process loses nothing, nobody else gets in."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import Configuration, HardState, SnapshotMeta, StoreCorrupt, Stored, StoreFailed, StoreLocked
from orbit_lite.storage import SqliteLogStore
from orbit_lite.testing.log_store_contract import meta_of

FILES = ("raft.db", "raft.db-wal", "mark")


def entry(index: int, term: int = 1, text: bytes = b"x" * 50) -> LogEntry:
    return LogEntry(term, index, LiteCommand(LiteKind.DATA, "", 0, text))


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Stored]:
    """Files as a killed process leaves them, and what it had acknowledged."""
    store = SqliteLogStore.open(tmp_path / "store")
    store.load()
    for index in range(1, 40):
        store.save(hard_state=HardState(index), entries=[entry(index)])
    stored = store.load()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "store", copy)  # with the -wal file, which closing would remove
    store.close()
    return copy, stored


def content_of(directory: Path) -> Stored | None:
    """What the store says; None when it says that it cannot be trusted."""
    try:
        with SqliteLogStore.open(directory, create=False) as store:
            return store.load()
    except (StoreCorrupt, StoreFailed):
        return None


def test_what_a_killed_process_wrote_is_there(written: tuple[Path, Stored]) -> None:
    directory, stored = written
    assert content_of(directory) == stored


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_changes_nothing_that_is_believed(written: tuple[Path, Stored], name: str) -> None:
    directory, stored = written
    draw = random.Random(name)
    content = (directory / name).read_bytes()
    for _ in range(60):
        at = draw.randrange(len(content))
        scratch = directory.parent / "scratch"
        shutil.copytree(directory, scratch)
        (scratch / name).write_bytes(content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :])
        assert content_of(scratch) in (stored, None), f"{name}, byte {at}"
        shutil.rmtree(scratch)


@pytest.mark.parametrize("name", FILES)
def test_a_shortened_file_is_never_taken_for_a_shorter_log(written: tuple[Path, Stored], name: str) -> None:
    directory, stored = written
    draw = random.Random(name)
    content = (directory / name).read_bytes()
    for size in (0, *(draw.randrange(len(content)) for _ in range(30))):
        scratch = directory.parent / "scratch"
        shutil.copytree(directory, scratch)
        (scratch / name).write_bytes(content[:size])
        assert content_of(scratch) in (stored, None), f"{name}, {size} bytes"
        shutil.rmtree(scratch)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_missed(written: tuple[Path, Stored], name: str) -> None:
    directory, _ = written
    (directory / name).unlink()
    with pytest.raises((StoreCorrupt, ConfigurationError)):
        SqliteLogStore.open(directory, create=False)


def test_a_database_that_is_gone_is_not_made_anew(written: tuple[Path, Stored]) -> None:
    directory, _ = written
    (directory / "raft.db").unlink()
    (directory / "raft.db-wal").unlink()
    with pytest.raises(StoreCorrupt, match="add it again as a learner"):
        SqliteLogStore.open(directory)


def test_an_older_copy_of_the_database_is_noticed(tmp_path: Path) -> None:
    store = SqliteLogStore.open(tmp_path)
    store.save(entries=[entry(1)])
    store.close()
    older = (tmp_path / "raft.db").read_bytes()
    with SqliteLogStore.open(tmp_path) as store:
        store.load()
        store.save(entries=[entry(2)])
    (tmp_path / "raft.db").write_bytes(older)
    with pytest.raises(StoreCorrupt, match="were acknowledged"):
        SqliteLogStore.open(tmp_path)


def test_a_write_that_is_durable_and_not_in_the_mark_counts(tmp_path: Path) -> None:
    store = SqliteLogStore.open(tmp_path)
    store.save(entries=[entry(1)])
    mark = (tmp_path / "mark").read_bytes()
    store.save(entries=[entry(2)])
    store.close()
    (tmp_path / "mark").write_bytes(mark)
    with SqliteLogStore.open(tmp_path) as store:
        assert store.load().entries == (entry(1), entry(2))


def test_a_second_process_or_store_is_kept_out(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path), pytest.raises(StoreLocked):
        SqliteLogStore.open(tmp_path)
    SqliteLogStore.open(tmp_path).close()


def test_another_database_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "raft.db")
    database.execute("CREATE TABLE other (x)")
    database.close()
    with pytest.raises(StoreCorrupt, match="no store of Raft's"):
        SqliteLogStore.open(tmp_path)
    newer = tmp_path / "newer"
    SqliteLogStore.open(newer).close()
    database = sqlite3.connect(newer / "raft.db")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(ConfigurationError, match="format 99"):
        SqliteLogStore.open(newer)


def test_a_missing_store_is_made_only_where_that_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no store"):
        SqliteLogStore.open(tmp_path / "none", create=False)


def test_after_a_failed_write_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteLogStore.open(tmp_path)
    store.save(entries=[entry(1)])

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("orbit_lite.storage.mark.sync", broken)
    with pytest.raises(StoreFailed, match="Input/output error"):
        store.save(entries=[entry(2)])
    with pytest.raises(StoreFailed):
        store.save(hard_state=HardState(9))
    with pytest.raises(StoreFailed):
        store.remember_peer(NodeId("n"), "x")
    monkeypatch.undo()
    with pytest.raises(StoreFailed, match="restart the node"):
        store.load()
    store.close()
    with SqliteLogStore.open(tmp_path) as again:
        assert len(again.load().entries) in (1, 2)


def test_the_files_do_not_grow_with_history(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path) as store:
        sizes = []
        for turn in range(30):
            first = turn * 200 + 1
            store.save(entries=[entry(index, text=b"y" * 500) for index in range(first, first + 200)])
            meta = meta_of(first + 199, 1, b"s" * 100_000)
            store.write_snapshot(meta, [b"s" * 100_000], first_index=first + 200)
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert max(sizes[20:]) <= max(sizes[10:20])


WRITER = """
import sys
from orbit_lite.model import LiteCommand, LiteKind, LogEntry
from orbit_lite.raft import HardState
from orbit_lite.storage import SqliteLogStore
from orbit_lite.testing.log_store_contract import meta_of
store = SqliteLogStore.open(sys.argv[1])
index = store.load().hard_state.term
while True:
    index += 1
    store.save(hard_state=HardState(index), entries=[LogEntry(1, index, LiteCommand(LiteKind.DATA, "", 0, b"z" * 200))])
    print(index, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    draw = random.Random(7)
    acknowledged = 0
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(draw.randrange(1, 60)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            acknowledged = max([acknowledged, *map(int, writer.stdout.read().split("\n")[:-1])])
        with SqliteLogStore.open(tmp_path / "store", create=False) as store:
            stored = store.load()
            assert acknowledged <= len(stored.entries) <= acknowledged + 1
            assert stored.hard_state.term == len(stored.entries)


class StoreMachine(RuleBasedStateMachine):
    """The store beside a list."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[LogEntry] = []
        self.base = 0
        self.state = HardState()

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteLogStore.open(self.folder.name)
        self.store.load()

    @rule(back=st.integers(0, 5), count=st.integers(1, 4), term=st.integers(1, 9), text=st.binary(max_size=9))
    def append(self, back: int, count: int, term: int, text: bytes) -> None:
        first = max(self.base + 1, self.base + len(self.log) + 1 - back)
        new = [entry(index, term, text) for index in range(first, first + count)]
        self.log[first - self.base - 1 :] = new
        self.state = HardState(term, None, first)
        self.store.save(hard_state=self.state, entries=new)

    @rule(keep=st.integers(0, 3))
    def compact(self, keep: int) -> None:
        if not self.log:
            return
        last = self.base + len(self.log)
        meta = SnapshotMeta(last, 1, Configuration("c"), 2, hashlib.blake2b(b"ok", digest_size=32).hexdigest())
        first = max(self.base + 1, last + 1 - keep)
        self.store.write_snapshot(meta, [b"o", b"k"], first_index=first)
        self.log = self.log[first - self.base - 1 :]
        self.base = first - 1

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = SqliteLogStore.open(self.folder.name, create=False)

    @invariant()
    def holds_what_was_written(self) -> None:
        if hasattr(self, "store"):
            stored = self.store.load()
            assert stored.entries == tuple(self.log)
            assert stored.hard_state == self.state

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
