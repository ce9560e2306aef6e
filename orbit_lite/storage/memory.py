"""A store that is gone with its process: for tests, and for clusters whose state may be lost as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from orbit_lite.errors import InternalError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import HardState, SnapshotChunk, SnapshotMeta, Stored

__all__ = ["MemoryLogStore"]


class MemoryLogStore:
    """A LogStore. store_id: give another one to a node that has lost its store."""

    def __init__(self, store_id: str = "memory") -> None:
        self._store_id = store_id
        self._hard_state = HardState()
        self._entries: list[LogEntry] = []
        self._snapshot: SnapshotMeta | None = None
        self._snapshot_data = b""
        self._incoming: SnapshotMeta | None = None
        self._incoming_data = bytearray()
        self._peers: dict[NodeId, str] = {}

    @property
    def store_id(self) -> str:
        return self._store_id

    def load(self) -> Stored:
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
        if hard_state is not None:
            self._hard_state = hard_state
        if entries:
            self._append(entries)
        if chunk is not None:
            self._take(chunk)
        return install is None or self._install(install)

    def _append(self, entries: Sequence[LogEntry]) -> None:
        first = entries[0].index
        covered = self._snapshot.index if self._snapshot is not None else 0
        begins = self._entries[0].index if self._entries else covered + 1
        if not begins <= first <= begins + len(self._entries):
            raise InternalError(f"entry {first} does not join a log of {len(self._entries)} entries from {begins}")
        del self._entries[first - begins :]
        self._entries += entries

    def _take(self, chunk: SnapshotChunk) -> None:
        if chunk.offset == 0:
            self._incoming, self._incoming_data = chunk.meta, bytearray()
        if self._incoming != chunk.meta or chunk.offset != len(self._incoming_data):
            raise InternalError(f"chunk at {chunk.offset} does not join {len(self._incoming_data)} bytes")
        self._incoming_data += chunk.data

    def _install(self, meta: SnapshotMeta) -> bool:
        data, self._incoming_data = bytes(self._incoming_data), bytearray()
        known, self._incoming = self._incoming, None
        digest = hashlib.blake2b(data, digest_size=32).hexdigest()
        if known != meta or len(data) != meta.size or digest != meta.checksum:
            return False
        self._snapshot, self._snapshot_data = meta, data
        self._entries = []
        return True

    def write_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes], *, first_index: int) -> None:
        self._snapshot, self._snapshot_data = meta, b"".join(data)
        self._entries = [entry for entry in self._entries if entry.index >= first_index]

    def read_snapshot(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        if meta != self._snapshot:
            raise LookupError(f"snapshot {meta.index} was replaced")
        return self._snapshot_data[offset : offset + size]

    def peers(self) -> Mapping[NodeId, str]:
        return dict(self._peers)

    def remember_peer(self, node_id: NodeId, store_id: str | None) -> None:
        if store_id is None:
            self._peers.pop(node_id, None)
        else:
            self._peers[node_id] = store_id

    def close(self) -> None:
        """Nothing to release."""
