"""Stores to test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orbit_lite.raft import LogStore
from orbit_lite.storage import MemoryLogStore, SqliteLogStore


class OnDisk:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.store: LogStore = SqliteLogStore.open(directory)

    def reopen(self) -> LogStore:
        self.store.close()
        self.store = SqliteLogStore.open(self._directory, create=False)
        return self.store


class InMemory:
    def __init__(self) -> None:
        self.store: LogStore = MemoryLogStore()

    def reopen(self) -> LogStore:
        return self.store


@pytest.fixture(params=["memory", "sqlite"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnDisk | InMemory]:
    found = InMemory() if request.param == "memory" else OnDisk(tmp_path / "store")
    yield found
    found.store.close()
