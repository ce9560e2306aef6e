"""Reading all of a store, and checking it.

Entries form a chain: the checksum of each covers the one before, and the state knows how the chain begins and ends. So
a row that was changed, moved, exchanged for an older one or removed is noticed, at either end as in the middle.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from orbit_lite.model import LogEntry
from orbit_lite.raft import Stored
from orbit_lite.storage.database import reading
from orbit_lite.storage.rows import Damaged, State, load_entry
from orbit_lite.storage.snapshots import is_whole, pieces

__all__ = ["load"]


def load(folder: Path, connection: sqlite3.Connection, state: State) -> Stored:
    """All that is there. Raises StoreCorrupt, StoreFailed."""
    with reading(folder):
        entries = tuple(_entries(connection, state))
        _check_snapshots(connection, state)
    incoming = state.incoming
    return Stored(
        state.hard_state,
        None if state.snapshot is None else state.snapshot.meta,
        entries,
        None if incoming is None else (incoming.meta, incoming.received),
    )


def _entries(connection: sqlite3.Connection, state: State) -> list[LogEntry]:
    entries: list[LogEntry] = []
    digest = state.base_checksum
    query = "SELECT idx, term, timestamp_ms, command, checksum FROM entries ORDER BY idx"
    with closing(connection.execute(query)) as cursor:
        for index, row in enumerate(cursor, state.base + 1):
            if row[0] != index:
                raise Damaged(f"entry {index} is gone")
            entries.append(load_entry(row, digest))
            digest = row[4]
    if state.base + len(entries) != state.last or digest != state.last_checksum:
        raise Damaged(f"the log ends at {state.base + len(entries)}, not with the entry {state.last} that was written")
    return entries


def _check_snapshots(connection: sqlite3.Connection, state: State) -> None:
    if state.snapshot is not None and not is_whole(connection, state.snapshot):
        raise Damaged(f"snapshot {state.snapshot.meta.index} is not what was written")
    if state.incoming is not None:
        for _ in pieces(connection, state.incoming):
            pass
