"""What a backup holds comes back as it was, under a new membership, or not at all."""

from __future__ import annotations

import io
import os
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import (
    Configuration,
    HardState,
    Member,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    bootstrap_state,
    encode_configuration,
)
from orbit_lite.storage import (
    MemoryLogStore,
    SqliteLogStore,
    describe,
    export_snapshot,
    import_snapshot,
    read_backup,
    write_backup,
)
from orbit_lite.testing.log_store_contract import CONFIGURATION, entries_of, meta_of

OLD = Configuration("old", (Member(NodeId("a")), Member(NodeId("b")), Member(NodeId("c"))))
NEW = Configuration("new", (Member(NodeId("x"), "http://x:1"), Member(NodeId("y"), voter=False)))
NOOP = LiteCommand(LiteKind.NOOP, "", 0, b"")


@pytest.fixture
def store(tmp_path: Path) -> MemoryLogStore:
    """A snapshot through 4, kept entries from 3 on, committed through 7, another membership at 6, and 9 entries."""
    store = MemoryLogStore()
    store.save(hard_state=HardState(5, NodeId("a"), 7), entries=entries_of(1, 1, 1, 1, 2, 2))
    data = bytes(range(256)) * 5_000
    store.write_snapshot(meta_of(4, 2, data), [data], first_index=3)
    change = LogEntry(3, 6, LiteCommand(LiteKind.CONFIG, "", 0, encode_configuration(OLD)))
    store.save(entries=(change, *entries_of(7, 3, 5, 5)))
    return store


def test_a_backup_ends_with_what_is_committed(store: MemoryLogStore, tmp_path: Path) -> None:
    report = export_snapshot(store, tmp_path / "backup")
    assert (report.term, report.through, report.last_term, report.entries) == (5, 7, 3, 3)
    assert report.snapshot == store.load().snapshot
    assert report.configuration == OLD
    assert read_backup(tmp_path / "backup") == report
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_a_file_that_is_open_gets_the_same_bytes(store: MemoryLogStore, tmp_path: Path) -> None:
    out = io.BytesIO()
    assert write_backup(store, out) == export_snapshot(store, tmp_path / "backup")
    assert out.getvalue() == (tmp_path / "backup").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_the_owner_may_read_a_backup(store: MemoryLogStore, tmp_path: Path) -> None:
    export_snapshot(store, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600


def test_it_goes_further_when_told_to(store: MemoryLogStore, tmp_path: Path) -> None:
    assert export_snapshot(store, tmp_path / "backup", through=9).through == 9
    before_the_change = export_snapshot(store, tmp_path / "backup", through=5)
    assert before_the_change.configuration == CONFIGURATION


@pytest.mark.parametrize("through", [0, 3, 10])
def test_a_backup_through_what_is_not_there_is_refused(store: MemoryLogStore, tmp_path: Path, through: int) -> None:
    with pytest.raises(ConfigurationError, match=r"through 4\.\.9"):
        export_snapshot(store, tmp_path / "backup", through=through)
    with pytest.raises(ConfigurationError):
        export_snapshot(MemoryLogStore(), tmp_path / "backup")
    assert not list(tmp_path.iterdir())


def test_a_store_from_a_backup_has_its_state_and_the_new_membership(store: MemoryLogStore, tmp_path: Path) -> None:
    export_snapshot(store, tmp_path / "backup")
    import_snapshot(tmp_path / "backup", tmp_path / "x", configuration=NEW)
    was = store.load()
    assert was.snapshot is not None
    with SqliteLogStore.open(tmp_path / "x", create=False) as made:
        stored = made.load()
        assert stored.hard_state == HardState(6, None, 8)
        assert stored.snapshot == replace(was.snapshot, configuration=NEW)
        assert made.read_snapshot(stored.snapshot, 0, 1 << 24) == store.read_snapshot(was.snapshot, 0, 1 << 24)
        assert stored.entries == (
            was.entries[2],
            LogEntry(3, 6, NOOP),
            was.entries[4],
            LogEntry(6, 8, LiteCommand(LiteKind.CONFIG, "", 0, encode_configuration(NEW))),
        )
        made.save(entries=entries_of(9, 6))
        assert made.load().entries[-1].index == 9
    import_snapshot(tmp_path / "backup", tmp_path / "y", configuration=NEW)
    first, second = describe(tmp_path / "x"), describe(tmp_path / "y")
    assert first.store_id != second.store_id
    assert first.configuration == second.configuration == NEW
    assert not second.peers


def test_a_backup_without_a_snapshot_is_one(tmp_path: Path) -> None:
    store = MemoryLogStore(stored=bootstrap_state(OLD))
    export_snapshot(store, tmp_path / "backup")
    import_snapshot(tmp_path / "backup", tmp_path / "x", configuration=NEW)
    with SqliteLogStore.open(tmp_path / "x", create=False) as made:
        assert [entry.term for entry in made.load().entries] == [1, 2]
        assert made.load().hard_state == HardState(2, None, 2)


def test_a_store_is_never_overwritten(store: MemoryLogStore, tmp_path: Path) -> None:
    export_snapshot(store, tmp_path / "backup")
    SqliteLogStore.open(tmp_path / "x").close()
    with pytest.raises(ConfigurationError, match="a store already"):
        import_snapshot(tmp_path / "backup", tmp_path / "x", configuration=NEW)
    with pytest.raises(ConfigurationError, match="no voter"):
        import_snapshot(tmp_path / "backup", tmp_path / "y", configuration=Configuration("new"))
    assert not (tmp_path / "y").exists()


def test_a_damaged_backup_makes_no_store(store: MemoryLogStore, tmp_path: Path) -> None:
    export_snapshot(store, tmp_path / "backup")
    content = (tmp_path / "backup").read_bytes()
    draw = random.Random(3)
    places = [*range(40), *(draw.randrange(len(content)) for _ in range(20)), len(content) - 1]
    damaged = [content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :] for at in places]
    for bad in (b"", *damaged, *(content[:at] for at in places), content + b"\0"):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(StoreCorrupt):
            read_backup(tmp_path / "bad")
    with pytest.raises(StoreCorrupt):
        import_snapshot(tmp_path / "bad", tmp_path / "x", configuration=NEW)
    assert not (tmp_path / "x").exists()


def test_a_missing_file_or_directory_says_so(store: MemoryLogStore, tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="none"):
        read_backup(tmp_path / "none")
    with pytest.raises(StoreFailed, match="none"):
        export_snapshot(store, tmp_path / "none" / "backup")


def test_describe_says_what_is_there_and_changes_nothing(tmp_path: Path) -> None:
    SqliteLogStore.initialise(tmp_path / "x", bootstrap_state(OLD))
    with SqliteLogStore.open(tmp_path / "x") as store:
        store.save(hard_state=HardState(4, NodeId("b"), 1), entries=entries_of(2, 1, 4))
        store.remember_peer(NodeId("b"), "its store")
        with pytest.raises(StoreLocked):
            describe(tmp_path / "x")
        wanted = store.store_id
    before = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir() if "-" not in path.name}
    report = describe(tmp_path / "x")
    assert report.store_id == wanted
    assert report.hard_state == HardState(4, NodeId("b"), 1)
    assert (report.first_index, report.last_index, report.last_term) == (1, 3, 4)
    assert report.configuration == OLD
    assert dict(report.peers) == {NodeId("b"): "its store"}
    assert report.snapshot is None
    assert report.incoming is None
    assert report.file_bytes["raft.db"] > 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir() if "-" not in path.name} == before


def test_describe_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no store"):
        describe(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="no store"):
        describe(tmp_path)
    assert not (tmp_path / "none").exists()
