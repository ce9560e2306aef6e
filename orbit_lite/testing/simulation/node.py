"""A node in virtual time: the driver of a `RaftCore`, with a disk that takes time and a process that can die anywhere.

It does what the asyncio driver does, in the same order: `Ready` → disk → persisted → requests and answers → state
machine → reads. While the disk writes, other inputs go on. Whatever reaches the node (message, timer, finished write,
client) ends in `pump`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.raft import (
    Configuration,
    InstallSnapshotRequest,
    Member,
    NotLeader,
    Outgoing,
    ProposalDropped,
    RaftConfig,
    RaftCore,
    ReadIndexRequest,
    ReadIndexResponse,
    Ready,
    Response,
    Role,
    SnapshotMeta,
    StateMachine,
    StoreFailed,
    decode_configuration,
)
from orbit_lite.testing.simulation.client import LATENCY, Attempt
from orbit_lite.testing.simulation.disk import SimulatedDisk, Write, checksum
from orbit_lite.testing.simulation.invariants import Invariants
from orbit_lite.testing.simulation.machine import Replica, Workload
from orbit_lite.testing.simulation.network import Network, Rpc
from orbit_lite.testing.simulation.world import Violation, World

__all__ = ["TRAPS", "SimulatedNode"]

TIMER, WRITTEN, SERVED = 5, 6, 7  # kinds of steps

#: Where a process can be made to die: reached so many times from now on.
TRAPS = ("before a write", "during a write", "after a write", "between sends", "before applying", "after applying")


class SimulatedNode:
    """One process and its disk. number: its place among the nodes; what the digest and links know it by."""

    def __init__(
        self,
        node_id: NodeId,
        number: int,
        disk: SimulatedDisk,
        *,
        world: World,
        network: Network,
        nodes: Mapping[NodeId, SimulatedNode],
        invariants: Invariants,
        config: RaftConfig,
        state_machine: Callable[[], StateMachine],
        workload: Workload[Any],
        died: Callable[[SimulatedNode], None],
    ) -> None:
        self.died = died
        self.node_id = node_id
        self.number = number
        self.disk = disk
        self.former_disks: list[SimulatedDisk] = []
        self.world = world
        self.network = network
        self.nodes = nodes
        self.invariants = invariants
        self.config = config
        self.state_machine = state_machine
        self.workload = workload
        self.is_up = False
        self.is_paused = False
        self.incarnation = 0
        self.backlog: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.trap: tuple[str, int] | None = None
        self.damage = 0.0  # share of snapshot chunks that are damaged on the way
        self.minimum_write, self.maximum_write = 0.0005, 0.008  # seconds
        self._random: Random = world.stream(f"node {node_id.key}")
        self._clock = self._random.random() * 1000.0  # local seconds at _clock_at
        self._clock_at = 0.0
        self.clock_rate = 1.0
        self.core: RaftCore = None  # type: ignore[assignment]  # set by start()
        self._forget()

    def _forget(self) -> None:
        """What a process loses when it dies."""
        self.replica = Replica(self.state_machine)
        self.applied = 0
        self.applied_term = 0
        self.configuration: Configuration | None = None  # as of the last applied entry
        self.proposals: dict[int, tuple[int, Attempt]] = {}
        self.reads: list[tuple[int, Attempt]] = []
        self.saving: Ready | None = None
        self._jobs: deque[tuple[Ready | None, Write]] = deque()
        self._held: list[LogEntry] = []
        self._timer_at = float("inf")
        self._snapshot_index = 0
        self._is_snapshotting = False
        self.backlog.clear()
        self.trap = None

    # ---------------------------------------------------------------- the process

    def start(self) -> None:
        """Start the process on what its disk holds."""
        self._forget()
        self.is_up = True
        stored = self.disk.load()
        self.core = RaftCore(self.node_id, self.config, stored, now=self.clock(), random=self._random.random)
        self.invariants.started(self, stored)
        if self.world.trace is not None:
            self.world.note(self.node_id.key, f"starts: {self._shown()} log …{self.core.last_index}")
        self.pump()

    def kill(self, why: str = "killed") -> None:
        """End the process at once; what was being written is lost, kept, or kept in part."""
        if not self.is_up:
            return
        fate = self.disk.crash(self._random)
        if fate:
            self.world.coverage[f"write {fate}"] += 1
        if self.core.snapshot is not None and self.disk.incoming is not None:
            self.world.coverage["snapshot installation interrupted"] += 1
        if self.world.trace is not None:
            self.world.note(self.node_id.key, why + (f"; the write on the way was {fate}" if fate else ""))
        self.is_up = self.is_paused = False
        self.incarnation += 1
        for _, attempt in [*self.proposals.values(), *self.reads]:
            self._refuse(attempt, None, may_have_run=True)  # connection reset
        self.proposals.clear()
        self.reads.clear()
        self.backlog.clear()
        self.died(self)

    def pause(self) -> None:
        """Stop the process where it stands (SIGSTOP): the world and its clock go on."""
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        backlog, self.backlog[:] = list(self.backlog), []
        for call, arguments in backlog:
            if self.is_up:
                call(*arguments)
        if self.is_up:
            self._timer(self.incarnation)

    def clock(self) -> float:
        """The node's monotonic clock."""
        return self._clock + (self.world.now - self._clock_at) * self.clock_rate

    def set_clock(self, *, rate: float | None = None, jump: float = 0.0) -> None:
        """Change how fast the clock runs, or let it jump ahead."""
        self._clock, self._clock_at = self.clock() + jump, self.world.now
        self.clock_rate = self.clock_rate if rate is None else rate
        self._timer_at = float("inf")
        if self.is_up:
            self._arm()

    def _trapped(self, point: str) -> bool:
        """Whether the process dies here."""
        if self.trap is None or self.trap[0] != point:
            return False
        if self.trap[1] > 0:
            self.trap = (point, self.trap[1] - 1)
            return False
        self.world.coverage[f"crash {point}"] += 1
        self.kill(f"dies {point}")
        return True

    # ---------------------------------------------------------------- peers

    def accepts(self, peer: SimulatedNode) -> bool:
        """Whether both have the store under which the other knows them; what else comes is dropped.

        The first contact with a member decides, and is remembered durably, as by a transport's handshake.
        """
        if self._knows(peer) and peer._knows(self):
            return True
        self.world.coverage["message of a wiped node refused"] += 1
        return False

    def _knows(self, peer: SimulatedNode) -> bool:
        known = self.disk.peers().get(peer.node_id)
        if known is not None:
            return known == peer.disk.store_id
        if self.is_up and self.core.configuration.member(peer.node_id) is not None:
            self.disk.remember_peer(peer.node_id, peer.disk.store_id)
        return True

    def receive(self, rpc: Rpc, carried: Outgoing) -> None:
        self.core.receive(carried.request, token=rpc, now=self.clock(), transfer=carried.transfer)
        self.pump()

    def receive_response(self, rpc: Rpc, response: Response) -> None:
        if isinstance(response, ReadIndexResponse):
            self._answer_follower_read(rpc, response.index)
        else:
            self.core.receive_response(rpc.sent, response, self.clock())
            self.pump()

    def unreachable(self, rpc: Rpc) -> None:
        if isinstance(rpc.sent.request, ReadIndexRequest):
            self._answer_follower_read(rpc, None)
        else:
            self.core.unreachable(rpc.sent, self.clock())
            self.pump()

    # ---------------------------------------------------------------- time

    def _arm(self) -> None:
        """See to it that `_timer` runs when the core wants it to."""
        due = self._clock_at + (self.core.next_deadline - self._clock) / self.clock_rate
        if due < self._timer_at:
            self._timer_at = due = max(due, self.world.now)
            self.world.at(due, self._timer, self.incarnation)

    def _timer(self, incarnation: int) -> None:
        if incarnation != self.incarnation or not self.is_up or self.is_paused:
            return
        self._timer_at = float("inf")
        now = self.clock()
        if now + 1e-9 >= self.core.next_deadline:
            self.world.step(TIMER, self.number)
            if self.world.trace is not None:
                self.world.note(self.node_id.key, f"time is up: {self._shown()}")
            self.core.handle_timer(max(now, self.core.next_deadline))
            self.pump()
        else:
            self._arm()

    # ---------------------------------------------------------------- duties

    def pump(self) -> None:
        """Do what the core asks for, until it asks for nothing more."""
        core = self.core
        self.invariants.observe(self)
        while core.has_ready():
            ready = core.ready()
            self.invariants.handed_out(self, ready)
            for sent in ready.at_once:
                self._send(sent)
            if ready.must_persist:
                if self.saving is not None:
                    raise Violation("one write at a time", f"{self.node_id.key}: two Readies to persist")
                self.saving = ready
                self._write(ready, Write(ready.hard_state, ready.entries, ready.chunk, ready.install))
            else:
                core.persisted(ready, self.clock())
                self._finish(ready, intact=True)
            if not self.is_up:
                return
            self.invariants.observe(self)
        self._arm()

    def _finish(self, ready: Ready, *, intact: bool) -> None:
        """What comes after the write: send, restore, apply, answer reads."""
        for sent in ready.requests:
            if self._trapped("between sends"):
                return
            self._send(sent)
        for answer in ready.answers:
            if self._trapped("between sends"):
                return
            rpc: Any = answer.token
            self.invariants.answers(self, rpc, answer.response)
            self.network.respond(rpc, answer.response)
        if ready.restore is not None and intact:
            self._restore(ready.restore)
        if ready.committed and not self._apply(ready.committed):
            return
        for state in ready.reads:
            attempt: Any = state.token
            self._answer_read(attempt, state.index)

    def _send(self, sent: Outgoing) -> None:
        self.invariants.sends(self, sent)
        target = self.nodes.get(sent.to)
        if target is None:
            raise Violation("known peers", f"{self.node_id.key}: a request to {sent.to}, which never was a member")
        carried = sent
        if isinstance(request := sent.request, InstallSnapshotRequest):
            try:
                data = self.disk.read_snapshot(request.meta, request.offset, self.config.snapshot_chunk_bytes)
            except LookupError:
                self.world.coverage["snapshot replaced while it was sent"] += 1
                self.world.after(0.0, self._gone, Rpc(self, target, sent, self.world.now))
                return
            if self._random.random() < self.damage:
                self.world.coverage["snapshot damaged on the way"] += 1
                data = data[:-1] + bytes([data[-1] ^ 1]) if data else data
            carried = replace(sent, request=replace(request, data=data))
        self.network.send(self, target, sent, carried)

    def _gone(self, rpc: Rpc) -> None:
        if self.incarnation == rpc.incarnation:
            if self.is_paused:
                self.backlog.append((self._gone, (rpc,)))
            else:
                self.unreachable(rpc)

    # ---------------------------------------------------------------- the disk

    def _write(self, ready: Ready | None, write: Write) -> None:
        """Queue a write: one runs at a time, in the order in which they were asked for."""
        self._jobs.append((ready, write))
        if len(self._jobs) == 1:
            self._begin()

    def _begin(self) -> None:
        _, write = self._jobs[0]
        if self._trapped("before a write"):
            return
        try:
            self.disk.begin(write)
        except StoreFailed as error:
            self.world.coverage["disk full"] += 1
            self.kill(f"stops: {error}")
            return
        if self._trapped("during a write"):
            return
        span = self.maximum_write - self.minimum_write
        if self.maximum_write > 0.1:
            self.world.coverage["slow write"] += 1
        self.world.after(self.minimum_write + self._random.random() * span, self._written, self.incarnation)

    def _written(self, incarnation: int) -> None:
        """The disk has it, whether the process is stopped or not; a dead process's writes were settled when it died."""
        if incarnation != self.incarnation:
            return
        _, write = self._jobs[0]
        try:
            intact = self.disk.finish(write)
        except StoreFailed as error:
            self.world.coverage["disk error"] += 1
            self.kill(f"stops: {error}")
            return
        self.world.step(WRITTEN, self.number, self.disk.last_index, self.disk.hard_state.term)
        if self._trapped("after a write"):
            return
        if self.is_paused:
            self.backlog.append((self._saved, (incarnation, intact)))
        else:
            self._saved(incarnation, intact)

    def _saved(self, incarnation: int, intact: bool) -> None:
        if incarnation != self.incarnation:
            return
        ready, write = self._jobs.popleft()
        if self._jobs:
            self._begin()
            if not self.is_up:
                return
        if ready is not None:
            self.saving = None
            self.invariants.saved(self, ready, intact)
            if ready.install is not None:
                self.world.coverage["snapshot installed" if intact else "snapshot found damaged"] += 1
            self.core.persisted(ready, self.clock(), snapshot_intact=intact)
            self.invariants.observe(self)
            self._finish(ready, intact=intact)
            if not self.is_up:
                return
            if self._held:
                held, self._held = self._held, []
                if not self._apply(held):
                    return
        elif write.snapshot is not None:
            self._is_snapshotting = False
            if self.disk.snapshot == write.snapshot[0]:
                self.core.compacted(write.snapshot[0])
        self.pump()

    # ---------------------------------------------------------------- the state machine

    def _apply(self, entries: tuple[LogEntry, ...] | list[LogEntry]) -> bool:
        """Apply committed entries, answer their proposers; False when the process died."""
        if self._trapped("before applying"):
            return False
        if self.saving is not None and entries[0].index > self.applied + 1:
            self._held += entries  # behind entries of the Ready that is being written
            return True
        for entry in entries:
            if entry.index != self.applied + 1:
                raise Violation(
                    "state machine safety", f"{self.node_id.key} applies {entry.index} after {self.applied}"
                )
            command = entry.command
            result: bytes | None = b""
            if isinstance(command, LiteCommand):
                if command.kind is LiteKind.DATA:
                    result = self.replica.apply(entry.index, command.client, command.seq, command.data)
                elif command.kind is LiteKind.CONFIG:
                    self._configure(decode_configuration(command.data))
            self.applied, self.applied_term = entry.index, entry.term
            self.invariants.applied(self, entry, result)
            if self.proposals and (proposal := self.proposals.pop(entry.index, None)) is not None:
                term, attempt = proposal
                if term == entry.term and result is not None:
                    self._answer(attempt, entry.index, result)
                else:
                    self._refuse(attempt, self.core.leader, may_have_run=True)
        if self._trapped("after applying"):
            return False
        if self.reads:
            self._answer_reads()
        if self.applied - self._snapshot_index >= self.config.snapshot_entries and not self._is_snapshotting:
            self._take_snapshot()
        return self.is_up

    def _configure(self, configuration: Configuration) -> None:
        """Take note of a committed configuration: who left may come back with another store."""
        self.configuration = configuration
        for peer in list(self.disk.peers()):
            if configuration.member(peer) is None:
                self.disk.remember_peer(peer, None)

    def _take_snapshot(self) -> None:
        if self.configuration is None:
            raise Violation("snapshot", f"{self.node_id.key}: entries were applied before any configuration")
        data = self.replica.snapshot()
        meta = SnapshotMeta(self.applied, self.applied_term, self.configuration, len(data), checksum(data))
        self.invariants.snapshot(self, meta)
        self._snapshot_index = meta.index
        self._is_snapshotting = True
        self.world.coverage["snapshot taken"] += 1
        self._write(None, Write(snapshot=(meta, data, self.core.first_index_after(meta))))

    def _restore(self, meta: SnapshotMeta) -> None:
        self.replica = Replica(self.state_machine)
        self.replica.restore(self.disk.read_snapshot(meta, 0, meta.size))
        self.applied, self.applied_term = meta.index, meta.term
        self._snapshot_index = meta.index
        self._configure(meta.configuration)
        self.invariants.restored(self, meta)
        for index in [index for index in self.proposals if index <= meta.index]:
            self._refuse(self.proposals.pop(index)[1], None, may_have_run=True)
        self._answer_reads()

    # ---------------------------------------------------------------- clients

    def serve(self, attempt: Attempt) -> None:
        """A client's request arrives."""
        if not self.is_up:
            self._refuse(attempt, None, may_have_run=False)
            return
        if self.is_paused:
            self.backlog.append((self.serve, (attempt,)))
            return
        self.world.step(SERVED, self.number, attempt.number)
        if self.world.trace is not None:
            self.world.note(self.node_id.key, f"< {attempt.client.name} {attempt.operation}")
        try:
            if attempt.command is not None:
                command = LiteCommand(LiteKind.DATA, attempt.client.name, attempt.seq, attempt.command)
                term, index = self.core.propose([command], self.clock())
                before = self.proposals.get(index)
                self.proposals[index] = (term, attempt)
                if before is not None:
                    self._refuse(before[1], None, may_have_run=True)
            elif (
                self.core.role is not Role.LEADER and (leader := self.core.leader) is not None and leader in self.nodes
            ):
                self._read_as_follower(attempt, self.nodes[leader])
            else:
                self.core.read(attempt, self.clock())
        except NotLeader as error:
            self._refuse(attempt, error.leader, may_have_run=False)
        except ProposalDropped:
            self.world.coverage["proposal dropped"] += 1
            self._refuse(attempt, None, may_have_run=False)
        self.pump()

    def _read_as_follower(self, attempt: Attempt, leader: SimulatedNode) -> None:
        sent = Outgoing(leader.node_id, ReadIndexRequest(self.core.term, self.node_id))
        rpc = self.network.send(self, leader, sent, sent)
        rpc.attempt = attempt

    def _answer_follower_read(self, rpc: Rpc, index: int | None) -> None:
        if index is not None:
            self.world.coverage["read at a follower"] += 1
        self._answer_read(rpc.attempt, index)

    def _answer_read(self, attempt: object, index: int | None) -> None:
        """The core's word about a read: everything up to index must be applied first; None: ask again."""
        if isinstance(attempt, Rpc) or not isinstance(attempt, Attempt):
            raise Violation("reads", f"{self.node_id.key}: an answer to a read that nobody asked for")
        if index is None:
            self._refuse(attempt, self.core.leader, may_have_run=False)
            return
        self.invariants.read(self, attempt, index)
        self.reads.append((index, attempt))
        self._answer_reads()

    def _answer_reads(self) -> None:
        waiting = []
        for index, attempt in self.reads:
            if index <= self.applied:
                self._answer(attempt, 0, self.workload.query(self.replica.machine, attempt.operation))
            else:
                waiting.append((index, attempt))
        self.reads = waiting

    def _answer(self, attempt: Attempt, index: int, result: bytes) -> None:
        self.world.after(self._random.random() * LATENCY, self._answered, attempt, index, result)

    def _answered(self, attempt: Attempt, index: int, result: bytes) -> None:
        if attempt.client.done(attempt, result):
            self.invariants.acknowledged(attempt, index)
            if self.world.trace is not None:
                self.world.note(attempt.client.name, f"{attempt.operation} → {result!r}")

    def _refuse(self, attempt: Attempt, leader: NodeId | None, *, may_have_run: bool) -> None:
        self.world.after(self._random.random() * LATENCY, attempt.client.refused, attempt, leader, may_have_run)

    # ---------------------------------------------------------------- the operator

    def change(self, member: Member | None, node_id: NodeId) -> None:
        """Ask the core for a change of the membership. Raises as it does."""
        self.core.change(member, node_id, self.clock())
        self.pump()

    def transfer(self, target: NodeId) -> None:
        self.core.transfer(target, self.clock())
        self.pump()

    def wipe(self, disk: SimulatedDisk) -> None:
        """Lose the disk; the process must be down."""
        self.former_disks.append(self.disk)
        self.disk = disk

    def _shown(self) -> str:
        core = self.core
        return f"{core.role.value} term {core.term} commit {core.commit}"
