"""Clients: one operation at a time each, tried at one node after the other until it is answered, and written down.

A write keeps its session's sequence number over all attempts, so it takes effect once. A write whose client gave up may
have taken effect or still do so: it stands in the history without an end. A read without an answer is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orbit_lite.model import NodeId
from orbit_lite.testing.simulation.linearizability import Call
from orbit_lite.testing.simulation.machine import Workload
from orbit_lite.testing.simulation.world import World

if TYPE_CHECKING:
    from orbit_lite.testing.simulation.node import SimulatedNode

__all__ = ["Attempt", "SimulatedClient"]

CLIENT = 4  # kind of step

ATTEMPT_TIMEOUT = 1.0  # seconds until another node is asked
PATIENCE = 12.0  # seconds until an operation is given up
REST = 0.25  # seconds between operations, at most
LATENCY = 0.004  # seconds from client to node, at most
BACK_OFF = 0.15  # seconds until a refused attempt is repeated


class Attempt:
    """One attempt of an operation at a node. floor: highest index acknowledged to anyone before the operation began."""

    __slots__ = ("client", "command", "floor", "number", "operation", "seq")

    def __init__(self, client: SimulatedClient, number: int) -> None:
        self.client = client
        self.number = number  # of the client's operation
        self.operation = client.operation
        self.command = client.command
        self.seq = client.seq
        self.floor = client.floor


class SimulatedClient:
    """calls: the recorded history. acknowledged: tells the highest index that was acknowledged to any client."""

    def __init__(
        self,
        name: str,
        world: World,
        workload: Workload[Any],
        nodes: Sequence[SimulatedNode],
        everyone: Mapping[NodeId, SimulatedNode],
        *,
        acknowledged: Callable[[], int],
    ) -> None:
        self.name = name
        self.world = world
        self.workload = workload
        self.nodes = nodes
        self._everyone = everyone
        self.acknowledged = acknowledged
        self.calls: list[Call[Any]] = []
        self.operation: Any = None
        self.command: bytes | None = None
        self.seq = 0
        self.floor = 0
        #: It begins nothing new before this time.
        self.quiet_until = 0.0
        self._random = world.stream(f"client {name}")
        self._number = 0
        self._start = 0.0
        self._is_waiting = False
        self._attempts = 0
        self._may_have_run = False
        self._target = nodes[0]

    def begin(self) -> None:
        """Start the next operation."""
        if self.world.now < self.quiet_until:
            self.world.after(self.quiet_until - self.world.now, self.begin)
            return
        self._number += 1
        self.operation, self.command = self._draw()
        if self.command is not None:
            self.seq += 1
        self.floor = self.acknowledged()
        self._start = self.world.now
        self._is_waiting = True
        self._may_have_run = False
        if self.command is None and self._random.random() < 0.4:
            self._choose(None)  # followers read, too
        self._try()

    def _draw(self) -> tuple[Any, bytes | None]:
        """An operation, and the command for it; None for a read."""
        operation = self.workload.draw(self.name, self._number, self._random)
        return operation, self.workload.command(operation)

    def _choose(self, leader: NodeId | None) -> None:
        """The leader that a node named, also one that joined later; else any node that the client was told of."""
        if leader is not None and leader in self._everyone:
            self._target = self._everyone[leader]
            return
        self._target = self.nodes[int(self._random.random() * len(self.nodes))]

    def _try(self) -> None:
        self._attempts += 1
        attempt = Attempt(self, self._number)
        self.world.after(self._random.random() * LATENCY, self._target.serve, attempt)
        self.world.after(ATTEMPT_TIMEOUT, self._time_out, self._number, self._attempts)

    def _time_out(self, number: int, attempts: int) -> None:
        if self._is_waiting and (number, attempts) == (self._number, self._attempts):
            self._may_have_run = True
            self._choose(None)
            self._again()

    def _again(self) -> None:
        if self.world.now - self._start < PATIENCE:
            self._try()
            return
        self.world.step(CLIENT, self._number)
        self.world.coverage["operation given up"] += 1
        if self._may_have_run and self.command is not None:
            self.calls.append(Call(self.name, self.operation, self._start))
        self._rest()

    def _rest(self) -> None:
        self._is_waiting = False
        self.world.after(0.001 + self._random.random() * REST, self.begin)

    # ---------------------------------------------------------------- what nodes say; called after the way back

    def refused(self, attempt: Attempt, leader: NodeId | None, may_have_run: bool) -> None:
        """The node did not do it, or does not know whether it was done."""
        if self._is_waiting and attempt.number == self._number:
            self._may_have_run |= may_have_run
            if leader is None or leader == self._target.node_id:
                self._choose(None)
            else:
                self._choose(leader)
            self._attempts += 1  # the running time-out is void
            self.world.after(0.001 + self._random.random() * BACK_OFF, self._retry, self._number, self._attempts)

    def _retry(self, number: int, attempts: int) -> None:
        if self._is_waiting and (number, attempts) == (self._number, self._attempts):
            self._again()

    def done(self, attempt: Attempt, result: bytes) -> bool:
        """The node did it; False when the operation was over already."""
        if not self._is_waiting or attempt.number != self._number:
            return False
        self.world.step(CLIENT, self._number)
        self.calls.append(Call(self.name, self.operation, self._start, self.world.now, result))
        self._rest()
        return True

    def finish(self) -> None:
        """Write down what is still under way."""
        if self._is_waiting and self.command is not None:
            self.calls.append(Call(self.name, self.operation, self._start))
        self._is_waiting = False
