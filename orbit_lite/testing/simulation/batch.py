"""Many seeds, on all processors, and what they came to."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from orbit_lite.raft import StateMachine
from orbit_lite.testing.simulation.adversary import ATTACKS
from orbit_lite.testing.simulation.config import SimulationConfig
from orbit_lite.testing.simulation.faults import KINDS
from orbit_lite.testing.simulation.machine import KeyValueMachine, Workload
from orbit_lite.testing.simulation.run import Plan, Report, Simulation
from orbit_lite.testing.simulation.shrink import shrink

__all__ = ["EFFECTS", "Summary", "explain", "run_seed", "run_seeds"]

#: What faults bring about besides themselves; a batch in which one never happened has not tested it.
EFFECTS = (
    *ATTACKS,
    *(f"crash {point}" for point in ("before a write", "during a write", "after a write", "between sends")),
    "crash before applying",
    "crash after applying",
    "write lost",
    "write kept",
    "write torn",
    "slow write",
    "message cut off",
    "message held back",
    "message lost",
    "message late",
    "message doubled",
    "response lost",
    "stale message",
    "message of a wiped node refused",
    "snapshot taken",
    "snapshot installed",
    "snapshot installation interrupted",
    "snapshot damaged on the way",
    "snapshot replaced while it was sent",
    "read at a follower",
    "operation given up",
    "change of membership refused",
    "election",
    "restart",
)


def run_seed(
    seed: int,
    nodes: int | None = None,
    *,
    state_machine: Callable[[], StateMachine] = KeyValueMachine,
    workload: Callable[[], Workload[Any]] | None = None,
    config: SimulationConfig | None = None,
    plan: Plan | None = None,
    traced: bool = False,
) -> Report:
    """Run one seed. nodes: how many found the cluster; None: 3 for even seeds, 5 for odd ones."""
    return Simulation(
        seed,
        nodes or (5 if seed % 2 else 3),
        state_machine=state_machine,
        workload=workload() if workload is not None else None,
        config=config,
        plan=plan,
        traced=traced,
    ).run()


def explain(report: Report, run: Callable[[Plan, bool], Report], *, attempts: int = 300) -> Report:
    """The shortest failing run found from a failing one, with its trace. run: (plan, traced) of the same seed."""
    shortest = shrink(report, lambda plan: run(plan, False), attempts=attempts)
    return run(shortest.plan, True)


@dataclass(slots=True)
class Summary:
    """What a batch came to. coverage: sums over all runs."""

    seeds: int = 0
    steps: int = 0
    time: float = 0.0
    calls: int = 0
    coverage: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.steps += report.steps
        self.time += report.time
        self.calls += report.calls
        self.coverage.update(report.coverage)

    @property
    def never(self) -> list[str]:
        """Faults and effects that did not occur in any run."""
        return [name for name in (*KINDS, *EFFECTS) if not self.coverage[name]]


def run_seeds(seeds: Iterable[int], *, jobs: int = 1, **options: Any) -> Generator[Report, None, None]:
    """Run seeds, as `run_seed` does; reports in the order of the seeds. jobs: processes; close it to end them.

    With more than one, state machine and workload must be importable, as for `multiprocessing`.
    """
    run = partial(_run_briefly, **options)
    if jobs == 1:
        yield from map(run, seeds)
        return
    # A ctrl-C goes to all of a terminal's processes; one of them is enough to say so, and ends the others.
    quiet = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=quiet) as pool:
        yield from pool.imap(run, seeds, chunksize=4)


def _run_briefly(seed: int, **options: Any) -> Report:
    report = run_seed(seed, **options)
    return replace(report, actions=()) if report.ok else report
