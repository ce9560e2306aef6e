"""The network between nodes: requests and their responses get lost, doubled, late, and out of order.

A request is answered once, late or never. Where no answer can come in time, the sender learns it when the request's
time is up: `unreachable`. A request may arrive long after that, at a node that was restarted meanwhile: such are the
stale messages that a real network holds back. Links are directed, so that a cut can be one-way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orbit_lite.model import AppendEntriesRequest
from orbit_lite.raft import Outgoing, Response
from orbit_lite.testing.simulation.world import World

if TYPE_CHECKING:
    from orbit_lite.testing.simulation.client import Attempt
    from orbit_lite.testing.simulation.node import SimulatedNode

__all__ = ["Link", "Network", "Rpc", "Weather"]

Link = tuple[int, int]  # numbers of the nodes, from and to

DELIVERED, ANSWERED, EXPIRED = 1, 2, 3  # kinds of steps


class Weather:
    """How bad the network is now: shares of messages in [0, 1], delays in seconds (drawn evenly in between)."""

    __slots__ = ("doubled", "late", "lost", "maximum_delay", "minimum_delay")

    def __init__(
        self,
        *,
        lost: float = 0.0,
        doubled: float = 0.0,
        late: float = 0.0,
        minimum_delay: float = 0.001,
        maximum_delay: float = 0.02,
    ) -> None:
        self.lost = lost
        self.doubled = doubled
        self.late = late  # by up to LONGEST_DELAY
        self.minimum_delay = minimum_delay
        self.maximum_delay = maximum_delay


LONGEST_DELAY = 10.0


class Rpc:
    """A request on its way, and the token of its answer."""

    __slots__ = ("attempt", "deadline", "incarnation", "is_answered", "is_open", "is_timed", "sent", "source", "target")

    def __init__(self, source: SimulatedNode, target: SimulatedNode, sent: Outgoing, deadline: float) -> None:
        self.source = source
        self.target = target
        self.incarnation = source.incarnation
        self.sent = sent
        self.deadline = deadline
        self.is_open = True  # the sender still waits
        self.is_answered = False
        self.is_timed = False  # its end is in the queue
        self.attempt: Attempt | None = None  # the client's read that a follower asks the leader for


class Network:
    """Carries RPCs between nodes. cut: links that lose everything. held: links that hold everything back, and what."""

    def __init__(self, world: World, *, rpc_timeout: float) -> None:
        self.world = world
        self.rpc_timeout = rpc_timeout
        self.weather = Weather()
        self.cut: set[Link] = set()
        self.held: dict[Link, list[tuple[Rpc, Outgoing]]] = {}
        #: Nodes whose responses take so many seconds longer.
        self.tardy: dict[int, float] = {}
        #: What becomes of a response on its way.
        self.answer_as: Callable[[Response], Response] = lambda response: response
        self._random = world.stream("network").random
        self._recent: list[tuple[Rpc, Outgoing]] = []

    # ---------------------------------------------------------------- requests

    def send(self, source: SimulatedNode, target: SimulatedNode, sent: Outgoing, carried: Outgoing) -> Rpc:
        """Send a request. sent: as the core made it; carried: with a snapshot's bytes."""
        world = self.world
        rpc = Rpc(source, target, sent, world.now + self.rpc_timeout)
        link = (source.number, target.number)
        if link in self.cut:
            world.coverage["message cut off"] += 1
            self._time(rpc)
            return rpc
        if link in self.held:
            world.coverage["message held back"] += 1
            self.held[link].append((rpc, carried))
            self._time(rpc)
            return rpc
        weather, random = self.weather, self._random
        if (luck := random()) < weather.lost:
            world.coverage["message lost"] += 1
            self._time(rpc)
            return rpc
        delay = weather.minimum_delay + random() * (weather.maximum_delay - weather.minimum_delay)
        if luck > 1 - weather.late:
            world.coverage["message late"] += 1
            delay += random() * LONGEST_DELAY
            self._time(rpc)
        world.after(delay, self._deliver, rpc, carried)
        if random() < weather.doubled:
            world.coverage["message doubled"] += 1
            world.after(delay * random() * 2, self._deliver, rpc, carried)
        self._keep(rpc, carried)
        return rpc

    def _keep(self, rpc: Rpc, carried: Outgoing) -> None:
        """Remember a few requests, for `replay`."""
        recent = self._recent
        if len(recent) < 32:
            recent.append((rpc, carried))
        elif (place := int(self._random() * 128)) < 32:
            recent[place] = (rpc, carried)

    def replay(self, share: float) -> int:
        """Deliver old requests again, from terms and incarnations long gone; how many. share: of those kept."""
        chosen = self._recent[: int(len(self._recent) * share) + 1]
        for rpc, carried in chosen:
            self.world.coverage["stale message"] += 1
            self.world.after(self._random() * 0.5, self._deliver, rpc, carried)
        return len(chosen)

    def release(self, link: Link) -> None:
        """Let a link deliver what it held back, in any order."""
        for rpc, carried in self.held.pop(link, ()):
            self.world.after(self._random() * 0.05, self._deliver, rpc, carried)

    def _deliver(self, rpc: Rpc, carried: Outgoing) -> None:
        target = rpc.target
        if not target.is_up or not target.accepts(rpc.source):
            if rpc.is_open and not rpc.is_timed:
                rpc.is_timed = True
                self.world.after(self.weather.minimum_delay, self._expire, rpc)  # connection refused
            return
        if target.is_paused:
            self._time(rpc)
            target.backlog.append((self._deliver, (rpc, carried)))
            return
        request = carried.request
        self.world.step(DELIVERED, target.number, rpc.source.number, request.term)
        if self.world.trace is not None:
            self.world.note(target.node_id.key, f"< {rpc.source.node_id.key} {describe(request)}")
        target.receive(rpc, carried)
        if not rpc.is_answered:
            self._time(rpc)

    # ---------------------------------------------------------------- responses

    def respond(self, rpc: Rpc, response: Response) -> None:
        """Send the answer back, unless the request was answered or given up before."""
        if rpc.is_answered:
            return  # to the doubled request
        rpc.is_answered = True
        world, weather, random = self.world, self.weather, self._random
        link = (rpc.target.number, rpc.source.number)
        arrival = world.now + weather.minimum_delay + random() * (weather.maximum_delay - weather.minimum_delay)
        if self.tardy:
            arrival += self.tardy.get(rpc.target.number, 0.0)
        if link in self.cut or link in self.held or random() < weather.lost:
            world.coverage["response lost"] += 1
            self._time(rpc)
        elif arrival >= rpc.deadline:
            self._time(rpc)
        else:
            world.at(arrival, self._arrive, rpc, self.answer_as(response))

    def _arrive(self, rpc: Rpc, response: Response) -> None:
        source = rpc.source
        if not rpc.is_open or source.incarnation != rpc.incarnation:
            return
        if source.is_paused:
            source.backlog.append((self._arrive, (rpc, response)))
            return
        rpc.is_open = False
        self.world.step(ANSWERED, source.number, rpc.target.number, response.term)
        if not source.accepts(rpc.target):
            source.unreachable(rpc)
            return
        if self.world.trace is not None:
            self.world.note(source.node_id.key, f"< {rpc.target.node_id.key} {describe(response)}")
        source.receive_response(rpc, response)

    # ---------------------------------------------------------------- time that is up

    def _time(self, rpc: Rpc) -> None:
        if not rpc.is_timed:
            rpc.is_timed = True
            self.world.at(max(rpc.deadline, self.world.now), self._expire, rpc)

    def _expire(self, rpc: Rpc) -> None:
        source = rpc.source
        if not rpc.is_open or source.incarnation != rpc.incarnation:
            return
        if source.is_paused:
            source.backlog.append((self._expire, (rpc,)))
            return
        rpc.is_open = False
        self.world.step(EXPIRED, source.number, rpc.target.number)
        source.unreachable(rpc)


def describe(message: object) -> str:
    """A request or response on one line."""
    name = type(message).__name__
    fields = []
    for field in getattr(message, "__slots__", ()):
        value = getattr(message, field)
        if isinstance(message, AppendEntriesRequest) and field == "entries":
            value = f"{value[0].index}…{value[-1].index}" if value else "none"
        elif field == "data":
            value = f"{len(value)} bytes"
        elif field == "meta":
            value = f"snapshot {value.index}/{value.term}"
        elif field.endswith("_id"):
            continue  # who speaks stands before
        fields.append(f"{field}={value}")
    return f"{name.removesuffix('Request')} {' '.join(fields)}"
