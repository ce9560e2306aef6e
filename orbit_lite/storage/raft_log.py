"""The Raft log in SQLite: what was acknowledged is there after any crash, or opening it says what is wrong.

One directory a node: `raft.db` with SQLite's -wal file (WAL, synchronous=FULL: a commit returns when it is on disk),
`mark` (see mark.py), `lock`, held while the store is open and released by the system however the process ends.

SQLite protects a database against crashes, not against what disks and people do to its files. So:

- entries form a chain: the checksum of each covers the one before, and the state row knows the last one, so that a
  changed, missing or exchanged row is noticed;
- the state row (term, vote, commit, peers, where log and snapshot begin and end) has a checksum of its own;
- a snapshot is checked against the checksum in its meta data when the store is opened;
- every write has a number, compared with the mark at opening.

A write costs two syncs, the database's and the mark's. One could be saved by writing the mark into the same file, and
that is the file which may lose its end.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from orbit_lite.errors import ConfigurationError, InternalError, OrbitError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import HardState, SnapshotChunk, SnapshotMeta, StoreCorrupt, Stored, StoreFailed
from orbit_lite.storage.lock import Lock
from orbit_lite.storage.mark import Mark
from orbit_lite.storage.rows import (
    dump_command,
    dump_snapshot,
    load_command,
    load_snapshot,
    node_from_json,
    node_to_json,
)

__all__ = ["SqliteLogStore"]

#: "ORBT" in SQLite's header, for `file` and for people who open the wrong file.
_APPLICATION = 0x4F524254
_VERSION = 1
_PIECE = 1 << 20
_HEAD = struct.Struct(">Qq")  # term, timestamp
_SCHEMA = """
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE entries (idx INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE pieces (snapshot INTEGER, at INTEGER, data BLOB NOT NULL, PRIMARY KEY (snapshot, at)) WITHOUT ROWID;
"""
_ADVICE = (
    "nothing of this store may be trusted: remove the node from the cluster, delete the directory and add it again "
    "as a learner"
)


class SqliteLogStore:
    """A LogStore. Open it with `open`. Used by one thread at a time, of any number."""

    def __init__(self, directory: Path, database: sqlite3.Connection, mark: Mark, lock: Lock) -> None:
        """For `open`."""
        self.directory = directory
        self._database = database
        self._mark = mark
        self._lock = lock
        self._failure: StoreFailed | None = None
        self._is_closed = False
        self._state: dict[str, Any] = {}
        self._peers: dict[NodeId, str] = {}  # replaced, never changed: it is read by other threads
        self._chain: dict[int, bytes] = {}  # checksums by index, of the entries that are there, and of the one before

    # ------------------------------------------------------------ opening

    @classmethod
    def open(cls, directory: str | os.PathLike[str], *, create: bool = True) -> Self:
        """Open the store in a directory, or make one.

        Raises StoreLocked when another process has it, StoreCorrupt, ConfigurationError when there is none and none
        may be made, StoreFailed when the files cannot be opened.
        """
        folder = Path(directory)
        path = folder / "raft.db"
        existed = path.exists()
        if not existed and not create:
            raise ConfigurationError(f"{folder}: there is no store")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = Lock(folder / "lock")
        except OSError as error:
            raise StoreFailed(f"{folder}: {error}") from error
        try:
            return cls._open(folder, path, lock, existed=existed)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open(cls, folder: Path, path: Path, lock: Lock, *, existed: bool) -> Self:
        marked = (folder / "mark").exists()
        if marked and not existed:
            raise StoreCorrupt(f"{path} is gone, and its mark is there; {_ADVICE}")
        try:
            database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        except sqlite3.Error as error:
            raise StoreFailed(f"{path}: {error}") from error
        mark = None
        try:
            fresh = cls._prepare(database, path)
            if not fresh and not marked:
                raise StoreCorrupt(f"{folder / 'mark'} is gone; {_ADVICE}")
            mark = Mark(folder / "mark")
            store = cls(folder, database, mark, lock)
            if fresh:
                if mark.number >= 0:
                    raise store._corrupt(f"it is empty, and {mark.number} writes were acknowledged")
                store._create()
            else:
                store._check()
        except BaseException as error:
            database.close()
            if mark is not None:
                mark.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                raise StoreCorrupt(f"{path}: {error}; {_ADVICE}") from error
            if isinstance(error, sqlite3.Error | OSError):
                raise StoreFailed(f"{path}: {error}") from error
            raise
        return store

    @staticmethod
    def _prepare(database: sqlite3.Connection, path: Path) -> bool:
        """Set SQLite up; True for a new database."""
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION:
            raise StoreCorrupt(f"{path} is no store of Raft's; {_ADVICE}")
        if version > _VERSION:
            raise ConfigurationError(f"{path} has format {version}, this program knows {_VERSION}: use a newer one")
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "cache_size=-4096"):
            database.execute(f"PRAGMA {pragma}")
        return not tables

    def _create(self) -> None:
        self._state = {
            "number": 0,
            "store_id": uuid.uuid4().hex,
            "term": 0,
            "vote": None,
            "commit": 0,
            "base": 0,  # index before the first entry, and the checksum that its chain begins with
            "base_checksum": "",
            "last": 0,
            "last_checksum": "",
            "snapshot": None,
            "snapshot_number": 0,
            "incoming": None,
            "received": 0,
            "incoming_number": 0,
            "peers": {},
        }
        self._chain = {0: b""}
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.strip().split(";\n"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id={_APPLICATION}")
        database.execute(f"PRAGMA user_version={_VERSION}")
        self._write_state(first=True)
        database.execute("COMMIT")
        self._mark.advance(self._state["number"])
        _sync_directory(self.directory)

    def _check(self) -> None:
        """Read the state row, and compare it with the mark."""
        row = self._database.execute("SELECT body, checksum FROM state").fetchone()
        if row is None or _checksum(row[0].encode()) != row[1]:
            raise self._corrupt("the state row was changed")
        self._state = json.loads(row[0])
        self._peers = _peers_of(self._state["peers"])
        number = self._state["number"]
        if self._mark.number < 0 and number > 1:
            raise self._corrupt("its mark is empty")
        if number < self._mark.number:
            raise self._corrupt(f"it holds {number} writes, and {self._mark.number} were acknowledged")
        self._mark.advance(number)  # a crash may have come between the two

    def _corrupt(self, problem: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self.directory / 'raft.db'}: {problem}; {_ADVICE}")

    # ------------------------------------------------------------ reading

    @property
    def store_id(self) -> str:
        identity: str = self._state["store_id"]
        return identity

    def load(self) -> Stored:
        try:
            return self._load()
        except sqlite3.Error as error:
            raise self._corrupt(str(error)) from error

    def _load(self) -> Stored:
        state = self._state
        index, checksum = state["base"], bytes.fromhex(state["base_checksum"])
        chain = {index: checksum}
        entries = []
        for found, body, stored in self._database.execute("SELECT idx, body, checksum FROM entries ORDER BY idx"):
            index += 1
            checksum = _checksum(checksum, index.to_bytes(8, "big"), body)
            if found != index or checksum != stored:
                raise self._corrupt(f"entry {index} is not what was written")
            chain[index] = checksum
            entries.append(self._entry(index, body))
        if index != state["last"] or checksum.hex() != state["last_checksum"]:
            raise self._corrupt(f"the log ends at {index}, and entry {state['last']} was written")
        self._chain = chain
        try:
            vote = node_from_json(state["vote"])
            snapshot, incoming = load_snapshot(state["snapshot"]), load_snapshot(state["incoming"])
        except (OrbitError, LookupError, TypeError) as error:
            raise self._corrupt(f"the state row cannot be read: {error}") from error
        if snapshot is not None:
            self._check_snapshot(snapshot)
        self._check_incoming(incoming)
        return Stored(
            HardState(state["term"], vote, state["commit"]),
            snapshot,
            tuple(entries),
            None if incoming is None else (incoming, state["received"]),
        )

    def _entry(self, index: int, body: bytes) -> LogEntry:
        try:
            term, timestamp = _HEAD.unpack_from(body)
            return LogEntry(term, index, load_command(body[_HEAD.size :]), timestamp)
        except (struct.error, OrbitError, ValueError) as error:
            raise self._corrupt(f"entry {index} cannot be read: {error}") from error

    def _check_snapshot(self, meta: SnapshotMeta) -> None:
        digest, size = hashlib.blake2b(digest_size=32), 0
        for piece in self._pieces(self._state["snapshot_number"]):
            digest.update(piece)
            size += len(piece)
        if size != meta.size or digest.hexdigest() != meta.checksum:
            raise self._corrupt(f"snapshot {meta.index} is not what was written")

    def _check_incoming(self, meta: SnapshotMeta | None) -> None:
        if meta is None:
            return
        size = sum(map(len, self._pieces(self._state["incoming_number"])))
        if size != self._state["received"]:
            raise self._corrupt(f"{size} bytes of snapshot {meta.index} are there, {self._state['received']} came")

    def _pieces(self, number: int) -> Iterator[bytes]:
        at = 0
        rows = self._database.execute("SELECT at, data FROM pieces WHERE snapshot = ? ORDER BY at", (number,))
        for found, data in rows:
            if found != at:
                raise self._corrupt(f"a piece of a snapshot at byte {at} is missing")
            at += len(data)
            yield data

    def read_snapshot(self, meta: SnapshotMeta, offset: int, size: int) -> bytes:
        if dump_snapshot(meta) != self._state["snapshot"]:
            raise LookupError(f"snapshot {meta.index} was replaced")
        number = self._state["snapshot_number"]
        try:
            rows = self._database.execute(
                "SELECT at, data FROM pieces WHERE snapshot = ? AND at < ? AND at + length(data) > ? ORDER BY at",
                (number, offset + size, offset),
            ).fetchall()
        except sqlite3.Error as error:
            raise self._corrupt(str(error)) from error
        if not rows:
            return b""
        return b"".join(data for _, data in rows)[offset - rows[0][0] :][:size]

    # ------------------------------------------------------------ writing

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable at the end, with the mark behind it. After a failure nothing is written any more."""
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise StoreFailed(f"{self.directory}: the store was closed")
        database, before = self._database, dict(self._state)
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            self._state["number"] += 1
            self._write_state()
            database.execute("COMMIT")
            self._mark.advance(self._state["number"])
        except (sqlite3.Error, OSError) as error:
            failure = StoreFailed(f"{self.directory}: {error}; what is on the disk now is unknown, restart the node")
            self._failure = failure
            raise failure from error
        except BaseException:  # not the disk's fault: nothing is written
            self._state = before
            database.execute("ROLLBACK")
            self._load()
            raise

    def _write_state(self, *, first: bool = False) -> None:
        body = json.dumps(self._state, ensure_ascii=True, separators=(",", ":"))
        row = (body, _checksum(body.encode()))
        if first:
            self._database.execute("INSERT INTO state (id, body, checksum) VALUES (1, ?, ?)", row)
        else:
            self._database.execute("UPDATE state SET body = ?, checksum = ?", row)

    def save(
        self,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        chunk: SnapshotChunk | None = None,
        install: SnapshotMeta | None = None,
    ) -> bool:
        is_intact = True
        with self._writing() as database:
            if hard_state is not None:
                vote = node_to_json(hard_state.vote)
                self._state.update(term=hard_state.term, vote=vote, commit=hard_state.commit)
            if entries:
                self._append(database, entries)
            if chunk is not None:
                self._take(database, chunk)
            if install is not None:
                is_intact = self._install(database, install)
        return is_intact

    def _append(self, database: sqlite3.Connection, entries: Sequence[LogEntry]) -> None:
        state, first = self._state, entries[0].index
        if not state["base"] < first <= state["last"] + 1:
            raise InternalError(f"entry {first} does not join the log {state['base'] + 1}..{state['last']}")
        if first <= state["last"]:
            database.execute("DELETE FROM entries WHERE idx >= ?", (first,))
        chain = self._chain
        checksum, index = chain[first - 1], first
        rows = []
        for index, entry in enumerate(entries, first):
            if entry.index != index:
                raise InternalError(f"entry {entry.index} where {index} follows")
            body = _HEAD.pack(entry.term, entry.timestamp_ms) + dump_command(entry.command)
            checksum = _checksum(checksum, index.to_bytes(8, "big"), body)
            chain[index] = checksum
            rows.append((index, body, checksum))
        database.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
        state.update(last=index, last_checksum=checksum.hex())

    def _take(self, database: sqlite3.Connection, chunk: SnapshotChunk) -> None:
        state, meta = self._state, dump_snapshot(chunk.meta)
        if chunk.offset == 0:
            self._drop_incoming(database)
            number = max(state["snapshot_number"], state["incoming_number"]) + 1
            state.update(incoming=meta, received=0, incoming_number=number)
        if state["incoming"] != meta or state["received"] != chunk.offset:
            raise InternalError(f"chunk at {chunk.offset} does not join {state['received']} bytes")
        if chunk.data:
            row = (state["incoming_number"], chunk.offset, chunk.data)
            database.execute("INSERT INTO pieces VALUES (?, ?, ?)", row)
        state["received"] += len(chunk.data)

    def _drop_incoming(self, database: sqlite3.Connection) -> None:
        if self._state["incoming"] is not None:
            database.execute("DELETE FROM pieces WHERE snapshot = ?", (self._state["incoming_number"],))
            self._state.update(incoming=None, received=0)

    def _install(self, database: sqlite3.Connection, meta: SnapshotMeta) -> bool:
        state = self._state
        digest, size = hashlib.blake2b(digest_size=32), 0
        for piece in self._pieces(state["incoming_number"]):
            digest.update(piece)
            size += len(piece)
        if state["incoming"] != dump_snapshot(meta) or size != meta.size or digest.hexdigest() != meta.checksum:
            self._drop_incoming(database)
            return False
        database.execute("DELETE FROM pieces WHERE snapshot = ?", (state["snapshot_number"],))
        state.update(snapshot=state["incoming"], snapshot_number=state["incoming_number"], incoming=None, received=0)
        database.execute("DELETE FROM entries")
        self._restart_chain(meta.index, _checksum(meta.checksum.encode()))
        state.update(last=meta.index, last_checksum=self._chain[meta.index].hex())
        return True

    def _restart_chain(self, base: int, checksum: bytes) -> None:
        self._state.update(base=base, base_checksum=checksum.hex())
        self._chain = {base: checksum}

    def write_snapshot(self, meta: SnapshotMeta, data: Iterable[bytes], *, first_index: int) -> None:
        with self._writing() as database:
            state = self._state
            old, number = state["snapshot_number"], max(state["snapshot_number"], state["incoming_number"]) + 1
            at = 0
            for piece in data:
                if piece:
                    database.execute("INSERT INTO pieces VALUES (?, ?, ?)", (number, at, piece))
                    at += len(piece)
            if at != meta.size:
                raise InternalError(f"snapshot {meta.index} has {at} bytes, {meta.size} were announced")
            database.execute("DELETE FROM pieces WHERE snapshot = ?", (old,))
            state.update(snapshot=dump_snapshot(meta), snapshot_number=number)
            base = min(first_index, state["last"] + 1) - 1
            if base > state["base"]:
                database.execute("DELETE FROM entries WHERE idx <= ?", (base,))
                state.update(base=base, base_checksum=self._chain[base].hex())
                self._chain = {index: checksum for index, checksum in self._chain.items() if index >= base}

    def peers(self) -> Mapping[NodeId, str]:
        return self._peers

    def remember_peer(self, node_id: NodeId, store_id: str | None) -> None:
        name = json.dumps([node_id.key, node_id.namespace])
        peers = dict(self._state["peers"])
        if peers.get(name) == store_id:
            return
        with self._writing():
            if store_id is None:
                del peers[name]
            else:
                peers[name] = store_id
            self._state["peers"] = peers
        self._peers = _peers_of(peers)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._database.close()
            self._mark.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _peers_of(state: dict[str, str]) -> dict[NodeId, str]:
    return {NodeId(*json.loads(name)): identity for name, identity in state.items()}


def _checksum(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _sync_directory(directory: Path) -> None:
    """Make the names of new files durable; where a directory cannot be opened the system does it by itself."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:  # Windows
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
