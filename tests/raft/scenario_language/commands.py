"""What a scenario can say: `do_name` carries out the command `name`, with the words behind it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orbit_lite.errors import OrbitError
from orbit_lite.model import AppendEntriesResponse, LiteCommand, LiteKind, LogEntry, NodeId, VoteRequest
from orbit_lite.raft import (
    HardState,
    Member,
    Outgoing,
    PreVoteRequest,
    RaftConfig,
    RaftCore,
    ReadIndexRequest,
    Role,
    Stored,
)

from .text import log_text, state_text
from .world import Draws, World

__all__ = ["Commands"]


class Commands(World):
    """A cluster that does as it is told."""

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
            self.seen[NodeId(node)] = state_text(self.core(node))
            self.core(node).ready()  # the founding entry, which says nothing
        self.cluster.watch = self.watch  # from now on all is told

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
        self.stale += self.asked.pop(node_id, [])
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
        """elect a: its election timeout comes, and votes are delivered; what it then sends stays on the way."""
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

    def do_hint(self, link: str, index: str) -> None:
        """hint b->a 2: refusals on the way there hint at 2, as followers with another rule than ours may."""
        for packet in self.on(link):
            if isinstance(packet.response, AppendEntriesResponse) and not packet.response.success:
                self.take(packet)
                poor = replace(packet.response, last_log_index=int(index))
                self.cluster.packets.append(packet._replace(response=poor))

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
