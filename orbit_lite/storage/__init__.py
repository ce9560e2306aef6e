"""Durable storage behind the ports of consensus, on the standard library's SQLite."""

from orbit_lite.storage.memory import MemoryLogStore
from orbit_lite.storage.raft_log import SqliteLogStore

__all__ = ["MemoryLogStore", "SqliteLogStore"]
