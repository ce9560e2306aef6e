"""Snapshots as rows: pieces of at most 256 KiB, each with a checksum over its place and its bytes.

A snapshot counts when the state refers to its number; rows of other numbers are what an interrupted write left.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final

from orbit_lite.raft import SnapshotMeta
from orbit_lite.storage.rows import Damaged, Held, State, checksum

__all__ = ["PIECE_BYTES", "add", "drop", "drop_unreferenced", "in_pieces", "is_whole", "pieces", "read"]

PIECE_BYTES: Final = 256 * 1024  # what a leader sends at a time by default


def in_pieces(data: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of PIECE_BYTES, the last one shorter; none is empty."""
    rest = bytearray()
    for part in data:
        rest += part
        while len(rest) >= PIECE_BYTES:
            yield bytes(rest[:PIECE_BYTES])
            del rest[:PIECE_BYTES]
    if rest:
        yield bytes(rest)


def add(connection: sqlite3.Connection, number: int, at: int, data: bytes) -> None:
    """Store a piece at byte `at`; an empty one has no row."""
    if data:
        connection.execute("INSERT INTO pieces VALUES (?, ?, ?, ?)", (number, at, data, _checksum(at, data)))


def drop(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM pieces WHERE snapshot = ?", (number,))


def drop_unreferenced(connection: sqlite3.Connection, state: State) -> None:
    kept = [held.number for held in (state.snapshot, state.incoming) if held is not None]
    connection.execute("DELETE FROM pieces WHERE snapshot NOT IN (?, ?)", (*kept, *[0] * (2 - len(kept))))


def pieces(connection: sqlite3.Connection, held: Held) -> Iterator[bytes]:
    """All that is there of it, in order. Raises Damaged when that is not what was written."""
    at = 0
    rows = "SELECT at, data, checksum FROM pieces WHERE snapshot = ? ORDER BY at"
    with closing(connection.execute(rows, (held.number,))) as cursor:
        for found, data, stored in cursor:
            _check(held, at, found, data, stored)
            at += len(data)
            yield data
    if at != held.received:
        raise Damaged(f"snapshot {held.meta.index}: {at} bytes are there and {held.received} were written")


def is_whole(connection: sqlite3.Connection, held: Held, last: bytes = b"") -> bool:
    """Whether what is there, with `last` behind it, is the snapshot that its meta data describes."""
    digest = hashlib.blake2b(digest_size=32)
    for piece in pieces(connection, held):
        digest.update(piece)
    digest.update(last)
    return _fits(held.meta, held.received + len(last), digest.hexdigest())


def read(connection: sqlite3.Connection, held: Held, offset: int, size: int) -> bytes:
    """At most `size` bytes. Raises Damaged when they are not what was written."""
    end = min(offset + size, held.received)
    if offset >= end:
        return b""
    rows = connection.execute(
        "SELECT at, data, checksum FROM pieces WHERE snapshot = :number AND at < :end"
        " AND at >= (SELECT max(at) FROM pieces WHERE snapshot = :number AND at <= :offset) ORDER BY at",
        {"number": held.number, "offset": offset, "end": end},
    ).fetchall()
    first = at = rows[0][0] if rows else -1
    for found, data, stored in rows:
        _check(held, at, found, data, stored)
        at += len(data)
    if at < end:
        raise Damaged(f"snapshot {held.meta.index}: the bytes from {max(at, offset)} on are gone")
    return b"".join(data for _, data, _ in rows)[offset - first : end - first]


def _check(held: Held, at: int, found: object, data: object, stored: object) -> None:
    if found != at or type(data) is not bytes or _checksum(at, data) != stored:
        raise Damaged(f"snapshot {held.meta.index}: the piece at byte {at} is not what was written")


def _checksum(at: int, data: bytes) -> bytes:
    return checksum(at.to_bytes(8, "big"), data)


def _fits(meta: SnapshotMeta, size: int, digest: str) -> bool:
    return size == meta.size and digest == meta.checksum
