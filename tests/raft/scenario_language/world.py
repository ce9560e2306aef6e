"""The cluster of a scenario: what is on the way, and what there is to tell."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import Outgoing, ReadIndexResponse, ReadState, Ready, Request, Role

from .text import entries_text, request_text, response_text, state_text, write_text

if TYPE_CHECKING:
    from tests.raft.conftest import Cluster, Packet

__all__ = ["Draws", "MakeCluster", "World"]

MakeCluster = Callable[..., "Cluster"]


class Draws(random.Random):
    """A node's share of the spread of election timeouts, from 0 to 1: the same until the scenario changes it."""

    value = 0.0

    def random(self) -> float:
        return self.value


class World:
    """The cluster of one scenario. Events add lines to `lines`; `is_terse` leaves out messages and writes.

    Whatever the scenario expects: two leaders in a term, or two entries applied at an index, fail it.
    """

    cluster: Cluster

    def __init__(self, make_cluster: MakeCluster, make_packet: type[Packet]) -> None:
        self.make_cluster = make_cluster
        self.make_packet = make_packet
        self.lines: list[str] = []
        self.is_terse = False
        self.paused: set[NodeId] = set()
        self.seen: dict[NodeId, tuple[str, str, str]] = {}
        self.asked: dict[NodeId, list[Outgoing]] = {}  # the requests of each node's life
        self.stale: list[Outgoing] = []  # … and of earlier ones: nobody waits for their answers
        self.reads = 0
        self.draws: dict[NodeId, Draws] = {}
        self.leaders: dict[int, NodeId] = {}
        self.committed: dict[int, LogEntry] = {}

    def say(self, node_id: NodeId, text: str, *, is_detail: bool = False) -> None:
        if not (is_detail and self.is_terse):
            self.lines.append(f"  {node_id.key}{text}")

    def finish(self) -> None:
        """Do all duties of all nodes, and tell what changed; a terse command tells it once, in the end."""
        for node_id, core in self.cluster.cores.items():
            if node_id not in self.paused:
                self.cluster.pump(node_id)
            if core.role is Role.LEADER:
                assert self.leaders.setdefault(core.term, node_id) == node_id, f"two leaders in term {core.term}"
        self.cluster.packets = [packet for packet in self.cluster.packets if not self.is_lost(packet)]
        if not self.is_terse:
            self.tell_changes()

    def is_lost(self, packet: Packet) -> bool:
        is_stale = packet.response is not None and any(packet.sent is sent for sent in self.stale)
        return is_stale or self.link(packet) in self.cluster.cut

    def tell_changes(self) -> None:
        changes: dict[str, list[str]] = {}
        for node_id, core in sorted(self.cluster.cores.items()):
            before = self.seen.get(node_id)
            self.seen[node_id] = now = state_text(core)
            for at, text in enumerate(now):
                if text != (before[at] if before is not None else "fault: None"):
                    changes.setdefault(text, []).append(node_id.key)
        self.lines += [f"  {' '.join(names)}: {text}" for text, names in changes.items()]

    def watch(self, node_id: NodeId, ready: Ready) -> None:
        """Tell what a Ready asks for, in the order in which it is done."""
        self.tell_requests(node_id, ready.at_once)
        if ready.must_persist:
            is_slow = node_id in self.cluster.slow_disks
            self.say(node_id, f" {'is writing' if is_slow else 'persists'} {write_text(ready)}", is_detail=True)
        if node_id not in self.cluster.slow_disks or not ready.must_persist:
            self.tell_promises(node_id, ready)
        if ready.restore is not None:
            self.say(node_id, f" restores the snapshot of {ready.restore.index}@{ready.restore.term}")
        if ready.committed:
            self.say(node_id, f" applies {entries_text(ready.committed)}")
            for entry in ready.committed:
                assert self.committed.setdefault(entry.index, entry) == entry, "two nodes applied different entries"
        for state in ready.reads:
            self.tell_read(node_id, state)

    def tell_read(self, node_id: NodeId, state: ReadState) -> None:
        answer = f"sees all up to {state.index}" if state.index is not None else "must be asked anew"
        self.say(node_id, f" {state.token} {answer}")

    def tell_promises(self, node_id: NodeId, ready: Ready) -> None:
        self.tell_requests(node_id, ready.requests)
        for answer in ready.answers:
            packet: Any = answer.token
            text = response_text(packet.sent.request, answer.response)
            self.say(node_id, f" {self.arrow(node_id, packet.source)} {text}", is_detail=True)

    def tell_requests(self, node_id: NodeId, requests: Iterable[Outgoing]) -> None:
        for sent in requests:
            self.asked.setdefault(node_id, []).append(sent)
            self.say(node_id, f" {self.arrow(node_id, sent.to)} {request_text(sent)}", is_detail=True)

    def arrow(self, node_id: NodeId, to: NodeId) -> str:
        return f"{'-x' if (node_id, to) in self.cluster.cut else '->'} {to.key}:"

    # ------------------------------------------------------------ packets

    @staticmethod
    def link(packet: Packet) -> tuple[NodeId, NodeId]:
        there, back = packet.source, packet.sent.to
        return (there, back) if packet.response is None else (back, there)

    def on(self, link: str, number: str | None = None) -> list[Packet]:
        """What is on the way on a link "a->b", "a->*" or "*->b": all, or the n-th."""
        source, target = link.split("->")
        packets = [
            packet
            for packet in self.cluster.packets
            if source in {"*", self.link(packet)[0].key} and target in {"*", self.link(packet)[1].key}
        ]
        chosen = packets if number is None else packets[int(number) - 1 : int(number)]
        if not chosen:
            self.lines.append("  nothing is on the way there")
        return chosen

    def take(self, packet: Packet) -> None:
        self.cluster.packets = [other for other in self.cluster.packets if other is not packet]

    def hand_over(self, packet: Packet) -> None:
        target = self.link(packet)[1]
        if target in self.cluster.cores and isinstance(packet.response, ReadIndexResponse):
            self.tell_read(target, ReadState("its read", packet.response.index))
        self.cluster.deliver(packet)
        self.finish()

    def settle(self, *, kinds: tuple[type[Request], ...] = (), steps: int = 2_000) -> None:
        """Deliver until nothing moves any more; kinds: only these requests, and the answers to them."""
        for _ in range(steps):
            self.finish()
            awake = (packet for packet in self.cluster.packets if self.link(packet)[1] not in self.paused)
            packet = next((one for one in awake if not kinds or isinstance(one.sent.request, kinds)), None)
            if packet is None:
                return
            self.take(packet)
            self.hand_over(packet)
        raise AssertionError(f"still busy after {steps} packets")
