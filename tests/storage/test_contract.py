"""What every LogStore promises, in memory or on disk, before and after it was opened again."""

from __future__ import annotations

from typing import Any

import pytest

from orbit_lite.errors import InternalError
from orbit_lite.model import HeartBeat, LiteCommand, LiteKind, LogEntry, NodeId, NodeJoin, RaftCommand
from orbit_lite.raft import HardState, SnapshotChunk, Stored


def test_a_new_store_holds_nothing(shelf: Any) -> None:
    assert shelf.store.load() == Stored()
    assert shelf.reopen().load() == Stored()
    assert not shelf.store.peers()


def test_term_vote_and_entries_stay(shelf: Any, make_entries: Any) -> None:
    state = HardState(2**64 - 1, NodeId("ké:y", "näme"), 7)
    log = make_entries(1, 1, 1, 2**64 - 1)
    shelf.store.save(hard_state=state, entries=log)
    assert shelf.reopen().load() == Stored(state, None, log)


def test_every_kind_of_command_stays(shelf: Any) -> None:
    commands: list[RaftCommand] = [
        HeartBeat(),
        NodeJoin(NodeId("n")),
        *(LiteCommand(kind, "", 0, b"\x00\xff") for kind in LiteKind),
    ]
    log = tuple(LogEntry(1, index, command, -5) for index, command in enumerate(commands, 1))
    shelf.store.save(entries=log)
    assert shelf.reopen().load().entries == log


def test_entries_replace_all_behind_the_first_of_them(shelf: Any, make_entries: Any) -> None:
    shelf.store.save(entries=make_entries(1, 1, 1, 1, 1))
    shelf.store.save(entries=make_entries(3, 2))
    assert shelf.reopen().load().entries == make_entries(1, 1, 1) + make_entries(3, 2)
    shelf.store.save(entries=make_entries(4, 3, 3))
    assert shelf.reopen().load().entries == make_entries(1, 1, 1, 2, 3, 3)


def test_entries_that_do_not_join_are_refused_and_nothing_is_written(shelf: Any, make_entries: Any) -> None:
    shelf.store.save(entries=make_entries(1, 1))
    with pytest.raises(InternalError):
        shelf.store.save(hard_state=HardState(5), entries=make_entries(4, 1))
    shelf.store.save(entries=make_entries(2, 1))
    assert shelf.reopen().load().entries == make_entries(1, 1, 1)


def test_a_snapshot_of_its_own_drops_the_log_before_it(shelf: Any, make_entries: Any, make_meta: Any) -> None:
    shelf.store.save(entries=make_entries(1, 1, 1, 1, 1))
    meta = make_meta(3, 1, b"state at three")
    shelf.store.write_snapshot(meta, [b"state ", b"", b"at three"], first_index=3)
    store = shelf.reopen()
    assert store.load() == Stored(HardState(), meta, make_entries(1, 1, 1, 1, 1)[2:])
    assert store.read_snapshot(meta, 0, 1000) == b"state at three"
    assert store.read_snapshot(meta, 4, 5) == b"e at "
    assert store.read_snapshot(meta, 14, 5) == b""
    store.save(entries=make_entries(5, 2))
    assert shelf.reopen().load().entries == make_entries(3, 1, 1, 2)


def test_a_newer_snapshot_replaces_the_older_one(shelf: Any, make_entries: Any, make_meta: Any) -> None:
    shelf.store.save(entries=make_entries(1, 1, 1, 1))
    old, new = make_meta(2, 1, b"two"), make_meta(3, 1, b"three")
    shelf.store.write_snapshot(old, [b"two"], first_index=1)
    shelf.store.write_snapshot(new, [b"three"], first_index=4)
    with pytest.raises(LookupError):
        shelf.store.read_snapshot(old, 0, 10)
    store = shelf.reopen()
    assert store.load() == Stored(HardState(), new)
    store.save(entries=make_entries(4, 2))
    assert shelf.reopen().load().entries == make_entries(4, 2)


def test_an_incoming_snapshot_survives_and_takes_the_place_of_the_log(
    shelf: Any, make_entries: Any, make_meta: Any
) -> None:
    shelf.store.save(entries=make_entries(1, 1, 1))
    meta = make_meta(9, 3, b"abcdef")
    shelf.store.save(chunk=SnapshotChunk(meta, 0, b"abc"))
    store = shelf.reopen()
    assert store.load().incoming == (meta, 3)
    assert store.save(hard_state=HardState(3), chunk=SnapshotChunk(meta, 3, b"def"), install=meta)
    store = shelf.reopen()
    assert store.load() == Stored(HardState(3), meta)
    assert store.read_snapshot(meta, 0, 9) == b"abcdef"
    store.save(entries=make_entries(10, 3))
    assert shelf.reopen().load() == Stored(HardState(3), meta, make_entries(10, 3))


def test_a_damaged_incoming_snapshot_is_dropped_and_the_rest_is_written(
    shelf: Any, make_entries: Any, make_meta: Any
) -> None:
    shelf.store.save(entries=make_entries(1, 1))
    meta = make_meta(9, 3, b"abcdef")
    shelf.store.save(chunk=SnapshotChunk(meta, 0, b"abc"))
    assert not shelf.store.save(hard_state=HardState(4), chunk=SnapshotChunk(meta, 3, b"deX"), install=meta)
    assert shelf.reopen().load() == Stored(HardState(4), None, make_entries(1, 1))


def test_the_first_chunk_of_another_snapshot_drops_the_one_before(shelf: Any, make_meta: Any) -> None:
    old, new = make_meta(5, 1, b"old"), make_meta(6, 1, b"new")
    shelf.store.save(chunk=SnapshotChunk(old, 0, b"ol"))
    shelf.store.save(chunk=SnapshotChunk(new, 0, b"n"))
    assert shelf.reopen().load().incoming == (new, 1)
    with pytest.raises(InternalError):
        shelf.store.save(chunk=SnapshotChunk(old, 2, b"d"))


def test_an_empty_snapshot_is_one(shelf: Any, make_entries: Any, make_meta: Any) -> None:
    shelf.store.save(entries=make_entries(1, 1))
    meta = make_meta(1, 1, b"")
    shelf.store.write_snapshot(meta, [], first_index=2)
    assert shelf.reopen().load() == Stored(HardState(), meta)


def test_peers_are_remembered_and_forgotten(shelf: Any) -> None:
    one, two = NodeId("n1"), NodeId("n2", "other")
    shelf.store.remember_peer(one, "a")
    shelf.store.remember_peer(two, "b")
    shelf.store.remember_peer(one, None)
    shelf.store.remember_peer(one, None)
    assert dict(shelf.reopen().peers()) == {two: "b"}


def test_its_identity_stays(shelf: Any) -> None:
    before = shelf.store.store_id
    assert shelf.reopen().store_id == before


def test_closing_twice_does_nothing(shelf: Any) -> None:
    shelf.store.close()
    shelf.store.close()
