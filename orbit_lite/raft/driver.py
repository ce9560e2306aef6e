"""The core in an event loop, with a store, a transport and state machines.

All inputs reach the core from this loop. What it asks for is done once a turn, so that all proposals of a turn share a
write and an AppendEntries; for entries of a leader and answers of followers it is done at once, unless a turn is due.
Writes run one after the other in a thread of their own, see `StoreThread`, and while one runs the loop goes on: under
load many proposals share an fsync.

What becomes durable, what is sent and what is applied follows the order of `Ready`. Entries that a Ready hands out as
committed are durable already, so they need not wait for the write of the same Ready.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from orbit_lite.errors import ConfigurationError, InternalError, OrbitError, ParseError, Status
from orbit_lite.model import AppendEntriesRequest, LiteCommand, LiteKind, LogEntry, NodeId, RaftCommand
from orbit_lite.raft.application import Application
from orbit_lite.raft.applier import Applier
from orbit_lite.raft.config import RaftConfig
from orbit_lite.raft.core import RaftCore
from orbit_lite.raft.errors import (
    ClusterMismatch,
    NotLeader,
    ProposalLost,
    StoreFailed,
    WipedNode,
)
from orbit_lite.raft.exchange import Exchange
from orbit_lite.raft.membership import bootstrap_state
from orbit_lite.raft.messages import (
    Configuration,
    Member,
    Outgoing,
    Ready,
    Request,
    Response,
    Role,
)
from orbit_lite.raft.metrics import RaftMetrics, Sample
from orbit_lite.raft.observers import Observers
from orbit_lite.raft.peers import Peers
from orbit_lite.raft.ports import BoundTransport, LiteRaftTransport, LogStore, RaftTransport, StateMachine
from orbit_lite.raft.proposals import Proposals
from orbit_lite.raft.status import RaftStatus
from orbit_lite.raft.store_thread import StoreThread

__all__ = ["Driver", "unix_ms"]

_log = logging.getLogger("orbit_lite.raft")

T = TypeVar("T")

#: Seconds that `stop` waits for a write that does not end.
_STOP_GRACE = 5.0


class Driver:
    """One node of a replicated log.

    node_id: this node. cluster_nodes: the founders of the cluster, with their addresses where the transport should
    learn them; the same on each founder. A store that is not empty has the last word on who is in the cluster.
    store: SqliteLogStore, or MemoryLogStore for tests; it stays open, its owner closes it. state_machine: what is
    replicated. join: this node was not among the founders and waits to be added by `add_node` on the leader.
    """

    def __init__(
        self,
        node_id: NodeId,
        cluster_nodes: Sequence[NodeId] | Mapping[NodeId, str],
        config: RaftConfig | None = None,
        *,
        store: LogStore | None = None,
        state_machine: StateMachine | None = None,
        directory: StateMachine | None = None,
        cluster_id: str = "default",
        join: bool = False,
    ) -> None:
        """directory: the state machine of commands of kind DIRECTORY. Raises ConfigurationError."""
        if store is None:
            raise ConfigurationError(
                "store=None: say SqliteLogStore.open(path), or MemoryLogStore() to lose everything with the process"
            )
        self.node_id = node_id
        self.cluster_id = cluster_id
        self.config = config or RaftConfig()
        self.store = store
        #: Why the node takes no part any more; None while it does.
        self.failure: OrbitError | None = None
        addresses = cluster_nodes if isinstance(cluster_nodes, Mapping) else dict.fromkeys(cluster_nodes, "")
        self._founders = {node_id: "", **addresses}
        self._is_joining = join
        machines = {LiteKind.DATA: state_machine, LiteKind.DIRECTORY: directory}
        self._observers = Observers()
        self._proposals = Proposals()
        self._asked: set[asyncio.Future[int | None]] = set()  # reads whose index the core has not told yet
        self._core: RaftCore | None = None
        self._exchange: Exchange | None = None
        self._peers: Peers | None = None
        self._thread: StoreThread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Handle | None = None
        self._is_in_turn = False
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._known: tuple[Role, NodeId | None, int] = (Role.FOLLOWER, None, 0)
        self._changed: asyncio.Future[None] | None = None
        self._is_stopped = False
        self._stopping: asyncio.Task[None] | None = None
        #: Counted since the start: writes of the store and the seconds that they took, entries that were written.
        self.writes = self.entries_written = 0
        self.write_seconds = 0.0
        self.metrics = RaftMetrics()
        self._application = Application(
            Applier(
                {kind: machine for kind, machine in machines.items() if machine is not None},
                max_sessions=self.config.max_sessions,
            ),
            store,
            self._proposals,
            config=self.config,
            metrics=self.metrics,
            applied=self._applied,
            in_thread=self._in_thread,
            spawn=self._spawn,
            wake=self._wake,
        )

    # ------------------------------------------------------------ life

    async def start(self, transport: RaftTransport) -> None:
        """Open the log and take part. Raises StoreCorrupt, ClusterMismatch; ConfigurationError for a second start."""
        if self._loop is not None:
            raise ConfigurationError(f"consensus of {self.node_id} starts once, make a new one")
        self._loop = asyncio.get_running_loop()
        self._thread = StoreThread(f"raft-{self.node_id.key}", self.store, partial(_tell, self._loop, self._fail))
        config = self.config
        if isinstance(transport, BoundTransport):
            transport.bind(self)
        if not isinstance(transport, LiteRaftTransport):
            config = dataclasses.replace(config, pre_vote=False)
        try:
            stored = await self._in_thread(self.store.load)
            if not stored.entries and stored.snapshot is None and stored.hard_state.term == 0 and not self._is_joining:
                members = tuple(Member(node_id) for node_id in self._founders)
                stored = bootstrap_state(Configuration(self.cluster_id, members))
                await self._in_thread(lambda: self.store.save(hard_state=stored.hard_state, entries=stored.entries))
            core = RaftCore(self.node_id, config, stored, now=self._loop.time(), random=random.random)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        theirs = core.configuration.cluster_id
        if core.configuration.members and theirs != self.cluster_id:
            self._thread.shutdown(wait=False)
            raise ClusterMismatch(f"the store is of cluster {theirs!r}, this node of {self.cluster_id!r}")
        if self._is_stopped:
            raise NotLeader(f"{self.node_id} was stopped while it started")
        self._core = core
        self._peers = Peers(self.node_id, transport, self.store, in_thread=self._in_thread, spawn=self._spawn)
        self._exchange = Exchange(
            transport,
            self._in_thread,
            self.store,
            node_id=self.node_id,
            chunk_bytes=config.snapshot_chunk_bytes,
            metrics=self.metrics,
        )
        self._observers.start()
        for node_id, address in self._founders.items():
            await self._peers.locate(node_id, address)
        self._wake()

    async def stop(self) -> None:
        """Take no part any more, and return when nothing is left. Again has no effect.

        Whoever waits for something gets ProposalLost or NotLeader. A caller that gives up does not hold up the end.
        """
        self._is_stopped = True
        if self._loop is None:
            return
        if self._stopping is None:
            self._quiet()
            self._give_up(None)
            self._stopping = self._loop.create_task(self._end(), name=f"stop raft of {self.node_id}")
        await asyncio.shield(self._stopping)

    async def _end(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await self._observers.close()
        if self._thread is not None:
            ending = asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
            done, _ = await asyncio.wait([ending], timeout=_STOP_GRACE)
            if not done:
                _log.error("node %s: the store's last write does not end", self.node_id)

    def _quiet(self) -> None:
        self._application.end()
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._turn = self._timer = None

    def _fail(self, error: BaseException) -> None:
        """Something happened after which this node must neither vote nor acknowledge: it falls silent, visibly."""
        if self.failure is not None or self._is_stopped:
            return
        if isinstance(error, OrbitError):
            failure = error
        else:
            kind = StoreFailed if isinstance(error, OSError) else InternalError
            failure = kind(f"{self.node_id} has failed: {error!r}")
        self.failure = failure
        _log.error("node %s takes no part in consensus any more: %s", self.node_id, failure, exc_info=error)
        self._quiet()
        self._give_up(failure)
        if self._core is not None:
            self._observe()
        self._observers.failed(failure)

    def _give_up(self, failure: OrbitError | None) -> None:
        """Tell everybody who waits."""
        self._proposals.fail_all(failure or ProposalLost(f"{self.node_id} stops"))
        error = failure or NotLeader(f"{self.node_id} stops")
        for asked in self._asked:
            if not asked.done():
                asked.set_exception(error)
        self._application.give_up(error)
        if self._exchange is not None:
            self._exchange.give_up(error)
        self._signal()

    def __repr__(self) -> str:
        if self._core is None:
            return f"<{type(self).__name__} {self.node_id} not started>"
        core = self._core
        state = "failed" if self.failure else "stopped" if self._is_stopped else core.role.value
        return f"<{type(self).__name__} {self.node_id} {state}, term {core.term}, commit {core.commit}>"

    # ------------------------------------------------------------ state

    @property
    def core(self) -> RaftCore:
        """The state machine inside, to look at. Raises ConfigurationError before `start`."""
        if self._core is None:
            raise ConfigurationError(f"consensus of {self.node_id} was not started")
        return self._core

    @property
    def is_running(self) -> bool:
        """Whether the node takes part."""
        return self._core is not None and not self._is_stopped and self.failure is None

    @property
    def applied_index(self) -> int:
        """Index of the last entry that the state machine has seen."""
        return self._application.applier.index

    @property
    def pending_proposals(self) -> int:
        """Proposals made here that are not decided."""
        return len(self._proposals)

    def is_leader(self) -> bool:
        return self.is_running and self.core.role is Role.LEADER

    def get_leader(self) -> NodeId | None:
        """Whom this node takes for the leader; every node knows, as a rule."""
        return self.core.leader if self.is_running else None

    def get_current_term(self) -> int:
        return self.core.term

    def get_cluster_nodes(self) -> list[NodeId]:
        """Voters and learners of the latest configuration in the log."""
        return [member.node_id for member in self.core.configuration.members]

    def status(self) -> RaftStatus:
        """All that an operator wants to know."""
        return self.core.status()

    def samples(self) -> list[Sample]:
        """What this node has counted, see `RaftMetrics`; nothing before `start`."""
        if self._core is None:
            return []
        applied, pending = self.applied_index, self.pending_proposals
        samples = self.metrics.samples(self.status(), is_running=self.is_running, applied=applied, pending=pending)
        return list(samples)

    # ------------------------------------------------------------ what changes

    def _observe(self) -> None:
        """Tell the observers, and those who wait for a leader, what has changed."""
        core = self.core
        now = (core.role, core.leader if self.failure is None else None, core.term)
        before, self._known = self._known, now
        if now == before:
            return
        _, old_leader, old_term = before
        _, leader, term = now
        if term != old_term:
            self._observers.term_changed(term)
        if leader != old_leader or (leader is not None and term != old_term):
            if old_leader is not None and old_leader != leader:
                self._observers.leader_lost(old_leader)
            if leader is not None:
                self.metrics.leader_changes_seen += 1
                self._observers.leader_elected(leader)
                _log.info("node %s: %s leads in term %d", self.node_id, leader, term)
        self._signal()

    def _signal(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    async def _wait_for_change(self, limit: float) -> None:
        """Until the role, the leader or the term changes, or for `limit` seconds."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._changed], timeout=limit)

    # ------------------------------------------------------------ peers

    async def handle(self, request: Request, *, transfer: bool = False) -> Response:
        """Answer a peer's request, once all that the answer promises is durable. transfer: see `Outgoing`.

        Raises StoreFailed and the like when this node takes no part any more.
        """
        self._check_running()
        exchange = self._exchange
        if exchange is None:
            raise ConfigurationError(f"consensus of {self.node_id} was not started")
        answer = exchange.expect()
        self.core.receive(request, token=answer, now=self._now(), transfer=transfer)
        if isinstance(request, AppendEntriesRequest):
            self._turn_now()
        else:  # snapshots above all: one that is to be restored is read before the next one takes its place
            self._wake()
        return await answer

    async def propose_forwarded(self, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        """Append commands for a follower; (term, index of the first).

        Raises NotLeader, ProposalDropped, and ParseError for what is not for followers to propose: a configuration
        that came like this would go past all rules about changing it.
        """
        if self.failure is not None:
            raise NotLeader(f"{self.node_id} takes no part any more: {self.failure}")
        for command in commands:
            if type(command) is not LiteCommand or not self._application.applier.handles(command.kind):
                raise ParseError(f"{self.node_id} takes no {type(command).__name__} like this from another node")
        self._check_running()
        position = self.core.propose(commands, self._now(), timestamp_ms=unix_ms())
        self._wake()
        return position

    async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
        """Note durably under which store id a peer was seen first; until it is removed, no other one counts.

        Of two that come at once the first stays: `store.peers` says which one it was.
        """
        self._check_running()
        peers = self._peers
        if peers is None:
            raise ConfigurationError(f"consensus of {self.node_id} was not started")
        try:
            await peers.remember(node_id, store_id)
        except OrbitError as error:
            self._fail(error)
            raise

    def _check_running(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._is_stopped or self._core is None:
            raise NotLeader(f"{self.node_id} {'has stopped' if self._is_stopped else 'was not started'}")

    # ------------------------------------------------------------ the loop's turn

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._loop is None else self._loop.time()

    def _wake(self) -> None:
        if self._turn is None and self._loop is not None and self.is_running:
            self._turn = self._loop.call_soon(self._take_turn)

    def _turn_now(self) -> None:
        """Take a turn here, unless one is due: for what mostly comes alone, and somebody waits for what follows."""
        if self._is_in_turn:  # a request failed before it left: what a Ready asks for is not interrupted
            self._wake()
        elif self._turn is None and self.is_running:
            self._take_turn()

    def _take_turn(self) -> None:
        """Do what the core asks for."""
        self._turn = None
        self._is_in_turn = True
        core = self.core
        try:
            while core.has_ready() and self.is_running:
                if self._do(core.ready()):
                    self._wake()  # others first
                    break
        except Exception as error:  # noqa: BLE001  # a defect, or a state machine that failed: this node must not go on
            self._fail(error)
            return
        finally:
            self._is_in_turn = False
        self._observe()
        if self._peers is not None:
            self._peers.follow(core.configuration)
        self._arm()

    def _do(self, ready: Ready) -> bool:
        """The duties of a Ready, from top to bottom; True when that took so long that others should have a turn."""
        for sent in ready.at_once:
            self._send(sent)
        if ready.install is not None:
            self._application.replacing(ready.install)
        if ready.must_persist:
            self._write(ready)
        else:
            self.core.persisted(ready, self._now())
            self._say(ready)
        return self._application.take(ready, self.core)

    def _say(self, ready: Ready) -> None:
        for sent in ready.requests:
            self._send(sent)
        if self._exchange is not None:
            for answer in ready.answers:
                self._exchange.answer(answer)

    def _write(self, ready: Ready) -> None:
        """Have it made durable; `_written` follows."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return

        def save() -> Callable[[], None]:
            began = time.perf_counter()
            is_intact = self.store.save(
                hard_state=ready.hard_state, entries=ready.entries, chunk=ready.chunk, install=ready.install
            )
            return partial(self._written, ready, is_intact, time.perf_counter() - began)

        thread.begin(loop, save)

    def _written(self, ready: Ready, is_intact: bool, seconds: float) -> None:
        """What was to be written is durable."""
        self.writes += 1
        self.entries_written += len(ready.entries)
        self.write_seconds += seconds
        self.metrics.wal_fsync.record(seconds)
        if ready.install is not None and not is_intact:
            self._application.kept()
        if not self.is_running:
            return
        try:
            self.core.persisted(ready, self._now(), snapshot_intact=is_intact)
            self._say(ready)
        except Exception as error:  # noqa: BLE001  # a defect in the core
            self._fail(error)
            return
        if ready.answers:
            self._wake()  # after those who wait for an answer
        elif self._turn is None:
            self._take_turn()

    def _applied(self, entry: LogEntry) -> None:
        if type(entry.command) is LiteCommand and entry.command.kind is LiteKind.CONFIG:
            # It may be replayed: who joined later is no stranger.
            configurations = self.core.configuration_at(entry.index), self.core.configuration
            if self._peers is not None:
                self._spawn(self._peers.forget_strangers(*configurations))

    def _arm(self) -> None:
        """See to it that the core's next deadline is kept."""
        loop, due = self._loop, self.core.next_deadline
        if loop is None or not self.is_running:
            return
        timer = self._timer
        if timer is not None and timer.when() > due:
            timer.cancel()
            timer = None
        if timer is None:
            # One that comes too early just looks again: cheaper than a new one for each heartbeat that arrives.
            self._timer = loop.call_at(due, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self.is_running:
            self.core.handle_timer(self._now())
            self._wake()
            self._arm()

    def _send(self, sent: Outgoing) -> None:
        if self._exchange is not None:
            self._exchange.send(sent, self._answered)

    def _answered(self, sent: Outgoing, response: Response | OrbitError) -> None:
        """A peer's answer, or why there is none."""
        if not self.is_running:
            return
        if isinstance(response, WipedNode) and response.is_us:
            self._fail(response)
            return
        try:
            if isinstance(response, OrbitError):
                unimplemented = response.code is Status.UNIMPLEMENTED
                self.core.unreachable(sent, self._now(), unimplemented=unimplemented)
            else:
                self.core.receive_response(sent, response, self._now())
        except Exception as error:  # noqa: BLE001  # a defect in the core
            self._fail(error)
            return
        self._turn_now()

    # ------------------------------------------------------------ tasks and threads

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._loop is None or self._thread is None:
            raise ConfigurationError(f"consensus of {self.node_id} was not started")
        if self._is_stopped:  # the thread takes no more work
            raise NotLeader(f"{self.node_id} has stopped")
        return await self._loop.run_in_executor(self._thread, work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something of our own; if it fails, this node has failed."""
        if self._loop is None:
            raise ConfigurationError(f"consensus of {self.node_id} was not started")
        job = self._loop.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._done)
        return job

    def _done(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self._fail(error)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[BaseException], object], error: BaseException) -> None:
    loop.call_soon_threadsafe(callback, error)


def unix_ms() -> int:
    """The wall clock's time, for people who read the log."""
    return time.time_ns() // 1_000_000
