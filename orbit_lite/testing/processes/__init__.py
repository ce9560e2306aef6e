"""Raft clusters of real processes: sockets on loopback, SQLite files, and signals instead of simulated faults.

    async with ProcessCluster(folder, 3) as cluster:
        (await cluster.leader()).kill()
"""

from orbit_lite.testing.processes.cluster import ClusterFailed, NodeProcess, ProcessCluster

__all__ = ["ClusterFailed", "NodeProcess", "ProcessCluster"]
