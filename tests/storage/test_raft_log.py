"""The store on disk: how it begins, who is kept out, how large it gets."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orbit_lite.errors import ConfigurationError, InternalError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry
from orbit_lite.raft import Configuration, HardState, SnapshotMeta, StoreCorrupt, Stored, StoreFailed, StoreLocked
from orbit_lite.storage import SqliteLogStore
from orbit_lite.testing.log_store_contract import meta_of


def entry(index: int, term: int = 1, text: bytes = b"x" * 50) -> LogEntry:
    return LogEntry(term, index, LiteCommand(LiteKind.DATA, "", 0, text))


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


@pytest.mark.skipif(sys.platform == "win32", reason="rights are kept in another way there")
def test_nobody_else_may_look_into_a_store(tmp_path: Path) -> None:
    SqliteLogStore.open(tmp_path / "above" / "store").close()
    assert (tmp_path / "above" / "store").stat().st_mode & 0o777 == 0o700


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
