"""Whole Raft clusters in virtual time: one seed, one run, repeatable to the last message.

    report = Simulation(seed, nodes=3, state_machine=MyMachine, workload=MyWorkload()).run()
    assert report.ok, report.problem

The consensus core that runs here is the one that ships; time, network, disks and clients are simulated. Every rule of
Raft (`RULES`) is checked after every step, and the clients' history is checked for linearizability at the end.
"""

from orbit_lite.testing.simulation.batch import EFFECTS, Summary, explain, run_seed, run_seeds
from orbit_lite.testing.simulation.config import SimulationConfig
from orbit_lite.testing.simulation.faults import KINDS, Action
from orbit_lite.testing.simulation.invariants import RULES
from orbit_lite.testing.simulation.linearizability import ILLEGAL, Call, Model, Verdict, check_linearizability
from orbit_lite.testing.simulation.machine import KeyValueMachine, KeyValueOperation, KeyValueWorkload, Workload
from orbit_lite.testing.simulation.run import Plan, Report, Simulation
from orbit_lite.testing.simulation.shrink import shrink

__all__ = [
    "EFFECTS",
    "ILLEGAL",
    "KINDS",
    "RULES",
    "Action",
    "Call",
    "KeyValueMachine",
    "KeyValueOperation",
    "KeyValueWorkload",
    "Model",
    "Plan",
    "Report",
    "Simulation",
    "SimulationConfig",
    "Summary",
    "Verdict",
    "Workload",
    "check_linearizability",
    "explain",
    "run_seed",
    "run_seeds",
    "shrink",
]
