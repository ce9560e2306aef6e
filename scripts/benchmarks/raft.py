"""Puts into three nodes of orbit-lite and three of etcd: what a replicated, durable write costs.

Each node is a process, and its log a file of the same file system: SQLite with synchronous=FULL, etcd's WAL. Settings
are the defaults of both. One client process, the same for both, writes over one connection to the leader. While one
cluster is measured, the other one has its heartbeats only.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contender import HOST
from benchmarks.processes import ROOT, Contender, Process, SideFailed, busy
from benchmarks.run import OURS, Run, Step
from orbit_lite.testing.processes import ClusterFailed, ProcessCluster
from orbit_lite.testing.processes.cluster import reserve

SCENARIO, ETCD = "raft", "etcd"
IN_FLIGHT = (1, 64, 256)
MEMBERS = 3
VALUE = 256  # bytes, as in etcd's own benchmark
START = 20.0  # seconds until a cluster must have a leader
PAUSE = 0.05  # seconds
FSYNCS = "etcd_disk_wal_fsync_duration_seconds_count"


def case(in_flight: int) -> str:
    return f"{in_flight} in flight"


class Cluster(ABC):
    """Three nodes that run."""

    pids: list[int]

    @abstractmethod
    def leader(self) -> int:
        """The port on which the leader serves KV.Put. Raises SideFailed."""

    @abstractmethod
    def fsyncs(self) -> float:
        """Writes of its log that the leader has made durable."""

    @abstractmethod
    def end(self) -> None: ...

    def cpu(self) -> float:
        """Seconds that all nodes have used."""
        return sum(map(cpu_of, self.pids))


class OrbitCluster(Cluster):
    def __init__(self, folder: Path, python: str) -> None:
        self._runner = asyncio.Runner()
        self._cluster = ProcessCluster(
            folder, MEMBERS, module="benchmarks.raft_side", path=[ROOT / "scripts"], python=python
        )
        try:
            self._runner.run(self._cluster.__aenter__())
        except ClusterFailed as error:
            self._runner.close()
            raise SideFailed(str(error)) from error
        self.pids = [node.pid for node in self._cluster.nodes]

    def leader(self) -> int:
        node = self._runner.run(self._cluster.leader())
        return int(node.address.rpartition(":")[2])

    def fsyncs(self) -> float:
        statuses = self._runner.run(self._cluster.statuses())
        return float(next(status["writes"] for status in statuses.values() if status["is_leader"]))

    def end(self) -> None:
        self._runner.run(self._cluster.close())
        self._runner.close()


class EtcdCluster(Cluster):
    def __init__(self, folder: Path, program: str) -> None:
        held = [reserve() for _ in range(2 * MEMBERS)]  # until the members listen on them
        ports = [each.getsockname()[1] for each in held]
        self._clients: list[int] = ports[:MEMBERS]
        peers = ports[MEMBERS:]
        names = [f"e{number}" for number in range(MEMBERS)]
        members = ",".join(f"{name}=http://{HOST}:{port}" for name, port in zip(names, peers, strict=True))
        self._children = [
            subprocess.Popen(
                [
                    program,
                    f"--name={name}",
                    f"--data-dir={folder / name}",
                    f"--initial-cluster={members}",
                    "--logger=zap",
                    "--log-level=error",
                    *options("client", client),
                    *options("peer", peer),
                ]
            )
            for name, client, peer in zip(names, self._clients, peers, strict=True)
        ]
        self.pids = [child.pid for child in self._children]
        try:
            self.leader()
        except BaseException:
            self.end()
            raise
        finally:
            for each in held:
                each.close()

    def leader(self) -> int:
        patience = time.monotonic() + START
        while time.monotonic() < patience:
            for port in self._clients:
                if (status := self._status(port)) is not None and status.get("leader") == status["header"]["member_id"]:
                    return int(port)
            time.sleep(PAUSE)
        raise SideFailed(f"etcd: no leader after {START:g} s")

    def _status(self, port: int) -> Any:
        request = urllib.request.Request(f"http://{HOST}:{port}/v3/maintenance/status", b"{}")
        try:
            with urllib.request.urlopen(request, timeout=1) as reply:
                return json.load(reply)
        except OSError:
            return None

    def fsyncs(self) -> float:
        with urllib.request.urlopen(f"http://{HOST}:{self.leader()}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(FSYNCS))

    def end(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def options(kind: str, port: int) -> list[str]:
    url = f"http://{HOST}:{port}"
    advertised = "--advertise-client-urls" if kind == "client" else "--initial-advertise-peer-urls"
    return [f"--listen-{kind}-urls={url}", f"{advertised}={url}"]


def cpu_of(pid: int) -> float:
    """Seconds that a process has used; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raft(run: Run) -> Iterator[Step]:
    contenders = run.of_kind(OURS)
    setting = f"{MEMBERS} nodes each, where the system puts them; values of {VALUE} B; fsyncs are those of the leader"
    if run.etcd is None:
        setting += "; no program etcd on PATH, see --etcd: nothing to compare with"
    else:
        contenders = [*contenders, Contender(ETCD, ETCD, str(run.etcd))]
    for contender in contenders:
        run.results.note(SCENARIO, contender.name, setting)
    state = State()
    yield "raft: start", partial(state.start, run, contenders)
    for in_flight in IN_FLIGHT:
        for repeat, contender in run.interleaved(contenders):
            label = f"raft: {case(in_flight)}, {contender.name}"
            yield label, partial(state.measure, run, contender, in_flight, warm=repeat == 0)
    yield "raft: end", state.end


class State:
    """What lives as long as the scenario."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._clusters: dict[str, Cluster] = {}
        self._client: Process | None = None

    def start(self, run: Run, contenders: Sequence[Contender]) -> None:
        run.closing.append(self.end)
        self._folder = tempfile.TemporaryDirectory(prefix="bench-raft-")
        self._client = Process(sys.executable, "benchmarks.side", "put", "client")
        for contender in contenders:
            folder = Path(self._folder.name) / contender.name
            make = OrbitCluster if contender.kind == OURS else EtcdCluster
            self._clusters[contender.name] = make(folder, contender.python)

    def measure(self, run: Run, contender: Contender, in_flight: int, *, warm: bool) -> None:
        cluster, client = self._clusters[contender.name], self._client
        if client is None:
            raise SideFailed("raft: there is no client")
        client.ask("connect", port=cluster.leader(), connections=1, pool=None)
        work = {"work": "put", "in_flight": in_flight, "size": VALUE}
        if warm:
            client.ask("run", **work, seconds=run.warm_up(contender))
        fsyncs, cpu, machine, started = cluster.fsyncs(), cluster.cpu(), busy(), time.perf_counter()
        found: dict[str, float] = client.ask("run", **work, seconds=run.seconds)
        elapsed, machine_after = time.perf_counter() - started, busy()
        used = cluster.cpu() - cpu
        found["server_us"] = used / found["calls"] * 1e6
        found["fsyncs"] = (cluster.fsyncs() - fsyncs) / found["calls"]
        if machine is not None and machine_after is not None:
            ours = used + found["client_us"] * found["calls"] / 1e6
            found["others"] = max(0.0, machine_after - machine - ours) / elapsed
        client.ask("close")
        run.results.add(SCENARIO, case(in_flight), contender.name, found)

    def end(self) -> None:
        if self._client is not None:
            self._client.end()
        for cluster in self._clusters.values():
            cluster.end()
        self._clusters.clear()
        self._client = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
