"""Requests to peers and answers to theirs: what the core says in duties, carried by the transport in tasks.

Each request is a task of its own, so a slow or dead peer delays no other. Requests to one peer that have no answer yet
are bounded; beyond that they count as failed, as the core may lose any of them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from orbit_lite.errors import InternalError, NetworkError, OrbitError, OverloadedError
from orbit_lite.model import AppendEntriesRequest, LiteCommand, NodeId, VoteRequest
from orbit_lite.raft.log import wire_bytes
from orbit_lite.raft.messages import (
    Answer,
    InstallSnapshotRequest,
    Outgoing,
    PreVoteRequest,
    ReadIndexRequest,
    ReadIndexResponse,
    Response,
    TimeoutNowRequest,
)
from orbit_lite.raft.metrics import RaftMetrics
from orbit_lite.raft.ports import LiteRaftTransport, LogStore, RaftTransport

__all__ = ["Exchange"]

_log = logging.getLogger("orbit_lite.raft")

T = TypeVar("T")

#: Requests to one peer without an answer.
_MOST_OPEN = 128
#: Proposals that travel to the leader together, at most.
_BATCH = 256
#: … and what they take on the wire, where a message has at most 4 MiB. One alone is bounded by max_entry_bytes.
_BATCH_BYTES = 3 * 1024 * 1024


class Exchange:
    """All that goes between this node and its peers."""

    def __init__(
        self,
        transport: RaftTransport,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        store: LogStore,
        *,
        node_id: NodeId,
        chunk_bytes: int,
        metrics: RaftMetrics,
    ) -> None:
        self._node_id = node_id
        self._metrics = metrics
        self._transport = transport
        self._lite = transport if isinstance(transport, LiteRaftTransport) else None
        self._in_thread = in_thread
        self._store = store
        self._chunk_bytes = chunk_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[NodeId, int] = {}
        self._expected: set[asyncio.Future[Response]] = set()
        self._forwards: dict[NodeId, list[tuple[LiteCommand, asyncio.Future[tuple[int, int]]]]] = {}
        self._reads: dict[NodeId, list[asyncio.Future[int | None]]] = {}

    @property
    def is_lite(self) -> bool:
        """Whether the transport carries more than Raft's own two RPCs."""
        return self._lite is not None

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ requests of the core

    def send(self, sent: Outgoing, answered: Callable[[Outgoing, Response | OrbitError], None]) -> None:
        """Carry a request to its peer; `answered` is called with the response or the error, later."""
        open_now = self._open.get(sent.to, 0)
        if open_now >= _MOST_OPEN:
            error = OverloadedError(f"{open_now} requests to {sent.to} are unanswered", peer=str(sent.to))
            asyncio.get_running_loop().call_soon(answered, sent, error)
            return
        self._open[sent.to] = open_now + 1
        self._spawn(self._carry(sent, answered))

    async def _carry(self, sent: Outgoing, answered: Callable[[Outgoing, Response | OrbitError], None]) -> None:
        outcome: Response | OrbitError
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            outcome = await self.ask(sent)
            self._metrics.round_trip(sent.to, loop.time() - began)
        except OrbitError as error:
            self._metrics.heartbeat_send_failures += isinstance(sent.request, AppendEntriesRequest)
            outcome = error
        except (LookupError, OSError) as error:  # the snapshot was replaced; a plain transport's own error
            outcome = NetworkError(f"request to {sent.to} failed: {error}", peer=str(sent.to))
        except Exception as error:  # noqa: BLE001  (a transport's defect: said aloud, and the peer was not reached)
            _log.exception("a request to %s failed", sent.to)
            outcome = InternalError(f"request to {sent.to} failed: {error!r}", peer=str(sent.to))
        finally:
            self._open[sent.to] -= 1
        answered(sent, outcome)

    async def ask(self, sent: Outgoing) -> Response:
        """The peer's response. Raises what the transport raises; LookupError for a chunk of a replaced snapshot."""
        request, to = sent.request, sent.to
        if isinstance(request, AppendEntriesRequest):
            return await self._transport.send_append_entries(to, request)
        if isinstance(request, VoteRequest) and not (sent.transfer and self._lite is not None):
            return await self._transport.send_vote_request(to, request)
        lite = self._lite
        if lite is None:
            raise InternalError(f"{type(request).__name__} needs a transport for it", peer=str(to))
        match request:
            case VoteRequest():
                return await lite.send_transfer_vote(to, request)
            case PreVoteRequest():
                return await lite.send_pre_vote(to, request)
            case InstallSnapshotRequest(meta=meta, offset=offset):
                data: bytes = await self._in_thread(lambda: self._store.read_snapshot(meta, offset, self._chunk_bytes))
                return await lite.send_install_snapshot(to, dataclasses.replace(request, data=data))
            case TimeoutNowRequest():
                return await lite.send_timeout_now(to, request)
            case ReadIndexRequest():
                return await lite.send_read_index(to, request)

    # ------------------------------------------------------------ requests of peers

    def expect(self) -> asyncio.Future[Response]:
        """A token for the core, to be awaited."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._expected.add(answer)
        answer.add_done_callback(self._expected.discard)
        return answer

    @staticmethod
    def answer(answer: Answer) -> None:
        """The core's answer; nobody waits for it if the peer went away."""
        token: Any = answer.token
        if not token.done():
            token.set_result(answer.response)

    def give_up(self, error: OrbitError) -> None:
        """Peers get this instead of answers, and so does who waits for a request that has not left yet."""
        unsent = [position for waiting in self._forwards.values() for _, position in waiting]
        reads = [asked for waiting in self._reads.values() for asked in waiting]
        self._forwards.clear()
        self._reads.clear()
        unanswered: list[asyncio.Future[Any]] = [*self._expected, *unsent, *reads]
        for future in unanswered:
            if not future.done():
                future.set_exception(error)

    # ------------------------------------------------------------ proposals for the leader

    async def forward(self, leader: NodeId, command: LiteCommand) -> tuple[int, int]:
        """Where the leader appended the command: (term, index). All of one turn of the loop travel together."""
        position: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        waiting = self._forwards.setdefault(leader, [])
        waiting.append((command, position))
        if len(waiting) == 1:
            asyncio.get_running_loop().call_soon(self._forward_all, leader)
        return await position

    def _forward_all(self, leader: NodeId) -> None:
        batch: list[tuple[LiteCommand, asyncio.Future[tuple[int, int]]]] = []
        size = 0
        for item in self._forwards.pop(leader, []):
            if item[1].done():
                continue
            item_size = wire_bytes(item[0])
            if batch and (len(batch) >= _BATCH or size + item_size > _BATCH_BYTES):
                self._spawn(self._forward_some(leader, batch))
                batch, size = [], 0
            batch.append(item)
            size += item_size
        if batch:
            self._spawn(self._forward_some(leader, batch))

    async def _forward_some(
        self, leader: NodeId, waiting: list[tuple[LiteCommand, asyncio.Future[tuple[int, int]]]]
    ) -> None:
        lite = self._lite
        try:
            if lite is None:
                raise InternalError("forwarding needs a transport for it")
            term, first = await lite.forward_proposal(leader, [command for command, _ in waiting])
        except BaseException as error:
            cause = error if isinstance(error, OrbitError) else NetworkError(f"forwarding to {leader} was given up")
            for _, position in waiting:
                if not position.done():
                    position.set_exception(cause)
            if isinstance(error, OrbitError):
                return
            raise
        for at, (_, position) in enumerate(waiting):
            if not position.done():
                position.set_result((term, first + at))

    # ------------------------------------------------------------ reads of followers

    def read_index(self, leader: NodeId, term: int, asked: asyncio.Future[int | None]) -> None:
        """Ask the leader how far a read must have applied; None: it leads no more. All of one turn share a request."""
        waiting = self._reads.setdefault(leader, [])
        waiting.append(asked)
        if len(waiting) == 1:
            asyncio.get_running_loop().call_soon(self._read_index, leader, term)

    def _read_index(self, leader: NodeId, term: int) -> None:
        waiting = self._reads.pop(leader, [])

        def answered(sent: Outgoing, response: Response | OrbitError) -> None:
            for asked in waiting:
                if asked.done():
                    continue
                if isinstance(response, OrbitError):
                    asked.set_exception(response)
                else:
                    asked.set_result(response.index if isinstance(response, ReadIndexResponse) else None)

        if waiting:
            self.send(Outgoing(leader, ReadIndexRequest(term, self._node_id)), answered)
