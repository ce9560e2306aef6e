"""Run as a script in a network namespace of its own: three nodes, each with a network stack of its own, on a bridge.

A partition is a wrong hardware address: what is sent there is lost without a word, in the middle of connections, as
when a cable is pulled. Clients stand beside the bridge and reach every node.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random

from orbit_lite.testing.processes import Load, NodeProcess, ProcessCluster, RecordingClient, verdict_of
from orbit_lite.testing.simulation import KeyValueOperation

HOSTS = [f"10.77.0.{number}" for number in (1, 2, 3)]
CLIENTS = "10.77.0.254/24"
NOBODY = "02:00:00:00:00:99"
TIMINGS = {"election_timeout_min": 0.4, "election_timeout_max": 0.8, "heartbeat_interval": 0.08}


def ip(command: str, *, inside: int | None = None) -> None:
    """inside: a process whose network stack is meant."""
    prefix = () if inside is None else entering(inside)
    subprocess.run([*prefix, "ip", *command.split()], check=True)


def entering(pid: int) -> tuple[str, ...]:
    return ("nsenter", "--target", str(pid), "--net")


class Network:
    """The bridge and a namespace for each node, held by a process that waits for the end of its stdin."""

    def __init__(self) -> None:
        ip("link set lo up")
        ip("link add bridge0 type bridge")
        ip(f"address add {CLIENTS} dev bridge0")
        ip("link set bridge0 up")
        self._holders = []
        for number, host in enumerate(HOSTS):
            holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._holders.append(holder)
            assert holder.stdout is not None
            holder.stdout.readline()  # it is in its namespace
            ip(f"link add port{number} type veth peer name eth0 netns {holder.pid}")
            ip(f"link set port{number} master bridge0 up")
            ip("link set lo up", inside=holder.pid)
            ip(f"address add {host}/24 dev eth0", inside=holder.pid)
            ip("link set eth0 up", inside=holder.pid)

    def prefixes(self) -> list[tuple[str, ...]]:
        return [entering(holder.pid) for holder in self._holders]

    def cut(self, one: int, other: int) -> None:
        """What `one` sends to `other` is lost from now on."""
        ip(f"neighbour replace {HOSTS[other]} lladdr {NOBODY} dev eth0 nud permanent", inside=self._holders[one].pid)

    def heal(self, one: int, other: int) -> None:
        ip(f"neighbour delete {HOSTS[other]} dev eth0", inside=self._holders[one].pid)

    def close(self) -> None:
        for holder in self._holders:
            holder.communicate()


async def scenario(folder: Path, network: Network) -> None:
    """A leader is cut off from its followers, not from its clients; then a follower hears, and is not heard."""
    addresses = [f"{host}:7000" for host in HOSTS]
    cluster = ProcessCluster(folder, config=TIMINGS, addresses=addresses, prefixes=network.prefixes())
    async with cluster, Load(addresses, seed=7) as load:
        await load.progress()
        old = await cluster.leader()
        term = await term_of(old)
        at = cluster.nodes.index(old)
        others = [number for number in range(3) if number != at]
        pinned = RecordingClient("pinned", [old.address], Random(1))
        writer = RecordingClient("writer", [addresses[number] for number in others], Random(1))
        assert await pinned.do(KeyValueOperation("put", "x", "before")) == b""

        for other in others:
            network.cut(at, other)
            network.cut(other, at)
        new = await cluster.leader(beyond=term)
        assert new is not old
        assert await writer.do(KeyValueOperation("put", "x", "after")) == b""
        reading = asyncio.create_task(pinned.do(KeyValueOperation("get", "x")))
        await load.progress()
        assert not reading.done(), "a leader without followers answered a read"
        for other in others:
            network.heal(at, other)
            network.heal(other, at)
        assert await reading == b"after"
        await load.progress()

        # A follower whose words are lost hears its leader all the time, and so does not campaign.
        leader = await cluster.leader()
        led = cluster.leaderships()
        mute = next(number for number in range(3) if number != cluster.nodes.index(leader))
        for other in {0, 1, 2} - {mute}:
            network.cut(mute, other)
        await load.progress(100)
        for other in {0, 1, 2} - {mute}:
            network.heal(mute, other)
        await load.progress()
        assert cluster.leaderships() == led, f"{led} before, {cluster.leaderships()} after"
        await pinned.close()
        await writer.close()
        await load.finish()
        verdict = await verdict_of(load.history, addresses)
        assert verdict.ok, str(verdict)
        await cluster.level()
        assert all(len(leaders) == 1 for leaders in cluster.leaderships().values()), cluster.leaderships()


async def term_of(node: NodeProcess) -> int:
    status = await node.status()
    assert status is not None
    return int(status["term"])


if __name__ == "__main__":
    laid = Network()
    try:
        asyncio.run(scenario(Path(sys.argv[1]), laid))
    finally:
        laid.close()
