"""Raft cores without a driver: one alone, whose duties a test reads, and several on a network that obeys the test."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LiteCommand,
    LiteKind,
    LogEntry,
    NodeId,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    Answer,
    Configuration,
    HardState,
    InstallSnapshotRequest,
    Member,
    Outgoing,
    PreVoteRequest,
    PreVoteResponse,
    RaftConfig,
    RaftCore,
    ReadState,
    Ready,
    Request,
    Response,
    Role,
    SnapshotMeta,
    Stored,
    bootstrap_state,
)

_spec = importlib.util.spec_from_file_location(
    "orbit_test_scenario_language",
    Path(__file__).parent / "scenario_language" / "__init__.py",
    submodule_search_locations=[str(Path(__file__).parent / "scenario_language")],
)
assert _spec is not None
assert _spec.loader is not None
scenario_language = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = scenario_language
_spec.loader.exec_module(scenario_language)

CONFIG = RaftConfig(heartbeat_interval=0.1, snapshot_trailing_entries=0, snapshot_chunk_bytes=4)


def ids(count: int) -> list[NodeId]:
    return [NodeId(f"n{number}") for number in range(1, count + 1)]


def configuration(voters: Iterable[NodeId], learners: Iterable[NodeId] = ()) -> Configuration:
    members = [Member(node_id) for node_id in voters] + [Member(node_id, voter=False) for node_id in learners]
    return Configuration("test", tuple(members))


def data(text: str) -> LiteCommand:
    return LiteCommand(LiteKind.DATA, "", 0, text.encode())


def entries(first: int, *terms: int) -> tuple[LogEntry, ...]:
    """Entries first, first + 1, … of these terms."""
    return tuple(LogEntry(term, first + at, data(f"{term}.{first + at}")) for at, term in enumerate(terms))


class Disk:
    """What a store keeps; the driver's part of `LogStore`, without files."""

    def __init__(self, stored: Stored = Stored()) -> None:  # noqa: B008  (frozen)
        self.hard_state = stored.hard_state
        self.snapshot = stored.snapshot
        self.entries = list(stored.entries)
        self.incoming: tuple[SnapshotMeta, bytes] | None = None
        self.snapshot_data = b""

    def stored(self) -> Stored:
        incoming = (self.incoming[0], len(self.incoming[1])) if self.incoming is not None else None
        return Stored(self.hard_state, self.snapshot, tuple(self.entries), incoming)

    def save(self, ready: Ready) -> bool:
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.entries:
            first = ready.entries[0].index
            kept = [entry for entry in self.entries if entry.index < first]
            assert not kept or kept[-1].index == first - 1, "entries leave a gap"
            self.entries = kept + list(ready.entries)
        if (chunk := ready.chunk) is not None:
            if chunk.offset == 0:
                self.incoming = (chunk.meta, b"")
            assert self.incoming is not None
            assert self.incoming[0] == chunk.meta
            assert len(self.incoming[1]) == chunk.offset, "a chunk leaves a gap"
            self.incoming = (chunk.meta, self.incoming[1] + chunk.data)
        if (meta := ready.install) is not None:
            assert self.incoming is not None
            assert self.incoming[0] == meta
            received, self.incoming = self.incoming[1], None
            if len(received) != meta.size or blake2b(received, digest_size=32).hexdigest() != meta.checksum:
                return False
            self.snapshot, self.snapshot_data, self.entries = meta, received, []
        return True

    def write_snapshot(self, meta: SnapshotMeta, content: bytes, first_index: int) -> None:
        self.snapshot, self.snapshot_data = meta, content
        self.entries = [entry for entry in self.entries if entry.index >= first_index]


def snapshot_meta(index: int, term: int, content: bytes, configuration: Configuration) -> SnapshotMeta:
    checksum = blake2b(content, digest_size=32).hexdigest()
    return SnapshotMeta(index, term, configuration, len(content), checksum)


class Solo:
    """One core and its disk, which is as fast as the test wants it.

    out: all requests that came out. committed, reads, restored: what the driver would have applied and answered.
    """

    def __init__(self, node_id: NodeId, stored: Stored, config: RaftConfig = CONFIG, draw: float = 0.0) -> None:
        self.core = RaftCore(node_id, config, stored, now=0.0, random=lambda: draw)
        self.disk = Disk(stored)
        self.now = 0.0
        self.out: list[Outgoing] = []
        self.answers: dict[object, Response] = {}
        self.committed: list[LogEntry] = []
        self.reads: list[ReadState] = []
        self.restored: list[SnapshotMeta] = []
        self._tokens = 0

    def settle(self) -> list[Outgoing]:
        """Do all duties; the requests that came out."""
        before = len(self.out)
        while self.core.has_ready():
            ready = self.core.ready()
            intact = self.disk.save(ready)
            self.core.persisted(ready, self.now, snapshot_intact=intact)
            self.take(ready)
        return self.out[before:]

    def take(self, ready: Ready) -> None:
        """All duties but the write."""
        self.out += ready.at_once + ready.requests
        self.answers.update({answer.token: answer.response for answer in ready.answers})
        self.restored += [ready.restore] if ready.restore is not None else []
        self.committed += ready.committed
        self.reads += ready.reads

    def give(self, request: Request, *, transfer: bool = False) -> object:
        """Hand a request to the core and do nothing else; its token."""
        self._tokens += 1
        self.core.receive(request, token=self._tokens, now=self.now, transfer=transfer)
        return self._tokens

    def ask(self, request: Request, *, transfer: bool = False) -> Any:
        """The answer to a request, when all is durable; None when it is still out."""
        token = self.give(request, transfer=transfer)
        self.settle()
        return self.answers.pop(token, None)

    def reply(self, sent: Outgoing, response: Response) -> list[Outgoing]:
        """Answer one of the core's requests; what it sends then."""
        self.core.receive_response(sent, response, self.now)
        return self.settle()

    def time_out(self) -> list[Outgoing]:
        """Let the core's deadline come; what it sends then."""
        self.now = max(self.now, self.core.next_deadline)
        self.core.handle_timer(self.now)
        return self.settle()

    def after(self, seconds: float) -> list[Outgoing]:
        """Let time pass, deadline by deadline; what was sent."""
        before, end = len(self.out), self.now + seconds
        while self.core.next_deadline <= end:
            self.time_out()
        self.now = end
        return self.out[before:]

    # ------------------------------------------------------------ peers that do as they should

    def elect(self) -> Solo:
        """Become the leader by the votes of all others; what was sent so far is forgotten."""
        asked = self.time_out()
        while self.core.role is not Role.LEADER:
            self.out.clear()
            for sent in asked:
                self.reply(sent, self.grant(sent))
            asked = list(self.out)
        return self

    def lead(self) -> Solo:
        """Become the leader, of whose log all others have all."""
        self.elect()
        self.acknowledge_all()
        return self

    @staticmethod
    def grant(sent: Outgoing) -> Response:
        request = sent.request
        if isinstance(request, PreVoteRequest):
            return PreVoteResponse(request.term, True, sent.to)
        assert isinstance(request, VoteRequest)
        return VoteResponse(request.term, True, sent.to)

    @staticmethod
    def success(sent: Outgoing) -> AppendEntriesResponse:
        request = sent.request
        assert isinstance(request, AppendEntriesRequest)
        last = request.prev_log_index + len(request.entries)
        return AppendEntriesResponse(request.term, True, sent.to, last)

    @staticmethod
    def refusal(sent: Outgoing, hint: int) -> AppendEntriesResponse:
        return AppendEntriesResponse(sent.request.term, False, sent.to, hint)

    def acknowledge(self, *nodes: NodeId) -> None:
        """Let these nodes answer all AppendEntries that were sent to them, until they are sent no more."""
        while mine := [one for one in self.out if one.to in nodes and isinstance(one.request, AppendEntriesRequest)]:
            self.out = [sent for sent in self.out if sent not in mine]
            for sent in mine:
                self.reply(sent, self.success(sent))

    def acknowledge_all(self) -> None:
        self.acknowledge(*(sent.to for sent in self.out))

    def propose(self, *texts: str) -> list[Outgoing]:
        self.core.propose([data(text) for text in texts], self.now)
        return self.settle()


class Packet(NamedTuple):
    """A request on its way from `source`, or, with a response, the answer on its way back."""

    source: NodeId
    sent: Outgoing
    response: Response | None = None


class Cluster:
    """Cores, their disks, and the packets between them.

    Nothing moves but by the test: `settle` delivers all that links let through, `advance` lets time pass as well.
    applied: what each node's state machine has got, as (index, data), snapshots included.
    """

    def __init__(self, founders: dict[NodeId, Stored], config: RaftConfig, seed: int) -> None:
        self.random = random.Random(seed)
        self.config = config
        self.now = 0.0
        self.disks: dict[NodeId, Disk] = {}
        self.cores: dict[NodeId, RaftCore] = {}
        self.applied: dict[NodeId, list[tuple[int, bytes]]] = {}
        self.reads: dict[NodeId, list[ReadState]] = {}
        self.writing: dict[NodeId, Ready] = {}
        self.packets: list[Packet] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.slow_disks: set[NodeId] = set()
        self.watch: Callable[[NodeId, Ready], None] = lambda node_id, ready: None
        for node_id, stored in founders.items():
            self.add(node_id, stored)

    # ------------------------------------------------------------ nodes

    def add(self, node_id: NodeId, stored: Stored = Stored()) -> None:  # noqa: B008  (frozen)
        self.disks[node_id] = Disk(stored)
        self.start(node_id)

    def start(self, node_id: NodeId) -> None:
        stored = self.disks[node_id].stored()
        self.applied[node_id] = []
        self.reads[node_id] = []
        self.cores[node_id] = RaftCore(node_id, self.config, stored, now=self.now, random=self.random.random)

    def crash(self, node_id: NodeId) -> None:
        """Only what was saved stays; answers to it get lost."""
        del self.cores[node_id]
        self.writing.pop(node_id, None)
        self.packets = [packet for packet in self.packets if packet.source != node_id]

    def isolate(self, *nodes: NodeId) -> None:
        """Cut the links between these and the others, both ways."""
        for node_id in nodes:
            for other in self.disks:
                if other not in nodes:
                    self.cut |= {(node_id, other), (other, node_id)}

    def heal(self) -> None:
        self.cut.clear()

    # ------------------------------------------------------------ duties

    def pump(self, node_id: NodeId) -> None:
        """Do a node's duties, as far as its disk is fast."""
        core = self.cores.get(node_id)
        while core is not None and core.has_ready():
            ready = core.ready()
            self.watch(node_id, ready)
            self.packets += [Packet(node_id, sent) for sent in ready.at_once]
            self._apply(node_id, ready)  # what is committed is durable already: it need not wait for the write
            if ready.must_persist and node_id in self.slow_disks:
                assert node_id not in self.writing, "two writes at a time"
                self.writing[node_id] = ready
            else:
                self._complete(core, ready)

    def finish_write(self, node_id: NodeId) -> None:
        if (ready := self.writing.pop(node_id, None)) is not None:
            self._complete(self.cores[node_id], ready)

    def _complete(self, core: RaftCore, ready: Ready) -> None:
        disk, node_id = self.disks[core.node_id], core.node_id
        intact = disk.save(ready) if ready.must_persist else True
        core.persisted(ready, self.now, snapshot_intact=intact)
        self.packets += [Packet(node_id, sent) for sent in ready.requests]
        for answer in ready.answers:
            self._answer(answer)

    def _apply(self, node_id: NodeId, ready: Ready) -> None:
        disk = self.disks[node_id]
        if ready.restore is not None:
            assert disk.snapshot == ready.restore
            self.applied[node_id] = [
                (int(line.split(b" ")[0]), line.split(b" ")[1]) for line in disk.snapshot_data.splitlines()
            ]
        for entry in ready.committed:
            assert isinstance(entry.command, LiteCommand)
            content = entry.command.data if entry.command.kind is LiteKind.DATA else b""
            self.applied[node_id].append((entry.index, content))
        self.reads[node_id] += ready.reads

    def _answer(self, answer: Answer) -> None:
        assert isinstance(answer.token, Packet)
        self.packets.append(answer.token._replace(response=answer.response))

    def compact(self, node_id: NodeId) -> None:
        """Take a snapshot of the node's state machine."""
        core, disk = self.cores[node_id], self.disks[node_id]
        applied = self.applied[node_id]
        if not applied or (disk.snapshot is not None and disk.snapshot.index >= applied[-1][0]):
            return
        index = applied[-1][0]
        content = b"".join(b"%d %s\n" % item for item in applied)
        term = core.term_at(index)
        assert term is not None
        meta = snapshot_meta(index, term, content, core.configuration_at(index))
        disk.write_snapshot(meta, content, core.first_index_after(meta))
        core.compacted(meta)

    # ------------------------------------------------------------ the network

    def deliver(self, packet: Packet) -> None:
        """Hand a packet to its receiver, if the link is there and the receiver lives."""
        source, sent, response = packet
        target = sent.to if response is None else source
        origin = source if response is None else sent.to
        if (origin, target) in self.cut or (core := self.cores.get(target)) is None:
            return
        if response is not None:
            core.receive_response(sent, response, self.now)
        else:
            core.receive(self._with_data(source, sent), token=packet, now=self.now, transfer=sent.transfer)

    def _with_data(self, source: NodeId, sent: Outgoing) -> Request:
        request = sent.request
        if isinstance(request, InstallSnapshotRequest) and source in self.disks:
            disk = self.disks[source]
            if disk.snapshot == request.meta:
                end = request.offset + self.config.snapshot_chunk_bytes
                return replace(request, data=disk.snapshot_data[request.offset : end])
        return request

    def settle(self, *, lose: Callable[[Packet], bool] = lambda packet: False, steps: int = 10_000) -> None:
        """Deliver, in order, until nothing moves any more; lose: which packets get lost."""
        for node_id in list(self.cores):
            self.pump(node_id)
        for _ in range(steps):
            if not self.packets:
                return
            packet = self.packets.pop(0)
            if not lose(packet):
                self.deliver(packet)
            for node_id in list(self.cores):
                self.pump(node_id)
        raise AssertionError(f"still busy after {steps} packets: {self.packets[:5]}")

    # ------------------------------------------------------------ time

    def advance(self, seconds: float) -> None:
        """Let time pass on all nodes."""
        end = self.now + seconds
        while (deadline := min((core.next_deadline for core in self.cores.values()), default=end + 1)) <= end:
            self.now = max(self.now, deadline)
            for core in list(self.cores.values()):
                core.handle_timer(self.now)
            self.settle()
        self.now = end

    def elect(self, node_id: NodeId, *, lose: Callable[[Packet], bool] = lambda packet: False) -> RaftCore:
        """Let this node's election timer run out before all others, up to ten times."""
        core = self.cores[node_id]
        for _ in range(10):
            self.now = max(self.now, core.next_deadline)
            core.handle_timer(self.now)
            self.settle(lose=lose)
            if core.role is Role.LEADER:
                return core
        raise AssertionError(f"{node_id} does not win")

    # ------------------------------------------------------------ users

    def leader(self) -> RaftCore:
        """The leader of the latest term."""
        return max((core for core in self.cores.values() if core.role is Role.LEADER), key=lambda core: core.term)

    def propose(self, *texts: str, by: NodeId | None = None) -> int:
        """Index of the last; proposed by the leader, and as far as links allow committed."""
        core = self.cores[by] if by is not None else self.leader()
        _, first = core.propose([data(text) for text in texts], self.now)
        self.settle()
        return first + len(texts) - 1

    def term_at(self, node_id: NodeId, index: int) -> int | None:
        """The term of an entry on the node's disk."""
        return next((entry.term for entry in self.disks[node_id].entries if entry.index == index), None)

    def data_of(self, node_id: NodeId) -> list[str]:
        """The user data that a node has applied."""
        return [content.decode() for _, content in self.applied[node_id] if content]


@pytest.fixture(scope="session")
def solo() -> Callable[..., Solo]:
    """Makes node n1 of a cluster of `size`; terms: of its log's entries behind the bootstrap's entry 1.

    stored: what its store holds instead of all that. draw: of each election timeout, from 0 (the shortest) to 1.
    """

    def make(
        *terms: int,
        size: int = 3,
        learners: int = 0,
        term: int | None = None,
        vote: NodeId | None = None,
        commit: int = 1,
        config: RaftConfig = CONFIG,
        draw: float = 0.0,
        stored: Stored | None = None,
    ) -> Solo:
        if stored is not None:
            return Solo(NodeId("n1"), stored, config, draw)
        nodes = ids(size + learners)
        first = bootstrap_state(configuration(nodes[:size], nodes[size:])).entries
        term = max((1, *terms)) if term is None else term
        return Solo(nodes[0], Stored(HardState(term, vote, commit), None, first + entries(2, *terms)), config, draw)

    return make


@pytest.fixture(scope="session")
def cluster() -> Callable[..., Cluster]:
    """Makes clusters of n1, n2, …, or of these names; the last ones are learners."""

    def make(
        size: int = 3, *, learners: int = 0, config: RaftConfig = CONFIG, seed: int = 1, names: Iterable[str] = ()
    ) -> Cluster:
        nodes = [NodeId(name) for name in names] or ids(size + learners)
        stored = bootstrap_state(configuration(nodes[:size], nodes[size:]))
        return Cluster(dict.fromkeys(nodes, stored), config, seed)

    return make


@pytest.fixture(scope="session")
def play(cluster: Callable[..., Cluster]) -> Callable[[str], str]:
    """Carries out the commands of a scenario; its text with what happened."""
    return lambda text: scenario_language.play(text, cluster, Packet)


@pytest.fixture(scope="session")
def append() -> Callable[..., AppendEntriesRequest]:
    """Makes AppendEntries: of n2 unless said otherwise, with entries of these terms behind prev = (index, term)."""

    def make(
        term: int, prev: tuple[int, int], *terms: int, commit: int = 0, leader: str = "n2"
    ) -> AppendEntriesRequest:
        return AppendEntriesRequest(term, NodeId(leader), *prev, entries(prev[0] + 1, *terms), commit)

    return make


@pytest.fixture(scope="session")
def vote() -> Callable[..., VoteRequest]:
    """Makes RequestVotes of a candidate whose log ends at last = (index, term)."""

    def make(term: int, last: tuple[int, int], candidate: str = "n2") -> VoteRequest:
        return VoteRequest(term, NodeId(candidate), *last)

    return make
