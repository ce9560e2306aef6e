"""Files that were changed, shortened, exchanged or removed: all that was acknowledged is there, or StoreCorrupt."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import HardState, SnapshotChunk, StoreCorrupt, Stored, StoreFailed
from orbit_lite.storage import SqliteLogStore
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
    before, is_opened = bytes_of(directory), False
    try:
        with SqliteLogStore.open(directory, create=False) as store:
            is_opened = True
            stored = store.load()
            assert store.read_snapshot(meta_of(9, 1, SNAPSHOT), 0, 1 << 20) == SNAPSHOT
            return stored
    except StoreCorrupt as error:
        advice = error.message
    assert "add it again as a learner" in advice
    assert is_opened or bytes_of(directory) == before
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
                    assert opened._database._mark.number == opened._database.state.number  # before it is believed
            else:
                with pytest.raises(StoreCorrupt, match=r"were acknowledged|was replaced"):
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
        "UPDATE entries SET idx = -15 + idx WHERE idx IN (7, 8); UPDATE entries SET idx = -idx WHERE idx < 0",
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


def test_damage_that_a_write_comes_upon_is_said_to_be_that(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path) as store:
        write_history(store)
        store._database.connection.execute("DELETE FROM entries WHERE idx = 8")
        with pytest.raises(StoreCorrupt, match="entry 8 is gone"):
            store.save(entries=[entry(9, 50)])


def test_pages_that_go_bad_under_an_open_store_end_its_writing(tmp_path: Path) -> None:
    with SqliteLogStore.open(tmp_path) as store:
        write_history(store)
        store._database._checkpoint("TRUNCATE")
        store._database.connection.execute("PRAGMA shrink_memory").fetchall()
        content = (tmp_path / "raft.db").read_bytes()
        (tmp_path / "raft.db").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        with pytest.raises(StoreCorrupt, match="malformed"):
            store.save(entries=[entry(20, 50)])
        with pytest.raises(StoreFailed, match="not used any more"):
            store.save(hard_state=HardState(60))


def test_what_a_crash_left_unsynced_is_durable_before_it_is_believed(written: tuple[Path, Stored]) -> None:
    """Else an entry that was never synced is acknowledged by the next process, and gone with the next power cut."""
    directory, _ = written
    with SqliteLogStore.open(directory) as store:
        assert (directory / "raft.db-wal").stat().st_size == 0
        assert store._database._mark.number == store._database.state.number
