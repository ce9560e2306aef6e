"""Both stores keep what every LogStore promises, and refuse what no caller should ask."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orbit_lite.errors import InternalError
from orbit_lite.raft import StoreFailed
from orbit_lite.testing.log_store_contract import CONTRACT, Shelf, entries_of, meta_of


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: str(check.__name__))
def test_every_store_keeps_the_contract(check: Callable[[Shelf], None], shelf: Shelf) -> None:
    check(shelf)


def test_an_own_snapshot_that_is_not_what_it_says_changes_nothing(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1))
    before = shelf.store.load()
    for data in (b"twX", b"tw", b"twoo", b""):
        with pytest.raises(InternalError, match="that it describes"):
            shelf.store.write_snapshot(meta_of(2, 1, b"two"), [data], first_index=3)
    assert shelf.reopen().load() == before


def test_an_own_snapshot_leaves_no_gap_before_the_log(shelf: Shelf) -> None:
    shelf.store.save(entries=entries_of(1, 1, 1, 1, 1))
    with pytest.raises(InternalError, match="does not join"):
        shelf.store.write_snapshot(meta_of(2, 1, b"two"), [b"two"], first_index=4)
    assert shelf.reopen().load().entries == entries_of(1, 1, 1, 1, 1)


def test_entries_with_a_gap_inside_are_refused(shelf: Shelf) -> None:
    first, _, third = entries_of(1, 1, 1, 1)
    with pytest.raises(InternalError, match="where 2 follows"):
        shelf.store.save(entries=(first, third))
    assert not shelf.reopen().load().entries


def test_a_snapshot_whose_making_fails_leaves_nothing(shelf: Shelf) -> None:
    def data() -> object:
        yield b"t"
        raise OSError("the state cannot be read")

    shelf.store.save(entries=entries_of(1, 1))
    with pytest.raises(OSError, match="cannot be read"):
        shelf.store.write_snapshot(meta_of(1, 1, b"two"), data(), first_index=2)  # type: ignore[arg-type]
    shelf.store.save(entries=entries_of(2, 1))
    assert shelf.reopen().load().entries == entries_of(1, 1, 1)


def test_a_closed_store_says_so(shelf: Shelf) -> None:
    shelf.store.close()
    with pytest.raises(StoreFailed, match="closed"):
        shelf.store.load()
    with pytest.raises(StoreFailed, match="closed"):
        shelf.store.save(entries=entries_of(1, 1))
