"""Any history of writes: the store on disk says what the one in memory says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import HardState, LogStore, SnapshotChunk
from orbit_lite.storage import MemoryLogStore, SqliteLogStore
from orbit_lite.testing.log_store_contract import meta_of


def entry(index: int, term: int = 1, text: bytes = b"x" * 50) -> LogEntry:
    return LogEntry(term, index, LiteCommand(LiteKind.DATA, "", 0, text))


class StoreMachine(RuleBasedStateMachine):
    """The store beside the one in memory, closed and opened, and killed and opened, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.store = SqliteLogStore.open(self.folder / "0")
        self.model = MemoryLogStore()
        self.data = b""

    @property
    def last(self) -> int:
        stored = self.model.load()
        covered = stored.snapshot.index if stored.snapshot is not None else 0
        return max(covered, stored.entries[-1].index if stored.entries else 0)

    def both(self, work: Callable[[LogStore], object]) -> None:
        assert work(self.store) == work(self.model)

    @rule(back=st.integers(0, 5), count=st.integers(1, 4), term=st.integers(1, 2**64 - 1), text=st.binary(max_size=9))
    def append(self, back: int, count: int, term: int, text: bytes) -> None:
        stored = self.model.load()
        covered = stored.snapshot.index if stored.snapshot is not None else 0
        first = max(covered + 1, self.last + 1 - back)  # what a snapshot covers is committed: Raft never replaces it
        new = [entry(index, term, text) for index in range(first, first + count)]
        self.both(lambda store: store.save(hard_state=HardState(term, NodeId("n"), first), entries=new))

    @rule(keep=st.integers(0, 3), data=st.binary(max_size=5))
    def compact(self, keep: int, data: bytes) -> None:
        if self.last:
            meta, first = meta_of(self.last, 1, data), max(1, self.last + 1 - keep)
            self.both(lambda store: store.write_snapshot(meta, [data], first_index=first))

    @rule(ahead=st.integers(0, 5), data=st.binary(min_size=1, max_size=9))
    def receive_the_begin(self, ahead: int, data: bytes) -> None:
        meta, self.data = meta_of(self.last + ahead, 3, data), data
        self.both(lambda store: store.save(chunk=SnapshotChunk(meta, 0, data[: len(data) // 2])))

    @rule(is_damaged=st.booleans())
    def receive_the_end(self, is_damaged: bool) -> None:
        if (incoming := self.model.load().incoming) is not None:
            meta, at = incoming
            rest = self.data[at:-1] + b"?" if is_damaged else self.data[at:]
            self.both(lambda store: store.save(chunk=SnapshotChunk(meta, at, rest), install=meta))

    @rule(name=st.sampled_from("abc"), identity=st.none() | st.sampled_from("xyz"))
    def remember(self, name: str, identity: str | None) -> None:
        self.both(lambda store: store.remember_peer(NodeId(name), identity))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = SqliteLogStore.open(self.store.directory, create=False)

    @rule()
    def be_killed_and_reopen(self) -> None:
        self.generation += 1
        copy = self.folder / str(self.generation)
        shutil.copytree(self.store.directory, copy)
        self.store.close()
        self.store = SqliteLogStore.open(copy, create=False)

    @invariant()
    def holds_what_was_written(self) -> None:
        stored = self.model.load()
        assert self.store.load() == stored
        assert self.store.peers() == self.model.peers()
        if (meta := stored.snapshot) is not None:
            self.both(lambda store: store.read_snapshot(meta, 0, 100))

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
