"""What every LogStore promises, as checks to run against one of your own.

    @pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
    def test_my_store_keeps_the_contract(check, tmp_path):
        check(MyShelf(tmp_path))

A check gets a shelf with a new, empty store, and raises AssertionError. It closes and opens the store again between the
steps, where what counts is what survives that; a store that does not outlast its process just stays.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final, Protocol

from orbit_lite.errors import OrbitError
from orbit_lite.model import HeartBeat, LiteCommand, LiteKind, LogEntry, NodeId, NodeJoin, RaftCommand
from orbit_lite.raft import Configuration, HardState, LogStore, Member, SnapshotChunk, SnapshotMeta, Stored

__all__ = ["CONTRACT", "Shelf", "entries_of", "meta_of"]

CONFIGURATION: Final = Configuration("test", (Member(NodeId("n1")), Member(NodeId("n2"), "http://h:1", voter=False)))


class Shelf(Protocol):
    """Where the store under test stands."""

    @property
    def store(self) -> LogStore:
        """The store, open."""
        ...

    def reopen(self) -> LogStore:
        """Close the store and open it again."""
        ...


def entries_of(first: int, *terms: int, text: str = "") -> tuple[LogEntry, ...]:
    """Entries first, first + 1, … of these terms."""
    return tuple(
        LogEntry(term, index, LiteCommand(LiteKind.DATA, "cliént", index, f"{text}{term}.{index}".encode()), index)
        for index, term in enumerate(terms, first)
    )


def meta_of(index: int, term: int, data: bytes) -> SnapshotMeta:
    """The meta data of a snapshot with these bytes."""
    return SnapshotMeta(index, term, CONFIGURATION, len(data), blake2b(data, digest_size=32).hexdigest())


def _same(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"found  {found!r}\nwanted {wanted!r}")


def _refused(kind: type[Exception], work: Callable[[], object]) -> None:
    try:
        work()
    except kind:
        return
    raise AssertionError(f"nothing raised, wanted {kind.__name__}")


def a_new_store_holds_nothing(shelf: Shelf) -> None:
    _same(shelf.store.load(), Stored())
    _same(shelf.reopen().load(), Stored())
    _same(dict(shelf.store.peers()), {})


def its_identity_stays(shelf: Shelf) -> None:
    before = shelf.store.store_id
    _same(shelf.reopen().store_id, before)


def term_vote_and_entries_stay(shelf: Shelf) -> None:
    state = HardState(2**64 - 1, NodeId("ké:y", "näme"), 7)
    log = entries_of(1, 1, 1, 2**63, 2**64 - 1)
    shelf.store.save(hard_state=state, entries=log)
    _same(shelf.reopen().load(), Stored(state, None, log))


def every_kind_of_command_stays(shelf: Shelf) -> None:
    commands: list[RaftCommand] = [
        HeartBeat(),
        NodeJoin(NodeId("n")),
        *(LiteCommand(kind, "c" * 70_000, 2**64 - 1, b"\x00\xff") for kind in LiteKind),
        LiteCommand(LiteKind.DATA, "", 0, bytes(3 << 19)),
    ]
    log = tuple(LogEntry(1, index, command, -5) for index, command in enumerate(commands, 1))
    shelf.store.save(entries=log)
    _same(shelf.reopen().load().entries, log)


def a_store_is_written_to_without_being_read_first(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1))
    shelf.reopen().save(entries=entries_of(2, 2, 2))
    _same(shelf.reopen().load().entries, entries_of(1, 1, 2, 2))


def entries_replace_all_at_and_behind_the_first_of_them(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1, 1, 1))
    shelf.store.save(entries=entries_of(3, 2))
    _same(shelf.reopen().load().entries, entries_of(1, 1, 1, 2))
    shelf.store.save(entries=entries_of(4, 3, 3))
    _same(shelf.reopen().load().entries, entries_of(1, 1, 1, 2, 3, 3))
    shelf.store.save(entries=entries_of(1, 4))
    _same(shelf.reopen().load().entries, entries_of(1, 4))


def entries_that_do_not_join_are_refused_and_nothing_is_written(shelf: Shelf) -> None:
    shelf.store.save(hard_state=HardState(4), entries=entries_of(1, 1))
    _refused(OrbitError, lambda: shelf.store.save(hard_state=HardState(5), entries=entries_of(4, 1)))
    _same(shelf.reopen().load(), Stored(HardState(4), None, entries_of(1, 1)))
    shelf.store.save(entries=entries_of(2, 1))
    _same(shelf.reopen().load().entries, entries_of(1, 1, 1))


def an_own_snapshot_drops_the_log_before_the_first_index(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1, 1, 1))
    meta = meta_of(3, 1, b"state at three")
    shelf.store.write_snapshot(meta, [b"state ", b"", b"at three"], first_index=3)
    store = shelf.reopen()
    _same(store.load(), Stored(HardState(), meta, entries_of(3, 1, 1)))
    _same(store.read_snapshot(meta, 0, 1000), b"state at three")
    _same(store.read_snapshot(meta, 4, 5), b"e at ")
    _same(store.read_snapshot(meta, 14, 5), b"")
    store.save(entries=entries_of(4, 2))
    _same(shelf.reopen().load().entries, entries_of(3, 1, 2))


def a_large_snapshot_is_read_in_any_pieces(shelf: Shelf) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(200_000))
    meta = meta_of(1, 1, data)
    shelf.store.save(entries=entries_of(1, 1))
    shelf.store.write_snapshot(meta, (data[at : at + 77_777] for at in range(0, len(data), 77_777)), first_index=2)
    store = shelf.reopen()
    for size in (1, 65_536, 262_144, 300_001, len(data)):
        for at in (0, 1, 262_143, 262_144, len(data) - 1):
            _same(store.read_snapshot(meta, at, size), data[at : at + size])


def a_newer_snapshot_replaces_the_older_one(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1, 1))
    old, new = meta_of(2, 1, b"two"), meta_of(3, 1, b"three")
    shelf.store.write_snapshot(old, [b"two"], first_index=1)
    shelf.store.write_snapshot(new, [b"three"], first_index=4)
    _refused(LookupError, lambda: shelf.store.read_snapshot(old, 0, 10))
    store = shelf.reopen()
    _same(store.load(), Stored(HardState(), new))
    store.save(entries=entries_of(4, 2))
    _same(shelf.reopen().load().entries, entries_of(4, 2))


def an_older_snapshot_does_not_replace_the_newer_one(shelf: Shelf) -> None:
    """A snapshot of the own state may be finished after a newer one came from the leader."""
    old, new = meta_of(2, 1, b"two"), meta_of(9, 1, b"nine")
    shelf.store.save(entries=entries_of(1, 1, 1, 1))
    shelf.store.save(chunk=SnapshotChunk(new, 0, b"nine"), install=new)
    shelf.store.write_snapshot(old, [b"two"], first_index=2)
    _same(shelf.reopen().load(), Stored(HardState(), new))
    _same(shelf.store.read_snapshot(new, 0, 9), b"nine")


def an_empty_snapshot_is_one(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1))
    meta = meta_of(1, 1, b"")
    shelf.store.write_snapshot(meta, [], first_index=2)
    _same(shelf.reopen().load(), Stored(HardState(), meta))
    received = meta_of(2, 1, b"")
    _same(shelf.store.save(chunk=SnapshotChunk(received, 0, b""), install=received), True)
    _same(shelf.reopen().load(), Stored(HardState(), received))


def an_incoming_snapshot_survives_and_takes_the_place_of_the_log(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1))
    meta = meta_of(9, 3, b"abcdef")
    shelf.store.save(chunk=SnapshotChunk(meta, 0, b"abc"))
    store = shelf.reopen()
    _same(store.load(), Stored(HardState(), None, entries_of(1, 1, 1), (meta, 3)))
    _same(store.save(hard_state=HardState(3), chunk=SnapshotChunk(meta, 3, b"def"), install=meta), True)
    store = shelf.reopen()
    _same(store.load(), Stored(HardState(3), meta))
    _same(store.read_snapshot(meta, 0, 9), b"abcdef")
    store.save(entries=entries_of(10, 3))
    _same(shelf.reopen().load(), Stored(HardState(3), meta, entries_of(10, 3)))


def a_wrong_incoming_snapshot_is_dropped_and_the_rest_is_written(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1))
    meta = meta_of(9, 3, b"abcdef")
    shelf.store.save(chunk=SnapshotChunk(meta, 0, b"abc"))
    _same(shelf.store.save(hard_state=HardState(4), chunk=SnapshotChunk(meta, 3, b"deX"), install=meta), False)
    _same(shelf.reopen().load(), Stored(HardState(4), None, entries_of(1, 1)))


def a_snapshot_that_is_too_short_is_not_installed(shelf: Shelf) -> None:
    meta = meta_of(9, 3, b"abcdef")
    shelf.store.save(chunk=SnapshotChunk(meta, 0, b"abc"))
    _same(shelf.store.save(install=meta), False)
    _same(shelf.store.save(install=meta), False)
    _same(shelf.reopen().load(), Stored())


def the_first_chunk_of_another_snapshot_drops_the_one_before(shelf: Shelf) -> None:
    old, new = meta_of(5, 1, b"old"), meta_of(6, 1, b"new")
    shelf.store.save(chunk=SnapshotChunk(old, 0, b"ol"))
    shelf.store.save(chunk=SnapshotChunk(new, 0, b"n"))
    _same(shelf.reopen().load().incoming, (new, 1))
    _refused(OrbitError, lambda: shelf.store.save(chunk=SnapshotChunk(old, 2, b"d")))
    _same(shelf.reopen().load().incoming, (new, 1))


def peers_are_remembered_and_forgotten(shelf: Shelf) -> None:
    one, two = NodeId("n1"), NodeId("n2", "other")
    shelf.store.remember_peer(one, "a")
    before = shelf.store.peers()
    shelf.store.remember_peer(two, "b")
    shelf.store.remember_peer(one, None)
    shelf.store.remember_peer(one, None)
    _same(dict(before), {one: "a"})
    _same(dict(shelf.reopen().peers()), {two: "b"})


def settling_changes_nothing_and_may_be_left_out(shelf: Shelf) -> None:
    shelf.store.settle()
    shelf.store.save(hard_state=HardState(1), entries=entries_of(1, 1))
    shelf.store.save(entries=entries_of(2, 1))
    shelf.store.settle()
    shelf.store.settle()
    _same(shelf.store.load(), Stored(HardState(1), None, entries_of(1, 1, 1)))
    _same(shelf.reopen().load(), Stored(HardState(1), None, entries_of(1, 1, 1)))


def closing_twice_does_nothing(shelf: Shelf) -> None:
    shelf.store.close()
    shelf.store.close()


#: All checks.
CONTRACT: Final[tuple[Callable[[Shelf], None], ...]] = (
    a_new_store_holds_nothing,
    its_identity_stays,
    term_vote_and_entries_stay,
    every_kind_of_command_stays,
    a_store_is_written_to_without_being_read_first,
    entries_replace_all_at_and_behind_the_first_of_them,
    entries_that_do_not_join_are_refused_and_nothing_is_written,
    an_own_snapshot_drops_the_log_before_the_first_index,
    a_large_snapshot_is_read_in_any_pieces,
    a_newer_snapshot_replaces_the_older_one,
    an_older_snapshot_does_not_replace_the_newer_one,
    an_empty_snapshot_is_one,
    an_incoming_snapshot_survives_and_takes_the_place_of_the_log,
    a_wrong_incoming_snapshot_is_dropped_and_the_rest_is_written,
    a_snapshot_that_is_too_short_is_not_installed,
    the_first_chunk_of_another_snapshot_drops_the_one_before,
    peers_are_remembered_and_forgotten,
    settling_changes_nothing_and_may_be_left_out,
    closing_twice_does_nothing,
)
