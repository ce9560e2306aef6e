"""The rules of Raft, checked after every step from outside: from what a core hands out, sends, and shows of itself.

Nothing of a core's inside is read, so a core that is wrong in a way that nobody thought of is still caught by what it
does. Log matching needs no comparison of whole logs: if (index, term) has one command and one predecessor's term
everywhere, equal entries have equal prefixes by induction (Raft §5.3); so each entry is looked at once, when it is
handed out. What is known of a node's log is therefore a list of terms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    Configuration,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Outgoing,
    PreVoteResponse,
    Ready,
    Response,
    Role,
    SnapshotMeta,
    Stored,
    decode_configuration,
)
from orbit_lite.testing.simulation.world import Violation, World

if TYPE_CHECKING:
    from orbit_lite.testing.simulation.client import Attempt
    from orbit_lite.testing.simulation.network import Rpc
    from orbit_lite.testing.simulation.node import SimulatedNode

__all__ = ["RULES", "Invariants"]

#: What can be broken, and what it says.
RULES = {
    "election safety": "a term has at most one leader, over the whole run (Raft §5.2)",
    "elected by a majority": "a leader has the votes of a majority for its term, on their disks (Raft §5.2)",
    "leader append-only": "a leader never overwrites or deletes its entries (Raft §5.3)",
    "log matching": "entries of equal index and term are equal, and so is all before them (Raft §5.3)",
    "consistent suffix": "a follower deletes only what conflicts with its leader's log (Raft §5.3)",
    "leader completeness": "what was committed is in the log of every later leader (Raft §5.4)",
    "commit rule": "a leader commits by counting only entries of its own term (Raft §5.4.2)",
    "durable majority": "what is committed is durable on a majority of the voters (Raft §5.3)",
    "state machine safety": "an index has one command and one result, on every node, over restarts (Raft §5.4.3)",
    "commit before apply": "nothing is applied that was not committed (Raft, figure 2)",
    "snapshot": "a snapshot is what a replay of the log gives, with the configuration in force there (Raft §7)",
    "monotone": "term and commit never go back; a vote stays as it is within its term (Raft, figure 2)",
    "durable before reply": "what an answer or a request promises is on disk before it leaves (Raft, figure 2)",
    "membership": "one node at a time, after an entry of its term, after the last change (thesis 4.1; raft-dev 2015)",
    "configuration in force": "the latest configuration in the log counts, committed or not (thesis 4.1)",
    "acknowledged": "what a client was told to be done stays done",
    "fresh read": "a linearizable read sees all that was acknowledged before it began (thesis 6.4)",
    "one write at a time": "no Ready must be persisted before the one before it is",
    "known peers": "requests go to nodes that some configuration names",
    "reads": "a read is answered to who asked",
    "exactly once": "a session's command takes effect once (thesis 6.3)",
    "linearizability": "the history of all clients has a sequential explanation",
    "liveness": "without faults a leader is elected and a write is acknowledged in time",
    "convergence": "without faults all members apply the same entries in time",
    "no crash": "no input lets a node fail",
}

_UNKNOWN = -1  # a term that only a snapshot knew


def _voted(voter: SimulatedNode, candidate: SimulatedNode, term: int) -> bool:
    """Whether the voter's disk, or one that it lost, says so; a later term hides what it voted before."""
    states = [disk.hard_state for disk in (voter.disk, *voter.former_disks)]
    return any(state.term > term or (state.term, state.vote) == (term, candidate.node_id) for state in states)


class _Mirror:
    """What is known of one node: the terms of its log, and what it showed at the last look."""

    __slots__ = ("base", "commit", "configurations", "leader_of", "role", "snapshot", "term", "terms", "vote")

    def __init__(self) -> None:
        self.term = 0
        self.vote: NodeId | None = None
        self.commit = 0
        self.role = Role.FOLLOWER
        self.leader_of = 0
        self.base = 0  # index before terms[0]
        self.terms: list[int] = []
        self.snapshot: SnapshotMeta | None = None
        self.configurations: list[tuple[int, Configuration]] = []  # those in the log, by index

    @property
    def last_index(self) -> int:
        return self.base + len(self.terms)

    def term_at(self, index: int) -> int:
        place = index - self.base - 1
        if 0 <= place < len(self.terms):
            return self.terms[place]
        if self.snapshot is not None and index == self.snapshot.index:
            return self.snapshot.term
        return 0 if index == 0 else _UNKNOWN


class Invariants:
    """All rules over one run. Every method raises Violation.

    leaders: of each term. acknowledged_index: the highest index of an acknowledged write.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.leaders: dict[int, NodeId] = {}
        self.acknowledged_index = 0
        self.committed: tuple[int, int] = (0, 0)  # the highest committed (index, term)
        self.acknowledgements: list[tuple[int, str, int]] = []  # index, client, seq
        self._mirrors: dict[NodeId, _Mirror] = {}
        self._entries: dict[tuple[int, int], tuple[object, int]] = {}  # (index, term) → command, term before
        self._applied: dict[int, tuple[LogEntry, bytes | None]] = {}
        self._effects: dict[tuple[str, int], bytes] = {}  # (client, seq) → its result
        self._latest: dict[str, int] = {}  # of each client, the seq that took effect last
        self._snapshots: dict[int, SnapshotMeta] = {}
        self._decoded: dict[bytes, Configuration] = {}
        self._nodes: dict[NodeId, SimulatedNode] = {}

    def _fail(self, rule: str, node: SimulatedNode | None, message: str) -> None:
        who = f"{node.node_id.key} " if node is not None else ""
        raise Violation(rule, who + message, time=self.world.now)

    def configuration(self, data: bytes) -> Configuration:
        found = self._decoded.get(data)
        if found is None:
            found = self._decoded[data] = decode_configuration(data)
        return found

    # ---------------------------------------------------------------- what a node has and hands out

    def started(self, node: SimulatedNode, stored: Stored) -> None:
        """The node's process began anew, on what was durable."""
        before = self._mirrors.get(node.node_id)
        mirror = self._mirrors[node.node_id] = _Mirror()
        self._nodes[node.node_id] = node
        mirror.snapshot = stored.snapshot
        if stored.entries:
            mirror.base = stored.entries[0].index - 1
        elif stored.snapshot is not None:
            mirror.base = stored.snapshot.index
        for entry in stored.entries:
            self._append(node, mirror, entry)
        if before is None:  # the founders' first entry is committed from the beginning
            self.committed = max(self.committed, (stored.hard_state.commit, mirror.term_at(stored.hard_state.commit)))
        mirror.commit = stored.hard_state.commit
        core = node.core
        if (core.term, core.vote) != (stored.hard_state.term, stored.hard_state.vote):
            self._fail("monotone", node, f"starts in term {core.term}, stored was {stored.hard_state.term}")
        mirror.term, mirror.vote = core.term, core.vote

    def handed_out(self, node: SimulatedNode, ready: Ready) -> None:
        """A Ready left the core."""
        mirror = self._mirrors[node.node_id]
        if ready.entries:
            first = ready.entries[0].index
            if first <= mirror.last_index:
                if mirror.leader_of == node.core.term and node.core.role is Role.LEADER:
                    self._fail("leader append-only", node, f"overwrites {first} of its {mirror.last_index} entries")
                if mirror.term_at(first) == ready.entries[0].term:
                    self._fail("consistent suffix", node, f"rewrites from entry {first}, which it has")
                if first <= self._nodes[node.node_id].applied:
                    self._fail("state machine safety", node, f"overwrites entry {first}, which it applied")
                del mirror.terms[max(0, first - mirror.base - 1) :]
                while mirror.configurations and mirror.configurations[-1][0] >= first:
                    mirror.configurations.pop()
            elif first != mirror.last_index + 1:
                self._fail("log matching", node, f"leaves a gap between {mirror.last_index} and {first}")
            for entry in ready.entries:
                self._append(node, mirror, entry)

    def _append(self, node: SimulatedNode, mirror: _Mirror, entry: LogEntry) -> None:
        index, term, command = entry.index, entry.term, entry.command
        before = mirror.term_at(index - 1)
        known = self._entries.get((index, term))
        if known is None:
            self._entries[index, term] = (command, before)
            if isinstance(command, LiteCommand) and command.kind is LiteKind.CONFIG:
                self._appended_configuration(node, mirror, entry, command)
        else:
            if known[0] is not command and known[0] != command:
                self._fail("log matching", node, f"has another command in entry {index} of term {term}")
            if known[1] != before and _UNKNOWN not in (known[1], before):
                self._fail("log matching", node, f"has term {before} before entry {index}/{term}, others {known[1]}")
            if known[1] == _UNKNOWN:
                self._entries[index, term] = (command, before)
        if before > term:
            self._fail("log matching", node, f"has an entry of term {term} behind one of term {before}")
        mirror.terms.append(term)
        if isinstance(command, LiteCommand) and command.kind is LiteKind.CONFIG:
            mirror.configurations.append((index, self.configuration(command.data)))

    def _appended_configuration(
        self, node: SimulatedNode, mirror: _Mirror, entry: LogEntry, command: LiteCommand
    ) -> None:
        """A change of the membership enters a log for the first time: its leader's."""
        core = node.core
        if core.role is not Role.LEADER or core.term != entry.term:
            return
        before = self._in_force(mirror)
        if before is None:
            return
        if mirror.configurations and mirror.configurations[-1][0] > core.commit:
            self._fail("membership", node, "changes it again before the last change is committed")
        if mirror.term_at(core.commit) != core.term:
            self._fail("membership", node, f"changes it before an entry of its term {core.term} is committed")
        old = {member.node_id: member.voter for member in before.members}
        new = {member.node_id: member.voter for member in self.configuration(command.data).members}
        if len(changed := [key for key in old | new if old.get(key) != new.get(key)]) > 1:
            self._fail("membership", node, f"changes several nodes at once: {changed}")

    @staticmethod
    def _in_force(mirror: _Mirror) -> Configuration | None:
        if mirror.configurations:
            return mirror.configurations[-1][1]
        return mirror.snapshot.configuration if mirror.snapshot is not None else None

    def saved(self, node: SimulatedNode, ready: Ready, intact: bool) -> None:
        """A Ready is durable. intact: its snapshot was installed, where it held one."""
        if ready.install is not None and intact:
            mirror = self._mirrors[node.node_id]
            mirror.snapshot = ready.install
            mirror.base = ready.install.index
            mirror.terms.clear()
            mirror.configurations.clear()

    # ---------------------------------------------------------------- what a node shows

    def observe(self, node: SimulatedNode) -> None:
        """Look at a node that may have changed."""
        core, mirror = node.core, self._mirrors[node.node_id]
        term, vote, commit, role = core.term, core.vote, core.commit, core.role
        if term != mirror.term or vote != mirror.vote:
            if term < mirror.term:
                self._fail("monotone", node, f"goes back from term {mirror.term} to {term}")
            if term == mirror.term and mirror.vote is not None:
                self._fail("monotone", node, f"votes in term {term} for {vote} after {mirror.vote}")
            mirror.term, mirror.vote = term, vote
        led = mirror.leader_of == term  # it may have committed its own removal, and stepped down at once
        if role is not mirror.role:
            if self.world.trace is not None:
                self.world.note(node.node_id.key, f"= {mirror.role.value} → {role.value} in term {term}")
            mirror.role = role
            if role is not Role.LEADER:
                mirror.leader_of = 0
        if role is Role.LEADER and mirror.leader_of != term:
            self._elected(node, mirror, term)
        if commit != mirror.commit:
            if commit < mirror.commit:
                self._fail("monotone", node, f"goes back from commit {mirror.commit} to {commit}")
            mirror.commit = commit
            if led or role is Role.LEADER:
                self._commits(node, commit, term)
        if core.last_index == mirror.last_index == core.log.handed:  # else entries have changed that we were not shown
            expected = self._in_force(mirror)
            if expected is not None and core.configuration is not expected and core.configuration != expected:
                self._fail("configuration in force", node, f"goes by {core.configuration}, its log has {expected}")

    def _elected(self, node: SimulatedNode, mirror: _Mirror, term: int) -> None:
        self.world.coverage["election"] += 1
        mirror.leader_of = term
        if self.leaders.setdefault(term, node.node_id) != node.node_id:
            self._fail("election safety", node, f"leads term {term}, as did {self.leaders[term].key}")
        voters = node.core.configuration.voters
        voted = [  # itself too: of a vote that is not on its disk yet nobody else hears
            peer
            for peer, voter in self._nodes.items()
            if peer in voters and (voter is node or _voted(voter, node, term))
        ]
        if len(voted) * 2 <= len(voters):
            names = " ".join(sorted(peer.key for peer in voted)) or "nobody"
            self._fail("elected by a majority", node, f"leads term {term}; of {len(voters)} voters {names} chose it")
        self._complete(node, mirror)

    def _complete(self, node: SimulatedNode, mirror: _Mirror) -> None:
        index, term = self.committed
        if term > mirror.term:
            return  # a leader that is late: its votes are older than this commit, and it can commit nothing itself
        covered = mirror.snapshot is not None and mirror.snapshot.index >= index
        if not covered and mirror.term_at(index) != term:
            self._fail(
                "leader completeness", node, f"leads term {mirror.term} without the committed entry {index}/{term}"
            )

    def _commits(self, node: SimulatedNode, index: int, term: int) -> None:
        """A leader's commit advanced to index, all by itself: it must have counted well."""
        voters = node.core.configuration.voters
        having = [
            peer
            for peer in voters
            if (holder := self._nodes.get(peer)) is not None
            and (holder.disk.holds(index, term) or any(disk.holds(index, term) for disk in holder.former_disks))
        ]
        if len(having) * 2 <= len(voters):
            stored = {entry_term for peer in voters if (entry_term := node.nodes[peer].disk.term_at(index))}
            rule = "commit rule" if stored and term not in stored else "durable majority"
            self._fail(
                rule,
                node,
                f"commits entry {index} in term {term}, which {len(having)} of {len(voters)} voters have on disk",
            )
        if index > self.committed[0]:
            self.committed = (index, term)
            for other in self._nodes.values():
                seen = self._mirrors[other.node_id]
                if other.is_up and seen.role is Role.LEADER and seen.term > term:
                    self._complete(other, seen)

    # ---------------------------------------------------------------- what leaves a node

    def sends(self, node: SimulatedNode, sent: Outgoing) -> None:
        """A request leaves."""
        request, stored = sent.request, node.disk.hard_state
        if isinstance(request, AppendEntriesRequest | InstallSnapshotRequest):
            if stored.term != request.term:
                self._fail("durable before reply", node, f"leads term {request.term}, on disk is {stored.term}")
        elif isinstance(request, VoteRequest) and (stored.term, stored.vote) != (request.term, node.node_id):
            self._fail("durable before reply", node, f"asks for votes of term {request.term} before its own is on disk")

    def answers(self, node: SimulatedNode, rpc: Rpc, response: Response) -> None:
        """A response leaves."""
        disk, request = node.disk, rpc.sent.request
        stored = disk.hard_state
        if response.term > stored.term and not isinstance(response, PreVoteResponse):
            self._fail("durable before reply", node, f"answers in term {response.term}, on disk is {stored.term}")
        if isinstance(response, AppendEntriesResponse):
            if response.success and isinstance(request, AppendEntriesRequest):
                index = request.prev_log_index + len(request.entries)
                term = request.entries[-1].term if request.entries else request.prev_log_term
                if index and not disk.holds(index, term):
                    self._fail("durable before reply", node, f"confirms entry {index}/{term}, which is not on disk")
        elif isinstance(response, VoteResponse):
            if response.vote_granted and isinstance(request, VoteRequest):
                promised = (request.term, request.candidate_id)
                if stored.term == request.term and (stored.term, stored.vote) != promised:
                    self._fail("durable before reply", node, f"votes for {promised[1].key}, on disk is {stored.vote}")
        elif isinstance(response, InstallSnapshotResponse) and isinstance(request, InstallSnapshotRequest):
            meta = request.meta
            installed = (disk.snapshot is not None and disk.snapshot.index >= meta.index) or (
                disk.holds(meta.index, meta.term)
            )
            is_current = disk.incoming is None or disk.incoming == meta  # else a newer one took its place meanwhile
            if is_current and not installed and response.next_offset > len(disk.incoming_data):
                self._fail("durable before reply", node, f"confirms a snapshot up to byte {response.next_offset}")

    # ---------------------------------------------------------------- what reaches the state machine

    def applied(self, node: SimulatedNode, entry: LogEntry, result: bytes | None) -> None:
        """An entry was applied."""
        index = entry.index
        if index > self.committed[0]:
            self._fail("commit before apply", node, f"applies entry {index}, committed is {self.committed[0]}")
        known = self._applied.get(index)
        if known is not None:
            if known[0] is not entry and known[0] != entry:
                self._fail("state machine safety", node, f"applies {entry}, another node applied {known[0]}")
            if known[1] != result:
                self._fail("state machine safety", node, f"entry {index} gives {result!r}, elsewhere {known[1]!r}")
            return
        self._applied[index] = (entry, result)
        command = entry.command
        if isinstance(command, LiteCommand) and command.kind is LiteKind.DATA:
            key = (command.client, command.seq)
            if result is not None and self._effects.setdefault(key, result) != result:
                self._fail("exactly once", node, f"applies {command.client}'s command {command.seq} again")

    def snapshot(self, node: SimulatedNode, meta: SnapshotMeta) -> None:
        """A node made a snapshot of its state machine."""
        known = self._snapshots.setdefault(meta.index, meta)
        if known != meta:
            self._fail("snapshot", node, f"has another state after entry {meta.index} than others had")

    def restored(self, node: SimulatedNode, meta: SnapshotMeta) -> None:
        """A node took over a snapshot."""
        if self._snapshots.get(meta.index) != meta:
            self._fail("snapshot", node, f"restores a snapshot up to {meta.index} that nobody made")

    # ---------------------------------------------------------------- what clients are told

    def read(self, node: SimulatedNode, attempt: Attempt, index: int) -> None:
        """A read may be answered once index is applied."""
        if index < attempt.floor:
            self._fail("fresh read", node, f"reads at {index}; {attempt.floor} was acknowledged before the read began")

    def acknowledged(self, attempt: Attempt, index: int) -> None:
        """A client was told that its write is done. index: 0 for a read."""
        if index:
            self.acknowledged_index = max(self.acknowledged_index, index)
            self.acknowledgements.append((index, attempt.client.name, attempt.seq))

    def check_acknowledged(self) -> None:
        """At the end: every acknowledged write is where it was said to be."""
        for index, client, seq in self.acknowledgements:
            entry = self._applied[index][0] if index in self._applied else None
            command: Any = entry.command if entry is not None else None
            if not isinstance(command, LiteCommand) or (command.client, command.seq) != (client, seq):
                self._fail(
                    "acknowledged", None, f"{client}'s write {seq} was acknowledged as entry {index}, there is {entry}"
                )
