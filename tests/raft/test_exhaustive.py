"""All that can happen to three nodes within a few steps: figure 3 holds in every state (Raft §5.4.3).

Where random histories pick some interleavings of many steps, this takes all of few: breadth first, each state once.
Steps are: a message arrives (and may come again) or is lost, a timer fires, a node crashes (before or after its
write), a proposal, a slow write that ends. Time stands still, for safety must not depend on it (§5.6): a timer may
fire at any moment. What rests on clocks, leases and leader stickiness, is off.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, combinations
from types import UnionType
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
    RaftConfig,
    RaftCore,
    Ready,
    Request,
    Response,
    Role,
    Stored,
    bootstrap_state,
    follower,
    leader,
    quorum,
)
from orbit_lite.raft import replication as replication_rules
from orbit_lite.raft.duties import Duties
from orbit_lite.raft.progress import Progress
from orbit_lite.raft.state import RaftState

NODES = A, B, C = tuple(NodeId(name) for name in "abc")
CONFIG = RaftConfig(heartbeat_interval=0.1, pre_vote=False, check_quorum=False, max_append_entries=1)
FOUNDED = bootstrap_state(Configuration("test", tuple(map(Member, NODES))))
X = LiteCommand(LiteKind.DATA, "", 0, b"x")


class Packet(NamedTuple):
    """A request, or the answer to it on its way back; `life` of its source, whose later lives await no answers."""

    source: NodeId
    life: int
    sent: Outgoing
    response: Response | None = None


class Budget(NamedTuple):
    """How often something may still happen."""

    timeouts: int = 0
    heartbeats: int = 0
    losses: int = 0
    duplicates: int = 0
    crashes: int = 0
    proposals: int = 0


class Values:
    """Numbers for values, one for each, so that states are small and quickly compared."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[type, object], int] = {}
        self._values: list[object] = []

    def number(self, value: object) -> int:
        number = self._numbers.setdefault((type(value), value), len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number

    def value(self, number: int) -> Any:
        return self._values[number]


VALUES = Values()


class Pickler(pickle.Pickler):
    """Makes equal bytes of equal cores: messages, entries and the like are written as their numbers."""

    def persistent_id(self, obj: object) -> int | None:
        return VALUES.number(obj) if type(obj) in IMMUTABLE else None


class Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: int) -> object:
        return VALUES.value(pid)


IMMUTABLE = frozenset({NodeId, Role, LogEntry, Configuration, HardState, RaftConfig, Outgoing, Packet, Ready})


@dataclass(frozen=True, slots=True)
class Node:
    """core: pickled, with the write that is under way. disk: the number of a `Stored`."""

    core: bytes
    disk: int
    life: int
    role: Role
    term: int
    is_writing: bool
    log: tuple[int, ...]  # terms, from index 1 on

    @classmethod
    def of(cls, core: RaftCore, write: Ready | None, disk: Stored, life: int) -> Node:
        buffer = io.BytesIO()
        Pickler(buffer).dump((core, write))
        log = tuple(core.term_at(index) or 0 for index in range(1, core.last_index + 1))
        return cls(buffer.getvalue(), VALUES.number(disk), life, core.role, core.term, write is not None, log)

    @classmethod
    def start(cls, node_id: NodeId, disk: Stored, life: int = 0) -> Node:
        return cls.of(RaftCore(node_id, CONFIG, disk, now=0.0, random=float), None, disk, life)  # float() is 0.0

    def load(self) -> tuple[RaftCore, Ready | None]:
        core, write = Unpickler(io.BytesIO(self.core)).load()
        return core, write


class World(NamedTuple):
    """A state. packets: numbers of those on the way. leaders, votes, committed: what was ever true: (term, leader),
    (voter, term, candidate), entries."""

    nodes: tuple[Node, ...]
    packets: frozenset[int]
    budget: Budget
    leaders: frozenset[tuple[int, NodeId]] = frozenset()
    votes: frozenset[tuple[NodeId, int, NodeId]] = frozenset()
    committed: frozenset[LogEntry] = frozenset()


def founded(budget: Budget, **logs: tuple[int, ...]) -> World:
    """Three nodes; logs: the terms of the entries that some have, if it is more than the founding one.

    The last term was led by b.
    """
    latest = max((1, *chain(*logs.values())))
    nodes = []
    for node_id in NODES:
        terms = logs.get(node_id.key, (1,))
        entries = [LogEntry(term, index, X) for index, term in enumerate(terms[1:], 2)]
        hard_state = HardState(latest, B if latest > 1 else None, commit=1)
        nodes.append(Node.start(node_id, Stored(hard_state, entries=(*FOUNDED.entries, *entries))))
    return World(tuple(nodes), frozenset(), budget)


# ---------------------------------------------------------------- one step


class Step:
    """One node does one thing, then all its duties.

    crashes: before the first write that follows. is_slow: a write lasts until another step ends it.
    """

    def __init__(self, before: World, node_id: NodeId, *, is_slow: bool = False, crashes: bool = False) -> None:
        self.before, self.node_id, self.is_slow, self.crashes = before, node_id, is_slow, crashes
        node = before.nodes[NODES.index(node_id)]
        self.core, self.write = node.load()
        self.disk: Stored = VALUES.value(node.disk)
        self.life = node.life
        self.packets = set(before.packets)
        self.leaders, self.votes, self.committed = set(before.leaders), set(before.votes), set(before.committed)

    def finish_write(self) -> None:
        assert self.write is not None
        ready, self.write = self.write, None
        self._persist(ready)

    def after(self, *, arrived: int | None = None, spent: Budget | None = None) -> World:
        """The state that follows. arrived: a packet that is not on the way any more."""
        has_crashed = not self._do_duties()
        if has_crashed:
            node = Node.start(self.node_id, self.disk, self.life + 1)
        else:
            node = Node.of(self.core, self.write, self.disk, self.life)
            assert self.core.fault is None, self.core.fault
            if self.core.role is Role.LEADER:
                self.leaders.add((self.core.term, self.node_id))
        nodes = tuple(node if one == self.node_id else old for one, old in zip(NODES, self.before.nodes, strict=True))
        packets = frozenset(number for number in self.packets - {arrived} if not is_void(VALUES.value(number), nodes))
        budget = self.before.budget if spent is None else Budget(*map(int.__sub__, self.before.budget, spent))
        history = frozenset(self.leaders), frozenset(self.votes), frozenset(self.committed)
        return World(nodes, packets, budget, *history)

    def _do_duties(self) -> bool:
        """False when the node crashes, at the latest when all is done."""
        while self.core.has_ready():
            ready = self.core.ready()
            self._send(ready.at_once)
            self.committed.update(ready.committed)
            if ready.must_persist and self.crashes:
                return False
            if ready.must_persist and self.is_slow:
                self.write = ready
            else:
                self._persist(ready)
        return not self.crashes

    def _send(self, requests: tuple[Outgoing, ...]) -> None:
        self.packets |= {VALUES.number(Packet(self.node_id, self.life, sent)) for sent in requests}

    def _persist(self, ready: Ready) -> None:
        if (hard := ready.hard_state) is not None:
            assert hard.term >= self.disk.hard_state.term, "a term went back"
            self.disk = replace(self.disk, hard_state=hard)
            if hard.vote is not None:
                self.votes.add((self.node_id, hard.term, hard.vote))
        if ready.entries:
            self.disk = replace(self.disk, entries=(*self.disk.entries[: ready.entries[0].index - 1], *ready.entries))
        self.core.persisted(ready, 0.0)
        self._send(ready.requests)
        for answer in ready.answers:
            packet = answer.token
            assert isinstance(packet, Packet)
            check_promise(self.disk, packet, answer.response)
            self.packets.add(VALUES.number(packet._replace(response=answer.response)))


def is_void(packet: Packet, nodes: tuple[Node, ...]) -> bool:
    """Whether an answer has no effect any more, so that it may as well never arrive."""
    source = nodes[NODES.index(packet.source)]
    if (response := packet.response) is None:
        return False
    if packet.life != source.life:
        return True
    is_late = packet.sent.request.term < source.term or (
        isinstance(response, VoteResponse) and source.role is not Role.CANDIDATE
    )
    return is_late and response.term <= source.term


# ---------------------------------------------------------------- what must hold


def check_promise(disk: Stored, packet: Packet, response: Response) -> None:
    """What an answer says is on disk when it leaves (figure 2)."""
    hard, request = disk.hard_state, packet.sent.request
    assert response.term <= hard.term, "answers in a term that is not durable"
    if isinstance(response, VoteResponse) and response.vote_granted:
        assert (hard.term, hard.vote) == (response.term, packet.source), "grants a vote that is not durable"
    if isinstance(request, AppendEntriesRequest) and isinstance(response, AppendEntriesResponse) and response.success:
        first = request.prev_log_index
        assert disk.entries[first : first + len(request.entries)] == request.entries, "has entries that are not durable"


def check(state: World) -> None:
    """Figure 3, and that what is committed is on a majority of the disks."""
    assert len({term for term, _ in state.leaders}) == len(state.leaders), "two leaders in a term"
    assert len({vote[:2] for vote in state.votes}) == len(state.votes), "two votes of a node in a term"
    assert len({entry.index for entry in state.committed}) == len(state.committed), "two entries committed at an index"
    logs = [VALUES.value(node.disk).entries for node in state.nodes]
    for one, other in combinations(logs, 2):
        meet = max(mine.index for mine, its in zip(one, other, strict=False) if mine.term == its.term)
        assert one[:meet] == other[:meet], "two logs agree at an index, and not before it"
    for entry in state.committed:
        assert sum(entry in log for log in logs) > len(logs) // 2, f"{entry} is committed and not on a majority's disks"
        for node in state.nodes:
            if node.role is Role.LEADER and node.term >= entry.term:
                assert node.log[entry.index - 1 : entry.index] == (entry.term,), f"a leader lacks the committed {entry}"


# ---------------------------------------------------------------- all that may happen


def what_may_happen(now: World, slow: NodeId | None = None) -> Iterator[tuple[str, Callable[[], World]]]:
    """Each next step, by name."""
    budget = now.budget

    def step(node_id: NodeId, *, crashes: bool = False) -> Step:
        return Step(now, node_id, is_slow=node_id == slow, crashes=crashes)

    def fire(node_id: NodeId, spent: Budget) -> World:
        one = step(node_id)
        one.core.next_deadline = 0.0
        if one.core.leadership is not None:
            one.core.leadership.heartbeat_due = 0.0
        one.core.handle_timer(0.0)
        return one.after(spent=spent)

    def propose(node_id: NodeId) -> World:
        one = step(node_id)
        one.core.propose([X], 0.0)
        return one.after(spent=Budget(proposals=1))

    def finish_write(node_id: NodeId) -> World:
        one = step(node_id)
        one.finish_write()
        return one.after()

    def deliver(number: int, *, crashes: bool = False, comes_again: bool = False) -> World:
        source, _, sent, response = packet = VALUES.value(number)
        one = step(sent.to if response is None else source, crashes=crashes)
        if response is None:
            one.core.receive(sent.request, token=packet, now=0.0, transfer=sent.transfer)
        else:
            one.core.receive_response(sent, response, 0.0)
        spent = Budget(crashes=int(crashes), duplicates=int(comes_again))
        return one.after(arrived=None if comes_again else number, spent=spent)

    def lose(number: int) -> World:
        packet: Packet = VALUES.value(number)
        one = step(packet.source)
        if one.life == packet.life:
            one.core.unreachable(packet.sent, 0.0)
        return one.after(arrived=number, spent=Budget(losses=1))

    for node_id, node in zip(NODES, now.nodes, strict=True):
        if node.role is Role.LEADER:
            if budget.heartbeats:
                yield f"{node_id.key} sends heartbeats", partial(fire, node_id, Budget(heartbeats=1))
            if budget.proposals:
                yield f"{node_id.key} takes a proposal", partial(propose, node_id)
        elif budget.timeouts:
            yield f"{node_id.key} times out", partial(fire, node_id, Budget(timeouts=1))
        if budget.crashes:
            yield f"{node_id.key} crashes", partial(step(node_id, crashes=True).after, spent=Budget(crashes=1))
        if node.is_writing:
            yield f"{node_id.key}'s write ends", partial(finish_write, node_id)
    for number in sorted(now.packets):
        name = f"{VALUES.value(number)}"
        yield f"{name} arrives", partial(deliver, number)
        if budget.crashes:
            yield f"{name} arrives, and its receiver crashes before it writes", partial(deliver, number, crashes=True)
        if budget.duplicates:
            yield f"{name} arrives, and will come again", partial(deliver, number, comes_again=True)
        if budget.losses:
            yield f"{name} is lost", partial(lose, number)


def explore(start: World, *, steps: int, slow: NodeId | None = None) -> int:
    """Take every step from every state, so many deep; how many states there are."""
    reached: dict[World, tuple[World, str] | None] = {start: None}
    frontier = [start]
    for _ in range(steps):
        following = []
        for state in frontier:
            for name, act in what_may_happen(state, slow):
                try:
                    after = act()
                    if after in reached:
                        continue
                    check(after)
                except AssertionError as error:
                    raise AssertionError("\n".join([str(error), *path_to(state, reached), name])) from error
                reached[after] = state, name
                following.append(after)
        frontier = following
    return len(reached)


def path_to(state: World, reached: dict[World, tuple[World, str] | None]) -> list[str]:
    path = []
    while (before := reached[state]) is not None:
        state, name = before
        path.append(name)
    return path[::-1]


def calm(state: World, kinds: type[Request] | UnionType = Request) -> World:
    """Let all arrive that is on the way; kinds: only these requests and the answers to them."""
    while mine := [number for number in sorted(state.packets) if isinstance(VALUES.value(number).sent.request, kinds)]:
        arrives = f"{VALUES.value(mine[0])} arrives"
        state = next(act() for name, act in what_may_happen(state) if name == arrives)
    return state


def elected(start: World, budget: Budget) -> World:
    """a leads, and what it sent is on the way."""
    fired = next(act() for name, act in what_may_happen(start) if name == "a times out")
    return calm(fired, VoteRequest)._replace(budget=budget)


def election() -> int:
    """Two candidates, and a crash."""
    return explore(founded(Budget(timeouts=2, crashes=1)), steps=6)


def replication() -> int:
    """A leader takes a proposal; a node crashes, another leader may be elected."""
    start = elected(founded(Budget(timeouts=1)), Budget())
    return explore(calm(start)._replace(budget=Budget(timeouts=1, crashes=1, proposals=1)), steps=7)


def slow_leader() -> int:
    """The same, and the leader's disk is slow."""
    start = elected(founded(Budget(timeouts=1)), Budget())
    budget = Budget(timeouts=1, heartbeats=1, crashes=1, proposals=1)
    return explore(calm(start)._replace(budget=budget), steps=6, slow=A)


def bad_network() -> int:
    """A leader has sent two entries; one message is lost, and its sender told so, and one comes twice."""
    state = calm(elected(founded(Budget(timeouts=1)), Budget()))._replace(budget=Budget(proposals=2))
    for _ in range(2):
        state = next(act() for name, act in what_may_happen(state) if name == "a takes a proposal")
    return explore(state._replace(budget=Budget(losses=1, duplicates=1)), steps=6)


def figure_8() -> int:
    """From (c) of the figure on: a has an entry of term 2, b one of term 3 in its place, and a leads term 4."""
    start = founded(Budget(timeouts=1), a=(1, 2), b=(1, 3))
    return explore(elected(start, Budget(timeouts=1)), steps=7)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a few seconds; PyPy pickles much more slowly
@pytest.mark.parametrize("story", [election, replication, slow_leader, bad_network, figure_8])
def test_figure_3_holds_whatever_happens(story: Callable[[], int]) -> None:
    assert story() > 4000


# ---------------------------------------------------------------- cores with an error, which must be found


def count_copies_only(raft: RaftState) -> None:
    """Commit what a majority holds, of whatever term (figure 8)."""
    leadership = leader.leadership_of(raft)
    matches = [*(progress.match_index for progress in leadership.voters), raft.log.durable]
    raft.commit = max(raft.commit, quorum.reached_by_majority(matches))


def count_what_is_not_durable(raft: RaftState) -> None:
    """Count the leader's own entries before it wrote them."""
    leadership = leader.leadership_of(raft)
    index = quorum.reached_by_majority([*(progress.match_index for progress in leadership.voters), raft.log.last_index])
    if raft.log.term(index) == raft.term:
        raft.commit = max(raft.commit, index)


def answer_at_once(duties: Duties, answer: Answer, write: int = 0) -> None:
    """Answer before anything is written."""
    duties._answers.append((0, answer))


def end_the_log_with_each_request(raft: RaftState, request: AppendEntriesRequest) -> bool:
    """Cut off what is behind a request's entries, although it agrees with the leader's log (figure 2, step 3)."""
    if raft.log.term(request.prev_log_index) != request.prev_log_term:
        return False
    if request.entries:
        raft.log.append(request.entries)
    return True


def take_loss_for_success(
    raft: RaftState, progress: Progress, request: AppendEntriesRequest | InstallSnapshotRequest
) -> None:
    """Believe that a request whose answer never came was obeyed."""
    if isinstance(request, AppendEntriesRequest):
        progress.acknowledge(request.prev_log_index + len(request.entries))
        leader.advance_commit(raft)


class Mutant(NamedTuple):
    """An error in place of a function of the core, and the property that it breaks."""

    story: Callable[[], int]
    place: object
    name: str
    function: Callable[..., object]
    finding: str


MUTANTS = {
    "commit by counting": Mutant(figure_8, leader, "advance_commit", count_copies_only, "a leader lacks the committed"),
    "commit before the write": Mutant(
        slow_leader, leader, "advance_commit", count_what_is_not_durable, "not on a majority's disks"
    ),
    "vote for a shorter log": Mutant(
        replication, follower, "_may_vote_for", lambda raft, request: True, "a leader lacks the committed"
    ),
    "answer before the write": Mutant(slow_leader, Duties, "answer", answer_at_once, "not durable"),
    "shorter log by a repeated request": Mutant(
        bad_network, follower, "_take_entries", end_the_log_with_each_request, "not on a majority's disks"
    ),
    "lost request counted": Mutant(
        bad_network, replication_rules, "unreached", take_loss_for_success, "not on a majority's disks"
    ),
    "vote not stored": Mutant(election, RaftState, "set_vote", lambda raft, candidate: None, "grants a vote"),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_an_error_in_the_core_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.place, mutant.name, mutant.function)
    with pytest.raises(AssertionError, match=mutant.finding):
        mutant.story()
