"""The pure parts of scripts/crash.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash import MIB, VICTIMS, caught_up, is_bounded, spread
from orbit_lite.testing.processes import NodeProcess


def node(name: str) -> NodeProcess:
    return NodeProcess(name, "127.0.0.1:1", Path(name), (), ())


def test_times_are_told_by_median_and_longest() -> None:
    assert spread([1.0, 3.0, 2.0]) == "median 2.00 s, 90 % 3.00 s, longest 3.00 s"
    assert spread([]) == "–"


def test_of_100_cycles_each_kind_has_its_part() -> None:
    assert sum(VICTIMS.values()) == 100


@pytest.mark.parametrize(("applied", "is_there"), [(0, False), (50_000, False), (99_000, False), (99_990, True)])
def test_a_follower_has_caught_up_when_it_is_less_behind_than_what_is_on_the_way(applied: int, is_there: bool) -> None:
    statuses = {"n1": {"commit": 100_000, "applied": 100_000}, "n2": {"commit": applied, "applied": applied}}
    assert (caught_up(statuses, node("n2")) is not None) is is_there
    assert caught_up(statuses, node("n3")) is None


@pytest.mark.parametrize(
    ("memory", "files", "is_well"), [(56, 5, True), (55, 4, True), (86, 5, False), (56, 9, False), (0, 5, True)]
)
def test_a_leader_that_keeps_what_it_has_compacted_is_noticed(memory: int, files: int, is_well: bool) -> None:
    before = 55 * MIB if memory else 0  # none is known where there is no /proc
    assert is_bounded((before, int(4.5 * MIB)), (memory * MIB, files * MIB)) is is_well
