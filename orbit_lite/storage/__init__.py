"""Durable storage behind the ports of consensus, on the standard library's SQLite."""

from orbit_lite.storage.backup import (
    BackupReport,
    StoreReport,
    describe,
    export_snapshot,
    import_snapshot,
    read_backup,
    write_backup,
)
from orbit_lite.storage.memory import MemoryLogStore
from orbit_lite.storage.raft_log import SqliteLogStore
from orbit_lite.storage.recovery import RecoveryReport, recover_unsafe

__all__ = [
    "BackupReport",
    "MemoryLogStore",
    "RecoveryReport",
    "SqliteLogStore",
    "StoreReport",
    "describe",
    "export_snapshot",
    "import_snapshot",
    "read_backup",
    "recover_unsafe",
    "write_backup",
]
