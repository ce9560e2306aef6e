"""The contract holds for the simulator's disk, and a store that breaks it is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from orbit_lite.model import LogEntry
from orbit_lite.raft import HardState, LogStore, SnapshotChunk, SnapshotMeta
from orbit_lite.storage import MemoryLogStore
from orbit_lite.testing.log_store_contract import CONTRACT, Shelf
from orbit_lite.testing.simulation.disk import SimulatedDisk


class Standing:
    def __init__(self, store: LogStore) -> None:
        self.store = store

    def reopen(self) -> LogStore:
        return self.store


class Forgetful(MemoryLogStore):
    """Keeps what should have been replaced."""

    def save(
        self,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        chunk: SnapshotChunk | None = None,
        install: SnapshotMeta | None = None,
    ) -> bool:
        return super().save(hard_state=hard_state, entries=entries[-1:], chunk=chunk, install=install)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: str(check.__name__))
def test_the_simulated_disk_keeps_the_contract(check: Callable[[Shelf], None]) -> None:
    check(Standing(SimulatedDisk("disk")))


def test_a_store_that_breaks_it_is_found_out() -> None:
    found = 0
    for check in CONTRACT:
        try:
            check(Standing(Forgetful()))
        except Exception:  # noqa: BLE001  (how it fails is the store's affair)
            found += 1
    assert found > 5
