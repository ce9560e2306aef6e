"""The controller's end: processes that answer commands, and a contender as a pair of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Contender:
    """Who is measured, and by which interpreter."""

    name: str
    """As in the tables."""
    kind: str
    """As in side.CONTENDERS."""
    python: str = sys.executable
    pypy: bool = False


class SideFailed(Exception):
    """A process of a contender ended, or could not be started; its own words are on stderr."""


def environment(variables: dict[str, str] | None = None) -> dict[str, str]:
    """For child processes of any interpreter: the project from this checkout, whatever is installed there."""
    paths = [str(ROOT), str(ROOT / "gen"), str(ROOT / "scripts")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(variables or {})}


def halves(cpus: Sequence[int]) -> tuple[list[int], list[int]]:
    """CPUs for server and client; none, which leaves it to the system, when there are fewer than two.

    Left to itself, the kernel runs two processes that wake each other now on one CPU, now on two: the same case differs
    by a factor of two from one repeat to the next, and the libraries with threads suffer most.
    """
    if len(cpus) < 2:
        return [], []
    ordered = sorted(cpus)
    middle = len(ordered) // 2
    return ordered[:middle], ordered[middle:]


def available() -> list[int]:
    """CPUs that can be given to processes; none where the system or this interpreter has no such call."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def busy() -> float | None:
    """Seconds of CPU that the whole machine has used so far; None where there is no /proc."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(field) for field in file.readline().split()[1:9]]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, *interrupts_and_steal = fields
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


class Process:
    """A child that takes one JSON line a command and answers with one."""

    def __init__(
        self,
        python: str,
        module: str,
        *arguments: str,
        cpus: Sequence[int] = (),
        variables: dict[str, str] | None = None,
    ) -> None:
        """cpus: where it runs; empty = anywhere. variables: of its environment, beside those of this process."""
        self.name = " ".join((module, *arguments))
        self._child = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(variables),
            text=True,
        )
        if cpus:  # from here, for PyPy cannot; threads that it starts later inherit it
            os.sched_setaffinity(self._child.pid, cpus)

    def ask(self, do: str, **arguments: object) -> Any:
        """Raises SideFailed when the process does not answer."""
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise SideFailed(f"{self.name}: no pipes")
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise SideFailed(f"{self.name}: ended with status {self._child.wait()}") from error
        if not (line := stdout.readline()):
            raise SideFailed(f"{self.name}: ended with status {self._child.wait()} during {do!r}")
        return json.loads(line)

    def end(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


@dataclass(slots=True)
class Pair:
    """A contender's server and client. `streams`: calls at once that the server is to allow on a connection."""

    contender: Contender
    streams: int | None = None
    server: Process = field(init=False)
    client: Process = field(init=False)
    port: int = field(init=False)
    _sockets: int | None = field(init=False)
    """Of the server while nobody is connected."""

    def __post_init__(self) -> None:
        python, kind = self.contender.python, self.contender.kind
        of_server, of_client = halves(available())
        self.server = Process(python, "benchmarks.side", kind, "server", cpus=of_server)
        self.client = Process(python, "benchmarks.side", kind, "client", cpus=of_client)
        self.port = self.server.ask("start", streams=self.streams)
        self._sockets = self.server.ask("sockets")

    def connect(self, connections: int = 1, *, pool: int | None = None) -> None:
        self.client.ask("connect", port=self.port, connections=connections, pool=pool)

    def close(self) -> None:
        self.client.ask("close")

    def connections(self) -> int | None:
        """How many the server's process really has; None where it cannot be seen."""
        now = self.server.ask("sockets")
        return None if now is None or self._sockets is None else now - self._sockets

    def expect(self, connections: int) -> None:
        """Raises SideFailed when there are fewer or more connections than a figure is going to be labelled with."""
        found = self.connections()
        if found not in {None, connections}:
            raise SideFailed(f"{self.contender.name}: {found} connections are open instead of {connections}")

    def run(self, work: str, in_flight: int, seconds: float, size: int = 0) -> dict[str, float]:
        return self._measured("run", work=work, in_flight=in_flight, seconds=seconds, size=size)

    def chat(self, seconds: float) -> dict[str, float]:
        return self._measured("chat", seconds=seconds)

    def _measured(self, do: str, **arguments: object) -> dict[str, float]:
        before = self.server.ask("usage")["cpu"]
        machine, started = busy(), time.perf_counter()
        found: dict[str, float] = self.client.ask(do, **arguments)
        machine_after, elapsed = busy(), time.perf_counter() - started
        found["server_us"] = (self.server.ask("usage")["cpu"] - before) / found["calls"] * 1e6
        found["cpu_us"] = found["client_us"] + found["server_us"]
        if machine is not None and machine_after is not None:
            ours = found["cpu_us"] * found["calls"] / 1e6
            found["others"] = max(0.0, machine_after - machine - ours) / elapsed
        found["cores"] = found["cpu_us"] * found["calls_per_s"] / 1e6
        return found

    def server_memory(self) -> float:
        """Bytes, after a collection."""
        rss: float = self.server.ask("usage", collect=True)["rss"]
        return rss

    def end(self) -> None:
        self.client.end()
        self.server.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
