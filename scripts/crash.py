#!/usr/bin/env python3
"""Kill nodes of a Raft cluster at random moments, again and again, while clients write, and look what became of it.

scripts/crash.py --cycles 200 --seed 7
scripts/crash.py --cycles 0 --behind 100000

A cycle kills the leader, a follower, or several nodes by SIGKILL, looks how long nobody leads, and starts them again;
nobody repairs anything. At the end all nodes are read. Exit status 1 when

- a write that was acknowledged is not there, or the history of all clients is not linearizable,
- the nodes do not come to the same state, two led in one term, or a node found its store damaged,
- the median time from the kill of a leader to the next acknowledged write is above twice the upper election timeout.

--behind kills a follower, lets the others go on for so many proposals, and looks how it catches up, whether that
disturbs anybody, and whether the leader's memory or files grow with what it has compacted. Time is real: a busy machine
makes figures worse, but nothing wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from betterproto.lib.google.protobuf import BytesValue

from orbit_lite.raft import RaftConfig
from orbit_lite.rpc import Channel
from orbit_lite.testing.processes import ClusterFailed, Load, NodeProcess, ProcessCluster, verdict_of
from orbit_lite.testing.processes.service import CLIENT, PROPOSE, SEQ

#: What a cycle kills, and of 100 cycles how many do.
VICTIMS = {"leader": 50, "follower": 25, "two nodes": 15, "all nodes": 10}
QUIET = 1.0  # seconds between two cycles, at most
DOWN = 1.0  # seconds until what was killed is started again, at most
PATIENCE = 60.0  # seconds: without progress for that long the run has failed
CLIENTS = 6
IN_FLIGHT = 64  # proposals, while a follower falls behind
MIB = 1 << 20
#: Growth of memory and of files that is none with history: three quarters of 100,000 entries take 30 and 4.5 MiB.
MEMORY_GROWTH, FILE_GROWTH = 8 * MIB, 2 * MIB
LIMIT = 2.0  # of the median fail-over, in upper election timeouts


@dataclass
class Figures:
    """Seconds, but for the counts."""

    kills: Counter[str] = field(default_factory=Counter)
    processes: int = 0
    to_leader: list[float] = field(default_factory=list)
    to_write: list[float] = field(default_factory=list)
    """Both from the kill of a leader whose followers were left alone."""
    leaderless: list[float] = field(default_factory=list)
    """From any kill of a leader, the start of processes included where a majority was killed."""


def spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    ordered = sorted(values)
    p90 = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    return f"median {statistics.median(ordered):.2f} s, 90 % {p90:.2f} s, longest {ordered[-1]:.2f} s"


class Crashes:
    """One run of cycles."""

    def __init__(self, cluster: ProcessCluster, load: Load, random: Random) -> None:
        self.figures = Figures()
        self._cluster = cluster
        self._load = load
        self._random = random

    async def cycle(self) -> None:
        cluster, random, figures = self._cluster, self._random, self.figures
        await self._check_nodes()
        leader = await cluster.leader(timeout=PATIENCE)
        term = (await leader.status() or {"term": 0})["term"]
        await asyncio.sleep(random.random() * QUIET)
        (kind,) = random.choices(list(VICTIMS), list(VICTIMS.values()))
        victims = self._choose(kind, leader)
        figures.kills[kind] += 1
        figures.processes += len(victims)
        for node in victims:
            node.kill()
        killed_at = time.monotonic()
        if len(victims) > len(cluster.nodes) // 2:
            await asyncio.sleep(random.random() * DOWN)
            start(victims)
        if leader in victims:
            await cluster.leader(beyond=term, timeout=PATIENCE)
            figures.leaderless.append(time.monotonic() - killed_at)
        await self._next_write(killed_at)
        if kind == "leader":
            figures.to_leader.append(figures.leaderless[-1])
            figures.to_write.append(self._first_write(killed_at) - killed_at)
        await asyncio.sleep(random.random() * DOWN)
        start(victims)

    def _choose(self, kind: str, leader: NodeProcess) -> list[NodeProcess]:
        nodes = self._cluster.nodes
        followers = [node for node in nodes if node is not leader]
        if kind == "leader":
            return [leader]
        if kind == "follower":
            return [self._random.choice(followers)]
        return self._random.sample(nodes, 2) if kind == "two nodes" else nodes

    async def _check_nodes(self) -> None:
        """A node that has failed would be missed only once another one is killed."""
        for name, status in (await self._cluster.statuses()).items():
            if status["failure"] or status["fault"]:
                raise ClusterFailed(f"{name}: {status}")

    async def _next_write(self, after: float) -> None:
        end = time.monotonic() + PATIENCE
        while not any(self._writes(after)):
            self._load.check()
            if time.monotonic() > end:
                raise ClusterFailed(f"no write was acknowledged for {PATIENCE:g} s: {await self._cluster.statuses()}")
            await asyncio.sleep(0.005)

    def _first_write(self, after: float) -> float:
        return min(self._writes(after))

    def _writes(self, after: float) -> Iterator[float]:
        """When writes that were begun since then were acknowledged."""
        for call in reversed(self._load.acknowledged):
            if call.end is None or call.end < after:
                return
            if call.start > after:
                yield call.end


def start(nodes: Sequence[NodeProcess]) -> None:
    for node in nodes:
        node.start()


async def crash(folder: Path, options: argparse.Namespace, config: RaftConfig) -> bool:
    """All cycles; whether everything was as it must be."""
    random = Random(options.seed)
    began = time.monotonic()
    async with ProcessCluster(folder, options.nodes, config=timings(config)) as cluster:
        async with Load(cluster.addresses, seed=options.seed, clients=CLIENTS, patience=PATIENCE) as load:
            crashes = Crashes(cluster, load, random)
            for number in range(1, options.cycles + 1):
                await crashes.cycle()
                if number % 20 == 0:
                    print(f"{number} cycles, {len(load.acknowledged)} writes acknowledged", flush=True)
        await cluster.leader(timeout=PATIENCE)
        verdict = await verdict_of(load.history, cluster.addresses)
        await cluster.level(timeout=PATIENCE)
        terms = cluster.leaderships()
        damaged = [node.name for node in cluster.nodes if b"StoreCorrupt" in node.log.read_bytes()]
    figures, upper = crashes.figures, config.election_timeout_max
    kinds = ", ".join(f"{count} × {kind}" for kind, count in figures.kills.most_common())
    reads = sum(call.operation.kind == "get" for call in load.history)
    print(f"{options.nodes} nodes, {time.monotonic() - began:.0f} s; {figures.processes} processes killed: {kinds}")
    print(
        f"{len(load.acknowledged)} writes acknowledged, {reads} reads, {load.given_up} operations given up: {verdict}"
    )
    print(f"{len(terms)} terms with a leader; election timeout {config.election_timeout_min:g}–{upper:g} s")
    print(f"without a leader, any leader killed: {spread(figures.leaderless)}")
    print(f"only the leader killed, to the next leader:            {spread(figures.to_leader)}")
    print(f"only the leader killed, to the next acknowledged write: {spread(figures.to_write)}")
    shared = {term: leaders for term, leaders in terms.items() if len(leaders) > 1}
    problems = [
        text
        for text, is_there in {
            "the history is not known to be linearizable": verdict.ok is not True,
            f"several led in one term: {shared}": shared,
            f"damaged stores: {damaged}": damaged,
            f"the median fail-over is above {LIMIT:g} upper election timeouts": figures.to_write
            and statistics.median(figures.to_write) > LIMIT * upper,
        }.items()
        if is_there
    ]
    for problem in problems:
        print(f"FAILED: {problem}")
    return not problems


# ---------------------------------------------------------------- a follower far behind


async def behind(folder: Path, options: argparse.Namespace, config: RaftConfig) -> bool:
    """Whether a follower that missed so many entries came back, and nobody noticed."""
    async with ProcessCluster(folder, options.nodes, config=timings(config)) as cluster:
        leader = await cluster.leader()
        follower = next(node for node in cluster.nodes if node is not leader)
        writer = Writer(leader)
        try:
            await writer.write(2000)
            calm = writer.take()
            follower.kill()
            await writer.write(options.behind // 4)
            early = footprint(leader)
            await writer.write(options.behind - options.behind // 4)
            late = footprint(leader)
            writer.take()
            terms = cluster.leaderships()
            follower.start()
            began = time.monotonic()
            writing = asyncio.create_task(writer.write_until_cancelled())
            try:
                status = await cluster.until(lambda found: caught_up(found, follower), "the follower", timeout=300)
            finally:
                writing.cancel()
                await asyncio.wait([writing])
            elapsed, disturbed = time.monotonic() - began, writer.take()
        finally:
            await writer.close()
        same = cluster.leaderships() == terms
        await cluster.level(timeout=PATIENCE)
    snapshots = status["snapshots_restored"]
    print(f"a follower {options.behind} entries behind caught up in {elapsed:.1f} s, its start included,")
    print(f"by {snapshots} snapshot(s); writes before {latency(calm)}; meanwhile {latency(disturbed)}")
    print("no election meanwhile" if same else f"FAILED: elections: {terms} before, {cluster.leaderships()} after")
    return is_bounded(early, late) and same and snapshots > 0


def footprint(node: NodeProcess) -> tuple[int, int]:
    """Bytes of memory and of files that a node has; no memory where there is no /proc."""
    files = sum(path.stat().st_size for path in node.folder.rglob("raft.db*"))
    try:
        pages = int(Path(f"/proc/{node.pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0, files
    return pages * resource.getpagesize(), files


def is_bounded(early: tuple[int, int], late: tuple[int, int]) -> bool:
    """Whether a leader that compacts its log has grown no further with three times as many entries."""
    (memory, files), (more_memory, more_files) = early, late
    print(f"the leader after a quarter of them: memory {memory / MIB:.1f} MiB, store {files / MIB:.1f} MiB;", end=" ")
    print(f"after all: memory {more_memory / MIB:.1f} MiB, store {more_files / MIB:.1f} MiB")
    bounded = more_memory - memory <= MEMORY_GROWTH and more_files - files <= FILE_GROWTH
    if not bounded:
        print("FAILED: it grows with history")
    return bounded


def caught_up(statuses: Mapping[str, dict[str, Any]], follower: NodeProcess) -> dict[str, Any] | None:
    """The follower's status, once it is less behind than what is on the way."""
    status = statuses.get(follower.name)
    commit = max((found["commit"] for found in statuses.values()), default=0)
    return status if status is not None and status["applied"] > max(1, commit - 10 * IN_FLIGHT) else None


def latency(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"p50 {ordered[len(ordered) // 2] * 1e3:.0f} ms, longest {ordered[-1] * 1e3:.0f} ms"


class Writer:
    """Small proposals to one node, IN_FLIGHT at a time."""

    def __init__(self, node: NodeProcess) -> None:
        self._channel = Channel.from_url(node.address)
        self._latencies: list[float] = []
        self._seqs = [0] * IN_FLIGHT

    async def write(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(IN_FLIGHT):
                group.create_task(self._work(number, count // IN_FLIGHT))

    async def write_until_cancelled(self) -> None:
        while True:
            await self.write(IN_FLIGHT * 8)

    async def _work(self, number: int, count: int) -> None:
        for _ in range(count):
            self._seqs[number] += 1
            seq = self._seqs[number]
            began = time.monotonic()
            command = BytesValue(f"put k{seq % 100} {seq} ".encode())
            session = {CLIENT: f"w{number}", SEQ: str(seq)}
            await self._channel.unary_unary(PROPOSE, command, BytesValue, timeout=30.0, metadata=session)
            self._latencies.append(time.monotonic() - began)

    def take(self) -> list[float]:
        """Latencies since the last time, in seconds."""
        taken, self._latencies = self._latencies, []
        return taken

    async def close(self) -> None:
        self._channel.close()
        await self._channel.wait_closed()


# ---------------------------------------------------------------- command


def timings(config: RaftConfig) -> dict[str, float]:
    names = ("election_timeout_min", "election_timeout_max", "heartbeat_interval")
    return {name: getattr(config, name) for name in names}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cycles", type=int, default=200, metavar="N", help="(default: %(default)s)")
    add("--nodes", type=int, default=3, metavar="N", help="(default: %(default)s)")
    add("--seed", type=int, default=None, metavar="N", help="what is killed, and when (default: drawn)")
    add("--behind", type=int, default=0, metavar="N", help="entries that a follower misses (default: not tried)")
    add("--fast", action="store_true", help="elections after 0.3 to 0.6 s instead of RaftConfig's defaults")
    add("--folder", type=Path, metavar="PATH", help="where stores and logs stay (default: nowhere)")
    found = parser.parse_args()
    found.seed = secrets.randbelow(1 << 32) if found.seed is None else found.seed
    return found


async def run(options: argparse.Namespace, folder: Path) -> bool:
    fast = RaftConfig(election_timeout_min=0.3, election_timeout_max=0.6, heartbeat_interval=0.06)
    config = fast if options.fast else RaftConfig()
    is_well = True
    if options.cycles:
        is_well = await crash(folder / "crash", options, config)
    if options.behind:
        is_well = await behind(folder / "behind", options, config) and is_well
    return is_well


def main() -> int:
    options = arguments()
    print(f"seed {options.seed}; load average {os.getloadavg()[0]:.2f}", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="crash-") as temporary:
            is_well = asyncio.run(run(options, options.folder or Path(temporary)))
    except ClusterFailed as error:
        print(f"FAILED: {error}")
        return 1
    print(f"load average {os.getloadavg()[0]:.2f}")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
