"""One run: a cluster, its clients, and what goes wrong; from a seed to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from orbit_lite.errors import OrbitError
from orbit_lite.model import NodeId
from orbit_lite.raft import Configuration, Member, RaftConfig, Role, StateMachine, bootstrap_state
from orbit_lite.testing.simulation.adversary import Adversary, worst_config
from orbit_lite.testing.simulation.client import SimulatedClient
from orbit_lite.testing.simulation.config import SimulationConfig
from orbit_lite.testing.simulation.disk import SimulatedDisk
from orbit_lite.testing.simulation.faults import Action, Faults, draw_actions, duration, weather
from orbit_lite.testing.simulation.invariants import Invariants
from orbit_lite.testing.simulation.linearizability import Call, check_linearizability
from orbit_lite.testing.simulation.machine import KeyValueMachine, KeyValueWorkload, Workload
from orbit_lite.testing.simulation.network import Network
from orbit_lite.testing.simulation.node import SimulatedNode
from orbit_lite.testing.simulation.world import Violation, World

__all__ = ["Plan", "Report", "Simulation"]

_MOST_ACTIONS = 2_000  # of a run; more than any run of ordinary length gets to


@dataclass(frozen=True, slots=True)
class Plan:
    """Which part of a seed's draws is used. The whole of it is the seed's run; shrinking leaves parts out.

    actions: None for all. steps: fault phase ends then. clients: how many take part. calm: the network begins without
    loss, and there is no adversary.
    """

    steps: int
    clients: int
    actions: tuple[Action, ...] | None = None
    calm: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run.

    time: virtual seconds. rule, problem: what was broken, empty if nothing. digest: equal in equal runs. actions: what
    was done to the cluster. coverage: how often each thing happened.
    """

    seed: int
    nodes: int
    steps: int
    time: float
    digest: int
    plan: Plan
    rule: str = ""
    problem: str = ""
    actions: tuple[Action, ...] = ()
    coverage: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    trace: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.rule


class Simulation:
    """A cluster in virtual time. `run` once.

    nodes: how many found the cluster. state_machine: makes one replica of what is tested. workload: what clients do to
    it; needed for every machine but the key-value store.
    """

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        *,
        state_machine: Callable[[], StateMachine] = KeyValueMachine,
        workload: Workload[Any] | None = None,
        config: SimulationConfig | None = None,
        plan: Plan | None = None,
        traced: bool = False,
    ) -> None:
        self.config = config = config or SimulationConfig()
        self.plan = plan = plan or Plan(config.steps, config.clients)
        self.founders = nodes
        self.world = world = World(seed, traced=traced)
        self.raft = config.raft or draw_raft_config(world.stream("raft config"))
        luck = world.stream("luck").random
        has_adversary = luck() < config.adversary and bool(config.faults) and not plan.calm
        if has_adversary and config.raft is None:
            self.raft = worst_config(self.raft, luck)
        self.network = Network(world, rpc_timeout=config.rpc_timeout)
        self.invariants = Invariants(world)
        self.by_id: dict[NodeId, SimulatedNode] = {}
        self._random = world.stream("cluster")
        self.is_healing = False
        self._ended = False
        self._done: list[Action] = []
        if workload is None:
            workload = KeyValueWorkload()
        ids = [NodeId(f"n{number}") for number in range(1, nodes + config.spares + 1)]
        founding = bootstrap_state(Configuration("simulation", tuple(Member(node_id) for node_id in ids[:nodes])))
        for number, node_id in enumerate(ids):
            disk = SimulatedDisk(f"store {number}.0")
            if number < nodes:
                disk.hard_state, disk.entries = founding.hard_state, list(founding.entries)
            self.by_id[node_id] = SimulatedNode(
                node_id,
                number,
                disk,
                world=world,
                network=self.network,
                nodes=self.by_id,
                invariants=self.invariants,
                config=self.raft,
                state_machine=state_machine,
                workload=workload,
                died=self._died,
            )
        self.nodes = list(self.by_id.values())
        self.workload = workload
        self.clients = [
            SimulatedClient(
                f"c{number}",
                world,
                workload,
                self.nodes[:nodes],
                self.by_id,
                acknowledged=lambda: self.invariants.acknowledged_index,
            )
            for number in range(1, plan.clients + 1)
        ]
        self.faults = Faults(self)
        self.adversary = Adversary(self) if has_adversary else None

    # ---------------------------------------------------------------- what faults ask

    def leader(self) -> SimulatedNode | None:
        """The leader of the highest term, as nobody in the cluster can know it."""
        leaders = [node for node in self.nodes if node.is_up and node.core.role is Role.LEADER]
        return max(leaders, key=lambda node: node.core.term, default=None)

    def _died(self, node: SimulatedNode) -> None:
        """Somebody restarts the process, sooner or later."""
        self.world.after(duration(self._random.random()), self.restart, node, node.incarnation)

    def restart(self, node: SimulatedNode, incarnation: int) -> None:
        if not node.is_up and node.incarnation == incarnation:
            self.world.coverage["restart"] += 1
            node.start()

    # ---------------------------------------------------------------- the run

    def run(self) -> Report:
        """Run to the end, or to the first broken rule."""
        rule = problem = ""
        try:
            self._begin()
            self._advance(lambda: self.world.steps >= self.plan.steps)
            self._recover()
            self._check_history()
        except Violation as violation:
            rule, problem = violation.rule, violation.message
        except OrbitError as error:
            rule, problem = "no crash", f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  (a core that fails is a finding, and the seed is to be reported)
            rule, problem = "no crash", f"{type(error).__name__}: {error} ({_place(error)})"
        return Report(
            seed=self.world.seed,
            nodes=self.founders,
            steps=self.world.steps,
            time=self.world.now,
            digest=self.world.digest,
            plan=self.plan,
            rule=rule,
            problem=problem,
            actions=tuple(self._done),
            coverage=dict(sorted(self.world.coverage.items())),
            calls=sum(len(client.calls) for client in self._everybody()),
            trace=tuple(self.world.trace or ()),
        )

    def _begin(self) -> None:
        draws = self._random.random(), self._random.random(), self._random.random()
        if self.config.faults and not self.plan.calm:
            self.network.weather = weather(*draws)
        for node in self.nodes:
            node.start()
        for client in self.clients:
            self.world.after(0.5 + self._random.random(), client.begin)
        actions: Iterable[Action] = draw_actions(self) if self.plan.actions is None else self.plan.actions
        if self.adversary is not None:
            self.adversary.begin()
            if self.adversary.is_alone:
                actions = ()
        self._actions = islice(actions, _MOST_ACTIONS)
        self._next_action()

    def _next_action(self) -> None:
        if (action := next(self._actions, None)) is not None:
            self.world.at(max(action.time, self.world.now), self._act, action)

    def _act(self, action: Action) -> None:
        if not self.is_healing:
            self._done.append(action)
            self.faults.act(action)
            self._next_action()

    def _advance(self, is_over: Callable[[], bool]) -> bool:
        """Let things happen until the condition holds; False when nothing happens any more."""
        advance = self.world.advance
        while not is_over():
            if not advance():
                return False
        return True

    # ---------------------------------------------------------------- the end

    def _recover(self) -> None:
        """End all faults; a leader, a write, and equal states must follow in time."""
        world, invariants = self.world, self.invariants
        self.is_healing = True
        self.faults.end()
        if self.world.trace is not None:
            self.world.note("fault", "all faults end")
        patience = self.config.recovery * self.raft.election_timeout_max
        deadline, done = world.now + patience, len(invariants.acknowledgements)
        self._advance(lambda: len(invariants.acknowledgements) > done or world.now > deadline)
        if len(invariants.acknowledgements) == done:
            raise Violation("liveness", f"no write in {patience:g} s without faults: {self._state()}", time=world.now)
        deadline = world.now + patience
        self._advance(lambda: self._has_converged(invariants.acknowledged_index) or world.now > deadline)
        if world.now > deadline:
            raise Violation("convergence", f"not in {patience:g} s without faults: {self._state()}", time=world.now)
        invariants.check_acknowledged()
        self._check_replicas()

    def _has_converged(self, index: int) -> bool:
        leader = self.leader()
        return leader is not None and all(
            node.applied >= index
            for member in leader.core.configuration.members
            if not self.faults.is_known_wiped(node := self.by_id[member.node_id])
        )

    def _check_replicas(self) -> None:
        """Replicas that applied equally much have equal states."""
        states: dict[int, bytes] = {}
        for node in self.nodes:
            if node.is_up and node.applied:
                state = node.replica.snapshot()
                if states.setdefault(node.applied, state) != state:
                    raise Violation("state machine safety", f"{node.node_id.key} has another state at {node.applied}")

    def _everybody(self) -> list[SimulatedClient]:
        return [*self.clients, *(self.adversary.clients if self.adversary is not None else ())]

    def _check_history(self) -> None:
        history: list[Call[Any]] = []
        for client in self._everybody():
            client.finish()
            history += client.calls
        verdict = check_linearizability(history, self.workload)
        if verdict.ok is not True:
            raise Violation("linearizability", str(verdict), time=self.world.now)

    def _state(self) -> str:
        return "; ".join(
            f"{node.node_id.key} {node.core.role.value} term {node.core.term} commit {node.core.commit} of "
            f"{node.core.last_index} applied {node.applied}"
            if node.is_up
            else f"{node.node_id.key} down"
            for node in self.nodes
        )


def draw_raft_config(random: Random) -> RaftConfig:
    """Limits so small that each of them is reached; etcd's ratio of heartbeat to election timeout, or less."""
    lease_reads = random.random() < 0.3
    return RaftConfig(
        election_timeout_min=1.0,
        election_timeout_max=2.0,
        heartbeat_interval=random.choice((0.15, 0.25, 0.4)),
        pre_vote=random.random() < 0.8,
        check_quorum=lease_reads or random.random() < 0.8,
        lease_reads=lease_reads,
        max_append_bytes=random.choice((1, 300, 1_000, 100_000)),
        max_append_entries=random.choice((1, 2, 5, 100)),
        max_inflight_appends=random.choice((1, 2, 8)),
        max_inflight_bytes=random.choice((300, 3_000, 100_000)),
        max_uncommitted_entries=random.choice((5, 20, 1_000)),
        max_uncommitted_bytes=random.choice((1_000, 100_000)),
        snapshot_entries=random.choice((5, 10, 10, 40)),
        snapshot_trailing_entries=random.choice((0, 1, 5, 20)),
        snapshot_chunk_bytes=random.choice((64, 200, 10_000)),
    )


def _place(error: BaseException) -> str:
    """Where an exception was raised: file and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"
