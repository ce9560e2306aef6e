"""How the actors of a node read and write the replicated books.

Commands that come while some pages are being decided go on the next one together, so that under load a round of the
cluster and its writes to disk serve many of them.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Any, Protocol

from orbit_lite.cli.demo.books import Books, Document, read_replies, write_page
from orbit_lite.errors import InternalError, OrbitError
from orbit_lite.raft import ProposalLost

__all__ = ["Keeper", "Log"]

#: Commands on a page; the longest take less than a MiB together.
_PAGE = 256
#: Pages that are being decided at a time.
_PAGES = 3


class Log(Protocol):
    """What the books need of RaftConsensus."""

    async def propose(self, data: bytes, *, timeout: float | None = ...) -> bytes: ...

    async def read(self, timeout: float | None = ...) -> None: ...

    @property
    def applied_index(self) -> int: ...


class Keeper:
    """The books of the cluster. timeout: seconds for one page or reading."""

    def __init__(self, log: Log, books: Books, *, timeout: float = 8.0) -> None:
        self._log = log
        self._books = books
        self._timeout = timeout
        self._waiting: deque[tuple[Document, asyncio.Future[dict[str, Any]]]] = deque()
        self._writers: set[asyncio.Task[None] | None] = set()  # each ends when nothing waits; all when the log does

    async def write(self, command: Document) -> dict[str, Any]:
        """Let the cluster apply the command; its reply. Raises OrbitError when it is not known whether it did.

        A caller who gives up does not take the command back.
        """
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, reply))
        if len(self._writers) < _PAGES:
            # In an empty context: it writes for all who come, and has not the deadline of the first.
            work = self._write_pages()
            task = asyncio.get_running_loop().create_task(work, name="books", context=contextvars.Context())
            self._writers.add(task)
        document = await reply
        if "error" in document:
            raise InternalError(document["error"])
        return document

    async def _write_pages(self) -> None:
        try:
            while self._waiting:
                page = [self._waiting.popleft() for _ in range(min(_PAGE, len(self._waiting)))]
                await self._write_page(page)
        finally:  # in the moment when nothing waits: what comes next is to find no writer that has ended
            self._writers.discard(asyncio.current_task())

    async def _write_page(self, page: list[tuple[Document, asyncio.Future[dict[str, Any]]]]) -> None:
        try:
            documents = await self._propose([command for command, _ in page])
        except OrbitError as error:
            for _, reply in page:
                if not reply.done():
                    reply.set_exception(ProposalLost(f"the books did not answer: {error}"))
        else:
            for (_, reply), document in zip(page, documents, strict=True):
                if not reply.done():
                    reply.set_result(document)

    async def _propose(self, commands: list[Document]) -> list[dict[str, Any]]:
        data = write_page(commands)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            try:
                return read_replies(await self._log.propose(data, timeout=deadline - loop.time()), len(commands))
            except ProposalLost as error:  # made again each is booked once, as it bears an id
                if not error.retryable or loop.time() >= deadline:
                    raise

    async def read(self) -> Books:
        """The books with all that was acknowledged before. Raises NotLeader."""
        await self._log.read(self._timeout)
        return self._books

    @property
    def applied(self) -> int:
        """Index of the last log entry in this node's books."""
        return self._log.applied_index
