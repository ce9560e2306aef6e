"""One process at a time: a lock on a file, which the system releases however the process ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orbit_lite.raft import StoreLocked

__all__ = ["Lock"]

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lock:
    """Held from the beginning until `release`."""

    def __init__(self, path: Path) -> None:
        """Raises StoreLocked; OSError when the file cannot be made."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StoreLocked(f"{path.parent} is open in another process, or twice in this one") from error
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)
