"""The store on disk: a changed file is noticed, a killed process loses nothing, nobody else gets in."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orbit_lite.errors import ConfigurationError, InternalError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import (
    Configuration,
    HardState,
    LogStore,
    SnapshotChunk,
    SnapshotMeta,
    StoreCorrupt,
    Stored,
    StoreFailed,
    StoreLocked,
)
from orbit_lite.storage import MemoryLogStore, SqliteLogStore
from orbit_lite.storage import mark as mark_module
from orbit_lite.testing.log_store_contract import meta_of

FILES = ("raft.db", "raft.db-wal", "mark")


def entry(index: int, term: int = 1, text: bytes = b"x" * 50) -> LogEntry:
    return LogEntry(term, index, LiteCommand(LiteKind.DATA, "", 0, text))


SNAPSHOT = bytes(range(256)) * 40


def write_history(store: SqliteLogStore) -> None:
    """Entries, a conflict that makes the log shorter, a snapshot, half of an incoming one."""
    for index in range(1, 30):
        store.save(hard_state=HardState(index), entries=[entry(index)])
    store.save(entries=[entry(12, 40)])
    store.write_snapshot(meta_of(9, 1, SNAPSHOT), [SNAPSHOT], first_index=6)
    store.save(chunk=SnapshotChunk(meta_of(50, 9, b"abcdef"), 0, b"abc"))
    for index in range(13, 20):
        store.save(hard_state=HardState(41, NodeId("n1"), index - 2), entries=[entry(index, 41)])


@pytest.fixture(params=["in the -wal file", "in the database", "in both"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Stored]:
    """Files as a killed process leaves them, and what it had acknowledged."""
    store = SqliteLogStore.open(tmp_path / "store")
    write_history(store)
    if request.param != "in the -wal file":
        store._database._checkpoint("PASSIVE")
    if request.param == "in both":
        store.save(entries=[entry(20, 42), entry(21, 42)])
        store.save(entries=[entry(21, 43)])
    stored = store.load()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "store", copy)  # with the -wal file, which closing would remove
    store.close()
    return copy, stored


def content_of(directory: Path) -> Stored | None:
    """What the store says; None when it says that it cannot be trusted, and then nothing of it was touched."""
    before = bytes_of(directory)
    try:
        with SqliteLogStore.open(directory, create=False) as store:
            before = {}
            stored = store.load()
            assert store.read_snapshot(meta_of(9, 1, SNAPSHOT), 0, 1 << 20) == SNAPSHOT
            return stored
    except StoreCorrupt as error:
        assert "add it again as a learner" in error.message
        assert not before or bytes_of(directory) == before
        return None


def bytes_of(directory: Path) -> dict[str, bytes]:
    """What is in the files; SQLite may make an empty one."""
    found = {name: (directory / name).read_bytes() for name in FILES if (directory / name).exists()}
    return {name: content for name, content in found.items() if content}


def with_file(directory: Path, name: str, content: bytes) -> Stored | None:
    """What a copy of the store says in which the file has this content."""
    scratch = directory.parent / "scratch"
    shutil.copytree(directory, scratch)
    (scratch / name).write_bytes(content)
    try:
        return content_of(scratch)
    finally:
        shutil.rmtree(scratch)


def test_what_a_killed_process_wrote_is_there(written: tuple[Path, Stored]) -> None:
    directory, stored = written
    assert content_of(directory) == stored


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_changes_nothing_that_is_believed(written: tuple[Path, Stored], name: str) -> None:
    directory, stored = written
    draw = random.Random(name)
    content = (directory / name).read_bytes()
    places = [draw.randrange(len(content)) for _ in range(80)]
    if name == "mark":
        places = [*range(0, 60, 4), *range(4096, 4156, 4)]
    for at in places:
        changed = content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        assert with_file(directory, name, changed) in (stored, None), f"{name}, byte {at}"


@pytest.mark.parametrize("name", FILES)
def test_a_shortened_file_is_never_taken_for_a_shorter_log(written: tuple[Path, Stored], name: str) -> None:
    directory, stored = written
    draw = random.Random(name)
    content = (directory / name).read_bytes()
    for size in (0, 1, *(draw.randrange(len(content)) for _ in range(40)), len(content) - 1):
        assert with_file(directory, name, content[:size]) in (stored, None), f"{name}, {size} bytes"


def test_zeros_for_a_block_are_noticed(written: tuple[Path, Stored]) -> None:
    """What a disk may give back for a block that it lost."""
    directory, stored = written
    for name in FILES:
        content = (directory / name).read_bytes()
        for at in range(0, len(content), 4096):
            changed = content[:at] + bytes(len(content[at : at + 4096])) + content[at + 4096 :]
            assert with_file(directory, name, changed) in (stored, None), f"{name}, block {at // 4096}"


@pytest.mark.parametrize("name", ["raft.db", "mark"])
def test_a_file_that_is_gone_is_missed(written: tuple[Path, Stored], name: str) -> None:
    directory, _ = written
    (directory / name).unlink()
    with pytest.raises(StoreCorrupt, match="is gone"):
        SqliteLogStore.open(directory)  # and none is made in its place


def test_a_write_ahead_log_that_is_gone_is_missed_unless_nothing_was_in_it(written: tuple[Path, Stored]) -> None:
    directory, stored = written
    (directory / "raft.db-wal").unlink()
    assert content_of(directory) in (stored, None)


def test_a_database_without_its_mark_and_log_is_not_begun_anew(written: tuple[Path, Stored]) -> None:
    directory, _ = written
    (directory / "raft.db").unlink()
    (directory / "mark").unlink()
    with pytest.raises(StoreCorrupt, match="is gone"):
        SqliteLogStore.open(directory)


def test_files_of_an_earlier_moment_are_noticed_one_by_one(tmp_path: Path) -> None:
    """A backup of some files, put back over the others."""
    store = SqliteLogStore.open(tmp_path / "store")
    moments = []
    for index in range(1, 6):
        store.save(entries=[entry(index)])
        shutil.copytree(tmp_path / "store", tmp_path / str(index))
        moments.append((tmp_path / str(index), store.load()))
    store.close()
    for mark, acknowledged in moments:
        for files, there in moments:
            mixed = tmp_path / "mixed"
            shutil.copytree(files, mixed)
            shutil.copy(mark / "mark", mixed / "mark")
            behind = len(there.entries) - len(acknowledged.entries)
            if behind in (0, 1):  # the process may have ended between the two
                with SqliteLogStore.open(mixed) as opened:
                    assert opened.load() == there
            else:
                with pytest.raises(StoreCorrupt, match="were acknowledged|was replaced"):
                    SqliteLogStore.open(mixed)
            shutil.rmtree(mixed)


def test_a_damaged_mark_does_not_hide_that_the_last_write_is_gone(tmp_path: Path) -> None:
    store = SqliteLogStore.open(tmp_path / "store")
    store.save(entries=[entry(1)])
    shutil.copytree(tmp_path / "store", tmp_path / "older")
    store.save(entries=[entry(2)])
    mark = bytearray((tmp_path / "store" / "mark").read_bytes())
    mark[store._database.state.number % 2 * 4096 + 12] ^= 1
    store.close()
    (tmp_path / "older" / "mark").write_bytes(mark)
    with pytest.raises(StoreCorrupt, match="a record of its mark cannot be read"):
        SqliteLogStore.open(tmp_path / "older")


def test_another_history_of_the_same_length_is_noticed(tmp_path: Path) -> None:
    SqliteLogStore.open(tmp_path / "one").close()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        with SqliteLogStore.open(tmp_path / name) as store:
            store.save(entries=[entry(1, text=name.encode())])
    shutil.copy(tmp_path / "one" / "raft.db", tmp_path / "two" / "raft.db")
    with pytest.raises(StoreCorrupt, match="is not the one that was acknowledged"):
        SqliteLogStore.open(tmp_path / "two")


def test_the_mark_of_another_store_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        SqliteLogStore.open(tmp_path / name).close()
    shutil.copy(tmp_path / "one" / "mark", tmp_path / "two" / "mark")
    with pytest.raises(StoreCorrupt, match="belongs to another store"):
        SqliteLogStore.open(tmp_path / "two")


def test_rows_that_were_exchanged_or_replaced_are_noticed(tmp_path: Path) -> None:
    """By somebody who keeps every page and every row well-formed."""
    store = SqliteLogStore.open(tmp_path / "store")
    write_history(store)
    store.close()
    for damage in (
        "UPDATE entries SET idx = CASE idx WHEN 7 THEN -8 WHEN 8 THEN -7 ELSE idx END; UPDATE entries SET idx = abs(idx)",
        "DELETE FROM entries WHERE idx = 8",
        "DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)",
        "DELETE FROM entries WHERE idx = (SELECT min(idx) FROM entries)",
        "UPDATE entries SET term = 7 WHERE idx = 8",
        "UPDATE entries SET timestamp_ms = 'x' WHERE idx = 8",
        "UPDATE entries SET command = NULL WHERE idx = 8",
        "INSERT INTO entries SELECT 20, term, timestamp_ms, command, checksum FROM entries WHERE idx = 19",
        "UPDATE pieces SET data = zeroblob(length(data))",
        "DELETE FROM pieces WHERE snapshot = (SELECT max(snapshot) FROM pieces)",
        "UPDATE pieces SET at = 1 WHERE snapshot = (SELECT min(snapshot) FROM pieces)",
        "UPDATE state SET body = replace(body, '\"term\":41', '\"term\":40')",
        "DELETE FROM state",
        "DROP TABLE entries",
    ):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "store", copy)
        database = sqlite3.connect(copy / "raft.db")
        try:
            database.execute("PRAGMA writable_schema=1")
            database.executescript(damage.replace("NULL", "''"))
            assert database.total_changes or damage.startswith("DROP")
        finally:
            database.close()
        assert content_of(copy) is None, damage
        shutil.rmtree(copy)


def test_damage_that_comes_while_the_store_is_open_is_not_sent_to_others(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path) as store:
        write_history(store)
        store._database.connection.execute("UPDATE pieces SET data = zeroblob(length(data))")
        with pytest.raises(StoreCorrupt, match="the piece at byte 0 is not what was written"):
            store.read_snapshot(meta_of(9, 1, SNAPSHOT), 100, 10)


def test_what_a_crash_left_unsynced_is_durable_before_it_is_believed(written: tuple[Path, Stored]) -> None:
    """Else an entry that was never synced is acknowledged by the next process, and gone with the next power cut."""
    directory, _ = written
    with SqliteLogStore.open(directory) as store:
        assert (directory / "raft.db-wal").stat().st_size == 0
        assert store._database._mark.number == store._database.state.number


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
            try:
                SqliteLogStore.initialise(folder, Stored(HardState(2), None, (entry(1),)))
            except ConfigurationError:  # it was complete
                pass
            with SqliteLogStore.open(folder, create=False) as store:
                assert store.load().entries == (entry(1),)
        assert limit > 6


def test_a_store_begins_with_what_it_is_given_and_only_once(tmp_path: Path) -> None:
    begin = Stored(HardState(3, None, 1), None, (entry(1), entry(2, 3)))
    SqliteLogStore.initialise(tmp_path / "a" / "b", begin)
    with SqliteLogStore.open(tmp_path / "a" / "b", create=False) as store:
        assert store.load() == begin
    with pytest.raises(ConfigurationError, match="a store already"):
        SqliteLogStore.initialise(tmp_path / "a" / "b", begin)
    with pytest.raises(InternalError, match="import_snapshot"):
        SqliteLogStore.initialise(tmp_path / "c", Stored(snapshot=meta_of(1, 1, b"")))
    with pytest.raises(InternalError, match="does not join"):
        SqliteLogStore.initialise(tmp_path / "c", Stored(entries=(entry(2),)))
    SqliteLogStore.initialise(tmp_path / "c", begin)


def test_a_second_process_or_store_is_kept_out(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path), pytest.raises(StoreLocked, match="open in another process"):
        SqliteLogStore.open(tmp_path)
    SqliteLogStore.open(tmp_path).close()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    program = "import sys, time; from orbit_lite.storage import SqliteLogStore as S\n"
    program += "store = S.open(sys.argv[1]); print('open', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked):
            SqliteLogStore.open(tmp_path / "store")
        holder.kill()
        holder.wait()
        SqliteLogStore.open(tmp_path / "store", create=False).close()


def test_another_program_in_the_database_is_kept_out_and_keeps_us_out(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path) as store:
        store.save(entries=[entry(1)])
        other = sqlite3.connect(tmp_path / "raft.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM entries")
        other.close()
    other = sqlite3.connect(tmp_path / "raft.db", timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreLocked, match="another program"):
            SqliteLogStore.open(tmp_path)
    finally:
        other.close()
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
    for _ in range(20):
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


def test_a_place_where_no_store_can_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed, match="file"):
        SqliteLogStore.open(tmp_path / "file" / "store")


def test_a_large_snapshot_is_never_held_as_a_whole(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count its memory")
    piece, count = bytes(range(256)) * 1024, 120
    digest = hashlib.blake2b(digest_size=32)
    for _ in range(count):
        digest.update(piece)
    meta = SnapshotMeta(1, 1, Configuration("c"), len(piece) * count, digest.hexdigest())
    with SqliteLogStore.open(tmp_path) as store:
        store.save(entries=[entry(1)])
        tracemalloc.start()
        try:
            store.write_snapshot(meta, (piece for _ in range(count)), first_index=2)
            store.load()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < meta.size / 3
        assert (tmp_path / "raft.db-wal").stat().st_size < meta.size / 3


class StoreMachine(RuleBasedStateMachine):
    """The store beside the one in memory, closed and opened, and killed and opened, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.store = SqliteLogStore.open(self.folder / "0")
        self.model = MemoryLogStore()
        self.data = b""

    @property
    def last(self) -> int:
        stored = self.model.load()
        covered = stored.snapshot.index if stored.snapshot is not None else 0
        return max(covered, stored.entries[-1].index if stored.entries else 0)

    def both(self, work: Callable[[LogStore], object]) -> None:
        assert work(self.store) == work(self.model)

    @rule(back=st.integers(0, 5), count=st.integers(1, 4), term=st.integers(1, 2**64 - 1), text=st.binary(max_size=9))
    def append(self, back: int, count: int, term: int, text: bytes) -> None:
        stored = self.model.load()
        lowest = stored.entries[0].index if stored.entries else self.last + 1
        first = max(lowest, self.last + 1 - back)
        new = [entry(index, term, text) for index in range(first, first + count)]
        self.both(lambda store: store.save(hard_state=HardState(term, NodeId("n"), first), entries=new))

    @rule(keep=st.integers(0, 3), data=st.binary(max_size=5))
    def compact(self, keep: int, data: bytes) -> None:
        if self.last:
            meta, first = meta_of(self.last, 1, data), max(1, self.last + 1 - keep)
            self.both(lambda store: store.write_snapshot(meta, [data], first_index=first))

    @rule(ahead=st.integers(0, 5), data=st.binary(min_size=1, max_size=9))
    def receive_the_begin(self, ahead: int, data: bytes) -> None:
        meta, self.data = meta_of(self.last + ahead, 3, data), data
        self.both(lambda store: store.save(chunk=SnapshotChunk(meta, 0, data[: len(data) // 2])))

    @rule(is_damaged=st.booleans())
    def receive_the_end(self, is_damaged: bool) -> None:
        if (incoming := self.model.load().incoming) is not None:
            meta, at = incoming
            rest = self.data[at:-1] + b"?" if is_damaged else self.data[at:]
            self.both(lambda store: store.save(chunk=SnapshotChunk(meta, at, rest), install=meta))

    @rule(name=st.sampled_from("abc"), identity=st.none() | st.sampled_from("xyz"))
    def remember(self, name: str, identity: str | None) -> None:
        self.both(lambda store: store.remember_peer(NodeId(name), identity))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = SqliteLogStore.open(self.store.directory, create=False)

    @rule()
    def be_killed_and_reopen(self) -> None:
        self.generation += 1
        copy = self.folder / str(self.generation)
        shutil.copytree(self.store.directory, copy)
        self.store.close()
        self.store = SqliteLogStore.open(copy, create=False)

    @invariant()
    def holds_what_was_written(self) -> None:
        stored = self.model.load()
        assert self.store.load() == stored
        assert self.store.peers() == self.model.peers()
        if (meta := stored.snapshot) is not None:
            self.both(lambda store: store.read_snapshot(meta, 0, 100))

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
