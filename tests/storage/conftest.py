"""Stores to test, and values to put into them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import Configuration, LogStore, Member, SnapshotMeta
from orbit_lite.storage import MemoryLogStore, SqliteLogStore

CONFIGURATION = Configuration("test", (Member(NodeId("n1")), Member(NodeId("n2"), "http://h:1", voter=False)))


def entries(first: int, *terms: int, text: str = "") -> tuple[LogEntry, ...]:
    """Entries first, first + 1, … of these terms."""
    return tuple(
        LogEntry(term, index, LiteCommand(LiteKind.DATA, "cliént", index, f"{text}{term}.{index}".encode()), index)
        for index, term in enumerate(terms, first)
    )


def meta_of(index: int, term: int, data: bytes) -> SnapshotMeta:
    return SnapshotMeta(index, term, CONFIGURATION, len(data), hashlib.blake2b(data, digest_size=32).hexdigest())


class Shelf:
    """One store, which can be closed and opened again; the one in memory just stays."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.store: LogStore = MemoryLogStore() if directory is None else SqliteLogStore.open(directory)
        self.store.load()

    def reopen(self) -> LogStore:
        if self.directory is not None:
            self.store.close()
            self.store = SqliteLogStore.open(self.directory, create=False)
        return self.store


@pytest.fixture(params=["memory", "sqlite"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    found = Shelf(None if request.param == "memory" else tmp_path / "store")
    yield found
    found.store.close()


@pytest.fixture
def make_entries() -> Callable[..., tuple[LogEntry, ...]]:
    return entries


@pytest.fixture
def make_meta() -> Callable[[int, int, bytes], SnapshotMeta]:
    return meta_of
