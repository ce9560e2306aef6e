"""RaftConsensus: what users and operators do with a node of the cluster."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orbit_lite.errors import ConfigurationError, Executed, InternalError, OrbitError, ParseError, quote
from orbit_lite.model import LiteCommand, LiteKind, NodeId
from orbit_lite.raft.driver import Driver, unix_ms
from orbit_lite.raft.errors import ChangeRefused, NotLeader, ProposalLost, TransferFailed
from orbit_lite.raft.leader import leadership_of
from orbit_lite.raft.messages import Member, Role, SnapshotMeta
from orbit_lite.raft.ports import LogStore

__all__ = ["RaftConsensus"]

T = TypeVar("T")

#: Seconds between two tries of a proposal or read that found no leader, while nothing else happens.
_PAUSE = 0.05
#: A client's name stands in each of its entries, and in every snapshot.
_CLIENT_BYTES = 1024


class RaftConsensus(Driver):
    """One node of a replicated log: `start` it with a transport, `propose` to it, `read` through it.

    The constructor is the driver's.
    """

    # ------------------------------------------------------------ observers

    def on_leader_elected(self, callback: Callable[[NodeId], Awaitable[None] | None]) -> None:
        """Call back with each leader that this node comes to know, itself included."""
        self._observers.on_leader_elected.append(callback)

    def on_leader_lost(self, callback: Callable[[NodeId], Awaitable[None] | None]) -> None:
        """Call back with the leader that this node has lost sight of, or ceased to be."""
        self._observers.on_leader_lost.append(callback)

    def on_term_changed(self, callback: Callable[[int], Awaitable[None] | None]) -> None:
        """Call back with each new term."""
        self._observers.on_term_changed.append(callback)

    def on_failed(self, callback: Callable[[OrbitError], Awaitable[None] | None]) -> None:
        """Call back with the reason when this node falls silent because its store or state machine has failed."""
        self._observers.on_failed.append(callback)

    # ------------------------------------------------------------ proposals and reads

    async def propose(
        self,
        data: bytes,
        *,
        client: str = "",
        seq: int = 0,
        timeout: float | None = 30.0,
        kind: LiteKind = LiteKind.DATA,
    ) -> bytes:
        """Replicate a command; the result of `StateMachine.apply`, once it is committed and applied on this node.

        On a follower the leader is asked. client, seq: a session, in which the same seq is applied once; with it the
        proposal is made again until it is decided, without it only while it surely was not made. timeout: seconds.
        Raises ProposalLost (it may have been applied), NotLeader when there was no leader in time, ProposalDropped,
        SessionForgotten, StoreFailed, ParseError for a command that is too large.
        """
        if client and seq < 1:
            raise ConfigurationError(f"seq={seq}: a session's proposals count from 1")
        if not self._application.applier.handles(kind):
            # In the log it would stop every node that has no machine for it, now and at each start.
            raise ConfigurationError(f"{self.node_id} has no state machine for commands of kind {kind.value}")
        self._check_size(data, client)
        command = LiteCommand(kind, client, seq, data)
        deadline = self._deadline(timeout)
        is_unsure = False
        while True:
            try:
                return await self._propose_once(command, deadline)
            except OrbitError as error:
                is_refused = error.executed is Executed.NO
                is_unsure = is_unsure or not is_refused
                again = error.retryable and (is_refused or (client and isinstance(error, ProposalLost)))
                if not again or not self.is_running or not await self._pause(deadline):
                    self.metrics.proposals_failed += 1
                    if is_unsure and is_refused:
                        raise ProposalLost(f"an earlier attempt may have been made; the last one: {error}") from error
                    raise

    def _check_size(self, data: bytes, client: str) -> None:
        """Here, because what the leader refuses would fail all that travels to it in the same request."""
        limit = self.config.max_entry_bytes
        if len(data) > limit:
            raise ParseError(f"command of {len(data)} bytes: at most max_entry_bytes={limit}")
        try:
            size = len(client.encode())
        except UnicodeEncodeError as error:
            raise ParseError(f"client {quote(client)!r}: surrogates have no UTF-8 form") from error
        if size > _CLIENT_BYTES:
            raise ParseError(f"client {quote(client)!r}: {size} bytes, at most {_CLIENT_BYTES}")

    async def _propose_once(self, command: LiteCommand, deadline: float) -> bytes:
        self._check_running()
        core = self.core
        if core.role is Role.LEADER:
            term, index = core.propose([command], self._now(), timestamp_ms=unix_ms())
            self._wake()
        else:
            term, index = await self._forward(command, deadline)
        return await self._decided(term, index, deadline)

    async def _forward(self, command: LiteCommand, deadline: float) -> tuple[int, int]:
        leader, exchange = self.core.leader, self._exchange
        if leader is None or exchange is None or not exchange.is_lite:
            raise NotLeader(f"{self.node_id} does not lead, and knows of no leader that it could ask", leader=leader)
        try:
            async with asyncio.timeout_at(deadline):
                return await exchange.forward(leader, command)
        except TimeoutError as error:
            raise ProposalLost(f"{leader} did not say in time whether it took the proposal") from error
        except OrbitError as error:
            if error.executed is Executed.MAYBE:
                raise ProposalLost(f"{leader} did not say whether it took the proposal: {error}") from error
            raise

    async def _decided(self, term: int, index: int, deadline: float) -> bytes:
        """The result of the entry at index, if it is that of `term`."""
        result = self._proposals.wait(term, index, applied=self.applied_index)
        try:
            async with asyncio.timeout_at(deadline):
                return await result
        except TimeoutError as error:
            if isinstance(error, OrbitError):
                raise
            raise ProposalLost(f"entry {index} of term {term} was not committed in time", retryable=False) from error
        finally:
            if result.cancelled():
                self._proposals.forget(index, result)

    async def read(self, timeout: float | None = 30.0) -> None:
        """Return once this node has applied all that was committed anywhere when `read` was called (thesis 6.4).

        What is then read from the state machine is linearizable. Raises NotLeader when no leader answers in time.
        """
        deadline = self._deadline(timeout)
        while True:
            try:
                index = await self._read_index(deadline)
                break
            except OrbitError:
                if not self.is_running or not await self._pause(deadline):
                    raise
        if index > self.applied_index:
            await self._in_time(self._application.until(index), deadline, f"entry {index} was not applied in time")

    async def _read_index(self, deadline: float) -> int:
        self._check_running()
        core, exchange = self.core, self._exchange
        asked: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        try:
            if core.role is Role.LEADER:
                core.read(asked, self._now())
                self._wake()
            elif core.leader is None or exchange is None or not exchange.is_lite:
                raise NotLeader(f"{self.node_id} knows of no leader that it could ask", leader=core.leader)
            else:
                exchange.read_index(core.leader, core.term, asked)
            index = await self._in_time(asked, deadline, "it was not confirmed in time who leads")
        finally:
            asked.cancel()  # where nobody waits for it
        if index is None:
            raise NotLeader("the leadership changed while it was to be confirmed", leader=core.leader)
        return index

    async def _in_time(self, work: Awaitable[T], deadline: float, otherwise: str) -> T:
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError as error:
            if isinstance(error, OrbitError):
                raise
            raise NotLeader(otherwise, leader=self.get_leader()) from error

    async def _pause(self, deadline: float) -> bool:
        """Wait before the next try; False, at once, when there is no time for one."""
        if deadline - self._now() <= _PAUSE:
            return False
        await self._wait_for_change(_PAUSE)
        return True

    def _deadline(self, timeout: float | None) -> float:
        return float("inf") if timeout is None else asyncio.get_running_loop().time() + timeout

    # ------------------------------------------------------------ for operators

    async def transfer_leadership(self, target: NodeId | None = None, *, timeout: float = 10.0) -> NodeId:
        """Hand the leadership to a voter, by default to the one that is furthest; the new leader (thesis 3.10).

        Raises NotLeader, TransferFailed.
        """
        self._check_running()
        core = self.core
        if target is None:
            candidates = [follower for follower in core.status().followers if follower.is_voter]
            if core.role is Role.LEADER and not candidates:
                raise TransferFailed(f"{self.node_id} is the only voter")
            target = max(candidates, key=lambda follower: follower.match_index).node_id if candidates else self.node_id
        core.transfer(target, self._now())
        self._wake()
        deadline = self._deadline(min(timeout, 2 * self.config.election_timeout_max + 1.0))
        while self.is_running and self._now() < deadline:
            if core.leader == target:
                return target
            if core.role is Role.LEADER and core.status().transfer is None:
                break
            await self._wait_for_change(_PAUSE)
        raise TransferFailed(f"the leadership did not go to {target}; {core.leader or 'nobody'} leads")

    async def add_node(
        self, node_id: NodeId, address: str = "", *, learner: bool = False, timeout: float = 60.0
    ) -> None:
        """Add a node, on the leader: as a learner first and, once it has caught up, as a voter (thesis 4.2.1).

        address: where it is, told to all members. learner: leave it a learner. Again goes on with a learner that did
        not catch up in time. Raises NotLeader, ChangeRefused.
        """
        deadline = self._deadline(timeout)
        newcomer = Member(node_id, address, voter=False)
        present = self._member(node_id)
        if present is not None and present.voter:
            # As a learner again it would not count until it has caught up: a cluster in need may not have that long.
            raise ChangeRefused(f"{node_id} is a voter already")
        if learner or present != newcomer:
            await self._change(newcomer, node_id, deadline)
        if not learner:
            await self.promote(node_id, timeout=max(0.0, deadline - self._now()))

    async def promote(self, node_id: NodeId, *, timeout: float = 60.0) -> None:
        """Make a learner a voter, as soon as it has caught up. Raises NotLeader, ChangeRefused."""
        deadline = self._deadline(timeout)
        while True:
            member = self._member(node_id)
            if member is None:
                raise ChangeRefused(f"{node_id} is no member of the cluster")
            if member.voter:
                raise ChangeRefused(f"{node_id} is a voter already")
            try:
                await self._change(dataclasses.replace(member, voter=True), node_id, deadline)
                return
            except ChangeRefused:
                if not await self._pause(deadline):
                    raise

    async def remove_node(self, node_id: NodeId, *, timeout: float = 60.0) -> None:
        """Remove a member, on the leader; it may be the leader itself. Raises NotLeader, ChangeRefused."""
        await self._change(None, node_id, self._deadline(timeout))

    def _member(self, node_id: NodeId) -> Member | None:
        """What the leader's latest configuration says of the node; others may not have that one. Raises NotLeader."""
        self._check_running()
        leadership_of(self.core)
        return self.core.configuration.member(node_id)

    async def _change(self, member: Member | None, node_id: NodeId, deadline: float) -> None:
        self._check_running()
        term, index = self.core.change(member, node_id, self._now(), timestamp_ms=unix_ms())
        self._wake()
        await self._decided(term, index, deadline)

    async def with_store(self, work: Callable[[LogStore], T]) -> T:
        """Run `work` in the thread that uses the store, whose writes wait meanwhile: for copies of what is in it."""
        self._check_running()
        return await self._in_thread(lambda: work(self.store))

    async def take_snapshot(self) -> SnapshotMeta | None:
        """Write the state machine's state down and forget the log before it; None when there is nothing new."""
        self._check_running()
        try:
            self._application.begin_snapshot(self.core)
        except InternalError as error:
            self._fail(error)
            raise
        if (writing := self._application.writing) is not None:
            await asyncio.wait([writing])  # whoever gives up here does not end the writing
        self._check_running()
        return self.core.snapshot
