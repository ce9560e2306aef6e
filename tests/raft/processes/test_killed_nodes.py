"""What was acknowledged survives kill -9 and SIGSTOP of real processes, and every history is linearizable.

What decides is time, so no test says how long something takes; each waits until it has happened.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest

from orbit_lite.testing.processes import Load, ProcessCluster, RecordingClient, verdict_of
from orbit_lite.testing.simulation import KeyValueOperation

slow_to_start = pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="PyPy's processes start slowly; that they survive is seen where leaders and where all are killed",
)
Processes = Callable[..., ProcessCluster]


async def settle(cluster: ProcessCluster, load: Load) -> None:
    """All are up again: they come to the same state, and nothing that was acknowledged is missing."""
    verdict = await verdict_of(load.history, cluster.addresses)
    assert verdict.ok, str(verdict)
    assert load.given_up == 0
    await cluster.level()
    terms = cluster.leaderships()
    assert all(len(leaders) == 1 for leaders in terms.values()), f"two leaders in a term: {terms}"


async def test_killed_leaders_lose_no_acknowledged_write(processes: Processes) -> None:
    async with processes(3) as cluster:
        async with Load(cluster.addresses, seed=1) as load:
            for _ in range(2):
                await load.progress()
                leader = await cluster.leader()
                term = (await cluster.statuses())[leader.name]["term"]
                leader.kill()
                assert await cluster.leader(beyond=term) is not leader
                await load.progress()
                leader.start()
        await settle(cluster, load)


@slow_to_start
async def test_a_stopped_leader_is_replaced_and_answers_no_old_value_when_it_goes_on(processes: Processes) -> None:
    async with processes(3) as cluster:
        old = await cluster.leader()
        term = (await cluster.statuses())[old.name]["term"]
        client = RecordingClient("writer", cluster.addresses, Random(1))
        pinned = RecordingClient("pinned", [old.address], Random(1))
        async with Load(cluster.addresses, seed=2) as load:
            assert await client.do(KeyValueOperation("put", "x", "before")) == b""
            assert await pinned.do(KeyValueOperation("get", "x")) == b"before"
            old.suspend()
            await cluster.leader(beyond=term)
            assert await client.do(KeyValueOperation("put", "x", "after")) == b""
            # These lie in the sockets of a process that takes itself for the leader when it wakes up.
            reads = [asyncio.create_task(pinned.do(KeyValueOperation("get", "x"))) for _ in range(5)]
            await asyncio.sleep(0.1)
            old.resume()
            assert set(await asyncio.gather(*reads)) == {b"after"}
            await load.progress()
        await client.close()
        await pinned.close()
        await settle(cluster, load)


@slow_to_start
async def test_five_nodes_go_on_without_two(processes: Processes) -> None:
    async with processes(5) as cluster:
        async with Load(cluster.addresses, seed=3, clients=4) as load:
            await load.progress()
            leader = await cluster.leader()
            killed = [leader, next(node for node in cluster.nodes if node is not leader)]
            for node in killed:
                node.kill()
            await load.progress()
            for node in killed:
                node.start()
        await settle(cluster, load)


async def test_all_killed_at_once_come_back_with_all_that_was_acknowledged(processes: Processes) -> None:
    async with processes(3, snapshot_entries=50, snapshot_trailing_entries=10) as cluster:
        async with Load(cluster.addresses, seed=4) as load:
            for _ in range(2):
                await load.progress(60)
                for node in cluster.nodes:
                    node.kill()
                cluster.start()
            await load.progress()
        await settle(cluster, load)


@slow_to_start
async def test_a_node_that_lost_its_disk_is_not_taken_for_the_one_it_was(processes: Processes) -> None:
    async with processes(3) as cluster:
        async with Load(cluster.addresses, seed=5) as load:
            await load.progress()
            leader = await cluster.leader()
            wiped = next(node for node in cluster.nodes if node is not leader)
            wiped.kill()
            wiped.wipe()
            wiped.start()

            def is_refused(statuses: Mapping[str, dict[str, Any]]) -> bool | None:
                return bool(statuses.get(wiped.name, {}).get("failure")) or None

            await cluster.until(is_refused, f"{wiped.name} to be refused")
            await load.progress()
        failure = (await cluster.statuses())[wiped.name]["failure"]
        assert "lost" in failure or "store" in failure
        verdict = await verdict_of(load.history, [node.address for node in cluster.nodes if node is not wiped])
        assert verdict.ok, str(verdict)


@slow_to_start
async def test_a_follower_far_behind_catches_up_by_snapshot_while_the_leader_stays(processes: Processes) -> None:
    async with processes(3, snapshot_entries=200, snapshot_trailing_entries=20) as cluster:
        leader = await cluster.leader()
        behind = next(node for node in cluster.nodes if node is not leader)
        async with Load(cluster.addresses, seed=6, clients=24, rest=0.0) as load:
            behind.kill()
            await load.progress(600)
            before = cluster.leaderships()
            behind.start()

            def has_caught_up(statuses: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
                status = statuses.get(behind.name, {})
                return status if status.get("snapshots_restored") and status["applied"] > 400 else None

            await cluster.until(has_caught_up, f"{behind.name} to restore a snapshot")
            await load.progress()
        assert cluster.leaderships() == before
        await settle(cluster, load)
