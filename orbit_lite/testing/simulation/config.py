"""How a simulated run looks. Durations are virtual seconds."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.errors import ConfigurationError
from orbit_lite.raft import RaftConfig
from orbit_lite.testing.simulation.faults import KINDS

__all__ = ["SimulationConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """The defaults find each known way to break Raft within a few hundred seeds."""

    steps: int = 2_000  # events that have an effect; then all faults end, and liveness is checked
    clients: int = 4  # each with one operation under way at a time
    spares: int = 2  # nodes that are no members at first, for changes of the membership
    raft: RaftConfig | None = None  # None: drawn for each seed, with tiny limits so that snapshots happen all the time
    faults: frozenset[str] = frozenset(KINDS)  # kinds that may happen; empty for a calm run
    fault_interval: float = 0.7  # between two actions, on average; each seed takes a multiple of it
    adversary: float = 0.5  # share of the runs that have one, see adversary.py
    rpc_timeout: float = 1.0  # until a request without answer is given up
    recovery: float = 20.0  # until a write must be acknowledged once faults ended, in longest election timeouts

    def __post_init__(self) -> None:
        if unknown := self.faults - {*KINDS}:
            raise ConfigurationError(f"faults={sorted(unknown)}: unknown; there are {', '.join(KINDS)}")
        for name in ("steps", "clients", "fault_interval", "rpc_timeout", "recovery"):
            if (value := getattr(self, name)) <= 0:
                raise ConfigurationError(f"{name}={value}: must be above 0")
        if not 0 <= self.adversary <= 1:
            raise ConfigurationError(f"adversary={self.adversary}: must be in [0, 1]")
        if self.spares < 0:
            raise ConfigurationError(f"spares={self.spares}: must not be negative")
