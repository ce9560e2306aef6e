"""Virtual time: a queue of what happens next, and randomness that a seed repeats.

Nothing here waits and nothing reads a clock. Everything random comes from a stream with a name, so that a change in one
part of a run (one message less) leaves the draws of the other parts as they were, and shrinking has something to hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from orbit_lite.errors import InternalError

__all__ = ["Violation", "World"]


class Violation(InternalError):
    """A rule was broken. rule: its name; time: virtual seconds since the run began."""

    def __init__(self, rule: str, message: str, *, time: float = 0.0) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.time = time


class World:
    """Time, events and chance of one run.

    now: virtual seconds. steps: events so far that something came of. digest: of all steps; equal in equal runs.
    trace: lines for people, or None when nobody will read them. coverage: how often each fault took effect.
    """

    __slots__ = ("_number", "_queue", "coverage", "digest", "now", "seed", "steps", "trace")

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.digest = 0
        self.trace: list[str] | None = [] if traced else None
        self.coverage: Counter[str] = Counter()
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._number = 0

    def stream(self, name: str) -> Random:
        """Randomness of its own for one part of the run."""
        return Random(f"{self.seed}/{name}")

    def at(self, time: float, call: Callable[..., object], *arguments: Any) -> None:
        """Let something happen; what is due at the same instant happens in the order of these calls."""
        self._number += 1
        heappush(self._queue, (time, self._number, call, arguments))

    def after(self, delay: float, call: Callable[..., object], *arguments: Any) -> None:
        self._number += 1
        heappush(self._queue, (self.now + delay, self._number, call, arguments))

    def advance(self) -> bool:
        """Let the next thing happen; False when there is none."""
        if not self._queue:
            return False
        self.now, _, call, arguments = heappop(self._queue)
        call(*arguments)
        return True

    def step(self, what: int, *facts: float) -> None:
        """Count an event that had an effect, and mix it into the digest; only numbers, whose hash is fixed."""
        self.steps += 1
        self.digest = hash((self.digest, self.now, what, facts))

    def note(self, who: object, what: str) -> None:
        """A line of the trace. Building `what` costs more than the event: ask `trace is not None` first."""
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f}  {who!s:<6} {what}")
