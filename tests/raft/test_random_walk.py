"""Three to five cores in a bad world: packets are lost, doubled and reordered, nodes crash, disks are slow, snapshots
are taken, members come and go. After every step the properties of figure 3 hold; when all is well again, so does
progress (Raft §5.4.3, §8)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from orbit_lite.model import LogEntry, NodeId, RaftCommand
from orbit_lite.raft import (
    ChangeRefused,
    Member,
    NotLeader,
    ProposalDropped,
    RaftConfig,
    Ready,
    Role,
    TransferFailed,
)

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster

SEEDS = range(200)
STEPS = 400


class Walk:
    """One random history, and what must be true of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random = cluster.random
        self.leaders: dict[int, NodeId] = {}
        self.logged: dict[tuple[int, int], tuple[int | None, RaftCommand]] = {}
        self.committed: dict[int, LogEntry] = {}
        self.votes: dict[tuple[NodeId, int], NodeId] = {}
        self.seen: dict[NodeId, tuple[int, int]] = {}
        self.asked: dict[int, int] = {}
        self.proposals = 0
        cluster.watch = self.check_ready

    # ------------------------------------------------------------ properties

    def check_ready(self, node_id: NodeId, ready: Ready) -> None:
        core = self.cluster.cores[node_id]
        for entry in ready.entries:  # log matching, by induction over the entry before
            before = core.term_at(entry.index - 1)
            known = self.logged.setdefault((entry.index, entry.term), (before, entry.command))
            assert known[1] == entry.command, "two entries at one index of one term"
            assert before is None or known[0] is None or known[0] == before, "logs part before a common entry"
        for entry in ready.committed:
            known_entry = self.committed.setdefault(entry.index, entry)
            assert known_entry == entry, "two nodes applied different entries at one index"
        for state in ready.reads:
            assert isinstance(state.token, int)
            assert state.index is None or state.index >= self.asked[state.token], "a read missed a commit before it"

    def check_cores(self) -> None:
        for node_id, disk in self.cluster.disks.items():  # a vote that was lost before it was durable was never heard
            if disk.hard_state.vote is not None:
                vote = self.votes.setdefault((node_id, disk.hard_state.term), disk.hard_state.vote)
                assert vote == disk.hard_state.vote, "a vote changed within a term"
        for node_id, core in self.cluster.cores.items():
            term, commit = self.seen.get(node_id, (0, 0))
            assert core.term >= term, "a term went back"
            assert core.commit >= commit or core.commit >= core.applied
            self.seen[node_id] = core.term, core.commit
            assert core.fault is None, core.fault
            if core.role is Role.LEADER and core.term not in self.leaders:
                self.leaders[core.term] = node_id
                for index, entry in self.committed.items():
                    assert index < core.first_index - 1 or core.term_at(index) == entry.term, "a leader lacks a commit"
            assert core.role is not Role.LEADER or self.leaders[core.term] == node_id, "two leaders in a term"

    # ------------------------------------------------------------ what happens

    def step(self) -> None:
        cluster, chance = self.cluster, self.random.random()
        if cluster.packets and chance < 0.8:
            at = self.random.randrange(min(len(cluster.packets), 8))
            packet = cluster.packets.pop(at)
            fate = self.random.random()
            if fate < 0.9:
                cluster.deliver(packet)
            elif packet.source in cluster.cores and fate < 0.95:
                cluster.cores[packet.source].unreachable(packet.sent, cluster.now)
            if 0.85 < fate < 0.9:
                cluster.packets.append(packet)
        else:
            self.random.choice(self.acts)(self)
        cluster.now += self.random.random() * 0.02
        for node_id, core in cluster.cores.items():
            if core.next_deadline <= cluster.now:
                core.handle_timer(cluster.now)
            cluster.pump(node_id)
        self.check_cores()

    def propose(self) -> None:
        for core in self.cluster.cores.values():
            if core.role is Role.LEADER:
                self.proposals += 1
                with suppress(NotLeader, ProposalDropped):
                    core.propose([self.command()] * self.random.randrange(1, 4), self.cluster.now)

    def command(self) -> RaftCommand:
        from orbit_lite.model import LiteCommand, LiteKind

        return LiteCommand(LiteKind.DATA, "", 0, b"p%d" % self.proposals)

    def read(self) -> None:
        for core in self.cluster.cores.values():
            if core.role is Role.LEADER:
                token = len(self.asked)
                self.asked[token] = max(self.committed, default=0)
                core.read(token, self.cluster.now)

    def wait(self) -> None:
        self.cluster.now += self.random.random() * 0.3

    def finish_write(self) -> None:
        for node_id in list(self.cluster.writing):
            self.cluster.finish_write(node_id)

    def toggle_disk(self) -> None:
        self.cluster.slow_disks ^= {self.random.choice(list(self.cluster.disks))}

    def crash_or_start(self) -> None:
        cluster = self.cluster
        node_id = self.random.choice(list(cluster.disks))
        if node_id not in cluster.cores:
            cluster.start(node_id)
            self.seen.pop(node_id, None)
        elif self.random.random() < 0.3:
            cluster.crash(node_id)

    def cut_or_heal(self) -> None:
        nodes = list(self.cluster.disks)
        if self.random.random() < 0.5:
            self.cluster.heal()
        else:
            self.cluster.cut.add((self.random.choice(nodes), self.random.choice(nodes)))

    def compact(self) -> None:
        if self.cluster.cores:
            self.cluster.compact(self.random.choice(list(self.cluster.cores)))

    def transfer(self) -> None:
        for core in self.cluster.cores.values():
            if core.role is Role.LEADER:
                with suppress(TransferFailed):
                    core.transfer(self.random.choice(list(self.cluster.disks)), self.cluster.now)

    def change(self) -> None:
        for core in list(self.cluster.cores.values()):
            if core.role is Role.LEADER:
                node_id = self.random.choice([*self.cluster.disks, NodeId(f"n{len(self.cluster.disks) + 1}")])
                kind = self.random.choice([None, Member(node_id), Member(node_id, voter=False)])
                if kind is None and len(core.configuration.voters) < 3:
                    continue
                if kind is not None and node_id not in self.cluster.disks:
                    if len(self.cluster.disks) > 5:
                        continue
                    self.cluster.add(node_id)
                with suppress(ChangeRefused):
                    core.change(kind, node_id, self.cluster.now)

    acts: tuple[Callable[[Walk], None], ...] = (
        *[propose] * 6,
        *[read] * 3,
        *[wait] * 4,
        *[finish_write] * 3,
        toggle_disk,
        crash_or_start,
        crash_or_start,
        cut_or_heal,
        compact,
        transfer,
        change,
    )

    def recover(self) -> None:
        """All faults end: a leader is there, and what it proposes is committed everywhere."""
        cluster = self.cluster
        cluster.heal()
        cluster.slow_disks.clear()
        for node_id in cluster.disks:
            if node_id not in cluster.cores:
                cluster.start(node_id)
                self.seen.pop(node_id, None)
            cluster.finish_write(node_id)
        cluster.settle()
        cluster.advance(10 * cluster.config.election_timeout_max)
        index = cluster.propose("last")
        cluster.advance(2 * cluster.config.election_timeout_max)
        self.check_cores()
        leader = cluster.leader()
        assert leader.commit >= index
        expected = cluster.data_of(leader.node_id)
        for member in leader.configuration.members:
            assert cluster.data_of(member.node_id) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_breaks_a_property_of_figure_3(cluster: Callable[..., Cluster], seed: int) -> None:
    config = RaftConfig(
        heartbeat_interval=0.1,
        election_timeout_min=0.5,
        election_timeout_max=1.0,
        pre_vote=seed % 3 != 0,
        lease_reads=seed % 4 == 1,
        max_append_entries=3,
        max_inflight_appends=3,
        snapshot_trailing_entries=seed % 3,
        snapshot_chunk_bytes=64,
    )
    walk = Walk(cluster(3 + seed % 3, config=config, seed=seed))
    for _ in range(STEPS):
        walk.step()
    walk.recover()
