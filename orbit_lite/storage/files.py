"""What a store needs of the file system: names that outlast a crash, and one owner at a time.

Local file systems only: on NFS and its like neither the lock nor a sync says what it says here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orbit_lite.raft import StoreFailed, StoreLocked

__all__ = ["Lock", "make_directory", "replacing", "sync", "sync_directory"]

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


if sys.platform == "darwin":

    def sync(descriptor: int) -> None:
        """Make a file's content durable; fsync alone leaves it in the drive's cache there."""
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
else:
    #: Make a file's content and size durable, without its times where the system can tell them apart. Raises OSError.
    sync = getattr(os, "fdatasync", os.fsync)


class Lock:
    """Held from the beginning until `release`, or until the process ends, however it does.

    flock and not fcntl's record locks: those would let the same process in twice, and go away when any descriptor of
    the file is closed.
    """

    def __init__(self, path: Path) -> None:
        """Raises StoreLocked; StoreFailed when the file cannot be made or the system cannot lock it."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreFailed(f"{path}: {error}") from error
        try:
            _take(self._descriptor)
        except (BlockingIOError, PermissionError) as error:  # Windows: PermissionError
            os.close(self._descriptor)
            raise StoreLocked(f"{path.parent} is open in another process, or twice in this one") from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreFailed(f"{path}: {error}") from error

    def release(self) -> None:
        os.close(self._descriptor)


def make_directory(path: Path, *, mode: int = 0o777) -> None:
    """Make the directory and what is missing above it, durably. mode: of the directory itself. Raises OSError."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(mode, exist_ok=True)
        sync_directory(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to be written, which gets the name `path` once it is durable; unless this raises. Raises OSError.

    Only its owner may read it: it holds what a store holds.
    """
    draft = path.with_name(f"{path.name}.new")
    try:
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.absolute().parent)
    finally:
        draft.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Where it cannot be opened (Windows) the system sees to that itself."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
