"""A store that is gone with its process: for tests, and for clusters whose state may be lost as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from orbit_lite.errors import InternalError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import HardState, SnapshotChunk, SnapshotMeta, Stored, StoreFailed

__all__ = ["MemoryLogStore"]


class MemoryLogStore:
    """A LogStore. store_id: give another one to a node that has lost its store. stored: what it begins with."""

    def __init__(self, store_id: str = "memory", stored: Stored = Stored()) -> None:  # noqa: B008  (frozen)
        if stored.snapshot is not None or stored.incoming is not None:
            raise InternalError("a store in memory does not begin with a snapshot: its bytes would be missing")
        self._store_id = store_id
        self._hard_state = stored.hard_state
        self._base = 0  # index before the first entry
        self._entries: list[LogEntry] = list(stored.entries)
        self._snapshot: SnapshotMeta | None = None
        self._snapshot_data = b""
        self._incoming: SnapshotMeta | None = None
        self._incoming_data = bytearray()
        self._peers: Mapping[NodeId, str] = {}
        self._is_closed = False

    @property
    def store_id(self) -> str:
        return self._store_id

    def load(self) -> Stored:
        self._check_is_open()
        incoming = None if self._incoming is None else (self._incoming, len(self._incoming_data))
        return Stored(self._hard_state, self._snapshot, tuple(self._entries), incoming)

    def save(
        self,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        chunk: SnapshotChunk | None = None,
        install: SnapshotMeta | None = None,
    ) -> bool:
        self._check_is_open()
        self._check_entries(entries)
        self._check_chunk(chunk)
        if hard_state is not None:
            self._hard_state = hard_state
        if entries:
            self._entries[entries[0].index - self._base - 1 :] = entries
        if chunk is not None:
            if chunk.offset == 0:
                self._incoming, self._incoming_data = chunk.meta, bytearray()
            self._incoming_data += chunk.data
        return install is None or self._install(install)

    def _check_is_open(self) -> None:
        if self._is_closed:
            raise StoreFailed("the store was closed")

    def _check_entries(self, entries: Sequence[LogEntry]) -> None:
        last = self._base + len(self._entries)
        if entries and not self._base < entries[0].index <= last + 1:
            raise InternalError(f"entry {entries[0].index} does not join the log {self._base + 1}..{last}")
        for index, entry in enumerate(entries, entries[0].index if entries else 0):
            if entry.index != index:
                raise InternalError(f"entry {entry.index} where {index} follows")

    def _check_chunk(self, chunk: SnapshotChunk | None) -> None:
        there = len(self._incoming_data)
        if chunk is not None and chunk.offset and (self._incoming != chunk.meta or chunk.offset != there):
            raise InternalError(f"a chunk at byte {chunk.offset} does not join {there} bytes of a snapshot")

    def _install(self, meta: SnapshotMeta) -> bool:
        known, data = self._incoming, bytes(self._incoming_data)
        self._incoming, self._incoming_data = None, bytearray()
        if known != meta or not _fits(meta, data):
            return False
        self._snapshot, self._snapshot_data = meta, data
        self._base, self._entries = meta.index, []
        return True

    def settle(self) -> None:
        self._check_is_open()

    def write_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes], *, first_index: int) -> None:
        self._check_is_open()
        if first_index > meta.index + 1:
            raise InternalError(f"a log from {first_index} on does not join a snapshot up to {meta.index}")
        if self._snapshot is None or meta.index > self._snapshot.index:
            self._put_snapshot(meta, data)
        if (dropped := first_index - 1 - self._base) > 0:
            self._base += min(dropped, len(self._entries))
            del self._entries[:dropped]

    def _put_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes]) -> None:
        whole = b"".join(data)
        if not _fits(meta, whole):
            raise InternalError(f"snapshot {meta.index}: these {len(whole)} bytes are not those that it describes")
        self._snapshot, self._snapshot_data = meta, whole
        if self._base + len(self._entries) < meta.index:
            self._base, self._entries = meta.index, []

    def read_snapshot(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        self._check_is_open()
        if meta != self._snapshot:
            raise LookupError(f"the snapshot up to {meta.index} was replaced")
        return self._snapshot_data[offset : offset + size]

    def peers(self) -> Mapping[NodeId, str]:
        """The store ids under which peers were seen. A mapping that was returned never changes: any thread may ask."""
        return self._peers

    def remember_peer(self, node_id: NodeId, store_id: str | None) -> None:
        self._check_is_open()
        peers = {known: seen for known, seen in self._peers.items() if known != node_id}
        self._peers = peers if store_id is None else peers | {node_id: store_id}

    def close(self) -> None:
        self._is_closed = True


def _fits(meta: SnapshotMeta, data: bytes) -> bool:
    return len(data) == meta.size and blake2b(data, digest_size=32).hexdigest() == meta.checksum
