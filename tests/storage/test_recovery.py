"""A node whose cluster is lost goes on alone with all that its store holds, and only when that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import (
    Configuration,
    HardState,
    Member,
    RaftConfig,
    RaftCore,
    Role,
    SnapshotChunk,
    StoreLocked,
    bootstrap_state,
)
from orbit_lite.raft.membership import configuration_command
from orbit_lite.storage import SqliteLogStore, describe, recover_unsafe
from orbit_lite.testing.log_store_contract import entries_of, meta_of

ME = Member(NodeId("a"), "http://a:1")
OLD = Configuration("old", (ME, Member(NodeId("b")), Member(NodeId("c"))))
NEW = Configuration("new", (ME,))
NOOP = LiteCommand(LiteKind.NOOP, "", 0, b"")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A snapshot through 4 with entries from 3 on; committed through 6; the membership at 5; a snapshot half there."""
    with SqliteLogStore.open(tmp_path / "store") as store:
        store.save(hard_state=HardState(5, NodeId("b"), 6), entries=entries_of(1, 1, 1, 1, 2))
        store.write_snapshot(meta_of(4, 2, b"four"), [b"four"], first_index=3)
        store.save(entries=(LogEntry(3, 5, configuration_command(OLD)), *entries_of(6, 3, 5, 5)))
        store.save(chunk=SnapshotChunk(meta_of(20, 5, b"abcdef"), 0, b"abc"))
        store.remember_peer(NodeId("b"), "its store")
    return tmp_path / "store"


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.stat().st_size}


def test_nothing_is_done_before_it_is_asked_for(folder: Path) -> None:
    before = content_of(folder)
    report = recover_unsafe(folder, NEW)
    assert content_of(folder) == before
    assert not report.is_done
    assert report.before == HardState(5, NodeId("b"), 6)
    assert (report.last_index, report.last_term) == (8, 5)
    assert list(report.assumed) == [7, 8] == list(describe(folder).undecided)
    assert report.former == OLD
    assert (report.term, report.index) == (6, 9)
    assert [member.node_id.key for member in report.left_out] == ["b", "c"]


def test_it_says_what_may_be_lost(folder: Path) -> None:
    risks = list(recover_unsafe(folder, NEW).risks())
    assert "behind entry 8 (term 5) is lost" in risks[0]
    assert "entries 7 to 8 count as committed" in risks[1]
    assert risks[2].startswith("(default:b) is no member")
    assert "cluster id 'new'" in risks[-1]


def test_the_store_holds_the_same_state_under_the_new_membership(folder: Path) -> None:
    report = recover_unsafe(folder, NEW, dry_run=False)
    assert report.is_done
    with SqliteLogStore.open(folder, create=False) as store:
        stored = store.load()
        assert stored.hard_state == HardState(6, None, 9)
        assert stored.snapshot == replace(meta_of(4, 2, b"four"), configuration=NEW)
        assert store.read_snapshot(stored.snapshot, 0, 9) == b"four"
        without_effect = LogEntry(3, 5, NOOP)
        enforced = LogEntry(6, 9, configuration_command(NEW))
        kept = (*entries_of(3, 1, 2), without_effect, *entries_of(6, 3, 5, 5), enforced)
        assert stored.entries == kept
        assert stored.incoming is None
        assert not store.peers()
        store.save(entries=entries_of(10, 7))


def test_the_node_leads_alone(folder: Path) -> None:
    recover_unsafe(folder, NEW, dry_run=False)
    with SqliteLogStore.open(folder, create=False) as store:
        core = RaftCore(ME.node_id, RaftConfig(), store.load(), now=0.0, random=lambda: 0.5)
        for now in range(1, 5):
            core.handle_timer(float(now))
            while core.has_ready():
                ready = core.ready()
                store.save(hard_state=ready.hard_state, entries=ready.entries)
                core.persisted(ready, float(now))
        assert core.role is Role.LEADER
        assert core.commit == core.last_index > 9
        assert core.configuration == NEW


def test_a_store_of_founders_is_recovered(tmp_path: Path) -> None:
    SqliteLogStore.initialise(tmp_path / "store", bootstrap_state(OLD))
    assert not recover_unsafe(tmp_path / "store", NEW, dry_run=False).assumed
    with SqliteLogStore.open(tmp_path / "store") as store:
        assert store.load().entries == (LogEntry(1, 1, NOOP), LogEntry(2, 2, configuration_command(NEW)))


@pytest.mark.parametrize(
    ("configuration", "problem"),
    [
        (Configuration("new", (Member(NodeId("a"), voter=False),)), "one voter"),
        (Configuration("new", (Member(NodeId("a")), Member(NodeId("b")))), "one voter"),
        (Configuration("old", (ME,)), "must be a new one"),
    ],
)
def test_what_would_not_help_is_refused(folder: Path, configuration: Configuration, problem: str) -> None:
    before = content_of(folder)
    for dry_run in (True, False):
        with pytest.raises(ConfigurationError, match=problem):
            recover_unsafe(folder, configuration, dry_run=dry_run)
    assert content_of(folder)["mark"] == before["mark"]  # no write since


def test_an_empty_a_missing_or_an_open_store_is_not_recovered(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no store"):
        recover_unsafe(tmp_path / "none", NEW)
    with SqliteLogStore.open(tmp_path / "empty"), pytest.raises(StoreLocked):
        recover_unsafe(tmp_path / "empty", NEW)
    with pytest.raises(ConfigurationError, match="nothing in the store"):
        recover_unsafe(tmp_path / "empty", NEW, dry_run=False)
