"""What is durable, and what a crash makes of writes on the way."""

from __future__ import annotations

from random import Random

import pytest

from orbit_lite.errors import InternalError
from orbit_lite.model import HeartBeat, LogEntry, NodeId
from orbit_lite.raft import Configuration, HardState, LogStore, SnapshotChunk, SnapshotMeta, StoreFailed
from orbit_lite.testing.simulation.disk import SimulatedDisk, Write, checksum

CONFIGURATION = Configuration("c")


def entries(*terms: int, first: int = 1) -> tuple[LogEntry, ...]:
    return tuple(LogEntry(term, index, HeartBeat()) for index, term in enumerate(terms, first))


def meta(index: int, data: bytes, term: int = 1) -> SnapshotMeta:
    return SnapshotMeta(index, term, CONFIGURATION, len(data), checksum(data))


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk("store")


def test_it_is_a_log_store(disk: SimulatedDisk) -> None:
    store: LogStore = disk
    assert store.store_id == "store"


def test_nothing_of_a_write_counts_before_it_is_finished(disk: SimulatedDisk) -> None:
    write = Write(HardState(3), entries(1, 3))
    disk.begin(write)
    assert disk.load().entries == ()
    assert disk.finish(write)
    assert disk.load().entries == entries(1, 3)
    assert disk.hard_state == HardState(3)


def test_new_entries_replace_all_behind_them(disk: SimulatedDisk) -> None:
    disk.save(entries=entries(1, 1, 1))
    disk.save(entries=entries(2, first=2))
    assert [entry.term for entry in disk.load().entries] == [1, 2]
    assert disk.holds(2, 2)
    assert not disk.holds(2, 1)
    assert not disk.holds(3, 1)


def test_entries_that_do_not_join_are_refused(disk: SimulatedDisk) -> None:
    with pytest.raises(InternalError, match="entry 3 does not join the stored log, which ends at 0"):
        disk.save(entries=entries(1, first=3))


def test_a_crash_keeps_some_first_writes_and_no_half_of_any() -> None:
    fates = set()
    for seed in range(200):
        disk = SimulatedDisk("store")
        writes = [Write(HardState(term), entries(term, first=term)) for term in (1, 2, 3)]
        for write in writes:
            disk.begin(write)
        fates.add(disk.crash(Random(seed)))
        stored = disk.load()
        assert len(stored.entries) == stored.hard_state.term
        disk.save(hard_state=HardState(9))  # it takes writes again
    assert fates == {"lost", "kept", "in part", "torn"}


def test_after_a_crash_nothing_is_on_the_way(disk: SimulatedDisk) -> None:
    assert disk.crash(Random(0)) == ""


def test_a_full_disk_writes_nothing_and_then_refuses_all(disk: SimulatedDisk) -> None:
    disk.fails_next = "full"
    for _ in range(2):
        with pytest.raises(StoreFailed):
            disk.save(hard_state=HardState(1))
    assert disk.hard_state == HardState()


def test_after_an_error_nobody_knows_what_was_written() -> None:
    terms = set()
    for seed in range(20):
        disk = SimulatedDisk("store")
        disk.fails_next = "io error"
        with pytest.raises(StoreFailed):
            disk.save(hard_state=HardState(1))
        with pytest.raises(StoreFailed):
            disk.save(hard_state=HardState(2))
        disk.crash(Random(seed))
        terms.add(disk.hard_state.term)
    assert terms == {0, 1}


def test_a_snapshot_comes_in_chunks_and_takes_the_place_of_the_log(disk: SimulatedDisk) -> None:
    disk.save(entries=entries(1, 1, 1))
    snapshot = meta(9, b"abcdef")
    disk.save(chunk=SnapshotChunk(snapshot, 0, b"abc"))
    assert disk.load().incoming == (snapshot, 3)
    assert disk.save(chunk=SnapshotChunk(snapshot, 3, b"def"), install=snapshot)
    assert disk.load().entries == ()
    assert disk.read_snapshot(snapshot, 2, 3) == b"cde"
    assert disk.holds(5, 1)
    assert disk.last_index == 9


def test_a_damaged_snapshot_is_dropped_and_the_rest_is_written(disk: SimulatedDisk) -> None:
    disk.save(entries=entries(1, 1, 1))
    snapshot = meta(9, b"abcdef")
    assert not disk.save(hard_state=HardState(4), chunk=SnapshotChunk(snapshot, 0, b"abcdeX"), install=snapshot)
    stored = disk.load()
    assert (stored.snapshot, stored.incoming, stored.hard_state) == (None, None, HardState(4))
    assert len(stored.entries) == 3


def test_a_chunk_that_does_not_continue_is_refused(disk: SimulatedDisk) -> None:
    with pytest.raises(InternalError, match="does not continue"):
        disk.save(chunk=SnapshotChunk(meta(9, b"abc"), 1, b"bc"))


def test_an_own_snapshot_drops_the_log_before_it_and_never_a_newer_one(disk: SimulatedDisk) -> None:
    disk.save(entries=entries(1, 1, 1, 1))
    disk.write_snapshot(meta(3, b"three"), [b"th", b"ree"], first_index=3)
    disk.write_snapshot(meta(2, b"two"), [b"two"], first_index=2)
    stored = disk.load()
    assert [entry.index for entry in stored.entries] == [3, 4]
    assert stored.snapshot == meta(3, b"three")
    with pytest.raises(LookupError):
        disk.read_snapshot(meta(2, b"two"), 0, 9)


def test_peers_are_remembered_until_they_are_forgotten(disk: SimulatedDisk) -> None:
    node = NodeId("a")
    disk.remember_peer(node, "x")
    assert disk.peers() == {node: "x"}
    disk.remember_peer(node, None)
    assert disk.peers() == {}
