"""How far the store has come, kept outside of it.

SQLite drops everything behind a damaged frame of its write-ahead log without a word, and a -wal file that was removed
leaves a database that is whole, only older. So each write of the store has a number, which is in the database, and
after the database is durable the number goes here, before anybody is told. At opening the database must be at least as
far as its mark.

Two records alternate, so that one that was torn by a crash leaves the other; its write was not acknowledged then.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

from orbit_lite.raft import StoreCorrupt

__all__ = ["Mark"]

_RECORD = struct.Struct(">8sQ16s")
_MAGIC = b"ORBMARK1"
_SLOT = 512  # a sector: a record is never torn by the write of the other
_SYNC = getattr(os, "fdatasync", os.fsync)  # no fdatasync on macOS


class Mark:
    """The file. number: of the last write that is durable; -1 where there is no file yet."""

    def __init__(self, path: Path) -> None:
        """Raises StoreCorrupt when the file is there and says nothing."""
        existed = path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self.number = -1
        if existed:
            content = os.pread(self._descriptor, 2 * _SLOT, 0) if hasattr(os, "pread") else path.read_bytes()
            numbers = [number for at in (0, _SLOT) if (number := _read(content, at)) is not None]
            if numbers:
                self.number = max(numbers)
            elif content.strip(b"\0"):
                os.close(self._descriptor)
                raise StoreCorrupt(f"{path}: neither record can be read")

    def advance(self, number: int) -> None:
        """Make the number durable. Raises OSError."""
        record = _RECORD.pack(_MAGIC, number, _digest(number))
        os.lseek(self._descriptor, number % 2 * _SLOT, os.SEEK_SET)
        if os.write(self._descriptor, record) != len(record):
            raise OSError("the mark was written in part")
        _SYNC(self._descriptor)
        self.number = number

    def close(self) -> None:
        os.close(self._descriptor)


def _digest(number: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16, person=b"orbit-mark").digest()


def _read(content: bytes, at: int) -> int | None:
    try:
        magic, number, digest = _RECORD.unpack_from(content, at)
    except struct.error:
        return None
    return number if magic == _MAGIC and digest == _digest(number) else None
