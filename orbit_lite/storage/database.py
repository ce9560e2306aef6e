"""The SQLite file of a store: made, checked, opened, written in transactions that are durable when they end.

One directory a node: `raft.db` with SQLite's -wal file, `mark` (mark.py), `lock` (files.py).

**What a write costs.** Two syncs, one behind the other: the commit's, for which everybody waits, then the mark's, for
which only the next write does. Measured on ext4 on a virtual disk, medians in µs until the second for one entry of 256
bytes and for 64 of them in one transaction:

=============================================  =====  =====
way                                                1     64
=============================================  =====  =====
rollback journal, DELETE                        2478   1965
rollback journal, PERSIST (two syncs and more)  1068   1231
WAL, shared memory index, no mark                638    733
WAL, exclusive, no mark                          163    287
WAL, exclusive, mark never synced                178    287
**WAL, exclusive, mark with fdatasync**          301    427
WAL, exclusive, mark with O_DSYNC                304    429
=============================================  =====  =====

One sync alone is not enough. Whatever is written with one sync can lose its end in silence, because a damaged end looks
like one that never was: the mark inside the database goes with the database; a mark that is not synced is gone with the
power that damaged the database; a mark written before or beside the commit cannot tell a write that was lost from one
that was never finished. So the second sync stays, and it is made cheap: the mark is overwritten in its place, so there
is no file-system journal to be written, and 64 entries share it. It is off the way of the answer (`settle`): what
damages the end of a file is the write that follows, and that begins when the mark of the one before it is durable. Left
is a write that nothing follows: if the power fails within the tenths of a millisecond until its mark is synced *and*
its sound, synced part of the file is damaged then, its loss goes unnoticed.

**After a crash** what SQLite finds in the -wal file may never have reached the disk. It is made durable before the
store is used: otherwise an entry that this process never synced would be acknowledged by its successor.

**A store that is refused is not touched**: it is checked through a read-only connection, because SQLite ends the last
writable one by moving what is left of the -wal file into the database and deleting the rest. An empty database is not
even shown to SQLite, which deletes a -wal file beside one. How the pages hang together is checked before anything is
written (`quick_check`, 30 ms for 80 MB), because a page that is in two trees looks well until one of them is written
to. What the rows hold is checked when they are loaded.

Checkpoints are made here and not by SQLite, which ignores when they fail.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from orbit_lite.errors import ConfigurationError, OrbitError
from orbit_lite.raft import StoreCorrupt, StoreFailed, StoreLocked
from orbit_lite.storage.files import Lock, make_directory, sync_directory
from orbit_lite.storage.mark import Mark, problem_with
from orbit_lite.storage.rows import Damaged, State, checksum, dump_state, load_state

__all__ = [
    "Database",
    "Transaction",
    "create_files",
    "exists",
    "lock_folder",
    "read_only",
    "reading",
]

DATABASE: Final = "raft.db"
MARK: Final = "mark"
LOCK: Final = "lock"

#: "ORBT" in SQLite's header, for `file` and for people who open the wrong file.
_APPLICATION: Final = 0x4F524254
_VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL, checksum BLOB NOT NULL)",
    "CREATE TABLE entries (idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL,"
    " command BLOB NOT NULL, checksum BLOB NOT NULL)",
    "CREATE TABLE pieces (snapshot INTEGER NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL, checksum BLOB NOT NULL,"
    " UNIQUE (snapshot, at))",
)
_PRAGMAS: Final = (
    "locking_mode=EXCLUSIVE",  # no index in shared memory: half the time of a commit
    "journal_mode=WAL",
    "synchronous=FULL",
    "fullfsync=1",  # macOS: through the drive's cache
    "checkpoint_fullfsync=1",
    "wal_autocheckpoint=0",
    "journal_size_limit=16777216",  # what one large transaction left of the -wal file is given back
    "cache_size=-4096",  # KiB
    "temp_store=MEMORY",
)
_CHECKPOINT_BYTES: Final = 4 << 20  # of the -wal file, about; SQLite's own default
_WRITE_BYTES: Final = 16 << 10  # that a write adds to it beside its data: whole pages

ADVICE: Final = (
    "nothing in it may be trusted: keep the directory aside, remove the node from the cluster and add it again as a "
    "learner with an empty one; if no other node is left, restore a backup"
)

#: SQLite's primary result codes that blame the system and not the file.
_SYSTEM_CODES: Final = {3, 7, 8, 9, 10, 13, 14}  # PERM, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN
_BUSY_CODES: Final = {5, 6}  # BUSY, LOCKED
_CORRUPT_CODES: Final = {11, 26}  # CORRUPT, NOTADB
_LEAST_BYTES: Final = 512  # SQLite's smallest page
_SHORT_READ: Final = 522  # IOERR_SHORT_READ: the file ends too early


@dataclass(slots=True)
class Transaction:
    """state: what is true when it ends; assign a changed copy. data_bytes: written so far, about."""

    connection: sqlite3.Connection
    state: State
    data_bytes: int = 0


def exists(folder: Path) -> bool:
    """Whether there is a store, or what is left of one. A creation that a crash cut short is none."""
    if (folder / DATABASE).exists() or (folder / f"{DATABASE}-wal").exists():
        return True
    return (folder / MARK).exists() and _mark_number(folder) != 0


def _mark_number(folder: Path) -> int | None:
    try:
        mark = Mark(folder / MARK)
    except OSError as error:
        raise StoreFailed(f"{folder / MARK}: {error}") from error
    mark.close()
    return mark.number


def create_files(folder: Path, store_id: bytes, fill: Callable[[Transaction], None]) -> None:
    """Make a store where none `exists`, all of it or nothing; the caller holds the lock.

    fill: writes what it begins with. Raises StoreFailed, and what `fill` raises.
    """
    path, draft = folder / DATABASE, folder / f"{DATABASE}.new"
    try:
        for leftover in folder.glob(f"{draft.name}*"):
            leftover.unlink()
        Mark.create(folder / MARK, store_id)
        connection = _connect(draft)
        try:
            for statement in (f"PRAGMA application_id={_APPLICATION}", f"PRAGMA user_version={_VERSION}", "BEGIN"):
                connection.execute(statement)
            for statement in _SCHEMA:
                connection.execute(statement)
            transaction = Transaction(connection, State(number=1, store_id=store_id))
            fill(transaction)
            body = dump_state(transaction.state)
            connection.execute("INSERT INTO state VALUES (1, ?, ?)", (body, checksum(body)))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
        finally:
            connection.close()
        descriptor = os.open(draft, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        sync_directory(folder)
        mark = Mark(folder / MARK)
        try:
            mark.note(1, store_id, checksum(body))
            mark.sync()
        finally:
            mark.close()
    except (sqlite3.Error, OSError) as error:
        raise StoreFailed(f"{folder}: {error}; nothing was created") from error


@contextmanager
def read_only(folder: Path) -> Iterator[tuple[sqlite3.Connection, State]]:
    """A connection that changes nothing, and the state, which holds all that was acknowledged.

    The caller holds the lock. Raises StoreCorrupt, StoreFailed, StoreLocked; ConfigurationError for a newer format.
    """
    path = folder / DATABASE
    with reading(folder):
        if not path.exists():
            raise Damaged("it is gone")
        if path.stat().st_size < _LEAST_BYTES:
            raise Damaged("it is cut off in its header")
        connection = _connect(path, "?mode=ro")
        try:
            yield connection, _checked_state(folder, connection)
        finally:
            connection.close()


def _checked_state(folder: Path, connection: sqlite3.Connection) -> State:
    path = folder / DATABASE
    [(application,)] = connection.execute("PRAGMA application_id").fetchall()
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    if application != _APPLICATION:
        raise Damaged(f"it is no store of Raft's (application id {application:#x})")
    if version > _VERSION:
        raise ConfigurationError(f"{path}: format {version}, and this program knows up to {_VERSION}: use a newer one")
    rows = connection.execute("SELECT body, checksum FROM state").fetchall()
    if version != _VERSION or len(rows) != 1:
        raise Damaged("its header or its state row is not what was written")
    [(body, stored)] = rows
    if type(body) is not bytes or checksum(body) != stored:
        raise Damaged("its state row is not what was written")
    state = load_state(body)
    if not (folder / MARK).exists():
        raise Damaged("its mark is gone, so nobody knows whether it is complete")
    mark = Mark(folder / MARK)
    mark.close()
    if (problem := problem_with(mark, state.number, state.store_id, stored)) is not None:
        raise Damaged(problem)
    [(finding, *_), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if finding != b"ok":
        raise Damaged(f"its pages do not fit together: {finding.decode(errors='replace')}")
    return state


class Database:
    """A store's files, open and locked. state: what is durable."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, mark: Mark, lock: Lock, state: State) -> None:
        """For `open`."""
        self.folder = folder
        self.connection = connection
        self.state = state
        self._mark = mark
        self._lock = lock
        self._failure: str | None = None
        self._is_closed = False
        self._wal_bytes = 0
        self._is_settled = True

    @classmethod
    def open(cls, folder: Path, lock: Lock) -> Database:
        """Check the store and open it for writing; the lock is the store's from now on, unless this raises.

        Raises StoreCorrupt, StoreFailed, StoreLocked; ConfigurationError for a newer format.
        """
        with read_only(folder) as (_, state):
            pass
        with ExitStack() as opened, reading(folder):
            mark = opened.enter_context(closing(Mark(folder / MARK)))
            connection = opened.enter_context(closing(_connect(folder / DATABASE)))
            database = cls(folder, connection, mark, lock, state)
            database._prepare()
            opened.pop_all()
        return database

    def _prepare(self) -> None:
        for pragma in _PRAGMAS:
            self.connection.execute(f"PRAGMA {pragma}").fetchall()  # PyPy: a statement that is not run to its end …
        self._mark.sync()  # that of a process which was killed may not be durable
        self._checkpoint("TRUNCATE")  # what a crash left in the -wal file becomes durable
        if self._mark.number != self.state.number:
            self._mark.note(self.state.number, self.state.store_id, checksum(dump_state(self.state)))
            self._mark.sync()

    def check(self) -> None:
        """Raises StoreFailed when it is closed, or when a write failed: `state` may not be what is there then."""
        if self._is_closed:
            raise StoreFailed(f"{self.folder}: the store was closed")
        if self._failure is not None:
            raise StoreFailed(
                f"{self.folder}: not used any more since a write failed: {self._failure}; restart the node"
            )

    @property
    def is_usable(self) -> bool:
        return self._failure is None and not self._is_closed

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All that is written inside is durable when it ends, and so is `state`. Call `settle` next.

        An exception from inside undoes it. When the disk or SQLite fails, StoreFailed is raised (StoreCorrupt when
        SQLite finds damage) and no write is taken any more: what a failed sync left behind cannot be known (a second
        one may succeed without having written anything).
        """
        self.settle()
        transaction = Transaction(self.connection, self.state)
        is_ending = False
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield transaction
            state = replace(transaction.state, number=self.state.number + 1)
            body = dump_state(state)
            digest = checksum(body)
            self.connection.execute("UPDATE state SET body = ?, checksum = ?", (body, digest))
            is_ending = True
            self.connection.execute("COMMIT")
            self._is_settled = False
            self._mark.note(state.number, state.store_id, digest)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        except BaseException as error:
            if is_ending:  # an interrupt: it may be durable
                self._failure = repr(error)
            else:
                self._roll_back()
            if isinstance(error, Damaged):
                raise _corrupted(self.folder, str(error)) from error
            raise
        self.state = state
        self._wal_bytes += transaction.data_bytes + _WRITE_BYTES

    def settle(self) -> None:
        """Finish what nobody had to wait for; nothing happens if that was done. Raises StoreFailed as a write does."""
        self.check()
        if self._is_settled:
            return
        try:
            self._mark.sync()
            if self._wal_bytes >= _CHECKPOINT_BYTES:
                self._checkpoint("PASSIVE")
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        self._is_settled = True

    @contextmanager
    def preparation(self) -> Iterator[sqlite3.Connection]:
        """Write what no state refers to yet: a later `transaction` makes it count. Else as `transaction`."""
        self.settle()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
            self._checkpoint("PASSIVE")
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        except BaseException:
            self._roll_back()
            raise

    def _checkpoint(self, mode: str) -> None:
        """Move the -wal file's content into the database, durably; the next write begins it anew."""
        [(is_busy, _, _)] = self.connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        if is_busy:  # not so while the database is locked for this connection alone
            raise sqlite3.OperationalError("the write-ahead log could not be moved into the database")
        self._wal_bytes = 0

    def _roll_back(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._failure = str(error)

    def _fail(self, error: Exception) -> NoReturn:
        self._failure = str(error)
        self._roll_back()
        if _primary_code(error) in _CORRUPT_CODES:
            raise _corrupted(self.folder, str(error)) from error
        reason = f"{self.folder}: {error}; what is on the disk now is unknown: restart the node"
        raise StoreFailed(reason) from error

    def close(self) -> None:
        """Settle, and release the files and the lock; again has no effect. Raises StoreFailed when it cannot settle."""
        if not self._is_closed:
            try:
                self.close_files()
            finally:
                self._lock.release()

    def close_files(self) -> None:
        """As `close`, but the lock stays."""
        try:
            if self.is_usable:
                self.settle()
        finally:
            self._is_closed = True
            self._mark.close()
            self.connection.close()


def lock_folder(folder: Path, *, make: bool) -> Lock:
    """Raises StoreLocked, StoreFailed; ConfigurationError when there is no such directory and none may be made."""
    if not make and not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no store")
    try:
        make_directory(folder, mode=0o700)  # what the cluster replicates is nobody else's to read
    except OSError as error:
        raise StoreFailed(f"{folder}: {error}") from error
    return Lock(folder / LOCK)


def _connect(path: Path, query: str = "") -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}{query}",
        uri=True,
        timeout=1.0,
        isolation_level=None,  # transactions begin and end where it is written
        check_same_thread=False,  # one thread at a time, of any number
        cached_statements=64,
    )
    connection.text_factory = bytes  # a damaged row may hold text that is none
    return connection


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Say what a failure while reading means. Raises StoreCorrupt, StoreFailed, StoreLocked."""
    try:
        yield
    except Damaged as error:
        raise _corrupted(folder, str(error)) from error
    except (sqlite3.Error, OSError) as error:
        raise _read_error(folder, error) from error


def _read_error(folder: Path, error: Exception) -> OrbitError:
    code = _primary_code(error)
    if isinstance(error, OSError):
        return StoreFailed(f"{folder}: {error}")
    if code in _BUSY_CODES:
        return StoreLocked(f"{folder / DATABASE} is open in another program: {error}")
    if code in _SYSTEM_CODES and getattr(error, "sqlite_errorcode", None) != _SHORT_READ:
        return StoreFailed(f"{folder / DATABASE}: {error}")
    return _corrupted(folder, str(error))


def _primary_code(error: Exception) -> int | None:
    """Of an error of SQLite; None where there is none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _corrupted(folder: Path, problem: str) -> StoreCorrupt:
    return StoreCorrupt(f"{folder / DATABASE}: {problem}; {ADVICE}")
