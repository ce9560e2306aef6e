"""What a scenario needs: contenders and their processes, how long to measure, and where the figures go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Contender, Pair, environment
from benchmarks.results import Results

#: One thing to do, and how the progress line names it.
Step = tuple[str, Callable[[], None]]

OURS = "orbit-lite"
REFERENCE = "grpc.aio"
FLOOR = "asyncio echo"

#: Seconds for which a just-in-time compiler is given work before it is measured, once per scenario; and others.
WARM_UP_PYPY, WARM_UP = 4.0, 0.3


@dataclass(slots=True)
class Run:
    """One run of the benchmark."""

    contenders: Sequence[Contender]
    repeats: int = 5
    seconds: float = 1.0
    quick: bool = False
    results: Results = field(default_factory=Results)
    pairs: dict[str, Pair] = field(default_factory=dict)
    etcd: Path | None = None
    """The program, for the scenario `raft`."""
    closing: list[Callable[[], None]] = field(default_factory=list)
    """What a scenario has to end that did not come to its end itself; calling it again must have no effect."""

    def of_kind(self, *kinds: str) -> list[Contender]:
        return [contender for contender in self.contenders if contender.kind in kinds]

    def pair(self, contender: Contender) -> Pair:
        """Its two processes with default settings, which live as long as the run."""
        if contender.name not in self.pairs:
            self.pairs[contender.name] = Pair(contender)
        return self.pairs[contender.name]

    def warm_up(self, contender: Contender) -> float:
        """Seconds."""
        if self.quick:
            return self.seconds * (4 if contender.pypy else 1)
        return WARM_UP_PYPY if contender.pypy else WARM_UP

    def interleaved(self, contenders: Sequence[Contender]) -> Iterator[tuple[int, Contender]]:
        """Repeat by repeat each contender in turn, in the other direction every second time."""
        for repeat in range(self.repeats):
            for contender in contenders if repeat % 2 == 0 else reversed(contenders):
                yield repeat, contender

    def end(self) -> None:
        while self.pairs:
            _, pair = self.pairs.popitem()
            pair.end()
        while self.closing:
            self.closing.pop()()


PROBE = """
import json, platform, sys
print(json.dumps([platform.python_implementation(), platform.python_version()]))
"""


def interpreter(python: str) -> tuple[str, str]:
    """Implementation and version. Raises OSError or subprocess.CalledProcessError when it does not run."""
    found = subprocess.run([python, "-c", PROBE], check=True, capture_output=True, text=True, env=environment())
    implementation, version = json.loads(found.stdout)
    return implementation, version
