"""A disk behind the `LogStore` protocol: what is durable, what is being written, and what a crash makes of that.

A write is begun, takes virtual time, and is finished; until then nothing of it counts. Writes are finished in the order
in which they were begun. A crash in between draws how many of the writes on the way (from the first) got to the disk,
and whether the next was torn: its record is there in part, its checksum is wrong, and `load` cuts it off, as the
store's recovery does. All of one write or nothing: that is what a store promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from orbit_lite.errors import InternalError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import HardState, SnapshotChunk, SnapshotMeta, Stored, StoreFailed

__all__ = ["SimulatedDisk", "Write", "checksum"]


def checksum(data: bytes) -> str:
    """As `SnapshotMeta.checksum`."""
    return blake2b(data, digest_size=32).hexdigest()


@dataclass(slots=True, eq=False)
class Write:
    """One transaction. snapshot: an own one with its bytes and the first index that the log keeps."""

    hard_state: HardState | None = None
    entries: Sequence[LogEntry] = ()
    chunk: SnapshotChunk | None = None
    install: SnapshotMeta | None = None
    snapshot: tuple[SnapshotMeta, bytes, int] | None = None


class SimulatedDisk:
    """What one node has on disk. Everything that can be asked is what is durable.

    fails_next: why the next write fails, None when it does not. failed: a write failed and no other is taken until the
    disk is opened again. torn: records that recovery cut off so far.
    """

    def __init__(self, store_id: str, stored: Stored = Stored()) -> None:  # noqa: B008  (frozen)
        self._store_id = store_id
        self.hard_state = stored.hard_state
        self.snapshot = stored.snapshot
        self.snapshot_data = b""
        self.entries: list[LogEntry] = list(stored.entries)  # contiguous
        self.incoming: SnapshotMeta | None = None
        self.incoming_data = bytearray()
        self.fails_next: str | None = None
        self.failed = False
        self.torn = 0
        self._peers: dict[NodeId, str] = {}
        self._writing: list[Write] = []

    # ---------------------------------------------------------------- what is durable

    @property
    def store_id(self) -> str:
        return self._store_id

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.snapshot.index if self.snapshot else 0

    def term_at(self, index: int) -> int | None:
        """The term of the durable entry; None when there is none, or when only a snapshot holds it."""
        if self.entries and 0 <= (place := index - self.entries[0].index) < len(self.entries):
            return self.entries[place].term
        if self.snapshot is not None and index == self.snapshot.index:
            return self.snapshot.term
        return None

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry is durable here, in the log or in the snapshot."""
        found = self.term_at(index)
        return found == term if found is not None else self.snapshot is not None and index < self.snapshot.index

    def load(self) -> Stored:
        incoming = (self.incoming, len(self.incoming_data)) if self.incoming else None
        return Stored(self.hard_state, self.snapshot, tuple(self.entries), incoming)

    def read_snapshot(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        if self.snapshot != meta:
            raise LookupError(f"the snapshot up to {meta.index} was replaced")
        return self.snapshot_data[offset : offset + size]

    def peers(self) -> Mapping[NodeId, str]:
        return self._peers

    def remember_peer(self, node_id: NodeId, store_id: str | None) -> None:
        peers = {known: seen for known, seen in self._peers.items() if known != node_id}
        self._peers = peers if store_id is None else peers | {node_id: store_id}

    # ---------------------------------------------------------------- writing

    def begin(self, write: Write) -> None:
        """Start a write. Raises StoreFailed; then nothing of it will be there."""
        if self.failed:
            raise StoreFailed("the store refuses writes since one failed")
        if self.fails_next == "full":
            self.fails_next, self.failed = None, True
            raise StoreFailed("no space left on device")
        self._writing.append(write)

    def finish(self, write: Write) -> bool:
        """Make the oldest begun write durable; False when the snapshot it installs was damaged, and so dropped.

        Raises StoreFailed when the disk reported an error: nobody knows then whether it is durable.
        """
        if self.fails_next == "io error":
            self.fails_next, self.failed = None, True
            raise StoreFailed("fsync: input/output error")
        if self._writing.pop(0) is not write:
            raise InternalError("writes are finished in the order in which they were begun")
        return self._apply(write)

    def crash(self, random: Random) -> str:
        """The power goes, or the process. The writes on the way became: "", "lost", "kept", "in part", "torn"."""
        writing, self._writing = self._writing, []
        self.fails_next, self.failed = None, False
        if not writing:
            return ""
        kept = random.randint(0, len(writing))
        for write in writing[:kept]:
            self._apply(write)
        if kept == len(writing):
            return "kept"
        if random.random() < 0.5:
            self.torn += 1
            return "torn"
        return "in part" if kept else "lost"

    def _apply(self, write: Write) -> bool:
        if write.entries:  # first of all: when they do not join, nothing is written
            self._replace(write.entries)
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if (chunk := write.chunk) is not None:
            if chunk.offset == 0:
                self.incoming, self.incoming_data = chunk.meta, bytearray()
            if self.incoming != chunk.meta or len(self.incoming_data) != chunk.offset:
                raise InternalError(f"a chunk at {chunk.offset} does not continue the incoming snapshot")
            self.incoming_data += chunk.data
        if write.snapshot is not None:
            meta, data, first_index = write.snapshot
            if self.snapshot is None or meta.index > self.snapshot.index:
                self.snapshot, self.snapshot_data = meta, data
                self._drop_before(first_index)
        return write.install is None or self._install(write.install)

    def _replace(self, entries: Sequence[LogEntry]) -> None:
        first = entries[0].index
        start = self.entries[0].index if self.entries else first
        end = self.last_index
        if first > end + 1:
            raise InternalError(f"entry {first} does not join the stored log, which ends at {end}")
        del self.entries[max(0, first - start) :]
        self.entries += entries

    def _drop_before(self, index: int) -> None:
        if self.entries:
            del self.entries[: max(0, index - self.entries[0].index)]

    def _install(self, meta: SnapshotMeta) -> bool:
        data = bytes(self.incoming_data)
        whole = self.incoming == meta and len(data) == meta.size and checksum(data) == meta.checksum
        self.incoming, self.incoming_data = None, bytearray()
        if whole:
            self.snapshot, self.snapshot_data = meta, data
            self.entries = []
        return whole

    # ---------------------------------------------------------------- the protocol's blocking form

    def save(
        self,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        chunk: SnapshotChunk | None = None,
        install: SnapshotMeta | None = None,
    ) -> bool:
        write = Write(hard_state, entries, chunk, install)
        self.begin(write)
        return self.finish(write)

    def settle(self) -> None:
        """Nothing is put off."""

    def write_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes], *, first_index: int) -> None:
        write = Write(snapshot=(meta, b"".join(data), first_index))
        self.begin(write)
        self.finish(write)

    def close(self) -> None:
        """Nothing is held open."""
