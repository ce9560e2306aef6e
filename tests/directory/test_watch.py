"""Following the replicated directory."""

from __future__ import annotations

import asyncio

import pytest

from orbit_lite.directory import DirectoryMachine, NodeChange, Resync, Watch
from orbit_lite.directory.commands import Register, encode_command
from orbit_lite.directory.machine import Change
from orbit_lite.errors import ConfigurationError
from orbit_lite.model import NodeId, NodeInfo


def register(machine: DirectoryMachine, name: str) -> None:
    info = NodeInfo(NodeId(name), f"http://{name}:1", 1)
    machine.apply(machine.index + 1, encode_command(Register(info, 1, 1, 1_000)))


def key(change: Change) -> str:
    assert isinstance(change, NodeChange)
    return change.node_id.key


async def test_a_watch_begins_with_a_look_at_everything() -> None:
    machine = DirectoryMachine()
    register(machine, "a")
    async with Watch(machine) as watch:
        assert await anext(watch) == Resync(1)


async def test_changes_come_in_their_order() -> None:
    machine = DirectoryMachine()
    async with Watch(machine) as watch:
        await anext(watch)
        for name in "abc":
            register(machine, name)
        assert [key(await anext(watch)) for _ in range(3)] == ["a", "b", "c"]


async def test_whoever_waits_is_woken_by_a_change() -> None:
    machine = DirectoryMachine()
    async with Watch(machine) as watch:
        await anext(watch)
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        register(machine, "a")
        assert key(await waiting) == "a"


async def test_changes_that_do_not_fit_become_one_look_at_everything() -> None:
    machine = DirectoryMachine()
    async with Watch(machine, max_waiting=2) as watch:
        await anext(watch)
        for name in "abcd":
            register(machine, name)
        assert await anext(watch) == Resync(3)
        assert key(await anext(watch)) == "d"


async def test_a_restored_machine_makes_everything_before_pointless() -> None:
    machine, other = DirectoryMachine(), DirectoryMachine()
    register(other, "x")
    async with Watch(machine) as watch:
        register(machine, "a")
        machine.restore(other.snapshot())
        assert await anext(watch) == Resync(1)
        register(machine, "b")
        assert key(await anext(watch)) == "b"


async def test_a_closed_watch_ends_for_whoever_waits_and_costs_nothing() -> None:
    machine = DirectoryMachine()
    watch = Watch(machine)
    seen: list[Change] = []

    async def follow() -> None:
        seen.extend([change async for change in watch])

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    watch.close()
    watch.close()
    await following
    register(machine, "a")
    assert seen == [Resync(0)]
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


def test_there_is_room_for_one_change_at_least() -> None:
    with pytest.raises(ConfigurationError, match="max_waiting=0"):
        Watch(DirectoryMachine(), max_waiting=0)
