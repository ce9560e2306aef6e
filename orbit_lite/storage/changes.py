"""What a write does to the rows and to the state that goes with them. Each function continues a `Transaction`.

They raise InternalError or ParseError for what must not be written, and Damaged when they find rows that are not what
was written; the transaction is undone then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from orbit_lite.errors import InternalError
from orbit_lite.model import LogEntry
from orbit_lite.raft import SnapshotChunk, SnapshotMeta
from orbit_lite.storage import snapshots
from orbit_lite.storage.database import Transaction
from orbit_lite.storage.rows import CHAIN_START, Damaged, EntryRow, Held, State, dump_entry

__all__ = ["append", "drop_before", "install", "put_snapshot", "receive"]

_INSERT: Final = "INSERT INTO entries VALUES (?, ?, ?, ?, ?)"


def append(transaction: Transaction, entries: Sequence[LogEntry]) -> None:
    """Put the entries in the place of all at and behind the first of them."""
    state, first = transaction.state, entries[0].index
    if not state.base < first <= state.last + 1:
        raise InternalError(f"entry {first} does not join the log {state.base + 1}..{state.last}")
    digest = _checksum_at(transaction, first - 1)
    rows: list[EntryRow] = []
    for index, entry in enumerate(entries, first):
        if entry.index != index:
            raise InternalError(f"entry {entry.index} where {index} follows")
        row = dump_entry(entry, digest)
        rows.append(row)
        digest = row[4]
        transaction.data_bytes += len(row[3])
    if first <= state.last:
        transaction.connection.execute("DELETE FROM entries WHERE idx >= ?", (first,))
    transaction.connection.executemany(_INSERT, rows)
    transaction.state = replace(state, last=rows[-1][0], last_checksum=digest)


def receive(transaction: Transaction, chunk: SnapshotChunk) -> None:
    """Continue the incoming snapshot; at offset 0 begin it, and drop any other."""
    state, connection = transaction.state, transaction.connection
    held = state.incoming
    if chunk.offset == 0:
        if held is not None:
            snapshots.drop(connection, held.number)
        held = Held(chunk.meta, state.next_number, 0)
        state = replace(state, next_number=state.next_number + 1)
    if held is None or held.meta != chunk.meta or held.received != chunk.offset:
        there = "nothing" if held is None else f"{held.received} bytes of snapshot {held.meta.index}"
        raise InternalError(f"a chunk of snapshot {chunk.meta.index} at byte {chunk.offset} does not join {there}")
    snapshots.add(connection, held.number, chunk.offset, chunk.data)
    transaction.data_bytes += len(chunk.data)
    transaction.state = replace(state, incoming=replace(held, received=held.received + len(chunk.data)))


def install(transaction: Transaction, meta: SnapshotMeta) -> bool:
    """Put the incoming snapshot in the place of the old one and of the log.

    False when it is not the one that meta describes: it is dropped.
    """
    state, connection = transaction.state, transaction.connection
    held = state.incoming
    if held is None:
        return False
    if held.meta != meta or not snapshots.is_whole(connection, held):
        snapshots.drop(connection, held.number)
        transaction.state = replace(state, incoming=None)
        return False
    if state.snapshot is not None:
        snapshots.drop(connection, state.snapshot.number)
    transaction.state = replace(state, snapshot=held, incoming=None)
    _empty_log(transaction, meta.index)
    return True


def put_snapshot(transaction: Transaction, held: Held) -> None:
    """Let a snapshot whose pieces are there take the place of the old one."""
    state = transaction.state
    if state.snapshot is not None:
        snapshots.drop(transaction.connection, state.snapshot.number)
    transaction.state = replace(state, snapshot=held, next_number=held.number + 1)
    if state.last < held.meta.index:  # nothing that comes could join this log
        _empty_log(transaction, held.meta.index)


def drop_before(transaction: Transaction, index: int) -> None:
    """Drop the entries before the index, which the snapshot covers."""
    base = min(index - 1, transaction.state.last)
    if base > transaction.state.base:
        digest = _checksum_at(transaction, base)
        transaction.connection.execute("DELETE FROM entries WHERE idx <= ?", (base,))
        transaction.state = replace(transaction.state, base=base, base_checksum=digest)


def _empty_log(transaction: Transaction, index: int) -> None:
    """Drop all entries; the next one has the index behind this one."""
    transaction.connection.execute("DELETE FROM entries")
    transaction.state = replace(
        transaction.state, base=index, base_checksum=CHAIN_START, last=index, last_checksum=CHAIN_START
    )


def _checksum_at(transaction: Transaction, index: int) -> bytes:
    """The chain's checksum behind the entry, or behind what was before the log."""
    state: State = transaction.state
    if index == state.last:
        return state.last_checksum
    if index == state.base:
        return state.base_checksum
    rows = transaction.connection.execute("SELECT checksum FROM entries WHERE idx = ?", (index,)).fetchall()
    if len(rows) != 1 or type(rows[0][0]) is not bytes:
        raise Damaged(f"entry {index} is gone")
    digest: bytes = rows[0][0]
    return digest
