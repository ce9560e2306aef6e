"""Raft stories as text: commands to a small cluster, and below each of them what came out.

A scenario is a text file. A line that begins with "> " is a command; the indented lines below it are what happened; all
other lines are prose. `play` carries out the commands and returns the text with what really happened.

Nothing moves unless a command says so, but that disks write at once. `docs/testing.md` has the list of commands, which
are the methods `do_…` below. Entries are written index@term, "x" being what a user proposed.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from orbit_lite.errors import OrbitError
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
    HardState,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Member,
    Outgoing,
    PreVoteRequest,
    PreVoteResponse,
    RaftConfig,
    RaftCore,
    ReadIndexRequest,
    ReadIndexResponse,
    ReadState,
    Ready,
    Request,
    Response,
    Role,
    Stored,
    TimeoutNowRequest,
)
from orbit_lite.raft.membership import configuration_of

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Packet

__all__ = ["MakeCluster", "play"]

MakeCluster = Callable[..., "Cluster"]

#: Characters of a user's data that are shown.
_SHOWN = 10

# ---------------------------------------------------------------- values as text


def entry_text(entry: LogEntry) -> str:
    command, text = entry.command, f"{entry.index}@{entry.term}"
    assert isinstance(command, LiteCommand)
    if (configuration := configuration_of(entry)) is not None:
        members = (f"{member.node_id.key}{'' if member.voter else ' (learner)'}" for member in configuration.members)
        return f"{text} [{' '.join(members)}]"
    data = command.data.decode()
    shown = data if len(data) <= _SHOWN else f"{data[:_SHOWN]}… {len(data)} bytes"
    return f"{text} noop" if command.kind is LiteKind.NOOP else f'{text} "{shown}"'


def entries_text(entries: Iterable[LogEntry]) -> str:
    return ", ".join(map(entry_text, entries))


def request_text(sent: Outgoing) -> str:
    match sent.request:
        case AppendEntriesRequest(term, _, index, prev_term, entries, commit):
            what = entries_text(entries) or "nothing"
            return f"AppendEntries of term {term} behind {index}@{prev_term}: {what}; commit {commit}"
        case VoteRequest(term, _, index, last_term):
            return f"RequestVote for term {term}, log to {index}@{last_term}{', leader agrees' * sent.transfer}"
        case PreVoteRequest(term, _, index, last_term):
            return f"PreVote for term {term}, log to {index}@{last_term}"
        case InstallSnapshotRequest(term, _, meta, offset):
            return f"InstallSnapshot of term {term}: {meta.index}@{meta.term}, bytes from {offset} of {meta.size}"
        case TimeoutNowRequest(term):
            return f"TimeoutNow of term {term}"
        case ReadIndexRequest(term):
            return f"ReadIndex in term {term}"


def response_text(request: Request, response: Response) -> str:
    match response:
        case AppendEntriesResponse(term, success, _, last):
            prev = getattr(request, "prev_log_index", 0) + len(getattr(request, "entries", ()))
            return f"has all to {prev}, in term {term}" if success else f"refuses, in term {term}; hint {last}"
        case VoteResponse(term, granted) | PreVoteResponse(term, granted):
            kind = "vote" if isinstance(response, VoteResponse) else "pre-vote"
            return f"{kind} {'granted' if granted else 'refused'}, term {term}"
        case InstallSnapshotResponse(term, _, offset):
            return f"has {offset} bytes of the snapshot, in term {term}"
        case ReadIndexResponse(term, index, _):
            return f"read index {index}, term {term}"
        case _:
            return f"heeds TimeoutNow, term {response.term}"


def log_text(core: RaftCore) -> str:
    first, last = core.first_index, core.last_index
    snapshot = f"a snapshot to {core.snapshot.index}@{core.snapshot.term}, " if core.snapshot is not None else ""
    terms = " ".join(str(core.term_at(index)) for index in range(first, last + 1))
    return f"{snapshot}{f'terms of {first}..{last}: {terms}' if terms else 'no entries'}; commit {core.commit}"


class Draws(random.Random):
    """A node's share of the spread of election timeouts: always the same, from 0 to 1, until the scenario changes it."""

    value = 0.0

    def random(self) -> float:
        return self.value


# ---------------------------------------------------------------- the world


class World:
    """The cluster of one scenario. Events add lines to `lines`; `is_terse` leaves out messages and writes."""

    def __init__(self, make_cluster: MakeCluster, make_packet: type[Packet]) -> None:
        self.make_cluster = make_cluster
        self.make_packet = make_packet
        self.lines: list[str] = []
        self.is_terse = False
        self.paused: set[NodeId] = set()
        self.seen: dict[NodeId, tuple[str, str, str]] = {}
        self.stale: list[Outgoing] = []  # requests of a node's earlier life: nobody waits for their answers
        self.reads = 0
        self.draws: dict[NodeId, Draws] = {}
        self.leaders: dict[int, NodeId] = {}
        self.committed: dict[int, LogEntry] = {}

    def say(self, node_id: NodeId, text: str, *, is_detail: bool = False) -> None:
        if not (is_detail and self.is_terse):
            self.lines.append(f"  {node_id.key}{text}")

    def do(self, command: str) -> list[str]:
        """Carry out one command; the lines that tell what happened."""
        self.lines, self.is_terse = [], False
        name, *words = shlex.split(command)
        try:
            getattr(self, f"do_{name}")(*words)
        except OrbitError as error:
            self.lines.append(f"  {type(error).__name__}: {error}")
        self.is_terse = False
        self.finish()
        return self.lines

    def finish(self) -> None:
        """Do all duties of all nodes, and tell what changed; a terse command tells it once, in the end."""
        for node_id, core in self.cluster.cores.items():
            if node_id not in self.paused:
                self.cluster.pump(node_id)
            if core.role is Role.LEADER:
                assert self.leaders.setdefault(core.term, node_id) == node_id, f"two leaders in term {core.term}"
        self.cluster.packets = [packet for packet in self.cluster.packets if not self.is_lost(packet)]
        if not self.is_terse:
            self.tell_changes()

    def is_lost(self, packet: Packet) -> bool:
        is_stale = packet.response is not None and any(packet.sent is sent for sent in self.stale)
        return is_stale or self.link(packet) in self.cluster.cut

    def state(self, core: RaftCore) -> tuple[str, str, str]:
        """What is told when it changes."""
        of = f" of {core.leader.key}" if core.leader is not None and core.role is Role.FOLLOWER else ""
        role = f"{core.role.value}{of}, term {core.term}, vote {core.vote.key if core.vote is not None else 'none'}"
        return role, f"commit {core.commit}", f"fault: {core.fault}"

    def tell_changes(self) -> None:
        changes: dict[str, list[str]] = {}
        for node_id, core in sorted(self.cluster.cores.items()):
            before = self.seen.get(node_id)
            self.seen[node_id] = now = self.state(core)
            for at, text in enumerate(now):
                if text != (before[at] if before is not None else "fault: None"):
                    changes.setdefault(text, []).append(node_id.key)
        self.lines += [f"  {' '.join(names)}: {text}" for text, names in changes.items()]

    def watch(self, node_id: NodeId, ready: Ready) -> None:
        """Tell what a Ready asks for, in the order in which it is done."""
        self.tell_requests(node_id, ready.at_once)
        if ready.must_persist:
            is_slow = node_id in self.cluster.slow_disks
            self.say(node_id, f" {'is writing' if is_slow else 'persists'} {self.write_text(ready)}", is_detail=True)
        if node_id not in self.cluster.slow_disks or not ready.must_persist:
            self.tell_promises(node_id, ready)
        if ready.restore is not None:
            self.say(node_id, f" restores the snapshot of {ready.restore.index}@{ready.restore.term}")
        if ready.committed:
            self.say(node_id, f" applies {entries_text(ready.committed)}")
            for entry in ready.committed:
                assert self.committed.setdefault(entry.index, entry) == entry, "two nodes applied different entries"
        for state in ready.reads:
            self.tell_read(node_id, state)

    def tell_read(self, node_id: NodeId, state: ReadState) -> None:
        answer = f"sees all up to {state.index}" if state.index is not None else "must be asked anew"
        self.say(node_id, f" {state.token} {answer}")

    def tell_promises(self, node_id: NodeId, ready: Ready) -> None:
        self.tell_requests(node_id, ready.requests)
        for answer in ready.answers:
            packet: Any = answer.token
            text = response_text(packet.sent.request, answer.response)
            self.say(node_id, f" {self.arrow(node_id, packet.source)} {text}", is_detail=True)

    def tell_requests(self, node_id: NodeId, requests: Iterable[Outgoing]) -> None:
        for sent in requests:
            self.say(node_id, f" {self.arrow(node_id, sent.to)} {request_text(sent)}", is_detail=True)

    def arrow(self, node_id: NodeId, to: NodeId) -> str:
        return f"{'-x' if (node_id, to) in self.cluster.cut else '->'} {to.key}:"

    @staticmethod
    def write_text(ready: Ready) -> str:
        hard, parts = ready.hard_state, []
        if hard is not None:
            vote = hard.vote.key if hard.vote is not None else "none"
            parts.append(f"term {hard.term}, vote {vote}, commit {hard.commit}")
        if ready.entries:
            parts.append(entries_text(ready.entries))
        if ready.chunk is not None:
            parts.append(f"bytes {ready.chunk.offset}..{ready.chunk.offset + len(ready.chunk.data)} of a snapshot")
        if ready.install is not None:
            parts.append(f"snapshot {ready.install.index}@{ready.install.term} in place of the log")
        return "; ".join(parts)

    # ------------------------------------------------------------ packets

    @staticmethod
    def link(packet: Packet) -> tuple[NodeId, NodeId]:
        there, back = packet.source, packet.sent.to
        return (there, back) if packet.response is None else (back, there)

    def on(self, link: str, number: str | None = None) -> list[Packet]:
        """What is on the way on a link "a->b", "a->*" or "*->b": all, or the n-th."""
        source, target = link.split("->")
        packets = [
            packet
            for packet in self.cluster.packets
            if source in {"*", self.link(packet)[0].key} and target in {"*", self.link(packet)[1].key}
        ]
        chosen = packets if number is None else packets[int(number) - 1 : int(number)]
        if not chosen:
            self.lines.append("  nothing is on the way there")
        return chosen

    def take(self, packet: Packet) -> None:
        self.cluster.packets = [other for other in self.cluster.packets if other is not packet]

    def hand_over(self, packet: Packet) -> None:
        target = self.link(packet)[1]
        if target in self.cluster.cores and isinstance(packet.response, ReadIndexResponse):
            self.tell_read(target, ReadState("its read", packet.response.index))
        self.cluster.deliver(packet)
        self.finish()

    def settle(self, *, kinds: tuple[type[Request], ...] = (), steps: int = 2_000) -> None:
        """Deliver until nothing moves any more; kinds: only these requests, and the answers to them."""
        for _ in range(steps):
            self.finish()
            awake = (packet for packet in self.cluster.packets if self.link(packet)[1] not in self.paused)
            packet = next((one for one in awake if not kinds or isinstance(one.sent.request, kinds)), None)
            if packet is None:
                return
            self.take(packet)
            self.hand_over(packet)
        raise AssertionError(f"still busy after {steps} packets")

    # ------------------------------------------------------------ commands: nodes

    def core(self, name: str) -> RaftCore:
        return self.cluster.cores[NodeId(name)]

    def do_nodes(self, *words: str) -> None:
        """nodes a b c [learner=d] [option=value …]: a new cluster; options are those of RaftConfig."""
        names = [word for word in words if "=" not in word]
        options = dict(word.split("=") for word in words if "=" in word)
        learners = options.pop("learner", "").split()
        values: dict[str, Any] = {"heartbeat_interval": 0.1, "snapshot_trailing_entries": 0}
        values |= {name: float(text) if "." in text else int(text) for name, text in options.items()}
        nodes = names + learners
        self.cluster = self.make_cluster(len(names), learners=len(learners), config=RaftConfig(**values), names=nodes)
        for node in nodes:
            self.start(node)
            self.seen[NodeId(node)] = self.state(self.core(node))
            self.core(node).ready()  # the founding entry, which says nothing
        self.cluster.watch = self.watch

    def start(self, name: str) -> None:
        """Start a node with what its disk holds; the later its turn, the longer its election timeouts."""
        node_id = NodeId(name)
        if node_id not in self.draws:
            self.draws[node_id] = Draws()
            self.draws[node_id].value = (len(self.draws) - 1) / 10
        self.cluster.random = self.draws[node_id]
        self.cluster.start(node_id)

    def do_stored(self, name: str, *terms: str) -> None:
        """stored a 1 1 2 …: the node begins anew, with a log of entries of these terms, the founding entry included."""
        disk = self.cluster.disks[NodeId(name)]
        entries = [
            LogEntry(int(term), index, LiteCommand(LiteKind.DATA, "", 0, f"{index}.{term}".encode()))
            for index, term in enumerate(terms, 1)
        ]
        disk.entries = disk.entries[:1] + entries[1:]
        disk.hard_state = HardState(entries[-1].term, None, 1)
        self.start(name)

    def do_crash(self, name: str) -> None:
        """crash a: what was not persisted is lost."""
        node_id = NodeId(name)
        self.stale += [packet.sent for packet in self.cluster.packets if packet.source == node_id]
        del self.cluster.cores[node_id], self.seen[node_id]
        self.cluster.writing.pop(node_id, None)

    def do_restart(self, name: str) -> None:
        """restart a: with what it persisted."""
        self.start(name)

    def do_join(self, name: str) -> None:
        """join d: a node with an empty store starts; `add` makes it a member."""
        self.cluster.add(NodeId(name), Stored())
        self.start(name)

    def do_wipe(self, name: str) -> None:
        """wipe a: it crashes, loses its store, and starts under its old name."""
        self.do_crash(name)
        self.do_join(name)

    def do_slow(self, name: str) -> None:
        """slow a: its writes last until `persist a`."""
        self.cluster.slow_disks.add(NodeId(name))

    def do_fast(self, name: str) -> None:
        """fast a: writes are done at once again."""
        self.cluster.slow_disks.discard(NodeId(name))

    def do_persist(self, name: str) -> None:
        """persist a: the write under way is done."""
        node_id = NodeId(name)
        if (ready := self.cluster.writing.get(node_id)) is None:
            self.say(node_id, " has nothing to write")
            return
        self.cluster.finish_write(node_id)
        self.say(node_id, " has written it", is_detail=True)
        self.tell_promises(node_id, ready)

    def do_compact(self, name: str) -> None:
        """compact a: a snapshot takes the place of the log."""
        self.cluster.compact(NodeId(name))
        self.do_log(name)

    def do_rot(self, name: str) -> None:
        """rot a: a byte of its stored snapshot changes."""
        disk = self.cluster.disks[NodeId(name)]
        disk.snapshot_data = bytes([disk.snapshot_data[0] ^ 1]) + disk.snapshot_data[1:]

    def do_log(self, *names: str) -> None:
        """log a b …: what is in their logs."""
        for name in names:
            self.say(NodeId(name), f" has {log_text(self.core(name))}")

    # ------------------------------------------------------------ commands: time

    def do_draw(self, name: str, value: str) -> None:
        """draw a 0.5: its election timeouts are from now on in the middle between the shortest and the longest."""
        self.draws[NodeId(name)].value = float(value)

    def do_tick(self, name: str) -> None:
        """tick a: its next deadline comes; nobody else's timer fires."""
        core = self.core(name)
        self.cluster.now = max(self.cluster.now, core.next_deadline)
        core.handle_timer(self.cluster.now)

    def do_wait(self, seconds: str) -> None:
        """wait 5s: time passes for all nodes, and all messages arrive at once."""
        end, self.is_terse = self.cluster.now + float(seconds.removesuffix("s")), True
        self.settle()
        while due := [core for core in self.awake() if core.next_deadline <= end]:
            self.cluster.now = max(self.cluster.now, min(core.next_deadline for core in due))
            for core in self.awake():
                core.handle_timer(self.cluster.now)
            self.settle()
        self.cluster.now = end

    def awake(self) -> Iterator[RaftCore]:
        return (core for node_id, core in self.cluster.cores.items() if node_id not in self.paused)

    def do_sleep(self, seconds: str) -> None:
        """sleep 5s: time passes while all nodes stand still; nothing moves."""
        self.cluster.now += float(seconds.removesuffix("s"))

    def do_pause(self, name: str) -> None:
        """pause a: the process stands still; what is sent to it waits."""
        self.paused.add(NodeId(name))

    def do_resume(self, name: str) -> None:
        """resume a: it goes on, and finds out how late it is."""
        self.paused.discard(NodeId(name))

    def do_elect(self, name: str) -> None:
        """elect a: its election timeout comes, and votes are delivered; what it sends as the leader stays on the way."""
        self.is_terse = True
        self.do_tick(name)
        self.settle(kinds=(PreVoteRequest, VoteRequest))
        if self.core(name).role is not Role.LEADER:
            self.say(NodeId(name), " is not elected")

    # ------------------------------------------------------------ commands: messages

    def do_deliver(self, link: str, number: str | None = None) -> None:
        """deliver a->b [n]: all that is on the way there now, or only the n-th."""
        for packet in self.on(link, number):
            self.take(packet)
            self.hand_over(packet)

    def do_repeat(self, link: str, number: str = "1") -> None:
        """repeat a->b [n]: deliver the n-th, and it stays on the way."""
        for packet in self.on(link, number):
            self.hand_over(packet)

    def do_drop(self, link: str, number: str | None = None) -> None:
        """drop a->b [n]: all that is on the way there now, or only the n-th, is lost."""
        for packet in self.on(link, number):
            self.take(packet)

    def do_fail(self, link: str) -> None:
        """fail a->b: what is on the way is lost, and a learns of it."""
        for packet in self.on(link):
            self.take(packet)
            self.cluster.cores[packet.source].unreachable(packet.sent, self.cluster.now)

    def do_settle(self) -> None:
        """settle: deliver all, until nothing moves any more; tells only who is what, and what is applied."""
        self.is_terse = True
        self.settle()

    def do_cut(self, *links: str) -> None:
        """cut a->b …: what is on the way, and what is sent from now on, is lost. cut a: all of its links."""
        for link in links:
            ends = [NodeId(name) for name in link.split("->")]
            others = [other for other in self.cluster.disks if other != ends[0]]
            both_ways = [(ends[0], other) for other in others] + [(other, ends[0]) for other in others]
            self.cluster.cut |= {(ends[0], ends[1])} if len(ends) == 2 else set(both_ways)

    def do_heal(self) -> None:
        """heal: all links work again."""
        self.cluster.cut.clear()

    # ------------------------------------------------------------ commands: users

    def do_propose(self, name: str, *texts: str) -> None:
        """propose a "x" "y" …"""
        commands = [LiteCommand(LiteKind.DATA, "", 0, text.encode()) for text in texts]
        self.core(name).propose(commands, self.cluster.now)

    def do_read(self, name: str) -> None:
        """read a: a linearizable read; a follower asks its leader for the read index."""
        core, node_id = self.core(name), NodeId(name)
        if core.role is Role.LEADER or core.leader is None:
            self.reads += 1
            core.read(f"read {self.reads}", self.cluster.now)
        else:
            sent = Outgoing(core.leader, ReadIndexRequest(core.term, node_id))
            self.cluster.packets.append(self.make_packet(node_id, sent))
            self.tell_requests(node_id, [sent])

    def do_change(self, name: str, node: str, member: Member | None) -> None:
        self.core(name).change(member, NodeId(node), self.cluster.now)

    def do_add(self, name: str, node: str) -> None:
        """add a d: a adds d as a learner."""
        self.do_change(name, node, Member(NodeId(node), voter=False))

    def do_promote(self, name: str, node: str) -> None:
        """promote a d: a makes d a voter, be it a learner or new."""
        self.do_change(name, node, Member(NodeId(node)))

    do_demote = do_add

    def do_remove(self, name: str, node: str) -> None:
        """remove a d"""
        self.do_change(name, node, None)

    def do_transfer(self, name: str, target: str) -> None:
        """transfer a b: a hands the leadership over."""
        self.core(name).transfer(NodeId(target), self.cluster.now)


def play(text: str, make_cluster: MakeCluster, make_packet: type[Packet]) -> str:
    """The scenario with what really happened below each command."""
    world, lines = World(make_cluster, make_packet), []
    for line in text.splitlines():
        if line.startswith("> "):
            lines += [line, *world.do(line[2:])]
        elif not line.startswith(" "):
            lines.append(line)
    return "\n".join(lines) + "\n"
