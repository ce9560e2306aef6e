"""Copies of what a running node has applied."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from typing import Final

from orbit_lite.raft import LogStore, RaftConsensus, StoreFailed
from orbit_lite.storage import write_backup

__all__ = ["backup"]

_PIECE: Final = 256 * 1024


async def backup(consensus: RaftConsensus) -> AsyncGenerator[bytes, None]:
    """The bytes of a backup of all that the node has applied, in pieces.

    It is written to a temporary file first, so that whoever receives it slowly does not hold up the store; not beside
    the store, whose disk must not get full. Raises StoreCorrupt, StoreFailed; ConfigurationError when there is nothing.
    """
    with tempfile.TemporaryFile() as file:

        def write(store: LogStore) -> None:
            # What is applied is durable and committed; the store may not know yet that it is.
            try:
                write_backup(store, file, through=consensus.applied_index or None)
                file.seek(0)
            except OSError as error:
                raise StoreFailed(f"the backup's temporary file: {error}") from error

        await consensus.with_store(write)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
