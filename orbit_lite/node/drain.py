"""The order of a graceful stop, as a table.

New work is turned away before old work is awaited, and what answers for the node goes last: peers hear DRAINING first,
so that they place nothing new here; then actor streams and calls finish; only then do sockets close. Each step has a
share of the time that is left; a step that overruns its share is cut, named, and the next one begins.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["STEPS", "DrainReport", "DrainStep", "StepResult", "share"]


class DrainStep(enum.Enum):
    """What is done, in this order."""

    HEALTH = "health"  # every service NOT_SERVING: load balancers look elsewhere
    ANNOUNCE = "announce"  # peers hear DRAINING: nothing new is placed here
    STREAMS = "streams"  # actor streams take no new message, answer what is pending, end
    ACTORS = "actors"  # mailboxes run dry, actors are deactivated
    CALLS = "calls"  # the listener closes, unary calls finish


#: Each step with the largest part of the remaining time that it may take.
STEPS: Sequence[tuple[DrainStep, float]] = (
    (DrainStep.HEALTH, 0.1),
    (DrainStep.ANNOUNCE, 0.2),
    (DrainStep.STREAMS, 0.7),
    (DrainStep.ACTORS, 0.9),
    (DrainStep.CALLS, 1.0),
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step went: seconds taken, and whether it ended by itself."""

    step: DrainStep
    seconds: float
    completed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain did: calls that finished in it, calls that were cancelled at its end, and every step."""

    finished_calls: int = 0
    cancelled_calls: int = 0
    steps: tuple[StepResult, ...] = ()

    @property
    def completed(self) -> bool:
        """True when every step ended by itself and no call was cut."""
        return not self.cancelled_calls and all(step.completed for step in self.steps)


def share(fraction: float, *, now: float, deadline: float) -> float:
    """Seconds that a step may take: its fraction of what is left, never negative. Both times are monotonic seconds."""
    return max(0.0, (deadline - now) * fraction)
