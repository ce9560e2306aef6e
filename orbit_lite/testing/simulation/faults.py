"""What goes wrong, and when: actions drawn from a seed before the run knows its own state.

An action is a time, a kind and three numbers in [0, 1). Which node it hits is decided when it happens ("the leader",
"the second"), so an action keeps its meaning when others are left out, as shrinking does it. Each seed draws its own
mix: some kinds only, seldom or often (swarm testing, Groce et al. 2012), because faults hide each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from orbit_lite.raft import ChangeRefused, Member, NotLeader, TransferFailed
from orbit_lite.testing.simulation.disk import SimulatedDisk
from orbit_lite.testing.simulation.network import Link, Weather
from orbit_lite.testing.simulation.node import TRAPS, SimulatedNode

if TYPE_CHECKING:
    from orbit_lite.testing.simulation.run import Simulation

__all__ = ["KINDS", "Action", "Faults", "draw_actions"]

ACTED = 8  # kind of step


@dataclass(frozen=True, slots=True)
class Action:
    """Something that is done to the cluster. time: virtual seconds; draws: what decides the details."""

    time: float
    kind: str
    draws: tuple[float, float, float]

    def __str__(self) -> str:
        return f"{self.time:9.4f}  {self.kind} {' '.join(f'{draw:.3f}' for draw in self.draws)}"


def duration(draw: float, longest: float = 6.0) -> float:
    """From 50 ms to `longest` seconds, short ones as often as long ones in orders of magnitude."""
    return 0.05 * math.pow(longest / 0.05, draw)


def draw_actions(simulation: Simulation) -> Iterator[Action]:
    """The actions of a seed, without end."""
    random = simulation.world.stream("faults")
    kinds = [kind for kind in KINDS if kind in simulation.config.faults]
    mix = [kind for kind in kinds if random.random() < 0.5] or kinds
    weights = [random.random() ** 2 + 0.05 for _ in mix]
    interval = simulation.config.fault_interval * random.choice((0.4, 1.0, 1.0, 2.5))
    time = 0.0
    while mix:
        time += random.expovariate(1 / interval)
        yield Action(time, random.choices(mix, weights)[0], (random.random(), random.random(), random.random()))


class Faults:
    """Does the actions to a simulation, and undoes them.

    wiped: members that lost their store and were not removed yet; at most one, as an operator who loses a majority's
    stores has lost the cluster.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.network = simulation.network
        self.nodes = simulation.nodes
        self.wiped: list[SimulatedNode] = []
        self._cuts: list[frozenset[Link]] = []
        self._stores = 0
        self._does = {kind: getattr(self, "_" + kind.replace(" ", "_").replace("-", "_")) for kind in KINDS}

    def act(self, action: Action) -> None:
        """Do one action, if it makes sense now; what took effect is counted."""
        done = self._does[action.kind](*action.draws)
        if done:
            self.world.step(ACTED, len(action.kind), *action.draws)
            self.world.coverage[action.kind] += 1
            if self.world.trace is not None:
                self.world.note("fault", f"{action.kind}: {done}")

    # ---------------------------------------------------------------- whom

    def _node(self, draw: float) -> SimulatedNode:
        """The leader in four of ten cases, else any node."""
        if draw < 0.4 and (leader := self.simulation.leader()) is not None:
            return leader
        return self.nodes[int((draw * 10 % 1) * len(self.nodes))]

    def _running(self, draw: float) -> SimulatedNode | None:
        node = self._node(draw)
        return node if node.is_up and not node.is_paused else None

    # ---------------------------------------------------------------- processes

    def _kill(self, who: float, _how: float, _: float) -> str:
        if (node := self._running(who)) is None:
            return ""
        node.kill()
        return node.node_id.key

    def _kill_all(self, *_: float) -> str:
        for node in self.nodes:
            node.kill("loses power")
        return "the whole cluster loses power"

    def _crash_point(self, who: float, where: float, when: float) -> str:
        if (node := self._running(who)) is None:
            return ""
        node.trap = (TRAPS[int(where * len(TRAPS))], int(when * 4))
        return f"{node.node_id.key} will die {node.trap[0]}, time {node.trap[1] + 1}"

    def _pause(self, who: float, length: float, _: float) -> str:
        if (node := self._running(who)) is None:
            return ""
        node.pause()
        self.world.after(duration(length), self._resume, node, node.incarnation)
        return f"{node.node_id.key} for {duration(length):.2f} s"

    def _resume(self, node: SimulatedNode, incarnation: int) -> None:
        if node.is_paused and node.incarnation == incarnation:
            if self.world.trace is not None:
                self.world.note(node.node_id.key, "goes on")
            node.resume()

    # ---------------------------------------------------------------- disks

    def _slow_disk(self, who: float, length: float, how: float) -> str:
        node = self._node(who)
        node.maximum_write = duration(how, 4.0)
        self.world.after(duration(length), self._fast_disk, node)
        return f"{node.node_id.key}: writes take up to {node.maximum_write:.2f} s"

    def _fast_disk(self, node: SimulatedNode) -> None:
        node.maximum_write = 0.008

    def _disk_full(self, who: float, _how: float, _: float) -> str:
        return self._failing(who, "full")

    def _disk_error(self, who: float, _how: float, _: float) -> str:
        return self._failing(who, "io error")

    def _failing(self, who: float, why: str) -> str:
        if (node := self._running(who)) is None:
            return ""
        node.disk.fails_next = why
        return f"{node.node_id.key}: the next write fails"

    # ---------------------------------------------------------------- network

    def _partition(self, groups: float, length: float, _: float) -> str:
        """Two sides that do not hear each other."""
        sides = int(groups * ((1 << len(self.nodes)) - 2)) + 1
        return self._cut_between(lambda a, b: (sides >> a & 1) != (sides >> b & 1), length)

    def _isolation(self, who: float, length: float, _: float) -> str:
        alone = self._node(who).number
        return self._cut_between(lambda a, b: alone in (a, b), length)

    def _one_way_partition(self, who: float, length: float, which: float) -> str:
        """A node that is not heard, or does not hear."""
        one = self._node(who).number
        if which < 0.4:
            return self._cut_between(lambda a, _: a == one, length)
        if which < 0.8:
            return self._cut_between(lambda _, b: b == one, length)
        other = int(which * 1000) % len(self.nodes)
        return self._cut_between(lambda a, b: (a, b) == (one, other), length)

    def _bridge(self, who: float, length: float, groups: float) -> str:
        """Two sides that only one node hears, and which both hear it."""
        bridge, sides = self._node(who).number, int(groups * (1 << len(self.nodes)))
        return self._cut_between(lambda a, b: bridge not in (a, b) and (sides >> a & 1) != (sides >> b & 1), length)

    def _flapping(self, who: float, length: float, often: float) -> str:
        node, times = self._node(who).number, 2 + int(often * 6)
        span = duration(length, 2.0)
        for turn in range(times):
            self.world.after(turn * 2 * span, self._cut_between, lambda a, b: node in (a, b), 0.0, span)
        return f"{self.nodes[node].node_id.key}, {times} times for {span:.2f} s"

    def _cut_between(self, is_cut: Callable[[int, int], bool], length: float, exactly: float | None = None) -> str:
        everyone = range(len(self.nodes))
        cut = frozenset((a, b) for a in everyone for b in everyone if a != b and is_cut(a, b))
        if not cut:
            return ""
        self._cuts.append(cut)
        self._join_cuts()
        span = duration(length, 8.0) if exactly is None else exactly
        self.world.after(span, self._heal, cut)
        name = [node.node_id.key for node in self.nodes]
        return f"{' '.join(f'{name[a]}→{name[b]}' for a, b in sorted(cut))} for {span:.2f} s"

    def cut(self, is_cut: Callable[[int, int], bool], span: float) -> None:
        """Cut the links between the nodes of these numbers, for `span` seconds."""
        self._cut_between(is_cut, 0.0, span)

    def _heal(self, cut: frozenset[Link]) -> None:
        if cut in self._cuts:
            self._cuts.remove(cut)
            self._join_cuts()

    def _join_cuts(self) -> None:
        self.network.cut = set().union(*self._cuts)

    def _held_link(self, one: float, other: float, length: float) -> str:
        """A link that keeps what it is given and delivers it later, in any order."""
        link = (self._node(one).number, int(other * len(self.nodes)))
        if link[0] == link[1] or link in self.network.held:
            return ""
        self.network.held[link] = []
        self.world.after(duration(length), self.network.release, link)
        return f"{self.nodes[link[0]].node_id.key}→{self.nodes[link[1]].node_id.key} for {duration(length):.2f} s"

    def _weather_change(self, bad: float, slow: float, late: float) -> str:
        self.network.weather = weather(bad, slow, late)
        return f"{self.network.weather.lost:.2f} of all messages are lost"

    def _stale_messages(self, share: float, *_: float) -> str:
        return f"{number} old requests arrive again" if (number := self.network.replay(share)) else ""

    def _damaged_snapshots(self, who: float, share: float, _: float) -> str:
        node = self._node(who)
        node.damage = share * 0.5
        self.world.after(2.0, self._sound_snapshots, node)
        return node.node_id.key

    def _sound_snapshots(self, node: SimulatedNode) -> None:
        node.damage = 0.0

    # ---------------------------------------------------------------- clocks

    def _clock_jump(self, who: float, length: float, _: float) -> str:
        """A clock that leaps ahead. Lease reads trust clocks, so they are not simulated with it."""
        if self.simulation.raft.lease_reads:
            return ""
        node = self._node(who)
        node.set_clock(jump=duration(length, 3600.0))
        return f"{node.node_id.key}: {duration(length, 3600.0):.2f} s ahead"

    def _clock_drift(self, who: float, how: float, _: float) -> str:
        """A clock that is fast or slow; with lease reads any two differ by no more than the configured share."""
        node = self._node(who)
        bound = self.simulation.raft.max_clock_drift / 2 * 0.95 if self.simulation.raft.lease_reads else 0.6
        node.set_clock(rate=1 + (how * 2 - 1) * bound)
        return f"{node.node_id.key}: {node.clock_rate:.3f}"

    # ---------------------------------------------------------------- membership

    def _add_learner(self, who: float, *_: float) -> str:
        return self._add(who, voter=False)

    def _add_voter(self, who: float, *_: float) -> str:
        return self._add(who, voter=True)

    def _add(self, who: float, *, voter: bool) -> str:
        if (leader := self._settled_leader()) is None:
            return ""
        outside = [node for node in self.nodes if leader.core.configuration.member(node.node_id) is None]
        return self._change(leader, outside, who, voter) if outside else ""

    def _promotion(self, who: float, *_: float) -> str:
        if (leader := self._settled_leader()) is None:
            return ""
        learners = [node for node in self.nodes if node.node_id in leader.core.configuration.learners]
        return self._change(leader, learners, who, True) if learners else ""

    def _demotion(self, who: float, *_: float) -> str:
        if (leader := self._settled_leader()) is None or len(leader.core.configuration.voters) < 3:
            return ""
        voters = [node for node in self.nodes if node.node_id in leader.core.configuration.voters]
        return self._change(leader, voters, who, False)

    def _removal(self, who: float, rarely: float, _: float) -> str:
        leader = self.simulation.leader()
        if leader is None or leader.is_paused:
            return ""
        members = leader.core.configuration.members
        if self.wiped:
            if leader.configuration is not None and leader.configuration.member(self.wiped[0].node_id) is None:
                self.wiped.clear()
                return ""
            return self._change(leader, self.wiped, who, None)
        if len(leader.core.configuration.voters) <= (1 if rarely < 0.1 else 2):
            return ""
        return self._change(leader, [self.simulation.by_id[member.node_id] for member in members], who, None)

    def _settled_leader(self) -> SimulatedNode | None:
        """The leader, if no member waits to be removed because it lost its store."""
        leader = self.simulation.leader()
        return leader if leader is not None and not leader.is_paused and not self.wiped else None

    def _change(self, leader: SimulatedNode, candidates: list[SimulatedNode], who: float, voter: bool | None) -> str:
        node = candidates[int(who * len(candidates))]
        member = None if voter is None else Member(node.node_id, voter=voter)
        try:
            leader.change(member, node.node_id)
        except (ChangeRefused, NotLeader) as error:
            self.world.coverage["change of membership refused"] += 1
            if self.world.trace is not None:
                self.world.note(leader.node_id.key, f"refuses {member or node.node_id.key}: {error}")
            return ""
        return f"{node.node_id.key}, says {leader.node_id.key}"

    def _transfer(self, who: float, *_: float) -> str:
        leader = self.simulation.leader()
        if leader is None or leader.is_paused:
            return ""
        target = self.nodes[int(who * len(self.nodes))]
        try:
            leader.transfer(target.node_id)
        except (TransferFailed, NotLeader):
            self.world.coverage["transfer refused"] += 1
            return ""
        return f"{leader.node_id.key} → {target.node_id.key}"

    def _lost_store(self, who: float, *_: float) -> str:
        """A node comes back under its id without its store. Only while a majority remembers everything."""
        node = self._node(who)
        others = [other for other in self.nodes if other is not node]
        if self.wiped or not all(other.is_up for other in self.nodes):
            return ""
        configurations = [other.core.configuration for other in self.nodes]
        is_member = False
        for configuration, other in zip(configurations, self.nodes, strict=True):
            if configuration.member(node.node_id) is None:
                continue
            is_member = True
            if len(configuration.voters) < 3 and node.node_id in configuration.voters:
                return ""
            if other is not node and node.node_id not in other.disk.peers():
                return ""  # it could not tell the new store from the old one
        if is_member and any(
            node.node_id not in other.disk.peers()
            for other in others
            if any(configuration.member(other.node_id) for configuration in configurations)
        ):
            return ""
        node.kill("loses its store")
        self._stores += 1
        node.wipe(SimulatedDisk(f"store {node.number}.{self._stores}"))
        if is_member:
            self.wiped.append(node)
        return node.node_id.key

    # ---------------------------------------------------------------- the end of all faults

    def end(self) -> None:
        """Heal everything: whole network, fast disks, right clocks, every process up."""
        self._cuts.clear()
        self.network.cut.clear()
        self.network.weather = Weather()
        self.network.tardy.clear()
        for link in list(self.network.held):
            self.network.release(link)
        for node in self.nodes:
            node.damage, node.trap, node.disk.fails_next = 0.0, None, None
            self._fast_disk(node)
            node.set_clock(rate=1.0)
            if node.is_paused:
                node.resume()
            if not node.is_up:
                node.start()
        for one, other in combinations(self.nodes, 2):  # an operator sees to it that stores are known
            for node, peer in ((one, other), (other, one)):
                if peer not in self.wiped and peer.node_id in node.disk.peers():
                    node.disk.remember_peer(peer.node_id, peer.disk.store_id)

    def is_known_wiped(self, node: SimulatedNode) -> bool:
        return node in self.wiped


def weather(bad: float, slow: float, late: float) -> Weather:
    """From calm (half of all draws) to a tenth lost, a tenth doubled and a tenth late."""
    trouble = max(0.0, bad - 0.5) * 2
    return Weather(
        lost=trouble * 0.15,
        doubled=trouble * 0.1,
        late=max(0.0, late - 0.6) * 0.1,
        maximum_delay=duration(slow, 0.3) - 0.04,
    )


KINDS = (
    "kill",
    "kill all",
    "crash point",
    "pause",
    "slow disk",
    "disk full",
    "disk error",
    "partition",
    "isolation",
    "one-way partition",
    "bridge",
    "flapping",
    "held link",
    "weather change",
    "stale messages",
    "damaged snapshots",
    "clock jump",
    "clock drift",
    "add learner",
    "add voter",
    "promotion",
    "demotion",
    "removal",
    "transfer",
    "lost store",
)
