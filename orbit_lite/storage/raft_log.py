"""The Raft log in SQLite: what was acknowledged is there after any crash, or opening the store says what is wrong.

database.py has the files and what a write costs, mark.py how a lost end is noticed, contents.py how changed rows are,
changes.py what a write does, rows.py the form of values; backup.py and recovery.py are for operators.

The database keeps its size: pages of entries and pieces that were dropped are used again, so it grows to what was there
at one time, at most three snapshots (an old, a new, an incoming one) and the log, and not with history.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from orbit_lite.errors import ConfigurationError, InternalError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import HardState, SnapshotChunk, SnapshotMeta, Stored
from orbit_lite.storage import changes, contents, snapshots
from orbit_lite.storage.database import (
    Database,
    Transaction,
    create_files,
    exists,
    lock_folder,
    reading,
)
from orbit_lite.storage.rows import Held

__all__ = ["SqliteLogStore", "create_store"]

_BATCH_PIECES: Final = 16  # of an own snapshot in one transaction: the -wal file stays small


class SqliteLogStore:
    """A LogStore in a directory. Open it with `open`. Used by one thread at a time, of any number."""

    def __init__(self, database: Database) -> None:
        """For `open`."""
        self.directory = database.folder
        self._database = database

    # ------------------------------------------------------------ opening

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, create: bool = True) -> Self:
        """Open the store in a directory, or make an empty one.

        create: False refuses to make one. Raises StoreLocked when somebody else has it open; StoreCorrupt when it is
        not what was written, or ends before what was acknowledged; StoreFailed when the system does not let it be
        opened; ConfigurationError when there is none and none may be made, or its format is newer than this program.
        """
        folder = Path(directory)
        lock = lock_folder(folder, make=create)
        try:
            if not exists(folder):
                if not create:
                    raise ConfigurationError(f"{folder}: there is no store")
                create_files(folder, uuid4().bytes, lambda transaction: None)
            store = cls(Database.open(folder, lock))
        except BaseException:
            lock.release()
            raise
        try:
            store._drop_leftovers()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def initialise(cls, directory: str | os.PathLike[str], stored: Stored) -> None:
        """Make a store that begins with `stored`, all of it or none; then `open` it.

        stored: without snapshots, such as `bootstrap_state` gives; its entries begin at index 1. Raises
        ConfigurationError when there is a store already, StoreLocked, StoreFailed, InternalError.
        """
        if stored.snapshot is not None or stored.incoming is not None:
            raise InternalError("only import_snapshot makes a store that begins with a snapshot")
        create_store(Path(directory), stored, ())

    def _drop_leftovers(self) -> None:
        """Forget what the write of a snapshot left that did not come to its end."""
        with self._database.preparation() as connection:
            snapshots.drop_unreferenced(connection, self._database.state)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ reading

    @property
    def store_id(self) -> str:
        return self._database.state.store_id.hex()

    def load(self) -> Stored:
        """All that is there; checks every entry and every byte of the snapshot. Raises StoreCorrupt, StoreFailed."""
        self._database.check()
        return contents.load(self.directory, self._database.connection, self._database.state)

    def read_snapshot(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        self._database.check()
        held = self._database.state.snapshot
        if held is None or held.meta != meta:
            raise LookupError(f"the snapshot up to {meta.index} was replaced")
        with reading(self.directory):
            return snapshots.read(self._database.connection, held, offset, size)

    def peers(self) -> Mapping[NodeId, str]:
        """The store ids under which peers were seen. A mapping that was returned never changes: any thread may ask."""
        return self._database.state.peers

    # ------------------------------------------------------------ writing

    def save(
        self,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        chunk: SnapshotChunk | None = None,
        install: SnapshotMeta | None = None,
    ) -> bool:
        is_intact = True
        with self._database.transaction() as transaction:
            if hard_state is not None:
                transaction.state = replace(transaction.state, hard_state=hard_state)
            if entries:
                changes.append(transaction, entries)
            if chunk is not None:
                changes.receive(transaction, chunk)
            if install is not None:
                is_intact = changes.install(transaction, install)
        return is_intact

    def settle(self) -> None:
        self._database.settle()

    def write_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes], *, first_index: int) -> None:
        """Keep a snapshot of the own state machine in place of the older one, and drop the log before first_index.

        A stored one that reaches as far is kept instead. data: taken piece by piece, never held as a whole. Raises
        StoreFailed; InternalError when the bytes are not those that meta describes, or when first_index would leave a
        gap behind the snapshot; then the store is as before.
        """
        self._database.check()
        if first_index > meta.index + 1:
            raise InternalError(f"a log from {first_index} on does not join a snapshot up to {meta.index}")
        held = self._database.state.snapshot
        if held is not None and meta.index <= held.meta.index:
            with self._database.transaction() as transaction:
                changes.drop_before(transaction, first_index)
            self._database.settle()
            return
        try:
            prepared = self._prepare(meta, data)
            with self._database.transaction() as transaction:
                changes.put_snapshot(transaction, prepared)
                changes.drop_before(transaction, first_index)
            self._database.settle()
        except BaseException:
            if self._database.is_usable:
                self._drop_leftovers()
            raise

    def _prepare(self, meta: SnapshotMeta, data: Iterable[bytes]) -> Held:
        """Write the bytes in several transactions, which mean nothing until the state refers to their number."""
        number, at, digest = self._database.state.next_number, 0, blake2b(digest_size=32)
        for batch in _batches(snapshots.in_pieces(data)):
            with self._database.preparation() as connection:
                for piece in batch:
                    digest.update(piece)
                    snapshots.add(connection, number, at, piece)
                    at += len(piece)
        if at != meta.size or digest.hexdigest() != meta.checksum:
            raise InternalError(f"snapshot {meta.index}: these {at} bytes are not the {meta.size} that it describes")
        return Held(meta, number, at)

    def remember_peer(self, node_id: NodeId, store_id: str | None) -> None:
        peers = self.peers()
        if peers.get(node_id) == store_id:
            return
        changed = {known: seen for known, seen in peers.items() if known != node_id}
        if store_id is not None:
            changed[node_id] = store_id
        with self._database.transaction() as transaction:
            transaction.state = replace(transaction.state, peers=changed)
        self._database.settle()


def create_store(folder: Path, stored: Stored, data: Iterable[bytes]) -> None:
    """Make a store that begins with `stored`, whose snapshot has the bytes `data`, all of it or none.

    Raises ConfigurationError when there is a store already, StoreLocked, StoreFailed, InternalError.
    """

    def fill(transaction: Transaction) -> None:
        transaction.state = replace(transaction.state, hard_state=stored.hard_state)
        if (meta := stored.snapshot) is not None:
            number, at = transaction.state.next_number, 0
            for piece in snapshots.in_pieces(data):
                snapshots.add(transaction.connection, number, at, piece)
                at += len(piece)
            held = Held(meta, number, at)
            if not snapshots.is_whole(transaction.connection, held):
                raise InternalError(f"snapshot {meta.index}: the bytes are not those that it describes")
            changes.put_snapshot(transaction, held)
        if stored.entries:
            changes.append(transaction, stored.entries)

    lock = lock_folder(folder, make=True)
    try:
        if exists(folder):
            raise ConfigurationError(f"{folder}: there is a store already")
        create_files(folder, uuid4().bytes, fill)
    finally:
        lock.release()


def _batches(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """As many at a time as go into one transaction; taken from `pieces` outside of any."""
    batch: list[bytes] = []
    for piece in pieces:
        batch.append(piece)
        if len(batch) == _BATCH_PIECES:
            yield batch
            batch = []
    if batch:
        yield batch
