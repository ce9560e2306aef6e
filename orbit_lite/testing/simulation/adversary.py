"""Somebody who sees the whole cluster and wishes it ill: what chance alone brings about too seldom.

Some rules matter only in a few milliseconds after several things went wrong in a row: a lease in the instant when
another leader is elected behind its holder's back. Every second run has an adversary, who arranges such rows, has
clients who read at the oldest of several leaders and write at the newest, and makes legal choices at their worst:
clocks at the edge of what leases allow, elections in quick succession, followers' hints that help little, answers that
may be very late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orbit_lite.errors import OrbitError
from orbit_lite.model import AppendEntriesResponse, NodeId
from orbit_lite.raft import RaftConfig, Response, Role
from orbit_lite.testing.simulation.client import SimulatedClient

if TYPE_CHECKING:
    from orbit_lite.testing.simulation.node import SimulatedNode
    from orbit_lite.testing.simulation.run import Simulation

__all__ = ["ATTACKS", "Adversary", "worst_config"]

ATTACKED = 9  # kind of step

_GLANCE = 0.01  # seconds between two looks at who leads
_ON_LEASES = ("quick restarts", "lost link", "transfer in trouble", "cut-off leader")
_ON_VOTES = ("cut-off leader", "late votes", "old orders")
ATTACKS = tuple(dict.fromkeys(_ON_LEASES + _ON_VOTES))

_LULL = 0.4  # seconds after which all that clients have written is everywhere
_INTERVAL = 2.5  # seconds between two attacks, on average


def worst_config(config: RaftConfig, luck: Callable[[], float]) -> RaftConfig:
    """The same cluster with leases in half of all cases, elections in quick succession, and entries sent one by one."""
    return replace(
        config,
        lease_reads=luck() < 0.5,
        check_quorum=True,
        max_clock_drift=(config.max_clock_drift, 0.4)[int(luck() * 2)],
        election_timeout_max=config.election_timeout_min * (1.1, 1.4, 2.0)[int(luck() * 3)],
        max_append_entries=(1, 2, config.max_append_entries)[int(luck() * 3)],
    )


class Adversary:
    """clients: those who read at the oldest leader and write at the newest; part of the recorded history."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.world = simulation.world
        random = self._random = simulation.world.stream("adversary")
        self.clients = [self._client(reads=number % 2 == 0) for number in range(4)]
        #: Nothing else goes wrong in this run: rows of mishaps are not broken up by others.
        self.is_alone = random.random() < 0.5
        if self.is_alone:
            self._attacks = [random.choice(_ON_LEASES if simulation.raft.lease_reads else _ON_VOTES)]
        else:
            self._attacks = random.sample(ATTACKS, random.randint(1, len(ATTACKS)))
        simulation.network.rpc_timeout *= random.choice((1.0, 4.0))
        if random.random() < 0.5:
            simulation.network.answer_as = self._with_poor_hint

    def _client(self, *, reads: bool) -> _LeadersClient:
        simulation, number = self.simulation, int(self._random.random() * 1e9)
        return _LeadersClient(
            f"{'oldest' if reads else 'newest'}{number}",
            self.world,
            simulation.workload,
            simulation.nodes,
            simulation.by_id,
            acknowledged=lambda: simulation.invariants.acknowledged_index,
            reads=reads,
        )

    def begin(self) -> None:
        """The run begins."""
        for client in self.clients:
            self.world.after(1.0, client.begin)
        self._next()

    def _next(self) -> None:
        self.world.after(self._random.expovariate(1 / _INTERVAL), self._attack)

    def _attack(self) -> None:
        if self.simulation.is_healing:
            return
        leader = self.simulation.leader()
        if leader is not None and not leader.is_paused:
            name = self._random.choice(self._attacks)
            if getattr(self, f"_{name.replace(' ', '_').replace('-', '_')}")(leader):
                self.world.step(ATTACKED, leader.number, len(name))
                self.world.coverage[name] += 1
                self.world.note("attack", f"{name}: {leader.node_id.key}")
        self._next()

    # ---------------------------------------------------------------- attacks

    def _others(self, leader: SimulatedNode) -> list[SimulatedNode]:
        voters = leader.core.configuration.voters
        return [node for node in self.simulation.nodes if node is not leader and node.node_id in voters]

    def _cut_off_leader(self, leader: SimulatedNode) -> bool:
        """Nobody hears it for so long that another one is elected while it may still believe in itself."""
        span = self.simulation.raft.election_timeout_min * (0.9 + 1.6 * self._random.random())
        self.simulation.faults.cut(lambda a, b: leader.number in (a, b), span)
        if self.simulation.raft.lease_reads:
            bound = self.simulation.raft.max_clock_drift / 2 * 0.95
            for node in self.simulation.nodes:
                node.set_clock(rate=1 - bound if node is leader else 1 + bound)
        return True

    def _lost_link(self, leader: SimulatedNode) -> bool:
        """One voter does not hear it any more, but all others."""
        if not (others := self._others(leader)):
            return False
        self._deafen(self._random.choice(others), leader)
        return True

    def _quick_restarts(self, leader: SimulatedNode) -> bool:
        """The same, and when the one campaigns the others have forgotten that they hear the leader."""
        others = self._others(leader)
        if len(others) < 2:
            return False
        deaf = self._random.choice(others)
        self._deafen(deaf, leader)
        for node in others:
            if node is not deaf:
                for turn in range(3):
                    delay = self.simulation.raft.election_timeout_min * (
                        0.9 + 0.25 * turn + 0.1 * self._random.random()
                    )
                    self.world.after(_LULL + delay, self._restart, node)
        return True

    def _deafen(self, deaf: SimulatedNode, leader: SimulatedNode) -> None:
        """No client writes meanwhile: else the log of the one would be too short to win."""
        pair, span = {deaf.number, leader.number}, 2 * self.simulation.raft.election_timeout_max
        for client in self.simulation.clients:
            client.quiet_until = self.world.now + _LULL + span
        self.world.after(_LULL, self.simulation.faults.cut, lambda a, b: {a, b} == pair, span)

    def _restart(self, node: SimulatedNode) -> None:
        if node.is_up and not node.is_paused and not self.simulation.is_healing:
            node.kill("dies for an instant")
            self.world.after(0.02 + 0.1 * self._random.random(), self.simulation.restart, node, node.incarnation)

    def _transfer_in_trouble(self, leader: SimulatedNode) -> bool:
        """The leadership is handed over, and the old leader is cut off before it hears of the new one."""
        if not (others := self._others(leader)):
            return False
        try:
            leader.transfer(self._random.choice(others).node_id)
        except OrbitError:
            return False
        span = self.simulation.raft.election_timeout_min * (0.3 + self._random.random())
        delay = 0.02 * self._random.random()
        self.world.after(delay, self.simulation.faults.cut, lambda a, b: leader.number in (a, b), span)
        return True

    def _late_votes(self, leader: SimulatedNode) -> bool:
        """Without the leader others campaign, and a voter's answers come when the next campaign has begun."""
        if not (others := self._others(leader)):
            return False
        longest = self.simulation.raft.election_timeout_max
        self.simulation.faults.cut(lambda a, b: leader.number in (a, b), 4 * longest)
        number = self._random.choice(others).number
        self.simulation.network.tardy[number] = longest * (0.3 + self._random.random())
        self.world.after(4 * longest, self.simulation.network.tardy.pop, number, None)
        return True

    def _old_orders(self, leader: SimulatedNode) -> bool:
        """What the leader sends is kept back, and arrives when another one leads."""
        network = self.simulation.network
        span = self.simulation.raft.election_timeout_max * (1 + 2 * self._random.random())
        for node in self._others(leader):
            link = (leader.number, node.number)
            if link not in network.held:
                network.held[link] = []
                self.world.after(span, network.release, link)
        return True

    # ---------------------------------------------------------------- legal, and at its worst

    def _with_poor_hint(self, response: Response) -> Response:
        """A follower that refuses may say any index before the one that did not fit, and another program does."""
        if isinstance(response, AppendEntriesResponse) and not response.success:
            return replace(response, last_log_index=int(response.last_log_index * self._random.random()))
        return response


class _LeadersClient(SimulatedClient):
    """Acts while several nodes take themselves for leader. reads: at the oldest one; else it writes at the newest."""

    def __init__(self, *arguments: Any, reads: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reads = reads

    def begin(self) -> None:
        leaders = [node for node in self.nodes if node.is_up and not node.is_paused and node.core.role is Role.LEADER]
        if len(leaders) < 2:
            self.world.after(_GLANCE, self.begin)
            return
        self._target = (min if self._reads else max)(leaders, key=lambda node: node.core.term)
        super().begin()

    def _draw(self) -> tuple[Any, bytes | None]:
        for _ in range(20):  # a workload need not have both
            operation, command = super()._draw()
            if (command is None) == self._reads:
                break
        return operation, command

    def _choose(self, leader: NodeId | None) -> None:
        """It stays where it is."""

    def _rest(self) -> None:
        self._is_waiting = False
        self.world.after(_GLANCE, self.begin)
