"""Durable storage behind the ports of consensus, on the standard library's SQLite."""

from orbit_lite.storage.backup import (
    BackupReport,
    StoreReport,
    describe,
    export_snapshot,
    import_snapshot,
    read_backup,
)
from orbit_lite.storage.memory import MemoryLogStore
from orbit_lite.storage.raft_log import SqliteLogStore

__all__ = [
    "BackupReport",
    "MemoryLogStore",
    "SqliteLogStore",
    "StoreReport",
    "describe",
    "export_snapshot",
    "import_snapshot",
    "read_backup",
]
