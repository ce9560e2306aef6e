"""What is committed becomes state, in order; the state becomes a snapshot, in the store and back.

Entries are applied in the loop. Snapshots are made, written and read in threads; what is committed while one is being
restored waits in line behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from orbit_lite.errors import OrbitError
from orbit_lite.model import LogEntry
from orbit_lite.raft.applier import Applier, Frozen
from orbit_lite.raft.config import RaftConfig
from orbit_lite.raft.core import RaftCore
from orbit_lite.raft.errors import StoreCorrupt
from orbit_lite.raft.messages import Ready, SnapshotMeta
from orbit_lite.raft.metrics import RaftMetrics
from orbit_lite.raft.ports import LogStore
from orbit_lite.raft.proposals import Proposals

__all__ = ["Application"]

#: Entries applied before others in the loop get a turn.
_BURST = 256
#: Bytes of a snapshot handed to the store, or read from it, at a time.
_PIECE = 1024 * 1024
#: A follower that is brought up by a snapshot puts off the next one until this many times snapshot_entries wait.
_PATIENCE = 8


class Application:
    """The lower end of a node: between its core, which says what is committed, and its state machines."""

    def __init__(
        self,
        applier: Applier,
        store: LogStore,
        proposals: Proposals,
        *,
        config: RaftConfig,
        metrics: RaftMetrics,
        applied: Callable[[LogEntry], None],
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        wake: Callable[[], None],
    ) -> None:
        """applied: called after each entry. in_thread: runs something where the store may be used. spawn: runs
        something that fails the node when it fails. wake: the core has something to say.
        """
        self.applier = applier
        #: The snapshot that is being written, if one is.
        self.writing: asyncio.Task[None] | None = None
        self._store = store
        self._proposals = proposals
        self._config = config
        self._metrics = metrics
        self._applied = applied
        self._in_thread = in_thread
        self._spawn = spawn
        self._wake = wake
        self._is_over = False
        self._reads: list[tuple[int, asyncio.Future[None]]] = []
        self._later: deque[Ready] = deque()  # to be applied in this order, behind a snapshot that is being restored
        self._is_restoring = False
        self._replacing: SnapshotMeta | None = None  # a leader's, taking the place of the store's and the machines'
        self._snapshot_index = 0

    def end(self) -> None:
        """Apply nothing more."""
        self._is_over = True

    # ------------------------------------------------------------ entries

    def take(self, ready: Ready, core: RaftCore) -> bool:
        """Restore, apply, answer reads, now or in line; True when that took so long that others should have a turn."""
        if ready.restore is None and not self._is_restoring:
            return self._advance(ready, core)
        self._later.append(ready)
        if not self._is_restoring:
            self._is_restoring = True
            self._spawn(self._restore_and_catch_up(core))
        return False

    def _advance(self, ready: Ready, core: RaftCore) -> bool:
        applier = self.applier
        for entry in ready.committed:
            result = applier.apply(entry)
            self._proposals.applied(entry.term, entry.index, result)
            self._applied(entry)
        if ready.committed:
            self._answer_reads()
            self._snapshot_if_due(core)
        for state in ready.reads:
            asked: Any = state.token
            if not asked.done():
                asked.set_result(state.index)
        return len(ready.committed) >= _BURST

    async def _restore_and_catch_up(self, core: RaftCore) -> None:
        """Do what was put off, in its order, until nothing is left: what comes meanwhile is put off, too."""
        while self._later and not self._is_over:
            ready = self._later.popleft()
            if ready.restore is not None:
                await self._restore(ready.restore)
            self._advance(ready, core)
            await asyncio.sleep(0)
        self._is_restoring = False
        self._wake()

    # ------------------------------------------------------------ reads

    def until(self, index: int) -> asyncio.Future[None]:
        """Done once the entry at index has been applied, or a snapshot that covers it restored."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if index <= self.applier.index:
            done.set_result(None)
        else:
            self._reads.append((index, done))
        return done

    def _answer_reads(self) -> None:
        index = self.applier.index
        if not self._reads:
            return
        waiting = []
        for wanted, applied in self._reads:
            if wanted > index:
                waiting.append((wanted, applied))
            elif not applied.done():
                applied.set_result(None)
        self._reads = waiting

    def give_up(self, error: OrbitError) -> None:
        """Nobody waits any more."""
        reads, self._reads = self._reads, []
        for _, applied in reads:
            if not applied.done():
                applied.set_exception(error)

    # ------------------------------------------------------------ snapshots of the own state

    def _snapshot_if_due(self, core: RaftCore) -> None:
        behind, due = self.applier.index - self._snapshot_index, self._config.snapshot_entries
        if behind >= due and (behind >= _PATIENCE * due or not core.is_sending_snapshot):
            self.begin_snapshot(core)

    def begin_snapshot(self, core: RaftCore) -> None:
        """Take a snapshot, unless there is nothing new, one is being written, or a leader's is being installed.

        Written behind that one, ours would take its place, and the log would have a gap. Raises InternalError when a
        state machine fails.
        """
        index = self.applier.index
        if self.writing is None and self._replacing is None and index != self._snapshot_index:
            frozen = self.applier.freeze(core.configuration_at(index))
            self._snapshot_index = index
            self.writing = self._spawn(self._write(frozen, core))

    async def _write(self, frozen: Frozen, core: RaftCore) -> None:
        try:
            # Not in the store's thread: what has to be written down meanwhile does not wait for it.
            meta, data = await asyncio.get_running_loop().run_in_executor(None, frozen.thaw)
            if self._replacing is not None or self._snapshot_index != frozen.index:
                return  # a leader's came meanwhile
            view, first_index = memoryview(data), core.first_index_after(meta)

            def pieces() -> Iterable[bytes]:
                for at in range(0, max(1, len(data)), _PIECE):
                    yield bytes(view[at : at + _PIECE])

            began = time.perf_counter()
            await self._in_thread(lambda: self._store.write_snapshot(meta, pieces(), first_index=first_index))
            self._metrics.snapshot_save.record(time.perf_counter() - began)
            if not self._is_over:
                core.compacted(meta)
                self._wake()
        finally:
            self.writing = None

    # ------------------------------------------------------------ a leader's snapshot

    def replacing(self, meta: SnapshotMeta) -> None:
        """A leader's snapshot is about to take the place of the store's."""
        self._replacing = meta

    def kept(self) -> None:
        """It did not, because it was damaged."""
        self._replacing = None

    async def _restore(self, meta: SnapshotMeta) -> None:
        """Set the state machines to a snapshot."""
        data = await self._in_thread(lambda: self._read(meta))
        self.applier.restore(meta, data)
        self._metrics.snapshots_restored += 1
        self._snapshot_index = meta.index
        self._proposals.skipped(meta.index)
        if self._replacing == meta:
            self._replacing = None
        self._answer_reads()

    def _read(self, meta: SnapshotMeta) -> bytes:
        pieces = []
        at = 0
        while at < meta.size:
            piece = self._store.read_snapshot(meta, at, _PIECE)
            if not piece:
                raise StoreCorrupt(f"the snapshot at {meta.index} ends after {at} of {meta.size} bytes")
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)
