"""The high-water mark: how far the store has come, kept outside of the database.

SQLite drops everything behind a damaged frame of its write-ahead log without a word, and a -wal file that was removed
leaves a database that is whole, only older. So each write has a number, which is in the database together with a
checksum of the state. When the database is durable both go here, and durably before the next write begins. Numbers
count writes, not entries: a log that a new leader cut back has a higher number than it had before.

Two records take turns, by the number's parity, each in a block of its own. What they say at opening:

====================  ====================================================================================
both whole            the higher number n may have been acknowledged: the database must be at n (and its state the
                      one noted), or at n + 1, if the system ended before the mark of that was there
one whole, at n       the other was torn while n + 1 was written, for which the database was durable already,
                      or it was damaged: the database must be at n + 1, so that neither hides a lost write
none whole            nothing can be said, and so nothing can be trusted
====================  ====================================================================================

Number 0 stands for a store that is being created.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Final

from orbit_lite.storage.files import sync, sync_directory

__all__ = ["Mark", "problem_with"]

_RECORD: Final = struct.Struct(">8sQ16s8s")  # magic, number, store id, checksum of the state
_MAGIC: Final = b"ORBMARK1"
_CHECKSUM_BYTES: Final = 16
_BLOCK: Final = 4096  # no disk writes less at a time, or tears what is beside it
_FLAGS: Final = os.O_RDWR | getattr(os, "O_BINARY", 0)


class Mark:
    """The file, open. records: (number, store id, checksum of the state) by slot; None for a record that is not whole.

    Every method raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, _FLAGS)
        content = os.read(self._descriptor, 2 * _BLOCK)
        self.records = [_read(content[at : at + _BLOCK], slot) for slot, at in enumerate((0, _BLOCK))]

    @classmethod
    def create(cls, path: Path, store_id: bytes) -> None:
        """Say that a store is being created; both blocks get their place now, so that no later write moves the end."""
        draft = path.with_name(path.name + ".new")
        draft.write_bytes(_dump(0, store_id, bytes(8)).ljust(2 * _BLOCK, b"\0"))
        descriptor = os.open(draft, _FLAGS)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        sync_directory(path.parent)

    @property
    def number(self) -> int | None:
        """The highest that can be read."""
        return max((record[0] for record in self.records if record is not None), default=None)

    def note(self, number: int, store_id: bytes, checksum: bytes) -> None:
        """Note a write that the database holds durably; `sync` next. After an OSError the mark may be the old one."""
        record, slot = _dump(number, store_id, checksum), number % 2
        os.lseek(self._descriptor, slot * _BLOCK, os.SEEK_SET)
        if os.write(self._descriptor, record) != len(record):
            raise OSError("the mark was written in part")
        self.records[slot] = (number, store_id, checksum)

    def sync(self) -> None:
        """Make what was noted durable."""
        sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def problem_with(mark: Mark, number: int, store_id: bytes, checksum: bytes) -> str | None:
    """What speaks against a database that is at `number`; None when it holds all that was acknowledged."""
    whole = [record for record in mark.records if record is not None]
    if not whole:
        return "its mark cannot be read, so nobody knows whether it is complete"
    if any(record[1] != store_id for record in whole):
        return "its mark belongs to another store"
    noted, _, noted_checksum = max(whole)
    if number < noted:
        return f"it ends with write {number}, and {noted} were acknowledged"
    if number > noted + 1:
        return f"it holds {number} writes and its mark is of write {noted}: one of the two was replaced"
    if number == noted and len(whole) == 1 and noted:
        return (
            f"a record of its mark cannot be read, which may say that more than its {number} writes were acknowledged"
        )
    if number == noted and checksum != noted_checksum:
        return f"write {number} in it is not the one that was acknowledged"
    return None


def _dump(number: int, store_id: bytes, checksum: bytes) -> bytes:
    body = _RECORD.pack(_MAGIC, number, store_id, checksum)
    return body + hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _read(block: bytes, slot: int) -> tuple[int, bytes, bytes] | None:
    if len(block) < _RECORD.size + _CHECKSUM_BYTES:
        return None
    magic, number, store_id, checksum = _RECORD.unpack_from(block)
    if magic != _MAGIC or number % 2 != slot or not block.startswith(_dump(number, store_id, checksum)):
        return None
    return number, store_id, checksum
