"""Raft clusters of real processes: sockets on loopback, SQLite files, and signals instead of simulated faults.

async with ProcessCluster(folder, 3) as cluster:
    async with Load(cluster.addresses, seed=7) as load:
        (await cluster.leader()).kill()
        await load.progress()
    assert (await verdict_of(load.history, cluster.addresses)).ok
"""

from orbit_lite.testing.processes.clients import Load, RecordingClient, WindowedWorkload, verdict_of
from orbit_lite.testing.processes.cluster import ClusterFailed, NodeProcess, ProcessCluster

__all__ = [
    "ClusterFailed",
    "Load",
    "NodeProcess",
    "ProcessCluster",
    "RecordingClient",
    "WindowedWorkload",
    "verdict_of",
]
