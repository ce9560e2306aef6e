"""Copies of a store's content that stand for themselves, and a look into a store that nobody has open.

A backup is one file: a line that says what it is, a header (JSON), the snapshot's bytes, the entries behind it, and a
blake2b over all that. It holds the replicated state, not a node: no vote, no store id, no peers. So the stores that are
made from it belong to a new cluster, whose nodes all begin with the same file and the same configuration.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO, Final

from orbit_lite.errors import ConfigurationError, OrbitError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.model.json import parse_json
from orbit_lite.raft import (
    Configuration,
    HardState,
    LogStore,
    SnapshotMeta,
    StoreCorrupt,
    Stored,
    StoreFailed,
)
from orbit_lite.storage import contents
from orbit_lite.storage.database import exists, lock_folder, read_only
from orbit_lite.storage.files import replacing
from orbit_lite.storage.membership import begun_anew, last_term, latest_configuration
from orbit_lite.storage.raft_log import create_store
from orbit_lite.storage.rows import dump_command, dump_snapshot, load_command, load_snapshot

__all__ = [
    "BackupReport",
    "StoreReport",
    "describe",
    "export_snapshot",
    "import_snapshot",
    "read_backup",
    "write_backup",
]

_MAGIC: Final = b"orbit-lite raft backup 1\n"
_LENGTH: Final = struct.Struct(">Q")
_ENTRY: Final = struct.Struct(">QQqI")  # index, term, timestamp_ms, bytes of the command
_DIGEST_BYTES: Final = 32
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds: the state up to index `through`, whose entry is of `last_term`.

    term: the highest that the store knew. configuration: in force at `through`; None when none was known.
    """

    term: int
    through: int
    last_term: int
    snapshot: SnapshotMeta | None
    entries: int
    configuration: Configuration | None


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a store holds. last_index: 0 when it is empty. configuration: the latest in the log, committed or not.

    first_index: of the log, last_index + 1 when it is empty. writes: since it was created. file_bytes: by name.
    """

    store_id: str
    writes: int
    hard_state: HardState
    first_index: int
    last_index: int
    last_term: int
    snapshot: SnapshotMeta | None
    incoming: tuple[SnapshotMeta, int] | None
    configuration: Configuration | None
    peers: Mapping[NodeId, str]
    file_bytes: Mapping[str, int]

    @property
    def undecided(self) -> range:
        """Indices of entries that the store does not know to be committed."""
        covered = 0 if self.snapshot is None else self.snapshot.index
        return range(max(covered, min(self.hard_state.commit, self.last_index)) + 1, self.last_index + 1)


def describe(directory: str | os.PathLike[str]) -> StoreReport:
    """Check the store in a directory, and say what it holds; nothing in it is changed.

    Raises StoreLocked while a node has it open, StoreCorrupt, StoreFailed; ConfigurationError when there is none.
    """
    folder = Path(directory)
    lock = lock_folder(folder, make=False)
    try:
        if not exists(folder):
            raise ConfigurationError(f"{folder}: there is no store")
        with read_only(folder) as (connection, state):
            stored = contents.load(folder, connection, state)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        raise StoreFailed(f"{folder}: {error}") from error
    finally:
        lock.release()
    return StoreReport(
        store_id=state.store_id.hex(),
        writes=state.number,
        hard_state=stored.hard_state,
        first_index=state.base + 1,
        last_index=state.last,
        last_term=last_term(stored.snapshot, stored.entries),
        snapshot=stored.snapshot,
        incoming=stored.incoming,
        configuration=latest_configuration(stored.snapshot, stored.entries),
        peers=state.peers,
        file_bytes=sizes,
    )


def export_snapshot(store: LogStore, file: str | os.PathLike[str], *, through: int | None = None) -> BackupReport:
    """Write the state up to an index into a new file, durable when this returns; a file of that name is replaced.

    through: the last index; by default the commit index that the store knows, which may be a little behind the node's
    own. What is behind it may never have been agreed on: only the recovery of a cluster whose other nodes are lost goes
    further, up to the last index. Call it where the store is used: one thread at a time. Raises StoreCorrupt,
    StoreFailed; ConfigurationError when there is nothing yet, or `through` is not in the store.
    """
    path = Path(file)
    try:
        with replacing(path) as out:
            return write_backup(store, out, through=through)
    except OSError as error:
        raise StoreFailed(f"{path}: {error}") from error


def write_backup(store: LogStore, out: IO[bytes], *, through: int | None = None) -> BackupReport:
    """Write the same bytes as `export_snapshot` to an open file, which is not made durable. Raises OSError besides."""
    stored = store.load()
    covered = 0 if stored.snapshot is None else stored.snapshot.index
    last = max(covered, stored.entries[-1].index if stored.entries else 0)
    end = max(covered, min(stored.hard_state.commit, last)) if through is None else through
    if not max(covered, 1) <= end <= last:
        raise ConfigurationError(f"a backup through {end}: the store can give one through {max(covered, 1)}..{last}")
    entries = [entry for entry in stored.entries if covered < entry.index <= end]
    report = _report(stored.hard_state.term, stored.snapshot, entries)
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in _parts(report, store, entries):
        digest.update(part)
        out.write(part)
    out.write(digest.digest())
    return report


def read_backup(file: str | os.PathLike[str]) -> BackupReport:
    """Check every byte of a backup, and say what it holds. Raises StoreCorrupt, StoreFailed."""
    path = Path(file)
    with _opened(path) as source:
        report, _, _ = _read(path, source)
    return report


def import_snapshot(
    file: str | os.PathLike[str], directory: str | os.PathLike[str], *, configuration: Configuration
) -> BackupReport:
    """Make a store in a directory that begins with a backup's state and a new membership.

    Every node of `configuration` gets a store from the same file with the same configuration. Its cluster id should be
    a new one, so that what is left of the old cluster is kept out. Memberships in the backup become entries without
    effect, and a last entry puts the new one in force, one term above all that the backup knew; it counts as committed.

    Raises StoreCorrupt for a damaged backup; ConfigurationError when there is a store already, or when `configuration`
    has no voter; StoreLocked, StoreFailed. Nothing is made then.
    """
    path = Path(file)
    with _opened(path) as source:
        report, entries, begin = _read(path, source)
        stored = begun_anew(Stored(HardState(report.term), report.snapshot, tuple(entries)), configuration)
        source.seek(begin)
        create_store(Path(directory), stored, _pieces(source, 0 if report.snapshot is None else report.snapshot.size))
    return report


# ---------------------------------------------------------------- the file


def _parts(report: BackupReport, store: LogStore, entries: Iterable[LogEntry]) -> Iterator[bytes]:
    meta = report.snapshot
    header = json.dumps(
        {
            "term": report.term,
            "snapshot": None if meta is None else dump_snapshot(meta),
            "entries": report.entries,
        },
        separators=(",", ":"),
    ).encode()
    yield _MAGIC + _LENGTH.pack(len(header)) + header
    at = 0
    while meta is not None and at < meta.size:
        piece = store.read_snapshot(meta, at, _PIECE)
        if not piece:
            raise StoreCorrupt(f"snapshot {meta.index}: it ends at byte {at} of {meta.size}")
        at += len(piece)
        yield piece
    for entry in entries:
        command = dump_command(entry.command)
        yield _ENTRY.pack(entry.index, entry.term, entry.timestamp_ms, len(command)) + command


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise StoreFailed(f"{path}: {error}") from error


def _read(path: Path, source: BinaryIO) -> tuple[BackupReport, list[LogEntry], int]:
    """What a backup holds, its entries, and where the snapshot's bytes begin. Believes nothing before the checksum."""
    try:
        content_bytes = source.seek(0, os.SEEK_END) - _DIGEST_BYTES
        source.seek(0)
        if source.read(len(_MAGIC)) != _MAGIC:
            raise StoreCorrupt(f"{path}: it is no backup, or one of a newer format")
        source.seek(0)
        digest = blake2b(digest_size=_DIGEST_BYTES)
        for piece in _pieces(source, content_bytes):
            digest.update(piece)
        if content_bytes < 0 or source.read() != digest.digest():
            raise StoreCorrupt(f"{path}: it is not what was written; take another backup")
        source.seek(len(_MAGIC))
        (header_bytes,) = _LENGTH.unpack(source.read(_LENGTH.size))
        header = parse_json(source.read(header_bytes))
        meta = None if header["snapshot"] is None else load_snapshot(header["snapshot"])
        begin = source.tell()
        source.seek(0 if meta is None else meta.size, os.SEEK_CUR)
        entries = list(islice(_entries(source), header["entries"]))
        return _report(header["term"], meta, entries), entries, begin
    except OSError as error:
        raise StoreFailed(f"{path}: {error}") from error
    except StoreCorrupt:
        raise
    except (OrbitError, struct.error, ValueError, TypeError, LookupError) as error:
        raise StoreCorrupt(f"{path}: {error}") from error


def _entries(source: BinaryIO) -> Iterator[LogEntry]:
    while True:
        index, term, timestamp_ms, size = _ENTRY.unpack(source.read(_ENTRY.size))
        yield LogEntry(term, index, load_command(source.read(size)), timestamp_ms)


def _pieces(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := source.read(min(size, _PIECE))):
        size -= len(piece)
        yield piece


def _report(term: int, meta: SnapshotMeta | None, entries: list[LogEntry]) -> BackupReport:
    through = entries[-1].index if entries else 0 if meta is None else meta.index
    return BackupReport(
        term, through, last_term(meta, entries), meta, len(entries), latest_configuration(meta, entries)
    )
